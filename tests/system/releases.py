"""Other releases of the agent: a later one and a broken one, remade from this one's bundle, and the former one."""

from __future__ import annotations

import gzip
import io
import re
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

import firstlight
from firstlight.wire import bundle as wire
from firstlight_hub.bundle_file import read_bundle, write_bundle
from tests.system.any_box import AGENT, AnyBox

ROOT = Path(__file__).parents[2]
VERSION_FILE = "lib/firstlight/__init__.py"
FUTURE = "from __future__ import annotations\n"
ENDS_AT_ONCE = ("lib/firstlight/daemon/main.py", "raise SystemExit(1)\n")  # what may be wrong with a release
FORMER, FORMER_COMMIT = "0.1.0", "4e4ce72"


def later(steps: int) -> str:
    """The version that many steps after this one."""
    major, minor, patch = firstlight.__version__.split(".")
    return f"{major}.{minor}.{int(patch) + steps}"


def remade(bundle: Path, version: str, into: Path, broken: tuple[str, str] | None = None) -> Path:
    """A bundle of another version, unsigned.

    Args:
        bundle: of this version.
        version: that it says it is.
        into: folder for it.
        broken: file in it, and what its code is to begin with.
    """
    with tarfile.open(bundle) as outer:
        parts = contents(outer)
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(parts[wire.PAYLOAD]))) as inner:
        files = contents(inner)
    own = f'__version__ = "{firstlight.__version__}"'
    text = files[VERSION_FILE].decode()
    assert own in text
    files[VERSION_FILE] = text.replace(own, f'__version__ = "{version}"').encode()
    if broken is not None:
        name, line = broken
        text = files[name].decode()
        assert FUTURE in text
        files[name] = text.replace(FUTURE, FUTURE + line, 1).encode()
    manifest = read_bundle(bundle).manifest
    into.mkdir(parents=True, exist_ok=True)
    every: Mapping[str, Path | bytes] = dict(files)
    return write_bundle(into, version, manifest.arch, manifest.pythons, dict(every), parts[wire.INSTALLER], nobody)


def contents(archive: tarfile.TarFile) -> dict[str, bytes]:
    """Name -> content of everything in it."""
    found = {}
    for member in archive:
        file = archive.extractfile(member)
        assert file is not None
        found[member.name] = file.read()
    return found


def nobody(manifest: bytes) -> dict[str, bytes]:
    """No signature."""
    return {}


def former_tree() -> Path | None:
    """The sources of the former release, once per checkout; None where the checkout has no history."""
    folder = ROOT / f".cache/system/former-{FORMER_COMMIT}"
    if not folder.exists():
        line = ["git", "-C", str(ROOT), "archive", FORMER_COMMIT, "agent", "systemd"]
        packed = subprocess.run(line, capture_output=True, check=False)
        if packed.returncode:
            return None
        with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
            archive.extractall(folder, filter="data")
    return folder


def install_former(box: AnyBox, tree: Path, libraries: str, endpoint: tuple[str, str, str]) -> None:
    """Does what the former release's script did, after its download: its own code, launcher, settings, unit.

    Args:
        box: where; sees ``tree`` as /srv/former.
        tree: the former sources.
        libraries: folder on the box with the libraries of that time: they are those of today.
        endpoint: installId, the hub's URL, its pin.
    """
    assert re.search(rf'__version__ = "{FORMER}"', (tree / "agent/firstlight/__init__.py").read_text())
    install_id, url, pin = endpoint
    release = f"/opt/firstlight/lib/{FORMER}-0123abcd"
    launcher = (
        f'#!/usr/bin/python3 -I\nimport sys\nsys.path.insert(0, "{release}/lib")\n'
        'from firstlight.cli.main import main\nsys.exit(main(config="/etc/firstlight/agent.toml"))\n'
    )
    settings = 'state_dir = "/var/lib/firstlight"\n# proxy = "http://HOST:PORT"\n'
    box.sh(
        f"umask 022 && mkdir -p {release}/share /opt/firstlight/bin /etc/firstlight && : >/opt/firstlight/.firstlight"
        f" && cp -r {libraries} {release}/lib && rm -rf {release}/lib/firstlight"
        f" && cp -r /srv/former/agent/firstlight {release}/lib/firstlight && cp /srv/former/systemd/* {release}/share"
    )
    box.run("sh", "-c", f"cat >{AGENT} && chmod 755 {AGENT} && ln -s {AGENT} /usr/local/bin/", stdin=launcher)
    box.run("sh", "-c", "umask 077 && cat >/etc/firstlight/agent.toml", stdin=settings)
    box.run(AGENT, "enroll", "-", "--hub", url, "--pin", pin, stdin=install_id)
    box.sh(f"sh {release}/share/start-service.sh /opt/firstlight /etc/firstlight/agent.toml /var/lib/firstlight yes")
