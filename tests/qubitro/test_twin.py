"""The twin where devices meet it, rule by rule, asked by our own transports: what it refuses, no agent needs."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firstlight.core.exchange import HttpCall, MqttCall, MqttLogin
from firstlight.core.model import Secret, Trust, parse_broker
from firstlight.errors import FirstlightError
from firstlight.transports.mqtt_session import MqttSession
from tests.qubitro.conftest import Desk
from tests.twins.qubitro import QubitroTwin
from tests.twins.qubitro.state import Device

FIELDS: dict[str, object] = {"description": "In the cellar", "tags": [], "brand": "Custom", "model": "Custom"}
Connect = Callable[[MqttLogin], MqttSession]


@pytest.fixture
def device(twin: QubitroTwin) -> Device:
    """A device over MQTT."""
    return twin.state.add_device(twin.addresses["project"], {**FIELDS, "name": "Pump 1", "source": "mqtt"})


@pytest.fixture
def connect(twin: QubitroTwin) -> Iterator[Connect]:
    """Makes sessions with a login, closed afterwards."""
    sessions: list[MqttSession] = []

    def make(login: MqttLogin) -> MqttSession:
        sessions.append(MqttSession(lambda: login, Trust(ca_pem=twin.ca_pem)))
        return sessions[-1]

    yield make
    for session in sessions:
        session.close()


def login(twin: QubitroTwin, device: Device) -> MqttLogin:
    """As the pages have it: id, id, token."""
    broker = parse_broker(twin.mqtt_url)
    return MqttLogin(broker, device.id, device.id, Secret(device.token), 60, (device.id,), protocol=4)


def code_of(session: MqttSession, call: MqttCall) -> str:
    """The code that a publish ends in, "" = acknowledged."""
    try:
        session.exchange(call, 20)
    except FirstlightError as error:
        return error.code
    return ""


def test_a_login_is_id_id_and_token(twin: QubitroTwin, device: Device, connect: Connect) -> None:
    """Any other password, user name or client id is refused, with the code that 3.1.1 has for it."""
    good, beat = login(twin, device), MqttCall(device.id, b'{"n": 1}')
    over_http = twin.state.add_device(twin.addresses["project"], {**FIELDS, "name": "Pump 2", "source": "http"})
    assert code_of(connect(good), beat) == ""
    assert code_of(connect(good._replace(password=Secret("wrong"))), beat) == "mqtt_bad_login"
    assert code_of(connect(good._replace(user_name="nobody")), beat) == "mqtt_bad_login"
    assert code_of(connect(good._replace(client_id="mine")), beat) == "mqtt_client_id"
    assert code_of(connect(login(twin, over_http)), beat) == "mqtt_not_authorized"
    assert code_of(connect(good._replace(will=beat)), beat) == "mqtt_not_authorized"
    assert code_of(connect(good._replace(listens_to=("#",))), beat) == "mqtt_disconnected"  # SUBACK 0x80


@pytest.mark.parametrize("payload", [b"", b"7", b"[]", b"{}", b'{"a": {"b": 1}}', b'{"a": [1]}', b"reboot"])
def test_what_is_not_flat_is_acknowledged_and_thrown_away(
    payload: bytes, twin: QubitroTwin, device: Device, connect: Connect
) -> None:
    """``last_seen`` stays where it was: a device that sends only that is never online."""
    assert code_of(connect(login(twin, device)), MqttCall(device.id, payload)) == ""
    with twin.state.lock:
        assert (device.last_seen, list(device.rows), twin.state.refused) == ("0001-01-01T00:00:00Z", [], [device.id])


def test_a_foreign_topic_cuts_the_link(twin: QubitroTwin, device: Device, connect: Connect) -> None:
    """A device publishes on its own id and nowhere else."""
    assert code_of(connect(login(twin, device)), MqttCall("another", b'{"n": 1}')) == "reply_cut"
    assert not device.rows


def test_everything_on_the_topic_comes_back(twin: QubitroTwin, device: Device, connect: Connect) -> None:
    """One topic both ways: the sender hears itself, and commands."""
    session = connect(login(twin, device))
    session.exchange(MqttCall(device.id, b'{"n": 1}'), 20)
    assert twin.state.command(device.id, {"period": 5})
    heard: list[object] = []
    while len(heard) < 2:
        heard += [json.loads(message.payload) for message in session.heard()]
    assert heard == [{"n": 1}, {"period": 5}]


@pytest.mark.parametrize(
    ("authorization", "body", "status"),
    [
        ("Basic {token}", b'{"n": 1}', 200),
        ("Bearer {token}", b'{"n": 1}', 401),
        ("Basic wrong", b'{"n": 1}', 401),
        ("", b'{"n": 1}', 401),
        ("Basic {token}", b'{"n": {"m": 1}}', 400),
        ("Basic {token}", b"[]", 400),
        ("Basic {token}", b"n=1", 400),
    ],
)
def test_publishing_over_https(authorization: str, body: bytes, status: int, twin: QubitroTwin, desk: Desk) -> None:
    """The raw token after "Basic", a flat object; errors with status and message."""
    device = twin.state.add_device(twin.addresses["project"], {**FIELDS, "name": "Pump 2", "source": "http"})
    headers = (("Authorization", authorization.format(token=device.token)), ("Content-Type", "application/json"))
    reply = desk.call(HttpCall("POST", twin.addresses["publish"], headers, body))
    assert reply.status == status and len(device.rows) == (1 if status == 200 else 0)
    if status != 200:
        assert set(json.loads(reply.body)) == {"status", "message"}


def test_a_device_over_mqtt_does_not_publish_over_https(twin: QubitroTwin, device: Device, desk: Desk) -> None:
    """403: the source of a device is what it was made with."""
    headers = (("Authorization", f"Basic {device.token}"),)
    assert desk.call(HttpCall("POST", twin.addresses["publish"], headers, b'{"n": 1}')).status == 403


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl on this machine")
def test_the_examples_that_an_integrator_is_given_work(twin: QubitroTwin, tmp_path: Path) -> None:
    """``make twin PLATFORM=qubitro`` prints two lines with curl: one makes a device, the other lists it; then ours."""
    key_file, ca_file = tmp_path / "operator.key", tmp_path / "ca.pem"
    key_file.write_text(twin.operator_key + "\n")
    ca_file.write_text(twin.ca_pem)
    create, listing, *ours = twin.examples(key_file, ca_file)
    assert twin.operator_key not in create + listing + "".join(ours)
    assert all(line.startswith("firstlight ") for line in ours)
    said = []
    for line in (create, listing):
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        said.append(json.loads(done.stdout))
    assert all(answer["success"] is True for answer in said)
    assert [row["name"] for row in said[1]["data"]] == ["Pump 1"]
