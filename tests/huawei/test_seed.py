"""The create page's own example requests, sent by our dialect to the twin, give the page's own example answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from firstlight.core.management import Place
from firstlight.core.model import Secret, Trust, parse_endpoint
from firstlight.platforms.huawei import management
from firstlight.transports.http_calls import HttpCalls
from tests.twins.huawei import PROJECT_ID, HuaweiTwin, example, serve
from tests.twins.kit.clock import TwinClock


@pytest.fixture
def seeded() -> Iterator[HuaweiTwin]:
    """A twin at the page's time, with the page's product."""
    with serve(clock=TwinClock(example.CREATED_S, runs=False)) as one:
        example.arrange(one.state)
        yield one


def create(twin: HuaweiTwin, request: dict[str, Any]) -> dict[str, Any]:
    """The record that the platform answers to the page's request, which is sent as it stands there."""
    values = {name: value for name, value in request.items() if name != "auth_info"} | request.get("auth_info", {})
    extra = (("device_broker", twin.mqtt_url),)
    place = Place(parse_endpoint(twin.http_url), PROJECT_ID, Secret(twin.operator_key), extra)
    device = management.new_device(place, values)
    call = management.create(place, device)
    assert json.loads(call.body or b"") == request
    with HttpCalls(Trust(ca_pem=twin.ca_pem)) as calls:
        record: dict[str, Any] = management.read_created(place, device, calls.exchange(call, 10)).record
    # The page's table has it and its example leaves it out, as it has not been told yet.
    assert record.pop("device_sdk_version") is None
    return record


def test_the_example_with_a_secret(seeded: HuaweiTwin) -> None:
    """The whole answer, but for the fingerprint: a device with a secret has none, though the page shows one."""
    answer, found = example.answer(), create(seeded, example.request("secret"))
    answer["auth_info"].pop("fingerprint", None)
    found["auth_info"].pop("fingerprint", None)
    assert found == answer


def test_the_example_with_a_certificate(seeded: HuaweiTwin) -> None:
    """The same device with a fingerprint, masked as the page masks it."""
    answer, found = example.answer(), create(seeded, example.request("certificates"))
    assert found["auth_info"]["auth_type"] == "CERTIFICATES"
    assert found["auth_info"]["fingerprint"] == answer["auth_info"]["fingerprint"]
    assert {**found, "auth_info": None} == {**answer, "auth_info": None}
