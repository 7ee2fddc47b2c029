"""Golden exchanges: for each file, the call a dialect makes and what it reads from a reply.

A file names the ``verb``, the ``call`` it must make (optional), the ``reply`` that comes back and the ``outcome``.
Adding a case adds a file and no code.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from firstlight import __version__
from firstlight.cli.enrolling import Attempt
from firstlight.core.exchange import HttpCall, HttpReply
from firstlight.core.model import (
    Beat,
    Credential,
    Facts,
    Hardware,
    Invitation,
    Metrics,
    Moment,
    Registration,
    Secret,
    Trust,
    parse_endpoint,
)
from firstlight.errors import HINTS, FirstlightError
from firstlight.platforms.hub import device, management

CASES = sorted(Path(__file__).parent.glob("*/*.json"))
FINGERPRINT = "sha256:" + "ab" * 32
HUB = parse_endpoint("https://hub.example:8443")
ATTEMPT = Attempt("f" * 32, "CSR", FINGERPRINT)
MOMENT = Moment("0123456789abcdef" * 2, 12.5, 1763724000.25)
KEY = Secret("operator-key")
INVITATION = Invitation("hub", HUB, Trust(), Secret("abcdefgh01234567"))
REGISTRATION = Registration(
    platform="hub",
    endpoint=HUB,
    trust=Trust(),
    workspace="demo",
    device_id="cam-1",
    credential=Credential("secret", Secret("device-key")),
    interval_s=60,
    key_fingerprint=FINGERPRINT,
    csr_pem="CSR",
    registered_at_s=0.0,
)
BEAT = Beat(7, MOMENT, Metrics(0.5, 0.25), __version__, None, "0" * 16)
FACTS = Facts(hostname="box", type="jetson", hardware=Hardware(total_memory_mb=8000))

VERBS: dict[str, tuple[Callable[[], HttpCall], Callable[[HttpReply], object]]] = {
    "probe": (lambda: device.probe(HUB), device.read_probe),
    "redeem": (
        lambda: device.redeem(INVITATION, ATTEMPT, FACTS, MOMENT),
        lambda reply: device.read_redeemed(INVITATION, ATTEMPT, reply),
    ),
    "beat": (lambda: device.beat(REGISTRATION, BEAT), lambda reply: device.read_beat(REGISTRATION, reply)),
    "take_back": (lambda: device.take_back(REGISTRATION), lambda reply: device.read_beat(REGISTRATION, reply)),
    "create": (
        lambda: management.create(
            HUB, "demo", KEY, management.NewDevice("Cam 1", "ai1", tags=("roof",), offline_mode=True)
        ),
        management.read_created,
    ),
    "list_page": (lambda: management.list_page(HUB, "demo", KEY, ""), management.read_page),
    "show": (lambda: management.show(HUB, "demo", KEY, "cam-1"), management.read_shown),
}


def _reply(golden: dict[str, Any]) -> HttpReply:
    body = json.dumps(golden["json"]) if "json" in golden else golden["text"]
    return HttpReply(golden["status"], golden.get("headers", {}), body.encode())


def _described(value: Any, wanted: dict[str, Any]) -> dict[str, Any]:
    """The value in the words of the golden file, as far as the file speaks of it."""
    if "event" in wanted:
        return {"event": type(value).__name__, **{name: getattr(value, name) for name in wanted if name != "event"}}
    if "registration" in wanted:
        full = {
            **value._asdict(),
            "endpoint": value.endpoint.url,
            "ca_pem": value.trust.ca_pem,
            "key": value.credential.secret.reveal(),
        }
        return {"registration": {name: full[name] for name in wanted["registration"]}}
    if "created" in wanted:
        return {"created": {name: getattr(value, name) for name in wanted["created"]}}
    if "page" in wanted:
        return {"page": list(value)}
    return {"value": value}


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_exchange(path: Path) -> None:
    """The dialect makes the golden call and reads the golden outcome from the reply."""
    golden = json.loads(path.read_text())
    make_call, read = VERBS[golden["verb"]]

    call = make_call()
    if "call" in golden:
        made: dict[str, Any] = {
            "method": call.method,
            "url": call.url,
            "headers": [list(pair) for pair in call.headers],
        }
        if call.body is not None:
            made["json"] = json.loads(call.body)
            made["json"] = {k: "1.2.3" if k == "agent" else v for k, v in made["json"].items()}
        assert golden["call"] == made

    wanted = golden["outcome"]
    if "error" in wanted:
        with pytest.raises(FirstlightError) as caught:
            read(_reply(golden["reply"]))
        error = caught.value
        told = {"error": type(error).__name__, **{name: getattr(error, name) for name in wanted if name != "error"}}
        assert wanted == told
        assert error.hint == HINTS[error.code]
    else:
        assert wanted == _described(read(_reply(golden["reply"])), wanted)


def test_every_verb_has_a_golden_case() -> None:
    """No verb of the dialect goes without a golden exchange."""
    assert set(VERBS) == {json.loads(path.read_text())["verb"] for path in CASES}
