"""Wheels of several Pythons become the files of one bundle; what does not fit, or clashes, is named."""

from __future__ import annotations

import importlib.metadata
import zipfile
from pathlib import Path

import pytest

from firstlight import __version__
from firstlight.errors import UsageError
from firstlight_hub import closure
from firstlight_hub.bundle import build_bundle
from firstlight_hub.bundle_contents import PYTHONS, BundleError, layers
from firstlight_hub.bundle_file import read_bundle
from tests.install.conftest import KEYS
from tests.install.test_bundle import names, unpacked


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
    certifi = wheel(folder, "certifi-1", {"certifi/__init__.py": ""})
    return [*made, certifi, wheel(folder, "httpx-0.28", {"httpx/__init__.py": ""}, ("certifi", 'h2; extra == "http2"'))]


def scanning(folder: Path) -> list[Path]:
    """Wheels of the layer for scanning, compiled for each Python as the real ones are."""
    made = [wheel(folder, "pyzbar-1", {"pyzbar/__init__.py": ""})]
    for python in PYTHONS:
        abi = "cp" + python.replace(".", "")
        so = f"PIL/_imaging.cpython-{abi[2:]}-aarch64-linux-gnu.so"
        shared = {"PIL/Image.py": "", "pillow.libs/libjpeg-1.so.62": "jpeg", "pillow.libs/libavif-1.so.16": "avif"}
        made.append(wheel(folder, f"pillow-12-{abi}-{abi}-manylinux_2_28_aarch64", {**shared, so: abi}))
    made.append(wheel(folder, "zxing_cpp-3-cp310-cp310-manylinux_2_28_aarch64", {"zx.cpython-310-aarch64-x.so": ""}))
    made.append(wheel(folder, "zxing_cpp-3-cp311-abi3-manylinux_2_28_aarch64", {"zx.abi3.so": ""}))
    return made


def test_build_for_every_python(tmp_path: Path) -> None:
    """Wheels become one bundle for another architecture, signed, without byte code; twice the same."""
    wheels = dependencies(tmp_path / "w")
    first, second = (build_bundle(wheels, "aarch64", tmp_path / name, keys=KEYS) for name in ("1", "2"))

    assert first.name == f"firstlight-{__version__}-aarch64.tar"
    assert first.read_bytes() == second.read_bytes()
    found = read_bundle(first)
    assert (found.manifest.pythons, found.manifest.scan_bytes) == (PYTHONS, 0)
    assert list(found.signatures) == list(KEYS.signing)
    place = unpacked(first, tmp_path / "x")
    assert not list(place.rglob("*.pyc"))
    for name in ("lib/httpx/__init__.py", "lib/tomli/__init__.py", "lib/firstlight/errors.py", "share/setup.sh"):
        assert (place / name).exists()


def test_scanning_is_a_layer_of_its_own(tmp_path: Path) -> None:
    """With its wheels there, what reads codes lies in ``scan/``, one module for each Python, without AVIF."""
    wheels = dependencies(tmp_path / "w")
    made = build_bundle([*wheels, *scanning(tmp_path)], "aarch64", tmp_path / "1")
    found = {name for name in names(made) if name.startswith("scan/") and "dist-info" not in name}
    assert found == {
        *("scan/pyzbar/__init__.py", "scan/PIL/Image.py", "scan/pillow.libs/libjpeg-1.so.62"),
        *(f"scan/PIL/_imaging.cpython-3{minor}-aarch64-linux-gnu.so" for minor in (10, 11, 12, 13)),
        *("scan/zx.cpython-310-aarch64-x.so", "scan/zx.abi3.so"),
    }
    assert read_bundle(made).manifest.scan_bytes > 0
    without = build_bundle(wheels, "aarch64", tmp_path / "2", pythons=("3.12",))
    assert read_bundle(without).manifest.scan_bytes == 0


def test_part_of_the_scanning_wheels_is_not_enough(tmp_path: Path) -> None:
    """A layer that lacks one of its distributions is refused by name."""
    wheels = [*dependencies(tmp_path / "w"), *(one for one in scanning(tmp_path) if "pyzbar" not in one.name)]
    with pytest.raises(closure.RequirementError, match="pyzbar"):
        build_bundle(wheels, "aarch64", tmp_path)


def test_a_part_of_it_beside_a_hub_is_no_layer() -> None:
    """Pictures may be installed beside a hub for other reasons, as for printing labels: its bundle goes without."""
    known = {"firstlight": ["pillow; extra == 'scan'", "pyzbar; extra == 'scan'"], "pillow": []}
    where = closure.environment("3.12", "x86_64")
    assert layers(known.get, where, is_strict=False) == (["firstlight"], [])
    assert layers({**known, "pyzbar": []}.get, where, is_strict=False)[1] == ["pillow", "pyzbar"]


def test_one_stable_module_serves_all(tmp_path: Path) -> None:
    """Of two wheels with the same compiled module the one for the older Python is taken: it fits every one."""
    wheels = [one for one in dependencies(tmp_path / "w") if "cryptography" not in one.name]
    for abi in ("cp39", "cp311"):
        name = f"cryptography-50-{abi}-abi3-manylinux_2_28_aarch64"
        wheels.append(wheel(tmp_path, name, {"cryptography/_rust.abi3.so": abi}))
    place = unpacked(build_bundle(wheels, "aarch64", tmp_path), tmp_path / "x")
    assert (place / "lib/cryptography/_rust.abi3.so").read_text() == "cp39"


def test_real_conflict_is_named(tmp_path: Path) -> None:
    """Two wheels that bring different files under one name cannot be in one bundle."""
    wheels = [one for one in dependencies(tmp_path / "w") if "psutil" not in one.name]
    for abi in ("cp310", "cp311", "cp312", "cp313"):
        wheels.append(wheel(tmp_path, f"psutil-7-{abi}-{abi}-manylinux_2_28_aarch64", {"psutil/__init__.py": abi}))
    with pytest.raises(BundleError, match=r"different files as psutil/__init__.py, psutil-7-cp311"):
        build_bundle(wheels, "aarch64", tmp_path)


def test_build_names_a_missing_wheel(tmp_path: Path) -> None:
    """A dependency of a dependency without a wheel is named, with who needs it."""
    wheels = [one for one in dependencies(tmp_path / "w") if "certifi" not in one.name]
    with pytest.raises(closure.RequirementError, match="certifi, which httpx needs, is not there"):
        build_bundle(wheels, "x86_64", tmp_path)


@pytest.mark.parametrize(
    "tag", ["cp39-none-any", "cp311-cp311-manylinux_2_28_x86_64", "py3-none-musllinux_1_2_aarch64"]
)
def test_build_refuses_a_wheel_for_something_else(tmp_path: Path, tag: str) -> None:
    """A wheel for another Python, processor or libc is refused by name."""
    with pytest.raises(BundleError, match=r"base45-99\.0-.* is not for Python 3.12 on aarch64"):
        build_bundle(dependencies(tmp_path / "w", tag=tag), "aarch64", tmp_path, pythons=("3.12",))


def test_broken_wheel_is_named(tmp_path: Path) -> None:
    """A wheel that is no zip file gives a sentence with its name."""
    wheels = dependencies(tmp_path / "w")
    (broken,) = (one for one in wheels if one.name.startswith("httpx"))
    broken.write_bytes(b"<html>")
    with pytest.raises(BundleError, match=r"httpx-0.28-py3-none-any\.whl cannot be read"):
        build_bundle(wheels, "x86_64", tmp_path)


@pytest.mark.parametrize(("arch", "python"), [("riscv64", "3.12"), ("x86_64", "3.9")])
def test_unknown_boxes_are_refused(tmp_path: Path, arch: str, python: str) -> None:
    """For another architecture or Python no bundle is made, and it is said for which one is."""
    with pytest.raises(UsageError, match="No bundle can be made for"):
        build_bundle([], arch, tmp_path, pythons=(python,))


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
