"""Certificates and time: renewed while the hub serves, and a wrong clock is named."""

from __future__ import annotations

import ssl
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509

from firstlight_hub import tls
from firstlight_hub.authorities import Authorities, Authority
from firstlight_hub.folder import HubFolder, write_private
from firstlight_hub.renewal import RENEWED, clock_warning, ending_warning
from tests.hub.served import Served, make

MADE = datetime(2026, 12, 1, tzinfo=timezone.utc)


def served_certificate(hub: Served) -> x509.Certificate:
    """What a fresh handshake shows."""
    pem = ssl.get_server_certificate(("127.0.0.1", hub.told["port"]))
    return x509.load_pem_x509_certificate(pem.encode())


def test_certificate_is_renewed_while_the_hub_serves(tmp_path: Path) -> None:
    """When the day comes, new handshakes get a fresh certificate for the same key, without a restart."""
    folder = HubFolder(tmp_path / "hub")
    key = make(folder.path)
    with Served(folder.path, key):
        pass  # it makes its bundle once, which takes time
    ca = x509.load_pem_x509_certificate(folder.ca_pem().encode())
    ca_key, public = (tls.read_key((folder.path / name).read_bytes()) for name in ("ca.key", "server.key"))
    lives = timedelta(days=tls.LEAF_DAYS - tls.RENEW_DAYS) - tls.BACKDATED
    due = datetime.now(timezone.utc) + timedelta(seconds=12)  # the hub listens before that, even on a busy machine
    old = tls.make_leaf(ca, ca_key, public.public_key(), ("127.0.0.1",), due - lives)
    write_private(folder.server_certificate, tls.certificate_pem(old))
    with Served(folder.path, key) as hub:
        assert served_certificate(hub).serial_number == old.serial_number
        assert hub.process.stdout is not None
        assert any(RENEWED in line for line in hub.process.stdout)
        fresh = served_certificate(hub)
        assert fresh.serial_number != old.serial_number
        assert fresh.public_key() == old.public_key()
        assert tls.leaf_fits(fresh, ("127.0.0.1",), datetime.now(timezone.utc))
        with hub.connect() as client:
            assert client.get("/health").status_code == 200


@pytest.mark.parametrize(
    ("now", "part"),
    [
        (MADE, None),
        (datetime(1970, 1, 1, tzinfo=timezone.utc), "before this version was made"),
        (MADE - timedelta(days=3), "valid from 2026-11-30"),
        (MADE + timedelta(days=21 * 365), "valid from 2026-11-30"),
    ],
)
def test_wrong_clock_is_named(now: datetime, part: str | None) -> None:
    """One sentence when the clock is before this version or the CA outside its dates, none otherwise."""
    pem = tls.certificate_pem(tls.make_ca(tls.make_key(), MADE)).decode()
    warning = clock_warning(pem, now)
    if part is None:
        assert warning is None
    else:
        assert warning is not None
        assert part in warning
        assert "\n" not in warning
    assert clock_warning("", MADE) is None


@pytest.mark.parametrize(("years", "is_said"), [(0, False), (18.5, False), (19.5, True), (21, False)])
def test_end_of_the_ca_is_said_in_time(years: float, is_said: bool) -> None:
    """Within its last year, while it has no successor; once it has ended the other warning says more."""
    key = tls.make_key()
    known = Authorities(Authority(tls.make_ca(key, MADE), key))
    now = MADE + timedelta(days=years * 365)
    assert (
        "ends on 2046-11-25: boxes need time to learn of another (firstlight-hub ca new --dir /srv/hub)"
        in (ending_warning(known, Path("/srv/hub"), now) or "")
    ) is is_said
    assert ending_warning(known._replace(successor=known.present), Path("/srv/hub"), now) is None
