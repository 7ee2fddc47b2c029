"""The topics of a device, ``$oc/devices/{device_id}/…`` (protocol page, section 2)."""

from __future__ import annotations

REPORT = "sys/properties/report"
EVENTS_UP, EVENTS_DOWN = "sys/events/up", "sys/events/down"
SHADOW_GET, SHADOW = "sys/shadow/get/", "sys/shadow/get/response/"
SET, SET_RESPONSE = "sys/properties/set/", "sys/properties/set/response/"
GET, GET_RESPONSE = "sys/properties/get/", "sys/properties/get/response/"
COMMANDS, COMMANDS_RESPONSE = "sys/commands/", "sys/commands/response/"
MESSAGES_DOWN = "sys/messages/down"
BOOTSTRAP_UP, BOOTSTRAP_DOWN = "sys/bootstrap/up", "sys/bootstrap/down"
REQUEST_ID = "request_id="
MAX_REQUEST_ID = 128


def of(device_id: str, suffix: str) -> str:
    """One topic of that device."""
    return f"$oc/devices/{device_id}/{suffix}"


def listened_to(device_id: str) -> tuple[str, ...]:
    """What a device subscribes to: everything that the platform may ask of it, a family at a time."""
    families = (f"{SET}#", f"{GET}#", f"{COMMANDS}#", f"{SHADOW}#", MESSAGES_DOWN, EVENTS_DOWN)
    return tuple(of(device_id, family) for family in families)


def suffix(device_id: str, topic: str) -> str:
    """The part behind the device's own prefix, "" for another device's topic or none at all."""
    prefix = of(device_id, "")
    return topic[len(prefix) :] if topic.startswith(prefix) else ""


def request_id(rest: str, family: str) -> str:
    """``family`` + ``request_id=…`` -> the id; "" where it is none, so that nothing odd goes back into a topic."""
    if not rest.startswith(family + REQUEST_ID):
        return ""
    found = rest[len(family) + len(REQUEST_ID) :]
    is_usable = 0 < len(found) <= MAX_REQUEST_ID and found.isprintable() and not set(found) & set("/+#")
    return found if is_usable else ""
