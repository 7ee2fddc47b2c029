"""What a device says of its own accord: the report of a beat, and what it asks and tells on a new connection.

A value is dated only where this box knows the time: an undated one gets the time of its arrival, a wrongly dated one
would stand in the platform's history for good. So of the beats that could not be sent in time those of this boot are
dated backwards from now, and the others are only counted.
"""

from __future__ import annotations

import json

from firstlight import __version__
from firstlight.core.exchange import MqttCall
from firstlight.platforms.huawei import budget, topics
from firstlight.platforms.huawei.credentials import DAY_S, LATEST_S, civil

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firstlight.core.model import Beat, Child, Facts, Metrics, Moment, Registration

SERVICE = "Firstlight"
TIME_SYNC, SDK_INFO, SUB_DEVICES, OTA = "$time_sync", "$sdk_info", "$sub_device_manager", "$ota"


def encoded(value: dict[str, object]) -> bytes:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":")).encode()


def event_time(wall_s: float) -> str:
    """Seconds since 1970 -> ``yyyyMMdd'T'HHmmss'Z'``, as the vendor's pages write it."""
    whole = int(min(max(wall_s, 0.0), LATEST_S))
    day, second = divmod(whole, DAY_S)
    return "{:04d}{:02d}{:02d}T{:02d}{:02d}{:02d}Z".format(*civil(day), second // 3600, second // 60 % 60, second % 60)


def service_id(extra: tuple[tuple[str, str], ...]) -> str:
    """The service of the product's model that takes the reports."""
    return dict(extra).get("service") or SERVICE


def report(registration: Registration, beat: Beat) -> bytes:
    """One beat as a property report, with the beats that could not be sent in time."""
    service = service_id(registration.extra)
    said = {**_how(beat.metrics), **_what(beat)}
    dated, undated = [], 0
    for missed in beat.missed:
        if beat.knows_time and missed.moment.boot_id == beat.moment.boot_id:
            before_s = max(beat.moment.monotonic_s - missed.moment.monotonic_s, 0.0)
            kept = {**_how(missed.metrics), "sequence": missed.sequence, "problem": missed.reason}
            dated.append(_service(service, kept, beat.moment.wall_s - before_s))
        else:
            undated += 1
    if undated:
        said["missed"] = undated
    now = _service(service, said, beat.moment.wall_s if beat.knows_time else None)
    return encoded({"services": [*dated, now]})


def greetings(device_id: str, moment: Moment) -> tuple[MqttCall, ...]:
    """What goes out on each new connection (``budget.GREETING`` of them): versions, and two questions."""
    versions: dict[str, object] = {"device_sdk_version": f"firstlight-{__version__}", "sw_version": __version__}
    return (
        event(device_id, SDK_INFO, "sdk_info_report", versions),
        MqttCall(topics.of(device_id, f"{topics.SHADOW_GET}{topics.REQUEST_ID}{_request_id(moment)}"), b"{}"),
        event(device_id, TIME_SYNC, "time_sync_request", {"device_send_time": int(moment.wall_s * 1000)}),
    )


def statuses(device_id: str, children: tuple[Child, ...]) -> tuple[MqttCall, ...]:
    """How a gateway's children are, ``budget.CHILDREN_A_MESSAGE`` at a time."""
    step = budget.CHILDREN_A_MESSAGE
    pieces = [children[begin : begin + step] for begin in range(0, len(children), step)]
    return tuple(event(device_id, SUB_DEVICES, "sub_device_update_status", _statuses(piece)) for piece in pieces)


def event(device_id: str, service: str, kind: str, paras: dict[str, object]) -> MqttCall:
    """One event of a service that the platform itself defines."""
    body = encoded({"services": [{"service_id": service, "event_type": kind, "paras": paras}]})
    return MqttCall(topics.of(device_id, topics.EVENTS_UP), body)


def about(moment: Moment) -> dict[str, object]:
    """What is known of this box without measuring anything."""
    return {"agentVersion": __version__, "bootId": moment.boot_id, "uptimeS": int(moment.monotonic_s)}


def _request_id(moment: Moment) -> str:
    return f"{moment.boot_id[:8]}{int(moment.monotonic_s * 1000)}"


def _service(service: str, properties: dict[str, object], wall_s: float | None) -> dict[str, object]:
    found: dict[str, object] = {"service_id": service, "properties": properties}
    if wall_s is not None:
        found["event_time"] = event_time(wall_s)
    return found


def _statuses(children: tuple[Child, ...]) -> dict[str, object]:
    told = [{"device_id": one.device_id, "status": "ONLINE" if one.is_online else "OFFLINE"} for one in children]
    return {"device_statuses": told}


def _how(metrics: Metrics) -> dict[str, object]:
    known = {
        "load1": metrics.load1,
        "memoryUsed": metrics.memory_used,
        "diskUsed": metrics.disk_used,
        "temperatureC": metrics.temperature_c,
    }
    return {name: value for name, value in known.items() if value is not None}


def _what(beat: Beat) -> dict[str, object]:
    facts = {} if beat.facts is None else _facts(beat.facts)
    return {**about(beat.moment), "sequence": beat.sequence, **facts}


def _facts(facts: Facts) -> dict[str, object]:
    known = {
        "hostname": facts.hostname,
        "os": facts.platform,
        "osRelease": facts.platform_release,
        "osVersion": facts.platform_version,
        "architecture": facts.architecture,
        "deviceType": facts.type,
        "processor": facts.hardware.processor,
        "gpu": facts.hardware.gpu,
        "memoryMb": facts.hardware.total_memory_mb,
        "diskMb": facts.hardware.total_disk_space_mb,
    }
    return {name: value for name, value in known.items() if value is not None}
