"""Roboflow at the operator's desk: the real program with that dialect, and our hub where Roboflow would be."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import BIN, Hub


class Operator:
    """Types commands at a desk.

    Args:
        folder: where files lie.
        hub: speaks for Roboflow.
    """

    def __init__(self, folder: Path, hub: Hub) -> None:
        self.folder, self.hub = folder, hub

    def device(self, verb: str, *words: str) -> subprocess.CompletedProcess[str]:
        """``firstlight device VERB``."""
        line = [str(BIN / "firstlight"), "device", verb, *words, "--platform", "roboflow", "--base", self.hub.url]
        line += ["--pin", self.hub.pin, "--workspace", "demo", "--api-key-file", str(self.hub.key_file)]
        env = {"PATH": os.environ["PATH"], "HOME": str(self.folder)}
        done = subprocess.run(line, capture_output=True, text=True, env=env, cwd=self.folder, timeout=60, check=False)
        assert "Traceback" not in done.stderr
        return done


@pytest.fixture
def operator(tmp_path: Path, hub: Hub) -> Operator:
    """With the shared hub."""
    return Operator(tmp_path, hub)


def test_a_device_is_created_listed_and_shown(operator: Operator) -> None:
    """The installId is told, since nothing else holds it; the list says unknown."""
    words = ("Roof cam", "--field", "device_type=edge", "--field", "tags=roof,yard")
    made = json.loads(operator.device("create", *words, "--json").stdout)
    assert made["installScript"] == f"{operator.hub.url}/devices/v2/{made['installId']}/install.sh"
    rows = json.loads(operator.device("list", "--json").stdout)["data"]
    row = next(one for one in rows if one["id"] == made["deviceId"])
    assert (row["name"], row["platform"], row["status"]) == ("Roof cam", "roboflow", "unknown")
    shown = json.loads(operator.device("show", made["deviceId"]).stdout)
    assert shown["record"]["tags"] == ["roof", "yard"]
    said = operator.device("create", "Roof cam 2").stdout
    assert "installId" in said
    assert "/install.sh" in said


def test_a_device_for_a_site_without_a_network(operator: Operator) -> None:
    """The payload is told under Roboflow's own name."""
    words = ("Dam cam", "--field", "device_type=ai1", "--field", "offline_mode=true", "--json")
    made = json.loads(operator.device("create", *words).stdout)
    assert made["offlineProvisioningQrPayload"].startswith("FL1:")


@pytest.mark.parametrize("verb", ["remove", "invite", "rotate", "revoke"])
def test_what_the_api_does_not_offer_is_said(operator: Operator, verb: str) -> None:
    """In one sentence, before anything is asked."""
    done = operator.device(verb, "cam-1")
    assert done.returncode == 2
    assert "[not_offered]" in done.stderr
    assert "Roboflow" in done.stderr


def test_regions_are_known(operator: Operator) -> None:
    """One that is not there is named, and nothing is sent."""
    done = operator.device("list", "--extra", "region=mars")
    assert done.returncode == 2
    assert "us, eu" in done.stderr
