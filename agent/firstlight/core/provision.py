"""What an offline payload says, and what a box keeps of it until a platform has registered it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from firstlight.core.model import Endpoint, Invitation, Moment, Secret
else:
    from firstlight.core.record import NamedTuple


class Audience(NamedTuple):
    """Which boxes a payload is for; "" = any. Where several are given, all must fit.

    Args:
        device_type: as the setting ``device_type`` of the box names it.
        serial: of the machine, as ``firstlight facts`` shows it.
        key_hash: ``sha256:`` + hex of the device key's SubjectPublicKeyInfo.
    """

    device_type: str = ""
    serial: str = ""
    key_hash: str = ""


class Network(NamedTuple):
    """How the box is to reach a network; Wi-Fi where ``ssid`` is given, else the wired interface.

    Args:
        ssid: name of the Wi-Fi, "" = wired.
        passphrase: of the Wi-Fi, None = an open one.
        security: "wpa" (WPA2 or WPA3, as the access point has it), "sae" (WPA3 only), "wep" or "open".
        is_hidden: whether the Wi-Fi does not announce its name.
        address: static IPv4 or IPv6 address with its prefix length, "" = as the network gives it.
        gateway: "" without a static address or without a way out.
        dns: addresses of DNS servers.
    """

    ssid: str = ""
    passphrase: Secret | None = None
    security: str = "wpa"
    is_hidden: bool = False
    address: str = ""
    gateway: str = ""
    dns: tuple[str, ...] = ()


class Payload(NamedTuple):
    """The claims of an offline payload, parsed (docs/offline-payload.md).

    Args:
        issued_at_s, expires_at_s: seconds since 1970, by the signer's clock; after the second it is not taken in.
        nonce: 16 bytes, another one in each payload.
        platform: name in ``firstlight.platforms``.
        endpoint: where to redeem.
        pins: as in ``core.model.Trust``.
        token: what is redeemed once; None where the payload brings a finished credential.
        credential: a finished credential for platforms that give one at once: the device's secret; None otherwise.
        device_id, workspace, name: as the platform has them, "" = not said. With ``credential`` the first is given.
        transport: "http", "mqtt" or "websocket", "" = as the platform chooses.
        audience: which boxes it is for.
        network: None = the box has a network of its own, or none.
    """

    issued_at_s: int
    expires_at_s: int
    nonce: bytes
    platform: str
    endpoint: Endpoint
    pins: tuple[str, ...]
    token: Secret | None = None
    credential: Secret | None = None
    device_id: str = ""
    workspace: str = ""
    name: str = ""
    transport: str = ""
    audience: Audience | None = None
    network: Network | None = None


class Provision(NamedTuple):
    """What a box keeps on its disk from the moment it took an invitation in until the platform has registered it.

    Args:
        invitation: the road to the registration; its proof is a secret.
        device_id, workspace, name: as the payload said, "" = not known before the registration.
        code_hash: 64 hex digits, SHA-256 of the text that was taken in: the same text again changes nothing.
        source: where it came in: "picture", "camera", "stick", "serial scanner", "standard input".
        taken_at: when, by the box's clocks.
        key_fingerprint: of the device key, made before.
    """

    invitation: Invitation
    device_id: str
    workspace: str
    name: str
    code_hash: str
    source: str
    taken_at: Moment
    key_fingerprint: str
