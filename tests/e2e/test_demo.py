"""The first screen of the README is what ``make demo`` really prints."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "tests" / "demo.py"


def same_for_all(text: str) -> str:
    """The text without what differs between two runs and two machines."""
    for pattern, word in (
        (r"127\.0\.0\.1:\d+", "HUB"),
        (r"sha256//[A-Za-z0-9+/]{43}=", "PIN"),
        (r"/devices/v2/[a-z0-9]{20,}/", "/devices/v2/ID/"),
        (r"roof-camera-[a-z0-9]+", "DEVICE"),
        (r"\S*firstlight-demo-\w+", "FOLDER"),
        (r"cp3\d+-\w+|\w+ with Python 3\.\d+", "TAG"),
        (r"agent \d+\.\d+\.\d+", "agent VERSION"),
    ):
        text = re.sub(pattern, word, text)
    return text


def test_readme_shows_what_the_demo_prints() -> None:
    """Every line of the README's first output block is a line of the demo, in the same order."""
    readme = (ROOT / "README.md").read_text()
    block = readme[readme.index("<!-- demo -->") : readme.index("<!-- /demo -->")]
    shown = [same_for_all(line.strip()) for line in block.splitlines()[1:] if line.strip() and line.strip() != "…"]
    assert len(shown) > 10

    done = subprocess.run([sys.executable, str(DEMO)], capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    printed = iter([same_for_all(line.strip()) for line in done.stdout.splitlines()])
    missing = [line for line in shown if line not in printed]
    assert not missing


def test_demo_as_json() -> None:
    """With --json each step is one JSON line with step, device_id and status, in the order of the road."""
    done = subprocess.run([sys.executable, str(DEMO), "--json"], capture_output=True, text=True, timeout=90)
    lines = [json.loads(line) for line in done.stdout.splitlines()]

    assert done.returncode == 0, done.stderr
    assert all({"step", "device_id", "status"} <= set(line) for line in lines)
    assert [line["status"] for line in lines if line["status"]] == [
        *("unknown", "online", "offline", "online", "online", "online"),
    ]
    assert lines[-1]["step"] == "done"


def test_offline_road() -> None:
    """Without a hub: drawn, spoiled, read back, provisioned; the receipt counts as by hand; then online by itself."""
    done = subprocess.run(
        [sys.executable, str(DEMO), "--road", "offline", "--json"], capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr
    lines = {line["step"]: line for line in map(json.loads, done.stdout.splitlines())}
    order = ("alone", "drawn", "spoiled", "provisioned", "detached", "receipt", "imported", "by_hand", "online", "done")
    assert [step for step in lines if step in order] == list(order)
    assert (lines["detached"]["status"], lines["online"]["status"]) == ("provisioned", "online")
