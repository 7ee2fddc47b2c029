"""The bounded part of CBOR: what it takes, and that it takes nothing else."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstlight.wire import payload_cbor
from firstlight.wire.bounded import WireError
from tests.payload.second_reader import Cbor, Refused

NUMBERS = st.integers(-(1 << 64), (1 << 64) - 1)
SIMPLE = NUMBERS | st.binary(max_size=300) | st.text(max_size=300) | st.booleans()
VALUES = st.recursive(
    SIMPLE, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NUMBERS, inner, max_size=4), max_leaves=12
)


def depth_of(value: Any) -> int:
    """How deeply containers are nested."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


@given(VALUES)
def test_there_and_back(value: Any) -> None:
    """Whatever is not too deep is read back, by two readers, from its one encoding."""
    body = payload_cbor.encode(value)
    if depth_of(value) <= payload_cbor.MAX_DEPTH:
        assert payload_cbor.decode(body) == value == Cbor(body).whole()
    else:
        with pytest.raises(WireError):
            payload_cbor.decode(body)


@given(st.binary(max_size=64))
def test_any_bytes(body: bytes) -> None:
    """Two readers agree about any bytes."""
    try:
        found = payload_cbor.decode(body)
    except WireError:
        with pytest.raises(Refused):
            Cbor(body).whole()
    else:
        assert Cbor(body).whole() == found


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x18\x17",
        b"\x19\x00\xff",
        b"\x1a\x00\x00\xff\xff",
        b"\x1b\x00\x00\x00\x00\xff\xff\xff\xff",
        b"\x58\x01a",
        b"\x5f\x41a\xff",
        b"\x7f\x61a\xff",
        b"\x9f\x01\xff",
        b"\xbf\x01\x02\xff",
        b"\xff",
        b"\xf6",
        b"\xf7",
        b"\xf9\x3c\x00",
        b"\xfa\x3f\x80\x00\x00",
        b"\xf8\x20",
        b"\xe0",
        b"\x1c",
        b"\xc0\x60",
        b"\xa2\x01\x02\x01\x03",
        b"\xa2\x02\x01\x01\x01",
        b"\x61\xff",
        b"\x81",
        b"\x42a",
        b"\x01\x01",
        b"\x81\x81\x81\x81\x81\x01",
        b"\x98\x61" + b"\0" * 97,
        b"\x98\x60" + b"\0" * 96,
    ],
    ids=bytes.hex,
)
def test_other_forms_are_refused(body: bytes) -> None:
    """Longer forms, open lengths, fractions, null, tags, keys twice or unsorted, cut, deep, crowded."""
    with pytest.raises(WireError):
        payload_cbor.decode(body)


def test_the_tag_is_asked_for() -> None:
    """A tag must be there where one is asked for, and may not be where none is."""
    assert payload_cbor.decode(b"\xd2\x80", 18) == []
    for body, tag in ((b"\xd2\x80", None), (b"\x80", 18), (b"\xd1\x80", 18), (b"\xd8\x12\x80", 18), (b"", 18)):
        with pytest.raises(WireError):
            payload_cbor.decode(body, tag)


def test_deterministic_order() -> None:
    """Keys are sorted by their bytes, as RFC 8949 has it: a longer key may come before a shorter one."""
    body = payload_cbor.encode({-2: 0, 300: 0, 7: 0, -1: {2: 0, 1: 0}, 4: 0, 24: 0, 6: 0, -30: 0})
    assert list(cbor2.loads(body)) == [4, 6, 7, 24, 300, -1, -2, -30]
    assert body == bytes.fromhex("a8 0400 0600 0700 181800 19012c00 20a2 0100 0200 2100 381d00")
    assert payload_cbor.decode(body) == cbor2.loads(body)
    with pytest.raises(WireError):  # the order of RFC 7049
        payload_cbor.decode(bytes.fromhex("a2 2000 181800"))


@pytest.mark.parametrize("key", ["a", b"a", True, (1,)], ids=str)
def test_only_numbers_are_keys(key: object) -> None:
    """A map with any other key is neither written nor read."""
    with pytest.raises(WireError):
        payload_cbor.encode({key: 0})
    with pytest.raises(WireError):
        payload_cbor.decode(cbor2.dumps({key: 0}))
