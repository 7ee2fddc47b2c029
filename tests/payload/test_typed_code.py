"""Typed codes: the check digits judged by python-stdnum, every mistake of one character found, and what people type."""

from __future__ import annotations

import itertools
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum.iso7064 import mod_97_10

from firstlight.core.model import INSTALL_ID, Secret
from firstlight.errors import HINTS, InvitationError
from firstlight.wire import typed_code

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
TOKENS = st.text(ALPHABET.lower(), min_size=16, max_size=16)
SAMPLE = ("0123456789abcdef", "q7x4n0vz3m8dk2rt", "0" * 16, "z" * 16, "zzzzzzzz00000000", "7k3m9p2t5v8x1z4b")


def value_of(token: str) -> int:
    """The token as a number, by the standard library's own base 32."""
    return int(token.upper().translate(str.maketrans(ALPHABET, (string.digits + string.ascii_uppercase)[:32])), 32)


def bare(token: str) -> str:
    """The code without dashes."""
    return typed_code.make(Secret(token)).replace("-", "")


def refused_as(text: str) -> str:
    """The code with which a text is refused."""
    with pytest.raises(InvitationError) as refused:
        typed_code.read(text)
    assert refused.value.hint == HINTS[refused.value.code]
    return refused.value.code


@given(TOKENS)
def test_the_judge(token: str) -> None:
    """python-stdnum computes the same two digits, and finds the whole number valid."""
    code = bare(token)
    number = str(value_of(token))
    assert code == token.upper() + mod_97_10.calc_check_digits(number)
    assert mod_97_10.is_valid(number + code[16:])


@given(TOKENS, st.sampled_from([str.lower, str.upper, str.title, str.swapcase]), st.sampled_from(["", " ", "-", " - "]))
def test_there_and_back(token: str, case: object, between: str) -> None:
    """In any case, with any spacing, and with the letters that look like digits."""
    assert callable(case)
    code = typed_code.make(Secret(token))
    typed = case(between.join(code.split("-")))
    assert typed_code.read(typed).reveal() == token
    assert typed_code.read(f"\t{typed.replace('0', 'o').replace('1', 'l')}\n").reveal() == token
    assert typed_code.read(typed.replace("0", "O").replace("1", "I")).reveal() == token


@given(TOKENS)
def test_ten_bytes(token: str) -> None:
    """A token is 80 bits, and an installId as the hub knows it."""
    packed = typed_code.pack(token)
    assert packed == value_of(token).to_bytes(10, "big")
    assert typed_code.unpack(packed) == token
    assert INSTALL_ID.match(token)


@pytest.mark.parametrize("token", SAMPLE)
def test_every_wrong_character(token: str) -> None:
    """Each character exchanged for each other one: all found."""
    code = bare(token)
    for place, wrong in itertools.product(range(18), ALPHABET):
        if wrong != code[place]:
            assert refused_as(code[:place] + wrong + code[place + 1 :]) == "typed_code_wrong"


@pytest.mark.parametrize("token", SAMPLE)
def test_every_swap(token: str) -> None:
    """Each two characters of the token swapped, and each two neighbours of the whole: all found."""
    code = bare(token)
    pairs = {*itertools.combinations(range(16), 2), (15, 16), (16, 17)}
    for low, high in pairs:
        if code[low] != code[high]:
            swapped = code[:low] + code[high] + code[low + 1 : high] + code[low] + code[high + 1 :]
            assert refused_as(swapped) == "typed_code_wrong"


def test_swaps_by_arithmetic() -> None:
    """For any token: 32 to any power up to 15 is not 1 modulo 97, and a last character never passes for a digit."""
    assert all(pow(32, power, 97) != 1 for power in range(1, 16))
    assert all(difference * 31 % 97 for difference in range(1, 32))
    assert all(difference * (100 - 10) % 97 for difference in range(1, 10))
    assert all(difference * (10 - 1) % 97 for difference in range(1, 10))


@given(TOKENS, TOKENS)
def test_other_tokens(token: str, other: str) -> None:
    """Another token with these digits goes through only where both leave the same rest."""
    if value_of(token) % 97 != value_of(other) % 97:
        assert refused_as(other + bare(token)[16:]) == "typed_code_wrong"


def test_the_sentence_says_what_to_look_for() -> None:
    """A mistyped code is answered with what is wrong with it."""
    with pytest.raises(InvitationError, match="one character is wrong"):
        typed_code.read("0123-4567-89AB-CDEF-42")
    with pytest.raises(InvitationError, match="Character 3 of the code is 'U'"):
        typed_code.read("01U3-4567-89AB-CDEF-41")
    with pytest.raises(InvitationError, match="has 18 letters and digits; this has 17"):
        typed_code.read("0123-4567-89AB-CDEF-4")


@pytest.mark.parametrize(
    "text",
    ["", "-" * 18, "0123456789ABCDEF", "0123-4567-89AB-CDEF-411", "0123-4567-89AB-CDEF-4U", "\u0660" * 18, "0" * 10**7],
    ids=["nothing", "dashes", "no digits", "one more", "U", "other digits", "10 MB"],
)
def test_what_is_no_code(text: str) -> None:
    """Whatever else is refused as such, without showing it whole."""
    assert refused_as(text) == "typed_code_malformed"
    assert not typed_code.is_one(text)


def test_a_mistyped_one_is_one() -> None:
    """A code with a mistake is still known for a typed code."""
    assert typed_code.is_one("0123-4567-89AB-CDEF-42")
    assert typed_code.is_one("0123-4567-89AB-CDEF-41")


@pytest.mark.parametrize("token", ["", "0123456789ABCDEF", "0123456789abcdeu", "0123456789abcdef0"])
def test_only_a_token_has_a_code(token: str) -> None:
    """A code is made for 16 small Crockford characters only."""
    with pytest.raises(ValueError, match="16 lower-case"):
        typed_code.make(Secret(token))


@given(st.text(max_size=40))
def test_any_text(text: str) -> None:
    """Any text is a code, or refused by a name that has a next step."""
    try:
        found = typed_code.read(text)
    except InvitationError as error:
        assert error.hint == HINTS[error.code]
    else:
        assert INSTALL_ID.match(found.reveal())
