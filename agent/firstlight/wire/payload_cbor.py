"""The small part of CBOR (RFC 8949) that offline codes use, bounded before a library builds anything from it.

Allowed: whole numbers of up to 64 bits, byte strings, UTF-8 texts, arrays, maps with whole numbers as keys, true and
false, and a tag in front of the whole. Everything has its length in front and its shortest form. What is not allowed
is refused by ``check``, which reads heads only, without recursion, so that a length which promises more than there is
costs nothing.
"""

from __future__ import annotations

from firstlight.wire.bounded import WireError

MAX_DEPTH = 4
MAX_ITEMS = 96
_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)
_TRUE, _FALSE = 21, 20
_LONG = {24: 1, 25: 2, 26: 4, 27: 8}  # what the head says -> bytes of the argument that follow
_SHORTEST = {24: 24, 25: 1 << 8, 26: 1 << 16, 27: 1 << 32}  # ... -> the first number that needs so many


def encode(value: object) -> bytes:
    """Plain values -> their one encoding. Raises WireError for a map whose keys are not whole numbers."""
    import cbor2

    return cbor2.dumps(_sorted(value))


def _sorted(value: object) -> object:
    """Maps in the order of their keys' bytes: 0, 1, … -1, -2, …; cbor2's own order is the older one of RFC 7049."""
    if isinstance(value, list):
        return [_sorted(each) for each in value]
    if not isinstance(value, dict):
        return value
    if any(type(key) is not int for key in value):
        raise WireError("has a key that is no whole number")
    return {key: _sorted(value[key]) for key in sorted(value, key=lambda key: (key < 0, abs(key)))}


def decode(body: bytes, tag: int | None = None) -> object:
    """One item -> plain values; of a tagged item what is behind the tag.

    Args:
        body: the whole, at most some kilobytes: the caller bounds it.
        tag: the tag that must stand in front, None = none may.

    Raises:
        WireError: not one well-formed item of the allowed kinds, too deep, too many items, or not its one encoding.
    """
    import cbor2

    start = 0
    if tag is not None:
        kind, found, start = _head(body, 0)
        if (kind, found) != (_TAG, tag):
            raise WireError(f"does not begin with tag {tag}")
    check(body, start)
    try:
        value: object = cbor2.loads(body[start:])
        again = encode(value)
    except WireError:
        raise
    except (cbor2.CBORDecodeError, cbor2.CBOREncodeError, ValueError, TypeError, RecursionError):
        raise WireError("is not CBOR") from None
    # What is left after `check`: keys that stand twice or in another order.
    if again != body[start:]:
        raise WireError("is not encoded in the one allowed way")
    return value


def check(body: bytes, start: int = 0) -> None:
    """Reads the heads of all items from ``start`` to the end. Raises WireError as ``decode`` does."""
    open_items = [1]  # for each open container how many items are still to come
    position, items = start, 0
    while open_items:
        if open_items[-1] == 0:
            open_items.pop()
            continue
        open_items[-1] -= 1
        items += 1
        kind, argument, position = _head(body, position)
        if items > MAX_ITEMS:
            raise WireError(f"has more than {MAX_ITEMS} items")
        if kind in (_BYTES, _TEXT):
            if argument > len(body) - position:
                raise WireError("ends in the middle")
            position += argument
        elif kind in (_ARRAY, _MAP):
            if argument > MAX_ITEMS or len(open_items) > MAX_DEPTH:
                raise WireError("has too many items, or is nested too deeply")
            open_items.append(argument * (2 if kind == _MAP else 1))
        elif kind == _TAG or (kind == _SIMPLE and argument not in (_TRUE, _FALSE)):
            raise WireError("holds a kind of item that is not allowed")
    if position != len(body):
        raise WireError("has something behind its end")


def _head(body: bytes, position: int) -> tuple[int, int, int]:
    """The head at a position -> major type, argument, position behind it. Raises WireError."""
    if position >= len(body):
        raise WireError("ends in the middle")
    kind, short = divmod(body[position], 32)
    position += 1
    if short < 24:
        return kind, short, position
    # Major type 7 with an argument is a float or a simple value, none of which occurs; 28 to 31 are no fixed lengths.
    if short not in _LONG or kind == _SIMPLE:
        raise WireError("holds a kind of item that is not allowed")
    end = position + _LONG[short]
    argument = int.from_bytes(body[position:end], "big")
    if end > len(body) or argument < _SHORTEST[short]:
        raise WireError("ends in the middle, or has a number that is longer than it need be")
    return kind, argument, end
