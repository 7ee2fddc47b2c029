"""The script as text: short, clean, quoted, and harmless when it arrives cut."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from firstlight import __version__
from firstlight_hub.bundle_contents import shipped
from firstlight_hub.installer import render_bundle_installer, render_install_script
from firstlight_hub.release_keys import key_id, make_key, public_pem
from firstlight_hub.shelf import Offered
from tests.install.scene import INSTALL_ID, rendered, run

HUB = "https://hub.example:8443"
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
BUNDLES = [
    Offered(__version__, arch, PYTHONS, "ab" * 32, f"firstlight-{__version__}-{arch}.tar", True)
    for arch in ("x86_64", "aarch64")
]
REFUSAL = ("The installId was redeemed already.", "Ask the operator for a new one.")
SHELLCHECK = shutil.which("shellcheck", path=str(Path(sys.executable).parent)) or shutil.which("shellcheck")
SHELLS = [
    pytest.param(
        words, marks=pytest.mark.skipif(shutil.which(words[0]) is None, reason=f"no {words[0]} here"), id=words[0]
    )
    for words in (["sh"], ["dash"], ["busybox", "sh"], ["bash", "--posix"])
]
# What a hostile name or a slip could bring into a value.
HOSTILE = [
    "$(touch made)",
    "`touch made`",
    "'; touch made; '",
    '"; touch made; "',
    "\n touch made\n",
    "}; touch made; {",
    "\\'; touch made #",
    "a\x1b[2Jb\x00c",
    "${HOME:=x} *",
]


def full() -> str:
    """A script with every value set."""
    return rendered(HUB, BUNDLES, pin="sha256//" + "A" * 43 + "=", refusal=REFUSAL)


def test_has_at_most_200_lines() -> None:
    """The script stays short enough to be read before it is run, whatever values it carries."""
    with_ca = render_install_script(
        install_id=INSTALL_ID,
        device_id=None,
        hub_url=HUB,
        pin=None,
        ca_pem="-----BEGIN CERTIFICATE-----\n" + "MIIB\n" * 30 + "-----END CERTIFICATE-----\n",
        bundles=BUNDLES,
        agent_version=__version__,
        refusal=("one\ntwo", "three\n\n\n"),
        release_keys={key_id(key): public_pem(key) for key in (make_key(), make_key())},
    )
    assert {len(text.splitlines()) for text in (full(), rendered(HUB, []), with_ca)} <= set(range(201))


@pytest.mark.skipif(SHELLCHECK is None, reason="no shellcheck here")
@pytest.mark.parametrize("case", ["full", "bare", "install.sh", "setup.sh", "start-service.sh", "uninstall.sh"])
def test_pleases_shellcheck(case: str) -> None:
    """The rendered script and those that travel in the bundle have no warning, not even a remark on style."""
    made = {"full": full(), "bare": rendered(HUB, []), "install.sh": render_bundle_installer().decode()}
    text = made.get(case) or shipped(f"systemd/{case}").read_text()
    command = [str(SHELLCHECK), "--shell=sh", "--enable=check-unassigned-uppercase", "--severity=style", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == ""


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("case", ["install", "install.sh", "setup.sh", "start-service.sh", "uninstall.sh"])
def test_parses_in_each_shell(shell: list[str], case: str) -> None:
    """Each shell that a box may have reads the scripts without complaint."""
    made = {"install": full(), "install.sh": render_bundle_installer().decode()}
    text = made.get(case) or shipped(f"systemd/{case}").read_text()
    done = subprocess.run([*shell, "-n"], input=text, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_cut_download_runs_nothing(tmp_path: Path) -> None:
    """Cut after any line, at each byte of the last lines and at many others, the script makes and says nothing."""
    text = rendered(HUB, BUNDLES)
    ends = {match.end() for match in re.finditer("\n", text)} | set(range(0, len(text), 211))
    ends = {end for end in ends | set(range(len(text) - 120, len(text))) if text[:end].rstrip() != text.rstrip()}
    prefix = tmp_path / "prefix"
    for end in sorted(ends):
        done = subprocess.run(
            ["sh", "-c", text[:end], "sh", "--prefix", str(prefix)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={"PATH": "/usr/bin:/bin"},
            timeout=20,
            check=False,
        )
        assert done.stdout == "", f"cut at {end}"
        assert not list(tmp_path.iterdir()), f"cut at {end}"


@pytest.mark.parametrize("hostile", HOSTILE)
def test_values_cannot_become_commands(hostile: str, tmp_path: Path) -> None:
    """Whatever a value holds, it stays a value: a refused script prints it and runs nothing of it."""
    script = render_install_script(
        install_id=hostile,
        device_id=hostile,
        hub_url=HUB + hostile,
        pin=hostile,
        ca_pem=hostile,
        bundles=[*BUNDLES, Offered(__version__, hostile, (hostile,), hostile, hostile, True)],
        agent_version=__version__,
        release_keys={hostile: hostile.encode()},
        refusal=(f"No: {hostile}", f"Then: {hostile}"),
    )
    done = subprocess.run(
        ["sh", "-c", script, "sh", "--prefix", str(tmp_path / "p"), "--dry-run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin"},
        timeout=20,
        check=False,
    )
    shown = "".join(char if char.isprintable() else " " for char in hostile)
    assert done.returncode == 1
    assert done.stderr == f"firstlight: No: {shown}\n  Then: {shown}\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["--uninstall", "--dry-run", "--nonsense", "--prefix"])
def test_refusal_is_said_and_fails(option: str, tmp_path: Path) -> None:
    """A script for a spent or unknown installId says why and what to do, on standard error, and fails."""
    words = ["--prefix", str(tmp_path / "p")] if option == "--dry-run" else [option]
    done = run(full(), *words)
    assert done.returncode == 1
    assert done.stdout == ""
    if option == "--dry-run":
        assert done.stderr == f"firstlight: {REFUSAL[0]}\n  {REFUSAL[1]}\n"


def test_help_needs_nothing() -> None:
    """--help works for everybody, also with an installId that is spent."""
    done = run(full(), "--help")
    assert (done.returncode, done.stderr) == (0, "")
    options = set(re.findall(r"^  (--[a-z-]+)", done.stdout, re.MULTILINE))
    assert options == {"--dry-run", "--prefix", "--no-service", "--with-scanning", "--uninstall"}


@pytest.mark.parametrize("prefix", ["relative", "/a b", "/a'b", "/a$b", "/x/../../etc", "/é", "", "/a|b", "/a\nb"])
def test_prefix_must_be_a_plain_absolute_path(prefix: str, tmp_path: Path) -> None:
    """A prefix that could not stand in a unit file is refused before anything else."""
    done = run(rendered(HUB, BUNDLES), "--dry-run", "--prefix", prefix)
    assert done.returncode == 1
    assert "--prefix needs an absolute path" in done.stderr
