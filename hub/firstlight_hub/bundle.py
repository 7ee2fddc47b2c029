"""Bundles: the agent and all it needs as ready-to-run files for one Python and processor, from the hub itself.

A box unpacks one and runs: no package registry, pip, venv, unzip or compiler is asked of it. The bundle of the hub's
own Python is made from what is installed beside the hub; bundles for other boxes are made from wheels
(``python -m firstlight_hub.bundle --wheels DIR --python 3.12 --arch aarch64``). Two builds of the same files are equal
byte for byte.

    firstlight-VERSION-cp311-x86_64.tar.gz
        lib/      the packages, byte-compiled where the hub runs the same Python; else the install script compiles
        share/    firstlight.service, start-service.sh, uninstall.sh
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import firstlight
from firstlight.errors import FirstlightError, UsageError
from firstlight_hub import closure
from firstlight_hub.shelf import Shelf, sha256

FORMAT = "1"  # grows when the layout does: bundles of an older layout are made anew
AGENT = "firstlight"
ON_THE_BOX = ("firstlight.service", "start-service.sh", "uninstall.sh")  # of systemd/, the only copies
WHEEL_MACHINES = {"arm": "armv7l", "i386": "i686"}  # where binary interface and wheels name it differently
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
COMPILE_TIMEOUT_S = 120
# Sources of compiled modules, types and tests: nothing of it is read on a box.
UNUSED_SUFFIXES = (".pyi", ".typed", ".pyx", ".pxd", ".c", ".h", ".rs", ".pyc")
UNUSED_FOLDERS = ("tests", "test", "__pycache__")
KEPT_OF_METADATA = re.compile(r"METADATA$|licenses/|(LICEN[CS]E|COPYING|NOTICE|AUTHORS)", re.IGNORECASE)


class BundleError(FirstlightError):
    """A bundle that cannot be made from what is there."""

    exit_status = 70
    is_permanent = True


def shipped(name: str) -> Path:
    """A file that travels inside this package, or lies at the root of the source tree it runs from."""
    inside = Path(__file__).parent / name
    return inside if inside.exists() else Path(__file__).parents[2] / name


def own_tag() -> str:
    """The tag of the running interpreter: ``cp311-x86_64``. The install script asks the box's Python the same way.

    From the interpreter's binary interface, so that a 32-bit Python under a 64-bit kernel, a free-threaded one and
    one on musl are told apart.
    """
    _, number, machine, _, libc = sysconfig.get_config_var("SOABI").split("-")
    return f"cp{number}-{machine}" + ("-musl" if libc == "musl" else "")


def ensure_bundles(directory: Path) -> Shelf:
    """Makes this machine's own bundle if it is missing or stale; finds the others.

    Args:
        directory: where bundles lie; made if missing.

    Returns:
        what the hub may hand out: every valid bundle of this version.

    Raises:
        BundleError, RequirementError: what is installed does not make a bundle.
        OSError: the directory cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    own = directory / f"{AGENT}-{firstlight.__version__}-{own_tag()}.tar.gz"
    if sys.platform == "linux":  # a hub on another system hands out what was put into the directory
        _ensure_own(own)
    return Shelf(directory, trusted=own)


def _ensure_own(own: Path) -> None:
    stamp = own.with_name(f".{own.name}.inputs")
    files = _installed_files()
    made_from = _inputs_digest(files)
    if own.exists() and stamp.exists() and stamp.read_text("ascii") == f"{made_from} {sha256(own)}\n":
        return
    with tempfile.TemporaryDirectory() as stage:
        for name, path in files.items():
            _put(Path(stage), name, path.read_bytes())
        _byte_compile(Path(stage))
        _pack(Path(stage), own)
    _write_whole(stamp, f"{made_from} {sha256(own)}\n".encode("ascii"))


def build_bundle(wheels: Sequence[Path], tag: str, output: Path) -> Path:
    """Makes the bundle of another Python or processor from wheels.

    Args:
        wheels: wheel files of the agent's dependencies; without one of the agent, this hub's own agent is taken.
        tag: ``cp312-aarch64``.
        output: directory to put it into.

    Returns:
        the bundle.

    Raises:
        BundleError, RequirementError: a wheel is broken, for something else, or missing.
    """
    python, machine = _parsed_tag(tag)
    by_name = {closure.canonical(path.name.split("-")[0]): path for path in sorted(wheels)}
    requires = {name: _wheel_requires(path) for name, path in by_name.items()}
    requires.setdefault(AGENT, importlib.metadata.requires(AGENT) or [])
    needed = closure.closure(AGENT, requires.get, closure.environment(python, machine))
    with tempfile.TemporaryDirectory() as stage:
        place = Path(stage)
        for wheel in (by_name[name] for name in needed if name in by_name):
            _check_fit(wheel, python, machine)
            _unpack_wheel(wheel, place)
        if AGENT not in by_name:
            for name, file in _agent_files().items():
                _put(place, name, file.read_bytes())
        for name, file in _shared_files().items():
            _put(place, name, file.read_bytes())
        if python == f"{sys.version_info[0]}.{sys.version_info[1]}":
            _byte_compile(place)
        output.mkdir(parents=True, exist_ok=True)
        bundle = output / f"{AGENT}-{firstlight.__version__}-{tag}.tar.gz"
        _pack(place, bundle)
    return bundle


# ---- what goes in --------------------------------------------------------------------------------------------------


def _agent_files() -> dict[str, Path]:
    # From where this very process imports the agent: what the hub speaks and what it hands out is one version.
    package = Path(firstlight.__file__).parent
    found = {f"lib/{AGENT}/{path.relative_to(package).as_posix()}": path for path in sorted(package.rglob("*"))}
    return {name: path for name, path in found.items() if path.is_file() and is_kept(name.removeprefix("lib/"))}


def _shared_files() -> dict[str, Path]:
    return {f"share/{name}": shipped(f"systemd/{name}") for name in ON_THE_BOX}


def _installed_files() -> dict[str, Path]:
    """Everything of the bundle for the running interpreter: name in the bundle -> file."""
    found = {**_agent_files(), **_shared_files()}
    for name in closure.closure(AGENT, _installed_requires, closure.own_environment()):
        distribution = importlib.metadata.distribution(name)
        for file in distribution.files or ():
            if is_kept(file.as_posix()) and not (name == AGENT and file.parts[0] == AGENT):
                found[f"lib/{file.as_posix()}"] = Path(str(distribution.locate_file(file)))
    if missing := [name for name, path in found.items() if not path.is_file()]:
        raise BundleError(
            "bundle_incomplete",
            f"{len(missing)} installed files are gone, {missing[0]} among them.",
            "Install the hub anew.",
        )
    return found


def _installed_requires(name: str) -> list[str] | None:
    try:
        return importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return None


def is_kept(name: str) -> bool:
    """Whether a file of a distribution belongs into a bundle; ``name`` is relative to site-packages."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or set(path.parts[:-1]) & set(UNUSED_FOLDERS):
        return False
    if path.parts[0].endswith((".dist-info", ".egg-info")):
        return bool(KEPT_OF_METADATA.match("/".join(path.parts[1:])))
    # Loose .pth files act on a site-packages directory only; a bundle is none.
    return path.suffix not in UNUSED_SUFFIXES and path.suffix != ".pth"


def _inputs_digest(files: Mapping[str, Path]) -> str:
    """Changes when any input does; looks at sizes and times only, so that a hub starts fast."""
    lines = [FORMAT, sys.version]
    for name, path in sorted(files.items()):
        status = path.stat()
        lines.append(f"{name} {status.st_size} {status.st_mtime_ns}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


# ---- wheels --------------------------------------------------------------------------------------------------------


def _parsed_tag(tag: str) -> tuple[str, str]:
    match = re.fullmatch(r"cp3(\d{1,2})-([a-z0-9_]{1,16})", tag)
    if match is None or f"3.{match[1]}" not in PYTHONS:
        raise UsageError("usage", f"No bundle can be made for {tag!r}: Python is one of {', '.join(PYTHONS)}.")
    return f"3.{match[1]}", match[2]


def _check_fit(wheel: Path, python: str, machine: str) -> None:
    parts = wheel.name.removesuffix(".whl").split("-")
    if len(parts) not in (5, 6) or not wheel.name.endswith(".whl"):
        raise BundleError("wheel_malformed", f"{wheel.name} is not named like a wheel.", "Give wheel files only.")
    pythons, abis, platforms = (part.split(".") for part in parts[-3:])
    own = "cp" + python.replace(".", "")
    fits_python = own in pythons or "py3" in pythons or ("abi3" in abis and any(_older(one, own) for one in pythons))
    named = WHEEL_MACHINES.get(machine, machine)
    fits_machine = any(one == "any" or (one.endswith(f"_{named}") and "musl" not in one) for one in platforms)
    if not (fits_python and fits_machine):
        raise BundleError(
            "wheel_unfit",
            f"{wheel.name} is not for Python {python} on {machine}.",
            "Fetch the wheels for that Python and processor, for glibc (manylinux).",
        )


def _older(tag: str, than: str) -> bool:
    return bool(re.fullmatch(r"cp3\d+", tag)) and int(tag[3:]) <= int(than[3:])


@contextmanager
def _opened(wheel: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(wheel) as archive:
            yield archive
    except (OSError, zipfile.BadZipFile, zlib.error) as error:
        raise BundleError("wheel_malformed", f"{wheel.name} cannot be read: {error}.", "Fetch it again.") from None


def _wheel_requires(wheel: Path) -> list[str]:
    with _opened(wheel) as archive:
        for name in archive.namelist():
            if re.fullmatch(r"[^/]+\.dist-info/METADATA", name):
                head = archive.read(name).decode("utf-8", "replace").partition("\n\n")[0]
                return re.findall(r"(?m)^Requires-Dist: *(.+?)\r?$", head)
    return []


def _unpack_wheel(wheel: Path, stage: Path) -> None:
    with _opened(wheel) as archive:
        for entry in archive.infolist():
            name = re.sub(r"^[^/]+\.data/(purelib|platlib)/", "", entry.filename)
            if not entry.is_dir() and not re.match(r"[^/]+\.data/", name) and is_kept(name):
                _put(stage, f"lib/{name}", archive.read(entry))


# ---- packing -------------------------------------------------------------------------------------------------------


def _put(stage: Path, name: str, content: bytes) -> None:
    path = stage / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _byte_compile(stage: Path) -> None:
    # In a process of its own with a fixed hash seed: the same sources give the same bytes. Unchecked: files on a box
    # never change, so it need not look at the sources at each start.
    command = [sys.executable, "-s", "-S", "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash"]
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(  # noqa: S603 - our own interpreter on files that we just wrote
        [*command, "-s", str(stage / "lib"), str(stage / "lib")],
        cwd=stage,
        env={**plain, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        timeout=COMPILE_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise BundleError("bundle_uncompilable", f"A file does not compile: {(done.stdout or done.stderr)[:300]}")


def _pack(stage: Path, bundle: Path) -> None:
    names = sorted(path.relative_to(stage).as_posix() for path in stage.rglob("*") if path.is_file())
    with tempfile.NamedTemporaryFile(dir=bundle.parent, prefix=".making-", delete=False) as raw:
        try:
            with (
                gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=raw, mtime=0) as packed,
                tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
            ):
                for name in names:
                    content = (stage / name).read_bytes()
                    member = tarfile.TarInfo(name)  # owner 0, time 0
                    member.size, member.mode = len(content), 0o644
                    with (stage / name).open("rb") as file:
                        archive.addfile(member, file)
            raw.flush()
            Path(raw.name).chmod(0o644)
            Path(raw.name).replace(bundle)
        except BaseException:
            Path(raw.name).unlink(missing_ok=True)
            raise


def _write_whole(path: Path, content: bytes) -> None:
    beside = path.with_name(f"{path.name}.new")
    beside.write_bytes(content)
    beside.replace(path)


# ---- the command ---------------------------------------------------------------------------------------------------


def main(words: Iterable[str] | None = None) -> int:
    """Makes one bundle: this Python's own, or with --wheels that of another. Returns the exit status."""
    made = argparse.ArgumentParser(prog="python -m firstlight_hub.bundle", description=main.__doc__)
    made.add_argument("--output", metavar="DIR", type=Path, default=Path("dist"), help="where to put it (dist)")
    made.add_argument("--wheels", metavar="DIR", type=Path, help="wheels of the agent's dependencies for that box")
    made.add_argument("--python", metavar="X.Y", choices=PYTHONS, help=f"the box's Python: {', '.join(PYTHONS)}")
    made.add_argument("--arch", metavar="NAME", default=platform.machine(), help="the box's processor (this machine's)")
    typed = made.parse_args(None if words is None else list(words))
    if (typed.wheels is None) != (typed.python is None):
        made.error("--wheels and --python go together")
    try:
        if typed.wheels is None:
            found = ensure_bundles(typed.output).offered()
        else:
            tag = f"cp{typed.python.replace('.', '')}-{typed.arch}"
            bundle = build_bundle(sorted(typed.wheels.glob("*.whl")), tag, typed.output)
            found = {bundle.name: sha256(bundle)}
    except FirstlightError as error:
        sys.stderr.write(f"could not make the bundle:\n  {error}\n  {error.hint}\n")
        return error.exit_status
    for name, digest in found.items():
        sys.stdout.write(f"{digest}  {typed.output / name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
