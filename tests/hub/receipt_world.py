"""A box without a network: it takes an offline payload in, and gives receipts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from firstlight.core.model import Facts, Metrics, MissedBeat, Moment, Secret
from firstlight.core.provision import Payload
from firstlight.wire import payload
from firstlight.wire.receipt import KeptBeats, Receipt, Told, bare, digest_of, encode, hint_of, proof_of
from firstlight_hub.release_keys import load
from tests.hub.hub_world import BOOT, JSON, START_MS, Box, World, world

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
PATH = "/demo/devices/v2"
BEAT = MissedBeat(7, Moment(BOOT, 60.0, START_MS / 1000), Metrics(), "not_registered")


class OfflineBox(Box):
    """A box that keeps a token.

    Args:
        token: as it was taken in, None = it is registered.
        device_id: as the payload said, "" = a typed code, which says nothing.
    """

    def __init__(self, token: Secret | None, device_id: str) -> None:
        super().__init__()
        self.token = token
        self.device_id = device_id
        self.counter = 0
        public = self.private.public_key()
        self.public_key = public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)

    def sign(self, message: bytes) -> bytes:
        """ECDSA with SHA-256, DER."""
        return self.private.sign(message, ec.ECDSA(hashes.SHA256()))

    def receipt(self, wall_s: float = START_MS / 1000, **changes: Any) -> str:
        """The next receipt, Base32."""
        self.counter += 1
        return bare(encode(self.said(wall_s)._replace(**changes), self.sign))

    def said(self, wall_s: float) -> Receipt:
        """What the next receipt says."""
        return Receipt(
            workspace="demo" if self.device_id else "",
            device_id=self.device_id,
            public_key=self.public_key,
            counter=self.counter,
            moment=Moment(BOOT, 12.0, wall_s),
            told=Told(True),
            state="provisioned",
            reason="not_registered",
            agent_version="0.3.0",
            facts=Facts(hostname="cam-3", type="jetson", architecture="aarch64"),
            facts_hash="f" * 16,
            metrics=Metrics(0.5),
            beats=KeptBeats(1, 7, 7, digest_of([BEAT])),
            proof=proof_of(self.token, self.public_key, self.device_id) if self.token else b"",
            hint=hint_of(self.token) if self.token and not self.device_id else b"",
        )


def opened(text: str, folder: Path) -> Payload:
    """A payload as a box reads it that trusts the hub's keys."""
    return payload.decode(text, load(folder).trusted()).payload


def invited(hub: World, **fields: Any) -> tuple[dict[str, Any], OfflineBox]:
    """Creates an offline device -> create's answer, and a box that took its payload in."""
    answer = hub.create(device_type="ai1", offline_mode=True, **fields)
    assert answer.status_code == 201, answer.text
    body = answer.json()
    said = opened(body["offlineProvisioningQrPayload"], hub.folder)
    return body, OfflineBox(said.token, said.device_id)


def report(hub: World, text: str, headers: dict[str, str] | None = None) -> httpx.Response:
    """What a phone or a program posts."""
    return hub.client.request("POST", f"/R/{text}", headers=headers)


def imported(hub: World, text: str, workspace: str = "demo", key: str | None = None) -> httpx.Response:
    """What the desk posts."""
    headers = {**JSON, "Authorization": f"Bearer {key or hub.key}"}
    content = json.dumps({"receipt": text})
    return hub.client.request("POST", f"/{workspace}/devices/v2/receipts", content=content, headers=headers)


@contextmanager
def offline_world(folder: Path, **more: Any) -> Iterator[World]:
    """A hub that makes offline payloads."""
    with world(folder, payloads=load(folder), **more) as hub:
        yield hub
