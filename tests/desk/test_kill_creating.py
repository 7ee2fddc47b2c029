"""SIGKILL while the devices of a table are made: the same command again finishes, and nothing is made twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.desk.kill_child import DEVICES, names
from tests.e2e.conftest import BIN, Hub, wait_until

ROOT = Path(__file__).parents[2]
MANY = 150


def devices_by_name(hub: Hub, start: str) -> Counter[str]:
    """How many devices have each name that starts so."""
    return Counter(str(one["name"]) for one in hub.devices().values() if str(one["name"]).startswith(start))


@pytest.mark.timeout(300)
def test_kill_at_every_step_of_creating(hub: Hub, tmp_path: Path) -> None:
    """Whatever step the kill hits, the next run ends with each device once, and each boot file is one of theirs."""
    line = [sys.executable, "-m", "tests.desk.kill_child", str(tmp_path), hub.url, hub.pin, str(hub.key_file)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=280, cwd=ROOT, check=False)
    rounds = [json.loads(text) for text in done.stdout.splitlines()]

    assert rounds and not rounds[-1]["killed"], done.stderr
    assert all(one["killed"] for one in rounds[:-1]) and not any(one["resumed"] for one in rounds), rounds
    steps = Counter(one["step"] for one in rounds[:-1])
    assert steps["send POST"] == steps["reply to POST"] == DEVICES and steps["write"] == steps["written"] == DEVICES + 2
    made = devices_by_name(hub, "round ")
    assert made == Counter(name for number in range(len(rounds)) for name in names(number))
    listed = hub.devices()
    for number in range(len(rounds)):
        files = list((tmp_path / f"boot-{number}").iterdir())
        found = [json.loads(file.read_text()) for file in files]
        assert sorted(str(listed[one["deviceId"]]["name"]) for one in found) == sorted(names(number))
        assert not any(file.stat().st_mode & 0o077 for file in (*files, tmp_path / f"{number}.csv.journal"))


@pytest.mark.timeout(180)
def test_the_program_killed_in_the_middle_of_many(hub: Hub, tmp_path: Path) -> None:
    """The real command, killed twice while it makes many; the third run finishes, and its report has every line."""
    table, boot, report = tmp_path / "many.csv", tmp_path / "boot", tmp_path / "report.csv"
    boot.mkdir()
    table.write_text("name,serial\n" + "".join(f"many {n},SN-{n}\n" for n in range(MANY)))
    line = [str(BIN / "firstlight"), "device", "create", "--csv", str(table), "--boot", str(boot)]
    line += ["--report", str(report), "--hub", hub.url, "--pin", hub.pin, "--workspace", "demo"]
    line += ["--api-key-file", str(hub.key_file)]
    for at in (20, 90):
        process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        with process.stdout:
            for said in process.stdout:
                if said.startswith(f"line {at}:"):
                    process.send_signal(signal.SIGKILL)
                    break
        assert process.wait(30) == -signal.SIGKILL

    done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    made = devices_by_name(hub, "many ")
    assert made == Counter(f"many {n}" for n in range(MANY))
    assert {file.name for file in boot.iterdir()} == {f"SN-{n}.json" for n in range(MANY)}
    rows = report.read_text().splitlines()[1:]
    outcomes = Counter(row.split(",")[4] for row in rows)
    assert len(rows) == MANY and outcomes["made earlier"] >= 80 and outcomes["made"] >= MANY - 95


def test_a_box_takes_its_boot_file_in(hub: Hub, tmp_path: Path) -> None:
    """What --boot wrote for a hub's device enrolls its box, with the hub's pin in it."""
    table = tmp_path / "one.csv"
    table.write_text("name,serial\nboot box,SN-B\n")
    line = [str(BIN / "firstlight"), "device", "create", "--csv", str(table), "--boot", str(tmp_path)]
    line += ["--hub", hub.url, "--pin", hub.pin, "--workspace", "demo", "--api-key-file", str(hub.key_file)]
    subprocess.run(line, check=True, capture_output=True, timeout=60)
    enroll = [str(BIN / "firstlight"), "enroll", "--file", str(tmp_path / "SN-B.json"), "--no-start"]
    done = subprocess.run(
        [*enroll, "--state-dir", str(tmp_path / "state")], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    wait_until("it is in the list", lambda: "boot box" in {one["name"] for one in hub.devices().values()})
