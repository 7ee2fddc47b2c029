"""What a box knows of itself when a payload is judged: its serial number, and whether its clock counts."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from firstlight.cli.provisioning import time_bounds
from firstlight.system.netlink import NetworkWatch
from firstlight.system.serial import is_hidden, serial_number
from firstlight.system.store import StateDirectory
from firstlight.system.synced import is_synced


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


def test_a_serial_number_that_only_root_may_read(tmp_path: Path) -> None:
    """It is there and hidden on a PC; nothing is hidden where there is none, or where it can be read."""
    place = tmp_path / "sys/class/dmi/id/product_serial"
    assert not is_hidden(str(tmp_path))
    place.parent.mkdir(parents=True)
    place.write_text("SN-9\n")
    assert not is_hidden(str(tmp_path))
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    place.chmod(0)
    assert is_hidden(str(tmp_path))


def test_a_clock_before_what_was_seen_counts_for_nothing(tmp_path: Path) -> None:
    """Whatever the kernel says of time servers: a clock behind the last moment seen is wrong."""
    store = StateDirectory(str(tmp_path))
    store.save_seen(time.time() + 400 * 86_400)
    bounds = time_bounds(store)
    assert not bounds.is_trustworthy and bounds.surely_s == bounds.floor_s > time.time()
    store.save_seen(time.time())
    assert time_bounds(store).is_trustworthy


def test_a_time_service_is_known_by_its_file_or_by_the_kernel(tmp_path: Path) -> None:
    """systemd-timesyncd leaves a file, which counts where a sandbox forbids to ask; others tell the kernel."""
    assert not is_synced(str(tmp_path), lambda: False)
    assert is_synced(str(tmp_path), lambda: True)
    mark = tmp_path / "run/systemd/timesync/synchronized"
    mark.parent.mkdir(parents=True)
    mark.touch()
    assert is_synced(str(tmp_path), lambda: False)


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
