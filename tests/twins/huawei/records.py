"""Devices made from a create's body, and told as the vendor tells them."""

from __future__ import annotations

import re
import secrets
from typing import Any

from tests.twins.huawei.errors import bad_input, device_exists, no_application, no_device
from tests.twins.huawei.state import Device, Product, Shadow, State, compact, iso

MOST_LEVELS = 2
SIMPLE = {"app_id", "app_name", "device_id", "node_id", "gateway_id", "device_name", "node_type", "description"}
SIMPLE |= {"fw_version", "sw_version", "device_sdk_version", "product_id", "product_name", "status", "tags"}


def mask(text: str, last: int = 4) -> str:
    """The first four and the last signs of a secret, as the page's example shows them; a short one shows less."""
    if len(text) < 16:
        return f"{text[:1]}****{text[-1:]}" if text else text
    return f"{text[:4]}****{text[-last:]}"


def make(state: State, project_id: str, body: dict[str, Any]) -> Device:
    """A device from a checked body, added to the state.

    Raises:
        ApiError: what it refers to is not there, or it is there already.
    """
    product = _product(state, body)
    app_id = body.get("app_id") or product.app_id
    if app_id not in state.apps:
        raise no_application()
    device_id = body.get("device_id") or f"{product.product_id}_{body['node_id']}"
    gateway_id = body.get("gateway_id") or device_id
    _check_free(state, device_id, product.product_id, app_id, body)
    _check_gateway(state, project_id, device_id, gateway_id)
    auth = body["auth_info"]
    device = Device(
        device_id,
        body["node_id"],
        product.product_id,
        app_id,
        project_id,
        gateway_id,
        state.clock.now_s(),
        state.new_record_id(),
        device_name=body.get("device_name"),
        description=body.get("description"),
        extension_info=body.get("extension_info"),
        auth_type=auth.get("auth_type", "SECRET"),
        secure_access=auth.get("secure_access", True),
        timeout_s=auth.get("timeout", 0) if gateway_id == device_id else 0,
        facts=dict(product.facts),
    )
    if device.auth_type == "SECRET":
        device.secret = auth.get("secret") or secrets.token_hex(16)
    else:
        device.fingerprint = auth.get("fingerprint", "").lower()
    device.shadow = _first_shadow(state, product, body["shadow"])
    state.devices[device_id] = device
    return device


def _product(state: State, body: dict[str, Any]) -> Product:
    product = state.products.get(body["product_id"])
    if product is None:
        raise bad_input("The product does not exist.")
    return product


def _check_free(state: State, device_id: str, product_id: str, app_id: str, body: dict[str, Any]) -> None:
    for other in state.devices.values():
        same_node = (other.product_id, other.node_id) == (product_id, body["node_id"])
        same_name = other.app_id == app_id and other.device_name and other.device_name == body.get("device_name")
        if other.device_id == device_id or same_node or same_name:
            raise device_exists()


def _check_gateway(state: State, project_id: str, device_id: str, gateway_id: str) -> None:
    if gateway_id == device_id:
        return
    gateway = state.devices.get(gateway_id)
    if gateway is None or gateway.project_id != project_id:
        raise no_device()
    if state.level(gateway) >= MOST_LEVELS:
        raise bad_input("Only two levels of child devices are supported.")


def _first_shadow(state: State, product: Product, wanted: list[dict[str, Any]]) -> dict[str, Shadow]:
    """The product's defaults, and over them what the create asks for and differs from them."""
    shadow = {
        service_id: Shadow(desired={name: value for name, value in defaults.items() if value is not None})
        for service_id, defaults in product.services.items()
    }
    for each in wanted:
        set_desired(product, shadow, each["service_id"], each["desired"])
    found = {service_id: part for service_id, part in shadow.items() if part.desired}
    for part in found.values():
        part.desired_s, part.version = state.clock.now_s(), 1
    return found


def set_desired(product: Product, shadow: dict[str, Shadow], service_id: str, desired: dict[str, Any]) -> None:
    """``{}`` clears the service's section, null a property; the service and its properties must be the product's.

    Raises:
        ApiError: they are not.
    """
    known = product.services.get(service_id)
    if known is None or not set(desired) <= set(known):
        raise bad_input("The service or property is not defined in the product model.")
    part = shadow.setdefault(service_id, Shadow())
    if not desired:
        part.desired.clear()
    for name, value in desired.items():
        if value is None:
            part.desired.pop(name, None)
        else:
            part.desired[name] = value


def told(state: State, device: Device) -> dict[str, Any]:
    """A device's whole record; secrets masked, times in the forms that the page gives them."""
    product = state.products.get(device.product_id)
    now_s = state.clock.now_s()
    facts = device.facts
    usual = "GATEWAY" if device.is_direct else "ENDPOINT"
    record = {
        "app_id": device.app_id,
        "app_name": state.apps.get(device.app_id, ""),
        "device_id": device.device_id,
        "node_id": device.node_id,
        "gateway_id": device.gateway_id,
        "device_name": device.device_name,
        "node_type": (product.node_type if product else "") or usual,
        "description": device.description,
        "fw_version": facts.get("fw_version"),
        "sw_version": facts.get("sw_version"),
        "device_sdk_version": facts.get("device_sdk_version"),
        "auth_info": _told_auth(device),
        "product_id": device.product_id,
        "product_name": product.name if product else "",
        "status": device.status(now_s),
        "create_time": compact(device.created_s),
        "connection_status_update_time": iso(device.told_s(now_s)),
        "active_time": iso(device.active_s),
        "tags": facts.get("tags", []),
        "extension_info": device.extension_info,
    }
    return record


def _told_auth(device: Device) -> dict[str, Any]:
    proofs = {
        "secret": mask(device.secret, 5),
        "secondary_secret": mask(device.secondary_secret, 5),
        "fingerprint": mask(device.fingerprint),
        "secondary_fingerprint": mask(device.secondary_fingerprint),
    }
    shown = {name: text for name, text in proofs.items() if text}
    return {
        "auth_type": device.auth_type,
        **shown,
        "secure_access": device.secure_access,
        "timeout": device.timeout_s,
    }


def told_simply(state: State, device: Device) -> dict[str, Any]:
    """A device as a list has it: no proofs, no times."""
    record = told(state, device)
    return {name: value for name, value in record.items() if name in SIMPLE}


def told_shadow(device: Device, service_id: str = "") -> list[dict[str, Any]]:
    """A device's shadow, of one service or of all."""
    return [
        {
            "service_id": each,
            "desired": {"properties": part.desired, "event_time": compact(part.desired_s or 0)}
            if part.desired
            else None,
            "reported": {"properties": part.reported, "event_time": compact(part.reported_s or 0)}
            if part.reported
            else None,
            "version": part.version,
        }
        for each, part in device.shadow.items()
        if service_id in ("", each)
    ]


def reported(state: State, device: Device, service_id: str, properties: dict[str, Any]) -> None:
    """Keeps what a device has reported; of a service that its product does not have it is only a problem."""
    product = state.products.get(device.product_id)
    if product is not None and service_id not in product.services:
        state.problem(f"{device.device_id} reports a service that its product does not have: {service_id[:32]}")
        return
    part = device.shadow.setdefault(service_id, Shadow())
    part.reported.update(properties)
    part.reported_s = state.clock.now_s()
    part.version += 1


def differs(device: Device) -> list[dict[str, Any]]:
    """What is desired and not reported so: the platform sends it when the device comes online, and after a report."""
    found = []
    for service_id, part in device.shadow.items():
        wanted = {name: value for name, value in part.desired.items() if part.reported.get(name) != value}
        if wanted:
            found.append({"service_id": service_id, "properties": wanted})
    return found


def is_compact_time(text: str) -> bool:
    """Whether a text is a time as lists ask for it."""
    return re.match(r"[0-9]{8}T[0-9]{6}Z\Z", text) is not None
