"""The stages of an upgrade as pure decisions: what counts as proof, and what a cut leads to."""

import pytest

from firstlight.core import upgrade
from firstlight.core.upgrade import BACK, DONE, MAX_PROOFS, MAX_RESTARTS, STAGES, SWITCH, Evidence, Journal

OLD, NEW = "0.2.0-00000000", "0.3.0-11111111"
JOURNAL = Journal(SWITCH, OLD, NEW, "0.3.0", "1" * 64, 2, "a" * 16)


@pytest.mark.parametrize("stage", STAGES)
def test_a_journal_survives_the_disk(stage: str) -> None:
    """What is written is read, field by field."""
    journal = JOURNAL._replace(stage=stage, proofs=1, was_running=False, is_undoing=True, code="x", message="Why.")
    assert upgrade.decode(upgrade.encode(journal)) == journal


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"stage": "sideways"},
        {"new": OLD},
        {"new": "../../etc"},
        {"old": ""},
        {"old": None},
        {"id": "xyz"},
        {"attempt": -1},
        {"attempt": True},
        {"proofs": "many"},
        {"message": "m" * 300},
    ],
)
def test_what_no_upgrade_wrote_is_refused(changes: dict[str, object]) -> None:
    """A damaged journal, or one of a later format, is not guessed at."""
    with pytest.raises(ValueError, match=r"\w"):
        upgrade.decode({**upgrade.encode(JOURNAL), **changes})


def test_a_proof_that_is_cut_again_and_again_ends_in_going_back() -> None:
    """The box may go down because of the new release: after the third time the old one is taken."""
    journal = upgrade.begun_proof(JOURNAL)
    for _ in range(MAX_PROOFS - 1):
        assert upgrade.resumed(journal) == journal
        journal = upgrade.begun_proof(journal)
    after = upgrade.resumed(journal)
    assert (after.stage, after.code) == (BACK, "upgrade_crashed")
    assert str(MAX_PROOFS) in after.message


@pytest.mark.parametrize("stage", [SWITCH, DONE, BACK])
def test_other_stages_are_begun_again(stage: str) -> None:
    """A cut while switching or tidying up changes no decision."""
    journal = JOURNAL._replace(stage=stage, proofs=MAX_PROOFS)
    assert upgrade.resumed(journal) == journal


def test_nothing_leads_out_of_what_is_decided() -> None:
    """What is proved stays; what goes back keeps its first reason."""
    done = JOURNAL._replace(stage=DONE)
    assert upgrade.gone_back(done, "x", "y") == done
    back = upgrade.gone_back(JOURNAL, "first", "Why.")
    assert upgrade.gone_back(back, "second", "Other.") == back


@pytest.mark.parametrize(
    ("seen", "waited_s", "code"),
    [
        (Evidence(NEW, is_accepted=True), 0.0, ""),
        (Evidence(NEW, is_accepted=True, restarts=9), 999.0, ""),
        (Evidence(OLD, is_accepted=True), 9.0, None),
        (Evidence(OLD, is_accepted=True), 10.0, "upgrade_not_proved"),
        (Evidence(NEW, reason="dns_failed"), 10.0, "upgrade_not_proved"),
        (Evidence(NEW), 9.9, None),
        (Evidence(), 9.9, None),
        (Evidence(), 10.0, "upgrade_not_proved"),
        (Evidence(restarts=MAX_RESTARTS - 1), 0.0, None),
        (Evidence(restarts=MAX_RESTARTS), 0.0, "upgrade_crashed"),
        (Evidence(exit_status=78), 0.0, "upgrade_crashed"),
    ],
)
def test_only_an_accepted_beat_of_the_new_release_is_proof(seen: Evidence, waited_s: float, code: str | None) -> None:
    """Everything else is waited for until patience ends, or until the agent keeps ending."""
    verdict = upgrade.judged(seen, NEW, waited_s, 10.0)
    assert (verdict and verdict.code) == code
    assert not verdict or bool(verdict.message) == bool(verdict.code)


def test_the_last_failure_is_named() -> None:
    """Whoever reads the result far away sees why."""
    verdict = upgrade.judged(Evidence(NEW, reason="tls_untrusted"), NEW, 10.0, 10.0)
    assert verdict is not None and "tls_untrusted" in verdict.message and NEW in verdict.message


@pytest.mark.parametrize("name", ["0.2.0-0123abcd", "0.2.0.dev1+x-0123abcd"])
def test_release_names(name: str) -> None:
    """VERSION-ID8, and nothing that leads elsewhere."""
    assert upgrade.is_release(name)
    for bad in (name[:-1], f"../{name}", f"{name}/x", name.upper(), f".{name}", f"{name}\n"):
        assert not upgrade.is_release(bad)
