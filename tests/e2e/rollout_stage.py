"""A hub with a release on its shelf, and boxes whose upgrade unit is the test itself."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path

from firstlight.core.model import Offer, Upgraded
from firstlight.system.store import UPGRADE_WISH, UPGRADED, StateDirectory
from firstlight.wire.upgrade import read_offer, upgraded_object
from firstlight_hub.bundle_contents import Files
from firstlight_hub.bundle_file import write_bundle
from firstlight_hub.release_keys import load
from tests.daemon.box import START
from tests.e2e.conftest import BIN, Box, Hub

VERSION = "0.9.0"
ARCH = {"arm64": "aarch64"}.get(platform.machine(), platform.machine())


def put_release(hub: Hub, *, is_signed: bool = True) -> None:
    """Puts a small bundle of a later version on the hub's shelf."""
    folder = hub.folder / "bundles"
    folder.mkdir(exist_ok=True)
    files: Files = {"lib/firstlight/__init__.py": b"", "share/setup.sh": b""}
    keys = load(hub.folder)
    write_bundle(
        folder, VERSION, ARCH, ("3.10", "3.11"), files, b"#!/bin/sh\n", keys.sign if is_signed else lambda manifest: {}
    )


def rollout(hub: Hub, verb: str, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """``firstlight-hub rollout VERB``."""
    line = [str(BIN / "firstlight-hub"), "rollout", verb, "--dir", str(hub.folder), *words]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr
    assert not check or done.returncode == 0, done.stderr
    return done


def shown(hub: Hub) -> dict[str, object]:
    """``rollout show --json``."""
    found = json.loads(rollout(hub, "show", "--json").stdout)
    assert isinstance(found, dict)
    return found


class Watched:
    """An enrolled box whose agent believes in an upgrade unit; the test does what that unit would."""

    def __init__(self, box: Box, device_id: str) -> None:
        self.box = box
        self.device_id = device_id
        self.store = StateDirectory(str(box.state_dir))

    def start(self) -> subprocess.Popen[str]:
        """The beating process, as ``firstlight run`` would start it on a box with the unit."""
        self.store.write_json("run.json", {"stateDir": self.store.path, "upgrades": "unit", "release": "0" * 8})
        line = [sys.executable, "-I", "-S", "-c", START, f"{self.store.path}/run.json"]
        process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.box.env)
        self.box.processes.append(process)
        return process

    @property
    def wish(self) -> Offer | None:
        """What the unit would find."""
        found = self.store.read_json(UPGRADE_WISH)
        return read_offer(found) if found else None

    def unit_ends(self, code: str, message: str = "") -> None:
        """The unit has tried, and leaves its result."""
        wish = self.wish
        assert wish is not None
        result = Upgraded(wish.version, wish.id, wish.attempt, code, message)
        self.store.write_json(UPGRADED, upgraded_object(result))
        self.store.remove(UPGRADE_WISH)

    @property
    def beats(self) -> int:
        """How many beats its present agent has sent."""
        path = Path(self.store.path, "status.json")
        return int(json.loads(path.read_text())["beats"]) if path.exists() else 0
