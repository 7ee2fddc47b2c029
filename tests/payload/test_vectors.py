"""The vectors of docs/offline-payload.md, by the agent's reader and by a second one that shares no code with it."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from firstlight.core.model import Secret
from firstlight.errors import HINTS, InvitationError
from firstlight.platforms import PLATFORMS
from firstlight.wire import parts, payload, payload_claims, typed_code
from tests.payload import second_reader, vectors

READ: dict[str, Any] = json.loads(vectors.FILE.read_text(encoding="utf-8"))
TRUSTED = {READ["key"]["id"]: bytes.fromhex(READ["key"]["public"])}


def named(vector: dict[str, Any]) -> str:
    """A vector as pytest shows it."""
    return str(vector["name"]).replace(" ", "-")


def test_the_file_is_what_the_code_makes() -> None:
    """docs/offline-payload-vectors.json holds exactly the vectors that the code makes."""
    assert vectors.FILE.read_text(encoding="utf-8") == vectors.as_json(), "run: python -m tests.payload.vectors"


def test_the_page_is_what_the_code_makes() -> None:
    """The last section of docs/offline-payload.md shows exactly those vectors."""
    page = vectors.PAGE.read_text(encoding="utf-8")
    assert page == vectors.page_with(vectors.as_page()), "run: python -m tests.payload.vectors"


def test_the_second_reader_is_independent() -> None:
    """The second reader imports nothing of ours, and no CBOR or Base45 library."""
    tree = ast.parse(Path(second_reader.__file__).read_text(encoding="utf-8"))
    named = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    named |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in named} == {"__future__", "cryptography", "ipaddress", "re", "typing"}


@pytest.mark.parametrize("vector", READ["good"], ids=named)
def test_a_good_one(vector: dict[str, Any]) -> None:
    """Both readers find in a good text what was put into it."""
    assert second_reader.read(vector["text"], TRUSTED) == vector["says"]
    assert second_reader.base45(vector["text"][4:]).hex() == vector["cose"]
    opened = payload.decode(vector["text"], TRUSTED)
    assert opened == (vectors.GOOD[vector["name"]], READ["key"]["id"])


@pytest.mark.parametrize("vector", READ["bad"], ids=named)
def test_a_bad_one(vector: dict[str, Any]) -> None:
    """Both readers refuse a bad text, for the same reason."""
    with pytest.raises(InvitationError) as ours:
        payload.decode(vector["text"], TRUSTED)
    with pytest.raises(second_reader.Refused) as theirs:
        second_reader.read(vector["text"], TRUSTED)
    assert (ours.value.code, theirs.value.args[0]) == (vector["code"], vector["code"])
    assert ours.value.message.endswith(".") or ours.value.message.endswith("FL1:")
    assert ours.value.hint == HINTS[vector["code"]]


def test_every_bad_one_is_bad_in_one_way_only() -> None:
    """What the bad vectors spoil is a text that both readers take as it is."""
    assert vectors.claiming() == vectors.written(vectors.NORMAL)
    assert vectors.reshaped(lambda four: four) == vectors.written(vectors.NORMAL)


def test_the_parts() -> None:
    """The parts of the file make the whole of the file."""
    collected = parts.Parts()
    *_, whole = [collected.add(part) for part in READ["parts"]["parts"]]
    assert whole == READ["parts"]["whole"]
    assert len(READ["parts"]["parts"]) == 3


@pytest.mark.parametrize("vector", READ["typed"], ids=lambda vector: str(vector["code"]))
def test_a_typed_code(vector: dict[str, Any]) -> None:
    """A typed code of the file is that of its token, both ways."""
    assert typed_code.make(Secret(vector["token"])) == vector["code"]
    assert typed_code.read(vector["code"]).reveal() == vector["token"]


def test_the_platforms_are_those_there_are() -> None:
    """A payload may name platforms of the table, and no other; those that are left out have the device file."""
    assert set(payload_claims.PLATFORMS) <= set(PLATFORMS)
