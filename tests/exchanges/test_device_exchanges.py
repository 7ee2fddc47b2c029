"""Golden exchanges of device halves: for each file, what a dialect makes and what it reads.

``tests/exchanges/NAME/calls/*.json``. A file has the device file that the desk would have made (``file``), the
``verb``, what it is given, and the ``outcome``:

    finished                     -> {"registration": {...}}
    login, redeem_login          -> {"login": {...}}, or null; "knows_time": true where the clock was set
    redeem, token, beat          "call" that must be made (optional), "reply"; -> registration, token or event
    also                         -> {"calls": [...]}
    heard                        "message": {"topic", "json" or "text"} -> {"event": "Told", ...}, or null
    judge                        "failed": {"code"} -> {"event": ...}

A beat has the facts where "facts" is true, and is sent with "token". Adding a case, or a platform, adds files and no
code: the example of ``tests/example`` shows it.
"""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from firstlight import __version__
from firstlight.cli.enrolling import Attempt
from firstlight.core.exchange import HttpCall, HttpReply, MqttCall, MqttMessage, MqttReply, Reply
from firstlight.core.lifecycle import Failed
from firstlight.core.model import Beat, Facts, Hardware, Invitation, Metrics, MissedBeat, Moment, Registration
from firstlight.errors import HINTS, FirstlightError
from firstlight.platforms import PLATFORMS, half
from firstlight.sources.device_file import read_device_file

CASES = sorted(Path(__file__).parent.glob("*/calls/*.json"))
VERBS = {"finished", "login", "redeem_login", "redeem", "token", "beat", "also", "heard", "judge"}
ATTEMPT = Attempt("f" * 32, "CSR", "sha256:" + "ab" * 32)
MOMENT = Moment("0123456789abcdef" * 2, 12.5, 1_763_724_000.25)  # 2025-11-21T11:20:00Z
FACTS = Facts(hostname="box", platform="linux", architecture="aarch64", hardware=Hardware(total_memory_mb=8000))
MISSED = MissedBeat(5, Moment(MOMENT.boot_id, 2.5, 1_763_723_990.25), Metrics(0.25), "connect_timeout")


class Case:
    """One file, and the dialect that it is about."""

    def __init__(self, path: Path) -> None:
        self.golden: dict[str, Any] = json.loads(path.read_text())
        self.dialect: ModuleType = half(path.parents[1].name, "device")
        self.knows_time = bool(self.golden.get("knows_time"))
        self.invitation: Invitation = read_device_file(json.dumps(self.golden["file"]).encode()).invitation

    def registration(self) -> Registration:
        """What the box has kept: of a finished credential, or of the answer under "redeemed"."""
        if self.invitation.road == "finished":
            made: Registration = self.dialect.finished(self.invitation, ATTEMPT, MOMENT.wall_s)
        else:
            made = self.dialect.read_redeemed(self.invitation, ATTEMPT, reply(self.golden["redeemed"]))
        return made

    def beat(self) -> Beat:
        """One beat."""
        facts = FACTS if self.golden.get("facts") else None
        missed = (MISSED,) if self.golden.get("missed") else ()
        return Beat(7, MOMENT, Metrics(0.5, 0.25), __version__, facts, "0" * 16, missed)

    def make(self) -> object:
        """What the dialect makes, by the verb."""
        dialect, kept = self.dialect, self.invitation
        golden, knows_time = self.golden, self.knows_time
        acts: dict[str, Callable[[], object]] = {
            "redeem": lambda: dialect.redeem(kept, ATTEMPT, FACTS, MOMENT),
            "redeem_login": lambda: dialect.redeem_login(kept, MOMENT, knows_time=knows_time),
            "finished": self.registration,
            "login": lambda: dialect.login(self.registration(), MOMENT, knows_time=knows_time),
            "token": lambda: dialect.token_call(self.registration(), MOMENT, knows_time=knows_time),
            "beat": lambda: dialect.beat(self.registration(), self.beat(), golden.get("token", "")),
            "also": lambda: dialect.also(self.registration(), self.beat()),
            "heard": lambda: dialect.heard(self.registration(), self.message(), MOMENT),
            "judge": lambda: dialect.judge(self.registration(), Failed(golden["failed"]["code"], "It failed.")),
        }
        return acts[golden["verb"]]()

    def message(self) -> MqttMessage:
        """What came unasked."""
        said = self.golden["message"]
        return MqttMessage(said["topic"], body(said))

    def read(self, made: object) -> object:
        """What the dialect reads from the reply; what it made where there is none."""
        if "reply" not in self.golden:
            return made
        found, verb = reply(self.golden["reply"]), self.golden["verb"]
        if verb == "redeem":
            return self.dialect.read_redeemed(self.invitation, ATTEMPT, found)
        read = self.dialect.read_token if verb == "token" else self.dialect.read_beat
        value: object = read(self.registration(), found)
        return value


def body(golden: dict[str, Any]) -> bytes:
    """JSON or text, as bytes."""
    return (json.dumps(golden["json"]) if "json" in golden else golden.get("text", "")).encode()


def reply(golden: dict[str, Any]) -> Reply:
    """A broker's where there is a "reason_code"; its answer where there is a body too."""
    if "reason_code" in golden:
        return MqttReply(golden["reason_code"], body(golden) if {"json", "text"} & set(golden) else None)
    return HttpReply(golden["status"], golden.get("headers", {}), body(golden))


def shown(made: Any) -> Any:
    """A value in the words of the file; secrets revealed."""
    if isinstance(made, MqttCall):
        return {"topic": made.topic, "answer_topic": made.answer_topic, **_content(made.payload)}
    if isinstance(made, HttpCall):
        headers = [list(pair) for pair in made.headers]
        return {"method": made.method, "url": made.url, "headers": headers, **_content(made.body or b"")}
    if hasattr(made, "reveal"):
        return made.reveal()
    if hasattr(made, "url"):
        return made.url
    if isinstance(made, tuple) and hasattr(made, "_asdict"):
        return {name: shown(value) for name, value in made._asdict().items()}
    return [shown(one) for one in made] if isinstance(made, tuple) else made


def _content(payload: bytes) -> dict[str, Any]:
    try:
        found = json.loads(payload)
    except ValueError:
        return {"text": payload.decode()} if payload else {}
    return {"json": json.loads(json.dumps(found).replace(json.dumps(__version__), '"1.2.3"'))}


def outcome(value: object, wanted: dict[str, Any]) -> dict[str, Any]:
    """The value as far as the file speaks of it."""
    (kind,) = [name for name in ("registration", "login", "token", "calls", "event") if name in wanted]
    if kind == "calls":
        return {"calls": shown(value)}
    full = shown(value)
    if kind == "event":
        return {"event": type(value).__name__, **{name: full[name] for name in wanted if name != "event"}}
    return {kind: {name: full[name] for name in wanted[kind]}}


@pytest.fixture(autouse=True)
def _line_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example's one line."""
    monkeypatch.setitem(PLATFORMS, "tally", "tests.example.tally")


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parents[1].name}-{path.stem}")
def test_exchange(path: Path) -> None:
    """The dialect makes the golden call and reads the golden outcome, and no repr has the secret."""
    case = Case(path)
    golden, wanted = case.golden, case.golden["outcome"]
    if wanted is not None and "error" in wanted:
        with pytest.raises(FirstlightError) as caught:
            case.read(case.make())
        error = caught.value
        found = {name: getattr(error, name) for name in wanted if name != "error"}
        assert wanted == {"error": type(error).__name__, **found}
        assert error.hint
        assert error.code in HINTS
        return
    made = case.make()
    secret = golden["file"].get("secret")
    assert not secret or secret not in repr(made)
    if "call" in golden:
        assert shown(made) == golden["call"]
    value = case.read(made)
    if wanted is None:
        assert value is None
    else:
        assert outcome(value, wanted) == wanted


def test_every_verb_has_a_golden_exchange() -> None:
    """The example leaves out no verb of a device half, so that the driver of them all is known to work."""
    assert {json.loads(path.read_text())["verb"] for path in CASES if path.parents[1].name == "tally"} == VERBS
