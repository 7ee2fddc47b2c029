"""Who may do what on RabbitMQ: the questions of its HTTP authentication backend, answered from the hub's records.

What 3.10 asks (tried): ``user`` with ``password`` (perhaps empty) when a name and a password came, and without that
field only after a TLS handshake with a certificate, whose whole subject is then the name; ``vhost`` with ``client_id``
from MQTT and without it from AMQP; ``resource`` for queues and exchanges; ``topic`` for each routing key, a last will's
too.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl

from firstlight.core.model import IDENTIFIER, Secret
from firstlight.errors import StateError
from firstlight.wire import topics
from firstlight_hub.model import Device, certificate_hash, digest
from firstlight_hub.private_files import damaged, read_private, write_private
from firstlight_hub.store import Store

ALLOW, DENY = "allow", "deny"
HUB_TAGS = "administrator"  # only an administrator may end the sessions of others
EXCHANGE = "amq.topic"
MAX_FIELDS = 16
TOKEN_BYTES = 32
TOKEN = re.compile(r"[0-9a-f]{64}\Z")
SUBJECT = re.compile(r"SERIALNUMBER=([0-9]{1,9}),CN=([^,=]{1,64}),O=([^,=]{1,64})\Z")
ANSWERS = re.compile(r"(\*|now|[0-9]{1,16})\Z")

Form = Mapping[str, str]


def broker_token(path: Path) -> Secret:
    """What RabbitMQ must know to ask; made here where there is none yet. Raises StateError."""
    try:
        if not path.exists():
            write_private(path, secrets.token_hex(TOKEN_BYTES).encode())
    except OSError as error:
        raise StateError("state_unwritable", f"{path} cannot be written: {error.strerror}.") from None
    token = read_private(path).decode("latin-1").strip()
    if not TOKEN.match(token):
        raise damaged(path, "is damaged")
    return Secret(token)


class HubLogin(NamedTuple):
    """How the hub itself logs in, and the virtual host that it and its devices use."""

    user: str
    password: Secret
    vhost: str = "/"


class Login(NamedTuple):
    """Whose name it is: a device's id, or the subject of its certificate, which says workspace and generation too."""

    device_id: str
    workspace: str | None = None
    generation: int = 0


def subject_name(workspace: str, device_id: str, generation: int) -> str:
    """The user name that RabbitMQ makes of the subject of a device's certificate."""
    return f"SERIALNUMBER={generation},CN={device_id},O={workspace}"


def read_name(name: str) -> Login | None:
    """A user name -> whose, or None for one that no device can have."""
    if IDENTIFIER.match(name):
        return Login(name)
    found = SUBJECT.match(name)
    if found and IDENTIFIER.match(found[2]) and IDENTIFIER.match(found[3]):
        return Login(found[2], found[3], int(found[1]))
    return None


def read_form(body: bytes) -> dict[str, str] | None:
    """The fields of a question, or None for what RabbitMQ does not send, such as a field twice."""
    try:
        fields = parse_qsl(body.decode("ascii"), True, True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError:
        return None
    found = dict(fields)
    return found if len(found) == len(fields) else None


class Logins:
    """Answers RabbitMQ.

    Args:
        store: the hub's records, read anew for each question: a credential that has ended is refused at once.
        hub: how the hub itself logs in.
    """

    def __init__(self, store: Store, hub: HubLogin) -> None:
        self._store = store
        self._hub = hub

    def decide(self, question: str, form: Form) -> str:
        """``allow`` (for the hub with its tags) or ``deny``, to a question of ``RULES``.

        Raises:
            StateError, UnreachableError: the store cannot be read.
        """
        name = form.get("username", "")
        if question != "user" and form.get("vhost") != self._hub.vhost:
            return DENY
        if name == self._hub.user:
            return self._decide_hub(question, form)
        login = read_name(name)
        if login is None:
            return DENY
        with self._store.reading() as view:
            device = view.device(login.device_id)
        if device is None or device.revoked_at_ms is not None or login.workspace not in (None, device.workspace):
            return DENY
        return ALLOW if RULES[question](device, login, form) else DENY

    def _decide_hub(self, question: str, form: Form) -> str:
        if question != "user":
            return ALLOW
        is_right = hmac.compare_digest(form.get("password", "").encode(), self._hub.password.reveal().encode())
        return f"{ALLOW} {HUB_TAGS}" if is_right and form.get("password") else DENY


def _user(device: Device, login: Login, form: Form) -> bool:
    password = form.get("password")
    if login.workspace is None:
        if not password:  # empty, or a certificate without the whole subject: neither proves who it is
            return False
        return digest(password) in (device.key_hash, device.candidate_hash)
    if password is not None:  # somebody typed a subject
        return False
    credentials = (
        (device.key_generation, device.key_fingerprint, device.key_hash),
        (device.candidate_generation, device.candidate_fingerprint, device.candidate_hash),
    )
    return any(
        generation == login.generation and fingerprint is not None and hashed == certificate_hash(fingerprint)
        for generation, fingerprint, hashed in credentials
    )


def _vhost(device: Device, login: Login, form: Form) -> bool:
    return form.get("client_id") == device.id  # there is none over AMQP, which is not for devices


def _resource(device: Device, login: Login, form: Form) -> bool:
    kind, name, permission = form.get("resource"), form.get("name"), form.get("permission")
    if kind == "queue":
        return name in [f"mqtt-subscription-{device.id}qos{qos}" for qos in (0, 1)]
    return kind == "exchange" and name == EXCHANGE and permission in ("read", "write")


def _topic(device: Device, login: Login, form: Form) -> bool:
    if form.get("name") != EXCHANGE:
        return False
    key, permission = form.get("routing_key", ""), form.get("permission")
    if permission == "write":
        found = topics.read(key)
        return found is not None and "/" not in key and found[:2] == (device.workspace, device.id)
    own = topics.answers(device.workspace, device.id).replace("/", ".")[:-1]
    return permission == "read" and key.startswith(own) and ANSWERS.match(key[len(own) :]) is not None


RULES = {"user": _user, "vhost": _vhost, "resource": _resource, "topic": _topic}
