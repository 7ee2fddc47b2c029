"""What a box knows of itself when a payload is judged: its serial number, and whether its clock counts."""

from __future__ import annotations

import os
import time
from pathlib import Path

from firstlight.cli.provisioning import time_bounds
from firstlight.system.netlink import NetworkWatch
from firstlight.system.serial import serial_number
from firstlight.system.store import StateDirectory


def test_the_serial_number(tmp_path: Path) -> None:
    """The device tree's comes first; what makers leave as a filler is none; nothing there is no fault."""
    assert serial_number(str(tmp_path)) == ""
    board = tmp_path / "sys/class/dmi/id/board_serial"
    board.parent.mkdir(parents=True)
    board.write_text("B-17\n")
    (board.parent / "product_serial").write_text("To be filled by O.E.M.\n")
    assert serial_number(str(tmp_path)) == "B-17"
    tree = tmp_path / "proc/device-tree/serial-number"
    tree.parent.mkdir(parents=True)
    tree.write_bytes(b"1421519012345\0")
    assert serial_number(str(tmp_path)) == "1421519012345"
    tree.write_bytes(b"\x1b[2J\0")
    assert serial_number(str(tmp_path)) == "B-17"


def test_a_clock_before_what_was_seen_counts_for_nothing(tmp_path: Path) -> None:
    """Whatever the kernel says of time servers: a clock behind the last moment seen is wrong."""
    store = StateDirectory(str(tmp_path))
    store.save_seen(time.time() + 400 * 86_400)
    bounds = time_bounds(store)
    assert not bounds.is_trustworthy and bounds.surely_s == bounds.floor_s > time.time()
    store.save_seen(time.time())
    assert time_bounds(store).is_trustworthy


def test_a_quiet_network_is_not_heard() -> None:
    """The ear opens as an ordinary user, hears nothing by itself, and closes."""
    watch = NetworkWatch()
    try:
        assert watch.fileno() >= 0 and os.get_blocking(watch.fileno()) is False
        watch.heard()
        assert not watch.heard()
    finally:
        watch.close()
    assert watch.fileno() == -1 and not watch.heard()
