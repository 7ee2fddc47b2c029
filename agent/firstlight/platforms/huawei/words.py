"""What the platform says unasked, over MQTT, and what goes back.

Desired properties are handed on and not understood here: the shadow as a whole on each new connection, single ones as
they are set. What is of the wrong type is refused by name, and then nothing of that message is taken. Commands, and
upgrades of the platform's own kind, are refused in its own words; what has no place for an answer is named in the log.
"""

from __future__ import annotations

import json

from firstlight import __version__
from firstlight.core.exchange import MqttCall
from firstlight.core.lifecycle import Desired, Told
from firstlight.platforms.huawei import report, topics
from firstlight.wire.bounded import WireError, child, children, decode_object, optional_number, optional_text, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from firstlight.core.exchange import MqttMessage
    from firstlight.core.model import Moment, Registration

MAX_BYTES = 65_536
MAX_SERVICES, MAX_PROPERTIES, MAX_LIST = 64, 256, 256
MAX_SERVICE_ID, MAX_NAME, MAX_VALUE = 32, 64, 4096
EARLIEST_MS = 1_700_000_000_000.0  # November 2023: no agent that has this line is older
LATEST_MS = 4e12  # the year 2096
NOT_DONE = 1
OTA_TYPE_UNSUPPORTED = 8
DONE: dict[str, object] = {"result_code": 0, "result_desc": "success"}


def heard(registration: Registration, message: MqttMessage, moment: Moment) -> Told | None:
    """One message -> what it means, None for what is not for this device, or is no news."""
    rest = topics.suffix(registration.device_id, message.topic)
    nothing = Told(float(registration.interval_s))
    try:
        for family, read in _FAMILIES:
            if rest.startswith(family):
                is_free = family == topics.MESSAGES_DOWN or not message.payload
                body = {} if is_free else decode_object(message.payload, MAX_BYTES)
                found = read(registration, rest, body, moment, nothing)
                return None if found == nothing else found
    except WireError as error:
        return _unreadable(registration, rest, f"it cannot be read: {error}", nothing)
    return None


def _unreadable(registration: Registration, rest: str, why: str, told: Told) -> Told:
    """Refused where there is a place for an answer, else named in the log."""
    for family, response in ((topics.SET, topics.SET_RESPONSE), (topics.COMMANDS, topics.COMMANDS_RESPONSE)):
        if request_id := topics.request_id(rest, family):
            answer = f"{response}{topics.REQUEST_ID}{request_id}"
            return told._replace(answers=(_sent(registration.device_id, answer, _refused(why)),))
    return told._replace(notes=(f"Of what the platform said ({rest[:40]!r}) {why}.",))


# -- the desired state -------------------------------------------------------------------------------------------------
def _shadow(registration: Registration, rest: str, body: dict[str, object], moment: Moment, told: Told) -> Told:
    """The answer to the question of a new connection: what is desired, of every service."""
    if _is_others(registration, body):
        return told
    wanted: dict[str, object] = {}
    versions = 0
    try:
        for one in children(body, "shadow", MAX_SERVICES):
            name = text(one, "service_id", MAX_SERVICE_ID)
            values = child(child(one, "desired"), "properties")
            if values:
                wanted[name] = properties(name, values)
            versions += int(optional_number(one, "version", 0, 2**40) or 0)  # each service counts for itself
    except WireError as error:
        return told._replace(notes=(f"What the platform's shadow wants of this box cannot be taken: {error}.",))
    return told._replace(desired=Desired(versions, _text(wanted), is_whole=True))


def _message(registration: Registration, rest: str, body: dict[str, object], moment: Moment, told: Told) -> Told:
    return told._replace(notes=("The platform sent this box a message, which nobody here reads.",))


def _set(registration: Registration, rest: str, body: dict[str, object], moment: Moment, told: Told) -> Told:
    request_id = topics.request_id(rest, topics.SET)
    if not request_id:
        return told
    device_id, answer = registration.device_id, f"{topics.SET_RESPONSE}{topics.REQUEST_ID}{request_id}"
    try:
        if _is_others(registration, body):
            raise WireError("this is another device")
        wanted: dict[str, object] = {}
        for one in children(body, "services", MAX_SERVICES):
            name = text(one, "service_id", MAX_SERVICE_ID)
            wanted[name] = properties(name, _object(one, "properties"))
        if not wanted:
            raise WireError("services is missing")
    except WireError as error:
        return told._replace(answers=(_sent(device_id, answer, _refused(str(error))),))
    desired = Desired(0, _text(wanted), is_whole=False)
    return told._replace(answers=(_sent(device_id, answer, DONE),), desired=desired)


def properties(service: str, values: dict[str, object]) -> dict[str, object]:
    """Properties of one service, one level deep (seed 002, "InitialDesired").

    Raises:
        WireError: names the first one that is not a text, a number, true, false, null or a list of those.
    """
    if len(values) > MAX_PROPERTIES:
        raise WireError(f"{service} has {len(values)} properties, {MAX_PROPERTIES} are allowed")
    for name, value in values.items():
        if not 0 < len(name) <= MAX_NAME or not name.isprintable():
            raise WireError(f"{service} has a property with a name of {len(name)} characters, or an odd one")
        items = value if isinstance(value, list) else [value]
        if len(items) > MAX_LIST or not all(_is_plain(item) for item in items):
            raise WireError(f"{service}.{name} is {_kind(value)}, not a text, a number, true, false, null or a list")
    return values


def _is_plain(value: object) -> bool:
    return value is None or (
        len(value) <= MAX_VALUE if isinstance(value, str) else isinstance(value, (bool, int, float))
    )


def _kind(value: object) -> str:
    if isinstance(value, dict):
        return "an object"
    return "a list of other things or a long one" if isinstance(value, list) else "too long a text"


# -- questions and orders ----------------------------------------------------------------------------------------------
def _get(registration: Registration, rest: str, body: dict[str, object], moment: Moment, told: Told) -> Told:
    request_id = topics.request_id(rest, topics.GET)
    if not request_id:
        return told
    known: list[object] = []
    service = report.service_id(registration.extra)
    if not _is_others(registration, body) and body.get("service_id") in (None, "", service):
        known = [{"service_id": service, "properties": report.about(moment)}]
    answer = f"{topics.GET_RESPONSE}{topics.REQUEST_ID}{request_id}"
    return told._replace(answers=(_sent(registration.device_id, answer, {"services": known}),))


def _command(registration: Registration, rest: str, body: dict[str, object], moment: Moment, told: Told) -> Told:
    request_id = topics.request_id(rest, topics.COMMANDS)
    if not request_id:
        return told
    name = (optional_text(body, "command_name") or "")[:64]
    why = "this is another device" if _is_others(registration, body) else "this device takes no commands"
    said: dict[str, object] = {"result_code": NOT_DONE, "response_name": name or "none", "paras": {"reason": why}}
    answer = f"{topics.COMMANDS_RESPONSE}{topics.REQUEST_ID}{request_id}"
    return told._replace(answers=(_sent(registration.device_id, answer, said),))


def _events(registration: Registration, rest: str, body: dict[str, object], moment: Moment, told: Told) -> Told:
    if _is_others(registration, body):
        return told
    for one in children(body, "services", MAX_SERVICES):
        kind = (text(one, "service_id"), text(one, "event_type"))
        paras = child(one, "paras")
        if kind == (report.TIME_SYNC, "time_sync_response"):
            told = told._replace(server_time_s=server_time_s(paras, moment))
        elif kind[0] == report.OTA:
            told = told._replace(answers=(*told.answers, *_upgrade(registration.device_id, kind[1])))
        elif kind == (report.SUB_DEVICES, "sub_device_update_status_response"):
            told = told._replace(notes=(*told.notes, *_refused_children(paras)))
    return told


def server_time_s(paras: dict[str, object], moment: Moment) -> float:
    """The platform's clock now, as NTP has it: half of what the two ways took together is on the way back.

    Where the clock was set while the question was under way there is no telling, and the time of the answer counts.
    Raises WireError, also for a time before ``EARLIEST_MS``: believed, it would make this box's own right clock count
    as wrong.
    """
    sent_ms = _ms(paras, "device_send_time")
    received_ms, answered_ms = _ms(paras, "server_recv_time"), _ms(paras, "server_send_time")
    if answered_ms < EARLIEST_MS:
        raise WireError("the time in it cannot be now")
    under_way_ms = moment.wall_s * 1000 - sent_ms - (answered_ms - received_ms)
    return (answered_ms + (under_way_ms / 2 if 0 <= under_way_ms <= 60_000 else 0)) / 1000


def _ms(paras: dict[str, object], name: str) -> float:
    found = optional_number(paras, name, -LATEST_MS, LATEST_MS)
    if found is None:
        raise WireError(f"{name} is missing")
    return found


def _upgrade(device_id: str, kind: str) -> tuple[MqttCall, ...]:
    """Versions are told; an upgrade is refused as of a type that is not supported: this agent has a way of its own."""
    version = __version__
    if kind == "version_query":
        return (report.event(device_id, report.OTA, "version_report", {"fw_version": "", "sw_version": version}),)
    if kind.startswith(("firmware_upgrade", "software_upgrade")):
        said: dict[str, object] = {
            "result_code": OTA_TYPE_UNSUPPORTED,
            "progress": 0,
            "version": version,
            "description": "this device is not upgraded by the platform",
        }
        return (report.event(device_id, report.OTA, "upgrade_progress_report", said),)
    return ()


def _refused_children(paras: dict[str, object]) -> tuple[str, ...]:
    """Children that the platform does not know below this gateway, one sentence each."""
    found = []
    for one in children(paras, "failed_devices", 1000)[:8]:
        child_id, code = optional_text(one, "device_id", 256), optional_text(one, "error_code", 64)
        said = optional_text(one, "error_msg", 1024) or "without a reason"
        found.append(f"The platform did not take the status of child {child_id}: {said[:200]} ({code}).")
    return tuple(found)


# -- small things ------------------------------------------------------------------------------------------------------
def _is_others(registration: Registration, body: dict[str, object]) -> bool:
    return body.get("object_device_id") not in (None, "", registration.device_id)


def _object(source: dict[str, object], name: str) -> dict[str, object]:
    if source.get(name) is None:
        raise WireError(f"{name} is missing")
    return child(source, name)


def _text(wanted: dict[str, object]) -> str:
    return json.dumps(wanted, separators=(",", ":"), sort_keys=True)


def _refused(why: str) -> dict[str, object]:
    return {"result_code": NOT_DONE, "result_desc": why[:256]}


def _sent(device_id: str, suffix: str, body: dict[str, object]) -> MqttCall:
    return MqttCall(topics.of(device_id, suffix), report.encoded(body))


# The longer ones first: an answer of our own, should a broker send it back, is then no question.
_FAMILIES: tuple[tuple[str, Callable[..., Told]], ...] = (
    (topics.SHADOW, _shadow),
    (topics.SET, _set),
    (topics.GET, _get),
    (topics.COMMANDS, _command),
    (topics.EVENTS_DOWN, _events),
    (topics.MESSAGES_DOWN, _message),
)
