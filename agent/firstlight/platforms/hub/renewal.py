"""Renewing a credential in the hub's dialect: the present key signs for the next one. Fields: docs/protocol.md."""

from __future__ import annotations

from firstlight import __version__
from firstlight.core.exchange import HttpCall, HttpReply
from firstlight.core.model import Invitation, Registration, Secret
from firstlight.errors import UnreachableError
from firstlight.platforms.hub import device
from firstlight.wire.bounded import MAX_REPLY_BYTES
from firstlight.wire.renewal import RenewRequest, encode_renewal, statement

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firstlight.core.interfaces import Attempt, KeyMaterial


def renew(registration: Registration, attempt: Attempt, present: KeyMaterial, boot_id: str) -> HttpCall:
    """``POST /{workspace}/devices/v2/{deviceId}/credential``: needs the present key, and nothing else of the device.

    Args:
        registration: the present one.
        attempt: with the next key's request.
        present: the key of the registration.
        boot_id: of this boot.
    """
    signed = statement(registration.workspace, registration.device_id, attempt.attempt_id, attempt.csr_pem)
    request = RenewRequest(
        attempt.attempt_id, attempt.csr_pem, present.public_der, present.sign(signed), __version__, boot_id
    )
    url = f"{registration.endpoint.url}/{registration.workspace}/devices/v2/{registration.device_id}/credential"
    return HttpCall("POST", url, (device.JSON,), encode_renewal(request), MAX_REPLY_BYTES)


def read_renewed(registration: Registration, attempt: Attempt, reply: HttpReply) -> Registration:
    """The answer to ``renew`` -> the candidate. Where the hub is, and whom to trust, is never changed by a renewal.

    Raises:
        RefusedError: the hub named a permanent reason.
        UnreachableError: anything that may pass, and an answer that is about another device.
    """
    invitation = Invitation(registration.platform, registration.endpoint, registration.trust, Secret(""))
    if reply.status not in (200, 201):  # a no is about the device as it is: a tombstone names its present key
        raise device.read_no(reply, registration.key_fingerprint)
    found = device.read_redeemed(invitation, attempt, reply)
    if (found.workspace, found.device_id) != (registration.workspace, registration.device_id):
        raise UnreachableError("reply_malformed", "The hub's answer is about another device.")
    return found._replace(endpoint=registration.endpoint, trust=registration.trust)
