"""``firstlight-hub rollout``: what can be typed, and what is said to it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from firstlight_hub.bundle_contents import Files
from firstlight_hub.bundle_file import write_bundle
from firstlight_hub.release_keys import load
from tests.hub.served import command, make


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hub that is not served, with a signed release."""
    made = tmp_path_factory.mktemp("hubs") / "hub"
    make(made)
    (made / "bundles").mkdir(exist_ok=True)
    files: Files = {"lib/firstlight/__init__.py": b"", "share/setup.sh": b""}
    write_bundle(made / "bundles", "0.9.0", "x86_64", ("3.11",), files, b"#!/bin/sh\n", load(made).sign)
    return made


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["start", "--version", "0.9.0"], "one of --percent, --tag and --device"),
        (["start", "--version", "0.9.0", "--percent", "5", "--tag", "a"], "one of --percent, --tag and --device"),
        (["start", "--version", "0.9.0", "--percent", "0"], "--percent is 1 to 100"),
        (["start", "--version", "0.9.0", "--percent", "101"], "--percent is 1 to 100"),
        (["start", "--version", "0.9.0", "--percent", "x"], "invalid int value"),
        (["start", "--version", "0.9.0", "--percent", "5", "--halt-after", "0"], "--halt-after is 1 to 1000000"),
        (["start", "--version", "0.9.0", "--percent", "5", "--at-once", "0"], "--at-once is 1 to 10000"),
        (["start", "--version", "latest", "--percent", "5"], "is not a version"),
        (["start", "--version", "0.9.1", "--percent", "5"], "no signed bundle of version 0.9.1"),
        (["start", "--version", "0.9.0", "--device", "nobody"], "There is no device 'nobody'"),
        (["start", "--percent", "5"], "--version"),
        (["widen", "--percent", "5"], "no roll-out that goes on"),
        (["halt"], "no roll-out that goes on"),
        (["resume"], "no roll-out that goes on"),
        (["cancel"], "no roll-out that goes on"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(folder: Path, words: list[str], said: str) -> None:
    """Exit status 2, what is wrong, and nothing is begun."""
    done = command("rollout", words[0], "--dir", folder, *words[1:])
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr
    assert json.loads(command("rollout", "show", "--dir", folder, "--json").stdout or "0") in (None, 0)


def test_a_rollout_from_its_start_to_its_end(tmp_path: Path, folder: Path) -> None:
    """Every verb once, on a copy of the hub: each says what counts from now on, and show agrees."""
    copy = tmp_path / "copy"
    assert command("backup", "--dir", folder, copy).returncode == 0
    (copy / "bundles").mkdir()
    for bundle in (folder / "bundles").iterdir():
        (copy / "bundles" / bundle.name).write_bytes(bundle.read_bytes())

    def said(verb: str, *words: str) -> str:
        done = command("rollout", verb, "--dir", copy, *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "version 0.9.0 to those with the tag roof, at most 7 boxes at once" in said(
        "start", "--version", "0.9.0", "--tag", "roof", "--at-once", "7"
    )
    assert "to 10 % of the boxes and to those with the tag roof" in said("widen", "--percent", "10")
    assert "Halted." in said("halt")
    assert "halted since" in said("show")
    assert "Rolling out version 0.9.0" in said("resume")
    found = json.loads(said("show", "--json"))
    assert (found["state"], found["percent"], found["tag"], found["atOnce"], found["chosen"]) == (
        "running",
        10,
        "roof",
        7,
        0,
    )
    assert "has ended" in said("cancel")
    assert json.loads(said("show", "--json"))["state"] == "ended"
