"""Other releases of the agent for the boxes that the tests boot: the cached bundle with some files changed."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

from firstlight import __version__
from firstlight.system.bundle_file import BundleFile
from firstlight.wire import bundle
from firstlight_hub.bundle_file import write_bundle

PACKAGE = "lib/firstlight/"


def derived(base: Path, folder: Path, version: str, changes: Mapping[str, str] | None = None) -> Path:
    """A release from another one.

    Args:
        base: a bundle.
        folder: where the new one goes; made.
        version: of the new one.
        changes: file of the package, as ``cli/run.py`` -> Python to add at its end; names that begin with ``lib/`` or
            ``share/`` are taken as they are.

    Returns:
        the new bundle, not signed.
    """
    with BundleFile(str(base), bundle.LIMITS) as opened:
        manifest = bundle.decode_manifest(opened.read(bundle.MANIFEST))
        installer, packed = opened.read(bundle.INSTALLER), opened.read(bundle.PAYLOAD)
    files: dict[str, Path | bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(packed))) as archive:
        for member in archive:
            source = archive.extractfile(member)
            assert source is not None
            files[member.name] = source.read()
    head = files[f"{PACKAGE}__init__.py"]
    assert isinstance(head, bytes)
    files[f"{PACKAGE}__init__.py"] = head.replace(f'"{__version__}"'.encode(), f'"{version}"'.encode())
    for name, text in (changes or {}).items():
        if name.startswith(("lib/", "share/")):
            files[name] = text.encode()
            continue
        before = files[f"{PACKAGE}{name}"]
        assert isinstance(before, bytes)
        files[f"{PACKAGE}{name}"] = before + f"\n{text}\n".encode()
    folder.mkdir(parents=True, exist_ok=True)
    return write_bundle(folder, version, manifest.arch, manifest.pythons, files, installer, lambda _: {})
