"""A release that the hub offers, and how a box fared with it: as they travel in a beat's answer and in a beat.

Offer: ``{"version", "id", "path", "attempt"}``. Result: ``{"version", "id", "attempt", "code", "message"?}``. The state
directory of a box holds the same objects, as ``upgrade-wish.json`` and ``upgraded.json``.
"""

from __future__ import annotations

import re

from firstlight.core.model import MAX_ATTEMPT, Offer, Upgraded
from firstlight.wire import bounded
from firstlight.wire.bounded import WireError

MAX_VERSION = 64
MAX_PATH = 160
MAX_CODE = 64
MAX_MESSAGE = 256
VERSION = re.compile(r"[0-9][0-9A-Za-z.+~-]{0,63}\Z")
RELEASE_ID = re.compile(r"[0-9a-f]{64}\Z")
BUNDLE_PATH = re.compile(r"/bundles/firstlight-[0-9A-Za-z._+~-]{1,120}\.tar\Z")
CODE = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")


def offer_object(offer: Offer) -> dict[str, object]:
    """``Offer`` -> its JSON object."""
    return {"version": offer.version, "id": offer.id, "path": offer.path, "attempt": offer.attempt}


def read_offer(source: dict[str, object]) -> Offer:
    """A JSON object -> ``Offer``. Raises WireError."""
    version, release_id, attempt = _read_which(source, 1)
    path = bounded.text(source, "path", MAX_PATH)
    if not BUNDLE_PATH.match(path):
        raise WireError("path is not that of a bundle")
    return Offer(version, release_id, path, attempt)


def upgraded_object(result: Upgraded) -> dict[str, object]:
    """``Upgraded`` -> its JSON object; a sentence that is too long or holds control characters is cut to what fits."""
    found: dict[str, object] = {
        "version": result.version,
        "id": result.id,
        "attempt": result.attempt,
        "code": result.code,
    }
    if message := bounded.CONTROL.sub(" ", result.message)[:MAX_MESSAGE]:
        found["message"] = message
    return found


def read_upgraded(source: dict[str, object]) -> Upgraded:
    """A JSON object -> ``Upgraded``. Raises WireError."""
    version, release_id, attempt = _read_which(source, 0)
    code = "" if source.get("code") == "" else bounded.text(source, "code", MAX_CODE)
    if code and not CODE.match(code):
        raise WireError("code is not a name")
    message = bounded.optional_text(source, "message", MAX_MESSAGE) or ""
    return Upgraded(version, release_id, attempt, code, message)


def upgrade_object(value: Offer | Upgraded) -> dict[str, object]:
    """Either -> its JSON object."""
    return offer_object(value) if isinstance(value, Offer) else upgraded_object(value)


def _read_which(source: dict[str, object], first_attempt: int) -> tuple[str, str, int]:
    version = bounded.text(source, "version", MAX_VERSION)
    if not VERSION.match(version):
        raise WireError("version is not one")
    release_id = bounded.text(source, "id", 64)
    if not RELEASE_ID.match(release_id):
        raise WireError("id is not 64 hex digits")
    return version, release_id, bounded.integer(source, "attempt", first_attempt, MAX_ATTEMPT)
