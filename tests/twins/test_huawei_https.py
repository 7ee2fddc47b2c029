"""The Huawei twin's HTTPS for devices: tokens, reports, and the status of a short connection."""

from typing import Any

import httpx
import pytest

from tests.twins.conftest import SECRET, Desk
from tests.twins.huawei import logins

HOUR_S = 3600


def ask_token(desk: Desk, device_id: str, /, **fields: Any) -> httpx.Response:
    """A login, with fields of another kind where a test wants some."""
    stamp = desk.stamp()
    body = {"device_id": device_id, "sign_type": 0, "timestamp": stamp, "password": logins.password_of(SECRET, stamp)}
    return desk.http.post("/v5/device-auth", json=body | fields)


def token_of(desk: Desk, device_id: str) -> str:
    """A token."""
    reply = ask_token(desk, device_id)
    assert reply.status_code == 200, reply.text
    return str(reply.json()["access_token"])


def say(desk: Desk, device_id: str, token: str, body: Any = None, where: str = "properties/report") -> httpx.Response:
    """A report."""
    usual = {"services": [{"service_id": "Firstlight", "properties": {"load1": 0.1}}]}
    url = f"/v5/devices/{device_id}/sys/{where}"
    return desk.http.post(url, json=usual if body is None else body, headers={"access_token": token})


def test_a_token_and_a_report(desk: Desk) -> None:
    """The password gives a token for a day, and with it a report is taken."""
    device_id = desk.made()
    reply = ask_token(desk, device_id).json()
    assert (len(reply["access_token"]), reply["expires_in"]) == (64, 86_399)
    assert say(desk, device_id, reply["access_token"]).status_code == 200
    assert desk.twin.state.devices[device_id].shadow["Firstlight"].reported == {"load1": 0.1}
    assert reply["access_token"] not in repr(desk.twin.log.entries)


def test_the_status_of_a_short_connection(desk: Desk) -> None:
    """Online for 25 hours after a report, abnormal until 49, offline then."""
    device_id = desk.made()
    assert say(desk, device_id, token_of(desk, device_id)).status_code == 200
    found = []
    for hours in (0, 24.9, 0.1, 23.9, 0.1):
        desk.clock.advance(hours * HOUR_S)
        found.append(desk.status(device_id))
    assert found == ["ONLINE", "ONLINE", "ABNORMAL", "ABNORMAL", "OFFLINE"]
    record = desk.ask("GET", f"/{device_id}").json()
    assert record["connection_status_update_time"] == "2019-03-05T09:10:11.000Z"


def test_tokens_end(desk: Desk) -> None:
    """A token ends after its day; a newer one leaves the older for 30 seconds."""
    device_id = desk.made()
    first = token_of(desk, device_id)
    second = token_of(desk, device_id)
    assert say(desk, device_id, first).status_code == 200
    desk.clock.advance(30)
    spent = say(desk, device_id, first)
    assert (spent.status_code, spent.json()["error_code"]) == (403, "IOTDA.000004")
    assert say(desk, device_id, second).status_code == 200
    desk.clock.advance(86_400)
    assert say(desk, device_id, second).status_code == 403
    third = token_of(desk, device_id)
    device_http = desk.twin.device_http
    assert device_http is not None
    device_http.end_tokens(device_id)
    assert say(desk, device_id, third).status_code == 403


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"password": "0" * 64}, 401, "IOTDA.000002"),
        ({"device_id": "unknown"}, 401, "IOTDA.000002"),
        ({"sign_type": 1, "timestamp": "2019030301"}, 401, "IOTDA.000002"),
        ({"sign_type": 2}, 400, "IOTDA.000006"),
        ({"sign_type": True}, 400, "IOTDA.000006"),
        ({"timestamp": "2019"}, 400, "IOTDA.000006"),
        ({"timestamp": 2019030308}, 400, "IOTDA.000006"),
        ({"password": "x"}, 400, "IOTDA.000006"),
        ({"device_id": None}, 400, "IOTDA.000006"),
    ],
)
def test_logins_that_fail(desk: Desk, fields: dict[str, Any], status: int, code: str) -> None:
    """A wrong proof is 401, a field of the wrong kind 400."""
    reply = ask_token(desk, desk.made(), **fields)
    assert (reply.status_code, reply.json()["error_code"]) == (status, code)


def test_reports_that_fail(desk: Desk) -> None:
    """Another device's token, none, a frozen device, a body of another shape, and one above 1 MB."""
    device_id, other = desk.made("one"), desk.made("two")
    token = token_of(desk, device_id)
    large = {"services": [{"service_id": "Firstlight", "properties": {"load1": "x" * 1_048_576}}]}
    cases = [
        (say(desk, other, token), 403, "IOTDA.000004"),
        (say(desk, device_id, ""), 403, "IOTDA.000004"),
        (say(desk, device_id, token, {"services": 1}), 400, "IOTDA.000006"),
        (say(desk, device_id, token, []), 400, "IOTDA.000008"),
        (say(desk, device_id, token, large), 403, "IOTDA.021105"),
    ]
    for reply, status, code in cases:
        assert (reply.status_code, reply.json()["error_code"]) == (status, code)
    assert desk.ask("POST", f"/{device_id}/freeze").status_code == 204
    assert say(desk, device_id, token).status_code == 401
    assert ask_token(desk, device_id).status_code == 401


def test_rates(desk: Desk) -> None:
    """Too many in a second are refused with the device's code, beyond the day's budget with the tenant's."""
    device_id = desk.made()
    token = token_of(desk, device_id)
    desk.twin.state.reports_per_s = 2
    assert [say(desk, device_id, token).status_code for _ in range(3)] == [200, 200, 403]
    desk.clock.advance(1)
    assert say(desk, device_id, token).status_code == 200
    desk.clock.advance(1)
    desk.twin.state.messages_per_day = 3
    assert say(desk, device_id, token).json()["error_code"] == "IOTDA.021102"


def test_messages_and_children(desk: Desk) -> None:
    """Messages are kept; a gateway reports for its own children, and of a foreign one it hears so."""
    gateway = desk.made("gateway")
    child = desk.create("child", gateway_id=gateway).json()["device_id"]
    foreign = desk.made("foreign")
    token = token_of(desk, gateway)
    assert say(desk, gateway, token, {"content": "hello"}, "messages/up").status_code == 200
    assert desk.twin.state.events[-1][3] == {"content": "hello"}
    services = [{"service_id": "Firstlight", "properties": {"site": "a"}}]
    where = "gateway/sub-devices/properties/report"
    for device_id, status in ((child, 200), (foreign, 400)):
        body = {"devices": [{"device_id": device_id, "services": services}]}
        assert say(desk, gateway, token, body, where).status_code == status
    many = {"devices": [{"device_id": child, "services": services}] * 51}
    assert say(desk, gateway, token, many, where).json()["error_code"] == "IOTDA.021104"
    assert desk.status(child) == "ONLINE"
