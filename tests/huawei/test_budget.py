"""Messages a day against Huawei's free unit: the figures, counted again from what the dialect really sends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstlight import __version__
from firstlight.core.exchange import MqttMessage
from firstlight.core.model import Beat, Child, Metrics, Moment
from firstlight.errors import InvitationError
from firstlight.platforms.huawei import budget, device
from tests.exchanges.test_huawei_device import MOMENT, REGISTRATION

CHILDREN = tuple(Child(f"c{number}", number % 2 == 0) for number in range(250))


def sent_on_a_connection(children: tuple[Child, ...]) -> int:
    """What goes out on a new connection: greetings, the first report, and what goes beside it."""
    login = device.login(REGISTRATION, MOMENT, knows_time=True)
    assert login is not None
    beat = Beat(1, MOMENT, Metrics(), __version__, None, "0" * 16, children=children)
    return len(login.greets) + 1 + len(device.also(REGISTRATION, beat))


@pytest.mark.parametrize("count", [0, 1, 100, 101, 250])
def test_a_connection_costs_what_is_sent_on_it_and_its_answers(count: int) -> None:
    """connection_cost is the messages of a new connection, counted, and the platform's two answers."""
    assert budget.connection_cost(count) == sent_on_a_connection(CHILDREN[:count]) + budget.ANSWERS


def test_every_greeting_that_asks_has_an_answer_that_is_counted() -> None:
    """Of the greetings two are questions: shadow and time; so two answers come back."""
    login = device.login(REGISTRATION, MOMENT, knows_time=True)
    assert login is not None and len(login.greets) == budget.GREETING
    asking = [call for call in login.greets if "shadow/get" in call.topic or b"time_sync_request" in call.payload]
    assert len(asking) == budget.ANSWERS


@given(st.integers(1, budget.MOST_REPORTS_A_DAY))
def test_a_day_holds_no_more_reports_than_were_asked_for(reports: int) -> None:
    """The interval never lets one more report into a day."""
    assert budget.DAY_S / budget.interval_s(reports) <= reports


def test_the_usual_day_of_one_device() -> None:
    """Ten reports and one connection are 15 messages: 666 devices on the free unit."""
    assert budget.day_cost(budget.REPORTS_A_DAY) == 15
    assert budget.devices_on_free_unit(budget.REPORTS_A_DAY) == 666


def test_a_report_a_minute_is_too_much_for_a_free_unit() -> None:
    """What the protocol page warns of: six devices, and no more."""
    assert budget.devices_on_free_unit(1440) == 6


def test_children_and_reconnections_count() -> None:
    """A gateway of 150 children that loses its line five times a day."""
    assert budget.day_cost(10, connections=5, children=150) == 5 + 5 * (6 + 2)
    assert budget.day_cost(10, children=150, child_changes=4) == 9 + 8 + 8
    assert budget.day_cost(2, connections=5) == 30


@pytest.mark.parametrize("text", ["0", "86401", "-1", "1.5", "ten", "1e3", "99999999999", "٣"])
def test_a_number_of_reports_that_is_none_is_named(text: str) -> None:
    """reports_per_day is a whole number within bounds."""
    with pytest.raises(InvitationError) as caught:
        budget.reports_a_day(text)
    assert caught.value.code == "extra_malformed"


@pytest.mark.parametrize(("text", "interval_s"), [("", 8640), ("1", 86_400), ("24", 3600), ("1440", 60), ("86400", 1)])
def test_reports_a_day_become_an_interval(text: str, interval_s: int) -> None:
    """The setting's edges."""
    assert budget.interval_s(budget.reports_a_day(text)) == interval_s


def test_what_is_no_news_costs_no_answer() -> None:
    """An echo of the device's own topics is not answered, so that no two sides talk without end."""
    for topic in ("sys/properties/set/response/request_id=1", "sys/commands/response/request_id=1", "sys/events/up"):
        message = MqttMessage(f"$oc/devices/box_1/{topic}", b"{}")
        told = device.heard(REGISTRATION, message, Moment("a" * 32, 1.0, 1.0))
        assert told is None or not told.answers
