"""The Roboflow-style devices API over the real app: every field, every 400, 401, 403, 404, 413 and 415."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from firstlight_hub.model import Device
from firstlight_hub.release_keys import load
from tests.hub.hub_world import FACTS, JSON, Box, World, refusal, world

BASE = "/demo/devices/v2"
CALLS = [("GET", BASE), ("POST", BASE), ("GET", f"{BASE}/x"), ("DELETE", f"{BASE}/x")]
BAD_PAGES = [{"limit": "0"}, {"limit": "501"}, {"limit": "x"}, {"cursor": "!"}, {"cursor": "f" * 16}]


def test_create_answers_ids_and_an_install_command(hub: World) -> None:
    """Creating a device answers 201 with its id, a 26-character installId, its expiry and the command to paste."""
    answer = hub.create()
    body = answer.json()
    assert answer.status_code == 201
    assert body["deviceId"].startswith("dock-cam-3-")
    assert len(body["installId"]) == 26
    assert body["installIdExpiresAt"] == "2027-01-16T08:00:00.000Z"
    assert body["installCommand"] == (
        f"s=$(curl -sSk --pinnedpubkey 'sha256//{'A' * 43}=' "
        f"'https://hub.example:8443/devices/v2/{body['installId']}/install.sh') && printf '%s\\n' \"$s\" | sudo sh"
    )
    assert "offlineProvisioningQrPayload" not in body


def test_new_device_is_unknown_and_its_monitoring_is_null(hub: World) -> None:
    """A created device stands in the list at once: status unknown, everything from monitoring null."""
    device_id, _ = hub.created(tags=["yard"], device_type="edge")
    nothing = dict.fromkeys(
        [
            "last_heartbeat",
            "platform",
            "platform_release",
            "platform_version",
            "architecture",
            "hostname",
            "rfdm_version",
            "type",
        ]
    )
    expected = {"id": device_id, "name": "Dock cam 3", "status": "unknown", "tags": ["yard"], "hardware": None}
    expected["created_at"] = "2027-01-15T08:00:00.000Z"
    assert hub.device(device_id) == {**nothing, **expected}
    assert hub.call("GET", BASE).json() == {"data": [hub.device(device_id)]}


def test_monitoring_fields_come_with_the_first_beat_not_with_redeem(hub: World, box: Box) -> None:
    """Redeem stores the facts but the record shows them only once the device has beaten."""
    device_id, key = hub.enrolled(box)
    assert hub.device(device_id)["hostname"] is None
    assert hub.device(device_id)["rfdm_version"] is None
    assert hub.beat(device_id, key, box.beat_body()).status_code == 200
    shown = hub.device(device_id)
    assert {name: shown[name] for name in ("platform", "hostname", "type")} == {
        "platform": FACTS.platform,
        "hostname": FACTS.hostname,
        "type": FACTS.type,
    }
    assert shown["hardware"] == FACTS.hardware._asdict()
    assert (shown["status"], shown["rfdm_version"]) == ("online", "0.1.0")
    assert shown["last_heartbeat"] == "2027-01-15T08:00:00.000Z"


def test_status_follows_the_clock(hub: World, box: Box) -> None:
    """Online up to and including 300 s after the last beat, offline after, online again with the next."""
    device_id, key = hub.enrolled(box)
    hub.beat(device_id, key, box.beat_body())
    hub.clock.forward(300)
    assert hub.device(device_id)["status"] == "online"
    hub.clock.forward(0.001)
    assert hub.device(device_id)["status"] == "offline"
    hub.beat(device_id, key, box.beat_body())
    assert hub.device(device_id)["status"] == "online"


def test_tags_are_trimmed_and_deduplicated_in_order(hub: World) -> None:
    """Tags lose blanks around them and doubles; their order stays."""
    device_id, _ = hub.created(tags=[" b ", "a", "b", "a\t"])
    assert hub.device(device_id)["tags"] == ["b", "a"]


@pytest.mark.parametrize(
    "fields",
    [
        {"device_name": None},
        {"device_name": ""},
        {"device_name": "  "},
        {"device_name": 3},
        {"device_name": "x" * 257},
        {"device_name": "bell\x07"},
        {"device_name": "half \ud800"},
        {"device_type": 3},
        {"device_type": ""},
        {"workflow_id": ["w"]},
        {"tags": "a"},
        {"tags": ["a", " "]},
        {"tags": ["a", 1]},
        {"tags": ["a"] * 65},
        {"offline_mode": "yes"},
        {"offline_mode": 1},
        {"sourceDeviceId": 5},
        {"transport": "pigeon"},
        {"transport": ["mqtt"]},
        {"credential": "mqtt"},
        {"credential": 1},
        {"offline_mode": True},
        {"offline_mode": True, "device_type": "edge"},
        {"device_type": "ai1", "device_name": "---"},
    ],
)
def test_create_refuses_bad_fields(hub: World, fields: dict[str, Any]) -> None:
    """Each rule of the create page that ends in 400."""
    assert refusal(hub.create(**fields)) == (400, "bad_request")
    assert hub.call("GET", BASE).json() == {"data": []}


def test_create_takes_the_road_that_is_wished_for(hub: World) -> None:
    """Transport and credential are kept for the redeem, and nothing of it is shown in the public record."""
    device_id, _ = hub.created(transport="http", credential="secret")
    plain, _ = hub.created(transport=None, credential=None)
    found = [hub.parts.devices.get("demo", one) for one in (device_id, plain)]
    assert [(one.transport, one.credential) for one in found] == [("http", "secret"), (None, None)]
    assert hub.device(device_id).keys() == hub.device(plain).keys()


def test_create_refuses_a_road_that_the_hub_has_not(hub: World) -> None:
    """The operator hears it, not the technician; nothing is made."""
    assert refusal(hub.create(transport="websocket")) == (409, "transport_unavailable")
    assert hub.call("GET", BASE).json() == {"data": []}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", (400, "bad_request")),
        (b"{", (400, "bad_request")),
        (b"[]", (400, "bad_request")),
        (b'{"device_name": NaN}', (400, "bad_request")),
        (b'{"tags":' + b"[" * 30_000, (400, "bad_request")),
        (b"\xff", (400, "bad_request")),
        (b'{"device_name":"' + b"x" * 65_536 + b'"}', (413, "request_too_large")),
    ],
)
def test_create_refuses_bodies_that_are_no_small_object(hub: World, body: bytes, expected: tuple[int, str]) -> None:
    """What is not JSON, not an object, nested too deeply or too large gets a named answer."""
    headers = {**JSON, "Authorization": f"Bearer {hub.key}"}
    assert refusal(hub.client.request("POST", BASE, content=body, headers=headers)) == expected


def test_body_without_a_length_is_bounded_too(hub: World) -> None:
    """A chunked body is refused at the limit, whatever it says of itself."""
    headers = {**JSON, "Authorization": f"Bearer {hub.key}"}

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(80):
            yield b" " * 1000

    assert refusal(hub.client.request("POST", BASE, content=chunks(), headers=headers)) == (413, "request_too_large")


def test_create_wants_json(hub: World) -> None:
    """A body of another media type is 415."""
    answer = hub.call("POST", BASE, data={"device_name": "x"})
    assert refusal(answer) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("workspace", "fields"),
    [
        ("plain", {"device_type": "ai1"}),
        ("plain", {"device_type": "ai1", "offline_mode": True}),
        ("aio", {"device_type": "ai1", "offline_mode": True}),
    ],
)
def test_ai1_needs_the_features_of_the_workspace(hub: World, workspace: str, fields: dict[str, Any]) -> None:
    """AI1 needs deviceAio, and offline mode needs roboflowLiteMode besides: 403 without."""
    assert refusal(hub.create(workspace, hub.new_key(workspace), **fields)) == (403, "forbidden")


@pytest.mark.parametrize("fields", [{}, {"device_name": "--", "workflow_id": "w"}])
def test_ai1_with_a_slug_or_a_workflow_is_created(hub: World, fields: dict[str, Any]) -> None:
    """An AI1 device needs an alphanumeric name only where no workflow is given."""
    assert hub.create(device_type="ai1", **fields).status_code == 201


def test_source_device_lends_what_is_not_given(tmp_path: Path) -> None:
    """A duplicate takes type, tags, workflow and offline mode of its source, unless they are given."""
    with world(tmp_path, payloads=load(tmp_path)) as hub:
        source, _ = hub.created(device_type="ai1", offline_mode=True, tags=["a"], workflow_id="w")
        copy = hub.create(device_name="---", sourceDeviceId=source).json()
        assert "offlineProvisioningQrPayload" in copy
        assert hub.device(copy["deviceId"])["tags"] == ["a"]
        assert hub.device(copy["deviceId"])["name"] == "---"
        other = hub.create(sourceDeviceId=source, offline_mode=False, tags=[]).json()
        assert "offlineProvisioningQrPayload" not in other
        assert hub.device(other["deviceId"])["tags"] == []
        stored = hub.parts.devices.get("demo", other["deviceId"])
        assert (stored.device_type, stored.workflow_id) == ("ai1", "w")


def test_source_device_must_exist_in_this_workspace(hub: World) -> None:
    """An unknown source is 404, one of another workspace 403."""
    foreign = hub.create("plain", hub.new_key("plain")).json()["deviceId"]
    assert refusal(hub.create(sourceDeviceId="nobody")) == (404, "not_found")
    assert refusal(hub.create(sourceDeviceId="../..")) == (404, "not_found")
    assert refusal(hub.create(sourceDeviceId=foreign)) == (403, "forbidden")


@pytest.mark.parametrize("key", ["", "wrong", "x" * 5000])
@pytest.mark.parametrize(
    ("method", "path"), [("GET", BASE), ("POST", BASE), ("GET", BASE + "/x"), ("DELETE", BASE + "/x")]
)
def test_a_missing_or_wrong_key_is_401(hub: World, key: str, method: str, path: str) -> None:
    """Without a good key nothing is answered, whatever the body is."""
    answer = hub.client.request(method, path, params={"api_key": key} if key else {}, content=b"junk")
    assert refusal(answer) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"


def test_key_may_stand_in_the_query(hub: World) -> None:
    """?api_key= does what the Authorization header does."""
    assert hub.client.request("GET", BASE, params={"api_key": hub.key}).status_code == 200


def test_scopes_are_kept(hub: World) -> None:
    """A key may do what its scopes say, a key without a scope list everything: 403 otherwise."""
    reader, writer = hub.new_key(scopes=["device:read"]), hub.new_key(scopes=["device:update"])
    device_id = hub.create(key=writer).json()["deviceId"]
    assert refusal(hub.create(key=reader)) == (403, "forbidden")
    assert hub.call("GET", f"{BASE}/{device_id}", reader).status_code == 200
    assert refusal(hub.call("GET", BASE, writer)) == (403, "forbidden")
    assert refusal(hub.call("GET", f"{BASE}/{device_id}", writer)) == (403, "forbidden")
    assert refusal(hub.call("DELETE", f"{BASE}/{device_id}", reader)) == (403, "forbidden")


def test_revoked_key_is_401_at_once(hub: World) -> None:
    """Revoking a key counts from the next call on."""
    made, secret = hub.parts.access.create_key("demo", None, None, "")
    key = secret.reveal()
    assert hub.call("GET", BASE, key).status_code == 200
    hub.parts.access.revoke_key(made.handle)
    assert refusal(hub.call("GET", BASE, key)) == (401, "unauthorized")


def test_device_key_sees_its_own_device_only(hub: World, box: Box) -> None:
    """A device's key: 200 on itself, 403 on a sibling (there or not), on list, on create and on every change."""
    device_id, own = hub.enrolled(box)
    sibling, _ = hub.created()
    assert hub.call("GET", f"{BASE}/{device_id}", own).status_code == 200
    bound = hub.new_key(device_id=device_id)
    for key in (own, bound):
        for method, path in [
            ("GET", BASE),
            ("GET", f"{BASE}/{sibling}"),
            ("GET", f"{BASE}/nobody"),
            ("DELETE", f"{BASE}/{sibling}"),
            ("GET", f"{BASE}/{device_id}/install-ids"),
            ("POST", f"{BASE}/{device_id}/install-ids"),
        ]:
            assert refusal(hub.call(method, path, key)) == (403, "forbidden"), (method, path)
        assert refusal(hub.create(key=key)) == (403, "forbidden")
    assert refusal(hub.call("DELETE", f"{BASE}/{device_id}", own)) == (403, "forbidden")


def test_other_workspaces_stay_hidden(hub: World) -> None:
    """Another workspace's device, another workspace and one that does not exist are all 404."""
    foreign = hub.create("plain", hub.new_key("plain")).json()["deviceId"]
    for path in (f"{BASE}/{foreign}", f"/plain/devices/v2/{foreign}", "/plain/devices/v2", "/nowhere/devices/v2"):
        assert refusal(hub.call("GET", path)) == (404, "not_found")
    assert refusal(hub.call("DELETE", f"{BASE}/{foreign}")) == (404, "not_found")
    assert refusal(hub.create("plain")) == (404, "not_found")


def test_pages_follow_each_other_without_gap(hub: World) -> None:
    """With limit and cursor the list comes in pages, each device once, in the order of creation."""
    made = [hub.created()[0] for _ in range(5)]
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(3):
        query = {"limit": "2", **({"cursor": cursor} if cursor else {})}
        body = hub.call("GET", BASE, params=query).json()
        seen += [device["id"] for device in body["data"]]
        cursor = body["next_cursor"]
    assert (seen, cursor) == (made, None)
    assert [device["id"] for device in hub.call("GET", BASE).json()["data"]] == made


@pytest.mark.parametrize(
    "query", [{"limit": "0"}, {"limit": "501"}, {"limit": "x"}, {"cursor": "!"}, {"cursor": "f" * 16}]
)
def test_bad_page_is_400(hub: World, query: dict[str, str]) -> None:
    """A limit outside 1 to 500 or a cursor that is none of ours is a bad request."""
    assert refusal(hub.call("GET", BASE, params=query)) == (400, "bad_request")


def test_whole_list_is_streamed_over_many_batches(hub: World) -> None:
    """Without limit the list has every device, however many."""
    with hub.store.writing() as transaction:
        for number in range(1203):
            transaction.add_device(Device(0, "demo", f"d{number}", "n", None, None, (), False, 0))
    ids = [device["id"] for device in hub.call("GET", BASE).json()["data"]]
    assert ids == [f"d{number}" for number in range(1203)]


def test_removed_device_is_gone(hub: World, box: Box) -> None:
    """DELETE answers 204, then the device is 404 and its own key is 401."""
    device_id, key = hub.enrolled(box)
    answer = hub.call("DELETE", f"{BASE}/{device_id}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert refusal(hub.call("GET", f"{BASE}/{device_id}")) == (404, "not_found")
    assert refusal(hub.call("DELETE", f"{BASE}/{device_id}")) == (404, "not_found")
    assert refusal(hub.call("GET", f"{BASE}/{device_id}", key)) == (401, "unauthorized")


def test_install_ids_are_listed_by_handle_and_revoked(hub: World, box: Box) -> None:
    """The list names installIds by handle and state, never the id itself; a revoked one cannot be redeemed."""
    device_id, install_id = hub.created()
    path = f"{BASE}/{device_id}/install-ids"
    second = hub.call("POST", path)
    assert second.status_code == 201
    assert second.json()["deviceId"] == device_id
    listed = hub.call("GET", path)
    assert install_id not in listed.text
    assert [one["state"] for one in listed.json()["data"]] == ["open", "open"]
    hub.redeem(install_id, box)
    assert sorted(one["state"] for one in hub.call("GET", path).json()["data"]) == ["redeemed", "revoked"]
    second = hub.call("POST", path)
    states = {one["state"]: one["handle"] for one in hub.call("GET", path).json()["data"]}
    assert sorted(states) == ["open", "redeemed", "revoked"]
    assert hub.call("DELETE", f"{path}/{states['open']}").status_code == 204
    assert hub.call("DELETE", f"{path}/{states['open']}").status_code == 204
    assert refusal(hub.redeem(second.json()["installId"], box)) == (410, "install_id_revoked")
    assert refusal(hub.call("DELETE", f"{path}/000000000000")) == (404, "not_found")
    assert refusal(hub.call("GET", f"{BASE}/nobody/install-ids")) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", BASE, "GET, POST"),
        ("POST", BASE + "/x", "DELETE, GET"),
        ("GET", BASE + "/x/heartbeat", "POST"),
        ("GET", "/devices/v2/x/redeem", "POST"),
        ("TRACE", "/health", "GET"),
    ],
)
def test_unexpected_method_is_405_with_every_allowed_one(hub: World, method: str, path: str, allow: str) -> None:
    """The Allow header names all methods of the address."""
    answer = hub.client.request(method, path)
    assert refusal(answer) == (405, "method_not_allowed")
    assert answer.headers["allow"] == allow


def test_unknown_address_is_404_in_our_words(hub: World) -> None:
    """Even an address that does not exist is answered as a problem."""
    assert refusal(hub.client.request("GET", "/nowhere")) == (404, "not_found")


def test_health_answers(hub: World) -> None:
    """GET /health is 200 while the database can be read."""
    assert hub.client.request("GET", "/health").json().keys() == {"hub", "serverTime"}
