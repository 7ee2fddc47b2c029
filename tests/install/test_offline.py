"""A technician with a stick: the file installs itself with no network; what is wrong with it is said in a sentence."""

from __future__ import annotations

import gzip
import io
import re
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from firstlight import __version__
from firstlight.wire import bundle as wire
from firstlight_hub.bundle_file import add_signatures, read_bundle
from firstlight_hub.installer import render_bundle_installer
from firstlight_hub.release_keys import ReleaseKeys, key_id, make_key, public_pem
from firstlight_hub.shelf import Offered
from tests.install.conftest import KEY, KEYS, Bundles
from tests.install.scene import PYTHON, BundleServer, rendered, run, tools, tree
from tests.install.test_bundle import repacked, small

OFFLINE = ["unshare", "--net", "--map-root-user"]


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """Where to install; not there yet."""
    return tmp_path / "box" / "firstlight"


def install(bundle: Path, prefix: Path, *options: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The documented command, without sudo: ``tar -xOf FILE install.sh | sh -s -- --bundle FILE``."""
    line = f"tar -xOf '{bundle}' install.sh | sh -s -- --bundle '{bundle}' --prefix '{prefix}' " + " ".join(options)
    places = str(path or f"{PYTHON.parent}:/usr/sbin:/usr/bin:/sbin:/bin")
    done = subprocess.run(
        ["sh", "-c", line], capture_output=True, text=True, env={"PATH": places}, timeout=90, check=False
    )
    assert "Traceback" not in done.stderr
    return done


def assert_refused(done: subprocess.CompletedProcess[str], prefix: Path, *said: str) -> None:
    """It failed with these words and a next step, and nothing is left."""
    assert done.returncode == 1, done.stdout + done.stderr
    for words in said:
        assert words in done.stderr
    assert re.search(r"\n  \S", done.stderr)
    assert not prefix.exists() or not tree(prefix)


def test_installs_without_a_network(bundles: Bundles, prefix: Path, tmp_path: Path) -> None:
    """From the file alone: program, settings, release keys, and the next step. A second time changes nothing."""
    can = subprocess.run([*OFFLINE, "true"], capture_output=True, check=False).returncode == 0
    path = tools(tmp_path / "bin", "tar")
    line = f"tar -xOf {bundles.own} install.sh | sh -s -- --bundle {bundles.own} --prefix {prefix}"
    words = [*OFFLINE, "sh", "-c", line] if can else ["sh", "-c", line]
    words[0] = shutil.which(words[0]) or words[0]
    done = subprocess.run(words, capture_output=True, text=True, env={"PATH": str(path)}, timeout=90, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    release = f"{__version__}-{bundles.known[0].id[:8]}"
    (name,) = KEYS.public
    assert done.stdout.splitlines() == [
        f"firstlight: the agent {release} is installed in {prefix}",
        f"firstlight: it takes upgrades and offline codes that {prefix}/etc/trust.d/{name}.pub signed",
        "firstlight: next, enroll this box with the installId of your hub:",
        f"  {prefix}/bin/firstlight enroll INSTALL_ID --hub https://HOST:8443 --pin 'sha256//...'",
        f"  or, without a network, take in the code on its label: {prefix}/bin/firstlight scan",
    ]
    agent = prefix / "bin" / "firstlight"
    assert subprocess.run([agent, "--version"], capture_output=True, text=True, check=True).stdout.endswith(
        f"{__version__}\n"
    )
    assert (prefix / "bin" / "firstlight-proven").read_bytes() == agent.read_bytes()
    assert sorted(one.name for one in (prefix / "lib" / release).iterdir()) == ["lib", "manifest.json", "share"]
    assert wire.release_id((prefix / "lib" / release / "manifest.json").read_bytes()) == bundles.known[0].id
    before = tree(prefix)
    assert install(bundles.own, prefix).returncode == 0
    assert tree(prefix) == before


def test_byte_code_is_never_checked(bundles: Bundles, prefix: Path) -> None:
    """Every module is compiled on the box; its byte code says not to look at the source (PEP 552: flags 1)."""
    assert install(bundles.own, prefix).returncode == 0
    (lib,) = prefix.glob("lib/*/lib")
    compiled = list(lib.rglob("*.pyc"))
    assert len(compiled) == len(list(lib.rglob("*.py")))
    assert {path.read_bytes()[4:8] for path in compiled} == {b"\x01\x00\x00\x00"}


def test_uninstalls_without_a_trace(bundles: Bundles, prefix: Path) -> None:
    """``--uninstall --purge`` of the file's own script removes keys, launchers and what an upgrade leaves behind."""
    assert install(bundles.own, prefix).returncode == 0
    (prefix / "upgrade.json").write_text("{}")
    (prefix / "var").mkdir()
    for name in ("upgrade-wish.json", "upgraded.json", "firstboot.json", "change.json"):
        (prefix / "var" / name).write_text("{}")
    done = install(bundles.own, prefix, "--uninstall", "--purge")
    assert (done.returncode, done.stderr) == (0, "")
    assert not prefix.exists()


def test_dry_run_changes_nothing(bundles: Bundles, prefix: Path) -> None:
    """--dry-run says what it would do."""
    done = install(bundles.own, prefix, "--dry-run")
    assert (done.returncode, done.stderr) == (0, "")
    assert "would put the agent into" in done.stdout
    assert not prefix.exists()


def flipped(body: bytes, place: int) -> bytes:
    """The bytes with one bit changed."""
    return body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]


@pytest.mark.parametrize("member", [*wire.MEMBERS, "padding"])
def test_one_flipped_byte_is_refused(member: str, bundles: Bundles, prefix: Path, tmp_path: Path) -> None:
    """Wherever the byte is, nothing is installed and a sentence says that the file was changed."""
    body, place = bundles.own.read_bytes(), 0
    with tarfile.open(bundles.own) as archive:
        for one in archive:
            if one.name == member:
                place = one.offset_data + (10 if member == wire.SIGNATURES else one.size // 2)
            elif member == "padding" and one.name == wire.MANIFEST:
                place = one.offset_data + one.size + 1
    damaged = tmp_path / bundles.own.name
    damaged.write_bytes(flipped(body, place))
    # With the installer of a whole file: a flipped byte in it must be found out, not merely break it.
    whole = tmp_path / "install.sh"
    whole.write_bytes(render_bundle_installer())
    key = tmp_path / "trusted.pub"
    key.write_bytes(public_pem(KEY))
    done = run(whole.read_text(), "--bundle", str(damaged), "--prefix", str(prefix), "--trust", str(key))
    assert_refused(done, prefix)
    assert "changed on its way" in done.stderr or "signed" in done.stderr or "is no bundle" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("size", [0, 100, 5000, 100_000])
def test_cut_file_is_refused(size: int, bundles: Bundles, prefix: Path, tmp_path: Path) -> None:
    """A file that was not copied whole is refused."""
    cut = tmp_path / bundles.own.name
    cut.write_bytes(bundles.own.read_bytes()[:size])
    done = run(render_bundle_installer().decode(), "--bundle", str(cut), "--prefix", str(prefix))
    assert_refused(done, prefix, "cut")


def test_file_for_another_box_is_refused(prefix: Path, tmp_path: Path, bundles: Bundles) -> None:
    """A file for another architecture or Python is named with what it is for, and what this box is."""
    own = bundles.known[0]
    other = "aarch64" if own.arch == "x86_64" else "x86_64"
    for bundle, said in (
        (small(tmp_path / "a", other, pythons=own.pythons), f"only for: {other} with Python {own.pythons[0]}."),
        (small(tmp_path / "p", own.arch, pythons=("3.4", "3.5")), f"only for: {own.arch} with Python 3.4, 3.5."),
    ):
        done = run(render_bundle_installer().decode(), "--bundle", str(bundle), "--prefix", str(prefix))
        assert_refused(done, prefix, f"for this box ({own.arch} with Python {own.pythons[0]})", said)


def evil(kind: bytes, name: str) -> bytes:
    """A payload with one more member."""
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("lib/firstlight/__init__.py"))
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "/etc/passwd" if kind != tarfile.REGTYPE else ""
        archive.addfile(member)
    return body.getvalue()


def bomb() -> bytes:
    """A payload that says it unpacks to 600 MB."""
    member = tarfile.TarInfo("lib/large")
    member.size = 600 << 20
    return gzip.compress(member.tobuf() + bytes(1 << 20))


@pytest.mark.parametrize(
    "payload",
    [
        lambda: evil(tarfile.SYMTYPE, "lib/link"),
        lambda: evil(tarfile.LNKTYPE, "lib/link"),
        lambda: evil(tarfile.CHRTYPE, "lib/null"),
        lambda: evil(tarfile.REGTYPE, "/etc/evil"),
        lambda: evil(tarfile.REGTYPE, "lib/../../evil"),
        lambda: evil(tarfile.REGTYPE, "etc/evil"),
        lambda: evil(tarfile.REGTYPE, "lib/firstlight/__init__.py"),
        bomb,
        lambda: b"junk",
    ],
)
def test_hostile_payload_is_refused(
    payload: Callable[[], bytes], prefix: Path, tmp_path: Path, bundles: Bundles
) -> None:
    """Links, devices, names that lead outside, a name twice, too much and junk: refused, and nothing is left."""
    own = bundles.known[0]
    made = repacked(small(tmp_path / "m", own.arch, pythons=own.pythons), payload=payload())
    script = render_bundle_installer().decode()
    done = run(script, "--bundle", str(made), "--prefix", str(prefix))
    assert_refused(done, prefix, "Nothing was installed")
    assert not list(tmp_path.rglob("*evil"))


def test_signature_counts_where_a_key_is_known(bundles: Bundles, prefix: Path, tmp_path: Path) -> None:
    """With --trust, or a key in trust.d, only a file signed by it is taken; --id vouches for one that is not."""
    stranger = make_key()
    (tmp_path / "stranger.pub").write_bytes(public_pem(stranger))
    done = install(bundles.own, prefix, "--trust", str(tmp_path / "stranger.pub"))
    assert_refused(done, prefix, "the bundle is signed by", "--id")

    trust = prefix / "etc" / "trust.d"
    trust.mkdir(parents=True)
    (prefix / ".firstlight").touch()
    (trust / "own.pub").write_bytes(public_pem(stranger))
    done = install(bundles.own, prefix)
    assert done.returncode == 1
    assert "the bundle is signed by" in done.stderr
    assert not (prefix / "bin").exists()
    assert install(bundles.own, prefix, "--id", "0" * 64).returncode == 1
    assert install(bundles.own, prefix, "--id", bundles.known[0].id).returncode == 0

    both = Path(shutil.copy(bundles.own, tmp_path))
    add_signatures(both, ReleaseKeys({key_id(stranger): stranger}, {}).sign)
    assert read_bundle(both).id == bundles.known[0].id
    other = tmp_path / "other" / "firstlight"
    done = install(both, other, "--trust", str(tmp_path / "stranger.pub"))
    assert done.returncode == 0, done.stderr
    assert {one.name for one in (other / "etc" / "trust.d").iterdir()} == {
        f"{key_id(stranger)}.pub",
        f"{key_id(KEY)}.pub",
    }


def test_scanning_needs_a_file_that_has_it(bundles: Bundles, prefix: Path) -> None:
    """--with-scanning from a file without that layer says how to get one."""
    if read_bundle(bundles.own).manifest.scan_bytes:
        pytest.skip("what reads codes is installed beside this hub")
    assert_refused(install(bundles.own, prefix, "--with-scanning"), prefix, "--with-scanning", "make bundle")


def test_two_at_once_do_not_spoil_each_other(bundles: Bundles, prefix: Path) -> None:
    """Four installers into one place at the same time: each ends well, one release is there, nothing else."""
    ended: list[subprocess.CompletedProcess[str]] = []
    threads = [threading.Thread(target=lambda: ended.append(install(bundles.own, prefix))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(done.returncode, done.stderr) for done in ended] == [(0, "")] * 4
    assert len(list((prefix / "lib").iterdir())) == 1
    assert not list(prefix.glob(".new*")) and not list(prefix.rglob("*.new.*"))


def test_file_that_is_not_there_is_said(prefix: Path) -> None:
    """No file, or a wrong one: a sentence."""
    script = render_bundle_installer().decode()
    assert_refused(run(script, "--prefix", str(prefix)), prefix, "--bundle FILE")
    assert_refused(run(script, "--bundle", "/nowhere", "--prefix", str(prefix)), prefix, "There is no file /nowhere")


@pytest.mark.parametrize("member", [wire.MANIFEST, wire.INSTALLER, wire.PAYLOAD])
def test_flipped_byte_on_the_way_from_the_hub_is_refused(
    member: str, server: BundleServer, bundles: Bundles, prefix: Path, tmp_path: Path
) -> None:
    """The script takes nothing but what the hub promised, and spends no installId; the id covers all but signatures."""
    body = bundles.own.read_bytes()
    with tarfile.open(bundles.own) as archive:
        place = archive.getmember(member).offset_data + 10
    (tmp_path / bundles.own.name).write_bytes(flipped(body, place))
    with BundleServer(tmp_path).serving() as other:
        done = run(rendered(other.url, bundles.known), "--prefix", str(prefix))
    assert_refused(done, prefix, "changed on", "The installId is not spent.")
    assert "Traceback" not in done.stderr


def test_page_of_a_proxy_instead_of_the_bundle(bundles: Bundles, prefix: Path, tmp_path: Path) -> None:
    """An HTML page with status 200 is not unpacked, and is called by its name."""
    (tmp_path / bundles.own.name).write_bytes(b"<html>Please log in</html>" * 100)
    with BundleServer(tmp_path).serving() as other:
        done = run(rendered(other.url, bundles.known), "--prefix", str(prefix))
    assert_refused(done, prefix, "not what the hub promised", "The installId is not spent.")


def test_bundle_of_the_wrong_release_from_the_hub(bundles: Bundles, prefix: Path, tmp_path: Path) -> None:
    """A whole bundle, but another one than the script names, is refused."""
    own = bundles.known[0]
    made = small(tmp_path, own.arch, pythons=own.pythons)
    assert made.name == own.name
    with BundleServer(tmp_path).serving() as other:
        done = run(rendered(other.url, [Offered(*own)]), "--prefix", str(prefix))
    assert_refused(done, prefix, "not what the hub promised", "The installId is not spent.")
