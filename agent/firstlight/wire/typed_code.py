"""The code that a person types where no camera reads: ``XXXX-XXXX-XXXX-XXXX-CC``.

Sixteen characters of Crockford's Base32 are the token (80 bits); ``CC`` are two digits over it by ISO 7064, MOD 97-10
(docs/offline-payload.md): 97 is a prime greater than 32, so no single wrong character and no swap of two goes through.
In lower case the sixteen are the token as the hub knows it. The endpoint and its pin come from the box's settings.
"""

from __future__ import annotations

import re

from firstlight.core.model import Secret
from firstlight.errors import InvitationError

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
TOKEN_CHARACTERS = 16
TOKEN_BYTES = 10
CODE_CHARACTERS = 18
GROUP = 4
MAX_TEXT = 64
_VALUES = {character: value for value, character in enumerate(ALPHABET)}
_LOOKALIKES = str.maketrans("OIL", "011")
_TOKEN = re.compile(r"[0-9abcdefghjkmnpqrstvwxyz]{16}\Z")
_SPACING = re.compile(r"[\s\-\u2010-\u2015]+")


def make(token: Secret) -> str:
    """A token of 16 lower-case Crockford characters -> the code to print. Raises ValueError for another one."""
    text = token.reveal()
    if not _TOKEN.match(text):
        raise ValueError("only a token of 16 lower-case Crockford characters has a typed code")
    whole = text.upper() + _check(text.upper())
    return "-".join(whole[start : start + GROUP] for start in range(0, CODE_CHARACTERS, GROUP))


def read(text: str) -> Secret:
    """What a person typed -> the token: in any case, O for 0, I and L for 1; spaces and dashes do not count.

    Raises:
        InvitationError: ``typed_code_malformed``: no such code; ``typed_code_wrong``: mistyped.
    """
    bare = _SPACING.sub("", text[: MAX_TEXT + 1]).upper().translate(_LOOKALIKES)
    if len(text) > MAX_TEXT or len(bare) != CODE_CHARACTERS:
        count = f"{len(bare)}" if len(text) <= MAX_TEXT else f"more than {MAX_TEXT}"
        raise InvitationError(
            "typed_code_malformed", f"A typed code has {CODE_CHARACTERS} letters and digits; this has {count}."
        )
    wrong = next((place for place, character in enumerate(bare, 1) if character not in _VALUES), 0)
    if wrong:
        raise InvitationError(
            "typed_code_malformed", f"Character {wrong} of the code is {bare[wrong - 1]!r}, which no code has."
        )
    if _check(bare[:TOKEN_CHARACTERS]) != bare[TOKEN_CHARACTERS:]:
        raise InvitationError(
            "typed_code_wrong",
            "The code's last two digits do not fit the rest: one character is wrong, or two are swapped.",
        )
    return Secret(bare[:TOKEN_CHARACTERS].lower())


def is_one(text: str) -> bool:
    """Whether a text has the shape of a typed code, right or mistyped."""
    try:
        read(text)
    except InvitationError as error:
        return error.code == "typed_code_wrong"
    return True


def pack(token: str) -> bytes | None:
    """A token of 16 lower-case Crockford characters -> its 10 bytes; None for any other text."""
    return _number(token.upper()).to_bytes(TOKEN_BYTES, "big") if _TOKEN.match(token) else None


def unpack(packed: bytes) -> str:
    """10 bytes -> the token."""
    number = int.from_bytes(packed, "big")
    places = range(5 * (TOKEN_CHARACTERS - 1), -1, -5)
    return "".join(ALPHABET[number >> place & 31] for place in places).lower()


def _number(characters: str) -> int:
    number = 0
    for character in characters:
        number = number * 32 + _VALUES[character]
    return number


def _check(characters: str) -> str:
    """The two digits that make the number before them leave 1 when divided by 97."""
    return f"{98 - _number(characters) * 100 % 97:02d}"
