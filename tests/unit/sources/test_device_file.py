"""Device files: what is taken, what is refused and in which words; never with a value of the file in them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstlight.core.model import Endpoint, Secret, parse_broker
from firstlight.errors import HINTS, InvitationError
from firstlight.sources.device_file import MAX_BYTES, is_device_file, read_bytes, read_device_file

PLANTED = "pl4nted-secret"
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\npl4nted\n-----END PRIVATE KEY-----\n"
PIN = "sha256//" + "A" * 43 + "="
LEAST = {"format": 1, "platform": "huawei", "road": "finished", "deviceId": "d_1", "broker": "mqtts://h.example"}
FULL = {**LEAST, "secret": PLANTED}


def body(**changes: object) -> bytes:
    """The full file with changes; None leaves a name out."""
    return json.dumps({name: value for name, value in {**FULL, **changes}.items() if value is not None}).encode()


def refusal(content: bytes) -> InvitationError:
    """The error that it must end in, without any value of the file."""
    with pytest.raises(InvitationError) as caught:
        read_device_file(content)
    error = caught.value
    assert "pl4nted" not in f"{error!r}{error}{error.hint}"
    assert error.code in HINTS
    return error


def test_the_least_file() -> None:
    """Only a broker is given: its host and port stand for the endpoint; trust is the system's."""
    found = read_device_file(body())
    invitation = found.invitation
    assert (invitation.platform, invitation.road, invitation.device_id) == ("huawei", "finished", "d_1")
    assert invitation.broker == parse_broker("mqtts://h.example")
    assert invitation.endpoint == Endpoint("https", "h.example", 8883)
    assert (invitation.proof, invitation.credential, found.key) == (Secret(PLANTED), "secret", None)
    assert (invitation.trust.ca_pem, invitation.trust.pins, invitation.transport, invitation.extra) == ("", (), "", ())
    assert PLANTED not in repr(found)


def test_every_name() -> None:
    """Each name of a file arrives where it belongs; a byte order mark does no harm."""
    full = body(
        secret=None,
        certificate=PEM * 2,
        key=KEY,
        workspace="w",
        endpoint="https://h.example:8443",
        ca=PEM,
        pins=[PIN],
        transport="mqtt",
        extra={"service": "S", "a.b-c": ""},
    )
    found = read_device_file(b"\xef\xbb\xbf" + full)
    invitation = found.invitation
    assert (invitation.certificate_pem, found.key) == (PEM * 2, Secret(KEY))
    assert (invitation.credential, invitation.proof) == ("certificate", Secret(""))
    assert (invitation.workspace, invitation.endpoint.port, invitation.transport) == ("w", 8443, "mqtt")
    assert (invitation.trust.ca_pem, invitation.trust.pins) == (PEM, (PIN,))
    assert invitation.extra == (("a.b-c", ""), ("service", "S"))


def test_roads() -> None:
    """A bootstrap needs a device, a redeem an installId and no device; a certificate may come without its key."""
    assert read_device_file(body(road="bootstrap")).invitation.road == "bootstrap"
    redeem = read_device_file(body(road="redeem", platform="hub", deviceId=None, secret="i" * 20))
    assert (redeem.invitation.proof, redeem.invitation.credential) == (Secret("i" * 20), "")
    assert read_device_file(body(secret=None, certificate=PEM)).key is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": None}, "'format'"),
        ({"format": "1"}, "'format'"),
        ({"format": True}, "'format'"),
        ({"format": 0}, "'format'"),
        ({"platform": None}, "'platform'"),
        ({"platform": "../x"}, "'platform'"),
        ({"platform": 7}, "'platform' is no text"),
        ({"road": None}, "'road'"),
        ({"road": "other"}, "'road'"),
        ({"deviceId": None}, "no 'deviceId'"),
        ({"deviceId": "a/b"}, "'deviceId'"),
        ({"deviceId": "x" * 257}, "'deviceId'"),
        ({"workspace": "a/b"}, "'workspace'"),
        ({"broker": None}, "neither 'endpoint' nor 'broker'"),
        ({"secret": None}, "either 'secret' or 'certificate'"),
        ({"certificate": PEM}, "either 'secret' or 'certificate'"),
        ({"secret": None, "key": KEY}, "either"),
        ({"key": KEY}, "without a 'certificate'"),
        ({"secret": PLANTED + "\n"}, "'secret'"),
        ({"secret": PLANTED + "\u202e"}, "'secret'"),
        ({"secret": PLANTED * 400}, "'secret'"),
        ({"secret": None, "certificate": "pl4nted"}, "'certificate'"),
        ({"secret": None, "certificate": PEM, "key": KEY.replace("PRIVATE", "ENCRYPTED PRIVATE")}, "'key'"),
        ({"ca": "pl4nted"}, "'ca'"),
        ({"ca": PEM + "pl4nted"}, "'ca'"),
        ({"pins": PIN}, "'pins'"),
        ({"pins": [PIN] * 9}, "'pins'"),
        ({"pins": [1]}, "'pins'"),
        ({"transport": "coap"}, "'transport'"),
        ({"transport": "mqtt", "broker": None, "endpoint": "https://h.example"}, "no 'broker'"),
        ({"extra": []}, "'extra'"),
        ({"extra": {"a b": "x"}}, "'extra'"),
        ({"extra": {"a": 1}}, "'extra'"),
        ({"extra": {f"n{number}": "" for number in range(33)}}, "'extra'"),
        ({"unknown": "pl4nted"}, "'unknown' is not known"),
        ({"road": "redeem", "secret": None, "certificate": PEM}, "to redeem"),
    ],
)
def test_what_is_refused(changes: dict[str, object], words: str) -> None:
    """Each rule of a file, broken by itself, is named."""
    error = refusal(body(**changes))
    assert error.code == "device_file_malformed"
    assert words in error.message


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "device_file_malformed"),
        (b"[]", "device_file_malformed"),
        (b"\xff\xfe{", "device_file_malformed"),
        (b"[" * 100_000, "device_file_malformed"),
        (b"[" * 20_000, "device_file_malformed"),
        (b'{"format": NaN}', "device_file_malformed"),
        (b'{"format": 1, "format": 1}', "device_file_malformed"),
        (body() + b" " * MAX_BYTES, "device_file_malformed"),
        (body(format=2), "device_file_newer"),
        (body(broker="mqtt://h.example"), "endpoint_insecure"),
        (body(endpoint="http://h.example"), "endpoint_insecure"),
        (body(endpoint="https://h.example/path"), "endpoint_malformed"),
        (body(pins=["sha256//x"]), "pin_malformed"),
        (body(road="redeem", secret="short"), "install_id_malformed"),
    ],
)
def test_what_is_no_file(content: bytes, code: str) -> None:
    """What is no object, is too large, newer, or names an address that cannot be used."""
    assert refusal(content).code == code


@given(st.binary(max_size=400) | st.text(max_size=200).map(str.encode))
def test_anything_ends_in_one_error(content: bytes) -> None:
    """Whatever bytes come, there is one kind of error."""
    with pytest.raises(InvitationError):
        read_device_file(content)


@given(st.dictionaries(st.sampled_from([*FULL, "key", "ca", "extra", "pins"]), st.none() | st.integers() | st.text()))
def test_any_values_end_in_one_error(values: dict[str, object]) -> None:
    """Whatever a name holds, it is taken or refused."""
    try:
        read_device_file(json.dumps({**FULL, **values}).encode())
    except InvitationError as error:
        assert error.code in HINTS


def test_how_it_is_told_from_an_invitation(tmp_path: Path) -> None:
    """By its first brace; what cannot be read is named, and no more is read than is needed."""
    assert is_device_file(b"\xef\xbb\xbf \r\n {")
    assert not is_device_file(b"hub = https://h.example")
    with pytest.raises(InvitationError, match="No such file"):
        read_bytes(str(tmp_path / "none"))
    (tmp_path / "large").write_bytes(b"x" * 100_000)
    assert len(read_bytes(str(tmp_path / "large"))) == MAX_BYTES + 1
