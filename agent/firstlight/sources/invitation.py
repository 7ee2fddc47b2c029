"""A text that somebody handed over -> an invitation.

The text is what the operator's desk printed (the install command), the address in that command with ``pin = …`` beside
it, or ``name = value`` pairs (``FIELDS``), on lines of their own or separated by spaces or commas; ``#`` begins a
comment line, and a PEM certificate may stand among them. It went through mail, chat and editors: quotes, dashes, spaces
and encodings are put right, and nothing else is guessed at.
"""

from __future__ import annotations

import re

from firstlight.core.model import Endpoint, Invitation, Trust, parse_endpoint, parse_install_id, parse_pin
from firstlight.errors import InvitationError

MAX_BYTES = 8192
OFFLINE = re.compile(r"FL[0-9]{1,4}P?:", re.IGNORECASE)  # an offline payload, or a part of one, of any version
FIELDS = ("hub", "pin", "install_id", "transport", "credential")
CHOICES = {"transport": ("http", "mqtt", "websocket"), "credential": ("secret", "certificate")}
# What editors and mail programs make of plain text.
TYPOGRAPHY = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u00b4\u0060", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb", '"'),
        **dict.fromkeys("\u00a0\u2007\u202f\u2028\u2029\u0085", " "),
        **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff", ""),
        **dict.fromkeys("\u2013\u2014", "--"),
    }
)
PEM = re.compile(r"(?:\bca\s*[=:]\s*)?(-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]{1,8000}-----END CERTIFICATE-----)")
COMMAND = re.compile(r"(?:\A|[\s(])curl\s")
COMMAND_PIN = re.compile(r"--pinnedpubkey[\s=]+[\"']?([^\s\"']+)")
ADDRESS = re.compile(r"https?://[^\s\"'<>|,;]+", re.IGNORECASE)
INSTALL_PATH = re.compile(r"(https?://[^/]+)/devices/v2/([^/]+)/install\.sh\Z", re.IGNORECASE)
NAME = re.compile(r"(?<![^\s,;])([A-Za-z][A-Za-z_-]{0,23})\s*[=:]\s*(?!//)")
WORDS = re.compile(r"[\s,;]+")


def decoded(body: bytes) -> str:
    """A file's bytes -> text: UTF-8, what Notepad calls Unicode (UTF-16), or what it calls ANSI.

    Raises:
        InvitationError: ``invitation_malformed`` for more than ``MAX_BYTES``.
    """
    if len(body) > MAX_BYTES:
        raise _malformed(f"It has more than {MAX_BYTES} bytes.")
    if body[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return body.decode("utf-16", "replace")
    for encoding, zeros in (("utf-16-le", body[1::2]), ("utf-16-be", body[::2])):
        if zeros and zeros.count(0) > len(zeros) * 3 // 4:
            return body.decode(encoding, "replace")
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        return body.decode("cp1252", "replace")


def read_invitation(text: str) -> Invitation:
    """The text as handed over -> ``Invitation``. A further kind of text gets its line here.

    It needs no keys and knows none, so an offline payload is not for here: ``cli.provisioning.provision`` opens that
    with the keys that the box trusts, and leaves every other text to this function.

    Raises:
        InvitationError: ``invitation_malformed``, ``payload_unsupported`` for an offline payload, or what is wrong with
            address, pin or installId.
    """
    plain = _tidied(text)
    if OFFLINE.match(plain):
        raise InvitationError(
            "payload_unsupported",
            f"This is an offline payload ({len(plain)} characters); only an install command or installId is read here.",
            "Give it to: firstlight scan",
        )
    certificates = PEM.findall(plain)
    plain = PEM.sub(" ", plain)
    found = _in_command(plain) if COMMAND.search(plain) else _in_words(plain)
    return _invitation(found, "\n".join(certificates))


def _tidied(text: str) -> str:
    """Without what editors added. Raises InvitationError for what is no text, or none at all."""
    if len(text) > MAX_BYTES:
        raise _malformed(f"It has more than {MAX_BYTES} characters.")
    plain = text.translate(TYPOGRAPHY)
    if any(not c.isprintable() and c not in "\t\r\n" for c in plain):
        raise _malformed("It is not text.")
    lines = [line.strip() for line in plain.splitlines()]
    plain = "\n".join(line for line in lines if line and not line.startswith("#"))
    if not plain:
        raise _malformed("It is empty.")
    return plain


def _in_command(plain: str) -> list[tuple[str, str]]:
    """The names and values in the install command; what is done with the script does not matter here."""
    places = [place for place in ADDRESS.findall(plain) if INSTALL_PATH.match(place)]
    if not places:
        raise _malformed("It is a curl command, but not one that fetches a hub's install.sh.")
    pins = [pin for given in COMMAND_PIN.findall(plain) for pin in given.split(";")]
    return [pair for place in places for pair in _address(place)] + [("pin", pin) for pin in pins]


def _in_words(plain: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for word in WORDS.split(NAME.sub(r"\1=", plain)):
        if not word:
            continue
        bare = word.strip("\"'")
        name, equals, value = word.partition("=")
        name = name.lower().replace("-", "_")
        name = "install_id" if name == "installid" else name
        if ADDRESS.fullmatch(bare):
            found += _address(bare)
        elif bare.startswith("sha256//"):
            found.append(("pin", bare))
        elif equals and name in FIELDS:
            found += _field(name, value.strip("\"'"))
        else:
            raise _malformed(f"{_shown(word)} in it is no address, no pin, and none of {', '.join(FIELDS)}.")
    return found


def _field(name: str, value: str) -> list[tuple[str, str]]:
    if not value:
        raise _malformed(f"{name!r} in it has no value.")
    if name in CHOICES and value not in CHOICES[name]:
        raise _malformed(f"{name!r} in it must be one of: {', '.join(CHOICES[name])}.")
    return _address(value) if name == "hub" else [(name, value)]


def _address(text: str) -> list[tuple[str, str]]:
    """The hub in an address, and the installId where it is that of an install script."""
    found = INSTALL_PATH.match(text)
    if found:
        return [("hub", found[1]), ("install_id", found[2])]
    if text.partition("://")[2].rstrip("/").count("/"):
        # Not shown: what follows may be an installId.
        raise _malformed("The address in it is neither a hub's (https://HOST:PORT) nor that of its install.sh.")
    return [("hub", text)]


def _invitation(found: list[tuple[str, str]], ca_pem: str) -> Invitation:
    values = {name: list(dict.fromkeys(value for each, value in found if each == name)) for name in FIELDS}
    for name in FIELDS:
        if name != "pin" and len(values[name]) > 1:
            raise _malformed(f"It names {len(values[name])} different values for {name!r}.")
    for name, what in (("hub", "no hub's address"), ("install_id", "no installId")):
        if not values[name]:
            raise _malformed(f"There is {what} in it.")
    (hub,), (install_id,) = values["hub"], values["install_id"]
    endpoint, proof = _endpoint(hub), parse_install_id(install_id)
    trust = Trust(f"{ca_pem}\n" if ca_pem else "", tuple(parse_pin(pin) for pin in values["pin"]))
    transport, credential = ("".join(values[name]) for name in CHOICES)
    return Invitation("hub", endpoint, trust, proof, transport, credential)


def _endpoint(hub: str) -> Endpoint:
    """As ``parse_endpoint``, without the text in the error: somebody may have put the installId there."""
    try:
        return parse_endpoint(hub)
    except InvitationError as error:
        if error.code != "endpoint_malformed":
            raise
        raise InvitationError(error.code, "What it names as the hub's address is none.") from None


def _shown(word: str) -> str:
    """A word that nobody needs to keep secret, or only its length: it may be part of an installId."""
    name = word.partition("=")[0]
    return repr(name) if len(name) < 16 else f"a word of {len(word)} characters"


def _malformed(sentence: str) -> InvitationError:
    return InvitationError("invitation_malformed", sentence)
