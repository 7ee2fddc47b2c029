"""The Huawei twin's create: the vendor's own example, and every field at, below and above its edge."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.twins.conftest import SECRET, Desk
from tests.twins.huawei import example, serve
from tests.twins.kit.clock import TwinClock

FINGERPRINT = "dc0f1016f495157344ac5f1296335cff725ef22f"
LONGEST_WORDS = "a_?'#().,&%@!-" + "b" * 242


@pytest.fixture(scope="module")
def one_twin() -> Iterator[Desk]:
    """A twin for all the tests of single fields: quicker."""
    clock = TwinClock(example.CREATED_S, runs=False)
    with serve(clock=clock) as twin:
        one = Desk(twin, clock)
        yield one
        one.http.close()


def refused(desk: Desk, **fields: Any) -> str:
    """The error code of a create that must fail with 400, in the vendor's shape."""
    reply = desk.create(**fields)
    assert reply.status_code == 400, reply.text
    assert set(reply.json()) == {"error_code", "error_msg"}
    return str(reply.json()["error_code"])


def test_the_example_with_a_secret(desk: Desk) -> None:
    """The page's first request gives the page's answer, but for the fingerprint that it shows beside the secret."""
    reply = desk.ask("POST", json=example.request("secret"))
    expected = example.answer()
    del expected["auth_info"]["fingerprint"]
    assert reply.status_code == 201
    assert reply.json() == expected | {"device_sdk_version": None}


def test_the_example_with_a_certificate(desk: Desk) -> None:
    """The page's second request gives the same answer with the certificate's side of the proof."""
    reply = desk.ask("POST", json=example.request("certificates"))
    expected = example.answer()
    del expected["auth_info"]["secret"]
    expected["auth_info"]["auth_type"] = "CERTIFICATES"
    assert reply.json() == expected | {"device_sdk_version": None}


def test_the_example_of_a_child(desk: Desk) -> None:
    """The page's third request needs its gateway, and then gives the same answer below it."""
    missing = desk.ask("POST", json=example.request("child"))
    assert (missing.status_code, missing.json()["error_code"]) == (404, "IOTDA.014000")
    assert desk.create("gateway", device_id=example.GATEWAY_ID).status_code == 201
    reply = desk.ask("POST", json=example.request("child")).json()
    expected = example.answer() | {"gateway_id": example.GATEWAY_ID, "device_sdk_version": None}
    auth, shown = reply.pop("auth_info"), expected.pop("auth_info")
    assert reply == expected
    assert (auth["auth_type"], auth["secure_access"], auth["timeout"]) == (shown["auth_type"], True, 0)


def test_the_example_sets_the_shadow(desk: Desk) -> None:
    """What is desired and differs from the product's default stands in the shadow; other defaults stay."""
    device_id = desk.ask("POST", json=example.request("secret")).json()["device_id"]
    (part,) = desk.ask("GET", f"/{device_id}/shadow").json()["shadow"]
    assert part["service_id"] == "WaterMeter"
    assert part["desired"]["properties"] == {"temperature": "60", "unit": "C"}
    assert part["reported"] is None


def test_null_and_nothing_delete_from_the_shadow(desk: Desk) -> None:
    """Null takes one desired value away, an empty object all of a service."""
    for number, (desired, left) in enumerate((({"temperature": None}, {"unit": "C"}), ({}, None))):
        shadow = [{"service_id": "WaterMeter", "desired": desired}]
        reply = desk.create(f"n{number}", product_id=example.PRODUCT_ID, shadow=shadow)
        parts = desk.ask("GET", f"/{reply.json()['device_id']}/shadow").json()["shadow"]
        assert [part["desired"]["properties"] for part in parts] == ([left] if left else [])


def test_the_least(desk: Desk) -> None:
    """Of two fields the platform makes a device: its id, a secret that is never told whole, and its kind."""
    record = desk.create().json()
    assert record["device_id"] == f"{desk.twin.product_id}_box-1"
    assert record["gateway_id"] == record["device_id"]
    assert (record["status"], record["node_type"]) == ("INACTIVE", "GATEWAY")
    assert record["create_time"] == "20190303T081011Z"
    kept = desk.twin.state.devices[record["device_id"]].secret
    assert kept not in str(record)
    assert record["auth_info"]["secret"] == f"{kept[:4]}****{kept[-5:]}"


@pytest.mark.parametrize(
    "fields",
    [
        {"device_id": "d" * 128},
        {"device_id": "d"},
        {"node_id": "n" * 64},
        {"node_id": "A-z_0"},
        {"device_name": LONGEST_WORDS},
        {"device_name": "x"},
        {"description": "d" * 2048},
        {"description": ""},
        {"extension_info": {"a": "x" * 1016}},
        {"extension_info": {}},
        {"auth_info": {"secret": "s" * 8}},
        {"auth_info": {"secret": "s" * 32}},
        {"auth_info": {"timeout": 0}},
        {"auth_info": {"timeout": 2_147_483_647}},
        {"auth_info": {"auth_type": "CERTIFICATES"}},
        {"auth_info": {"auth_type": "CERTIFICATES", "fingerprint": "A" * 64}},
        {"auth_info": {"secure_access": False}},
        {"auth_info": None, "description": None},
        {"an_unknown_field": 1, "auth_info": {"another": True}},
    ],
)
def test_what_is_within_its_limits_is_taken(one_twin: Desk, fields: dict[str, Any]) -> None:
    """A field at its edge makes a device, and so do fields that the vendor does not know."""
    reply = one_twin.create(**fields)
    assert reply.status_code == 201
    assert one_twin.ask("DELETE", f"/{reply.json()['device_id']}").status_code == 204


@pytest.mark.parametrize(
    "fields",
    [
        {"device_id": "d" * 129},
        {"device_id": ""},
        {"device_id": "a.b"},
        {"device_id": 7},
        {"node_id": "n" * 65},
        {"node_id": ""},
        {"node_id": "a b"},
        {"node_id": "knoten-ä"},
        {"node_id": ...},
        {"node_id": 7},
        {"product_id": ...},
        {"product_id": "p" * 37},
        {"product_id": "unknown"},
        {"device_name": ""},
        {"device_name": LONGEST_WORDS + "c"},
        {"device_name": "a box"},
        {"device_name": "a/b"},
        {"description": "d" * 2049},
        {"description": "a\nb"},
        {"description": []},
        {"extension_info": {"a": "x" * 1017}},
        {"extension_info": "text"},
        {"gateway_id": "g" * 129},
        {"app_id": "a" * 37},
        {"auth_info": []},
        {"auth_info": {"auth_type": "secret", "secret": SECRET}},
        {"auth_info": {"auth_type": "SECRET"}},
        {"auth_info": {"secret": "s" * 7}},
        {"auth_info": {"secret": "s" * 33}},
        {"auth_info": {"secret": "with space"}},
        {"auth_info": {"secret": 12_345_678}},
        {"auth_info": {"auth_type": "CERTIFICATES", "fingerprint": "a" * 39}},
        {"auth_info": {"auth_type": "CERTIFICATES", "fingerprint": "a" * 41}},
        {"auth_info": {"auth_type": "CERTIFICATES", "fingerprint": "g" * 40}},
        {"auth_info": {"secure_access": "true"}},
        {"auth_info": {"timeout": -1}},
        {"auth_info": {"timeout": 2_147_483_648}},
        {"auth_info": {"timeout": True}},
        {"auth_info": {"timeout": "60"}},
        {"shadow": {}},
        {"shadow": [{"desired": {}}]},
        {"shadow": [{"service_id": "Firstlight"}]},
        {"shadow": [{"service_id": "s" * 33, "desired": {}}]},
        {"shadow": [{"service_id": "Unknown", "desired": {"a": 1}}]},
        {"shadow": [{"service_id": "Firstlight", "desired": {"unknown": 1}}]},
        {"shadow": [{"service_id": "Firstlight", "desired": {"site": {"deep": 1}}}]},
    ],
)
def test_what_breaks_a_rule_is_refused(one_twin: Desk, fields: dict[str, Any]) -> None:
    """A field beyond its edge or of another type is refused as invalid input, and nothing is made."""
    assert refused(one_twin, **fields) == "IOTDA.000006"
    assert not one_twin.twin.state.devices


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b'{"node_id": NaN}', b"\xff"])
def test_what_is_no_object_is_malformed(one_twin: Desk, body: bytes) -> None:
    """A body that is no JSON object has a code of its own."""
    reply = one_twin.ask("POST", content=body)
    assert (reply.status_code, reply.json()["error_code"]) == (400, "IOTDA.000008")


def test_half_a_pair(desk: Desk) -> None:
    """Text that is no UTF-8 once it is decoded comes back as it went."""
    fields = {"node_id": "n", "product_id": desk.twin.product_id, "extension_info": {"half": "\ud800", "ä": 1}}
    reply = desk.ask("POST", content=json.dumps(fields).encode())
    assert reply.status_code == 201
    assert json.loads(reply.content)["extension_info"] == fields["extension_info"]


def test_nothing_is_made_twice(desk: Desk) -> None:
    """The id, the node_id of a product and the name in a resource space are each taken once."""
    assert desk.create("one", device_id="id-1", device_name="name-1").status_code == 201
    for node_id, fields in (("two", {"device_id": "id-1"}), ("one", {}), ("two", {"device_name": "name-1"})):
        assert refused(desk, node_id=node_id, **fields) == "IOTDA.014031"
    assert desk.create("one", product_id=example.PRODUCT_ID).status_code == 201


def test_an_unknown_resource_space(desk: Desk) -> None:
    """A resource space that is not there is refused with its own code."""
    reply = desk.create(app_id="nowhere")
    assert (reply.status_code, reply.json()["error_code"]) == (403, "IOTDA.001000")


def test_children_have_two_levels(desk: Desk) -> None:
    """A gateway may have children and these have some of their own, and no more; a foreign gateway is none."""
    ids = [desk.made("n0")]
    for level in (1, 2):
        reply = desk.create(f"n{level}", gateway_id=ids[-1], auth_info={"timeout": 60})
        assert reply.json()["gateway_id"] == ids[-1]
        assert reply.json()["node_type"] == "ENDPOINT"
        assert reply.json()["auth_info"]["timeout"] == 0
        ids.append(reply.json()["device_id"])
    assert refused(desk, node_id="n3", gateway_id=ids[-1]) == "IOTDA.000006"
    desk.twin.state.devices[ids[0]].project_id = "foreign"
    assert desk.create("n4", gateway_id=ids[0]).status_code == 404


def test_a_registration_that_is_never_used_ends(desk: Desk) -> None:
    """What has not connected within its timeout is deleted; what has connected stays, and so does timeout 0."""
    unused = desk.made("unused", secret=SECRET, timeout=100)
    used = desk.made("used", secret=SECRET, timeout=100)
    kept = desk.made("kept")
    with desk.online(used):
        desk.clock.advance(100)
        assert desk.ask("GET", f"/{unused}").status_code == 200
        desk.clock.advance(1)
        assert [desk.ask("GET", f"/{each}").status_code for each in (unused, used, kept)] == [404, 200, 200]
    with desk.link() as late:
        assert late.connect(*desk.login(unused)) == 4
