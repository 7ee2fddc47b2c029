"""Every text that a box must refuse, by what is wrong with it: one list, which each source's test goes through."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from firstlight.core import answers
from firstlight.core.model import Secret
from firstlight.core.provision import Audience
from firstlight.system import nonces
from firstlight.system.store import StateDirectory
from firstlight.wire import parts, typed_code
from firstlight.wire import payload as wire
from tests.detached.labels import DAY_S, PIN, TOKEN, Signer, payload
from tests.payload.vectors import body_of, text_of

SEEN_NONCE = b"seen before 1234"
HUB = "https://hub.example:8443"
SERIAL = "SN-7"


class Bad(NamedTuple):
    """What is wrong.

    Args:
        code: what it is refused with.
        state: what LED and beeper show.
        texts: what is scanned, one after the other, by the signer that the box trusts.
    """

    code: str
    state: str
    texts: Callable[[Signer], list[str]]


def _label(signer: Signer, **changes: object) -> str:
    return signer.label(payload(**changes))  # type: ignore[arg-type]


def _bit(signer: Signer, place: int) -> str:
    body = bytearray(body_of(_label(signer)))
    body[place] ^= 1
    return text_of(bytes(body))


def _two_sets(signer: Signer) -> list[str]:
    one, other = (parts.split(_label(signer, name=name), 300) for name in ("east", "west"))
    return [one[0], other[1]]


def _mistyped() -> str:
    right = typed_code.make(Secret(TOKEN))
    return right.replace("0", "Z", 1)


def _late(signer: Signer) -> str:
    return _label(signer, issued_at_s=1_690_000_000, expires_at_s=1_700_000_000)


def _early(signer: Signer) -> str:
    now_s = int(time.time())
    return _label(signer, issued_at_s=now_s + 3 * DAY_S, expires_at_s=now_s + 9 * DAY_S)


REFUSED, NOT_HERE = answers.REFUSED, "payload_not_for_this_box"
BAD = {
    "unsigned": Bad("payload_unsigned", REFUSED, lambda signer: [wire.encode(payload(), "", lambda body: b"")]),
    "unknown key": Bad("payload_key_unknown", REFUSED, lambda signer: [_label(Signer())]),
    "wrong key": Bad("payload_forged", REFUSED, lambda signer: [Signer().label_as(signer.id, payload())]),
    "a bit of the claims": Bad("payload_forged", REFUSED, lambda signer: [_bit(signer, 60)]),
    "a bit of the envelope": Bad("payload_malformed", REFUSED, lambda signer: [_bit(signer, 0)]),
    "a character": Bad("payload_malformed", REFUSED, lambda signer: [_label(signer)[:-1]]),
    "expired": Bad("payload_expired", answers.EXPIRED, lambda signer: [_late(signer)]),
    "from the future": Bad("payload_from_future", REFUSED, lambda signer: [_early(signer)]),
    "another serial": Bad(
        "payload_not_for_this_box", REFUSED, lambda one: [_label(one, audience=Audience("", "SN-8"))]
    ),
    "another type": Bad("payload_not_for_this_box", REFUSED, lambda one: [_label(one, audience=Audience("ai9"))]),
    "seen before": Bad("payload_seen", REFUSED, lambda signer: [_label(signer, nonce=SEEN_NONCE)]),
    "another version": Bad("payload_unsupported", REFUSED, lambda signer: ["FL2:" + _label(signer)[4:]]),
    "another prefix": Bad("code_not_ours", answers.WRONG_KIND, lambda signer: ["XL1:" + _label(signer)[4:]]),
    "no Base45": Bad("payload_malformed", REFUSED, lambda signer: ["FL1:" + ":" * 300]),
    "nested CBOR": Bad("payload_malformed", REFUSED, lambda signer: [text_of(b"\xd2" + b"\x81" * 300 + b"\0")]),
    "parts of two sets": Bad("payload_parts_mixed", REFUSED, _two_sets),
    "a missing part": Bad("payload_part_missing", answers.PART, lambda one: parts.split(_label(one), 300)[:1]),
    "a mistyped code": Bad("typed_code_wrong", REFUSED, lambda signer: [_mistyped()]),
    "a parcel": Bad("code_not_ours", answers.WRONG_KIND, lambda signer: ["4006381333931"]),
    "a Wi-Fi of another kind": Bad("wifi_unsupported", answers.WRONG_KIND, lambda one: ["WIFI:T:WPA2-EAP;S:Yard;;"]),
}


def used(folder: Path, signer: Signer) -> dict[str, str]:
    """A box with a past below ``folder``: it knows the time, and took one code in before. Gives its settings."""
    store = StateDirectory(str(folder / "state"))
    store.prepare()
    store.save_seen(time.time())
    nonces.note(store, SEEN_NONCE)
    trust_dir = str(signer.trusted_in(folder))
    return {"state_dir": store.path, "trust_dir": trust_dir, "serial": SERIAL, "hub": HUB, "pin": PIN}
