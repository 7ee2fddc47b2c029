"""The install scripts on a box that has an agent: what is under way comes first, what beats is not swapped unproved."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from firstlight_hub.bundle_contents import shipped
from tests.install.conftest import Bundles
from tests.install.test_offline import install

ENROLLED = """#!/bin/sh
# sys.path.insert(0, "{active}/lib")
case $1 in status) echo '{{"deviceId": "cam-1"}}' ;; upgrade) exit {status} ;; esac
"""


def test_an_upgrade_under_way_is_ended_first(bundles: Bundles, tmp_path: Path) -> None:
    """What the journal says is gone on with before anything is put; afterwards the script does its own work."""
    prefix = tmp_path / "firstlight"
    assert install(bundles.own, prefix).returncode == 0
    assert (prefix / ".firstlight").stat().st_mode & 0o777 == 0o600
    (prefix / "upgrade.json").write_text("{}")
    done = install(bundles.own, prefix)
    assert done.returncode == 0 and "an upgrade is under way here" in done.stderr, done.stderr
    assert not (prefix / "upgrade.json").exists()


def test_an_upgrade_that_does_not_end_is_said(bundles: Bundles, tmp_path: Path) -> None:
    """The script changes nothing then and names the next step."""
    prefix = tmp_path / "firstlight"
    assert install(bundles.own, prefix).returncode == 0
    before = (prefix / "bin/firstlight").read_bytes()
    (prefix / "bin/firstlight-proven").write_text("#!/bin/sh\nexit 74\n")
    (prefix / "upgrade.json").write_text("{}")
    done = install(bundles.own, prefix)
    assert done.returncode == 1 and "nothing else was changed" in done.stderr and "upgrade --check" in done.stderr
    assert (prefix / "bin/firstlight").read_bytes() == before


def test_an_upgrade_that_goes_back_under_the_script_is_not_overruled(bundles: Bundles, tmp_path: Path) -> None:
    """The proof of the release that the script brings fails meanwhile: the launchers do not name it afterwards."""
    prefix = tmp_path / "firstlight"
    assert install(bundles.own, prefix).returncode == 0
    agent, back = prefix / "bin/firstlight", f'#!/bin/sh\n# "{prefix}/lib/0.1.9-00000000/lib"\n'
    (tmp_path / "back").write_text(back)
    (prefix / "bin/firstlight-proven").write_text(f"#!/bin/sh\ncp {tmp_path}/back {agent}; rm {prefix}/upgrade.json\n")
    (prefix / "upgrade.json").write_text("{}")
    done = install(bundles.own, prefix)
    assert done.returncode == 1 and "Run the same command again" in done.stderr
    assert agent.read_text() == back


@pytest.mark.parametrize(
    ("service", "active", "status", "wanted"),
    [
        ("yes", "0.2.0-00000000", 0, True),
        ("yes", "0.3.0-11111111", 0, False),  # it runs already
        ("yes", "0.2.0-00000000", 2, False),  # an agent without the verb
        ("no", "0.2.0-00000000", 0, False),
    ],
)
def test_an_enrolled_box_proves_what_it_gets(
    tmp_path: Path, service: str, active: str, status: int, *, wanted: bool
) -> None:
    """Also with another installId, and where the release lies there since an upgrade that was cut or undone."""
    (tmp_path / "lib/0.3.0-11111111").mkdir(parents=True)
    agent = tmp_path / "agent"
    agent.write_text(ENROLLED.format(active=f"{tmp_path}/lib/{active}", status=status))
    agent.chmod(0o755)
    text = shipped("systemd/box.sh").read_text("utf-8")
    values = f"service={service} agent={agent} release={tmp_path}/lib/0.3.0-11111111\n"
    done = subprocess.run(["sh"], input=f"{text}\n{values}\nproves", text=True, timeout=20)
    assert (done.returncode == 0) == wanted
