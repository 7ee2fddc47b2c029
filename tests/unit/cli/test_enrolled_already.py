"""``firstlight enroll`` on a box that is enrolled: the same installId, another one, and wishes that come too late."""

import pytest

from firstlight.core.model import Secret
from firstlight.errors import UsageError
from tests.unit.cli.test_enrolling import INVITATION, Bench


def test_again_with_the_same_id_does_nothing() -> None:
    """The same command pasted twice changes nothing and calls nobody."""
    bench = Bench()
    bench.enroll()
    calls, log = len(bench.paths), len(bench.store.log)

    assert bench.enroll().was_there
    assert (calls, log) == (len(bench.paths), len(bench.store.log))


@pytest.mark.parametrize(
    ("transport", "credential", "is_told"),
    [
        ("", "", False),
        ("http", "secret", False),
        ("mqtt", "", True),
        ("websocket", "secret", True),
        ("http", "certificate", True),
    ],
)
def test_another_wish_when_enrolled_already_is_not_passed_over(transport: str, credential: str, is_told: bool) -> None:
    """Nothing is changed; a wish that came too late is told with what would fulfil it."""
    bench = Bench()
    bench.enroll()
    bench.told.clear()
    again = bench.enroll(INVITATION._replace(transport=transport, credential=credential))

    assert again.was_there and len(bench.told) == 1 + is_told
    assert not is_told or ("over HTTP with a secret" in bench.told[1] and "firstlight reset" in bench.told[1])


def test_again_with_another_id_is_refused() -> None:
    """A box that is enrolled does not take a second installId by accident."""
    bench = Bench()
    bench.enroll()

    with pytest.raises(UsageError) as caught:
        bench.enroll(INVITATION._replace(proof=Secret("j" * 20)))

    assert caught.value.code == "already_enrolled"
