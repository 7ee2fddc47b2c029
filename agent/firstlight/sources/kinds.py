"""What a scanned text is: a name for the program, one sentence for the person. Never says a secret back.

Whatever holds a code in front of a box should learn what it was: the label's code, a Wi-Fi, a parcel's bar code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from firstlight.errors import InvitationError
from firstlight.sources import invitation, wifi

MAX_TEXT = 32_768
# The kinds that a box takes in.
PAYLOAD, PART, TYPED_CODE, INVITATION, WIFI = "payload", "part", "typed_code", "invitation", "wifi"
TAKEN = frozenset({PAYLOAD, PART, TYPED_CODE, INVITATION, WIFI})
TOO_LONG, WIFI_UNUSABLE = "too_long", "wifi_unusable"
NOT_OURS = "code_not_ours"

TYPED = re.compile(r"[0-9A-Z]{4}(?:[\s\-\u2010-\u2015]+[0-9A-Z]{4}){3}[\s\-\u2010-\u2015]*[0-9A-Z]{2}\Z")
TYPED_BARE = re.compile(r"(?=.*[A-Z])[0-9A-Z]{18}\Z")
RECEIPT = re.compile(r"https?://[^/\s]+/R/[A-Z2-7\s]{16,}\Z", re.IGNORECASE)
LINK = re.compile(r"https?://([^/?#\s@]{1,253})[^\s]*\Z", re.IGNORECASE)
INSTALL_ID = re.compile(r"(?=.*[0-9])[A-Za-z0-9_-]{16,64}\Z")
# What is left of "FL1:" when scanner and box think of different keyboards; the colon's key has another letter there.
WRONG_KEYBOARD = re.compile(r"FL[1&+]P?[\u00d6\u00d8\u00c6\u00d1\u00c7\u00c9M>]", re.IGNORECASE)
MODULO_10 = (8, 12, 13, 14)
# Marks at the beginning, in capitals -> name and sentence.
MARKS = (
    ("DPP:", "dpp", "This is a Wi-Fi Easy Connect code of another device; it a phone sets that one up."),
    ("MT:", "matter", "This is the Matter code of a smart home device; it is for a phone, not for this box."),
    (
        "OTPAUTH:",
        "one_time_password",
        "This is the seed of a login code for a phone's authenticator app; keep it safe.",
    ),
    ("BEGIN:VCARD", "contact", "This is somebody's business card (vCard)."),
    ("MECARD:", "contact", "This is somebody's business card (MeCard)."),
    ("BEGIN:VEVENT", "event", "This is a calendar entry."),
    ("BEGIN:VCALENDAR", "event", "This is a calendar entry."),
    ("MAILTO:", "mail", "This is an e-mail address."),
    ("MATMSG:", "mail", "This is an e-mail."),
    ("TEL:", "phone", "This is a phone number."),
    ("SMSTO:", "phone", "This is a text message for a phone."),
    ("GEO:", "place", "This is a place on a map."),
    ("HC1:", "certificate", "This is somebody's health certificate (EU)."),
    ("SHC:/", "certificate", "This is somebody's health card."),
    ("UR:", "uniform_resource", "This is a code of another system (UR), as wallets and signing devices show it."),
    ("LPA:", "esim", "This is the code of an eSIM, for a phone or modem."),
    ("-----BEGIN", "pem", "This is a key or certificate (PEM) alone; no box can be enrolled with it."),
)
JSON_MARKS = (
    ("android.app.extra.PROVISIONING_", "android", "This is the code that sets an Android phone or tablet up."),
    ('"deviceApiKey"', "balena", "This is a configuration of balenaOS (config.json)."),
    ('"applicationId"', "balena", "This is a configuration of balenaOS (config.json)."),
)


class Kind(NamedTuple):
    """What a text is: ``name`` is stable (lower_snake_case), ``sentence`` is for the person."""

    name: str
    sentence: str

    @property
    def is_taken(self) -> bool:
        """Whether a box takes it in."""
        return self.name in TAKEN


def kind_of(text: str) -> Kind:
    """What a text is. Never raises; a text that is none of ours is told by its kind, never by its content."""
    if len(text) > MAX_TEXT:
        return Kind(TOO_LONG, f"This has more than {MAX_TEXT} characters; no code of ours has.")
    bare = text.strip()
    looks: tuple[Callable[[str], Kind | None], ...] = (_ours, _marked, _number, _link, _invitation, _structured)
    for look in looks:
        if found := look(bare):
            return found
    if INSTALL_ID.match(bare):
        return Kind(
            "install_id",
            "This looks like an installId, which alone does not say which hub it belongs to; take it in with "
            "'firstlight enroll'.",
        )
    return Kind("text", f"This is a text of {len(bare)} characters that says nothing to this box.")


def require(text: str) -> Kind:
    """What a text is, where a box takes that in.

    Raises:
        InvitationError: ``code_not_ours`` with a sentence that says what it is; ``wifi_unsupported`` and the like.
    """
    kind = kind_of(text)
    if kind.name == WIFI_UNUSABLE:
        wifi.read_wifi(text)  # says by name why not
    if not kind.is_taken:
        raise InvitationError(NOT_OURS, kind.sentence)
    return kind


def chosen(texts: Sequence[str]) -> list[str]:
    """Of the texts in one picture those that are meant, a network first; without one of ours, what is to be told.

    Raises:
        InvitationError: ``codes_several``: which one is meant cannot be told.
    """
    named = [(kind_of(text).name, text) for text in texts]
    networks = [text for name, text in named if name == WIFI]
    whole = [text for name, text in named if name in TAKEN - {WIFI, PART}]
    parts = [text for name, text in named if name == PART]
    if len(whole) > 1 or len(networks) > 1 or (whole and parts):
        raise InvitationError(
            "codes_several", f"There are {len(named)} codes in one picture; which one is meant cannot be told."
        )
    return [*networks, *whole, *parts] or list(texts[:1])


def is_unfinished(text: str) -> bool:
    """Whether a text is the beginning of an invitation in several lines (``name = value``), so that more may follow."""
    lines = [line.strip() for line in text.strip().splitlines()]
    names = {found[1].lower() for line in lines if (found := invitation.NAME.match(line))}
    return bool(names & set(invitation.FIELDS)) and not {"hub", "pin", "install_id"} <= names


def _ours(text: str) -> Kind | None:
    upper = text.upper()
    if not text:
        return Kind("empty", "There is nothing in it.")
    if mark := invitation.OFFLINE.match(text):
        is_part = mark[0][-2:].upper() == "P:"
        return (
            Kind(PART, "This is one part of a Firstlight code.")
            if is_part
            else Kind(PAYLOAD, "This is a Firstlight code.")
        )
    if WRONG_KEYBOARD.match(text):
        return Kind(
            "wrong_keyboard",
            "This looks like a Firstlight code, typed by a scanner that is set to another keyboard layout than this "
            "box: set the scanner to 'US', or to serial (USB-COM).",
        )
    if TYPED.match(upper) or TYPED_BARE.match(upper):
        return Kind(TYPED_CODE, "This is a typed code.")
    if RECEIPT.match(text):
        return Kind("receipt", "This is the receipt of a box; it belongs to the desk, not into a box.")
    return _wifi(text) if upper.startswith(wifi.MARK) else None


def _wifi(text: str) -> Kind:
    try:
        network = wifi.read_wifi(text)
    except InvitationError as error:
        return Kind(WIFI_UNUSABLE, error.message)
    return Kind(WIFI, f"This is the code of the Wi-Fi {shown(network.ssid)}.")


def _marked(text: str) -> Kind | None:
    upper = text[:32].upper()
    for mark, name, sentence in MARKS:
        if upper.startswith(mark):
            # The certificate of a hub may stand before the address in an invitation.
            return None if name == "pem" and _invitation(text) else Kind(name, sentence)
    return None


def _number(text: str) -> Kind | None:
    digits = text.replace(" ", "")
    if not (digits.isascii() and digits.isdigit()):
        return None
    weighted = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(reversed(digits[:20])))
    if len(digits) in MODULO_10 and weighted % 10 == 0:
        return Kind("product", "This is the bar code of a product (EAN/UPC); look for the square code of the label.")
    return Kind("number", f"This is a number with {len(digits)} digits; look for the square code of the label.")


def _link(text: str) -> Kind | None:
    found = LINK.match(text)
    if found is None or invitation.INSTALL_PATH.match(text):
        return None
    return Kind("link", f"This is a link to {shown(found[1])}, for a phone or a browser; no box is enrolled with it.")


def _invitation(text: str) -> Kind | None:
    """Also one with a fault: then it is said what is wrong with it, not that it is nothing."""
    try:
        invitation.read_invitation(text)
    except InvitationError as error:
        is_meant = bool(invitation.COMMAND.search(text) or is_unfinished(text)) or error.code != "invitation_malformed"
        return Kind(INVITATION, "This looks like an install command.") if is_meant and _is_text(text) else None
    return Kind(INVITATION, "This is an install command.")


def _structured(text: str) -> Kind | None:
    if text[:1] in "{[" and text[-1:] in "}]":
        for mark, name, sentence in JSON_MARKS:
            if mark in text:
                return Kind(name, sentence)
        return Kind("json", "This is JSON of another system.")
    if not _is_text(text):
        return Kind("binary", "This is no text; it is a code of another system.")
    return None


def _is_text(text: str) -> bool:
    return all(each.isprintable() or each in "\t\r\n" for each in text)


def shown(name: str) -> str:
    """A name from outside as it may be printed: quoted, printable, bounded."""
    kept = "".join(each if each.isprintable() else "?" for each in name[:64])
    return f"'{kept}'"
