"""Wheels for several Pythons -> the files of one bundle, side by side.

Compiled modules carry the binary interface they are for in their names, so those of several Pythons lie in one folder.
Anything else that two wheels bring under one name must be the same; where it is not, the name is said and no bundle is
made. Of wheels that fit, the one that serves the most Pythons is taken: the stable interface of the oldest Python.
"""

from __future__ import annotations

import importlib.metadata
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from firstlight_hub import closure
from firstlight_hub.bundle_contents import AGENT, BundleError, Files, agent_files, is_kept, layers


def files_of(wheels: Sequence[Path], pythons: Sequence[str], arch: str) -> Files:
    """Everything of ``lib/`` and ``scan/``: name in the payload -> content.

    Args:
        wheels: wheel files of the agent's dependencies; without one of the agent, this hub's own agent is taken.
        pythons: ``("3.10", ...)``.
        arch: ``x86_64`` or ``aarch64``.

    Raises:
        BundleError, RequirementError: a wheel is broken, for something else, missing, or in conflict with another.
    """
    by_name: dict[str, list[Path]] = {}
    for wheel in sorted(wheels):
        by_name.setdefault(closure.canonical(wheel.name.split("-")[0]), []).append(wheel)

    @cache
    def requires(name: str) -> list[str] | None:
        if name not in by_name:
            return importlib.metadata.requires(AGENT) if name == AGENT else None
        return _requires(by_name[name][0])

    found: Files = {} if AGENT in by_name else agent_files()
    taken: set[tuple[str, Path]] = set()
    for python in pythons:
        core, scan = layers(requires, closure.environment(python, arch))
        for layer, name in [*(("lib", name) for name in core), *(("scan", name) for name in scan)]:
            if name in by_name:
                taken.add((layer, _best(by_name[name], python, pythons, arch)))
    for layer, wheel in sorted(taken):
        _merge(found, layer, wheel)
    return found


def _best(wheels: Sequence[Path], python: str, pythons: Sequence[str], arch: str) -> Path:
    fitting = [wheel for wheel in wheels if fits(wheel, python, arch)]
    if not fitting:
        raise BundleError(
            "wheel_unfit",
            f"{wheels[0].name} is not for Python {python} on {arch}.",
            "Fetch the wheels for that Python and processor, for glibc (manylinux).",
        )
    return max(fitting, key=lambda wheel: (sum(fits(wheel, one, arch) for one in pythons), wheel.name))


def fits(wheel: Path, python: str, arch: str) -> bool:
    """Whether a wheel's name says that it is for a Python on an architecture, with glibc. Raises BundleError."""
    parts = wheel.name.removesuffix(".whl").split("-")
    if len(parts) not in (5, 6) or not wheel.name.endswith(".whl"):
        raise BundleError("wheel_malformed", f"{wheel.name} is not named like a wheel.", "Give wheel files only.")
    pythons, abis, platforms = (part.split(".") for part in parts[-3:])
    own = "cp" + python.replace(".", "")
    fits_python = own in pythons or "py3" in pythons or ("abi3" in abis and any(_older(one, own) for one in pythons))
    return fits_python and any(one == "any" or (one.endswith(f"_{arch}") and "musl" not in one) for one in platforms)


def _older(tag: str, than: str) -> bool:
    return bool(re.fullmatch(r"cp3\d+", tag)) and int(tag[3:]) <= int(than[3:])


@contextmanager
def _opened(wheel: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(wheel) as archive:
            yield archive
    except (OSError, zipfile.BadZipFile, zlib.error) as error:
        raise BundleError("wheel_malformed", f"{wheel.name} cannot be read: {error}.", "Fetch it again.") from None


def _requires(wheel: Path) -> list[str]:
    with _opened(wheel) as archive:
        for name in archive.namelist():
            if re.fullmatch(r"[^/]+\.dist-info/METADATA", name):
                head = archive.read(name).decode("utf-8", "replace").partition("\n\n")[0]
                return re.findall(r"(?m)^Requires-Dist: *(.+?)\r?$", head)
    return []


def _merge(found: Files, layer: str, wheel: Path) -> None:
    with _opened(wheel) as archive:
        for entry in archive.infolist():
            name = re.sub(r"^[^/]+\.data/(purelib|platlib)/", "", entry.filename)
            if entry.is_dir() or re.match(r"[^/]+\.data/", name) or not is_kept(name):
                continue
            content = archive.read(entry)
            if found.setdefault(f"{layer}/{name}", content) != content:
                raise BundleError(
                    "wheels_in_conflict",
                    f"Two wheels bring different files as {name}, {wheel.name} one of them.",
                    "Lock one version for all Pythons, as the extra scan in pyproject.toml does.",
                )
