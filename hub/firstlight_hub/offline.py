"""Offline payloads: what an AI1 device in offline mode is provisioned with, signed by the hub's oldest release key."""

from __future__ import annotations

import secrets

from firstlight.core.model import Secret, parse_endpoint
from firstlight.core.provision import Payload
from firstlight.errors import InvitationError
from firstlight.wire import payload, typed_code
from firstlight.wire.payload_claims import NONCE_BYTES
from firstlight_hub.model import Device, OfflineInvitation, Refusal
from firstlight_hub.release_keys import ReleaseKeys
from firstlight_hub.service.devices import OfflineWish

DAY_S = 86_400
NAME_CHARACTERS = 64  # a longer name would cost more of the symbol than it is worth


class OfflinePayloads:
    """Implements ``service.devices.QrPayloads``.

    Args:
        keys: the oldest one signs: boxes that were imaged before a change of keys know no other.
        url: where boxes reach this hub.
        pin: of its key, or None behind a public certificate.
        payload_days: how long a payload may be taken in.
    """

    def __init__(self, keys: ReleaseKeys, url: str, pin: str | None, payload_days: int) -> None:
        self._key_id, self._key = keys.oldest()
        self._endpoint = parse_endpoint(url)
        self._pins = (pin,) if pin else ()
        self._lives_s = payload_days * DAY_S

    def invite(
        self, device: Device, token: Secret, at_ms: int, ends_at_ms: int, wish: OfflineWish
    ) -> OfflineInvitation:
        """As ``QrPayloads.invite``."""
        issued_at_s = at_ms // 1000
        expires_at_s = min(issued_at_s + self._lives_s, ends_at_ms // 1000)
        said = Payload(
            issued_at_s=issued_at_s,
            expires_at_s=expires_at_s,
            nonce=secrets.token_bytes(NONCE_BYTES),
            platform="hub",
            endpoint=self._endpoint,
            pins=self._pins,
            token=token,
            device_id=device.id,
            workspace=device.workspace,
            name="".join(char for char in device.name if char.isprintable())[:NAME_CHARACTERS].strip(),
            audience=wish.audience,
            network=wish.network,
        )
        try:
            text = payload.encode(said, self._key_id, self._key.sign)
        except InvitationError as error:
            why = error.message.removeprefix("The offline payload cannot be read: ")
            raise Refusal("bad_request", f"No box could take such a payload in: {why}") from None
        return OfflineInvitation(Secret(text), expires_at_s * 1000, Secret(typed_code.make(token)), ends_at_ms)
