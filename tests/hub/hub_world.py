"""A whole hub in this process: the real app on a real SQLite file, with a clock that the test turns."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import cache, partial
from pathlib import Path
from typing import Any

import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from firstlight import __version__
from firstlight.core.model import Beat, Facts, Hardware, Metrics, MissedBeat, Moment
from firstlight.wire.facts import facts_hash
from firstlight.wire.heartbeat import encode_beat
from firstlight.wire.redeem import RedeemRequest, encode_redeem, encode_take_back
from firstlight.wire.renewal import RenewRequest, encode_renewal, statement
from firstlight_hub.api.app import build_app
from firstlight_hub.api.parts import Parts, Site
from firstlight_hub.authorities import Authorities, Authority
from firstlight_hub.bundle_contents import Files
from firstlight_hub.bundle_file import write_bundle
from firstlight_hub.ingest.group_commit import Write
from firstlight_hub.issuer import Issuer
from firstlight_hub.offline import OfflinePayloads
from firstlight_hub.release_keys import ReleaseKeys
from firstlight_hub.service.access import Access
from firstlight_hub.service.beats import Beats
from firstlight_hub.service.broker import BrokerLink
from firstlight_hub.service.credentials import Credentials
from firstlight_hub.service.devices import Devices
from firstlight_hub.service.enrolling import Enrolling
from firstlight_hub.service.issuing import Issuing
from firstlight_hub.service.receipts import Receipts
from firstlight_hub.shelf import Shelf
from firstlight_hub.store.sqlite import SqliteStore
from firstlight_hub.tls import make_ca, make_key

WORKSPACES = {
    "demo": frozenset({"deviceAio", "roboflowLiteMode"}),
    "plain": frozenset[str](),
    "aio": frozenset({"deviceAio"}),
}
START_MS = 1_800_000_000_000
BOOT = "0123456789abcdef" * 2
FACTS = Facts("cam-3", "Linux", "6.1", "#1 SMP", "x86_64", "jetson", Hardware("arm", "orin", 8000, 64_000))
JSON = {"Content-Type": "application/json"}


class TurnedClock:
    """The hub's clock, turned by the test."""

    def __init__(self) -> None:
        self.now_ms = START_MS

    def __call__(self) -> int:
        """Now."""
        return self.now_ms

    def forward(self, seconds: float) -> None:
        """Lets time pass."""
        self.now_ms += round(seconds * 1000)


class Box:
    """A device's key pair, and what it sends."""

    def __init__(self, curve: ec.EllipticCurve | None = None) -> None:
        self.private = ec.generate_private_key(curve or ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "box")])
        csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(self.private, hashes.SHA256())
        self.csr_pem = csr.public_bytes(serialization.Encoding.PEM).decode()
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        spki = self.private.public_key().public_bytes(serialization.Encoding.DER, form)
        self.fingerprint = "sha256:" + hashlib.sha256(spki).hexdigest()
        self.sequence = 0

    def redeem_body(self, csr_pem: str = "", transport: str = "", credential: str = "") -> bytes:
        """The body of a redeem, with what the box asks for."""
        moment = Moment(BOOT, 12.0, START_MS / 1000)
        csr_pem = csr_pem or self.csr_pem
        return encode_redeem(RedeemRequest("ab" * 16, csr_pem, "0.1.0", moment, FACTS, transport, credential))

    def renewal_body(self, device_id: str, fresh: Box, workspace: str = "demo", csr_pem: str = "") -> bytes:
        """The body by which this box asks for a credential for the key pair of ``fresh``."""
        csr_pem = csr_pem or fresh.csr_pem
        said = statement(workspace, device_id, "cd" * 16, csr_pem)
        signature = self.private.sign(said, ec.ECDSA(hashes.SHA256()))
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        key = self.private.public_key().public_bytes(serialization.Encoding.DER, form)
        return encode_renewal(RenewRequest("cd" * 16, csr_pem, key, signature, "0.1.0", BOOT))

    def take_back_body(self) -> bytes:
        """The body of a take-back."""
        return encode_take_back(self.csr_pem, "0.1.0")

    def beat_body(
        self,
        facts: Facts | None = None,
        missed: tuple[MissedBeat, ...] = (),
        told: Facts = FACTS,
        sequence: int | None = None,
        boot_id: str = BOOT,
        asks: bool = False,
    ) -> bytes:
        """The body of the next beat, or of the one with that sequence number."""
        if sequence is None:
            self.sequence += 1
            sequence = self.sequence
        moment = Moment(boot_id, 60.0 * sequence, START_MS / 1000)
        return encode_beat(Beat(sequence, moment, Metrics(0.5, 0.25), "0.1.0", facts, facts_hash(told), missed, asks))


class HeardBroker:
    """Implements ``BrokerLink``: keeps what it was told, in order."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, ...]] = []

    def issued(self, device_id: str) -> None:
        """Notes it."""
        self.heard.append(("issued", device_id))

    def ended(self, device_id: str) -> None:
        """Notes it."""
        self.heard.append(("ended", device_id))

    def expel(self, device_id: str) -> None:
        """Notes it."""
        self.heard.append(("expel", device_id))

    def tell(self, workspace: str, device_id: str, body: bytes) -> None:
        """Notes it."""
        self.heard.append(("tell", workspace, device_id, body.decode()))

    def news(self) -> list[tuple[str, ...]]:
        """What it was told since the last time."""
        heard, self.heard = self.heard, []
        return heard


class AppClient:
    """Calls the app without a socket, in a loop of its own; the app's lifespan runs around it."""

    def __init__(self, portal: BlockingPortal, client: httpx.AsyncClient) -> None:
        self.portal = portal
        self._client = client

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        """One call."""
        return self.portal.call(partial(self._client.request, method, path, **more))


class World:
    """The hub, its parts, and an operator of workspace ``demo`` who talks to it."""

    def __init__(self, folder: Path, client: AppClient, parts: Parts, store: SqliteStore, clock: TurnedClock) -> None:
        self.folder = folder
        self.client = client
        self.parts = parts
        self.store = store
        self.clock = clock
        self.key = self.new_key()

    def new_key(self, workspace: str = "demo", scopes: list[str] | None = None, device_id: str | None = None) -> str:
        """A fresh key for the management API."""
        return self.parts.access.create_key(workspace, scopes, device_id, "")[1].reveal()

    def call(self, method: str, path: str, key: str | None = None, **more: object) -> httpx.Response:
        """One call of the management API, by default with the operator's key of ``demo``."""
        headers = {"Authorization": f"Bearer {self.key if key is None else key}"}
        return self.client.request(method, path, headers=headers, **more)

    def create(self, workspace: str = "demo", key: str | None = None, **fields: Any) -> httpx.Response:
        """Creates a device."""
        content = json.dumps({"device_name": "Dock cam 3", **fields})
        headers = {**JSON, "Authorization": f"Bearer {self.key if key is None else key}"}
        return self.client.request("POST", f"/{workspace}/devices/v2", content=content, headers=headers)

    def created(self, **fields: Any) -> tuple[str, str]:
        """Creates a device -> (device id, installId)."""
        answer = self.create(**fields)
        assert answer.status_code == 201, answer.text
        return answer.json()["deviceId"], answer.json()["installId"]

    def device(self, device_id: str) -> dict[str, object]:
        """A device as the operator sees it."""
        answer = self.call("GET", f"/demo/devices/v2/{device_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, object] = answer.json()
        return found

    def redeem(self, install_id: str, box: Box, body: bytes | None = None) -> httpx.Response:
        """Redeems an installId."""
        content = box.redeem_body() if body is None else body
        return self.client.request("POST", f"/devices/v2/{install_id}/redeem", content=content, headers=JSON)

    def beat(self, device_id: str, key: str, body: bytes, workspace: str = "demo") -> httpx.Response:
        """Sends a beat."""
        path, headers = f"/{workspace}/devices/v2/{device_id}/heartbeat", {**JSON, "Authorization": f"Bearer {key}"}
        return self.client.request("POST", path, content=body, headers=headers)

    def renew(self, device_id: str, box: Box, fresh: Box, body: bytes | None = None) -> httpx.Response:
        """Asks for a credential for the key pair of ``fresh``."""
        content = box.renewal_body(device_id, fresh) if body is None else body
        path = f"/demo/devices/v2/{device_id}/credential"
        return self.client.request("POST", path, content=content, headers=JSON)

    def enrolled(self, box: Box, **fields: Any) -> tuple[str, str]:
        """Creates a device and redeems its installId -> (device id, device key, "" where it has a certificate)."""
        device_id, install_id = self.created(**fields)
        answer = self.redeem(install_id, box)
        assert answer.status_code == 201, answer.text
        return device_id, answer.json().get("key", "")


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """Status and named reason of a no, which must have a sentence too."""
    error = answer.json()["error"]
    assert error["message"].endswith(".")
    assert answer.headers["content-type"] == "application/json"
    return answer.status_code, error["type"]


@cache
def authorities() -> Authorities:
    """The hub's CA, made once: it signs everything in these tests."""
    key = make_key()
    return Authorities(Authority(make_ca(key, datetime.fromtimestamp(START_MS / 1000, timezone.utc)), key))


@contextmanager
def world(
    folder: Path,
    *,
    take_back: bool = False,
    payloads: ReleaseKeys | None = None,
    write_beats: Write | None = None,
    brokers: Mapping[str, str] | None = None,
    broker: BrokerLink | None = None,
    usual: tuple[str, str] = ("http", "secret"),
    signs: bool = True,
) -> Iterator[World]:
    """A hub that lives as long as the block; ``write_beats`` may stand in for a disk that fails."""
    clock, store = TurnedClock(), SqliteStore(folder / "hub.sqlite3")
    try:
        small: Files = {"lib/firstlight/__init__.py": b"", "share/setup.sh": b""}
        write_bundle(folder, __version__, "x86_64", ("3.11", "3.12"), small, b"#!/bin/sh\n", lambda manifest: {})
        site = Site("https://hub.example:8443", "sha256//" + "A" * 43 + "=", "CA PEM\n", Shelf(folder), brokers or {})
        issuing = Issuing(clock, b"s" * 32, Issuer(authorities, 90) if signs else None, site.brokers, *usual)
        beats = Beats(store, clock, 60, 7, broker)
        maker = OfflinePayloads(payloads, site.url, site.pin, 30) if payloads else None
        parts = Parts(
            devices=Devices(store, clock, WORKSPACES, 86_400, maker, broker),
            access=Access(store, clock, WORKSPACES),
            enrolling=Enrolling(store, clock, issuing, take_back, broker),
            credentials=Credentials(store, clock, issuing, beats, broker),
            beats=beats,
            receipts=Receipts(store, clock, WORKSPACES, broker),
            site=site,
            now_ms=clock,
            window_s=300,
        )
        app = build_app(parts, write_beats or store.write_beats)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        calling = httpx.AsyncClient(transport=transport, base_url="https://hub.example:8443")
        with (
            start_blocking_portal() as portal,
            portal.wrap_async_context_manager(app.router.lifespan_context(app)),
            portal.wrap_async_context_manager(calling),
        ):
            yield World(folder, AppClient(portal, calling), parts, store, clock)
    finally:
        store.close()
