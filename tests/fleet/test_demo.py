"""``make demo ROAD=fleet`` walks its road to the end."""

import json
import subprocess
import sys
from pathlib import Path

DEMO = Path(__file__).resolve().parents[1] / "demo.py"


def test_fleet_road() -> None:
    """Facts, a batch whose answer is lost, nothing twice, seen by an MDM, refused to a box, removed."""
    words = [sys.executable, str(DEMO), "--road", "fleet", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    steps = [json.loads(line)["step"] for line in done.stdout.splitlines()]
    assert steps == ["twin", "collected", "created", "again", "unknown", "seen", "refused", "removed", "done"]
