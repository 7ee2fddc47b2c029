"""How many messages a day a device costs, so that a free unit (S0: 10,000 a day for all of its devices) goes round.

Alive is an open link, which costs no message; a report only adds detail. Counted is everything with a payload in either
direction, as the carefullest reading of the vendor's page has it (protocol page, section 1, "Limits").
"""

from __future__ import annotations

from firstlight.errors import InvitationError

DAY_S = 86_400
FREE_UNIT_A_DAY = 10_000
REPORTS_A_DAY = 10
MOST_REPORTS_A_DAY = 86_400
# What a new connection costs beside its report: the versions of what runs here, the question for the desired state and
# the one for the time, and the answers to the last two.
GREETING, ANSWERS = 3, 2
CHILDREN_A_MESSAGE = 100


def reports_a_day(text: str) -> int:
    """The setting ``reports_per_day``, "" = the usual. Raises InvitationError."""
    if not text:
        return REPORTS_A_DAY
    wanted = int(text) if text.isascii() and text.isdigit() and len(text) <= 5 else 0
    if not 1 <= wanted <= MOST_REPORTS_A_DAY:
        raise InvitationError("extra_malformed", f"reports_per_day is a number from 1 to {MOST_REPORTS_A_DAY}.")
    return wanted


def interval_s(reports: int) -> int:
    """Seconds between two reports, so that a day holds no more of them."""
    return -(-DAY_S // reports)


def connection_cost(children: int = 0) -> int:
    """Messages that one new connection costs, its first report included; ``children`` whose status is told."""
    return GREETING + ANSWERS + 1 + status_messages(children)


def status_messages(children: int) -> int:
    """Messages that tell the status of so many children."""
    return -(-children // CHILDREN_A_MESSAGE)


def day_cost(reports: int, connections: int = 1, children: int = 0, child_changes: int = 0) -> int:
    """Messages of one day.

    Args:
        reports: in that day, those on a new connection included.
        connections: opened in that day.
        children: whose status each of them tells.
        child_changes: reports between two connections that told a changed status too.
    """
    changes = child_changes * status_messages(children) if children else 0
    return max(reports - connections, 0) + connections * connection_cost(children) + changes


def devices_on_free_unit(reports: int, connections: int = 1) -> int:
    """How many such devices the free unit's day has room for."""
    return FREE_UNIT_A_DAY // day_cost(reports, connections)
