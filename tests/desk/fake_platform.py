"""A platform in memory and its dialect: the seam of a management half, with trouble on demand."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import ModuleType

from firstlight.cli.desk import Desk
from firstlight.core.exchange import HttpCall, HttpReply
from firstlight.core.management import Field, Listed, Made, Place
from firstlight.core.model import Secret, Trust, parse_endpoint
from firstlight.errors import RefusedError, UnreachableError, UsageError

PLACE = Place(parse_endpoint("https://platform.example"), "w", Secret("operator-key"))
Values = Mapping[str, object]


class Platform:
    """What it knows, and what it does to the next calls.

    Attributes:
        made: values of each device by id.
        asked: the verb of each call, in order.
        trouble: one for each coming call: an error to raise before or, where it is ``lost``, after acting; None = none.
    """

    def __init__(self) -> None:
        self.made: dict[str, Values] = {}
        self.asked: list[str] = []
        self.trouble: list[BaseException | None] = []

    def exchange(self, call: HttpCall) -> HttpReply:
        """One call."""
        verb, _, rest = call.url.removeprefix("https://platform.example/").partition("/")
        self.asked.append(verb)
        error = self.trouble.pop(0) if self.trouble else None
        if error is not None and not hasattr(error, "lost"):
            raise error
        answer = self._act(verb, rest, json.loads(call.body or b"{}"))
        if error is not None:
            raise error
        return HttpReply(200, {}, json.dumps(answer).encode())

    def _act(self, verb: str, rest: str, body: dict[str, object]) -> object:
        if verb == "create":
            self.made[f"id-{len(self.made)}"] = body
            return {"id": f"id-{len(self.made) - 1}"}
        if verb == "find":
            return next(({"id": key, **one} for key, one in self.made.items() if one["name"] == rest), {})
        if verb == "reclaim":
            return {"id": rest}
        return [{"id": key, **one} for key, one in self.made.items()]


def lost(error: UnreachableError) -> UnreachableError:
    """The same for an answer that was on its way."""
    error.lost = True  # type: ignore[attr-defined]
    return error


def cut() -> UnreachableError:
    """A connection that breaks."""
    return UnreachableError("reply_cut", "The connection broke.")


def busy(wait_s: float) -> UnreachableError:
    """A limit."""
    return UnreachableError("platform_busy", "The platform answered 429.", retry_after_s=wait_s)


def refused(code: str = "bad_request") -> RefusedError:
    """A no."""
    return RefusedError(code, "The platform answered 400.")


def dialect(*, finds: bool = True, **more: object) -> ModuleType:
    """A management half; ``finds``: with a search and another invitation."""
    module = ModuleType("fake_dialect")

    def call(verb: str, rest: str = "", body: Values | None = None) -> HttpCall:
        raw = None if body is None else json.dumps(dict(body)).encode()
        return HttpCall("POST", f"https://platform.example/{verb}/{rest}", (), raw)

    def new_device(place: Place, values: Values) -> Values:
        if values.get("name") == "never":
            raise UsageError("usage", "name is not to be 'never'.")
        return dict(values)

    def made(device: Values, reply: HttpReply) -> Made:
        record = json.loads(reply.body)
        return Made(
            record["id"], str(device["name"]), {"deviceId": record["id"], "secret": device.get("secret")}, record
        )

    def listed(record: dict[str, object]) -> Listed:
        return Listed(str(record["id"]), str(record["name"]), "unknown", "", "", record)

    def read_found(place: Place, device: Values, reply: HttpReply) -> Listed | None:
        record = json.loads(reply.body)
        return listed(record) if record else None

    functions: dict[str, object] = {
        "FIELDS": (Field("name", "its name", True), Field("secret", "its secret", is_secret=True)),
        "EXTRAS": (),
        "WORKSPACE": "workspace",
        "BASE": "",
        "KEY": "name",
        "new_device": new_device,
        "create": lambda place, device: call("create", body=device),
        "read_created": lambda place, device, reply: made(device, reply),
        "list_page": lambda place, cursor: call("list"),
        "read_page": lambda place, reply, now_s, cursor: ([listed(one) for one in json.loads(reply.body)], ""),
    }
    if finds:
        functions |= {
            "find": lambda place, device: call("find", str(device["name"])),
            "read_found": read_found,
            "reclaim": lambda place, device, one: call("reclaim", one.device_id),
            "read_reclaimed": lambda place, device, one, reply: made(device, reply),
        }
    for name, function in (functions | more).items():
        setattr(module, name, function)
    return module


def desk(platform: Platform, half: ModuleType, exchange: Callable[[HttpCall], HttpReply] | None = None) -> Desk:
    """A desk at it."""
    return Desk("fake", half, PLACE, Trust(), exchange or platform.exchange)
