"""Bundles: equal byte for byte, nothing that reaches outside, complete, made anew when stale, from wheels too."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from firstlight import __version__
from firstlight_hub import closure
from firstlight_hub.bundle import BundleError, build_bundle, ensure_bundles, is_kept, main, own_tag
from firstlight_hub.shelf import Shelf, is_whole
from tests.install.conftest import Bundles

PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
OTHER = "3.12" if PYTHON != "3.12" else "3.11"


def unpacked(bundle: Path, place: Path) -> Path:
    """A bundle's files below a directory."""
    with tarfile.open(bundle) as archive:
        archive.extractall(place)  # noqa: S202 - made by us a moment ago
    return place


def wheel(folder: Path, name: str, files: dict[str, str], requires: tuple[str, ...] = ()) -> Path:
    """A wheel with these files, for any Python unless the name says more."""
    project, version = name.split("-")[:2]
    file = folder / f"{name if name.count('-') > 1 else f'{name}-py3-none-any'}.whl"
    lines = [f"Requires-Dist: {line}" for line in requires]
    with zipfile.ZipFile(file, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        head = "\n".join(["Metadata-Version: 2.1", f"Name: {project}", f"Version: {version}", *lines, "", "text"])
        archive.writestr(f"{project}-{version}.dist-info/METADATA", head)
    return file


def dependencies(folder: Path, *, tag: str = "py3-none-any") -> list[Path]:
    """Wheels of the agent's direct dependencies, hollow but for a module each."""
    folder.mkdir()
    lines = importlib.metadata.requires("firstlight") or []
    required = {line.partition("<")[0].partition(">")[0] for line in lines if "extra" not in line} - {"httpx"}
    names = {name.replace("-", "_") for name in required}  # as wheels are called
    made = [wheel(folder, f"{name}-99.0-{tag}", {f"{name}/__init__.py": "X = {'a', 'b', 'c'}\n"}) for name in names]
    return [*made, wheel(folder, "httpx-0.28", {"httpx/__init__.py": ""}, ("certifi", 'h2; extra == "http2"'))]


def test_two_builds_are_equal(bundles: Bundles, tmp_path: Path) -> None:
    """The same installed files give the same bundle, byte for byte."""
    assert ensure_bundles(tmp_path).offered() == bundles.known
    assert (tmp_path / bundles.own.name).read_bytes() == bundles.own.read_bytes()


def test_holds_only_plain_relative_files(bundles: Bundles) -> None:
    """No link, no absolute path, no way out, no tests, no stubs; owner and times are nobody's."""
    with tarfile.open(bundles.own) as archive:
        members = archive.getmembers()

    assert all(member.isfile() for member in members)
    assert all(member.name.split("/")[0] in ("lib", "share") and ".." not in member.name for member in members)
    assert {(member.uid, member.gid, member.mtime, member.mode) for member in members} == {(0, 0, 0, 0o644)}
    assert not [member.name for member in members if "/tests/" in member.name or member.name.endswith(".pyi")]
    assert bundles.own.stat().st_size < 20_000_000


def test_runs_from_its_files_alone(bundles: Bundles, tmp_path: Path) -> None:
    """An isolated interpreter without site-packages imports the agent and every library from the bundle."""
    lib = unpacked(bundles.own, tmp_path) / "lib"
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import httpx, psutil, cryptography.x509, firstlight.cli.enroll, firstlight.cli.status\n"
        "from firstlight.cli.main import main; print(httpx.__file__); sys.exit(main(['--version']))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, str(lib)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{lib}/httpx/__init__.py\nfirstlight {__version__}\n"


def test_has_byte_code_that_is_never_checked(bundles: Bundles, tmp_path: Path) -> None:
    """Every module comes compiled; its byte code says not to look at the source (PEP 552: flags 1)."""
    lib = unpacked(bundles.own, tmp_path) / "lib"
    sources = {path for path in lib.rglob("*.py") if path.parent.name != "__pycache__"}
    compiled = list(lib.rglob("*.pyc"))
    assert len(compiled) == len(sources)
    assert {path.read_bytes()[4:8] for path in compiled} == {b"\x01\x00\x00\x00"}
    assert not [path for path in compiled if str(tmp_path.parent).encode() in path.read_bytes()]


def test_second_call_makes_nothing(bundles: Bundles) -> None:
    """A bundle that fits what is installed is left as it is."""
    before = bundles.own.stat().st_mtime_ns
    assert ensure_bundles(bundles.folder).offered() == bundles.known
    assert bundles.own.stat().st_mtime_ns == before


def test_damaged_own_bundle_is_made_anew(bundles: Bundles, tmp_path: Path) -> None:
    """An own bundle that is not what was made is replaced."""
    folder = tmp_path / "bundles"
    shutil.copytree(bundles.folder, folder)
    with (folder / bundles.own.name).open("r+b") as file:
        file.truncate(1000)
    assert ensure_bundles(folder).offered() == bundles.known


def test_only_whole_bundles_of_this_version_count(bundles: Bundles, tmp_path: Path) -> None:
    """A bundle from elsewhere counts when it is complete; a cut one, another version and rubbish do not."""
    folder = tmp_path / "bundles"
    shutil.copytree(bundles.folder, folder)
    body = bundles.own.read_bytes()
    whole = f"firstlight-{__version__}-cp310-aarch64.tar.gz"
    (folder / whole).write_bytes(body)
    (folder / f"firstlight-{__version__}-cp313-aarch64.tar.gz").write_bytes(body[: len(body) // 2])
    (folder / "firstlight-9.9.9-cp313-aarch64.tar.gz").write_bytes(body)
    (folder / f"firstlight-{__version__}-cp39-x.tar.gz").write_bytes(b"junk")
    assert sorted(ensure_bundles(folder).offered()) == sorted({whole, bundles.own.name})


def test_bundle_put_there_later_is_found(bundles: Bundles, tmp_path: Path) -> None:
    """A bundle counts from the look after it is whole: not while it is copied, not under a temporary name."""
    name = f"firstlight-{__version__}-cp310-aarch64.tar.gz"
    body = bundles.own.read_bytes()
    shelf = Shelf(tmp_path)
    assert shelf.offered() == {}
    (tmp_path / f".{name}.part").write_bytes(body)
    with (tmp_path / name).open("wb", buffering=0) as file:  # as scp does it: the directory changes at the start only
        for part in (body[:1000], body[1000:-4], body[-4:-1]):
            file.write(part)
            assert shelf.offered() == {}
        file.write(body[-1:])
    assert shelf.offered() == {name: bundles.known[bundles.own.name]}
    (tmp_path / name).write_bytes(body[:1000])
    assert shelf.offered() == {}
    (tmp_path / name).unlink()
    assert Shelf(tmp_path / "gone").offered() == shelf.offered() == {}


def test_what_is_no_plain_file_is_not_opened(tmp_path: Path) -> None:
    """A pipe or a directory with a bundle's name neither counts nor holds the hub up."""
    os.mkfifo(tmp_path / f"firstlight-{__version__}-cp310-aarch64.tar.gz")
    (tmp_path / f"firstlight-{__version__}-cp311-aarch64.tar.gz").mkdir()
    assert Shelf(tmp_path).offered() == {}


def test_known_bundle_is_not_read_again(bundles: Bundles, tmp_path: Path) -> None:
    """A look at unchanged bundles reads none of them: one with the same inode, size and time keeps its hash."""
    name = f"firstlight-{__version__}-cp310-aarch64.tar.gz"
    shutil.copy(bundles.own, tmp_path / name)
    shelf = Shelf(tmp_path)
    before, status = shelf.offered(), (tmp_path / name).stat()
    with (tmp_path / name).open("r+b") as file:
        file.write(b"other bytes")
    os.utime(tmp_path / name, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert shelf.offered() == before
    assert Shelf(tmp_path).offered() == {}


def test_bundle_that_reaches_outside_is_not_whole(tmp_path: Path) -> None:
    """A tar with the right module and a link or a path outside is refused."""
    for evil, kind in (("lib/../../x", tarfile.REGTYPE), ("lib/x", tarfile.SYMTYPE), ("/etc/x", tarfile.REGTYPE)):
        bundle = tmp_path / "evil.tar.gz"
        with tarfile.open(bundle, "w:gz") as archive:
            archive.addfile(tarfile.TarInfo("lib/firstlight/__init__.py"))
            member = tarfile.TarInfo(evil)
            member.type, member.linkname = kind, "/etc/passwd" if kind == tarfile.SYMTYPE else ""
            archive.addfile(member)
        assert not is_whole(bundle), evil


def test_tag_is_that_of_the_platform() -> None:
    """The tag names this Python and the machine that its own wheels are for."""
    assert own_tag().startswith(f"cp{PYTHON.replace('.', '')}")
    assert own_tag().split("-")[1] in sysconfig.get_platform().replace("armv7l", "arm")


def test_build_from_wheels_for_another_python(tmp_path: Path) -> None:
    """Wheels become a bundle for another Python; without byte code, which only that Python can make; twice the same."""
    wheels = [*dependencies(tmp_path / "w"), wheel(tmp_path, "certifi-1", {"certifi/__init__.py": ""})]
    tag = f"cp{OTHER.replace('.', '')}-aarch64"
    first, second = build_bundle(wheels, tag, tmp_path / "1"), build_bundle(wheels, tag, tmp_path / "2")

    assert first.name == f"firstlight-{__version__}-{tag}.tar.gz"
    assert first.read_bytes() == second.read_bytes()
    assert is_whole(first)
    place = unpacked(first, tmp_path / "x")
    assert not list(place.rglob("*.pyc"))
    assert (place / "lib/httpx/__init__.py").exists()
    assert not (place / "lib/tomli").exists()  # only Python 3.10 needs it
    assert (place / "share/firstlight.service").exists()


def test_build_names_a_missing_wheel(tmp_path: Path) -> None:
    """A dependency of a dependency without a wheel is named, with who needs it."""
    with pytest.raises(closure.RequirementError, match="certifi, which httpx needs, is not there"):
        build_bundle(dependencies(tmp_path / "w"), "cp311-x86_64", tmp_path)


@pytest.mark.parametrize(
    "tag", ["cp39-none-any", "cp311-cp311-manylinux_2_28_x86_64", "py3-none-musllinux_1_2_aarch64"]
)
def test_build_refuses_a_wheel_for_something_else(tmp_path: Path, tag: str) -> None:
    """A wheel for another Python, processor or libc is refused by name."""
    with pytest.raises(BundleError, match=r"cryptography.*is not for Python 3.12 on aarch64"):
        build_bundle(
            [*dependencies(tmp_path / "w", tag=tag), wheel(tmp_path, "certifi-1", {})], "cp312-aarch64", tmp_path
        )


def test_build_takes_stable_abi_wheels(tmp_path: Path) -> None:
    """A wheel for the stable binary interface of an older Python fits a newer one."""
    wheels = dependencies(tmp_path / "w", tag="cp37-abi3-manylinux_2_17_aarch64.manylinux2014_aarch64")
    made = build_bundle([*wheels, wheel(tmp_path, "certifi-1", {"certifi/__init__.py": ""})], "cp312-aarch64", tmp_path)
    assert is_whole(made)


def test_broken_wheel_is_named(tmp_path: Path) -> None:
    """A wheel that is no zip file gives a sentence with its name."""
    broken = tmp_path / "httpx-1-py3-none-any.whl"
    broken.write_bytes(b"<html>")
    with pytest.raises(BundleError, match=r"httpx-1-py3-none-any\.whl cannot be read"):
        build_bundle([broken], "cp311-x86_64", tmp_path)


def test_command_prints_hash_and_file(bundles: Bundles, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``python -m firstlight_hub.bundle`` prints what sha256sum would check."""
    assert main(["--output", str(tmp_path)]) == 0
    name, digest = next(iter(bundles.known.items()))
    assert capsys.readouterr().out == f"{digest}  {tmp_path / name}\n"


def test_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A wheel directory without the wheels ends in a sentence and a status, no traceback."""
    words = ["--output", str(tmp_path), "--wheels", str(tmp_path), "--python", "3.12", "--arch", "aarch64"]
    assert main(words) == 70
    assert "which firstlight needs, is not there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("httpx/_api.py", True),
        ("_cffi_backend.cpython-311-x86_64-linux-gnu.so", True),
        ("httpx-0.28.dist-info/METADATA", True),
        ("httpx-0.28.dist-info/licenses/LICENSE.md", True),
        ("httpx-0.28.dist-info/RECORD", False),
        ("psutil/tests/test_all.py", False),
        ("psutil/__init__.pyi", False),
        ("httpx/__pycache__/_api.cpython-311.pyc", False),
        ("../../../bin/httpx", False),
        ("/etc/passwd", False),
        ("distutils-precedence.pth", False),
    ],
)
def test_keeps_what_runs(name: str, kept: bool) -> None:
    """Code, compiled modules, metadata and licences are kept; tests, stubs, byte code and what lies outside are not."""
    assert is_kept(name) is kept


@pytest.mark.parametrize(
    ("marker", "true"),
    [
        ("", True),
        ("python_version < '3.11'", False),
        ("python_version >= '3.9' and python_full_version != '3.12.0'", True),
        ("extra == 'http2'", False),
        ("(platform_machine == 'aarch64' or os_name == \"nt\") and sys_platform in 'linux linux2'", True),
        ("platform_python_implementation != 'PyPy'", True),
        ("python_version not in '3.9'", True),
    ],
)
def test_markers_are_understood(marker: str, true: bool) -> None:
    """Environment markers compare versions as numbers and everything else as text."""
    assert closure.holds(marker, closure.environment("3.12.1", "aarch64")) is true


@pytest.mark.parametrize("marker", ["__import__('os')", "python_version < ", "nobody == 'knows'", "1 < 2", "a" * 5000])
def test_strange_marker_is_refused(marker: str) -> None:
    """What is not a marker is refused by name and never evaluated."""
    with pytest.raises(closure.RequirementError, match="cannot be understood"):
        closure.holds(marker, closure.own_environment())


def test_unwritable_directory_is_an_os_error(tmp_path: Path) -> None:
    """A file where the directory should be is reported by the operating system, not swallowed."""
    (tmp_path / "bundles").write_text("")
    with pytest.raises(OSError, match=os.strerror(17)):
        ensure_bundles(tmp_path / "bundles")
