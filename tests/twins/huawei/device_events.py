"""What devices say: reports, and the built-in events of the platform."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.twins.huawei import records
from tests.twins.huawei.state import Device, State, compact

Say = Callable[[str, str, dict[str, Any]], bool]
MOST_CHILDREN = 50


class Events:
    """Takes the bodies of devices' messages; under the state's lock."""

    def __init__(self, state: State, say: Say) -> None:
        self.state, self.say = state, say

    def report(self, device: Device, body: dict[str, Any]) -> bool:
        """``services``: a list of {service_id, properties, event_time}; False where it has another shape."""
        services = body.get("services")
        if not isinstance(services, list) or not services or not all(map(is_report, services)):
            self.state.problem(f"{device.device_id} reports in a shape that is not the platform's")
            return False
        for each in services:
            records.reported(self.state, device, each["service_id"], each["properties"])
        return True

    def report_children(self, gateway: Device, body: dict[str, Any]) -> list[str]:
        """``devices``: a list of {device_id, services}; the ids of those that are not below this gateway."""
        devices = body.get("devices")
        if not isinstance(devices, list) or not 1 <= len(devices) <= MOST_CHILDREN:
            self.state.problem(f"{gateway.device_id} reports children in a shape that is not the platform's")
            return [""]
        foreign = []
        for each in devices:
            child_id = str(each.get("device_id", "")) if isinstance(each, dict) else ""
            child = self.state.devices.get(child_id)
            if child is None or not self.state.is_below(child_id, gateway.device_id):
                self.state.problem(f"{gateway.device_id} reports for {child_id[:64]}, which is not below it")
                foreign.append(child_id)
            elif self.report(child, each):
                child.become("ONLINE", self.state.clock.now_s())
        return foreign

    def take(self, device: Device, body: dict[str, Any]) -> None:
        """``services``: a list of {service_id, event_type, event_time, event_id, paras}."""
        services = body.get("services")
        if not isinstance(services, list) or not all(map(is_event, services)):
            self.state.problem(f"{device.device_id} sends an event in a shape that is not the platform's")
            return
        for each in services:
            service_id, kind, paras = each["service_id"], each["event_type"], each.get("paras") or {}
            self.state.events.append((device.device_id, service_id, kind, paras))
            if (service_id, kind) == ("$time_sync", "time_sync_request"):
                self._answer(device, each, "time_sync_response", self._time(paras))
            elif (service_id, kind) == ("$sub_device_manager", "sub_device_update_status"):
                told = self._update_children(device, paras)
                self._answer(device, each, "sub_device_update_status_response", told)
            elif (service_id, kind) == ("$sdk_info", "sdk_info_report") or (service_id, kind) == (
                "$ota",
                "version_report",
            ):
                self._keep_versions(device, paras)

    def _answer(self, device: Device, event: dict[str, Any], kind: str, paras: dict[str, Any]) -> None:
        service = {
            "service_id": event["service_id"],
            "event_type": kind,
            "event_time": compact(self.state.clock.now_s()),
            "event_id": event.get("event_id", ""),
            "paras": paras,
        }
        self.say(device.device_id, "sys/events/down", {"object_device_id": device.device_id, "services": [service]})

    def _time(self, paras: dict[str, Any]) -> dict[str, Any]:
        now_ms = int(self.state.clock.now_s() * 1000)
        sent = paras.get("device_send_time")
        return {"device_send_time": sent, "server_recv_time": now_ms, "server_send_time": now_ms}

    def _update_children(self, gateway: Device, paras: dict[str, Any]) -> dict[str, Any]:
        good, bad = [], []
        statuses = paras.get("device_statuses")
        for each in statuses if isinstance(statuses, list) else []:
            said = each if isinstance(each, dict) else {}
            child_id, status = str(said.get("device_id", "")), said.get("status")
            child = self.state.devices.get(child_id)
            if child is None or not self.state.is_below(child_id, gateway.device_id):
                bad.append(failure(child_id, "IOTDA.014000", "The device does not exist."))
            elif status not in ("ONLINE", "OFFLINE"):
                bad.append(failure(child_id, "IOTDA.000006", "Invalid input data."))
            else:
                child.become(status, self.state.clock.now_s())
                good.append({"device_id": child_id, "status": status})
        return {"successful_devices": good, "failed_devices": bad}

    def _keep_versions(self, device: Device, paras: dict[str, Any]) -> None:
        for name in ("device_sdk_version", "sw_version", "fw_version"):
            value = paras.get(name)
            if isinstance(value, str) and len(value) <= 256:
                device.facts[name] = value


def failure(device_id: str, code: str, text: str) -> dict[str, Any]:
    """One of ``failed_devices``."""
    return {"device_id": device_id, "error_code": code, "error_msg": text}


def is_report(each: Any) -> bool:
    """Whether something is one of ``services`` of a report."""
    return (
        isinstance(each, dict)
        and isinstance(each.get("service_id"), str)
        and isinstance(each.get("properties"), dict)
        and isinstance(each.get("event_time", ""), str | None)
    )


def is_event(each: Any) -> bool:
    """Whether something is one of ``services`` of an event."""
    return (
        isinstance(each, dict)
        and isinstance(each.get("service_id"), str)
        and isinstance(each.get("event_type"), str)
        and isinstance(each.get("paras") or {}, dict)
    )
