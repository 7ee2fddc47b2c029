"""A printed Wi-Fi code -> how the box is to reach that network.

``WIFI:`` and fields ``LETTER:value;`` in any order, closed by one more ``;``. A backslash takes the meaning from the
character behind it; a value that looks like hex digits may stand in double quotes. ``T`` security, ``S`` name, ``P``
password, ``H`` hidden; of the WPA3 specification ``R`` (which older protections are off) and ``K`` (the access point's
key, not needed). What other fields say is skipped.
"""

from __future__ import annotations

import re

from firstlight.core.model import Secret
from firstlight.core.network import problem_of
from firstlight.core.provision import Network
from firstlight.errors import InvitationError

MARK = "WIFI:"
MAX_TEXT = 1024
FIELD = re.compile(r"\s*([A-Za-z0-9]{1,8}):((?:[^\\;]|\\.)*)(?:;|\Z)", re.DOTALL)
HEX = re.compile(r"[0-9A-Fa-f]{1,8}\Z")
NOT_PERSONAL = ("E", "A", "PH2")


def read_wifi(text: str) -> Network:
    """The text of a Wi-Fi code -> ``Network``, its passphrase a ``Secret``.

    Raises:
        InvitationError: ``wifi_malformed``; ``wifi_unsupported`` for a network where everybody has a login of their
            own (802.1X), or a password identifier.
    """
    fields = _fields(text)
    kind = fields.get("T", "").upper()
    if "EAP" in kind or any(fields.get(name) for name in NOT_PERSONAL):
        raise _unsupported("asks everybody for a login of their own (802.1X, EAP)")
    if fields.get("I"):
        raise _unsupported("needs a password identifier")
    hidden = fields.get("H", "").strip().lower()
    if not fields.get("S") or hidden not in ("", "true", "false"):
        raise _malformed("It has no network's name (S), or says something else than true and false about hiding (H).")
    security = _security(kind, fields)
    passphrase = Secret(fields["P"]) if fields.get("P") and security != "open" else None
    network = Network(ssid=fields["S"], passphrase=passphrase, security=security, is_hidden=hidden == "true")
    if problem := problem_of(network):
        raise _malformed(problem)
    return network


def _fields(text: str) -> dict[str, str]:
    text = text.strip()
    if len(text) > MAX_TEXT or text[: len(MARK)].upper() != MARK:
        raise _malformed(f"It does not begin with {MARK}, or is longer than {MAX_TEXT} characters.")
    found: dict[str, str] = {}
    place = len(MARK)
    while place < len(text) and text[place:].strip("; \r\n"):
        field = FIELD.match(text, place)
        if field is None:
            raise _malformed(f"Behind character {place} it is no list of fields.")
        name = field[1].upper()
        if name in found:
            raise _malformed(f"It has the field {name} twice.")
        found[name] = _value(field[2])
        place = field.end()
    return found


def _value(raw: str) -> str:
    """Without the quotes around all of it, and the escapes."""
    if len(raw) > 1 and raw[0] == raw[-1] == '"' and not raw.endswith('\\"'):
        raw = raw[1:-1]
    return re.sub(r"\\(.)", r"\1", raw, flags=re.DOTALL)


def _security(kind: str, fields: dict[str, str]) -> str:
    if kind == "WEP":
        return "wep"
    if kind in ("", "NOPASS"):
        return "wpa" if kind == "" and fields.get("P") else "open"
    if kind == "SAE" or kind == "WPA3" or _without_wpa2(fields.get("R", "")):
        return "sae"
    if kind.startswith("WPA"):
        return "wpa"
    raise _malformed("The security in it (T) is none of WPA, SAE, WEP, nopass.")


def _without_wpa2(disabled: str) -> bool:
    """Bit 0 of the hex number in field R: the access point does WPA3 only."""
    return bool(HEX.match(disabled)) and bool(int(disabled, 16) & 1)


def _malformed(sentence: str) -> InvitationError:
    return InvitationError("wifi_malformed", f"This Wi-Fi code cannot be used. {sentence}")


def _unsupported(what: str) -> InvitationError:
    return InvitationError("wifi_unsupported", f"This Wi-Fi {what}, which a printed code cannot set up here.")
