"""Whatever is in firstlight.txt: it is an invitation or a named refusal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from firstlight.core.model import Invitation
from firstlight.errors import InvitationError
from firstlight.sources.first_boot import parameter
from firstlight.sources.invitation import decoded, read_invitation

PIN = "sha256//" + "A" * 43 + "="
WORDS = ("hub", "pin", "install_id", "=", ":", " ", "\n", "\r\n", ",", "curl ", "--pinnedpubkey ", "'", "#", "ca =")
PARTS = ("https://h", "https://h:1/devices/v2/", "/install.sh", PIN, "sha256//", "A" * 16, "transport=mqtt", "FL1:")
MARKS = ("\x00", "\u201c", "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----", "\ufeff")
PIECES = st.sampled_from((*WORDS, *PARTS, *MARKS))


def is_one_or_the_other(text: str) -> None:
    """An invitation whose parts are whole, or the error that the verb shows."""
    try:
        found = read_invitation(text)
    except InvitationError as error:
        assert error.code and error.message and error.hint
    else:
        assert isinstance(found, Invitation) and found.endpoint.host and len(found.proof.reveal()) >= 16


@given(st.text())
def test_any_text(text: str) -> None:
    """Nothing but InvitationError comes out of any text."""
    is_one_or_the_other(text)


@given(st.lists(PIECES, max_size=40))
def test_texts_that_look_right(pieces: list[str]) -> None:
    """Nor out of one that is made of the right words in any order."""
    is_one_or_the_other("".join(pieces))


@given(st.binary(max_size=9000))
def test_any_bytes(body: bytes) -> None:
    """Nor out of any file."""
    try:
        text = decoded(body)
    except InvitationError as error:
        assert error.code == "invitation_malformed"
    else:
        is_one_or_the_other(text)


@given(st.text())
def test_any_kernel_line(line: str) -> None:
    """A parameter is found exactly where a word begins with its name."""
    found = parameter(line)
    assert found is None or "firstlight.invitation=" in line.replace('"', "")
    assert parameter(f'quiet "{line.replace(chr(34), "")}" firstlight.invitation="a b" ro') == "a b"
