"""Release keys: made once, kept, backed up, renewed with both signing; the commands that use them."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from firstlight.errors import StateError, UsageError
from firstlight.wire import bundle as wire
from firstlight.wire.bounded import WireError
from firstlight_hub import release_keys
from firstlight_hub.bundle_contents import Files
from firstlight_hub.bundle_file import read_bundle, write_bundle
from firstlight_hub.cli.main import main
from firstlight_hub.folder import HubFolder
from firstlight_hub.settings import parse
from firstlight_hub.shelf import Shelf

TABLE = {"hosts": ["h"], "workspace": {"demo": {}}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A hub's folder."""
    made = tmp_path / "hub"
    assert main(["init", "--dir", str(made), "--host", "hub.example", "--key-file", str(tmp_path / "key")]) == 0
    return made


def unsigned(folder: Path) -> Path:
    """A bundle that nobody signed."""
    files: Files = {"lib/firstlight/__init__.py": b""}
    return write_bundle(folder, "9.9.9", "aarch64", ("3.10",), files, b"", lambda manifest: {})


def signers(bundle: Path, trusted: dict[str, bytes]) -> str:
    """The trusted key that signed a bundle. Raises WireError."""
    found = read_bundle(bundle)
    return wire.verify(found.manifest_bytes, wire.encode_signatures(found.signatures), trusted)


def test_init_makes_a_private_key_that_stays(folder: Path) -> None:
    """``init`` makes release.key for its owner only; it is the same each time, and in a backup."""
    path = folder / "release.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    keys = release_keys.load(folder)
    assert path.read_bytes() == before
    assert list(keys.signing) == list(keys.public) == list(keys.trusted())
    HubFolder(folder).back_up(folder.parent / "copy")
    assert (folder.parent / "copy" / "release.key").read_bytes() == before


def test_hub_of_an_older_version_gets_its_key(folder: Path) -> None:
    """Where the key is missing it is made at the first use, and a backup without one is a backup all the same."""
    (folder / "release.key").unlink()
    HubFolder(folder).back_up(folder.parent / "old")
    assert not (folder.parent / "old" / "release.key").exists()
    made = release_keys.load(folder)
    assert release_keys.load(folder).public == made.public


def test_damaged_key_is_named(folder: Path) -> None:
    """A release key that cannot be read is not replaced silently: boxes trust the lost one."""
    (folder / "release.key").write_bytes(b"junk")
    with pytest.raises(StateError, match=r"release.key is no Ed25519 key"):
        release_keys.load(folder)


def test_sign_adds_the_hubs_signature(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``firstlight-hub sign`` makes a bundle one that this hub's boxes take; twice is once, and the id stays."""
    bundle = unsigned(folder / "bundles" if (folder / "bundles").is_dir() else folder)
    before = read_bundle(bundle).id
    (name,) = release_keys.load(folder).public
    for _ in range(2):
        assert main(["sign", "--dir", str(folder), str(bundle)]) == 0
        assert capsys.readouterr().out.endswith(f"release 9.9.9, id {before}, signed by {name}\n")
    assert signers(bundle, release_keys.load(folder).trusted()) == name


@pytest.mark.parametrize("content", [b"", b"<html>", b"x" * 5000])
def test_sign_refuses_what_is_no_bundle(folder: Path, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is none is left as it is, and named without a traceback; a missing one too."""
    path = folder / "firstlight-9.9.9-aarch64.tar"
    path.write_bytes(content)
    assert main(["sign", "--dir", str(folder), str(path)]) == 70
    assert path.read_bytes() == content
    assert main(["sign", "--dir", str(folder), str(folder / "gone")]) == 74
    said = capsys.readouterr().err
    assert "is no whole bundle" in said and "cannot be signed" in said and "Traceback" not in said


def test_box_that_was_off_through_a_change_of_keys_gets_the_new_one(folder: Path) -> None:
    """After ``release-key --new`` releases carry both signatures; who knows only the old key takes them, with the new.

    Once the former file is deleted, a box that was upgraded meanwhile goes on by the new key alone.
    """
    old = release_keys.load(folder).trusted()
    assert main(["release-key", "--dir", str(folder), "--new"]) == 0
    both = release_keys.load(folder)
    new = {name: key for name, key in both.trusted().items() if name not in old}
    assert (len(both.signing), len(new)) == (2, 1)
    bundle = unsigned(folder)
    assert main(["sign", "--dir", str(folder), str(bundle)]) == 0
    assert signers(bundle, old) in old
    assert signers(bundle, new) in new
    HubFolder(folder).back_up(folder.parent / "copy")
    assert list((folder.parent / "copy").glob("release-former-*.key"))

    (former,) = folder.glob("release-former-*.key")
    former.unlink()
    later = unsigned(folder)
    assert main(["sign", "--dir", str(folder), str(later)]) == 0
    assert signers(later, new) in new
    with pytest.raises(WireError):
        signers(later, old)


def test_release_key_prints_what_boxes_trust(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``firstlight-hub release-key`` prints the public key in PEM, as openssl makes it of the private one."""
    capsys.readouterr()
    assert main(["release-key", "--dir", str(folder)]) == 0
    printed = capsys.readouterr().out
    (name,) = release_keys.load(folder).public
    assert wire.read_public_key(printed.encode())[0] == name
    assert "PRIVATE" not in printed


def test_keys_of_others_count(folder: Path) -> None:
    """A public key that hub.toml names is handed to boxes and makes bundles signed by it count; a bad one is named."""
    maker = release_keys.make_key()
    (folder / "maker.pub").write_bytes(release_keys.public_pem(maker))
    settings = parse({**TABLE, "release_keys": ["maker.pub"]})
    keys = HubFolder(folder).release_keys(settings)
    assert release_keys.key_id(maker) in keys.public
    assert release_keys.key_id(maker) not in keys.signing
    files: Files = {"lib/firstlight/__init__.py": b""}
    sign = release_keys.ReleaseKeys({release_keys.key_id(maker): maker}, {}).sign
    write_bundle(folder, "9.9.9", "aarch64", ("3.10",), files, b"", sign)
    assert Shelf(folder, keys=keys.trusted()).newest("aarch64", "3.10") is not None
    (folder / "maker.pub").write_bytes(b"junk")
    for name, said in (("maker.pub", "no public Ed25519 key"), ("gone.pub", "No such file")):
        with pytest.raises(UsageError, match=said):
            HubFolder(folder).release_keys(parse({**TABLE, "release_keys": [name]}))


def test_openssl_makes_and_checks_the_same(folder: Path, tmp_path: Path) -> None:
    """A key made by openssl signs, and openssl verifies a signature: nothing of it is our own invention."""
    key, pub = tmp_path / "m.key", tmp_path / "m.pub"
    try:
        subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no openssl here")
    subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-out", pub], check=True, capture_output=True)
    private = release_keys.read_key_file(key)
    name, _ = wire.read_public_key(pub.read_bytes())
    assert release_keys.key_id(private) == name
    files: Files = {"lib/firstlight/__init__.py": b""}
    sign = release_keys.ReleaseKeys({name: private}, {}).sign
    found = read_bundle(write_bundle(folder, "9.9.9", "aarch64", ("3.10",), files, b"", sign))
    (tmp_path / "manifest").write_bytes(found.manifest_bytes)
    (tmp_path / "signature").write_bytes(found.signatures[name])
    line = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(pub), "-rawin", "-in", str(tmp_path / "manifest")]
    line += ["-sigfile", str(tmp_path / "signature")]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert "Success" in done.stdout, done.stderr
