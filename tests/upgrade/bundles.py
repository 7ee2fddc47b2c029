"""Releases of this very agent in other versions, good and broken, as bundles; and a PREFIX as the script leaves it.

Libraries are those of the Python that runs the tests: a bundle here holds ``lib/firstlight`` and ``share`` alone.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import firstlight
from firstlight.cli.upgrade_bundle import Host
from firstlight.system.bundle_file import BundleFile
from firstlight.wire import bundle
from firstlight_hub.bundle_contents import own_arch, own_python
from firstlight_hub.bundle_file import write_bundle

HOST = Host(own_python(), own_arch())
LAUNCHER = """#!{python} -I
import sys
sys.path.insert(0, "{prefix}/lib/{release}/lib")
from firstlight.cli.main import main
sys.exit(main(config="{config}"))
"""
INSTALLER = b"#!/bin/sh\n"


class Signer:
    """A release key."""

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.pem = self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.id, self.raw = bundle.read_public_key(self.pem)

    def sign(self, manifest: bytes) -> dict[str, bytes]:
        """As ``write_bundle`` wants it."""
        return {self.id: self.key.sign(manifest)}


def sources(version: str, changes: Mapping[str, str] | None = None) -> dict[str, Path | bytes]:
    """The payload of a release: this agent, its version changed, some of its files appended to.

    Args:
        version: of the release.
        changes: module's file, as ``daemon/main.py`` -> Python to add at its end; other names are taken as they are.
    """
    package = Path(firstlight.__file__).parent
    found: dict[str, Path | bytes] = {
        f"lib/firstlight/{path.relative_to(package).as_posix()}": path
        for path in package.rglob("*")
        if path.is_file() and path.suffix in (".py", ".txt")
    }
    head = (package / "__init__.py").read_text()
    found["lib/firstlight/__init__.py"] = head.replace(f'"{firstlight.__version__}"', f'"{version}"').encode()
    for name, text in (changes or {}).items():
        if name.startswith(("lib/", "share/", "scan/")):
            found[name] = text.encode()
        else:
            found[f"lib/firstlight/{name}"] = (package / name).read_bytes() + f"\n{text}\n".encode()
    found.setdefault("share/uninstall.sh", b"#!/bin/sh\n")
    return found


def make_bundle(
    folder: Path,
    version: str,
    signer: Signer | None,
    changes: Mapping[str, str] | None = None,
    *,
    arch: str = HOST.arch,
    pythons: tuple[str, ...] = (HOST.python,),
) -> Path:
    """A bundle in a folder that is made."""
    folder.mkdir(parents=True, exist_ok=True)
    sign = signer.sign if signer else lambda manifest: {}
    return write_bundle(folder, version, arch, pythons, sources(version, changes), INSTALLER, sign)


def id_of(path: Path) -> str:
    """The id of a bundle's release."""
    with BundleFile(str(path), bundle.LIMITS) as opened:
        return bundle.release_id(opened.read(bundle.MANIFEST))


def release_of(path: Path) -> str:
    """The folder of a bundle's release."""
    with BundleFile(str(path), bundle.LIMITS) as opened:
        body = opened.read(bundle.MANIFEST)
    return f"{bundle.decode_manifest(body).version}-{bundle.release_id(body)[:8]}"


def install(prefix: Path, path: Path, signer: Signer) -> str:
    """A PREFIX as the install script leaves it; the name of the release in it."""
    release = release_of(path)
    folder, config = prefix / "lib" / release, prefix / "etc/agent.toml"
    folder.mkdir(parents=True)
    with BundleFile(str(path), bundle.LIMITS) as opened:
        (folder / "manifest.json").write_bytes(opened.read(bundle.MANIFEST))
        opened.unpack(bundle.PAYLOAD, str(folder), lambda name: True, bundle.MAX_UNPACKED, bundle.MAX_FILES)
    (prefix / ".firstlight").touch()
    (prefix / "etc/trust.d").mkdir(parents=True)
    (prefix / "etc/trust.d" / f"{signer.id}.pub").write_bytes(signer.pem)
    config.write_text(f'state_dir = "{prefix}/var"\n')
    config.chmod(0o600)
    (prefix / "bin").mkdir()
    for name in ("firstlight", "firstlight-proven"):
        launcher = prefix / "bin" / name
        launcher.write_text(LAUNCHER.format(python=sys.executable, prefix=prefix, release=release, config=config))
        launcher.chmod(0o755)
    return release
