"""Bundles that came with the hub itself, as in its Debian package: they are put on its shelf, signed by its key.

They lie in ``bundles`` beside the hub's modules. Nobody but who installed the hub can have put them there, so they are
trusted as the hub's own program is.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import firstlight
from firstlight.wire import bundle as wire
from firstlight_hub.bundle_contents import BundleError
from firstlight_hub.bundle_file import add_signatures, read_bundle
from firstlight_hub.release_keys import ReleaseKeys

CARRIED = Path(__file__).parent / "bundles"


def take_carried(directory: Path, keys: ReleaseKeys, carried: Path = CARRIED) -> None:
    """Copies and signs those of this version that the shelf does not have; does nothing where none came along.

    One that somebody put on the shelf stays, where it is for at least as many Pythons.

    Args:
        directory: the shelf, which exists.
        keys: sign.
        carried: where the hub's own are.

    Raises:
        BundleError: what came along is no whole bundle.
        OSError: the directory cannot be written.
    """
    for arch in wire.ARCHITECTURES:
        name = wire.bundle_name(firstlight.__version__, arch)
        if (carried / name).is_file() and not _has(directory / name, carried / name):
            _take(carried / name, directory / name, keys)


def _has(place: Path, carried: Path) -> bool:
    try:
        there, ours = read_bundle(place, is_ours=True), read_bundle(carried, is_ours=True)
    except (BundleError, OSError):
        return False
    return set(there.manifest.pythons) >= set(ours.manifest.pythons)


def _take(carried: Path, place: Path, keys: ReleaseKeys) -> None:
    descriptor, beside = tempfile.mkstemp(dir=place.parent, prefix=".taking-")
    os.close(descriptor)
    try:
        shutil.copyfile(carried, beside)
        add_signatures(Path(beside), keys.sign)
        Path(beside).chmod(0o644)
        Path(beside).replace(place)
    finally:
        Path(beside).unlink(missing_ok=True)
