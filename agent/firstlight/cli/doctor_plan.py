"""Each check of ``firstlight doctor`` by its id: which part makes it, and with what of the case."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import cast

import firstlight
from firstlight.cli import next_step, upgraded_by
from firstlight.cli.doctor_case import Case, Hub
from firstlight.cli.durations import spoken
from firstlight.cli.settings import proxy_of
from firstlight.core.diagnosis import FAILURE, NO_NETWORK, NOTE, Finding, failed, noted, passed, skipped, warned
from firstlight.core.interfaces import DevicePlatform
from firstlight.core.model import Broker, Endpoint, Registration
from firstlight.errors import HINTS, FirstlightError, UnreachableError
from firstlight.platforms import half
from firstlight.system import (
    checks_box,
    checks_hardware,
    checks_hooks,
    checks_route,
    checks_state,
    checks_unit,
    checks_waiting,
    place,
)
from firstlight.system.clock import clock_floor_s
from firstlight.system.store import RUNNING
from firstlight.system.synced import is_synced
from firstlight.system.upgrades import BY_PACKAGE
from firstlight.transports import checks_broker, checks_way
from firstlight.transports.proxy import Proxy
from firstlight.wire.bounded import WireError
from firstlight.wire.health import decode_health

Perform = Callable[[], Finding]

CALL_S = 6.0
SKEW_S = 60.0
SILENT_S, INTERVALS = 300.0, 3
NO_HUB = "because no hub is known: give --hub and --pin, or --invitation"


def plan(case: Case) -> dict[str, Perform]:
    """Check id -> what makes it."""
    settings = case.settings
    return {
        "settings": lambda: _settings(case),
        "python": lambda: checks_box.python(place.prefix()),
        "clock": lambda: checks_box.clock(time.time(), clock_floor_s(case.store), is_synced()),
        "disk": lambda: checks_box.disk(settings.state_dir),
        "permissions": lambda: _permissions(case),
        "state": lambda: case.kept[1],
        "trust": lambda: _with_hub(case, "trust", lambda hub: _trust(case, hub)),
        "credential": lambda: _enrolled(case, "credential", lambda one: _credential(case, one)),
        "release": lambda: checks_unit.release(place.prefix(), firstlight.__version__, is_managed=_is_managed()),
        "unit": lambda: checks_unit.unit(is_enrolled=case.registration is not None or case.is_provisioned),
        "sandbox": lambda: _sandbox(case),
        "beats": lambda: _beats(case),
        "refusal": lambda: _refusal(case),
        "spool": lambda: checks_state.spool(settings.state_dir, case.published, time.time()),
        "hooks": lambda: checks_hooks.hooks(settings.hooks_dir, settings.state_dir),
        "keys": lambda: _keys(case),
        "waiting": lambda: checks_waiting.waiting(checks_waiting.asked(), is_needed=_is_waiting(case)),
        "camera": checks_hardware.camera,
        "scan": checks_hardware.scan,
        "led": lambda: checks_hardware.led(str(getattr(settings, "led", ""))),
        "memory": checks_box.memory,
        "load": checks_box.load,
        "route": lambda: judged_route(
            checks_route.route(case.hub.endpoint.host if case.hub else ""), is_provisioned=case.is_provisioned
        ),
        "dns": lambda: _with_hub(case, "dns", lambda hub: _dns(case, hub)),
        "proxy": lambda: _with_hub(case, "proxy", lambda hub: _proxy(case, hub)),
        "port": lambda: _with_hub(case, "port", lambda hub: checks_way.port(hub.endpoint, _way(case, hub.endpoint))),
        "tls": lambda: _with_hub(case, "tls", lambda hub: _secure(hub, "tls", lambda: checks_way.tls(case.shown))),
        "pin": lambda: _with_hub(case, "pin", lambda hub: _secure(hub, "pin", lambda: _pin(case, hub))),
        "portal": lambda: _with_hub(case, "portal", lambda hub: _secure(hub, "portal", lambda: _portal(case, hub))),
        "hub": lambda: _with_hub(case, "hub", lambda hub: _hub(case, hub)),
        "skew": lambda: _skew(case),
        "broker": lambda: _enrolled(case, "broker", lambda one: _broker(case, one)),
    }


def _with_hub(case: Case, check: str, perform: Callable[[Hub], Finding]) -> Finding:
    return perform(case.hub) if case.hub else skipped(check, NO_HUB)


def _enrolled(case: Case, check: str, perform: Callable[[Registration], Finding]) -> Finding:
    if case.registration:
        return perform(case.registration)
    return skipped(check, f"because this box is not {'registered yet' if case.is_provisioned else 'enrolled'}")


def _secure(hub: Hub, check: str, perform: Perform) -> Finding:
    if hub.endpoint.scheme == "http":
        return skipped(check, "because the platform is asked in plain HTTP, on this machine only")
    return perform()


def _way(case: Case, endpoint: Endpoint) -> Proxy | None:
    return case.proxy if endpoint.scheme == "https" else None


# -- this box --------------------------------------------------------------------------------------------------------
def _settings(case: Case) -> Finding:
    error: FirstlightError | None = case.settings_error
    if error is None:
        try:
            case.hub and case.proxy  # noqa: B018 - both read what else can be wrong
        except FirstlightError as other:
            error = other
    if error is not None:
        return failed("settings", f"{error.message} [{error.code}]", error.hint, code=error.code)
    told_by = f" The address is {case.hub.endpoint.url}, as {case.hub.told_by} says." if case.hub else ""
    return passed("settings", f"The settings can be used.{told_by}")


def judged_route(found: Finding, *, is_provisioned: bool) -> Finding:
    """What ``checks_route.route`` found: a box that was provisioned for a site without a network needs none yet."""
    if found.severity != FAILURE or not is_provisioned:
        return found
    said = f"{found.message} This box registers by itself when there is a network; until then: firstlight receipt."
    return Finding("route", NOTE, said, detail={**found.detail, NO_NETWORK: True})


def _permissions(case: Case) -> Finding:
    secrets = (case.settings.proxy_auth_file, case.settings.api_key_file)
    return checks_state.permissions(case.settings.state_dir, case.trust_dir, secrets, os.geteuid())


def _trust(case: Case, hub: Hub) -> Finding:
    return checks_state.trust(hub.trust.ca_pem, hub.trust.pins, case.now_s())


def _credential(case: Case, registration: Registration) -> Finding:
    return checks_state.credential(case.settings.state_dir, registration, case.now_s())


def _is_waiting(case: Case) -> bool:
    return case.registration is None and not case.is_provisioned


def _keys(case: Case) -> Finding:
    from firstlight.cli.upgrade_bundle import trusted

    is_needed = _is_waiting(case)
    return checks_waiting.keys(
        case.trust_dir,
        trusted,
        is_needed=is_needed,
        waits=is_needed and checks_waiting.asked().get("UnitFileState") == "enabled",
        takes_any=case.settings.payload_trust == "any",
    )


def _is_managed() -> bool:
    root = Path(firstlight.__file__).resolve().parent.parent
    return upgraded_by.who_upgrades(root, "") == BY_PACKAGE


def _sandbox(case: Case) -> Finding:
    if not next_step.has_service() or not case.published.get("pid"):
        return skipped("sandbox", "because the service does not run here")
    return checks_unit.sandbox(str(case.published.get("weakened") or ""))


def _beats(case: Case) -> Finding:
    if not case.is_provisioned:
        return _enrolled(case, "beats", lambda one: judged_beats(case.published, case.now_s()))
    if case.published.get("agentRuns"):
        return passed("beats", "The agent runs and keeps its heartbeats until the hub has registered this box.")
    return failed("beats", "The agent does not run: this box does not register by itself.")


def _refusal(case: Case) -> Finding:
    if case.is_provisioned:
        return judged_refusal(case.published)
    return _enrolled(case, "refusal", lambda one: judged_refusal(case.published))


def judged_beats(published: dict[str, object], now_s: float) -> Finding:
    """Whether the agent runs, and how long ago a beat of it was accepted."""
    state = str(published.get("state"))
    accepted_at = published.get("lastAcceptedAt")
    detail = {"state": state, "lastAcceptedAt": accepted_at}
    ago_s = now_s - _seconds(accepted_at) if accepted_at else None
    last = (
        f"the last heartbeat was accepted {spoken(max(0.0, ago_s))} ago" if ago_s is not None else "none was accepted"
    )
    if state == "stopped":
        return failed("beats", f"The agent does not run; {last}.", detail=detail)
    if state == "not_responding":
        return failed("beats", str(published.get("message")), HINTS["status_overdue"], detail=detail)
    interval_s = published.get("intervalS")
    patience_s = max(SILENT_S, INTERVALS * float(interval_s)) if isinstance(interval_s, (int, float)) else SILENT_S
    if ago_s is None or ago_s > patience_s:
        reason = f" [{published['reason']}]" if published.get("reason") else ""
        severity = warned if state == "starting" else failed
        fix = str(published.get("hint") or "Correct what the checks below name; the agent goes on trying by itself.")
        return severity("beats", f"The agent runs ({state.replace('_', ' ')}); {last}.{reason}", fix, detail=detail)
    return passed("beats", f"The agent runs ({state}); {last}.", detail=detail)


def _seconds(moment: object) -> float:
    try:
        return datetime.fromisoformat(str(moment).replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 0.0


def judged_refusal(published: dict[str, object]) -> Finding:
    """What the hub last said of this device: it is not asked again, since that would be a heartbeat."""
    state, code = str(published.get("state")), str(published.get("reason") or "")
    if state in ("parked", "retired"):
        said = f"The platform refuses this device: {published.get('message') or ''} [{code or state}]"
        return failed("refusal", said, str(published.get("hint") or HINTS.get(code, "")), code=code or state)
    if published.get("clone"):
        said = "Two boxes beat with this device's identity. [clone_suspected]"
        return failed("refusal", said, HINTS["clone_suspected"], code="clone_suspected")
    if state == "online":
        return passed("refusal", "The platform accepts this device.")
    return noted("refusal", "The platform has not refused this device; the agent has no word of it at the moment.")


# -- the way to the hub ----------------------------------------------------------------------------------------------
def _dns(case: Case, hub: Hub) -> Finding:
    way = _way(case, hub.endpoint)
    return checks_way.dns(way.host, "proxy") if way else checks_way.dns(checks_way.host_of(hub.endpoint))


def _proxy(case: Case, hub: Hub) -> Finding:
    return checks_way.proxy(hub.endpoint, _way(case, hub.endpoint), case.proxy_set_by())


def _pin(case: Case, hub: Hub) -> Finding:
    return checks_way.pin(case.shown, hub.trust.pins, has_ca=bool(hub.trust.ca_pem))


def _portal(case: Case, hub: Hub) -> Finding:
    # Where the name was found and the port is closed, a handshake would only wait once more.
    seen = case.__dict__.get("shown")
    return checks_way.portal(hub.endpoint, case.proxy, is_hub_seen=seen is not None and seen.error is None)


def _hub(case: Case, hub: Hub) -> Finding:
    """Asks the hub how it is: spends nothing."""
    from firstlight.transports.http_calls import HttpCalls

    dialect = cast(DevicePlatform, half(case.registration.platform if case.registration else "hub", "device"))
    check_dates = case.clock.is_trustworthy()
    try:
        with HttpCalls(hub.trust, case.proxy, check_dates=check_dates, identity=case.identity) as calls:
            call = dialect.probe(hub.endpoint)
            if call is None:
                return skipped("hub", "because this platform answers nobody but its devices")
            reply = calls.exchange(call, CALL_S)
        case.server_time_s, case.told_at_s = dialect.read_probe(reply), time.monotonic()
    except UnreachableError as error:
        return failed("hub", f"{error.message} [{error.code}]", error.hint, code=error.code)
    try:
        version = decode_health(reply.body)[0]
    except WireError:
        version = ""
    named = f", version {version}," if version else ""
    return passed("hub", f"The hub at {hub.endpoint.url}{named} answers.", version=version)


def _skew(case: Case) -> Finding:
    if case.server_time_s is None:
        return skipped("skew", "because the platform was not asked")
    skew_s = case.now_s() - time.time()
    side = "behind" if skew_s > 0 else "ahead of"
    if abs(skew_s) >= SKEW_S:
        said = f"This box's clock is {spoken(abs(skew_s))} {side} the platform's."
        return warned("skew", said, skewS=round(skew_s, 1))
    return passed("skew", f"This box's clock and the platform's are {abs(skew_s):.1f} s apart.", skewS=round(skew_s, 1))


def _broker(case: Case, registration: Registration) -> Finding:
    broker = registration.broker
    if registration.transport != "mqtt" or broker is None:
        return skipped("broker", "because this box's heartbeats go over HTTP")
    if case.store.holder(RUNNING) or case.published.get("pid"):
        return _line(case, registration, broker)
    dialect = cast(DevicePlatform, half(registration.platform, "device"))
    made = dialect.login(registration, case.clock.moment(), knows_time=case.clock.knows_time())
    if made is None:
        return skipped("broker", "because this platform has no broker")
    return checks_broker.login(
        made,
        registration.trust,
        proxy_of(case.settings, broker.host) if broker.is_secure else None,
        check_dates=case.clock.is_trustworthy(),
        identity=case.identity,
    )


def _line(case: Case, registration: Registration, broker: Broker) -> Finding:
    way = proxy_of(case.settings, broker.host) if broker.is_secure else None
    dates = case.clock.is_trustworthy()
    return checks_broker.line(broker, registration.trust, way, case.published, check_dates=dates)
