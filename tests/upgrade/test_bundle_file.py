"""A bundle that was cut, changed, or made by somebody who means harm: refused by name, and nothing of it is used."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from firstlight.cli import upgrade_bundle
from firstlight.cli.upgrade_bundle import Host, check_fit, checked, trusted
from firstlight.errors import FirstlightError, StateError, UpgradeError
from firstlight.system.bundle_file import BundleFile
from firstlight.system.releases import Releases
from firstlight.wire import bundle
from tests.upgrade.bundles import HOST, Signer, id_of, install, make_bundle


@pytest.fixture(scope="module")
def signer() -> Signer:
    """The key that the box trusts."""
    return Signer()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, signer: Signer) -> Path:
    """A bundle that nothing is wrong with."""
    return make_bundle(tmp_path_factory.mktemp("good"), "0.3.0", signer)


@pytest.fixture
def prefix(tmp_path: Path, signer: Signer) -> Path:
    """A box with a release in use."""
    install(tmp_path / "box", make_bundle(tmp_path / "old", "0.2.0", signer), signer)
    return tmp_path / "box"


def put(prefix: Path, path: Path) -> None:
    """Everything that is done with a bundle before the switch. Raises what keeps it from being used."""
    releases = Releases(str(prefix))
    launcher = releases.launcher()
    assert launcher is not None
    releases.make_new()
    with BundleFile(str(path), bundle.LIMITS) as opened:
        found = checked(opened, str(prefix / "etc/trust.d"), "", is_vouched=False)
        check_fit(found.manifest, HOST, "0.2.0", allow_older=False)
        upgrade_bundle.put_in_place(opened, found, HOST, releases, launcher)


def test_a_good_one_is_put_beside_what_runs(prefix: Path, good: Path) -> None:
    """Compiled, with its manifest, readable by all; the launcher names the old one still."""
    put(prefix, good)
    names = Releases(str(prefix)).names()
    assert len(names) == 2
    folder = prefix / "lib" / names[1]
    assert bundle.release_id((folder / "manifest.json").read_bytes()) == id_of(good)
    assert list((folder / "lib/firstlight/__pycache__").glob("*.pyc"))
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in folder.rglob("*"))
    assert "0.2.0" in (prefix / "bin/firstlight").read_text()


def places(path: Path) -> list[int]:
    """A byte in each part of a bundle: headers, manifest, signatures, installer, payload, its end."""
    size = path.stat().st_size
    return [0, 130, 512, 600, 900, 1100, 1600, 2000, 2100, 3000, *range(4000, size - 20_000, size // 12)]


def test_a_flipped_byte_anywhere_is_noticed(prefix: Path, good: Path, tmp_path: Path) -> None:
    """Whatever part it hits, no release is put beside the running one."""
    whole = good.read_bytes()
    before = Releases(str(prefix)).names()
    for place in places(good):
        body = bytearray(whole)
        body[place] ^= 1
        path = tmp_path / "flipped.tar"
        path.write_bytes(body)
        try:
            put(prefix, path)
        except (UpgradeError, StateError) as error:
            assert error.code in ("bundle_damaged", "upgrade_forged", "upgrade_untrusted"), place
            assert Releases(str(prefix)).names() == before, place
        else:
            pytest.fail(f"the byte at {place} was flipped, and nobody noticed")


@pytest.mark.parametrize("length", [0, 100, 512, 1500, 5000, 100_000])
def test_a_cut_bundle_is_damaged(prefix: Path, good: Path, tmp_path: Path, length: int) -> None:
    """A download that broke is never a release."""
    path = tmp_path / "cut.tar"
    path.write_bytes(good.read_bytes()[:length])
    with pytest.raises(UpgradeError) as caught:
        put(prefix, path)
    assert caught.value.code == "bundle_damaged"


def test_what_is_appended_is_noticed(prefix: Path, good: Path, tmp_path: Path) -> None:
    """Four members in their order, and nothing behind them."""
    path = tmp_path / "long.tar"
    path.write_bytes(good.read_bytes() + b"x")
    with pytest.raises(UpgradeError) as caught:
        put(prefix, path)
    assert caught.value.code == "bundle_damaged"


def test_who_signed_counts(prefix: Path, tmp_path: Path, signer: Signer) -> None:
    """Unsigned, signed by a stranger, by a stranger who claims to be the trusted one; then by one of two."""
    stranger, imposter = Signer(), Signer()
    imposter.id = signer.id
    for who, code in ((None, "upgrade_untrusted"), (stranger, "upgrade_untrusted"), (imposter, "upgrade_forged")):
        with pytest.raises(UpgradeError) as caught:
            put(prefix, make_bundle(tmp_path / "signed", "0.3.0", who))
        assert caught.value.code == code
    (prefix / "etc/trust.d/second.pub").write_bytes(stranger.pem)
    put(prefix, make_bundle(tmp_path / "signed", "0.3.0", stranger))


def test_a_box_without_keys_trusts_nobody_but_a_person(prefix: Path, good: Path, signer: Signer) -> None:
    """As installed by the first version: what is missing is said; the release's id vouches, another id does not."""
    (prefix / f"etc/trust.d/{signer.id}.pub").unlink()
    with pytest.raises(UpgradeError) as caught:
        put(prefix, good)
    assert caught.value.code == "upgrade_untrusted" and "install command" in caught.value.hint
    folder = str(prefix / "etc/trust.d")
    with BundleFile(str(good), bundle.LIMITS) as opened:
        assert checked(opened, folder, id_of(good), is_vouched=True).signer == ""
        with pytest.raises(UpgradeError) as caught:
            checked(opened, folder, "0" * 64, is_vouched=True)
        assert caught.value.code == "upgrade_forged"
        # What the hub says is no person's word.
        with pytest.raises(UpgradeError) as caught:
            checked(opened, folder, id_of(good), is_vouched=False)
        assert caught.value.code == "upgrade_untrusted"


@pytest.mark.parametrize("spoil", ["file", "folder", "text", "link"])
def test_keys_that_anybody_could_have_put_there_do_not_count(prefix: Path, good: Path, spoil: str) -> None:
    """World-writable files or folders, links and text are refused, whatever else is good there."""
    folder = prefix / "etc/trust.d"
    extra = folder / "extra.pub"
    extra.write_bytes(Signer().pem)
    if spoil == "file":
        extra.chmod(0o666)
    elif spoil == "folder":
        folder.chmod(0o777)
    elif spoil == "text":
        extra.write_text("no key")
    else:
        extra.unlink()
        extra.symlink_to("/etc/passwd")
    with pytest.raises(FirstlightError) as caught:
        put(prefix, good)
    assert caught.value.code in ("upgrade_key_unsafe", "state_corrupt")
    folder.chmod(0o755)


def test_keys_are_found_by_what_they_are(prefix: Path, signer: Signer) -> None:
    """The file's name says nothing; only .pub counts."""
    folder = prefix / "etc/trust.d"
    (folder / "README").write_text("keys of the hub")
    assert trusted(str(folder)) == {signer.id: signer.raw}
    assert trusted(str(folder / "nothing")) == {}


@pytest.mark.parametrize(
    ("host", "running", "code"),
    [
        (HOST, "0.3.0", ""),
        (HOST, "0.2.0", ""),
        (HOST, "0.10.0", "upgrade_older"),
        (HOST, "0.3.1.dev1", ""),
        (Host("3.9", HOST.arch), "0.2.0", "bundle_unfit"),
        (Host(HOST.python, "riscv64"), "0.2.0", "bundle_unfit"),
    ],
)
def test_it_must_fit_and_be_no_step_down(good: Path, host: Host, running: str, code: str) -> None:
    """Processor, Python and version are asked before anything is unpacked."""
    with BundleFile(str(good), bundle.LIMITS) as opened:
        manifest = bundle.decode_manifest(opened.read(bundle.MANIFEST))
    try:
        check_fit(manifest, host, running, allow_older=False)
        found = ""
    except UpgradeError as error:
        found = error.code
    assert found == code
    if code == "upgrade_older":
        check_fit(manifest, host, running, allow_older=True)


def payload(*members: tuple[str, Callable[[tarfile.TarInfo], None], bytes]) -> bytes:
    """A payload that no builder of ours makes."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for name, change, body in members:
            member = tarfile.TarInfo(name)
            member.size = len(body)
            change(member)
            archive.addfile(member, io.BytesIO(body))
    return gzip.compress(raw.getvalue())


def link(member: tarfile.TarInfo) -> None:
    """A symbolic link out of the folder."""
    member.type, member.linkname, member.size = tarfile.SYMTYPE, "/etc/passwd", 0


def plain(member: tarfile.TarInfo) -> None:
    """As it should be."""


ODD = {
    "a link": payload(("lib/a", link, b"")),
    "the way up": payload(("lib/../../a", plain, b"a")),
    "an absolute name": payload(("/lib/a", plain, b"a")),
    "another folder": payload(("bin/a", plain, b"a")),
    "a device": payload(("lib/a", lambda member: setattr(member, "type", tarfile.CHRTYPE), b"")),
    "twice": payload(("lib/a", plain, b"a"), ("lib/a", plain, b"b")),
    "too many": payload(*[(f"lib/a{number}", plain, b"") for number in range(30)]),
    "too large": payload(("lib/a", plain, b"a" * 3000)),
    "no tar": gzip.compress(b"hello" * 500),
    "no gzip": b"hello",
    "cut": payload(("lib/a", plain, b"abc" * 400))[:-30],
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_payload_writes_nothing_outside(tmp_path: Path, name: str) -> None:
    """Even a signed one: bounded, plain files with plain names only."""
    file, into = tmp_path / "bundle", tmp_path / "into"
    into.mkdir()
    head = tarfile.TarInfo("payload.tar.gz")
    head.size = len(ODD[name])
    file.write_bytes(head.tobuf() + ODD[name] + b"\0" * (-len(ODD[name]) % 512))

    def wants(member: str) -> bool:
        if not bundle.is_member(member):
            raise ValueError(member)
        return True

    with BundleFile(str(file), {"payload.tar.gz": 1_000_000}) as opened, pytest.raises(FirstlightError) as caught:
        opened.unpack("payload.tar.gz", str(into), wants, 2000, 20)
    assert caught.value.code in ("bundle_damaged", "state_unwritable")
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))
    assert {path.name for path in tmp_path.iterdir()} == {"bundle", "into"}


def test_other_pythons_and_scanning_are_left_out(prefix: Path, tmp_path: Path, signer: Signer) -> None:
    """Modules compiled for another Python never reach the disk; scanning does where it was installed."""
    changes = {
        "lib/thing.cpython-399-x86_64-linux-gnu.so": "other",
        f"lib/thing.cpython-{HOST.python.replace('.', '')}-x86_64-linux-gnu.so": "own",
        "scan/qr.py": "scan = 1",
    }
    put(prefix, make_bundle(tmp_path / "b", "0.3.0", signer, changes))
    releases = Releases(str(prefix))
    folder = Path(releases.folder(releases.names()[-1]))
    assert [path.name for path in (folder / "lib").glob("thing*")] == [list(changes)[1].removeprefix("lib/")]
    assert not (folder / "scan").exists()
    launcher = releases.launcher()
    assert launcher is not None
    (Path(releases.folder(launcher.release)) / "scan").mkdir()
    put(prefix, make_bundle(tmp_path / "b", "0.4.0", signer, changes))
    assert (Path(releases.folder(releases.names()[-1])) / "scan/qr.py").exists()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"cli/run.py": "import nothing_of_this_name"}, "upgrade_broken"),
        ({"cli/run.py": "def ("}, "upgrade_broken"),
        ({"daemon/main.py": "raise SystemExit(3)"}, "upgrade_broken"),
        ({"__init__.py": "__version__ = '9'"}, "upgrade_broken"),
    ],
)
def test_what_does_not_start_here_is_never_switched_to(
    prefix: Path, tmp_path: Path, signer: Signer, changes: dict[str, str], code: str
) -> None:
    """It is tried in a process of its own first; the sentence holds the last line of what it said."""
    with pytest.raises(UpgradeError) as caught:
        put(prefix, make_bundle(tmp_path / "b", "0.3.0", signer, changes))
    assert caught.value.code == code and len(Releases(str(prefix)).names()) == 1


def test_a_full_disk_is_called_so(tmp_path: Path) -> None:
    """Before anything is written, with both figures."""
    with pytest.raises(UpgradeError) as caught:
        upgrade_bundle.check_space(tmp_path, 1 << 60)
    assert caught.value.code == "upgrade_no_space" and "MB" in caught.value.message
