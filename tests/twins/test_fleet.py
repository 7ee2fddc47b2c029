"""The Fleet twin: every field rule, scope, limit and error of seed 004 and docs.fleet.co, in the vendor's shapes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.twins.fleet import FleetTwin, serve
from tests.twins.fleet.items import ADDED_VIA, KEYBOARD_LAYOUTS, NULLABLE_FLAGS, TEXTS
from tests.twins.kit.clock import TwinClock

ITEM: dict[str, Any] = {"name": "Dock camera", "type": "Camera", "category": "IoT"}
DEVICES = "/platform/v1/devices"
ANSWERED = {
    *("id", "name", "serial_number", "rent", "tracking_number", "client_status", "type", "category", "source"),
    *("comment", "characteristics", "mdm"),
}
CHARACTERISTICS = {
    *("screen_size", "graphic", "processor", "ram", "storage", "model_year", "connectivity", "keyboard_layout"),
    *("resolution", "has_microphone", "has_webcam", "noise_cancellation", "compliance", "connection_type"),
    *("has_stool", "has_video_package", "has_screen", "has_premium_tablet", "color", "seats_number", "assembly"),
    "os_platform",
}


class Client:
    """A plain client of a twin."""

    def __init__(self, twin: FleetTwin) -> None:
        self.twin = twin
        self.key = twin.operator_key
        self.http = httpx.Client(base_url=twin.http_url)

    def ask(self, method: str, path: str = "", key: str | None = None, **more: Any) -> httpx.Response:
        """One call below ``/devices``."""
        headers = {"Authorization": f"Bearer {key or self.key}"}
        return self.http.request(method, f"{DEVICES}{path}", headers=headers, **more)

    def create(self, *items: Any) -> httpx.Response:
        """A batch."""
        return self.ask("POST", json={"devices": list(items)})

    def made(self, **fields: Any) -> Any:
        """One device, as it is answered."""
        answer = self.create({**ITEM, **fields})
        assert answer.status_code == 201, answer.text
        return answer.json()["data"]["devices"][0]


@pytest.fixture
def client() -> Iterator[Client]:
    """Plain HTTP, a clock that stands."""
    with serve(is_plain=True, clock=TwinClock(1_800_000_000.0, runs=False)) as twin:
        one = Client(twin)
        with one.http:
            yield one


def told(answer: httpx.Response) -> tuple[int, str]:
    """Status and error of an answer that has nothing else."""
    assert set(answer.json()) == {"error"}
    return answer.status_code, answer.json()["error"]


def test_the_seeds_example_values_are_taken(client: Client) -> None:
    """SINGLE_IMPORT and FRENCH_AZERTY, and every other value of the two enumerations."""
    made = client.made(added_via="SINGLE_IMPORT", keyboard_layout="FRENCH_AZERTY")
    assert made["characteristics"]["keyboard_layout"] == "FRENCH_AZERTY"
    items = [{**ITEM, "added_via": one} for one in sorted(ADDED_VIA)]
    items += [{**ITEM, "keyboard_layout": one} for one in sorted(KEYBOARD_LAYOUTS)]
    assert len(client.create(*items).json()["data"]["devices"]) == 14


def test_a_device_is_answered_whole(client: Client) -> None:
    """All required names of the seed's answer are there, null where nothing is known."""
    made = client.made()
    assert set(made) == ANSWERED
    assert set(made["characteristics"]) == CHARACTERISTICS
    assert (made["mdm"], made["serial_number"], made["client_status"]) == (None, None, "AVAILABLE")
    assert client.ask("GET", f"/{made['id']}").json() == {"data": made}


def test_every_text_is_a_text(client: Client) -> None:
    """Prices and dates too; null and numbers are refused, and the field is named."""
    assert client.create({**ITEM, **{name: f"{name} 1" for name in TEXTS}}).status_code == 201
    for number, name in enumerate(sorted(TEXTS)):
        value = (7, None, ["x"], True)[number % 4]
        assert told(client.create({**ITEM, name: value})) == (400, f"devices.0.{name}: Expected string")


def test_every_flag_is_a_flag(client: Client) -> None:
    """Seven may be null; is_rented may not."""
    for value in (True, False, None):
        found = client.made(**dict.fromkeys(NULLABLE_FLAGS, value))["characteristics"]
        assert {found[name] for name in NULLABLE_FLAGS} == {value}
    for name in sorted(NULLABLE_FLAGS):
        assert told(client.create({**ITEM, name: "true"})) == (400, f"devices.0.{name}: Expected boolean")
    assert client.create({**ITEM, "is_rented": True}).status_code == 201
    for other in (None, 1, "true"):
        assert told(client.create({**ITEM, "is_rented": other}))[0] == 400


@pytest.mark.parametrize(
    ("item", "said"),
    [
        *(({name: one for name, one in ITEM.items() if name != lost}, f"{lost}: Required") for lost in ITEM),
        *(({**ITEM, name: ""}, f"{name}: String must contain at least 1 character(s)") for name in ITEM),
        ({**ITEM, "name": None}, "name: Expected string"),
        ({**ITEM, "added_via": "single_import"}, "added_via: Invalid enum value"),
        ({**ITEM, "keyboard_layout": "GERMAN_QWERTY"}, "keyboard_layout: Invalid enum value"),
        ({**ITEM, "user_id": 0}, "user_id: Number must be greater than 0"),
        ({**ITEM, "user_id": "1"}, "user_id: Expected integer"),
        ({**ITEM, "user_id": True}, "user_id: Expected integer"),
        ({**ITEM, "compliance": None}, "compliance: Expected string or array of strings"),
        ({**ITEM, "connection_type": ["a", 1]}, "connection_type: Expected string or array of strings"),
        ("camera", "Expected object"),
    ],
)
def test_what_does_not_fit_is_named(client: Client, item: Any, said: str) -> None:
    """Each rule of the create item, and nothing of the batch is made."""
    assert told(client.create(ITEM, item)) == (400, f"devices.1.{said}")
    assert client.twin.state.devices == []


@pytest.mark.parametrize("body", [{}, {"devices": []}, {"devices": {}}, [], None])
def test_a_batch_has_at_least_one(client: Client, body: Any) -> None:
    """An empty one, none, or something else."""
    assert told(client.ask("POST", content=json.dumps(body))) == (
        400,
        "devices: Array must contain at least 1 element(s)",
    )


def test_labels_are_a_list_afterwards(client: Client) -> None:
    """A single text is stored as a list of one; a list stays; null only where the seed allows it."""
    found = client.made(compliance="CE", connection_type=["USB", "HDMI"])["characteristics"]
    assert (found["compliance"], found["connection_type"]) == (["CE"], ["USB", "HDMI"])
    assert client.made(connection_type=None)["characteristics"]["connection_type"] is None


def test_what_nobody_knows_is_passed_over(client: Client) -> None:
    """A name of another case is such a one."""
    assert client.create({**ITEM, "client_warranty_enddate": 5, "colour": "red"}).status_code == 201


def test_serials_and_users_are_codes(client: Client) -> None:
    """A serial number that is taken, doubled or blank; a user that is not there."""
    assert client.made(serial_number="A1", user_id=1)["client_status"] == "IN_SERVICE"
    assert told(client.create({**ITEM, "serial_number": "a1 "})) == (400, "INVALID_SERIAL_NUMBER")
    two = {**ITEM, "serial_number": "B"}
    assert told(client.create(two, two)) == (400, "INVALID_SERIAL_NUMBER")
    assert told(client.create({**ITEM, "serial_number": " "})) == (400, "INVALID_SERIAL_NUMBER")
    assert told(client.create({**ITEM, "user_id": 2})) == (400, "INVALID_USER")


def test_who_may_do_what(client: Client) -> None:
    """No or a wrong secret 401; READ reads, WRITE writes, and neither does the other's."""
    state = client.twin.state
    assert client.http.get(DEVICES).status_code == client.ask("GET", key="fleet_wrong").status_code == 401
    reads = state.add_secret(state.companies[0], frozenset({"READ"}))
    writes = state.add_secret(state.companies[0], frozenset({"WRITE"}))
    made = client.made()
    assert client.ask("GET", f"/{made['id']}", reads).status_code == 200
    for method, path in (("POST", ""), ("PATCH", f"/{made['id']}"), ("DELETE", f"/{made['id']}")):
        assert told(client.ask(method, path, reads, json={})) == (403, "INSUFFICIENT_SCOPE")
    assert told(client.ask("GET", "", writes)) == (403, "INSUFFICIENT_SCOPE")
    assert client.ask("DELETE", f"/{made['id']}", writes).status_code == 200


def test_another_companys_device_is_not_there(client: Client) -> None:
    """404, whatever is asked; and a company that is gone has a code of its own."""
    state = client.twin.state
    other = state.add_company()
    stranger = state.add_secret(other)
    made = client.made()
    for method in ("GET", "PATCH", "DELETE"):
        answer = client.ask(method, f"/{made['id']}", stranger, json={"name": "x"})
        assert told(answer) == (404, "DEVICE_NOT_FOUND")
    assert client.ask("GET", "", stranger).json()["meta"]["total"] == 0
    other.is_gone = True
    assert told(client.ask("POST", "", stranger, json={"devices": [ITEM]})) == (404, "COMPANY_NOT_FOUND")


@pytest.mark.parametrize("device_id", ["0", "01", "-1", "x", "1.0"])
def test_an_id_is_a_number_without_a_leading_zero(client: Client, device_id: str) -> None:
    """Anything else is not looked for."""
    assert told(client.ask("GET", f"/{device_id}")) == (400, "device_id: Invalid")


def test_lists_page_search_and_filter(client: Client) -> None:
    """50 at first, at most 100, from an offset on; full text, user and place on its way."""
    state = client.twin.state
    for number in range(120):
        state.add(state.companies[0], {**ITEM, "serial_number": f"SN-{number:03}"})
    first = client.ask("GET").json()
    assert (len(first["data"]), first["meta"]) == (50, {"total": 120, "limit": 50, "offset": 0})
    last = client.ask("GET", "?limit=100&offset=100").json()
    assert (len(last["data"]), last["meta"]) == (20, {"total": 120, "limit": 100, "offset": 100})
    found = client.ask("GET", "?search=sn-007%20dock").json()["data"]
    assert [one["serial_number"] for one in found] == ["SN-007"]
    state.place(found[0]["id"], "IN_MAINTENANCE")
    assert client.ask("GET", "?client_status=IN_MAINTENANCE").json()["meta"]["total"] == 1
    assert client.ask("GET", "?user_id=1").json()["data"] == []
    for query in ("limit=0", "limit=101", "limit=x", "offset=-1", "client_status=LOST", "user_id=0"):
        assert client.ask("GET", f"?{query}").status_code == 400, query


def test_a_patch_changes_and_clears(client: Client) -> None:
    """At least one field; null clears what may be cleared."""
    made = client.made(brand="Acme", color="red")
    path = f"/{made['id']}"
    assert told(client.ask("PATCH", path, json={})) == (400, "EMPTY_PATCH_BODY")
    assert told(client.ask("PATCH", path, json={"colour": "x"})) == (400, "EMPTY_PATCH_BODY")
    assert told(client.ask("PATCH", path, json={"name": None})) == (400, "name: Expected string")
    changed = client.ask("PATCH", path, json={"name": "Gate", "color": None}).json()["data"]
    assert (changed["name"], changed["characteristics"]["color"]) == ("Gate", None)


def test_fleets_own_devices_are_not_changed(client: Client) -> None:
    """Shown, but neither changed nor removed from outside."""
    state = client.twin.state
    path = f"/{state.add(state.companies[0], ITEM, is_fleets=True).number}"
    assert client.ask("GET", path).json()["data"]["source"] == "FLEET"
    for method in ("PATCH", "DELETE"):
        assert told(client.ask(method, path, json={"name": "x"})) == (403, "DEVICE_MUTATION_FORBIDDEN")


def test_what_is_removed_is_kept_and_not_shown(client: Client) -> None:
    """A second time it is not there; its serial number is free again."""
    made = client.made(serial_number="A1")
    path = f"/{made['id']}"
    assert client.ask("DELETE", path).status_code == 200
    assert told(client.ask("DELETE", path)) == (404, "DEVICE_NOT_FOUND")
    assert client.made(serial_number="A1")["id"] != made["id"]


def test_calls_are_counted_by_the_minute(client: Client) -> None:
    """100 for a secret, told in the headers; then 429 until the minute is over."""
    state = client.twin.state
    assert client.ask("GET").headers["ratelimit-remaining"] == "99"
    answer = client.ask("GET")
    assert answer.headers["ratelimit-remaining"] == "98"
    assert (answer.headers["ratelimit-limit"], answer.headers["ratelimit-reset"]) == ("100", "60")
    state.secrets[client.key].calls = 100
    client.twin.clock.advance(20)
    refused = client.ask("GET")
    assert told(refused) == (429, "Too many requests")
    assert refused.headers["retry-after"] == "40"
    assert client.ask("GET", key=state.add_secret(state.companies[0])).status_code == 200
    client.twin.clock.advance(40)
    assert client.ask("GET").status_code == 200
    state.limiter_is_up = False
    assert told(client.ask("GET"))[0] == 503


def test_faults_inside(client: Client) -> None:
    """The two codes of 500; of a batch that broke off in the middle some are made."""
    state = client.twin.state
    state.has_actor = False
    assert told(client.create(ITEM)) == (500, "PLATFORM_DEVICE_ACTOR_NOT_FOUND")
    state.has_actor, state.makes_at_most = True, 1
    assert told(client.create(ITEM, ITEM)) == (500, "DEVICE_PROVISIONING_FAILED")
    assert len(state.devices) == 1


def test_a_partial_twin_makes_the_others(client: Client) -> None:
    """What the pages leave open, the other way round."""
    client.twin.state.is_partial = True
    answer = client.create(ITEM, {**ITEM, "user_id": 7}, {**ITEM, "name": "Gate"})
    assert [one["name"] for one in answer.json()["data"]["devices"]] == ["Dock camera", "Gate"]


def test_an_mdm_row_is_shown_unless_it_is_a_draft(client: Client) -> None:
    """With the day it was seen."""
    made = client.made()
    client.twin.state.manage(made["id"], "DRAFT")
    assert client.ask("GET", f"/{made['id']}").json()["data"]["mdm"] is None
    client.twin.state.manage(made["id"], "ENROLLED", 1_800_000_000.0)
    row = client.ask("GET", f"/{made['id']}").json()["data"]["mdm"]
    assert (row["status"], row["last_seen_date"], row["is_locked"]) == ("ENROLLED", "2027-01-15T08:00:00.000Z", None)


def test_nothing_else_is_here(client: Client) -> None:
    """Other paths and methods are answered in the same shape; a body that is none too."""
    assert told(client.http.get("/devices")) == (404, "NOT_FOUND")
    assert client.ask("PUT").status_code == 404
    assert client.ask("POST", content=b"{").status_code == 400
    assert client.twin.operator_key not in repr(client.twin) + repr(client.twin.log.entries)
