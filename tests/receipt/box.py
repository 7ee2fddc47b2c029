"""A box that was provisioned, and receipts of it, without any hub."""

from __future__ import annotations

from pathlib import Path

from firstlight.core.model import (
    Credential,
    Facts,
    Invitation,
    Metrics,
    Moment,
    Registration,
    Secret,
    Trust,
    parse_endpoint,
)
from firstlight.core.provision import Provision
from firstlight.system import provision_file
from firstlight.system.keys import FileKey, KeyFile
from firstlight.system.store import StateDirectory
from firstlight.wire import receipt as wire
from firstlight.wire.receipt import KeptBeats, Receipt, Told

TOKEN = Secret("0123456789abcdef")
ENDPOINT = parse_endpoint("https://hub.site.example:8443")
BOOT = "ab" * 16


class Keys:
    """A device key that lives in memory."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self.key: FileKey = KeyFile().make_or_load(self)
        self.public = wire.compressed(self.key.public_der)

    def read_text(self, name: str) -> str | None:
        """As ``core.interfaces.TextStore``."""
        return self._texts.get(name)

    def write_text(self, name: str, text: str) -> None:
        """As ``core.interfaces.TextStore``."""
        self._texts[name] = text


def a_receipt(keys: Keys, **changes: object) -> Receipt:
    """A receipt of a provisioned box with a full spool: as large as they usually get."""
    usual = Receipt(
        workspace="site-nord",
        device_id="cam-ladder-7",
        public_key=keys.public,
        counter=12,
        moment=Moment(BOOT, 1_234_567, 1_795_000_000),
        told=Told(is_trusted=True, at_s=1_794_900_000, ago_s=86_000),
        state="provisioned",
        reason="",
        agent_version="0.3.0",
        facts=Facts("edge-line-7", type="jetson", architecture="aarch64"),
        facts_hash="00112233aabbccdd",
        metrics=Metrics(0.5, 0.312, 0.42, 48.5),
        beats=KeptBeats(1440, 1_234_000, 1_235_440, b"digest-of-beats!"),
        proof=wire.proof_of(TOKEN, keys.public, "cam-ladder-7"),
    )
    return usual._replace(**changes)  # type: ignore[arg-type]


def provisioned(folder: Path, device_id: str = "cam-ladder-7") -> StateDirectory:
    """The state directory of a box that took a payload in."""
    store = StateDirectory(str(folder))
    store.prepare()
    key = KeyFile().make_or_load(store)
    trust = Trust(pins=("sha256//" + "A" * 43 + "=",))
    provision = Provision(
        invitation=Invitation("hub", ENDPOINT, trust, TOKEN),
        device_id=device_id,
        workspace="site-nord" if device_id else "",
        name="Cam",
        code_hash="0" * 64,
        source="stick",
        taken_at=Moment(BOOT, 1.0, 1_795_000_000.0),
        key_fingerprint=key.key_fingerprint,
    )
    provision_file.save(store, provision_file.Kept(provision))
    return store


def registered(folder: Path, platform: str = "hub") -> StateDirectory:
    """The state directory of a box that is enrolled."""
    store = StateDirectory(str(folder))
    store.prepare()
    key = KeyFile().make_or_load(store)
    secret = Credential("secret", Secret("s" * 32))
    store.save_registration(
        Registration(
            platform, ENDPOINT, Trust(), "site-nord", "cam-1", secret, 60, key.key_fingerprint, key.csr_pem, 1.0
        )
    )
    return store
