"""Manual pages, completion, copyright and changelog of the packages are held to the code: none of them may go stale."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import firstlight
from firstlight.cli.main import AT_THE_DESK, DESK_ACTS, ON_THIS_BOX
from firstlight.cli.settings import SETTINGS
from firstlight_hub.cli.main import parser
from tests.rules.sources import ROOT
from tests.rules.test_docs import kinds
from tests.rules.test_versions import locked

PACKAGING = ROOT / "packaging"
FLAG = re.compile(r"--[a-z][a-z-]+")
AGENT_VERBS = [*ON_THIS_BOX, *(f"device {act}" for act in DESK_ACTS)]


@cache
def page(name: str) -> str:
    """A manual page as plain words."""
    text = (PACKAGING / "man" / name).read_text(encoding="utf-8")
    return re.sub(r"\\f[A-Z]", "", text.replace("\\-", "-"))


def paragraph(text: str, verb: str) -> str:
    """What a page says of a verb."""
    found = re.findall(rf"^\.TP\n\.B {verb}(?: .*)?\n((?:(?!\.TP|\.SH).*\n)+)", text, re.MULTILINE)
    assert len(found) == 1, verb
    return str(found[0])


@cache
def options(verb: str) -> frozenset[str]:
    """The options that a verb of the agent explains with --help."""
    line = [str(Path(sys.executable).with_name("firstlight")), *verb.split(), "--help"]
    said = subprocess.run(line, capture_output=True, text=True, check=True, timeout=30).stdout
    return frozenset(FLAG.findall(said)) - {"--help"}


def hub_options() -> dict[str, frozenset[str]]:
    """Every verb of the hub with its options."""
    found: dict[str, frozenset[str]] = {}

    def walk(words: str, one: argparse.ArgumentParser) -> None:
        below = [action for action in one._actions if isinstance(action, argparse._SubParsersAction)]
        for action in below:
            for name, each in action.choices.items():
                walk(f"{words} {name}".strip(), each)
        if not below:
            found[words] = frozenset(each for action in one._actions for each in action.option_strings) - {
                "-h",
                "--help",
            }

    walk("", parser())
    return found


def completed(program: str, words: str) -> set[str]:
    """What the shell offers after these words."""
    script = (
        f'source "$1"; COMP_WORDS=({program} {words} ""); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); '
        f'_{program.replace("-", "_")}; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    line = ["bash", "--noprofile", "--norc", "-c", script, "bash", str(PACKAGING / f"completion/{program}.bash")]
    return set(subprocess.run(line, capture_output=True, text=True, check=True, timeout=30).stdout.split())


@pytest.mark.parametrize("verb", AGENT_VERBS)
def test_page_has_every_option(verb: str) -> None:
    """firstlight(8) names every verb with exactly the options it has."""
    text = page("firstlight.8")
    written = set(FLAG.findall(paragraph(text, verb)))
    if verb.startswith("device "):
        written |= set(FLAG.findall(text.partition("VERBS AT THE DESK")[2].partition(".TP")[0]))
    assert written == options(verb)


@pytest.mark.parametrize(("verb", "known"), hub_options().items())
def test_page_of_the_hub_has_every_option(verb: str, known: frozenset[str]) -> None:
    """firstlight-hub(8) names every verb with exactly the options it has; --dir it names once for all."""
    assert set(FLAG.findall(paragraph(page("firstlight-hub.8"), verb))) == known - {"--dir"}


def test_page_has_every_exit_status() -> None:
    """firstlight(8) names the exit status of every kind of error."""
    written = set(re.findall(r"^\.B (\d+)$", page("firstlight.8").partition("EXIT STATUS")[2], re.MULTILINE))
    assert {str(kind.exit_status) for kind in kinds().values()} <= written


def test_page_has_every_setting() -> None:
    """firstlight-agent.toml(5) has every setting with its variable and meaning, and nothing else."""
    text = page("firstlight-agent.toml.5")
    written = re.findall(r"^\.TP\n\.B (\w+) \((\w+)\)\n(.*)$", text, re.MULTILINE)
    assert written == [(name, variable, what) for name, (variable, what) in SETTINGS.items()]


@pytest.mark.parametrize("verb", AGENT_VERBS)
def test_completion_offers_every_option(verb: str) -> None:
    """The shell offers exactly the options that a verb has."""
    assert completed("firstlight", verb) - {"--help"} == options(verb) - (
        {"--key-file"} - completed("firstlight", verb)
    )


def test_completion_offers_every_verb() -> None:
    """The shell offers every verb of the agent and of the hub."""
    assert set(ON_THIS_BOX) | set(AT_THE_DESK) <= completed("firstlight", "")
    assert set(DESK_ACTS) <= completed("firstlight", "device")
    assert {verb.split()[0] for verb in hub_options()} <= completed("firstlight-hub", "")


@pytest.mark.parametrize(("verb", "known"), hub_options().items())
def test_completion_of_the_hub_offers_every_option(verb: str, known: frozenset[str]) -> None:
    """The shell offers exactly the options that a verb of the hub has."""
    assert completed("firstlight-hub", verb) - {"--help"} == known


@pytest.mark.parametrize(
    ("lock", "files"), [("requirements-agent.txt", ("agent",)), ("requirements-hub.txt", ("agent", "hub"))]
)
def test_copyright_has_every_library(lock: str, files: tuple[str, ...]) -> None:
    """The copyright files name every library that a package carries, and the text of every licence they speak of."""
    text = "".join((PACKAGING / "deb/copyright" / name).read_text(encoding="utf-8") for name in files)
    named = {re.sub(r"[-_.]+", "-", each).strip("-").lower() for each in re.findall(r"lib/[^ \n]*?/?_?(\w+)\*", text)}
    carried = locked(lock) - {"colorama", "pycparser"}  # one is for Windows, one is read by nothing on a box
    if files == ("agent",):
        carried -= {"anyio", "exceptiongroup", "typing-extensions"}  # for what is asynchronous: the hub has it
    assert not [each for each in carried if not any(each == name or each.startswith(f"{name}-") for name in named)]
    licences = (PACKAGING / "deb/copyright/licences").read_text(encoding="utf-8")
    spoken_of = {part for line in re.findall(r"^License: (.*)$", text, re.MULTILINE) for part in line.split(" and ")}
    assert spoken_of <= set(re.findall(r"^License: (.*)$", licences, re.MULTILINE))


def test_changelog_is_of_this_version() -> None:
    """The Debian changelog's newest entry is of the version that is built."""
    first = (PACKAGING / "deb/changelog").read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith(f"firstlight ({firstlight.__version__}) ")
