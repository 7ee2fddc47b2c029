"""A Fleet twin for each test, the operator's place in it, and the real program at the operator's desk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from firstlight.core.exchange import HttpCall, HttpReply
from firstlight.core.management import Place
from firstlight.core.model import Secret, Trust, parse_endpoint
from firstlight.transports.http_calls import HttpCalls
from tests.twins.fleet import FleetTwin, serve

BIN = Path(sys.executable).parent
CAMERA = {"name": "Dock camera", "type": "Camera", "category": "IoT"}


@pytest.fixture
def twin() -> Iterator[FleetTwin]:
    """A twin in TLS, with the limits of the pages."""
    with serve() as one:
        yield one


class Operator:
    """Carries calls to a twin, and types commands at a desk.

    Args:
        folder: where files lie.
        twin: where to.
    """

    def __init__(self, folder: Path, twin: FleetTwin) -> None:
        self.folder, self.twin = folder, twin
        self.place = Place(parse_endpoint(twin.http_url), "", Secret(twin.operator_key))
        self.trust = Trust(ca_pem=twin.ca_pem)
        self.key_file, self.ca_file = folder / "fleet.key", folder / "ca.pem"
        self.key_file.write_text(twin.operator_key + "\n")
        self.key_file.chmod(0o600)
        self.ca_file.write_text(twin.ca_pem)

    def call(self, call: HttpCall) -> HttpReply:
        """One call over TLS, trusting the twin's authority."""
        with HttpCalls(self.trust) as calls:
            return calls.exchange(call, 20)

    def device(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """``firstlight device WORDS`` at this desk."""
        line = [str(BIN / "firstlight"), "device", *words, "--platform", "fleet", "--base", self.twin.http_url]
        line += ["--ca-file", str(self.ca_file), "--key-file", str(self.key_file)]
        env = {"PATH": os.environ["PATH"], "HOME": str(self.folder)}
        done = subprocess.run(
            line, input=stdin, capture_output=True, text=True, env=env, cwd=self.folder, timeout=60, check=False
        )
        assert "Traceback" not in done.stderr
        assert self.twin.operator_key not in done.stdout + done.stderr
        return done

    def facts(self, serial: str, **more: object) -> str:
        """The file of a box's facts, as ``firstlight facts --json`` prints them; its name."""
        hardware = {"processor": "ARMv8", "gpu": "Orin", "total_memory_mb": 7620, "total_disk_space_mb": 59_000}
        told = {"hostname": f"box-{serial}", "platform": "Linux", "architecture": "aarch64", "hardware": hardware}
        name = f"{serial}.json"
        (self.folder / name).write_text(json.dumps({**told, "serial": serial, "brand": "NVIDIA", **more}))
        return name


@pytest.fixture
def operator(tmp_path: Path, twin: FleetTwin) -> Operator:
    """The operator of that twin."""
    return Operator(tmp_path, twin)
