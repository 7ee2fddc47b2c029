"""The files that mosquitto reads: configuration, passwords, access list and certificates; each whole or not at all.

Written for mosquitto 2.0.11 (Debian 12); mosquitto.conf(5) and mosquitto_passwd(1) describe the forms.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import NamedTuple

from cryptography import x509

from firstlight.core.model import Secret
from firstlight.errors import StateError
from firstlight.wire.topics import PREFIX
from firstlight_hub.tls import BACKDATED

CONF, PASSWORDS, ACL, CRL, CA = "mosquitto.conf", "passwords", "acl", "crl.pem", "ca.pem"
SERVER_CERTIFICATE, SERVER_KEY = "server.pem", "server.key"
SOCKET = "hub.sock"
MAX_PACKET_BYTES = 65_536
QUEUED_BYTES = 268_435_456
CRL_END = b"-----END X509 CRL-----\n"

HEAD = f"""\
# Written by firstlight-hub at each start; changes made here are lost.
per_listener_settings false
allow_anonymous false
password_file {{folder}}/{PASSWORDS}
acl_file {{folder}}/{ACL}

# What the broker took while the hub was away waits here. It is saved when mosquitto ends, also when the hub was killed;
# the interval bounds what a power cut can cost. It may be short: while the hub reads there is next to nothing to save.
persistence true
persistence_location {{folder}}/
autosave_interval 30
persistent_client_expiration 14d

# The hub's own receive maximum bounds what is on its way; the rest queues, about 600,000 beats of 400 bytes.
max_inflight_messages 0
max_queued_messages 0
max_queued_bytes {QUEUED_BYTES}
max_packet_size {MAX_PACKET_BYTES}

# A connection that sends no CONNECT is cut after 90 s (mosquitto's own); one that wants no keepalive is not taken.
max_keepalive 65535
retain_available false
set_tcp_nodelay true
sys_interval 0
log_dest stderr
log_type error
log_type warning
log_type notice
log_type information
connection_messages false
"""
ACCESS = f"""\
# A device: its own beats, its own last will, its own answers. %u is the user name that was proved.
pattern write {PREFIX}/+/%u/heartbeat
pattern write {PREFIX}/+/%u/gone
pattern read {PREFIX}/+/%u/answer/+

user {{user}}
topic readwrite {PREFIX}/#
"""


class Listener(NamedTuple):
    """A port for devices; ``has_certificates``: they show one, otherwise user name and password."""

    port: int
    has_certificates: bool = False
    is_websocket: bool = False


class Source(NamedTuple):
    """Where the content of the files comes from.

    Args:
        secret: the key of a device, or None where it has none or a certificate.
        secrets: every device that has a key, with it.
        crl: every CA's list of revoked certificates, PEM, as of an instant.
        trust_pem: the CAs whose device certificates count, PEM.
        server_certificate: path of the PEM file with the server's certificate and chain.
        server_key: path of its private key.
    """

    secret: Callable[[str], Secret | None]
    secrets: Callable[[], Iterable[tuple[str, Secret]]]
    crl: Callable[[datetime], bytes]
    trust_pem: Callable[[], str]
    server_certificate: Path
    server_key: Path


def configuration(folder: Path, address: str, listeners: Iterable[Listener]) -> str:
    """``mosquitto.conf`` for the hub's child: one socket for the hub in its private folder, one listener a port.

    ``use_username_as_clientid`` stands inside each listener: outside of them it opens port 1883 to all (tried).
    """
    parts = [HEAD.format(folder=folder)]
    if os.geteuid() == 0:  # otherwise mosquitto turns into its own user, who may not read the hub's folder
        parts.append("user root\n")
    parts.append(f"\n# The hub itself; nobody else can enter this folder.\nlistener 0 {SOCKET}\n")
    parts.extend(_listener(folder, address, one) for one in listeners)
    return "".join(parts)


def _listener(folder: Path, address: str, listener: Listener) -> str:
    lines = [
        f"\nlistener {listener.port}" + ("" if address in ("", "::") else f" {address}"),
        "use_username_as_clientid true",
        f"certfile {folder}/{SERVER_CERTIFICATE}",
        f"keyfile {folder}/{SERVER_KEY}",
        "tls_version tlsv1.2",
    ]
    if listener.is_websocket:
        lines.append("protocol websockets")
    if listener.has_certificates:
        lines += [f"cafile {folder}/{CA}", f"crlfile {folder}/{CRL}"]
        lines += ["require_certificate true", "use_identity_as_username true"]
    return "\n".join(lines) + "\n"


def access_list(user: str, barred: Iterable[str] = ()) -> str:
    """The ACL file; ``user`` is the hub's own, which no device can have and nobody guesses.

    Of devices that are ``barred`` mosquitto takes nothing: it looks at a user's own lines before the patterns.
    """
    return ACCESS.format(user=user) + "".join(f"\nuser {one}\ntopic deny {PREFIX}/#\n" for one in sorted(barred))


def password_line(user: str, secret: Secret) -> str:
    """One line of the password file, as mosquitto_passwd writes it: PBKDF2-HMAC-SHA512 with a salt.

    One round is enough and honest: the secrets are 256 random bits, which nobody tries out, and mosquitto repeats the
    rounds for every connected device at each reload. The salt comes from the secret, so that a line stays the same.
    """
    key = secret.reveal().encode()
    salt = hashlib.sha256(b"salt|" + key).digest()[:12]
    hashed = hashlib.pbkdf2_hmac("sha512", key, salt, 1)
    return f"{user}:$7$1${base64.b64encode(salt).decode()}${base64.b64encode(hashed).decode()}\n"


class Files:
    """The files in one folder, kept up to date. One thread at a time.

    Args:
        folder: where; made 0700 if it is not there.
        source: what they say.
        hub: the hub's own user name and password.
        mode: of the files; 0640 where a mosquitto of another user reads them by its group.
    """

    def __init__(self, folder: Path, source: Source, hub: tuple[str, Secret], mode: int = 0o600) -> None:
        self.folder = folder
        self.probe: tuple[str, Secret] | None = None  # a further user, whom the access list gives nothing
        self.barred: set[str] = set()  # devices
        self._source = source
        self._hub = hub
        self._mode = mode
        self._lines: dict[str, str] = {}
        self._is_changed = False

    def write(
        self,
        device_ids: Iterable[str] | None = None,
        conf: str | None = None,
    ) -> bool:
        """Writes what changed.

        Args:
            device_ids: whose secrets to look at, None = everybody's.
            conf: the configuration, where mosquitto is the hub's child.

        Returns:
            whether anything did.

        Raises:
            StateError: ``state_unwritable``, and as the source.
        """
        if device_ids is None:
            self._lines = {device_id: password_line(device_id, key) for device_id, key in self._source.secrets()}
        for device_id in device_ids or ():
            if key := self._source.secret(device_id):
                self._lines[device_id] = password_line(device_id, key)
            else:
                self._lines.pop(device_id, None)
        self._is_changed = False
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            if conf is not None:
                self._put(CONF, conf.encode())
            self._put(ACL, access_list(self._hub[0], tuple(self.barred)).encode())
            ours = [password_line(*one) for one in (self._hub, self.probe) if one]
            self._put(PASSWORDS, "".join((*ours, *self._lines.values())).encode())
            self._put(CA, self._source.trust_pem().encode())
            self._put(SERVER_CERTIFICATE, self._source.server_certificate.read_bytes())
            self._put(SERVER_KEY, self._source.server_key.read_bytes())
            self._put_crl()
        except OSError as error:
            raise StateError("state_unwritable", f"{self.folder} cannot be written: {error.strerror}.") from None
        return self._is_changed

    def _put_crl(self) -> None:
        """A new list only where something changed, and then with a later date.

        Of two lists of one CA OpenSSL takes the one with the later date, in whole seconds. ``make_crl`` dates them a
        day back, so a few seconds ahead do no harm. A reload of mosquitto 2.0 lets go of the list before (measured: 10
        reloads with 100,000 revoked, 39 MB throughout).
        """
        path, now = self.folder / CRL, datetime.now(timezone.utc).replace(microsecond=0)
        old = read_lists(path.read_bytes()) if path.exists() else []
        if old:
            made_at = max(one.last_update_utc for one in old) + BACKDATED
            if _said(old) == _said(read_lists(self._source.crl(made_at))):
                return
            now = max(now, made_at + timedelta(seconds=1))
        self._put(CRL, self._source.crl(now))

    def _put(self, name: str, content: bytes) -> None:
        """Not synced: all of it is written again when the hub starts."""
        path, fresh = self.folder / name, self.folder / f".{name}.new"
        with contextlib.suppress(FileNotFoundError):
            if path.read_bytes() == content:
                return
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, self._mode), "wb") as file:
            os.fchmod(file.fileno(), self._mode)
            file.write(content)
        fresh.replace(path)
        self._is_changed = True


def read_lists(pem: bytes) -> list[x509.CertificateRevocationList]:
    """PEM -> the lists of revoked certificates in it; what cannot be read is left out, and so written anew."""
    found = []
    for part in pem.split(CRL_END)[:-1]:
        with contextlib.suppress(ValueError):
            found.append(x509.load_pem_x509_crl(part + CRL_END))
    return found


def _said(lists: Iterable[x509.CertificateRevocationList]) -> list[bytes]:
    return [one.tbs_certlist_bytes for one in lists]  # the signature differs each time
