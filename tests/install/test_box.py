"""The script on boxes of all kinds, up to where it would enroll: nothing may be spent or left when it fails."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from firstlight import __version__
from firstlight_hub.bundle_contents import own_arch, own_python
from firstlight_hub.shelf import Offered
from tests.install.conftest import Bundles
from tests.install.scene import INSTALL_ID, PYTHON, BundleServer, rendered, run, tools, tree

SPENT_NOTHING = "The installId is not spent."


def old_python() -> Path | None:
    """A Python older than 3.10, where this machine has one."""
    places = [str(path) for path in sorted(Path.home().glob(".pyenv/versions/3.[89].*/bin"))]
    for name in ("python3.9", "python3.8"):
        if found := shutil.which(name, path=os.pathsep.join([*places, "/usr/bin", "/usr/local/bin"])):
            return Path(found)
    return None


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """Where to install; not there yet."""
    return tmp_path / "box" / "firstlight"


def assert_failed(done: subprocess.CompletedProcess[str], prefix: Path, *said: str) -> None:
    """It failed with these words, without a traceback or the installId, and it is as if it had never been there."""
    assert done.returncode == 1, done.stdout + done.stderr
    for words in said:
        assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert INSTALL_ID not in done.stdout + done.stderr
    assert re.search(r"\n  \S", done.stderr), "no next step was said"
    assert not prefix.exists() or not tree(prefix)


def test_dry_run_changes_nothing(server: BundleServer, bundles: Bundles, prefix: Path) -> None:
    """--dry-run says each thing it would do, asks the hub for nothing and leaves the box as it was."""
    prefix.parent.mkdir()
    before = tree(prefix.parent.parent)
    done = run(rendered(server.url, bundles.known), "--dry-run", "--prefix", str(prefix))

    assert (done.returncode, done.stderr) == (0, "")
    assert all(line.startswith("firstlight: would ") for line in done.stdout.splitlines())
    for words in ("fetch the agent", f"{prefix}/etc/agent.toml", f"{prefix}/var", "as cam-1"):
        assert words in done.stdout
    assert tree(prefix.parent.parent) == before
    assert server.asked == []


def test_wrong_hash_installs_nothing(server: BundleServer, bundles: Bundles, prefix: Path) -> None:
    """A bundle that is not the one the hub promised is not unpacked, whoever brought it."""
    wrong = [one._replace(id="0" * 64) for one in bundles.known]
    done = run(rendered(server.url, wrong), "--prefix", str(prefix))
    assert_failed(done, prefix, "not what the hub promised", SPENT_NOTHING)


def test_cut_bundle_installs_nothing(server: BundleServer, bundles: Bundles, prefix: Path) -> None:
    """A download that ends in the middle is noticed, retried by other means, and leaves nothing."""
    server.cut_at = 100_000
    done = run(rendered(server.url, bundles.known), "--prefix", str(prefix))
    assert_failed(done, prefix, "The agent could not be fetched", SPENT_NOTHING)


def test_unreachable_hub_installs_nothing(bundles: Bundles, prefix: Path) -> None:
    """Nobody listening: each tool's own reason is shown, and the next step."""
    done = run(rendered("https://127.0.0.1:1", bundles.known), "--prefix", str(prefix))
    assert_failed(done, prefix, "curl: ", "python3: ", "Check disk, cable, proxy and the hub", SPENT_NOTHING)


def test_bundle_that_vanished_installs_nothing(server: BundleServer, bundles: Bundles, prefix: Path) -> None:
    """A hub that answers 404 for a bundle is named."""
    url = f"{server.url}/elsewhere"
    assert_failed(run(rendered(url, bundles.known), "--prefix", str(prefix)), prefix, "404", SPENT_NOTHING)


def test_full_disk_installs_nothing(server: BundleServer, bundles: Bundles, prefix: Path) -> None:
    """No file may grow beyond 1 MB, then beyond what the bundle needs: it stops with a sentence and clears up."""
    if not shutil.which("prlimit"):
        pytest.skip("no prlimit here")
    for limit_bytes in (1_000_000, bundles.own.stat().st_size + 1_000):
        done = run(rendered(server.url, bundles.known), "--prefix", str(prefix), limit_bytes=limit_bytes)
        assert_failed(done, prefix, "The agent could not be fetched", "disk", SPENT_NOTHING)


@pytest.mark.parametrize(
    ("shell", "names"), [("dash", ()), ("busybox", ("wget",)), ("dash", ("curl",))], ids=["python3", "wget", "curl"]
)
def test_one_download_tool_is_enough(
    names: tuple[str, ...], shell: str, server: BundleServer, bundles: Bundles, prefix: Path, tmp_path: Path
) -> None:
    """With curl, wget or only Python, under dash and busybox, the agent gets into place and its program runs."""
    if missing := [name for name in (*names, shell) if not shutil.which(name)]:
        pytest.skip(f"no {missing} here")
    path = tools(tmp_path / "bin", *names)
    words = (shell, "sh") if shell == "busybox" else (shell,)
    done = run(rendered(server.url, bundles.known), "--prefix", str(prefix), path=path, shell=words)

    # The server is no hub, so enrolling itself must fail: what is installed stays for the next try.
    assert "enrolling at" in done.stdout, done.stderr
    assert done.returncode not in (0, 1)
    assert server.asked[0] == f"/bundles/{bundles.own.name}"
    agent = prefix / "bin" / "firstlight"
    assert subprocess.run([agent, "--version"], capture_output=True, timeout=20, check=True).stdout
    assert (prefix / "etc" / "agent.toml").stat().st_mode & 0o777 == 0o600
    assert not [name for name in tree(prefix) if name.startswith(".new") or name.endswith(".new")]


@pytest.mark.parametrize("shell", [["sh"], ["busybox", "sh"], ["bash", "--posix"]], ids=["sh", "busybox", "bash"])
def test_interrupted_download_says_that_it_can_go_on(
    shell: list[str], server: BundleServer, bundles: Bundles, prefix: Path
) -> None:
    """Ctrl-C in the middle of the download: one sentence, 130, nothing left; the same script then goes on."""
    if not shutil.which(shell[0]):
        pytest.skip(f"no {shell[0]} here")
    script = rendered(server.url, bundles.known)
    server.may_go_on.clear()
    process = subprocess.Popen(
        # Whoever runs the tests may ignore this signal, and what a shell finds ignored it cannot take.
        ["env", "--default-signal=INT", *shell, "-s", "--", "--prefix", str(prefix)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdin
    process.stdin.write(script)
    process.stdin.flush()
    assert server.is_half_way.wait(30)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does it: to the script and what it started
    output, errors = process.communicate(timeout=30)
    server.may_go_on.set()

    assert (process.returncode, errors) == (130, "")
    said = "firstlight: interrupted; running the same command again goes on where this one was"
    assert output.splitlines()[1:] == [said]
    assert not prefix.exists()
    assert "enrolling at" in run(script, "--prefix", str(prefix)).stdout


def test_no_python_is_said(bundles: Bundles, prefix: Path, tmp_path: Path) -> None:
    """A box without Python gets one sentence and the package to install."""
    path = tools(tmp_path / "bin", "curl", python=None)
    done = run(rendered("https://127.0.0.1:1", bundles.known), "--prefix", str(prefix), path=path)
    assert_failed(done, prefix, "needs Python 3.10 to 3.13; here, there is none", "apt-get install python3")


@pytest.mark.skipif(old_python() is None, reason="no Python older than 3.10 here")
def test_old_python_is_said(bundles: Bundles, prefix: Path, tmp_path: Path) -> None:
    """A box with an old Python only (JetPack 5, Debian 11) is told so, with the version."""
    path = tools(tmp_path / "bin", python=old_python())
    done = run(rendered("https://127.0.0.1:1", bundles.known), "--prefix", str(prefix), path=path)
    assert_failed(done, prefix, "3.10 to 3.13; here, 3.", "is too old", "JetPack 6")


@pytest.mark.skipif(old_python() is None, reason="no Python older than 3.10 here")
def test_newer_python_beside_an_old_one_is_found(bundles: Bundles, prefix: Path, tmp_path: Path) -> None:
    """When python3 is too old, a python3.11 and the like beside it is taken."""
    path = tools(tmp_path / "bin", python=old_python())
    (path / "python3.13").symlink_to(PYTHON)
    done = run(rendered("https://127.0.0.1:1", bundles.known), "--dry-run", "--prefix", str(prefix), path=path)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{own_arch()} with Python {own_python()}" in done.stdout


def test_hub_without_this_bundle_says_what_it_has(prefix: Path) -> None:
    """A box whose Python or processor the hub has nothing for: both are named."""
    other = Offered(__version__, "riscv64", ("3.10", "3.12"), "0" * 64, "x", True)
    for has, said in ((other, "riscv64"), (other._replace(arch=own_arch(), pythons=("3.10", "3.4")), own_arch())):
        done = run(rendered("https://127.0.0.1:1", [has]), "--prefix", str(prefix))
        fits = f"for this box ({own_arch()} with Python {own_python()}"
        only = f"only for: {said} with Python {', '.join(has.pythons)}."
        assert_failed(done, prefix, fits, only, "make bundle OUTPUT=HUB_DIR/bundles")


def test_directory_with_other_things_is_left_alone(bundles: Bundles, prefix: Path) -> None:
    """A prefix that somebody else uses is refused."""
    prefix.mkdir(parents=True)
    (prefix / "theirs").write_text("x")
    before = tree(prefix)
    done = run(rendered("https://127.0.0.1:1", bundles.known), "--prefix", str(prefix))
    assert (done.returncode, tree(prefix)) == (1, before)
    assert "holds other things" in done.stderr


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A directory that every user may enter, and nobody but its owner may write."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def as_nobody(script: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Runs a script as an ordinary user: as nobody if we are root."""
    switch: Any = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    done: subprocess.CompletedProcess[str] = subprocess.run(
        ["sh", "-c", script, "sh", *options],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin"},
        cwd="/",
        timeout=30,
        check=False,
        **switch,
    )
    return done


def test_read_only_place_is_said(bundles: Bundles, open_folder: Path) -> None:
    """A prefix in a place that cannot be written is named before anything is fetched."""
    open_folder.chmod(0o555)
    done = as_nobody(rendered("https://127.0.0.1:1", bundles.known), "--prefix", f"{open_folder}/firstlight")
    assert_failed(done, open_folder / "firstlight", f"{open_folder} cannot be written", "read-only")


def test_default_place_needs_root(bundles: Bundles) -> None:
    """Without root and without --prefix the script says both ways out."""
    done = as_nobody(rendered("https://127.0.0.1:1", bundles.known))
    assert done.returncode == 1
    assert "needs root" in done.stderr
    assert "sudo" in done.stderr
    assert "--prefix" in done.stderr


def test_proxy_is_kept_for_the_service(server: BundleServer, bundles: Bundles, prefix: Path) -> None:
    """https_proxy goes into the settings, for a service has none; not where no_proxy says so, never a password."""
    config = prefix / "etc" / "agent.toml"
    none, proxy = '# proxy = "http://HOST:PORT"', "http://127.0.0.1:9"
    for variables, line in (
        ({}, none),
        ({"https_proxy": proxy}, f'proxy = "{proxy}"'),
        ({"https_proxy": proxy, "no_proxy": "127.0.0.1"}, none),
        ({"https_proxy": "http://user:secret@127.0.0.1:9", "no_proxy": "elsewhere"}, none),
    ):
        config.unlink(missing_ok=True)
        # Enrolling fails (the server is no hub), so only the first run fetches: the rest is in place.
        run(rendered(server.url, bundles.known), "--prefix", str(prefix), env=variables)
        assert line in config.read_text().splitlines(), variables
        assert "secret" not in config.read_text()
