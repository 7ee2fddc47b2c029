"""Bundles: equal byte for byte, nothing that reaches outside, complete, made anew when stale."""

from __future__ import annotations

import ast
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import firstlight
from firstlight import __version__
from firstlight.wire import bundle as wire
from firstlight_hub.bundle import ensure_bundles, main
from firstlight_hub.bundle_contents import BundleError, Files, is_kept, own_arch, own_python
from firstlight_hub.bundle_file import add_signatures, read_bundle, write_bundle
from firstlight_hub.shelf import Shelf
from tests.install.conftest import KEYS, Bundles

ON_A_BOX = {  # of the agent's requirements, what its modules import there
    *("certifi", "cryptography.x509", "h11", "httpcore", "httpx", "idna", "paho.mqtt.client", "psutil"),
}


def unpacked(bundle: Path, place: Path) -> Path:
    """A bundle's payload below a directory."""
    with tarfile.open(bundle) as archive:
        payload = archive.extractfile(wire.PAYLOAD)
        assert payload
        with tarfile.open(fileobj=io.BytesIO(payload.read())) as files:
            files.extractall(place)  # noqa: S202 - made by us a moment ago
    return place


def names(bundle: Path) -> list[str]:
    """The names in a bundle's payload."""
    with tarfile.open(bundle) as archive:
        payload = archive.extractfile(wire.PAYLOAD)
        assert payload
        with tarfile.open(fileobj=io.BytesIO(payload.read())) as files:
            return files.getnames()


def small(
    folder: Path, arch: str = "aarch64", *, version: str = __version__, pythons: tuple[str, ...] = ("3.10",)
) -> Path:
    """A signed bundle that is whole, and nearly empty."""
    folder.mkdir(exist_ok=True)
    files: Files = {"lib/firstlight/__init__.py": version.encode()}
    return write_bundle(folder, version, arch, pythons, files, b"#!/bin/sh\n", KEYS.sign)


def test_two_builds_are_equal(bundles: Bundles, tmp_path: Path) -> None:
    """The same installed files give the same bundle, byte for byte."""
    assert ensure_bundles(tmp_path, KEYS).offered() == bundles.known
    assert (tmp_path / bundles.own.name).read_bytes() == bundles.own.read_bytes()


def test_has_four_members_in_their_order(bundles: Bundles) -> None:
    """Manifest, signatures, installer, payload; owner and times are nobody's; the manifest tells the truth."""
    with tarfile.open(bundles.own) as archive:
        members = archive.getmembers()
    found = read_bundle(bundles.own)
    assert tuple(member.name for member in members) == wire.MEMBERS
    assert {(one.uid, one.gid, one.mtime, one.mode, one.type) for one in members} == {(0, 0, 0, 0o644, tarfile.REGTYPE)}
    assert (found.manifest.version, found.manifest.arch) == (__version__, own_arch())
    assert found.manifest.pythons == (own_python(),)
    assert wire.verify(found.manifest_bytes, wire.encode_signatures(found.signatures), KEYS.trusted())
    assert found.manifest.core_bytes <= 26_000_000


def test_payload_holds_only_plain_relative_files(bundles: Bundles) -> None:
    """No odd name, no tests, stubs or byte code, nothing that is never imported; units, scripts and keys are there."""
    found = names(bundles.own)
    assert all(wire.is_member(name) for name in found)
    assert not [name for name in found if "/tests/" in name or name.endswith((".pyi", ".pyc", ".c", ".h"))]
    assert not [name for name in found if name.startswith(("lib/pycparser", "lib/cffi/", "lib/psutil/_pswindows"))]
    for name in ("share/firstlight.service", "share/setup.sh", "share/start-service.sh", "share/uninstall.sh"):
        assert name in found
    assert f"share/trust.d/{next(iter(KEYS.public))}.pub" in found


def test_every_module_imports_from_its_files_alone(bundles: Bundles, tmp_path: Path) -> None:
    """An isolated interpreter without site-packages imports each module of the agent, and what each names lazily."""
    lib = unpacked(bundles.own, tmp_path) / "lib"
    modules, lazily = [], set(ON_A_BOX)
    for path in sorted((lib / "firstlight").rglob("*.py")):
        modules.append(".".join(path.relative_to(lib).with_suffix("").parts).removesuffix(".__init__"))
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("cryptography"):
                lazily.add(node.module)
    script = (
        "import sys, importlib; sys.path.insert(0, sys.argv[1])\n"
        "for name in sys.argv[2:]:\n"
        "    if not name.endswith('__main__'): importlib.import_module(name)\n"
        "import httpx, ssl; httpx.Client(verify=ssl.create_default_context()).close()\n"
        "from cryptography.hazmat.primitives.asymmetric import ed25519; ed25519.Ed25519PrivateKey.generate()\n"
        "from firstlight.cli.main import main; print(httpx.__file__); sys.exit(main(['--version']))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, str(lib), *modules, *sorted(lazily)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert len(modules) > 60
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{lib}/httpx/__init__.py\nfirstlight {firstlight.__version__}\n"


def test_second_call_makes_nothing(bundles: Bundles) -> None:
    """A bundle that fits what is installed is left as it is."""
    before = bundles.own.stat().st_mtime_ns
    assert ensure_bundles(bundles.folder, KEYS).offered() == bundles.known
    assert bundles.own.stat().st_mtime_ns == before


def test_damaged_own_bundle_is_made_anew(bundles: Bundles, tmp_path: Path) -> None:
    """An own bundle that is not what was made is replaced."""
    folder = tmp_path / "bundles"
    shutil.copytree(bundles.folder, folder)
    with (folder / bundles.own.name).open("r+b") as file:
        file.truncate(1000)
    assert ensure_bundles(folder, KEYS).offered() == bundles.known


def test_better_bundle_of_somebody_else_stays(tmp_path: Path) -> None:
    """A bundle for more Pythons that was put there is not replaced by the hub's own; one for others only is."""
    pythons = ("3.10", "3.11", "3.12", "3.13")
    better = small(tmp_path / "better", own_arch(), pythons=pythons)
    before = better.read_bytes()
    assert [one.pythons for one in ensure_bundles(better.parent, KEYS).offered()] == [pythons]
    assert better.read_bytes() == before
    unfit = small(tmp_path / "unfit", own_arch(), pythons=("3.10" if own_python() != "3.10" else "3.11",))
    assert [one.pythons for one in ensure_bundles(unfit.parent, KEYS).offered()] == [(own_python(),)]


def test_another_key_is_a_reason_to_make_it_anew(bundles: Bundles, tmp_path: Path) -> None:
    """A hub whose release key changed makes its own bundle again: it holds the keys and their signatures."""
    folder = tmp_path / "bundles"
    shutil.copytree(bundles.folder, folder)
    (unsigned,) = ensure_bundles(folder).offered()
    assert not unsigned.is_signed
    assert unsigned.id != bundles.known[0].id


def test_only_whole_bundles_count(bundles: Bundles, tmp_path: Path) -> None:
    """A bundle from elsewhere counts when it is complete; a cut, renamed or foreign file and an old format do not."""
    body = small(tmp_path).read_bytes()
    (tmp_path / f"firstlight-{__version__}-x86_64.tar").write_bytes(body)  # of another architecture
    (tmp_path / "firstlight-9.9.9-aarch64.tar").write_bytes(body)  # of another version
    (tmp_path / "firstlight-8.8.8-aarch64.tar").write_bytes(body[: len(body) // 2])
    (tmp_path / "firstlight-7.7.7-aarch64.tar").write_bytes(b"junk")
    (tmp_path / f"firstlight-{__version__}-cp311-x86_64.tar.gz").write_bytes(b"junk")
    assert [one.name for one in Shelf(tmp_path).offered()] == [f"firstlight-{__version__}-aarch64.tar"]


def test_newest_signed_release_is_found(tmp_path: Path) -> None:
    """Of several versions the newest that fits architecture and Python is found, unsigned ones only where asked for."""
    for version in ("0.2.0", "0.10.0", "0.9.0"):
        small(tmp_path, version=version, pythons=("3.10", "3.12"))
    files: Files = {"lib/firstlight/__init__.py": b""}
    write_bundle(tmp_path, "0.11.0", "aarch64", ("3.10",), files, b"", lambda manifest: {})
    shelf = Shelf(tmp_path, keys=KEYS.trusted())
    found = shelf.newest("aarch64", "3.12.1")
    assert found is not None
    assert (found.version, found.is_signed, found.id) == ("0.10.0", True, read_bundle(tmp_path / found.name).id)
    assert [one.version for one in shelf.offered()] == ["0.11.0", "0.10.0", "0.9.0", "0.2.0"]
    assert shelf.newest("x86_64", "3.12") is shelf.newest("aarch64", "3.13") is None
    for asked, version in (({"is_signed": False}, "0.11.0"), ({"version": "0.9.0"}, "0.9.0")):
        one = shelf.newest("aarch64", "3.10", **asked)
        assert one is not None and one.version == version
    assert Shelf(tmp_path).newest("aarch64", "3.10") is None  # a hub without keys trusts nobody


def test_bundle_put_there_later_is_found(tmp_path: Path) -> None:
    """A bundle counts from the look after it is whole: not while it is copied, not under a temporary name."""
    made = small(tmp_path / "made")
    body, name = made.read_bytes(), made.name
    folder = tmp_path / "shelf"
    folder.mkdir()
    shelf = Shelf(folder)
    assert shelf.offered() == []
    (folder / f".{name}.part").write_bytes(body)
    with (folder / name).open("wb", buffering=0) as file:  # as scp does it: the directory changes at the start only
        for part in (body[:1000], body[1000:-4], body[-4:-1]):
            file.write(part)
            assert shelf.offered() == []
        file.write(body[-1:])
    assert [one.id for one in shelf.offered()] == [read_bundle(made).id]
    (folder / name).write_bytes(body[:1000])
    assert shelf.offered() == []
    (folder / name).unlink()
    assert Shelf(folder / "gone").offered() == shelf.offered() == []


def test_what_is_no_plain_file_is_not_opened(tmp_path: Path) -> None:
    """A pipe or a directory with a bundle's name neither counts nor holds the hub up."""
    os.mkfifo(tmp_path / f"firstlight-{__version__}-x86_64.tar")
    (tmp_path / f"firstlight-{__version__}-aarch64.tar").mkdir()
    assert Shelf(tmp_path).offered() == []


def test_known_bundle_is_not_read_again(tmp_path: Path) -> None:
    """A look at unchanged bundles reads none of them: one with the same inode, size and time keeps its id."""
    made = small(tmp_path)
    shelf = Shelf(tmp_path)
    before, status = shelf.offered(), made.stat()
    with made.open("r+b") as file:
        file.write(b"other bytes")
    os.utime(made, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert shelf.offered() == before
    assert Shelf(tmp_path).offered() == []


def test_no_flipped_bit_is_overlooked(tmp_path: Path) -> None:
    """Whatever byte of the file changes, headers and padding too, it is no whole bundle or not signed any more."""
    made = small(tmp_path)
    body = made.read_bytes()
    before = read_bundle(made)
    for index in range(len(body)):
        made.write_bytes(body[:index] + bytes([body[index] ^ 0x10]) + body[index + 1 :])
        try:
            found = read_bundle(made)
        except BundleError as error:
            assert error.code in ("bundle_malformed", "bundle_newer")
            continue
        assert found.manifest == before.manifest
        assert Shelf(tmp_path, keys=KEYS.trusted()).newest("aarch64", "3.10") is None


@pytest.mark.parametrize("cut_bytes", [1, 512, 1024, 1536, 4000])
def test_cut_file_is_no_bundle(tmp_path: Path, cut_bytes: int) -> None:
    """A file that ends early is refused by name."""
    made = small(tmp_path)
    made.write_bytes(made.read_bytes()[:-cut_bytes])
    with pytest.raises(BundleError, match="is no whole bundle"):
        read_bundle(made)


@pytest.mark.parametrize("evil", ["lib/../../x", "/etc/x", "etc/x", "lib/x", "lib/firstlight/__init__.py"])
def test_payload_that_reaches_outside_is_refused(tmp_path: Path, evil: str) -> None:
    """A payload with a link, an absolute name, a way up, another folder or a name twice is refused, whoever made it."""
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("lib/firstlight/__init__.py"))
        member = tarfile.TarInfo(evil)
        if evil == "lib/x":
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(member)
    made = repacked(small(tmp_path), payload=body.getvalue())
    with pytest.raises(BundleError, match="would not unpack"):
        read_bundle(made)


def repacked(bundle: Path, *, payload: bytes) -> Path:
    """The bundle with another payload, and a manifest that says so."""
    found = read_bundle(bundle).manifest
    content = wire.Content(hashlib.sha256(payload).hexdigest(), len(payload))
    members = {
        wire.MANIFEST: wire.encode_manifest(found._replace(payload=content)),
        wire.SIGNATURES: b"",
        wire.INSTALLER: b"#!/bin/sh\n",
        wire.PAYLOAD: payload,
    }
    with tarfile.open(bundle, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content_bytes in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content_bytes)
            archive.addfile(member, io.BytesIO(content_bytes))
    with bundle.open("r+b") as file:  # tarfile fills up to 10 KiB; a bundle ends after two blocks of zeros
        size = sum(512 + -(-len(each) // 512) * 512 for each in members.values())
        file.truncate(size + 1024)
    return bundle


def test_signing_twice_is_signing_once(tmp_path: Path) -> None:
    """A signature is added without touching the id; done again, the file stays as it is, byte for byte."""
    files: Files = {"lib/firstlight/__init__.py": b""}
    made = write_bundle(tmp_path, __version__, "aarch64", ("3.10",), files, b"", lambda manifest: {})
    before = read_bundle(made)
    assert not before.signatures
    add_signatures(made, KEYS.sign)
    signed = made.read_bytes()
    found = add_signatures(made, KEYS.sign)
    assert (found.id, list(found.signatures)) == (before.id, list(KEYS.signing))
    assert made.read_bytes() == signed
    assert read_bundle(made).signatures == found.signatures


def test_odd_name_is_not_packed(tmp_path: Path) -> None:
    """A file that no box would unpack is named before a bundle is made of it."""
    with pytest.raises(BundleError, match="lib/a b"):
        write_bundle(tmp_path, __version__, "aarch64", ("3.10",), {"lib/a b": b""}, b"", KEYS.sign)


def test_command_prints_file_and_id(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``python -m firstlight_hub.bundle`` prints what was made and the id that install commands pin."""
    assert main(["--output", str(tmp_path)]) == 0
    (made,) = tmp_path.glob("*.tar")
    assert capsys.readouterr().out == f"{made}: id {read_bundle(made).id}\n"


def test_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A wheel directory without the wheels ends in a sentence and a status, no traceback; a bad key too."""
    words = ["--output", str(tmp_path), "--wheels", str(tmp_path), "--arch", "aarch64"]
    assert main(words) == 70
    assert "which firstlight needs, is not there" in capsys.readouterr().err
    (tmp_path / "key").write_text("junk")
    assert main([*words, "--sign", str(tmp_path / "key")]) == 2
    assert "openssl genpkey" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("httpx/_api.py", True),
        ("_cffi_backend.cpython-311-x86_64-linux-gnu.so", True),
        ("httpx-0.28.dist-info/METADATA", True),
        ("httpx-0.28.dist-info/licenses/LICENSE.md", True),
        ("cffi-2.1.1.dist-info/licenses/LICENSE", True),
        ("httpx-0.28.dist-info/RECORD", False),
        ("psutil/tests/test_all.py", False),
        ("psutil/__init__.pyi", False),
        ("psutil/_pslinux.py", True),
        ("psutil/_psbsd.py", False),
        ("cffi/api.py", False),
        ("pycparser/c_ast.py", False),
        ("anyio/_backends/_asyncio.py", False),
        ("anyio-4.16.0.dist-info/METADATA", False),
        ("typing_extensions.py", False),
        ("httpcore/_backends/sync.py", True),
        ("httpx/__pycache__/_api.cpython-311.pyc", False),
        ("../../../bin/httpx", False),
        ("/etc/passwd", False),
        ("distutils-precedence.pth", False),
    ],
)
def test_keeps_what_runs(name: str, kept: bool) -> None:
    """Code, compiled modules, metadata and licences are kept; tests, stubs, byte code and what lies outside are not."""
    assert is_kept(name) is kept


def test_unwritable_directory_is_an_os_error(tmp_path: Path) -> None:
    """A file where the directory should be is reported by the operating system, not swallowed."""
    (tmp_path / "bundles").write_text("")
    with pytest.raises(OSError, match=os.strerror(17)):
        ensure_bundles(tmp_path / "bundles")
