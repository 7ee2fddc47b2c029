"""The agent over MQTT, with a secret and with a certificate: bytes of a steady beat, and what the process costs."""

from __future__ import annotations

import time
from collections.abc import Callable
from select import select

from firstlight.system.store import StateDirectory
from tests.bench.beating import INTERVAL_S, LOOK_EVERY_S, WINDOW_S, Watched
from tests.bench.figures import Figure, Report
from tests.bench.processes import BenchError, wait_until
from tests.bench.stage import WATCHDOG_S, Box, Hub, Stage, free_port
from tests.bench.wiretap import Traffic, open_tap

KINDS = ("secret", "certificate")
WIRE_INTERVAL_S, BEATS, SETTLE_S = 6, 4, 1.0
AT_MOST_BYTES, DIRTY_MB, THREADS, WAKE_UPS = 500.0, 13.0, 1, 5.0


def measure(stage: Stage, report: Report) -> None:
    """Bytes first, then memory and wake-ups at the real cadence."""
    method = f"real hub with mosquitto over TLS; bytes over {BEATS} beats, the rest every {INTERVAL_S} s for"
    report.head("mqtt", f"{method} {WINDOW_S / 60:.1f} minutes", KINDS[1:])
    _wire(stage, report)
    stage.stop()
    _cadence(stage, report)


def broker_hub(stage: Stage, interval_s: int) -> Hub:
    """A hub whose devices beat over MQTT, through a mosquitto that it starts itself."""
    ports: dict[str, int | str] = {"mqtt_port": free_port(), "mqtt_certificate_port": free_port()}
    settings = {"mqtt": "mosquitto", "transport": "mqtt", **ports}
    return Hub(stage, heartbeat_interval_s=interval_s, settings=settings)


def _boxes(stage: Stage, hub: Hub) -> list[Box]:
    return [Box(stage, hub, "--credential", kind) for kind in KINDS]


def _wire(stage: Stage, report: Report) -> None:
    hub = broker_hub(stage, WIRE_INTERVAL_S)
    spent = [_steady(box, number) for number, box in enumerate(_boxes(stage, hub))]
    goal = AT_MOST_BYTES if all(is_exact for _, is_exact in spent) else None

    def add(what: str, take: Callable[[Traffic], float], at_most: float | None = None) -> None:
        values = [take(traffic) for traffic, _ in spent]
        report.add(Figure(what, values[0], "" if "segments" in what else "B", at_most, beside=tuple(values[1:])))

    add("a steady beat, both directions", lambda traffic: traffic.total_bytes, goal)
    if goal and spent[1][0].total_bytes > goal:
        raise BenchError(f"with a certificate a beat has {spent[1][0].total_bytes:.0f} B")
    add("  of it to the broker", lambda traffic: traffic.up_bytes)
    add("  of it from the broker", lambda traffic: traffic.down_bytes)
    add("segments", lambda traffic: traffic.segments)


def _steady(box: Box, number: int) -> tuple[Traffic, bool]:
    """The traffic of one steady beat of a box, and whether it was counted packet by packet."""
    store = StateDirectory(str(box.state_dir))
    registration = box.registration
    assert registration.broker is not None
    with open_tap(registration.broker.port, 1) as tap:
        host, _, port = tap.urls[0].partition("://")[2].partition(":")
        store.save_registration(registration._replace(broker=registration.broker._replace(host=host, port=int(port))))
        box.run_agent()
        # The first beats open the connection, carry facts and ask; what comes after is steady.
        wait_until("three beats", lambda: box.beats() >= 3, 60)
        tap.watch(SETTLE_S)
        beats, before = box.beats(), tap.traffic()[0]
        while box.beats() < beats + BEATS:
            tap.watch(SETTLE_S)
        tap.watch(SETTLE_S)
        counted = box.beats() - beats
        return Traffic(*(part / counted for part in tap.traffic()[0].minus(before))), tap.is_exact


def _cadence(stage: Stage, report: Report) -> None:
    boxes = _boxes(stage, broker_hub(stage, INTERVAL_S))
    watched = [Watched(box.run_agent(), box, box.beats) for box in boxes]
    wait_until("both beat", lambda: all(box.beats() for box in boxes), 30)
    select([], [], [], LOOK_EVERY_S)
    for one in watched:
        one.begin()
    ends_s = time.monotonic() + WINDOW_S
    while time.monotonic() < ends_s:
        select([], [], [], LOOK_EVERY_S)
        for one in watched:
            one.look()
    costs = [one.end() for one in watched]
    if not all(box.feedings for box in boxes):
        raise BenchError("an agent never fed the watchdog")
    _add(report, "private dirty memory", [cost.dirty_mb for cost in costs], "MB", DIRTY_MB)
    _add(report, "threads", [cost.threads for cost in costs], "", THREADS)
    _add(report, "wake-ups a minute", [cost.wake_ups for cost in costs], "", WAKE_UPS)
    _add(report, "connections opened or kept in the window", [cost.connections for cost in costs], "", 1)
    _add(report, "CPU a minute", [cost.cpu_ms for cost in costs], "ms", None)
    _add(report, "beats in the window", [cost.beats for cost in costs], "", None)
    report.note(f"watchdog on ({WATCHDOG_S} s); wake-ups are context switches; goals hold for both columns")


def _add(report: Report, what: str, values: list[float], unit: str, goal: float | None) -> None:
    report.add(Figure(what, values[0], unit, goal, beside=tuple(values[1:])))
    if goal is not None and max(values) > goal >= values[0]:
        report.missed.append(f"{what} with a certificate")
