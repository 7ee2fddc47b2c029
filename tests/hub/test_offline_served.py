"""Offline devices on a hub as its operator serves it: payload, redeem, receipt page, log, and yesterday's backup."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.hub.hub_world import JSON
from tests.hub.receipt_world import BROWSER, OfflineBox, opened
from tests.hub.served import Served, change, command, make

NETWORK = {"ssid": "Plant 7", "passphrase": "never to be logged"}


def created(hub: Served, **fields: Any) -> tuple[dict[str, Any], OfflineBox]:
    """Creates an offline device -> create's answer, and a box that took its payload in."""
    headers = {"Authorization": f"Bearer {hub.key}"}
    wanted = {"device_name": "Dock", "device_type": "ai1", "offline_mode": True, **fields}
    answer = hub.client.post("/demo/devices/v2", json=wanted, headers=headers)
    assert answer.status_code == 201, answer.text
    body = answer.json()
    said = opened(body["offlineProvisioningQrPayload"], hub.folder)
    assert said.endpoint.url == hub.url
    assert said.pins == (hub.told["pin"],)
    return body, OfflineBox(said.token, said.device_id)


def shown(hub: Served, device_id: str) -> dict[str, Any]:
    """A device as the operator sees it."""
    headers = {"Authorization": f"Bearer {hub.key}"}
    found: dict[str, Any] = hub.client.get(f"/demo/devices/v2/{device_id}", headers=headers).json()
    return found


def test_technicians_road_over_tls(tmp_path: Path) -> None:
    """Payload, receipt by a phone, redeem, live beat, as docs/protocol.md has them; no secret in log or files."""
    folder = tmp_path / "hub"
    key = make(folder)
    change(folder, access_log=True)
    with Served(folder, key) as hub:
        body, box = created(hub, network=NETWORK)
        assert box.token is not None
        text = box.receipt()
        assert "This receipt is genuine" in hub.client.get(f"/R/{text}", headers=BROWSER).text
        assert "Done" in hub.client.post(f"/R/{text}", headers=BROWSER).text
        line = shown(hub, body["deviceId"])
        assert (line["status"], line["by_hand"]["state"]) == ("offline", "provisioned")
        registered = hub.redeem(box.token.reveal(), box)
        assert registered.status_code == 201
        assert hub.beat(body["deviceId"], registered.json()["key"], box.beat_body()) == 200
        line = shown(hub, body["deviceId"])
        assert (line["status"], "by_hand" in line) == ("online", False)
        status, log = hub.stop()
    assert status == 0
    assert "GET /R/*** 200" in log and "POST /R/*** 201" in log
    kept = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    for secret in (NETWORK["passphrase"], box.token.reveal(), text, body["offlineTypedCode"]):
        assert secret not in log
        assert secret.encode() not in kept


def test_hub_of_yesterday_knows_the_token_again(tmp_path: Path) -> None:
    """Restored from a backup the hub has lost binding and record; payload, keys and token are as they were."""
    folder = tmp_path / "hub"
    key = make(folder)
    with Served(folder, key) as hub:
        body, box = created(hub)
        assert command("backup", "--dir", folder, tmp_path / "backup").returncode == 0
        text = box.receipt()
        assert hub.client.post(f"/R/{text}").status_code == 201
        hub.kill()
    shutil.rmtree(folder)
    (tmp_path / "backup").rename(folder)
    with Served(folder, key) as hub:
        assert shown(hub, body["deviceId"])["status"] == "unknown"
        assert [hub.client.post(f"/R/{text}").status_code for _ in range(2)] == [201, 200]
        assert opened(body["offlineProvisioningQrPayload"], folder).token == box.token
        assert box.token is not None
        assert hub.redeem(box.token.reveal(), box).status_code == 201


def test_lives_are_settings(tmp_path: Path) -> None:
    """offline_payload_days and offline_redeem_days of hub.toml count."""
    folder = tmp_path / "hub"
    key = make(folder)
    change(folder, offline_payload_days=3, offline_redeem_days=2)
    with Served(folder, key) as hub:
        body, _ = created(hub)
        said = opened(body["offlineProvisioningQrPayload"], folder)
    assert said.expires_at_s - said.issued_at_s == 2 * 86_400
    assert body["offlineTokenExpiresAt"][:10] == body["offlinePayloadExpiresAt"][:10]


def test_curl_walks_the_road(tmp_path: Path) -> None:
    """What docs/operate.md types: create with a file of fields, and a receipt's link, as a program reports it."""
    folder = tmp_path / "hub"
    key = make(folder)
    (tmp_path / "new.json").write_text('{"device_name": "Dock", "device_type": "ai1", "offline_mode": true}')
    with Served(folder, key) as hub:
        trust = ["--cacert", str(folder / "ca.pem"), "-sS"]
        said = ["-H", f"Authorization: Bearer {key}", "-H", "Content-Type: application/json"]
        line = ["curl", *trust, *said, f"{hub.url}/demo/devices/v2", "-d", f"@{tmp_path / 'new.json'}"]
        try:
            made = subprocess.run(line, capture_output=True, text=True, timeout=30, check=True).stdout
        except FileNotFoundError:
            pytest.skip("no curl here")
        assert '"offlineProvisioningQrPayload":"FL1:' in made
        _, box = created(hub)
        line = ["curl", *trust, "-X", "POST", f"{hub.url}/R/{box.receipt()}"]
        told = subprocess.run(line, capture_output=True, text=True, timeout=30, check=True).stdout
        assert '"isNew":true' in told
        again = hub.client.post("/demo/devices/v2/receipts", json={"receipt": box.receipt()}, headers=JSON)
        assert again.status_code == 401
