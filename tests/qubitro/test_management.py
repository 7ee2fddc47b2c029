"""The management half of Qubitro's dialect against its twin: every field at its edges, every answer in each shape."""

import json
from collections.abc import Callable

import pytest

from firstlight.core.exchange import HttpCall, HttpReply
from firstlight.core.management import Made, Place
from firstlight.core.model import Secret, parse_endpoint
from firstlight.errors import FirstlightError, RefusedError, UnreachableError, UsageError
from firstlight.platforms.qubitro import management
from firstlight.platforms.qubitro.management import NewDevice
from tests.qubitro.conftest import Desk
from tests.twins.kit import faults
from tests.twins.kit.clock import TwinClock
from tests.twins.kit.faults import Fault
from tests.twins.qubitro import QubitroTwin, serve
from tests.twins.qubitro.state import AVATAR, NEVER

PUMP = NewDevice("Pump 1", "In the cellar", "mqtt", ("north", "line_2"))
PLACE = Place(parse_endpoint(management.BASE), "p-1", Secret("QB_key"))
SEED_ANSWER = {
    "success": True,
    "action": "create device",
    "status": 201,
    "message": "Device created successfully.",
    "data": {
        "id": "string",
        "name": "string",
        "description": "string",
        "brand": "string",
        "model": "string",
        "avatar": AVATAR,
        "last_seen": NEVER,
        "tags": ["string"],
        "metadata": {"device_id": "string", "device_token": "string"},
    },
}


def shape(value: object) -> object:
    """A JSON value with its texts made alike, but for those that the seed's example gives as they are."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    return value if not isinstance(value, str) or value in (AVATAR, NEVER) else "string"


def made(desk: Desk, device: NewDevice = PUMP) -> Made:
    """Creates it at the twin."""
    return management.read_created(desk.place, device, desk.call(management.create(desk.place, device)))


def test_the_seeds_example_body_gives_the_seeds_example_answer(desk: Desk) -> None:
    """Name by name and type by type; only for ``source`` the example's "string" is no value that the seed allows."""
    device = NewDevice("string", "string", "mqtt", ("string",), "string", "string")
    reply = desk.call(management.create(desk.place, device))
    answer = json.loads(reply.body)
    assert {**answer, "data": shape(answer["data"])} == SEED_ANSWER

    kept = management.read_created(PLACE, device, HttpReply(200, {}, json.dumps(SEED_ANSWER).encode()))
    assert (kept.device_id, kept.name) == ("string", "string")
    assert kept.boot_file is not None and kept.boot_file["secret"] == "string"


def test_what_is_left_out_is_custom(desk: Desk) -> None:
    """Brand and model are "Custom", tags none, the source MQTT."""
    device = management.new_device(desk.place, {"name": "Pump", "description": "In the cellar"})
    record = made(desk, device).record
    assert (record["brand"], record["model"], record["tags"]) == ("Custom", "Custom", [])
    assert device.source == "mqtt"


@pytest.mark.parametrize("dialect", ["seed", "newer"])
@pytest.mark.parametrize("status", [200, 201])
def test_credentials_and_lists_are_read_in_either_shape(dialect: str, status: int) -> None:
    """In ``metadata`` or ``device_credentials``; in an envelope or bare; 200 or 201."""
    with serve(dialect=dialect) as twin:
        twin.state.created_status = status
        desk = Desk(twin)
        kept = made(desk)
        device = twin.state.device(kept.device_id)
        assert device is not None and kept.boot_file == {
            "format": 1,
            "platform": "qubitro",
            "road": "finished",
            "deviceId": device.id,
            "workspace": twin.addresses["project"],
            "secret": device.token,
            "transport": "mqtt",
            "broker": twin.mqtt_url,
            "ca": twin.ca_pem,
        }
        rows, cursor = management.read_page(desk.place, desk.call(management.list_page(desk.place, "")), 0.0, "")
        assert [(row.device_id, row.name, row.status, row.last_heartbeat) for row in rows] == [
            (device.id, "Pump 1", "unknown", "")
        ]
        assert cursor == "" and device.token not in repr(rows)
        shown = management.read_shown(desk.place, desk.call(management.show(desk.place, device.id)), 0.0)
        assert shown.device_id == device.id and device.token not in repr(shown)
        management.read_done(desk.call(management.remove(desk.place, device.id)))
        assert management.read_page(desk.place, desk.call(management.list_page(desk.place, "")), 0.0, "") == ([], "")


def test_a_device_over_http_gets_the_address_it_publishes_to(desk: Desk) -> None:
    """And no broker: what it does not need is not looked for."""
    boot = made(desk, PUMP._replace(source="http")).boot_file
    assert boot is not None and boot["endpoint"] == desk.twin.http_url and "broker" not in boot
    usual = management.read_created(PLACE, PUMP._replace(source="http"), reply(data={**RECORD}))
    assert usual.boot_file is not None and usual.boot_file["endpoint"] == "https://webhook.qubitro.com"
    over_mqtt = management.read_created(PLACE, PUMP, reply(data={**RECORD})).boot_file
    assert over_mqtt is not None and over_mqtt["broker"] == "mqtts://broker.qubitro.com"


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"description": "x"}, "name"),
        ({"name": "x"}, "description"),
        ({"name": "n" * 101, "description": "x"}, "name"),
        ({"name": "x", "description": "d" * 501}, "description"),
        ({"name": "x\n", "description": "x"}, "name"),
        ({"name": " ", "description": "x"}, "name"),
        ({"name": 7, "description": "x"}, "name"),
        ({"name": "x", "description": "x", "source": "lora"}, "source"),
        ({"name": "x", "description": "x", "source": "HTTP"}, "source"),
        ({"name": "x", "description": "x", "tags": "a-b"}, "tags"),
        ({"name": "x", "description": "x", "tags": "a,,b"}, "tags"),
        ({"name": "x", "description": "x", "tags": ["a", 7]}, "tags"),
        ({"name": "x", "description": "x", "tags": 7}, "tags"),
        ({"name": "x", "description": "x", "colour": "red"}, "colour"),
        ({"name": "x", "description": "x", "brand": "b" * 101}, "brand"),
    ],
)
def test_a_field_against_its_rule_is_named(values: dict[str, object], names: str) -> None:
    """Nothing is sent, and the sentence names the field."""
    with pytest.raises(UsageError, match=names):
        management.new_device(PLACE, values)


def test_fields_at_their_edges_are_taken_by_both_sides(desk: Desk) -> None:
    """The longest name and description, tags from a table's cell and from a list."""
    for values in (
        {"name": "n" * 100, "description": "d" * 500, "tags": "a, b_2", "source": "http"},
        {"name": "n", "description": "d", "tags": ["A_1"], "brand": "Own", "model": "M 1"},
        {"name": "Pumpe Süd", "description": "d", "tags": " "},
    ):
        device = management.new_device(desk.place, values)
        assert made(desk, device).name == values["name"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": None},
        {"name": "n" * 101},
        {"name": ""},
        {"description": None},
        {"description": "d" * 501},
        {"source": "lora"},
        {"source": None},
        {"tags": ["a-b"]},
        {"tags": "a"},
        {"tags": [7]},
        {"brand": 7},
        {"model": ["M"]},
    ],
)
def test_the_twin_refuses_what_the_seed_does(desk: Desk, wrong: dict[str, object]) -> None:
    """400 in the vendor's shape: an object with status and message; the dialect says it in one sentence."""
    body = {**PUMP._asdict(), **wrong}
    call = management.create(desk.place, PUMP)._replace(body=json.dumps(body).encode())
    answer = desk.call(call)
    assert answer.status == 400 and set(json.loads(answer.body)) == {"status", "message"}
    with pytest.raises(RefusedError) as caught:
        management.read_created(desk.place, PUMP, answer)
    assert caught.value.code == "bad_request" and next(iter(wrong)) in caught.value.message


@pytest.mark.parametrize("is_200", [False, True])
@pytest.mark.parametrize("code", ["unauthorized", "forbidden", "not_found"])
def test_a_no_is_one_whatever_its_status(desk: Desk, code: str, is_200: bool) -> None:
    """A wrong key, a foreign project, a project that is not: 401, 403, 404, or a body that says so under 200."""
    state = desk.twin.state
    state.errors_are_200 = is_200
    place = {
        "unauthorized": desk.place._replace(key=Secret("QB_wrong")),
        "forbidden": desk.place._replace(workspace=state.add_project()),
        "not_found": desk.place._replace(workspace="nowhere"),
    }[code]
    calls: list[tuple[HttpCall, Callable[[HttpReply], object]]] = [
        (management.create(place, PUMP), lambda got: management.read_created(place, PUMP, got)),
        (management.list_page(place, ""), lambda got: management.read_page(place, got, 0.0, "")),
        (management.show(place, "d-1"), lambda got: management.read_shown(place, got, 0.0)),
        (management.remove(place, "d-1"), management.read_done),
    ]
    for call, read in calls:
        with pytest.raises(RefusedError) as caught:
            read(desk.call(call))
        assert caught.value.code == code


RECORD = {"id": "d-1", "name": "Pump", "metadata": {"device_id": "d-1", "device_token": "t"}}


def reply(status: int = 200, **source: object) -> HttpReply:
    """An answer with that body."""
    return HttpReply(status, {}, json.dumps(source).encode())


@pytest.mark.parametrize(
    "fault",
    [
        faults.busy(7, status=429, message="Slow down."),
        faults.broken(500),
        faults.html(),
        faults.html(403),
        faults.cut(),
    ],
    ids=["429", "500", "portal", "portal-403", "cut"],
)
def test_trouble_on_the_way_is_named(desk: Desk, fault: Fault) -> None:
    """None of it is taken for a device, and a 429 says how long to wait."""
    desk.twin.faults.add(fault, 2)
    with pytest.raises(FirstlightError) as caught:
        management.read_created(desk.place, PUMP, desk.call(management.create(desk.place, PUMP)))
    wanted = {429: "platform_busy", 500: "platform_error", 403: "not_the_platform"}.get(fault.status, "reply_malformed")
    assert caught.value.code == ("reply_cut" if fault.cut_after else wanted)
    if fault.status == 429:
        assert isinstance(caught.value, UnreachableError) and caught.value.retry_after_s == 7


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"success": true, "data": []}',
        b'{"success": true, "data": {"id": "d-1"}}',
        b'{"success": true, "data": {"metadata": {"device_id": "d/1", "device_token": "t"}}}',
        b'{"success": true, "data": {"metadata": {"device_id": "d-1", "device_token": ""}}}',
        b'{"success": true, "data": {"metadata": {"device_id": "d-1", "device_token": 7}}}',
        b'{"success": true, "data": {"metadata": {"device_id": "d-1", "device_token": "a\\nb"}}}',
        b"\xff\xfe",
    ],
)
def test_an_answer_without_a_usable_device_is_malformed(body: bytes) -> None:
    """Nothing of it gets into a boot file."""
    with pytest.raises(UnreachableError) as caught:
        management.read_created(PLACE, PUMP, HttpReply(201, {}, body))
    assert caught.value.code == "reply_malformed"


def test_the_device_file_takes_no_odd_address() -> None:
    """An extra that is no address is named before a box is sent out with it."""
    for extra in (("device_broker", "broker.qubitro.com"), ("device_broker", "mqtt://192.0.2.1")):
        place = PLACE._replace(extra=(extra,))
        with pytest.raises(UsageError):
            management.read_created(place, PUMP, reply(data=RECORD))


def test_status_is_our_window_over_last_seen() -> None:
    """Never: unknown. Up to 300 s ago: online. Later: offline. Further ahead than that: a wrong clock, unknown."""
    clock = TwinClock(1_763_724_000.25, runs=False)
    with serve(clock=clock) as twin:
        desk = Desk(twin)
        device = twin.state.device(made(desk).device_id)
        assert device is not None and twin.state.take(device, {"uptime_s": 1})
        seen = desk.call(management.list_page(desk.place, ""))
        for now_s, status in ((0.0, "online"), (300.0, "online"), (300.5, "offline"), (-301.0, "unknown")):
            rows, _ = management.read_page(desk.place, seen, clock.now_s() + now_s, "")
            assert (rows[0].status, rows[0].last_heartbeat) == (status, "2025-11-21T11:20:00Z"), now_s


@pytest.mark.parametrize(
    ("text", "heartbeat"),
    [
        ("2025-11-21T11:20:00Z", "2025-11-21T11:20:00Z"),
        ("2025-11-21T12:20:00.123456789+01:00", "2025-11-21T11:20:00Z"),
        ("0001-01-01T00:00:00Z", ""),
        ("9999-99-99T00:00:00Z", ""),
        ("yesterday", ""),
        (None, ""),
        (7, ""),
    ],
)
def test_last_seen_is_read_or_is_unknown(text: object, heartbeat: str) -> None:
    """RFC 3339 with any fraction and zone; the zero time and everything else is never."""
    row = {"id": "d-1", "name": "Pump", "last_seen": text}
    rows, _ = management.read_page(PLACE, HttpReply(200, {}, json.dumps([row]).encode()), 1_763_724_000.0, "")
    assert rows[0].last_heartbeat == heartbeat and rows[0].status == ("online" if heartbeat else "unknown")


@pytest.mark.parametrize("body", [b'{"data": 7}', b'{"data": [7]}', b'[{"id": "a/b"}]', b'[{"name": "x"}]', b'"x"'])
def test_a_list_that_is_none_is_malformed(body: bytes) -> None:
    """Half a list would hide devices."""
    with pytest.raises(UnreachableError):
        management.read_page(PLACE, HttpReply(200, {}, body), 0.0, "")


def test_what_is_shown_reads_as_the_answer_to_a_create(desk: Desk) -> None:
    """So that a batch whose answer was lost still gets its boot file: showing a device includes its credentials."""
    first = made(desk)
    again = management.read_created(desk.place, PUMP, desk.call(management.show(desk.place, first.device_id)))
    assert (again.device_id, again.boot_file) == (first.device_id, first.boot_file)


@pytest.mark.parametrize("project", ["", "a/b", "x" * 257, "../v1"])
def test_an_odd_project_or_device_id_gets_into_no_address(project: str) -> None:
    """What is typed cannot reach another path."""
    with pytest.raises(UsageError):
        management.create(PLACE._replace(workspace=project), PUMP)
    with pytest.raises(UsageError):
        management.show(PLACE, project)


def test_the_twin_lists_the_newest_first_and_pages_its_data(twin: QubitroTwin, desk: Desk) -> None:
    """As the pages say: newest ``last_seen`` first; ``limit`` up to 1000."""
    older, newer = made(desk), made(desk, PUMP._replace(name="Pump 2"))
    for kept in (older, newer):
        device = twin.state.device(kept.device_id)
        assert device is not None
        twin.clock.advance(1)
        for number in range(3):
            twin.state.take(device, {"n": number})
    rows, _ = management.read_page(desk.place, desk.call(management.list_page(desk.place, "")), 0.0, "")
    assert [row.device_id for row in rows] == [newer.device_id, older.device_id]
    show = management.show(desk.place, newer.device_id)
    page = desk.call(show._replace(url=f"{show.url}/data?page=2&limit=2"))
    assert json.loads(page.body)["data"] == [{"n": 0}]
    assert desk.call(show._replace(url=f"{show.url}/data?limit=1001")).status == 400
