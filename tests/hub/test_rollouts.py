"""Roll-outs on a real store: who is offered a version, how many at once, and when it halts."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from firstlight.errors import UsageError
from firstlight_hub.model import Tombstone
from firstlight_hub.rollout import ENDED, HALTED, NO_WORD_MS, RUNNING
from tests.hub.rollout_world import ID, NEW, Fleet, asked


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A hub without devices."""
    one = Fleet(tmp_path)
    yield one
    one.store.close()


def test_a_rollout_comes_to_its_end(fleet: Fleet) -> None:
    """Every device is offered the version in answers to its beats until it says how it went; then it is done."""
    names = fleet.add(3)
    assert fleet.all_beat() == {}
    fleet.operator.start(asked(100))
    assert sorted(fleet.look()) == names

    offers = fleet.all_beat()
    assert sorted(offers) == names
    assert offers[names[0]] == (NEW, ID, f"/bundles/firstlight-{NEW}-x86_64.tar", 1)
    assert fleet.all_beat() == offers, "said again until the box says how it went"
    assert (fleet.progress.waiting, fleet.progress.done) == (3, 0)
    for name in names:
        fleet.ends(name, offers[name])
    assert fleet.all_beat() == {}
    assert (fleet.progress.done, fleet.progress.waiting, fleet.progress.failed) == (3, 0, ())
    assert fleet.progress.rollout.state == RUNNING, "a box that is enrolled with an older version later gets it too"


def test_the_version_alone_is_a_word(fleet: Fleet) -> None:
    """A device that beats with the version is done also where its result was lost, and where a person upgraded it."""
    first, second = fleet.add(2)
    fleet.all_beat()
    fleet.operator.start(asked(100))
    fleet.look()
    offers = fleet.all_beat(second)
    fleet.versions.update({first: NEW, second: NEW})
    assert fleet.beat(first).upgrade is None
    fleet.all_beat()
    assert (list(offers), fleet.progress.done, fleet.progress.waiting) == ([first], 2, 0)


def test_who_goes_back_after_all_has_failed(fleet: Fleet) -> None:
    """A release that beats and is given up all the same counts as failed: the last word stands."""
    (name,) = fleet.add(1)
    fleet.all_beat()
    fleet.operator.start(asked(100))
    fleet.look()
    offer = fleet.all_beat()[name]
    fleet.versions[name] = NEW
    fleet.all_beat()
    assert fleet.progress.done == 1
    fleet.versions[name] = "0.2.0"
    fleet.ends(name, offer, "upgrade_crashed", "It ended three times.")
    fleet.look()
    assert [one.code for one in fleet.progress.failed] == ["upgrade_crashed"]
    assert fleet.progress.rollout.state == HALTED


def test_it_halts_by_itself_and_says_why(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """One failure among few: nobody else is offered it, also those that were chosen and not told yet."""
    names = fleet.add(4)
    fleet.all_beat()
    fleet.operator.start(asked(100, at_once=2))
    fleet.look()
    offers = fleet.all_beat()
    assert len(offers) == 2
    bad = next(iter(offers))
    with caplog.at_level(logging.WARNING):
        fleet.ends(bad, offers[bad], "upgrade_not_proved", "No beat of it was accepted.")
        assert fleet.look() == []
    assert "halts: 1 of 2 devices that were offered it failed." in caplog.text
    assert fleet.all_beat() == {}

    progress = fleet.progress
    assert progress.rollout.state == HALTED and progress.rollout.reason.startswith("1 of 2")
    assert [(one.device_id, one.code, one.message) for one in progress.failed] == [
        (bad, "upgrade_not_proved", "No beat of it was accepted.")
    ]
    assert progress.chosen == len(names) == len(progress.failed) + progress.waiting + progress.left


def test_it_goes_on_when_told_to(fleet: Fleet) -> None:
    """After a resume what failed so far is forgiven: the next failure halts it again."""
    names = fleet.add(3)
    fleet.all_beat()
    fleet.operator.start(asked(100, at_once=1))
    for _ in range(2):
        fleet.look()
        (name, offer), *_ = fleet.all_beat().items()
        fleet.ends(name, offer, "upgrade_crashed")
        fleet.look()
        assert fleet.progress.rollout.state == HALTED
        fleet.operator.resume()
    assert len(fleet.progress.failed) == 2
    fleet.look()
    assert set(fleet.all_beat()) == set(names) - {one.device_id for one in fleet.progress.failed}


def test_silence_is_the_worst_failure(fleet: Fleet) -> None:
    """A box that was told and does not beat any more halts it; one that was not told yet only loses its turn."""
    told, untold = fleet.add(2)
    fleet.all_beat()
    fleet.operator.start(asked(100))
    fleet.look()
    fleet.all_beat(untold)
    for _ in range(6):
        fleet.all_beat(told, untold)

    assert fleet.progress.rollout.state == HALTED
    assert [(one.device_id, one.code) for one in fleet.progress.failed] == [(told, "upgrade_silent")]
    assert fleet.progress.offline == 1, "the other one was off before it heard of it"
    fleet.versions[told] = NEW
    fleet.all_beat()
    assert (fleet.progress.failed, fleet.progress.done) == ((), 1), "back with the new version, it was only slow"


def test_one_that_comes_back_covers_for_nobody(fleet: Fleet) -> None:
    """A silent box that was forgiven and comes back does not let another failure pass."""
    first, second = fleet.add(2)
    fleet.all_beat()
    fleet.operator.start(asked(100))
    fleet.look()
    offers = fleet.all_beat()
    for _ in range(6):
        fleet.all_beat(first)
    assert fleet.progress.rollout.state == HALTED
    fleet.operator.resume()
    fleet.versions[first] = NEW
    fleet.all_beat()
    assert fleet.progress.rollout.state == RUNNING and fleet.progress.rollout.forgiven == 0
    fleet.ends(second, offers[second], "upgrade_crashed")
    fleet.look()
    assert fleet.progress.rollout.state == HALTED


def test_a_hub_that_was_down_takes_nobody_for_silent(fleet: Fleet) -> None:
    """After an hour's stop of the hub every box has been silent: none has failed before its window is over again."""
    fleet.add(1)
    fleet.all_beat()
    fleet.operator.start(asked(100))
    fleet.look()
    fleet.all_beat()
    fleet.clock.forward(3600)
    fleet.restart()
    fleet.look()
    assert fleet.progress.rollout.state == RUNNING
    fleet.clock.forward(301)
    fleet.look()
    assert fleet.progress.rollout.state == HALTED


def test_who_never_says_a_word_has_failed(fleet: Fleet) -> None:
    """A box whose upgrade unit is dead beats on for ever: after six hours that counts."""
    (name,) = fleet.add(1)
    fleet.all_beat()
    fleet.operator.start(asked(100))
    fleet.look()
    fleet.all_beat()
    fleet.clock.forward(NO_WORD_MS / 1000 + 1)
    fleet.beat(name)
    fleet.look()
    assert [one.code for one in fleet.progress.failed] == ["upgrade_no_word"]
    assert fleet.progress.rollout.state == HALTED


@pytest.mark.parametrize("code", ["upgrade_managed", "upgrade_unattended"])
def test_boxes_that_others_upgrade_are_no_failures(fleet: Fleet, code: str) -> None:
    """They are counted apart, give their place to others, and halt nothing."""
    names = fleet.add(3)
    fleet.all_beat()
    fleet.operator.start(asked(100, at_once=1))
    for _ in names:
        fleet.look()
        (name, offer), *_ = fleet.all_beat().items()
        fleet.ends(name, offer, code)
    fleet.look()
    assert fleet.progress.rollout.state == RUNNING
    assert (fleet.progress.apart[code], fleet.progress.failed) == (3, ())


def test_so_many_at_once(fleet: Fleet) -> None:
    """Never more than asked for have an open offer; who is done makes room for the next."""
    fleet.add(30)
    fleet.all_beat()
    fleet.operator.start(asked(100, at_once=7))
    seen: set[str] = set()
    for _ in range(5):
        fleet.look()
        offers = fleet.all_beat()
        assert len(offers) <= 7
        for name, offer in offers.items():
            fleet.ends(name, offer)
        seen |= set(offers)
    assert len(seen) == 30 and fleet.progress.done == 30


def test_only_who_can_follow_is_asked(tmp_path: Path) -> None:
    """Another processor, an older agent, a newer one, one that is offline, revoked or cloned: none is offered it."""
    fleet = Fleet(tmp_path, ("aarch64",))
    (fits,) = fleet.add(1, arch="aarch64")
    (mac_like,) = fleet.add(1, arch="arm64")
    fleet.add(1, arch="x86_64", prefix="wrong-arch")
    fleet.add(1, arch="aarch64", version="0.1.0", prefix="too-old")
    fleet.add(1, arch="aarch64", version="0.4.0", prefix="newer")
    fleet.add(1, arch="aarch64", version="mine", prefix="odd")
    (revoked,) = fleet.add(1, arch="aarch64", prefix="revoked")
    (cloned,) = fleet.add(1, arch="aarch64", prefix="cloned")
    (offline,) = fleet.add(1, arch="aarch64", prefix="offline")
    fleet.all_beat(offline)
    with fleet.store.writing() as transaction:
        transaction.put_device(fleet.device(revoked)._replace(revoked_at_ms=1))
        transaction.put_device(fleet.device(cloned)._replace(clone_at_ms=fleet.clock.now_ms))
    fleet.operator.start(asked(100))

    assert sorted(fleet.look()) == sorted([fits, mac_like])
    progress = fleet.progress
    assert (progress.chosen, progress.done, progress.unfit, progress.offline) == (9, 1, 4, 0)
    fleet.store.close()


def test_a_tag_or_ids_first_then_a_percentage(fleet: Fleet) -> None:
    """Only those; widened to a percentage they stay, and others come."""
    tagged = fleet.add(2, "canary")
    others = fleet.add(20)
    fleet.all_beat()
    fleet.operator.start(asked(tag="canary"))
    assert sorted(fleet.look()) == tagged
    with pytest.raises(UsageError, match="rollout_exists"):
        fleet.operator.start(asked(100))

    fleet.operator.widen(50)
    fresh = fleet.look()
    assert 0 < len(fresh) < 20 and not set(fresh) & set(tagged)
    with pytest.raises(UsageError):
        fleet.operator.widen(50)
    fleet.operator.end()
    fleet.look()
    assert fleet.all_beat() == {}

    fleet.operator.start(asked(ids=(others[0], tagged[0])))
    assert sorted(fleet.look()) == sorted([others[0], tagged[0]])


def test_a_second_rollout_of_a_version_is_another_attempt(fleet: Fleet) -> None:
    """Boxes that failed are offered it again under a new number; those that run it are left alone."""
    bad, good = fleet.add(2)
    fleet.all_beat()
    fleet.operator.start(asked(100, halt_after=5))
    fleet.look()
    offers = fleet.all_beat()
    fleet.ends(good, offers[good])
    fleet.ends(bad, offers[bad], "upgrade_no_space")
    fleet.look()
    fleet.operator.end()
    assert fleet.progress.rollout.state == ENDED
    fleet.operator.start(asked(100))

    assert fleet.look() == [bad]
    offer = fleet.all_beat()[bad]
    assert offer.attempt == 2
    fleet.ends(bad, offers[bad], "upgrade_no_space")
    fleet.look()
    assert fleet.progress.rollout.state == RUNNING, "the word of the former attempt, said again, is no news"
    fleet.ends(bad, offer)
    fleet.look()
    assert fleet.progress.done == 2


def test_it_survives_a_restart_of_the_hub(fleet: Fleet) -> None:
    """Offers that were made stand, under the same number; nobody is offered anything twice."""
    names = fleet.add(3)
    fleet.all_beat()
    fleet.operator.start(asked(100, at_once=2))
    fleet.look()
    offers = fleet.all_beat()
    fleet.restart()
    assert fleet.look() == [], "both places are taken"
    assert fleet.all_beat() == offers and len(offers) == 2 < len(names)


def test_halt_and_resume_by_hand(fleet: Fleet) -> None:
    """An operator's halt ends the offers at once, and a resume brings them back."""
    names = fleet.add(2)
    fleet.all_beat()
    for act in (fleet.operator.halt, fleet.operator.resume, fleet.operator.end, lambda: fleet.operator.widen(3)):
        with pytest.raises(UsageError, match="rollout_missing"):
            act()
    fleet.operator.start(asked(100))
    fleet.operator.halt()
    assert fleet.look() == [] and fleet.all_beat() == {}
    with pytest.raises(UsageError, match="halted already"):
        fleet.operator.halt()
    fleet.operator.resume()
    assert sorted(fleet.look()) == names


def test_a_removed_device_is_forgotten(fleet: Fleet) -> None:
    """Its failure halted the roll-out; when it is removed nothing of it is left to count."""
    (name,) = fleet.add(1)
    fleet.all_beat()
    fleet.operator.start(asked(100))
    fleet.look()
    fleet.ends(name, fleet.all_beat()[name], "upgrade_crashed")
    with fleet.store.writing() as transaction:
        transaction.remove_device(Tombstone("demo", name, None, None, 1))
    assert (fleet.progress.failed, fleet.progress.chosen) == ((), 0)
    fleet.look()


def test_without_a_signed_bundle_nothing_is_started(tmp_path: Path) -> None:
    """The operator hears at once that no box could follow, or that this is no version."""
    fleet = Fleet(tmp_path, ())
    for rollout, code in ((asked(100), "bundle_missing"), (asked(100)._replace(version="latest"), "usage")):
        with pytest.raises(UsageError) as caught:
            fleet.operator.start(rollout)
        assert caught.value.code == code
    fleet.store.close()
    with pytest.raises(UsageError, match="no device"):
        Fleet(tmp_path).operator.start(asked(ids=("nobody",)))
