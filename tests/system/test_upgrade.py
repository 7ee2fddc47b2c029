"""Upgrades under a booted systemd: by hand and by the hub's wish, broken releases, power cuts, and the way back."""

from __future__ import annotations

import itertools
import json
import platform
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from firstlight.cli.upgrade_bundle import Checked
from firstlight.system.bundle_file import BundleFile
from firstlight.wire import bundle
from tests.e2e.conftest import wait_until
from tests.system.box import AGENT, Box
from tests.system.conftest import Installed
from tests.system.hub_site import HubSite
from tests.system.upgrade_bundles import derived

pytestmark = pytest.mark.timeout(300)

STATE = "/var/lib/private/firstlight"
UNIT = "firstlight-upgrade.service"
SLOW = {
    "cli/run.py": "_run = verb\n"
    "def verb(words, config):\n    select.select([], [], [], 4)\n    return _run(words, config)"
}
# It ends at once, and so does its own way of upgrading.
CRASHES = {
    "cli/run.py": "def verb(words, config):\n    raise SystemExit(70)",
    "cli/upgrade.py": "def verb(words, config):\n    raise SystemExit(1)",
}
REFUSES = {"cli/run.py": "def verb(words, config):\n    raise SystemExit(78)"}
GARBAGE = {
    "platforms/hub/device.py": "_beat = beat\n"
    "def beat(registration, one, token=''):\n    return _beat(registration, one)._replace(body=b'garbage')"
}
PATIENCE_S = 90  # for what succeeds: the machine is busy
minors, attempts = itertools.count(3), itertools.count(1)


def checked(path: Path) -> Checked:
    """What a bundle says about itself."""
    with BundleFile(str(path), bundle.LIMITS) as opened:
        body = opened.read(bundle.MANIFEST)
    return Checked(bundle.decode_manifest(body), body, bundle.release_id(body), "")


@pytest.fixture(scope="module")
def release(
    hub: HubSite, bundles: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Checked]]:
    """Puts a newer release on the hub's shelf; all are taken away after the last test."""
    folder = tmp_path_factory.mktemp("releases")
    base = next(path for path in bundles if path.name.endswith(f"-{platform.machine()}.tar"))
    made: list[str] = []

    def make(changes: Mapping[str, str] | None = None) -> Checked:
        path = derived(base, folder, f"0.{next(minors)}.0", changes)
        hub.put_on_shelf(path)
        made.append(path.name)
        return checked(path)

    yield make
    for name in made:
        hub.take_off_shelf(name)


@pytest.fixture
def box(installed: Installed) -> Box:
    """A box that is online, with an upgrade unit of the usual patience."""
    patience(installed.box, PATIENCE_S)
    installed.box.wait_online()
    return installed.box


def patience(box: Box, seconds: int) -> None:
    """Changes the unit as its owner would."""
    line = f"/opt/firstlight/bin/firstlight-proven upgrade --wished --patience {seconds}"
    box.drop_in("patience", f"[Service]\nExecStart=\nExecStart={line}\n", UNIT)


def running(box: Box) -> str:
    """The release whose agent beats."""
    live = box.live()
    return f"{live.get('agentVersion')}-{live.get('release')}"


def journal(box: Box) -> dict[str, object]:
    """The upgrade under way; empty without one."""
    try:
        found = json.loads(box.path("/opt/firstlight/upgrade.json").read_text())
    except FileNotFoundError:
        return {}
    assert isinstance(found, dict)
    return found


def wish(box: Box, found: Checked) -> int:
    """What the agent writes when the hub offers a release; the number of the attempt."""
    attempt = next(attempts)
    name = bundle.bundle_name(found.manifest.version, found.manifest.arch)
    offer = {"version": found.manifest.version, "id": found.id, "path": f"/bundles/{name}", "attempt": attempt}
    box.run(
        "sh",
        "-c",
        f"cd {STATE} && cat >new && chown --reference=. new && mv new upgrade-wish.json",
        stdin=json.dumps(offer),
    )
    return attempt


def result(box: Box, attempt: int) -> dict[str, object]:
    """How that attempt ended, once everything of it is over."""
    file = f"{STATE}/upgraded.json"

    def ended() -> dict[str, object]:
        try:
            found = json.loads(box.path(file).read_text())
        except FileNotFoundError:
            return {}
        is_over = found["attempt"] == attempt and not journal(box)
        return found if is_over and not box.path(f"{STATE}/upgrade-wish.json").exists() else {}

    try:
        wait_until("the wish is answered", ended, 150)
    except AssertionError:
        pytest.fail(box.journal(UNIT) + box.journal())
    stat = box.path(file).stat()
    assert (stat.st_uid, stat.st_mode & 0o777) == (box.path(STATE).stat().st_uid, 0o600)
    wait_until("the unit has ended", lambda: box.unit("ActiveState", UNIT) in ("inactive", "failed"), 90)
    return ended()


def test_the_units_are_understood(box: Box) -> None:
    """On the box, as the script put them: not a word from systemd, the path waits, nothing failed."""
    for name in (UNIT, "firstlight-upgrade.path"):
        said = box.run("systemd-analyze", "verify", "--man=no", f"/etc/systemd/system/{name}")
        assert said.stdout == said.stderr == ""
    assert box.unit("ActiveState", "firstlight-upgrade.path") == "active"
    assert box.run("systemctl", "--failed", "--plain", "--no-legend").stdout == ""


def test_by_hand_and_back(box: Box, release: Callable[..., Checked]) -> None:
    """The hub's newest release beats as the service's user; going back takes the same proof."""
    before, found = running(box), release()
    done = box.run(AGENT, "upgrade", "--patience", str(PATIENCE_S))
    assert found.release in done.stdout and running(box) == found.release
    assert "0" not in box.sh(f"sed -n 's/^Uid:\\t//p' /proc/{box.agent_pid}/status").stdout.split()
    assert before in box.run(AGENT, "upgrade", "--check", "--back").stdout
    box.run(AGENT, "upgrade", "--back", "--patience", str(PATIENCE_S))
    assert running(box) == before and not journal(box)
    assert box.status()["state"] == "online"


def test_by_wish(box: Box, release: Callable[..., Checked]) -> None:
    """The file alone starts it: fetched from the hub, proved, the result left, two releases on the disk."""
    found = release()
    told = result(box, wish(box, found))
    assert told["code"] == "" and running(box) == found.release
    assert box.unit("Result", UNIT) == "success"
    assert len(box.sh("ls /opt/firstlight/lib").stdout.split()) == 2
    proven = box.path("/opt/firstlight/bin/firstlight-proven").read_text()
    assert found.release in proven and proven == box.path(AGENT).read_text()


@pytest.mark.parametrize(
    ("changes", "seconds", "code"),
    [(CRASHES, 90, "upgrade_crashed"), (REFUSES, 90, "upgrade_crashed"), (GARBAGE, 10, "upgrade_not_proved")],
    ids=["crashes", "ends with 78", "never accepted"],
)
def test_a_broken_release_goes_back_by_itself(
    box: Box, release: Callable[..., Checked], changes: dict[str, str], seconds: int, code: str
) -> None:
    """The hub will hear why; the old release is online again, the same device, and nothing failed."""
    before, device = running(box), box.live()["deviceId"]
    patience(box, seconds)
    found = release(changes)
    told = result(box, wish(box, found))
    assert (told["id"], told["code"]) == (found.id, code) and told["message"]
    box.wait_online(60)
    assert (running(box), box.live()["deviceId"]) == (before, device)
    assert not box.path(f"/opt/firstlight/lib/{found.release}").exists()
    assert box.unit("ActiveState", "firstlight-upgrade.path") == "active"
    assert box.run("systemctl", "--failed", "--plain", "--no-legend").stdout == ""


@pytest.mark.parametrize("stage", ["fetched", "prove"])
def test_power_goes_while_a_good_release_comes(box: Box, release: Callable[..., Checked], stage: str) -> None:
    """Whatever was there is gone on with after the boot, by nobody's hand."""
    found = release(SLOW)
    attempt = wish(box, found)
    if stage == "fetched":
        wait_until("it is being unpacked", box.path("/opt/firstlight/lib/.new/release").exists, 90)
    else:
        wait_until("it is being proved", lambda: journal(box).get("stage") == "prove", 90)
    box.cut_power()
    box.boot()
    assert result(box, attempt)["code"] == "" and running(box) == found.release
    box.wait_online()


def test_power_goes_while_a_broken_release_is_proved(box: Box, release: Callable[..., Checked]) -> None:
    """The box boots into the broken release, and gets back from there: what was proved is what upgrades."""
    before = running(box)
    attempt = wish(box, release(CRASHES))
    wait_until("it is being proved", lambda: journal(box).get("stage") == "prove", 90)
    box.cut_power()
    box.boot()
    assert result(box, attempt)["code"] == "upgrade_crashed"
    box.wait_online(60)
    assert running(box) == before


def test_the_process_that_upgrades_is_killed(box: Box, release: Callable[..., Checked]) -> None:
    """Without a reboot: the journal that is left starts the unit again."""
    found = release(SLOW)
    attempt = wish(box, found)
    wait_until("it is being proved", lambda: journal(box).get("stage") == "prove", 90)
    box.run("systemctl", "kill", "--signal=KILL", UNIT)
    assert result(box, attempt)["code"] == "" and running(box) == found.release
    box.run("systemctl", "reset-failed")


def test_a_disk_that_refuses_for_a_while(box: Box, release: Callable[..., Checked]) -> None:
    """The unit fails and is tried again with patience; nobody has to reset anything once the disk is good again."""
    found = release()
    box.drop_in("refuses", "[Service]\nReadOnlyPaths=/opt/firstlight\nRestartSec=3\n", UNIT)
    attempt = wish(box, found)
    # The path unit would start it twelve times in a few seconds, and then never again.
    wait_until("it fails again and again", lambda: int(box.unit("NRestarts", UNIT) or 0) >= 4, 90)
    assert box.unit("ActiveState", "firstlight-upgrade.path") == "active"
    box.drop_in("refuses", "[Service]\n", UNIT)
    assert result(box, attempt)["code"] == "" and running(box) == found.release


def test_a_service_that_somebody_stopped_stays_stopped(box: Box, release: Callable[..., Checked]) -> None:
    """It runs for its proof, and not longer."""
    found = release()
    box.run("systemctl", "stop", "firstlight")
    try:
        box.run(AGENT, "upgrade", "--patience", str(PATIENCE_S))
        assert box.unit("ActiveState") == "inactive"
        assert found.release in box.path(AGENT).read_text()
    finally:
        box.run("systemctl", "start", "firstlight")
    box.wait_online()
    assert running(box) == found.release
