"""The process that beats for a Huawei device, for months, loads what the daemon's allow-lists name and nothing else."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.huawei.conftest import Box, Desk
from tests.rules.test_lean import PATIENCE_S, PRICE_OF_PAHO, START, TOO_HEAVY, allowed, covers
from tests.twins.huawei import HuaweiTwin


@pytest.mark.parametrize("transport", ["mqtt", "http"])
def test_a_huawei_device_loads_only_what_the_allow_lists_name(
    twin: HuaweiTwin, desk: Desk, make_box: Callable[[], Box], tmp_path: Path, transport: str
) -> None:
    """Reports, a token, desired properties and the time: all of it within the lists, and nothing heavy."""
    boot = desk.create(f"lean-{transport}", "--transport", transport, reports="86400")
    box = make_box()
    box.enroll(boot)
    run_file = tmp_path / "run.json"
    run_file.write_text(json.dumps({"stateDir": str(box.state_dir)}))
    command = [sys.executable, "-I", "-S", "-c", START, sysconfig.get_path("purelib"), str(run_file)]
    before = len(twin.log.find(what=f"{boot['deviceId']}/sys/properties/report"))
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        twin.log.wait_for("", f"{boot['deviceId']}/sys/properties/report", times=before + 3)
    finally:
        process.send_signal(signal.SIGTERM)
        said, logged = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, logged
    loaded = json.loads(said)
    names = allowed(transport)
    assert not [name for name in loaded if not any(covers(one, name) or covers(name, one) for one in names)]
    heavy = set(TOO_HEAVY) - set(PRICE_OF_PAHO if transport == "mqtt" else ())
    assert not [name for name in loaded if any(covers(one, name) for one in heavy)]
    # Each way is loaded where it is gone.
    assert ("firstlight.platforms.huawei.https" in loaded) == (transport == "http")
    assert "firstlight.platforms.huawei.bootstrap" not in loaded
