"""AK/SK signatures: what ``SDK-HMAC-SHA256`` and the derived ``V11-HMAC-SHA256`` promise, computed anew and compared.

Source: the vendor's page on signing, checked against what its own client sends. The signed text is the algorithm, the
date, (derived: the credential's scope) and the SHA-256 of the canonical request: method, path with a slash at its
end, sorted query, the signed headers, their names, and the SHA-256 of the body.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import datetime, timezone
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote

PLAIN = re.compile(r"SDK-HMAC-SHA256 Access=([^,/ ]+), ?SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})\Z")
DERIVED = re.compile(
    r"V11-HMAC-SHA256 Credential=([^,/ ]+)/([0-9]{8}/[^,/ ]+/[^,/ ]+), ?SignedHeaders=([a-z0-9;-]+), "
    r"?Signature=([0-9a-f]{64})\Z"
)
TOLERANCE_S = 900.0


class Signed(NamedTuple):
    """A request, as its signature covers it."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


class Claim(NamedTuple):
    """What an Authorization header says: who, over which headers, with which signature; scope "" = not derived."""

    access_key: str
    scope: str
    headers: tuple[str, ...]
    signature: str


def read_claim(header: str) -> Claim | None:
    """An Authorization header of either form, None = neither."""
    found = PLAIN.match(header)
    if found:
        return Claim(found[1], "", tuple(found[2].split(";")), found[3])
    found = DERIVED.match(header)
    return Claim(found[1], found[2], tuple(found[3].split(";")), found[4]) if found else None


def is_true(claim: Claim, secret_key: str, request: Signed, now_s: float) -> bool:
    """Whether that signature is this key's, of this request, of about now, over host and date at least."""
    date = request.headers.get("x-sdk-date", "")
    try:
        at = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        return False
    if abs(at.timestamp() - now_s) > TOLERANCE_S or not {"host", "x-sdk-date"} <= set(claim.headers):
        return False
    if claim.scope and not claim.scope.startswith(date[:8] + "/"):
        return False
    expected = sign(claim, secret_key, request, date)
    return hmac.compare_digest(expected, claim.signature)


def sign(claim: Claim, secret_key: str, request: Signed, date: str) -> str:
    """The signature that the key makes, 64 hex digits."""
    hashed = hashlib.sha256(canonical(request, claim.headers).encode()).hexdigest()
    if not claim.scope:
        key, said = secret_key, f"SDK-HMAC-SHA256\n{date}\n{hashed}"
    else:
        key = derived(claim.access_key, secret_key, claim.scope)
        said = f"V11-HMAC-SHA256\n{date}\n{claim.scope}\n{hashed}"
    return hmac.new(key.encode(), said.encode(), "sha256").hexdigest()


def derived(access_key: str, secret_key: str, scope: str) -> str:
    """HKDF (RFC 5869) with SHA-256: salt = access key, input = secret key, info = scope; 32 bytes in hex."""
    extracted = hmac.new(access_key.encode(), secret_key.encode(), "sha256").digest()
    return hmac.new(extracted, scope.encode() + b"\x01", "sha256").hexdigest()


def canonical(request: Signed, names: tuple[str, ...]) -> str:
    """The canonical request."""
    path = "/".join(quote(unquote(part), safe="~") for part in request.path.split("/"))
    pairs = sorted(parse_qsl(request.query, keep_blank_values=True))
    query = "&".join(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in pairs)
    headers = "".join(f"{name}:{request.headers.get(name, '').strip()}\n" for name in names)
    hashed = hashlib.sha256(request.body).hexdigest()
    return "\n".join((request.method, path.rstrip("/") + "/", query, headers, ";".join(names), hashed))
