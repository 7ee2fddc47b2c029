"""A text that one QR symbol cannot hold, in parts: ``FL1P:n-total:HASH16:fragment``.

HASH16 is the start of the SHA-256 of the whole: it names the set, and checks the whole. Parts come in any order, and
more than once. Nothing is verified beyond that: the signature is the payload's business.
"""

from __future__ import annotations

import hashlib
import re

from firstlight.errors import InvitationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from firstlight.core.record import NamedTuple

MARK = "FL1P:"
MAX_TOTAL = 16
MAX_TEXT = 4296  # of a part, and of the whole
GROUP = 3  # characters of Base45 that belong together; the last of them is never a space
_WHOLE_MARK = "FL1:"
_PART = re.compile(r"FL1P:([1-9][0-9]?)-([1-9][0-9]?):([0-9A-F]{16}):([0-9A-Z $%*+\-./:]{1,4296})\Z")
_HEAD_CHARACTERS = len("FL1P:16-16:0123456789ABCDEF:")
_ENDS = " \t\r\n"


class Part(NamedTuple):
    """One part, read. ``number`` counts from 1 to ``total``; ``name`` is that of its set."""

    number: int
    total: int
    name: str
    fragment: str


def is_part(text: str) -> bool:
    """Whether a text says of itself that it is a part."""
    return text.lstrip(_ENDS)[: len(MARK)].upper() == MARK


def split(text: str, most_characters: int) -> list[str]:
    """A payload's text -> the texts of its parts, or the text alone where it fits as it is.

    Args:
        text: as ``payload.encode`` gives it.
        most_characters: that one symbol may have; 48 and more.

    Raises:
        InvitationError: ``payload_too_large``: it would take more than 16 parts.
    """
    if len(text) <= most_characters:
        return [text]
    # Cut between groups of Base45, so that no part ends in a space, which a file or a scanner would lose.
    room = most_characters - _HEAD_CHARACTERS - len(_WHOLE_MARK)
    groups = -(-(len(text) - len(_WHOLE_MARK)) // GROUP)
    total = -(-groups // (room // GROUP)) if room >= GROUP else MAX_TOTAL + 1
    if total > MAX_TOTAL or len(text) > MAX_TEXT:
        raise InvitationError(
            "payload_too_large",
            f"{len(text)} characters do not fit into {MAX_TOTAL} parts of {most_characters} characters.",
        )
    ends = [len(_WHOLE_MARK) + groups * number // total * GROUP for number in range(1, total)]
    cuts = [0, *ends, len(text)]
    name = _name(text)
    return [f"{MARK}{n}-{total}:{name}:{text[cuts[n - 1] : cuts[n]]}" for n in range(1, total + 1)]


def read(text: str) -> Part:
    """The text of a part -> its four values.

    Raises:
        InvitationError: ``payload_malformed``, ``payload_too_large``, ``payload_unsupported``: of another version.
    """
    if len(text) > 2 * MAX_TEXT:
        raise InvitationError("payload_too_large", f"A part of an offline payload has at most {MAX_TEXT} characters.")
    plain = text.strip(_ENDS)
    if re.match(r"FL(?!1P)[0-9]{1,4}P:", plain):
        raise InvitationError("payload_unsupported", "This is a part of an offline payload of another version.")
    found = _PART.match(plain)
    part = Part(int(found[1]), int(found[2]), found[3], found[4]) if found else None
    if part is None or not part.number <= part.total <= MAX_TOTAL or part.total == 1:
        raise InvitationError(
            "payload_malformed", f"This is not a part of an offline payload ({len(plain)} characters)."
        )
    return part


class Parts:
    """Collects the parts of one set; a refused part leaves what was there as it is."""

    def __init__(self) -> None:
        self.name = ""
        self.total = 0
        self._last = 0
        self._fragments: dict[int, str] = {}

    @property
    def have(self) -> tuple[int, ...]:
        """The numbers that are there, sorted."""
        return tuple(sorted(self._fragments))

    @property
    def missing(self) -> tuple[int, ...]:
        """The numbers that are still to come, sorted."""
        return tuple(number for number in range(1, self.total + 1) if number not in self._fragments)

    @property
    def sentence(self) -> str:
        """How far it is, in a technician's words: ``part 2 of 3 read, 1 to go``; "" before the first part."""
        if not self.total:
            return ""
        return f"part {self._last} of {self.total} read, {len(self.missing)} to go"

    def add(self, text: str) -> str | None:
        """One more part -> the whole text once it is there, None while parts are missing.

        Raises:
            InvitationError: as ``read``; ``payload_parts_mixed``: of another set, or the whole is not what the parts
                promise (then the collection begins anew); ``payload_too_large``.
        """
        part = read(text)
        if self.total and (part.name, part.total) != (self.name, self.total):
            raise _mixed(f"Part {part.number} of {part.total} is of another code than the parts read before.")
        known = self._fragments.get(part.number)
        if known is not None and known != part.fragment:
            raise _mixed(f"Part {part.number} of {part.total} differs from the one read before.")
        if sum(map(len, self._fragments.values())) + (len(part.fragment) if known is None else 0) > MAX_TEXT:
            raise InvitationError("payload_too_large", f"The parts together have more than {MAX_TEXT} characters.")
        self.name, self.total, self._last = part.name, part.total, part.number
        self._fragments[part.number] = part.fragment
        return None if self.missing else self._whole()

    @property
    def progress(self) -> str:
        """The sentence, and which parts are still to come."""
        return f"{self.sentence}; still to come: {', '.join(map(str, self.missing))}"

    def add_or_begin_anew(self, text: str) -> str | None:
        """As ``add``; a part of another code makes all be asked for again: a person who took up another label goes on.

        Raises:
            InvitationError: as ``add``.
        """
        try:
            return self.add(text)
        except InvitationError as error:
            if error.code == "payload_parts_mixed":
                self.clear()
                error.message += " All parts are forgotten."
            raise

    def take(self) -> str:
        """The whole text. Raises InvitationError ``payload_part_missing``, naming the numbers."""
        if not self.total or self.missing:
            raise InvitationError("payload_part_missing", missing_sentence(self))
        return self._whole()

    def clear(self) -> None:
        """Begins anew, with any set."""
        self.name, self.total, self._last = "", 0, 0
        self._fragments.clear()

    def _whole(self) -> str:
        whole = "".join(self._fragments[number] for number in self.have)
        if _name(whole) != self.name:
            self.clear()
            raise _mixed("The parts do not make the whole that they promise.")
        return whole


def missing_sentence(parts: Parts) -> str:
    """Which parts are still to come, in a technician's words."""
    if not parts.total:
        return "No part of the code was read."
    numbers = ", ".join(map(str, parts.missing))
    return (
        f"Part {numbers} of {parts.total} is missing."
        if len(parts.missing) == 1
        else (f"Parts {numbers} of {parts.total} are missing.")
    )


def _name(whole: str) -> str:
    return hashlib.sha256(whole.encode("ascii")).hexdigest()[:16].upper()


def _mixed(sentence: str) -> InvitationError:
    return InvitationError("payload_parts_mixed", sentence)
