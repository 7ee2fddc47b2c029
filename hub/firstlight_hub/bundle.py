"""Bundles: the agent and all it needs as ready-to-run files, one per architecture, from the hub itself.

A box unpacks what fits its Python and runs: no package registry, pip, venv, unzip or compiler is asked of it. The
bundle of the hub's own Python is made from what is installed beside the hub; one for every Python and for other
architectures from wheels (``python -m firstlight_hub.bundle --wheels DIR --arch aarch64``; ``make bundle`` fetches
them). ``firstlight.wire.bundle`` says what such a file holds. Two builds of the same files are equal byte for byte.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import firstlight
from firstlight.errors import FirstlightError, UsageError
from firstlight.wire.bounded import WireError
from firstlight.wire.bundle import ARCHITECTURES, bundle_name, read_public_key
from firstlight_hub import release_keys
from firstlight_hub.bundle_contents import (
    PYTHONS,
    BundleError,
    Files,
    installed_files,
    own_arch,
    own_python,
    shared_files,
)
from firstlight_hub.bundle_file import read_bundle, write_bundle
from firstlight_hub.bundle_wheels import files_of
from firstlight_hub.carried import take_carried
from firstlight_hub.installer import render_bundle_installer
from firstlight_hub.release_keys import ReleaseKeys
from firstlight_hub.shelf import Shelf, sha256

FORMAT = "2"  # grows when the layout does: bundles of an older layout are made anew
NO_KEYS = ReleaseKeys({}, {})


def ensure_bundles(directory: Path, keys: ReleaseKeys = NO_KEYS) -> Shelf:
    """Makes this machine's own bundle where nothing better is there; finds the others.

    Better is a whole bundle of this version and architecture that somebody put there: it is for more Pythons.

    Args:
        directory: where bundles lie; made if missing.
        keys: sign the own bundle, and travel in it; they tell which of the others boxes will take as an upgrade.

    Returns:
        what the hub may hand out.

    Raises:
        BundleError, RequirementError: what is installed does not make a bundle.
        OSError: the directory cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    take_carried(directory, keys)
    arch = own_arch()  # "": a hub on another system hands out what was put into the directory
    own = directory / bundle_name(firstlight.__version__, arch or ARCHITECTURES[0])
    made = bool(arch) and _ensure_own(own, arch, keys)
    return Shelf(directory, trusted=own if made else None, keys=keys.trusted())


def _ensure_own(own: Path, arch: str, keys: ReleaseKeys) -> bool:
    """Whether the file is of our own making, now or before."""
    stamp = own.with_name(f".{own.name}.inputs")
    is_stamped = stamp.exists() and own.exists() and stamp.read_text("ascii").split()[-1:] == [sha256(own)]
    if not is_stamped and _is_for(own, own_python()):
        return False
    files = installed_files(keys.public)
    made_from = _inputs_digest(files, keys)
    if is_stamped and stamp.read_text("ascii").split()[:1] == [made_from]:
        return True
    installer = render_bundle_installer()
    write_bundle(own.parent, firstlight.__version__, arch, (own_python(),), files, installer, keys.sign)
    _write_whole(stamp, f"{made_from} {sha256(own)}\n".encode("ascii"))
    return True


def _is_for(bundle: Path, python: str) -> bool:
    try:
        return python in read_bundle(bundle).manifest.pythons
    except (BundleError, OSError):
        return False


def _inputs_digest(files: Files, keys: ReleaseKeys) -> str:
    """Changes when any input does; looks at sizes and times only, so that a hub starts fast."""
    lines = [FORMAT, sys.version, *sorted(keys.signing)]
    for name, value in sorted({**files, "": render_bundle_installer()}.items()):
        if isinstance(value, bytes):
            lines.append(f"{name} {hashlib.sha256(value).hexdigest()}")
        else:
            status = value.stat()
            lines.append(f"{name} {status.st_size} {status.st_mtime_ns}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _write_whole(path: Path, content: bytes) -> None:
    beside = path.with_name(f"{path.name}.new")
    beside.write_bytes(content)
    beside.replace(path)


def build_bundle(
    wheels: Sequence[Path], arch: str, output: Path, *, pythons: Sequence[str] = PYTHONS, keys: ReleaseKeys = NO_KEYS
) -> Path:
    """Makes the bundle of an architecture from wheels.

    Args:
        wheels: wheel files of the agent's dependencies for every Python; without one of the agent, this hub's own
            agent is taken.
        arch: ``x86_64`` or ``aarch64``.
        output: directory to put it into.
        pythons: those it shall be for.
        keys: sign it, and travel in it.

    Returns:
        the bundle.

    Raises:
        BundleError, RequirementError: a wheel is broken, for something else, missing, or in conflict with another.
        UsageError: for such a Python or architecture no bundle can be made.
    """
    if unknown := [one for one in pythons if one not in PYTHONS]:
        raise UsageError("usage", f"No bundle can be made for Python {unknown[0]}, only for {', '.join(PYTHONS)}.")
    if arch not in ARCHITECTURES:
        raise UsageError("usage", f"No bundle can be made for {arch}, only for {' and '.join(ARCHITECTURES)}.")
    files = {**files_of(wheels, pythons, arch), **shared_files(keys.public)}
    output.mkdir(parents=True, exist_ok=True)
    installer = render_bundle_installer()
    return write_bundle(output, firstlight.__version__, arch, tuple(pythons), files, installer, keys.sign)


def _keys(sign: Path | None, trust: Iterable[Path]) -> ReleaseKeys:
    key = release_keys.read_key_file(sign) if sign else None
    signing = {release_keys.key_id(key): key} if key else {}
    public = {name: release_keys.public_pem(each) for name, each in signing.items()}
    for path in trust:
        try:
            pem = path.read_bytes()
            public[read_public_key(pem)[0]] = pem
        except (OSError, WireError) as error:
            raise UsageError("usage", f"{path}: {error}.", "Give a public Ed25519 key in PEM.") from None
    return ReleaseKeys(signing, public)


def main(words: Iterable[str] | None = None) -> int:
    """Makes one bundle: this Python's own, or with --wheels that of another architecture. Returns the exit status."""
    made = argparse.ArgumentParser(prog="python -m firstlight_hub.bundle", description=main.__doc__)
    made.add_argument("--output", metavar="DIR", type=Path, default=Path("dist"), help="where to put it (dist)")
    made.add_argument("--wheels", metavar="DIR", type=Path, help="wheels of the agent's dependencies")
    made.add_argument("--arch", metavar="NAME", choices=ARCHITECTURES, help="the boxes' architecture")
    made.add_argument("--python", metavar="X.Y", action="append", help=f"only for these ({', '.join(PYTHONS)})")
    made.add_argument("--sign", metavar="FILE", type=Path, help="private Ed25519 key in PEM that signs it")
    made.add_argument(
        "--trust", metavar="FILE", type=Path, action="append", default=[], help="public key to take along"
    )
    typed = made.parse_args(None if words is None else list(words))
    if (typed.wheels is None) != (typed.arch is None):
        made.error("--wheels and --arch go together")
    try:
        keys = _keys(typed.sign, typed.trust)
        if typed.wheels is None:
            found = [typed.output / one.name for one in ensure_bundles(typed.output, keys).offered()]
        else:
            wheels = sorted(typed.wheels.glob("*.whl"))
            found = [build_bundle(wheels, typed.arch, typed.output, pythons=typed.python or PYTHONS, keys=keys)]
    except FirstlightError as error:
        sys.stderr.write(f"could not make the bundle:\n  {error}\n  {error.hint}\n")
        return error.exit_status
    for path in found:
        sys.stdout.write(f"{path}: id {read_bundle(path, is_ours=True).id}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
