"""Takes secrets out of text that leaves this box: its own, in every usual spelling, and all that looks like one.

It fails closed: a word that may be a secret is struck out, and a technician loses a name rather than a key.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from urllib.parse import quote

from firstlight.core.model import Registration
from firstlight.errors import FirstlightError, StateError
from firstlight.system import files, provision_file
from firstlight.system.provision_file import Kept
from firstlight.system.store import StateDirectory

STRUCK = "[…]"
LEAST = 4  # shorter ones would strike out half of every text
# What follows one of these words is a secret, to the end of the line or of the quotation.
NAMED = re.compile(
    r"(?i)((?:\b(?:bearer|basic)\s+|--[a-z-]*(?:id|key|token|secret|password|passphrase)[ =]|"
    r"(?:pass(?:word|wd|phrase|code)?|psk|secret|token|api[_-]?key|credential|install[_-]?id|proof|authorization)"
    r"[\"']?(?:\s*[=:]|\s+(?:is|was)\b))\s*)(?:\"[^\"\n]*\"?|'[^'\n]*'?|[^\n]+)"
)
IN_ADDRESS = re.compile(r"(://)[^/\s@]{1,512}@")
IN_PATH = re.compile(r"(/devices/v2/)[^/\s]{8,}")
WIFI = re.compile(r"(?i)\b(WIFI:)\S[^\n]*")
CODE = re.compile(r"(?i)\b(FL1P?:)[^\n]*")
TYPED = re.compile(r"(?i)\b[0-9A-Z]{4}(?:-[0-9A-Z]{4}){3}(?:-[0-9A-Z=~*$]{2})?")
PEM = re.compile(r"-----BEGIN [A-Z ]+-----.*?(?:-----END [A-Z ]+-----|\Z)", re.DOTALL)
# A long run of what keys and tokens are written in. Plain words joined by strokes are none.
RUN = re.compile(r"[A-Za-z0-9+/_~-]{16,}={0,2}")
_WORD = r"(?:[A-Z]?[a-z]{1,15}|[A-Z]{1,15}|[0-9]{1,4}|(?:[A-Z][a-z]{2,14}){2,8})"
PLAIN = re.compile(rf"[/_~-]*(?:{_WORD}[/_~-]+)*(?:{_WORD})?[/_~=-]*\Z")


class Redactor:
    """Strikes secrets out.

    Args:
        secrets: that this box has.
        known: texts that look like secrets and are none: device id, fingerprints, names of releases.
    """

    def __init__(self, secrets: Iterable[str], known: Iterable[str] = ()) -> None:
        spelled = {form for secret in secrets for form in spellings(secret)}
        # The longest first: a part struck out would leave the rest of the whole.
        self._secrets = sorted(spelled, key=len, reverse=True)
        self._known = frozenset(known)

    def exact(self, text: str) -> str:
        """Without the secrets of this box: for texts whose every word is ours."""
        for secret in self._secrets:
            text = text.replace(secret, STRUCK)
        return text

    def all(self, text: str) -> str:
        """Without anything that may be a secret: for logs and other texts that anybody may have written into."""
        text = self.exact(text)
        text = PEM.sub(STRUCK, text)
        for pattern in (IN_ADDRESS, IN_PATH, WIFI, CODE, NAMED):
            text = pattern.sub(lambda found: found[1] + STRUCK + ("@" if found[1] == "://" else ""), text)
        return RUN.sub(self._run, TYPED.sub(STRUCK, text))

    def _run(self, found: re.Match[str]) -> str:
        word = found[0]
        return word if word.strip("=/-") in self._known or PLAIN.match(word) else STRUCK


def spellings(secret: str) -> set[str]:
    """A secret as it may stand in a text: itself, in Base64 at every offset, in hex, in JSON, in an address."""
    if len(secret) < LEAST:
        return set()
    body = secret.encode()
    found = {secret, secret.lower(), secret.upper(), body.hex(), body.hex().upper()}
    found |= {json.dumps(secret)[1:-1], quote(secret, safe="")}
    for offset in range(3):
        # The characters that the neighbours of the secret do not change.
        whole = base64.b64encode(b"\0" * offset + body).decode().rstrip("=")
        start, end = (0, 2, 3)[offset], len(whole) - (1 if (offset + len(body)) % 3 else 0)
        inner = whole[start:end]
        if len(inner) >= LEAST:
            found |= {inner, inner.replace("+", "-").replace("/", "_")}
    return found


def secrets_of(path: str, registration: Registration | None, secret_files: Iterable[str]) -> list[str]:
    """Every secret that this box keeps, as far as it can be read.

    Args:
        path: the state directory.
        registration: of this box, None = it has none.
        secret_files: paths of other files with secrets; "" is passed over.
    """
    found: list[str] = []
    if registration and registration.credential.secret:
        found.append(registration.credential.secret.reveal())
    kept = _provisioned(path)
    if kept:
        found.append(kept.provision.invitation.proof.reveal())
        found.append(kept.nonce.hex())
    store = StateDirectory(path)
    try:
        names = store.key_names()
    except StateError:
        names = []
    for name in names:
        found += _lines(path, name)
    for file in filter(None, secret_files):
        folder, _, name = file.rpartition("/")
        for line in _lines(folder or ".", name):
            found += [line, *line.split(":", 1)]
    return [each for each in found if each]


def _provisioned(path: str) -> Kept | None:
    try:
        return provision_file.load(StateDirectory(path))
    except FirstlightError:
        return None


def _lines(folder: str, name: str) -> list[str]:
    """The lines of a small file with secrets, without the marks around a PEM; none where it cannot be read."""
    try:
        found = files.read(folder, name, 65_536)
    except StateError:
        return []
    text = found[0].decode("utf-8", "replace") if found else ""
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("-----")]
