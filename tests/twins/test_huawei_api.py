"""The Huawei twin's management beside the create: who may, lists, and what changes a device."""

from typing import Any

import httpx
import pytest

from tests.twins.conftest import SECRET, Desk
from tests.twins.huawei import logins, signing
from tests.twins.huawei.state import compact
from tests.twins.kit import faults


def listed(desk: Desk, **query: Any) -> list[str]:
    """The node ids of a page."""
    reply = desk.ask("GET", params=query)
    assert reply.status_code == 200, reply.text
    return [each["node_id"] for each in reply.json()["devices"]]


def code_of(desk: Desk, **query: Any) -> str:
    """The error code of a list that is refused with 400."""
    reply = desk.ask("GET", params=query)
    assert reply.status_code == 400
    return str(reply.json()["error_code"])


def test_pages(desk: Desk) -> None:
    """Newest first, ten at a time unless asked otherwise, by marker and by offset; no proofs in a list."""
    for number in range(12):
        desk.made(f"n{number}")
    assert listed(desk) == [f"n{number}" for number in range(11, 1, -1)]
    first = desk.ask("GET", params={"limit": 5}).json()
    assert first["page"]["count"] == 12
    assert "auth_info" not in first["devices"][0]
    assert "create_time" not in first["devices"][0]
    assert listed(desk, limit=5, marker=first["page"]["marker"]) == ["n6", "n5", "n4", "n3", "n2"]
    assert listed(desk, limit=2, offset=3) == ["n8", "n7"]
    last = desk.ask("GET", params={"marker": "0" * 24}).json()
    assert (last["devices"], last["page"]["marker"]) == ([], None)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"limit": 0}, "IOTDA.000017"),
        ({"limit": 51}, "IOTDA.000017"),
        ({"limit": "many"}, "IOTDA.000017"),
        ({"marker": "x" * 24}, "IOTDA.000018"),
        ({"marker": "f" * 23}, "IOTDA.000018"),
        ({"offset": 501}, "IOTDA.000006"),
        ({"offset": -1}, "IOTDA.000006"),
        ({"start_time": "yesterday"}, "IOTDA.000009"),
        ({"start_time": "20200101T000000Z", "end_time": "20190101T000000Z"}, "IOTDA.000010"),
    ],
)
def test_what_a_list_may_not_ask(desk: Desk, query: dict[str, Any], code: str) -> None:
    """A number or a time outside its range has its own code."""
    desk.made()
    assert code_of(desk, **query) == code


def test_filters(desk: Desk) -> None:
    """By product, node, name, gateway (one level, or all) and time."""
    top = desk.made("top")
    child = desk.create("child", gateway_id=top, device_name="a-name").json()["device_id"]
    desk.clock.advance(60)
    desk.create("grandchild", gateway_id=child)
    assert listed(desk, node_id="top") == ["top"]
    assert listed(desk, device_name="a-name") == ["child"]
    assert listed(desk, product_id="other") == []
    assert listed(desk, gateway_id=top) == ["child"]
    assert listed(desk, gateway_id=top, is_cascade_query="true") == ["grandchild", "child"]
    assert listed(desk, start_time="20190303T081012Z") == ["grandchild"]
    assert listed(desk, end_time="20190303T081011Z") == ["child", "top"]


def test_gone_with_its_children(desk: Desk) -> None:
    """A delete takes the device, its children and its link; a second one finds nothing."""
    top = desk.made("top")
    child = desk.create("child", gateway_id=top).json()["device_id"]
    with desk.online(top) as client:
        assert desk.ask("DELETE", f"/{top}").status_code == 204
        assert client.is_cut()
    for device_id in (top, child):
        reply = desk.ask("DELETE", f"/{device_id}")
        assert (reply.status_code, reply.json()["error_code"]) == (404, "IOTDA.014000")


def test_tokens(desk: Desk) -> None:
    """Without a token, with an unknown or expired one, for a foreign project or without the right: refused, each."""
    expired = desk.twin.state.add_token(desk.twin.project_id, 60)
    reading = desk.twin.state.add_token(desk.twin.project_id, may_write=False)
    foreign = desk.twin.state.add_token("f" * 32)
    desk.clock.advance(61)
    table = [("", 401), ("unknown", 401), (expired, 401), (foreign, 403), (reading, 403)]
    for token, status in table:
        desk.headers = {"X-Auth-Token": token} if token else {}
        reply = desk.create()
        assert reply.status_code == status
        assert set(reply.json()) == {"error_code", "error_msg"}
    desk.headers = {"X-Auth-Token": reading}
    assert desk.ask("GET").status_code == 200
    assert all(token not in repr(desk.twin.log.entries) for token, _ in table if token)
    assert desk.twin.operator_key not in repr(desk.twin)


def test_instances(desk: Desk) -> None:
    """A wrong Instance-Id is refused, and on a professional edition a missing one as well."""
    desk.headers["Instance-Id"] = "another"
    assert desk.ask("GET").status_code == 400
    desk.headers["Instance-Id"] = desk.twin.instance_id
    assert desk.ask("GET").status_code == 200
    desk.twin.state.needs_instance = True
    assert desk.ask("GET").status_code == 200
    del desk.headers["Instance-Id"]
    assert desk.ask("GET").json()["error_code"] == "IOTDA.000006"


def signed(desk: Desk, secret_key: str, *, scope: str = "", hours: int = 0, body: bytes = b"") -> dict[str, str]:
    """The headers of a signed list request, made after the vendor's description."""
    date = compact(desk.clock.now_s() + hours * 3600)
    names = ("host", "x-sdk-date")
    host = desk.twin.http_url.partition("://")[2]
    headers = {"host": host, "x-sdk-date": date}
    key = desk.twin.access_key
    claim = signing.Claim(key, scope, names, "")
    request = signing.Signed("GET", desk.base, "limit=5&device_name=a%20b", headers, body)
    signature = signing.sign(claim, secret_key, request, date)
    who = f"V11-HMAC-SHA256 Credential={key}/{scope}" if scope else f"SDK-HMAC-SHA256 Access={key}"
    said = f"{who}, SignedHeaders={';'.join(names)}, Signature={signature}"
    return {"X-Sdk-Date": date, "Authorization": said}


@pytest.mark.parametrize("scope", ["", "20190303/cn-north-4/iotda"])
def test_signatures(desk: Desk, scope: str) -> None:
    """A request that its key has signed is let in; another key, another query, an old date or junk is not."""
    query = {"device_name": "a b", "limit": "5"}
    desk.headers = signed(desk, desk.twin.secret_key, scope=scope)
    assert desk.ask("GET", params=query).status_code == 200
    assert desk.ask("GET", params=query | {"limit": "6"}).status_code == 401
    assert desk.ask("POST", params=query).status_code == 401
    desk.headers = signed(desk, "another key", scope=scope)
    reply = desk.ask("GET", params=query)
    assert (reply.status_code, reply.json()["error_code"]) == (401, "APIGW.0301")
    desk.headers = signed(desk, desk.twin.secret_key, scope=scope, hours=1)
    assert desk.ask("GET", params=query).status_code == 401
    desk.headers = signed(desk, desk.twin.secret_key, scope=scope) | {"Authorization": "SDK-HMAC-SHA256 junk"}
    assert desk.ask("GET", params=query).status_code == 401


def test_a_scope_of_another_day(desk: Desk) -> None:
    """The derived form names a day: another day's is refused."""
    desk.headers = signed(desk, desk.twin.secret_key, scope="20190302/cn-north-4/iotda")
    assert desk.ask("GET", params={"limit": "5", "device_name": "a b"}).status_code == 401


def test_secrets_are_renewed(desk: Desk) -> None:
    """A new first or second secret is told once; both let the device in, and the old first no longer does."""
    device_id = desk.made()
    second = {"secret": "second-secret", "secret_type": "SECONDARY"}
    reply = desk.ask("POST", f"/{device_id}/action", params={"action_id": "resetSecret"}, json=second)
    assert reply.json() == {"device_id": device_id, **second}
    desk.online(device_id, secret="second-secret").close()
    with desk.online(device_id) as client:
        body = {"secret": "other-secret", "force_disconnect": True}
        reply = desk.ask("POST", f"/{device_id}/action", params={"action_id": "resetSecret"}, json=body)
        assert reply.json()["secret"] == "other-secret"
        assert client.is_cut()
    with desk.link() as client:
        assert client.connect(*desk.login(device_id)) == 4
    desk.online(device_id, secret="other-secret").close()
    assert desk.ask("GET", f"/{device_id}").json()["auth_info"]["secondary_secret"] == "s****t"


def test_fingerprints_are_reset(desk: Desk) -> None:
    """A reset without a fingerprint empties it for the next certificate to be pinned; junk and secrets are refused."""
    device_id = desk.made(auth_type="CERTIFICATES", fingerprint="a" * 40)
    path = f"/{device_id}/reset-fingerprint"
    assert desk.ask("POST", path, json={"fingerprint": "xyz"}).status_code == 400
    assert desk.ask("POST", path, json={"fingerprint_type": "THIRD"}).status_code == 400
    assert desk.ask("POST", path, json={"force_disconnect": 1}).status_code == 400
    assert desk.ask("POST", path, json={}).json()["fingerprint"] == ""
    assert desk.ask("GET", f"/{device_id}").json()["auth_info"].get("fingerprint") is None
    assert desk.ask("POST", f"/{desk.made('other')}/reset-fingerprint", json={}).status_code == 400


def test_frozen_and_thawed(desk: Desk) -> None:
    """A frozen device loses its link, is told FROZEN and refused with 5, until it is thawed."""
    device_id = desk.made()
    with desk.online(device_id) as client:
        assert desk.ask("POST", f"/{device_id}/freeze").status_code == 204
        assert client.is_cut()
    assert desk.status(device_id) == "FROZEN"
    with desk.link() as client:
        assert client.connect(*desk.login(device_id)) == 5
    assert desk.ask("POST", f"/{device_id}/unfreeze").status_code == 204
    desk.online(device_id).close()


def test_trouble_in_the_vendors_shape(desk: Desk) -> None:
    """A storm of 429 passes; what was asked for meanwhile has not happened."""
    desk.twin.faults.add(faults.busy(error_code="APIGW.0308", error_msg="The throttling threshold was reached."), 2)
    assert [desk.create().status_code for _ in range(3)] == [429, 429, 201]


def test_a_late_cut_has_made_the_device(desk: Desk) -> None:
    """A create whose answer is cut has made the device all the same: the next one finds it taken."""
    desk.twin.faults.add(faults.cut(is_late=True), method="POST")
    with pytest.raises(httpx.RemoteProtocolError):
        desk.create(auth_info={"secret": SECRET})
    assert desk.create().json()["error_code"] == "IOTDA.014031"


def test_vectors_of_the_password() -> None:
    """The formula of the password gives the vectors that the protocol page has."""
    own = "8bc0e74a89f4a7d2ff3214a2d0c55338af4cfa9da0451dd8c0beaab685fdfad4"
    assert logins.password_of("S3cret_Value-01", "2024010203") == own
    inner = logins.group_secret_of("MDEyMzQ1Njc4OWFiY2RlZg==", "demo-device-01")
    group = "487dd104d05aa69e8edd37dad081960d3fc96ad8f5be1a9862a4ebf1b620f407"
    assert logins.password_of(inner, "2024010203") == group
