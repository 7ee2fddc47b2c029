"""``make demo ROAD=qubitro`` walks to its end."""

import json
import subprocess
import sys
from pathlib import Path

DEMO = Path(__file__).resolve().parents[1] / "demo.py"


def test_demo_road() -> None:
    """Unknown, online, offline, online; a second device over HTTPS; nothing secret on the screen."""
    line = [sys.executable, str(DEMO), "--road", "qubitro", "--json"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(one) for one in done.stdout.splitlines()]
    statuses = [one["status"] for one in lines if one["status"]]
    assert statuses == ["unknown", "online", "offline", "online", "online"]
    assert [one["step"] for one in lines][-2:] == ["removed", "done"] and "QB_" not in done.stdout
