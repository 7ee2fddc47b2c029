"""Settings about MQTT that cannot be together: each wrong pairing ends before the hub listens, and is named."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from firstlight.errors import FirstlightError, UsageError
from firstlight_hub.authorities import Authorities, Authority
from firstlight_hub.broker_settings import (
    broker_warnings,
    check_broker,
    check_signs_lists,
    read_file,
    unlisted_warning,
)
from firstlight_hub.rabbitmq.link import read_place
from firstlight_hub.settings import Settings, parse
from tests.hub.identities import new_authority
from tests.hub.served import change, command, make

NOW = datetime.now(timezone.utc)
EXTERNAL = {
    "mqtt": "external",
    "broker_url": "mqtts://broker.example:1883",
    "broker_files": "/srv/broker",
    "broker_password_file": "/srv/password",
}
RABBIT = {
    "mqtt": "rabbitmq",
    "broker_url": "amqps://broker.example:5671",
    "broker_management_url": "https://broker.example:15671",
    "broker_password_file": "/srv/password",
}
OWN = {"mqtt": "mosquitto"}
NO_PORTS = {"mqtt_port": 0, "mqtt_certificate_port": 0}
CERTIFICATE = {"transport": "mqtt", "credential": "certificate"}
PROXIED = {"behind_proxy": True, "public_url": "https://hub.example"}


def settings(**changed: object) -> Settings:
    """As from a file with these."""
    return parse({"hosts": ["hub.example"], "workspace": {"demo": {}}, **changed})


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"transport": "mqtt"}, 'mqtt is "off"'),
        ({**PROXIED, "credential": "certificate"}, "trusted_proxies"),
        ({**PROXIED, **OWN}, "behind_proxy"),
        ({**OWN, **NO_PORTS}, "needs a port"),
        ({**EXTERNAL, **NO_PORTS}, "needs a port"),
        ({**RABBIT, **NO_PORTS}, "needs a port"),
        ({**OWN, "mqtt_port": 8884}, "mqtt_port and mqtt_certificate_port are the same port, 8884"),
        ({**EXTERNAL, "mqtt_port": 8884}, "mqtt_port and mqtt_certificate_port are the same port"),
        ({**OWN, "mqtt_port": 8443}, "port and mqtt_port are the same port, 8443"),
        ({**OWN, "mqtt_websocket_port": 8883}, "mqtt_port and mqtt_websocket_port"),
        ({**RABBIT, "mqtt_websocket_port": 8883}, "mqtt_port and mqtt_websocket_port"),
        ({**OWN, "mqtt_websocket_certificate_port": 9}, "WebSocket"),
        ({**EXTERNAL, "mqtt_websocket_certificate_port": 9}, "WebSocket"),
        ({**OWN, "transport": "mqtt", "mqtt_port": 0}, "needs mqtt_port"),
        ({**OWN, **CERTIFICATE, "mqtt_certificate_port": 0}, "needs mqtt_certificate_port"),
        ({**OWN, "mqtt_host": "a b"}, "'a b'"),
        ({**EXTERNAL, "broker_url": ""}, "broker_url"),
        ({**EXTERNAL, "broker_files": ""}, "broker_files"),
        ({**EXTERNAL, "broker_password_file": ""}, "broker_password_file"),
        ({**EXTERNAL, "broker_url": "mqtt://broker.example:1883"}, "broker_url"),
        ({**EXTERNAL, "broker_url": "amqps://broker.example"}, "broker_url"),
        ({**EXTERNAL, "broker_url": "wss://broker.example"}, "broker_url"),
        ({**RABBIT, "broker_url": ""}, "broker_url"),
        ({**RABBIT, "broker_management_url": ""}, "broker_management_url"),
        ({**RABBIT, "broker_password_file": ""}, "broker_password_file"),
    ],
)
def test_what_cannot_be_together_is_named(changed: dict[str, object], named: str) -> None:
    """Each wrong pairing is settings_invalid, and the sentence names what to change."""
    one = settings(**changed)
    with pytest.raises(UsageError) as caught:
        check_broker(one, one.behind_proxy)
    assert (caught.value.code, named in caught.value.message) == ("settings_invalid", True), caught.value.message


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {**PROXIED, "credential": "certificate", "trusted_proxies": ["192.0.2.1"]},
        {**PROXIED, **EXTERNAL},
        {**OWN, **CERTIFICATE, "mqtt_port": 0},
        {**OWN, **NO_PORTS, "mqtt_websocket_port": 443},
        {**EXTERNAL, "mqtt_port": 8443},
        {**EXTERNAL, "broker_url": "mqtt://127.0.0.1:1883", "mqtt_host": "::1"},
        {**RABBIT, "mqtt_port": 8884, "mqtt_websocket_port": 15676, "mqtt_websocket_certificate_port": 15676},
    ],
)
def test_what_can_be_together_passes(changed: dict[str, object]) -> None:
    """Good pairings say nothing; RabbitMQ takes both credentials on one port, and another machine has its own ports."""
    one = settings(**changed)
    check_broker(one, one.behind_proxy)


@pytest.mark.parametrize(
    "changed",
    [
        {"broker_url": "amqps://broker.example:99999"},
        {"broker_url": "amqps://[::1"},
        {"broker_url": "amqp://broker.example"},
        {"broker_url": "amqps://guest@broker.example"},
        {"broker_url": "mqtts://broker.example"},
        {"broker_management_url": "https://broker.example:x"},
        {"broker_management_url": "http://broker.example"},
    ],
)
def test_addresses_of_rabbitmq_that_are_none_are_named(changed: dict[str, str]) -> None:
    """A port that is none, another scheme, a way without TLS, a user name: the sentence names the setting."""
    with pytest.raises(UsageError) as caught:
        read_place(settings(**{**RABBIT, **changed}), "")
    assert next(iter(changed)) in caught.value.message


def without_lists(made: Authority) -> Authority:
    """The same CA, whose key usage does not hold cRLSign."""
    ca, key = made.certificate, made.key
    builder = (
        x509.CertificateBuilder()
        .subject_name(ca.subject)
        .issuer_name(ca.subject)
        .public_key(ca.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(ca.not_valid_before_utc)
        .not_valid_after(ca.not_valid_after_utc)
    )
    for one in ca.extensions:
        usage = one.value
        if isinstance(usage, x509.KeyUsage):
            usage = x509.KeyUsage(False, False, False, False, False, True, False, False, False)
        builder = builder.add_extension(usage, one.critical)
    return Authority(builder.sign(key, hashes.SHA256()), key)


@pytest.mark.parametrize(("mqtt", "port", "is_refused"), [(OWN, 8884, True), (EXTERNAL, 8884, True), (OWN, 0, False)])
def test_a_ca_that_may_not_sign_lists(mqtt: dict[str, object], port: int, is_refused: bool) -> None:
    """Refused where mosquitto would refuse every certificate because of it."""
    one, ca = settings(**{**mqtt, "mqtt_certificate_port": port}), new_authority()
    check_signs_lists(one, ca)
    if not is_refused:
        check_signs_lists(one, without_lists(ca))
        return
    with pytest.raises(UsageError) as caught:
        check_signs_lists(one, without_lists(ca))
    assert (caught.value.code, "ca_certificate" in caught.value.message) == ("settings_invalid", True)


def test_devices_of_a_ca_without_a_key_are_spoken_of() -> None:
    """A warning names it as long as it lives; over HTTP and RabbitMQ there is nothing to say."""
    present, other, listing = new_authority(), new_authority(), new_authority()
    known = Authorities(present, others=(other.certificate, listing.certificate), listing=(listing,))
    said = unlisted_warning(settings(**OWN), known, NOW)
    assert other.certificate.subject.rfc4514_string() in said
    assert listing.certificate.subject.rfc4514_string() not in said
    assert not unlisted_warning(settings(**OWN), known, NOW + timedelta(days=40_000))
    assert not unlisted_warning(settings(**RABBIT), known, NOW)
    assert not unlisted_warning(settings(), known, NOW)
    assert not unlisted_warning(settings(**OWN), Authorities(present), NOW)


@pytest.mark.parametrize(
    ("changed", "words", "named"),
    [
        ({**PROXIED, **OWN}, (), "public certificate"),
        (PROXIED, ("--mqtt",), "behind_proxy"),
        (EXTERNAL, ("--mqtt",), "--mqtt"),
        ({**OWN, **NO_PORTS}, (), "mqtt_port"),
        ({"mqtt_port": 9, "mqtt_certificate_port": 10}, ("--mqtt", "--port", "9"), "same port"),
    ],
)
def test_serve_ends_with_a_sentence(
    tmp_path: Path, changed: dict[str, object], words: tuple[str, ...], named: str
) -> None:
    """Before it listens, with a next step and without a traceback."""
    make(tmp_path / "hub")
    change(tmp_path / "hub", **changed)
    done = command("serve", "--dir", tmp_path / "hub", *words)
    assert (done.returncode, "[settings_invalid]" in done.stderr) == (2, True), done.stderr
    assert named in done.stderr and "Traceback" not in done.stderr and len(done.stderr.splitlines()) == 2


@pytest.mark.parametrize("mqtt", ["external", "rabbitmq"])
@pytest.mark.parametrize("name", ["broker_password_file", "broker_ca_file"])
def test_file_of_a_setting_that_cannot_be_used_is_named(tmp_path: Path, mqtt: str, name: str) -> None:
    """Missing, a folder, no text or empty: one sentence with the setting and the system's words, no Python in it."""
    path = tmp_path / "file"
    found = settings(**{**(EXTERNAL if mqtt == "external" else RABBIT), name: str(path)})

    def said() -> FirstlightError:
        with pytest.raises(FirstlightError) as caught:
            read_file(found, name)
        assert caught.value.message.startswith(f"hub.toml: {name}: {path} ")
        return caught.value

    missing = said()
    assert missing.message.endswith("cannot be read: No such file or directory.")
    readme = f"packaging/{'mosquitto' if mqtt == 'external' else 'rabbitmq'}/README.md"
    assert readme in missing.hint and (Path(__file__).parents[2] / readme).is_file()
    path.write_bytes(b"\xff")
    assert said().message.endswith("is not a text.")
    path.write_text(" \n")
    assert said().message.endswith("is empty.")
    path.unlink()
    path.mkdir()
    assert said().message.endswith("cannot be read: Is a directory.")


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({}, "hub.toml: broker_password_file: "),
        ({"password": "p"}, "hub.toml: broker_files: there is no folder /nowhere/at/all. [state_unwritable]"),
        ({"password": "p", "ca": "none"}, "hub.toml: broker_ca_file: "),
    ],
)
def test_external_broker_that_is_not_set_up_ends_serve(tmp_path: Path, changed: dict[str, str], named: str) -> None:
    """Each of the three things that the operator makes, with a next step; a CA file without a CA trusts nobody."""
    made = {"password": tmp_path / "password", "ca": tmp_path / "ca.pem"}
    for name, text in changed.items():
        made[name].write_text(text)
    make(tmp_path / "hub")
    files = {"broker_password_file": str(made["password"]), "broker_files": "/nowhere/at/all"}
    change(tmp_path / "hub", **{**EXTERNAL, **files, "broker_ca_file": str(made["ca"]) if "ca" in changed else ""})
    done = command("serve", "--dir", tmp_path / "hub", "--port", "0")
    assert done.returncode != 0 and named in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.splitlines()) == 2
    if "ca" not in changed:
        assert "packaging/mosquitto/README.md" in done.stderr


@pytest.mark.parametrize(
    ("changed", "is_root", "named"),
    [
        (OWN, False, []),
        (OWN, True, ["root"]),
        ({**OWN, "ca_certificate": "company.pem"}, True, ["ca_certificate", "root"]),
        ({**EXTERNAL, "ca_certificate": "company.pem"}, True, ["ca_certificate"]),
        ({**RABBIT, "ca_certificate": "company.pem"}, False, ["ca_certificate"]),
        ({"ca_certificate": "company.pem"}, True, []),
    ],
)
def test_what_an_operator_must_know_is_said(changed: dict[str, object], is_root: bool, named: list[str]) -> None:
    """A CA of others beside a broker, and a broker that runs as root; nothing without cause."""
    said = broker_warnings(settings(**changed), is_root)
    assert len(said) == len(named)
    assert all(word in one for word, one in zip(named, said, strict=True))
