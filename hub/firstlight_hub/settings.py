"""``hub.toml``: every setting, its type, its default and what it means. A leaf: it imports errors and the core only."""

from __future__ import annotations

import ipaddress
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from firstlight.core.model import IDENTIFIER, parse_endpoint
from firstlight.errors import InvitationError, StateError, UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FEATURES = ("deviceAio", "roboflowLiteMode")
HOST_NAME = re.compile(r"[A-Za-z0-9._-]{1,253}\Z")

TEMPLATE = """\
# Settings of this Firstlight hub. A change counts from the next start of "firstlight-hub serve".

# Names and addresses under which boxes reach this hub; the first one stands in install commands.
# When this list changes, serve issues a new certificate with the same key: pins go on holding.
hosts = [{hosts}]

# Address and port to listen on.
listen = "0.0.0.0"
port = {port}

# The address to give to boxes, where it is not https://FIRST-HOST:PORT.
public_url = ""

# true: a proxy with a public certificate stands before the hub (public_url names it), and the hub speaks plain HTTP
# on this machine's loopback only. Not with mqtt = "mosquitto", whose certificate is of the hub's own CA.
behind_proxy = false

# Seconds between two beats of a device.
heartbeat_interval_s = 60

# A device is online up to and including that many seconds after its last beat.
online_window_s = 300

# Seconds until a fresh installId expires.
install_id_ttl_s = 86400

# AI1 devices in offline mode: days within which a payload may be scanned, and days within which the token in it, or
# its typed code, may be redeemed. The box may take a payload in on the first day and find a network a year later.
offline_payload_days = 30
offline_redeem_days = 400

# true: a device that this hub registered and then lost (restored backup) may register again with its key.
take_back = false

# Days that single beats are kept.
history_days = 7

# Over what devices beat, "http" or "mqtt", and what they show, "secret" or "certificate", where neither the operator
# nor the technician chose otherwise for a device. "websocket" (MQTT over a WebSocket) is chosen per device only.
transport = "http"
credential = "secret"

# Days that a device's certificate is good for; devices renew theirs between 60 and 75 % of them.
certificate_days = 90

# A CA of your own that signs devices and this hub, instead of the one that init made: PEM files, the certificate first
# and its chain after it. With MQTT it must sign nothing else: a broker knows a certificate by its name only.
ca_certificate = ""
ca_key = ""

# Further public keys whose releases boxes shall take as an upgrade, such as a maker's whose private key is kept
# offline: files with an Ed25519 key in PEM, relative to this folder. The hub's own key is always among them.
release_keys = []

# Addresses of proxies that may hand over a client certificate in the header below (as RFC 9440 has it, or as nginx
# escapes PEM).
trusted_proxies = []
client_certificate_header = "Client-Cert"

# MQTT: "off"; "mosquitto" (this hub starts one as its child, as with serve --mqtt); "external" (a mosquitto of yours,
# which reads the files in broker_files); "rabbitmq". docs/mqtt.md tells how to point a hub at a broker.
mqtt = "off"

# Ports for boxes; 0 = none. One for secrets and one for certificates, each plain MQTT in TLS or a WebSocket in TLS.
# RabbitMQ takes both kinds on one port; mosquitto takes no certificates on a WebSocket.
mqtt_port = 8883
mqtt_certificate_port = 8884
mqtt_websocket_port = 0
mqtt_websocket_certificate_port = 0

# Host under which boxes reach the broker, where it is not the first of hosts.
mqtt_host = ""

# For "external" and "rabbitmq": how this hub reaches the broker (mqtts://HOST:PORT or amqps://HOST:PORT/VHOST; mqtt://
# and amqp:// on this machine only), as whom (for "external" the hub adds a part that nobody can guess), and whose
# certificates it trusts there ("" = its own CA).
broker_url = ""
broker_user = "firstlight-hub"
broker_password_file = ""
broker_ca_file = ""

# For "external": the folder of the generated files, and the file with the broker's pid, which gets SIGHUP.
broker_files = ""
broker_pid_file = ""

# For "rabbitmq": its management API, http(s)://HOST:PORT; sessions of removed devices are ended there.
broker_management_url = ""

# true: one line for each request on standard output, without ids and keys.
access_log = false

# One table for each workspace. Features: deviceAio (AI1 devices), roboflowLiteMode (AI1 devices without a network).
[workspace.{workspace}]
features = ["deviceAio", "roboflowLiteMode"]
"""


class Settings(NamedTuple):
    """The settings, checked. ``workspaces`` maps each slug to its features; the rest as in ``TEMPLATE``."""

    hosts: tuple[str, ...]
    port: int
    workspaces: Mapping[str, frozenset[str]]
    listen: str = "0.0.0.0"  # noqa: S104  boxes come over the network: that is the hub's job
    public_url: str = ""
    behind_proxy: bool = False
    heartbeat_interval_s: int = 60
    online_window_s: int = 300
    install_id_ttl_s: int = 86_400
    offline_payload_days: int = 30
    offline_redeem_days: int = 400
    take_back: bool = False
    history_days: int = 7
    transport: str = "http"
    credential: str = "secret"
    certificate_days: int = 90
    ca_certificate: str = ""
    ca_key: str = ""
    release_keys: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    client_certificate_header: str = "Client-Cert"
    mqtt: str = "off"
    mqtt_port: int = 8883
    mqtt_certificate_port: int = 8884
    mqtt_websocket_port: int = 0
    mqtt_websocket_certificate_port: int = 0
    mqtt_host: str = ""
    broker_url: str = ""
    broker_user: str = "firstlight-hub"
    broker_password_file: str = ""
    broker_ca_file: str = ""
    broker_files: str = ""
    broker_pid_file: str = ""
    broker_management_url: str = ""
    access_log: bool = False


BOUNDS = {
    "port": (0, 65_535),
    "heartbeat_interval_s": (1, 86_400),
    "online_window_s": (1, 604_800),
    "install_id_ttl_s": (1, 31_536_000),
    "offline_payload_days": (1, 3650),
    "offline_redeem_days": (1, 3650),
    "history_days": (0, 3650),
    "certificate_days": (1, 3650),
    "mqtt_port": (0, 65_535),
    "mqtt_certificate_port": (0, 65_535),
    "mqtt_websocket_port": (0, 65_535),
    "mqtt_websocket_certificate_port": (0, 65_535),
}
CHOICES = {
    "transport": ("http", "mqtt"),
    "credential": ("secret", "certificate"),
    "mqtt": ("off", "mosquitto", "external", "rabbitmq"),
}
LISTS = ("hosts", "release_keys", "trusted_proxies")


def template(hosts: tuple[str, ...], port: int, workspace: str) -> str:
    """A commented ``hub.toml`` with every setting in it."""
    return TEMPLATE.format(hosts=", ".join(f'"{host}"' for host in hosts), port=port, workspace=workspace)


def check_host(host: str) -> str:
    """A host name or address as given, or UsageError."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        is_good = HOST_NAME.match(host) is not None
    else:
        is_good = "%" not in host  # a zone is this machine's own business
    if not is_good:
        raise UsageError("settings_invalid", f"{host[:80]!r} is not a host name or address.")
    return host


def check_workspace(slug: str) -> str:
    """A workspace's slug as given, or UsageError."""
    if not IDENTIFIER.match(slug):
        raise UsageError("settings_invalid", f"{slug[:80]!r} is not a workspace: use letters, digits, '-' and '_'.")
    return slug


def load(path: Path) -> Settings:
    """Reads and checks the file.

    Raises:
        StateError: ``settings_unreadable``.
        UsageError: ``settings_invalid``; the sentence names the setting.
    """
    try:
        read = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StateError("settings_unreadable", f"{path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError("settings_invalid", f"{path} is not TOML: {error}.") from None
    return parse(read)


def parse(read: Mapping[str, object]) -> Settings:
    """A TOML document -> ``Settings``. Raises UsageError as ``load``."""
    known = {*Settings._fields, "workspace"} - {"workspaces"}
    for name in read:
        if name not in known:
            raise UsageError("settings_invalid", f"hub.toml: there is no setting {name!r}.")
    plain = {name: _plain(name, value) for name, value in read.items() if name not in (*LISTS, "workspace")}
    if not read.get("hosts"):
        raise UsageError("settings_invalid", "hub.toml: hosts names no host.")
    hosts = tuple(check_host(host) for host in _texts("hosts", read["hosts"]))
    plain.setdefault("port", 8443)
    proxies = tuple(_texts("trusted_proxies", read.get("trusted_proxies", [])))
    if bad := [one for one in proxies if not _is_address(one)]:
        raise UsageError("settings_invalid", f"hub.toml: trusted_proxies: {bad[0][:80]!r} is not an address.")
    plain["trusted_proxies"] = proxies
    plain["release_keys"] = tuple(_texts("release_keys", read.get("release_keys", [])))
    settings = Settings(hosts=hosts, workspaces=_workspaces(read.get("workspace", {})), **plain)  # type: ignore[arg-type]
    return _check_address(settings)


def _plain(name: str, value: object) -> object:
    wanted = type(Settings._field_defaults.get(name, 0))
    if type(value) is not wanted:
        words = {bool: "true or false", int: "a whole number", str: "a text"}
        raise UsageError("settings_invalid", f"hub.toml: {name} is not {words[wanted]}.")
    if name in BOUNDS:
        low, high = BOUNDS[name]
        if not low <= int(str(value)) <= high:
            raise UsageError("settings_invalid", f"hub.toml: {name} is outside {low} to {high}.")
    if name in CHOICES and value not in CHOICES[name]:
        raise UsageError("settings_invalid", f"hub.toml: {name} is none of {', '.join(CHOICES[name])}.")
    return value


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _texts(name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise UsageError("settings_invalid", f"hub.toml: {name} is not a list of texts.")
    return tuple(value)


def _workspaces(value: object) -> dict[str, frozenset[str]]:
    found = {}
    for slug, table in value.items() if isinstance(value, dict) else ():
        if not isinstance(table, dict) or set(table) - {"features"}:
            raise UsageError("settings_invalid", f"hub.toml: workspace.{slug} has more than features.")
        features = frozenset(_texts(f"workspace.{slug}.features", table.get("features", [])))
        if unknown := sorted(features - set(FEATURES)):
            raise UsageError("settings_invalid", f"hub.toml: workspace.{slug} has an unknown feature {unknown[0]!r}.")
        found[check_workspace(slug)] = features
    if not found:
        raise UsageError("settings_invalid", "hub.toml: there is no [workspace.NAME].")
    return found


def _check_address(settings: Settings) -> Settings:
    if settings.behind_proxy and not settings.public_url.startswith("https://"):
        raise UsageError("settings_invalid", 'hub.toml: behind_proxy needs public_url = "https://...".')
    if settings.public_url:
        try:
            return settings._replace(public_url=parse_endpoint(settings.public_url).url)
        except InvitationError as error:
            raise UsageError("settings_invalid", f"hub.toml: public_url: {error.message}") from None
    return settings
