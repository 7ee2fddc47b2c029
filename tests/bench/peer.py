"""The obvious stack, to compare with: httpx, psutil and systemd's journal handler, sending the same beats.

Written as most people would write it, with the two things that a service needs: it feeds the watchdog, and it keeps one
client. Run as ``peer.main(FILE)``, the file being JSON: ``url``, ``key``, ``ca``, ``agent``, ``facts``, ``factsHash``,
``diskPath``, ``intervalS``, ``beats`` (0 = for ever) and ``keepaliveS`` (0 = httpx's own limits).
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import ssl
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import psutil

BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")

log = logging.getLogger("peer")


def set_up_logging() -> str:
    """To the journal where systemd-python is installed, else to standard error; which of the two."""
    try:
        from systemd.journal import JournalHandler
    except ImportError:
        logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(message)s")
        kind = "logging to standard error"
    else:
        logging.basicConfig(level=logging.INFO, handlers=[JournalHandler(), logging.StreamHandler()])
        kind = "systemd's JournalHandler"
    logging.getLogger("httpx").setLevel(logging.WARNING)
    return kind


def notify(message: str) -> None:
    """sd_notify(3)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ears:
            ears.sendto(message.encode(), address)


def metrics(disk_path: str) -> dict[str, float]:
    """How the machine is doing."""
    found = {
        "load1": round(psutil.getloadavg()[0], 2),
        "memoryUsed": round(psutil.virtual_memory().percent / 100, 3),
        "diskUsed": round(psutil.disk_usage(disk_path).percent / 100, 3),
    }
    for sensors in psutil.sensors_temperatures().values():
        for sensor in sensors:
            found["temperatureC"] = round(max(sensor.current, found.get("temperatureC", sensor.current)), 1)
    return found


def main(file: str) -> None:
    """Beats until it is ended, or until so many beats were accepted."""
    settings: dict[str, Any] = json.loads(Path(file).read_text())
    log.info("started, %s", set_up_logging())
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    boot_id = BOOT_ID_FILE.read_text().strip().replace("-", "")
    context = ssl.create_default_context(cafile=settings["ca"])
    if settings["keepaliveS"]:
        client = httpx.Client(verify=context, timeout=20, limits=httpx.Limits(keepalive_expiry=settings["keepaliveS"]))
    else:
        client = httpx.Client(verify=context, timeout=20)
    client.headers["Authorization"] = f"Bearer {settings['key']}"
    sequence = int(time.clock_gettime(time.CLOCK_BOOTTIME) * 1000)
    notify("READY=1")
    count = 0
    while not stop.is_set():
        body = {
            "seq": sequence + count,
            "bootId": boot_id,
            "mono": round(time.clock_gettime(time.CLOCK_BOOTTIME), 3),
            "wall": round(time.time(), 3),
            "metrics": metrics(settings["diskPath"]),
            "agent": settings["agent"],
            "factsHash": settings["factsHash"],
        }
        if count == 0:
            body["facts"] = settings["facts"]
        reply = client.post(settings["url"], json=body)
        reply.raise_for_status()
        reply.json()
        notify("WATCHDOG=1")
        count += 1
        log.info("beat %d accepted", count)
        if count == settings["beats"]:
            stop.wait()  # measured now, and ended by a signal
        elif settings["intervalS"]:
            stop.wait(settings["intervalS"])
    client.close()
