"""Certificates and time: the server's is issued anew while the hub serves, and a wrong clock is named."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509

from firstlight import BUILT_AT_S
from firstlight.errors import FirstlightError
from firstlight_hub import tls
from firstlight_hub.authorities import Authorities
from firstlight_hub.client_certificate import accept_devices
from firstlight_hub.folder import HubFolder

CHECK_EVERY_S = 86_400.0
LOOK_EVERY_S = 3.0
AFTER_FAILURE_S = 3600.0
ENDING = timedelta(days=365)
RENEWED = "A new server certificate was issued; its key and pin stay."
LOG = logging.getLogger(__name__)


async def keep_certificate_fresh(
    folder: HubFolder, hosts: Sequence[str], context: ssl.SSLContext, say: Callable[[str], None]
) -> None:
    """Acts at the very moment when the certificate is due or a CA changed; runs until it is cancelled.

    Args:
        folder: whose certificate it is.
        hosts: what it must cover.
        context: what the hub serves with; new handshakes use what is loaded into it.
        say: takes one line when there is a new one.
    """
    loop = asyncio.get_running_loop()
    state = folder.ca_files.state()
    due_s = loop.time() + _until_due_s(folder)
    while True:
        await asyncio.sleep(min(max(due_s - loop.time(), 0.0), LOOK_EVERY_S))
        before, state = state, folder.ca_files.state()
        if state == before and loop.time() < due_s:
            continue
        try:
            if await asyncio.to_thread(folder.renew_certificate, hosts, datetime.now(timezone.utc)):
                context.load_cert_chain(folder.server_certificate, folder.server_key)
                say(RENEWED)
            accept_devices(context, folder.authorities())
            due_s = loop.time() + max(_until_due_s(folder), 1.0)
        except (FirstlightError, OSError) as error:  # ssl.SSLError is one of these
            LOG.warning("The server certificate could not be renewed, the hub tries again in an hour: %s", error)
            due_s = loop.time() + AFTER_FAILURE_S


def _until_due_s(folder: HubFolder) -> float:
    try:
        leaf = x509.load_pem_x509_certificate(folder.server_certificate.read_bytes())
    except (OSError, ValueError):
        return 0.0
    due = leaf.not_valid_after_utc - timedelta(days=tls.RENEW_DAYS) - datetime.now(timezone.utc)
    return min(max(due.total_seconds(), 0.0), CHECK_EVERY_S)


def clock_warning(ca_pem: str, now: datetime) -> str | None:
    """One sentence where this machine's clock and the hub's own CA do not go together, or None.

    Args:
        ca_pem: the hub's CA, or "" where it has none.
        now: aware UTC, by this machine's clock.
    """
    shown = f"This machine's clock says {now:%Y-%m-%d %H:%M} UTC"
    if now.timestamp() < BUILT_AT_S:
        return f"{shown}, which is before this version was made: set it, or boxes will refuse the certificates."
    if not ca_pem:
        return None
    ca = x509.load_pem_x509_certificate(ca_pem.encode())
    begins, ends = ca.not_valid_before_utc, ca.not_valid_after_utc
    if begins <= now <= ends:
        return None
    return f"{shown}, but the hub's CA is valid from {begins:%Y-%m-%d} to {ends:%Y-%m-%d}: check the clock first."


def ending_warning(known: Authorities, folder: Path, now: datetime) -> str | None:
    """One sentence where the hub's CA ends within a year and has no successor, or None."""
    ends = known.present.certificate.not_valid_after_utc
    if known.successor is not None or not now <= ends <= now + ENDING:
        return None
    how = f"firstlight-hub ca new --dir {folder}"
    return f"The hub's CA ends on {ends:%Y-%m-%d}: boxes need time to learn of another ({how})."
