"""Fleet's dialect where no exchange shows it: facts into fields, pauses, sizes of batches, answers of any kind."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstlight.core.exchange import HttpReply
from firstlight.core.management import Place
from firstlight.core.model import Facts, Hardware, Secret, parse_endpoint
from firstlight.errors import RefusedError, UnreachableError, UsageError
from firstlight.platforms import half
from firstlight.platforms.desk_replies import accepted, reason_of
from firstlight.platforms.fleet import management
from firstlight.platforms.fleet.fields import FIELDS
from firstlight.wire.facts import facts_object
from tests.twins.fleet.items import RULES

PLACE = Place(parse_endpoint(management.BASE), "", Secret("fleet-secret"))
FACTS = Facts("cam-3", "Linux", "6.1", "#1", "aarch64", "jetson", Hardware("ARMv8", "Orin", 7620, 59_000))
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


def test_the_fields_are_those_of_the_seed() -> None:
    """As many as the twin has rules for, under the same names, the three of mixed case among them."""
    assert {field.name for field in FIELDS} == set(RULES)
    assert len(FIELDS) == 39
    assert {"client_warranty_endDate", "client_rental_startDate", "client_rental_endDate"} < set(RULES)
    assert {field.name for field in FIELDS if field.is_required} == {"name", "type", "category"}


def test_facts_fill_what_they_can() -> None:
    """What ``firstlight facts --json`` prints, with serial number and nameplate."""
    more = {"serial": "1423", "brand": "NVIDIA", "model": "Jetson Orin Nano", "screen_size": '7.0"', "facts_hash": "0"}
    assert management.from_facts({**facts_object(FACTS), **more}) == {
        "name": "cam-3",
        "serial_number": "1423",
        "brand": "NVIDIA",
        "processor": "ARMv8",
        "graphic": "Orin",
        "ram": "8 GB",
        "storage": "58 GB",
        "screen_size": '7.0"',
        "os_platform": "Linux",
        "comment": "Jetson Orin Nano, aarch64",
    }


def test_a_hubs_record_fills_too() -> None:
    """Its name counts before the host's; what was never beaten is null and left out."""
    record = {"id": "cam-3-x", "name": "Dock camera", "status": "unknown", "hostname": None, "hardware": None}
    assert management.from_facts(record) == {"name": "Dock camera"}
    found = management.from_facts({**record, **facts_object(FACTS)})
    assert (found["name"], found["ram"]) == ("Dock camera", "8 GB")


def test_a_disk_that_is_told_in_bytes_is_known_for_it() -> None:
    """Roboflow's own example has such a number under the name of megabytes."""
    found = management.from_facts({"hardware": {"total_disk_space_mb": 62_000_000_000, "total_memory_mb": True}})
    assert found == {"storage": "58 GB"}


@given(st.dictionaries(st.sampled_from(["name", "serial", "hardware", "model", "brand", "platform"]), JUNK))
def test_any_facts_become_fields_that_fit(facts: dict[str, object]) -> None:
    """Whatever a file holds, it never raises, and what comes out can be posted."""
    values = {"name": "x", "type": "t", "category": "c", **management.from_facts(facts)}
    device = management.new_device(PLACE, values)
    json.loads(management.create(PLACE, device).body or b"")


@given(st.dictionaries(st.sampled_from(sorted(RULES)), JUNK))
def test_what_passes_here_passes_at_fleet(values: dict[str, object]) -> None:
    """A value is refused by name, or the twin has nothing against it."""
    try:
        device = management.new_device(PLACE, values)
    except UsageError as error:
        assert error.code == "field_invalid"
        assert error.message.partition(" ")[0] in RULES
        return
    assert all(not RULES[name](value) for name, value in device.item)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, 0),
        ({"ratelimit-remaining": "1", "ratelimit-reset": "30"}, 0),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "30"}, 30),
        ({"ratelimit-remaining": "0"}, 60),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "1800000000"}, 60),
        ({"ratelimit-remaining": "none", "ratelimit-reset": "30"}, 0),
        ({"ratelimit": "limit=100, remaining=0, reset=12"}, 12),
        ({"ratelimit": '"default";r=0;t=7'}, 7),
        ({"ratelimit": '"default";r=5;t=7'}, 0),
    ],
)
def test_a_pause_comes_before_the_refusal(headers: dict[str, str], wait_s: float) -> None:
    """Where the headers say that none is left, in either spelling."""
    assert management.pause_s(HttpReply(200, headers, b"")) == wait_s


@pytest.mark.parametrize("text", ["0", "101", "x", "-1", "1.5", "1000", "٣"])
def test_a_batch_has_its_size(text: str) -> None:
    """1 to 100, 50 unless said."""
    assert management.batch_size(PLACE) == 50
    assert management.batch_size(PLACE._replace(extra=(("batch", "100"),))) == 100
    with pytest.raises(UsageError):
        management.batch_size(PLACE._replace(extra=(("batch", text),)))


@pytest.mark.parametrize("path", ["platform/v1", "/a b", "/a/../../b?x", "/a#b", "/" + "x" * 40])
def test_a_path_is_a_path(path: str) -> None:
    """Nothing that would end in another place."""
    with pytest.raises(UsageError):
        management.list_page(PLACE._replace(extra=(("path", path),)), "")


@pytest.mark.parametrize("platform", ["fleet", "roboflow"])
def test_there_is_no_device_half_and_why(platform: str) -> None:
    """One sentence that says what to do instead."""
    with pytest.raises(UsageError) as caught:
        half(platform, "device")
    assert {"fleet": "inventory", "roboflow": "has not published"}[platform] in caught.value.message
    with pytest.raises(UsageError) as caught:
        half(platform, "nothing")
    assert caught.value.message == f"The platform {platform} has no nothing half."


@given(st.binary(max_size=400), st.integers(200, 599))
def test_any_answer_is_a_named_error_or_an_object(body: bytes, status: int) -> None:
    """Nothing that a server can send raises anything else, and what is shown is printable and short."""
    try:
        assert isinstance(accepted(HttpReply(status, {"retry-after": "x"}, body), (200,), "Fleet"), dict)
    except (RefusedError, UnreachableError) as error:
        assert error.message.isprintable()
        assert len(error.message) < 1200
        assert error.hint


@given(JUNK)
def test_a_reason_is_read_from_any_json(value: object) -> None:
    """Text or object under ``error``, or none of it."""
    for told in (value, {"error": value}, {"error": {"type": value, "message": value}}):
        reason = reason_of(json.dumps(told).encode())
        assert reason.message.isprintable()
