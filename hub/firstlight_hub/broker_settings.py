"""What the settings about MQTT may be together: looked at before the hub listens, each wrong pairing named."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from cryptography import x509

from firstlight.core.model import parse_broker
from firstlight.errors import InvitationError, StateError, UsageError
from firstlight_hub.authorities import Authorities, Authority
from firstlight_hub.settings import Settings, check_host

PORTS = ("mqtt_port", "mqtt_certificate_port", "mqtt_websocket_port", "mqtt_websocket_certificate_port")
NEEDED = {
    "external": ("broker_url", "broker_files", "broker_password_file"),
    "rabbitmq": ("broker_url", "broker_management_url", "broker_password_file"),
}
MOSQUITTOS = ("mosquitto", "external")


def check_broker(settings: Settings, is_plain: bool) -> None:
    """Whether these settings can serve boxes.

    Args:
        settings: each one checked by itself, changed by the command line.
        is_plain: whether the hub speaks plain HTTP on the loopback.

    Raises:
        UsageError: ``settings_invalid``; the sentence names the settings.
    """
    if settings.credential == "certificate" and is_plain and not settings.trusted_proxies:
        raise bad('credential = "certificate" without TLS of the hub\'s own needs trusted_proxies')
    if settings.mqtt == "off":
        if settings.transport == "mqtt":
            raise bad('transport = "mqtt" needs a broker: mqtt is "off"')
        return
    if settings.behind_proxy and settings.mqtt == "mosquitto":
        raise bad(
            "behind_proxy and this hub's own mosquitto cannot be together",
            "Boxes trust public CAs behind a proxy, and mosquitto shows a certificate of the hub's CA: set behind_proxy"
            ' to false, or mqtt to "external" or "rabbitmq" with a broker that shows a public certificate.',
        )
    for name in NEEDED.get(settings.mqtt, ()):
        if not getattr(settings, name):
            raise bad(f'mqtt = "{settings.mqtt}" needs {name}')
    if settings.mqtt_host:
        check_host(settings.mqtt_host)
    if settings.mqtt == "external":
        _check_url(settings.broker_url)
    _check_ports(settings)


def _check_ports(settings: Settings) -> None:
    is_mosquitto = settings.mqtt in MOSQUITTOS
    if is_mosquitto and settings.mqtt_websocket_certificate_port:
        raise bad("mosquitto lets revoked certificates in on a WebSocket: set mqtt_websocket_certificate_port to 0")
    chosen = {name: getattr(settings, name) for name in PORTS if getattr(settings, name)}
    if not chosen:
        raise bad(f'mqtt = "{settings.mqtt}" needs a port: all of {", ".join(PORTS)} are 0')
    if settings.mqtt == "mosquitto":
        chosen = {"port": settings.port, **chosen}
    taken: dict[int, str] = {}
    for name, port in chosen.items():
        before = taken.setdefault(port, name)
        # RabbitMQ takes both kinds of credential on one port; a WebSocket is never on the port of plain MQTT.
        if before != name and (is_mosquitto or ("websocket" in before) != ("websocket" in name)):
            raise bad(f"{before} and {name} are the same port, {port}")
    wanted = "mqtt_certificate_port" if settings.credential == "certificate" else "mqtt_port"
    if settings.transport == "mqtt" and wanted not in chosen:
        raise bad(f'transport = "mqtt" with credential = "{settings.credential}" needs {wanted}')


def _check_url(url: str) -> None:
    try:
        broker = parse_broker(url)
    except InvitationError as error:
        raise bad(f"broker_url: {error.message.rstrip('.')}") from None
    if broker.scheme not in ("mqtts", "mqtt"):
        raise bad("broker_url is not mqtts://HOST:PORT")


def check_signs_lists(settings: Settings, present: Authority) -> None:
    """Whether mosquitto will believe this hub's list of revoked certificates; else it refuses every certificate.

    Args:
        settings: checked.
        present: the CA that signs devices.

    Raises:
        UsageError: ``settings_invalid``.
    """
    if settings.mqtt in MOSQUITTOS and settings.mqtt_certificate_port and not signs_lists(present.certificate):
        raise bad(
            "ca_certificate may not sign lists of revoked certificates, and mosquitto refuses every certificate"
            " without one",
            "Have its key usage hold cRLSign too, set mqtt_certificate_port to 0, or use RabbitMQ.",
        )


def unlisted_warning(settings: Settings, known: Authorities, now: datetime) -> str:
    """A sentence where mosquitto refuses devices of a CA that the hub has no key of, or one that signs no lists."""
    if settings.mqtt not in MOSQUITTOS or not settings.mqtt_certificate_port:
        return ""
    keyed = [one.certificate for one in known.listers()]
    unlisted = [one for one in known.accepted() if one not in keyed or not signs_lists(one)]
    names = sorted({one.subject.rfc4514_string() for one in unlisted if one.not_valid_after_utc > now})
    if not names:
        return ""
    return (
        f"mosquitto refuses certificates of {'; '.join(names)}: without its key there is no list of revoked ones."
        " Its devices beat over HTTP until they have renewed theirs."
    )


def broker_warnings(settings: Settings, is_root: bool) -> list[str]:
    """What an operator must know who runs a broker like this; a sentence for each."""
    said = []
    if settings.mqtt != "off" and settings.ca_certificate:
        said.append(
            "ca_certificate must sign nothing but this hub's devices: a broker knows a certificate by its name only,"
            " and another one with a device's name would count as that device's."
        )
    if settings.mqtt == "mosquitto" and is_root:
        said.append(
            "The hub and its mosquitto run as root. Run them as a user of their own, as systemd/firstlight-hub.service"
            " does."
        )
    return said


def signs_lists(certificate: x509.Certificate) -> bool:
    """Whether a CA may sign a list of revoked certificates (RFC 5280, 4.2.1.3): without a key usage it may."""
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value.crl_sign
    except x509.ExtensionNotFound:
        return True


def read_file(settings: Settings, name: str) -> str:
    """The text of the file that a setting names, without white space around it.

    Args:
        settings: with a broker of the operator's.
        name: of the setting.

    Raises:
        StateError: ``settings_unreadable``; the sentence names the setting.
        UsageError: ``settings_invalid``: the file is empty.
    """
    path = str(getattr(settings, name))
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        hint = where_told(settings) if isinstance(error, FileNotFoundError) else ""
        why = f"hub.toml: {name}: {path} cannot be read: {error.strerror}."
        raise StateError("settings_unreadable", why, hint) from None
    except UnicodeDecodeError:
        raise StateError("settings_unreadable", f"hub.toml: {name}: {path} is not a text.") from None
    if not text:
        raise bad(f"{name}: {path} is empty", where_told(settings))
    return text


def where_told(settings: Settings) -> str:
    """The hint where something of a broker's is missing that the operator makes."""
    return f"Make it as packaging/{'rabbitmq' if settings.mqtt == 'rabbitmq' else 'mosquitto'}/README.md says."


def bad(how: str, hint: str = "") -> UsageError:
    """``settings_invalid`` with a sentence."""
    return UsageError("settings_invalid", f"hub.toml: {how}.", hint)
