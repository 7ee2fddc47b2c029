"""Golden exchanges of management halves: for each file, the call a dialect makes and what it reads from the reply.

A file names the ``verb`` and what it is given (``values`` of one device or a list of them, ``device_id``, ``cursor``,
``extra`` of the place), the ``call`` that must be made (optional), the ``reply`` and the ``outcome``. The folder is the
platform. Adding a case, or a platform whose folder is named in ``PLATFORMS``, adds files and no code.
"""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from firstlight.core.exchange import HttpCall, HttpReply
from firstlight.core.management import Place
from firstlight.core.model import Secret, parse_endpoint
from firstlight.errors import HINTS, FirstlightError
from firstlight.platforms import half

PLATFORMS = ("fleet", "huawei", "qubitro", "roboflow")
CASES = [path for name in PLATFORMS for path in sorted((Path(__file__).parent / name).glob("*.json"))]
NOW_S = 1_800_000_000.0  # 2027-01-15T08:00:00Z
MANY = ("create_many",)
OF_DEVICES = ("create", "find", *MANY)


class Case:
    """One file, and the dialect that it is about."""

    def __init__(self, path: Path) -> None:
        self.golden: dict[str, Any] = json.loads(path.read_text())
        self.verb: str = self.golden["verb"]
        self.dialect: ModuleType = half(path.parent.name, "management")
        extra = tuple(self.golden.get("extra", {}).items())
        workspace = self.golden.get("workspace", "demo" if self.dialect.WORKSPACE else "")
        base = parse_endpoint(self.golden.get("base", self.dialect.BASE))
        self.place = Place(base, workspace, Secret("operator-key"), extra)

    def device(self) -> Any:
        """What create and its like are given."""
        values = self.golden["values"]
        if self.verb in MANY:
            return [self.dialect.new_device(self.place, one) for one in values]
        return self.dialect.new_device(self.place, values)

    def call(self) -> HttpCall:
        """What the dialect makes."""
        if self.verb in OF_DEVICES:
            given = self.device()
        else:
            given = self.golden["cursor" if self.verb == "list_page" else "device_id"]
        made: HttpCall = getattr(self.dialect, self.verb)(self.place, given)
        return made

    def read(self, reply: HttpReply) -> dict[str, Any]:
        """What the dialect reads, in the words of the file."""
        dialect, place = self.dialect, self.place
        if self.verb == "create":
            return {"made": dialect.read_created(place, self.device(), reply)._asdict()}
        if self.verb == "create_many":
            return {"made": [one._asdict() for one in dialect.read_created_many(place, self.device(), reply)]}
        if self.verb == "find":
            found = dialect.read_found(place, self.device(), reply)
            return {"found": found and found.device_id}
        if self.verb == "list_page":
            listed, cursor = dialect.read_page(place, reply, NOW_S, self.golden["cursor"])
            return {"page": [one._asdict() for one in listed], "cursor": cursor}
        if self.verb == "show":
            return {"listed": dialect.read_shown(place, reply, NOW_S)._asdict()}
        dialect.read_done(reply)
        return {"done": True}


def shown(call: HttpCall) -> dict[str, Any]:
    """A call in the words of the file."""
    made: dict[str, Any] = {"method": call.method, "url": call.url, "headers": [list(pair) for pair in call.headers]}
    return made if call.body is None else {**made, "json": json.loads(call.body)}


def as_wanted(found: Any, wanted: Any) -> Any:
    """The value as far as the file speaks of it."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return {name: as_wanted(found.get(name), one) for name, one in wanted.items()}
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        return [as_wanted(one, other) for one, other in zip(found, wanted, strict=True)]
    return found


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_exchange(path: Path) -> None:
    """The dialect makes the golden call and reads the golden outcome from the reply."""
    case = Case(path)
    golden, wanted = case.golden, case.golden["outcome"]
    if "reply" not in golden:
        with pytest.raises(FirstlightError) as refused:
            case.call()
        told(refused.value, wanted)
        return
    call = case.call()
    assert "operator-key" not in repr(call)
    if "call" in golden:
        assert shown(call) == golden["call"]
    said = golden["reply"]
    body = json.dumps(said["json"]) if "json" in said else said.get("text", "")
    reply = HttpReply(said["status"], said.get("headers", {}), body.encode())
    if "error" in wanted:
        with pytest.raises(FirstlightError) as caught:
            case.read(reply)
        told(caught.value, wanted)
    else:
        assert as_wanted(case.read(reply), wanted) == wanted


def told(error: FirstlightError, wanted: dict[str, Any]) -> None:
    """The error is the one of the file, and says what to do next."""
    found = {name: getattr(error, name) for name in wanted if name != "error"}
    assert wanted == {"error": type(error).__name__, **found}
    assert error.hint
    assert error.code in HINTS


@pytest.mark.parametrize("name", PLATFORMS)
def test_every_verb_has_a_golden_case(name: str) -> None:
    """No verb of a management half goes without a golden exchange."""
    verbs = {json.loads(path.read_text())["verb"] for path in CASES if path.parent.name == name}
    dialect = half(name, "management")
    known = [
        *("create", "create_many", "find", "list_page", "show", "remove", "invite", "revoke", "rotate", "receipt"),
        "reset_fingerprint",
    ]
    assert {verb for verb in known if hasattr(dialect, verb)} == verbs
