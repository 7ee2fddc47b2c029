"""When a certificate is renewed."""

import pytest

from firstlight.cli.lifetime import renew_at_s
from tests.unit.cli.changing_world import NOW_S, Authority

DAY_S = 86_400.0


@pytest.mark.parametrize(("chance", "days"), [(0.0, 60), (0.5, 67.5), (0.999999, 75)])
def test_the_date_is_in_the_third_quarter_of_its_life(chance: float, days: float) -> None:
    """A hundred days' certificate is renewed after 60 to 75 of them, by chance."""
    authority = Authority()

    assert renew_at_s(authority.pem, NOW_S, chance) == pytest.approx(NOW_S + days * DAY_S, abs=60)


def test_an_old_certificate_is_not_renewed_at_every_turn() -> None:
    """One that is over its date when it is answered waits a quarter of its rest; one that has ended five minutes."""
    authority = Authority()

    late_s = NOW_S + 80 * DAY_S
    assert renew_at_s(authority.pem, late_s, 0.5) == pytest.approx(late_s + 5 * DAY_S, abs=60)
    late_s = NOW_S + 200 * DAY_S
    assert renew_at_s(authority.pem, late_s, 0.5) == late_s + 300


def test_what_cannot_be_read_has_no_date() -> None:
    """Junk is never due."""
    assert renew_at_s("junk", NOW_S, 0.5) == 0.0
