"""The targets of make fuzz, by hypothesis: any bytes, and right ones with a few bytes changed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.seeds import claims, unsigned
from tests.fuzz.targets import TARGETS, both_readers

INPUTS = [(name, seed) for name, (_, seeds) in TARGETS.items() for seed in seeds]
EDITS = st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 2), st.binary(min_size=1, max_size=3)), max_size=4)


def edited(body: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    """The bytes with some put in, exchanged or taken out."""
    for place, kind, piece in edits:
        at = place % (len(body) + 1)
        body = body[:at] + (piece if kind < 2 else b"") + body[at + (len(piece) if kind else 0) :]
    return body


@pytest.mark.parametrize("name", TARGETS)
def test_seeds(name: str) -> None:
    """Every input that fuzzing begins with keeps the target's rule."""
    target, seeds = TARGETS[name]
    for seed in seeds:
        target(seed)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=150)
@given(body=st.binary(max_size=600))
def test_any_bytes(name: str, body: bytes) -> None:
    """So do any bytes."""
    TARGETS[name][0](body)


@settings(max_examples=1500)
@given(st.sampled_from(INPUTS), EDITS)
def test_right_ones_with_changes(chosen: tuple[str, bytes], edits: list[tuple[int, int, bytes]]) -> None:
    """And right inputs with a few bytes put in, exchanged or taken out."""
    name, seed = chosen
    TARGETS[name][0](edited(seed, edits))


@pytest.mark.parametrize("seed", claims()[:2])
def test_a_mistake_would_be_found(seed: bytes) -> None:
    """Two readers that disagree make a target fail: its rule is not empty."""
    both_readers(unsigned(seed))
    with pytest.raises(AssertionError):
        both_readers(unsigned(seed), expected_by=lambda *_: {"signed_by": "", "endpoint": "https://other", "nonce": ""})
