"""What the beating process makes of an offered release: a wish for root's unit, or a word of who upgrades instead."""

import json
from pathlib import Path

import pytest

from firstlight.core.lifecycle import Accepted, Told
from firstlight.core.model import Offer, Upgraded
from firstlight.system.store import UPGRADE_WISH, UPGRADED, StateDirectory
from firstlight.system.upgrades import BY_NOBODY, BY_PACKAGE, BY_UNIT, DiskUpgrades
from firstlight.wire.upgrade import offer_object, read_offer, read_upgraded, upgrade_object, upgraded_object

ID = "5eed" * 16
OFFER = Offer("0.3.0", ID, "/bundles/firstlight-0.3.0-x86_64.tar", 1)
FAILED = Upgraded("0.3.0", ID, 1, "upgrade_unproved", "No beat was accepted.")
OFFERED = Accepted(60, upgrade=OFFER)


class Agent:
    """The part of the beating process that is meant, on a real disk."""

    def __init__(self, folder: Path, who: str = BY_UNIT, release: str = "") -> None:
        self.store = StateDirectory(str(folder))
        self.store.prepare()
        self.log: list[str] = []
        self.upgrades = DiskUpgrades(
            self.store, who, release, lambda _, line: self.log.append(line), upgrade_object, read_upgraded
        )

    def wish(self) -> Offer | None:
        """What the unit would find."""
        found = self.store.read_json(UPGRADE_WISH)
        return read_offer(found) if found else None

    def unit_writes(self, result: Upgraded) -> None:
        """What root's unit does at its end."""
        self.store.write_json(UPGRADED, upgraded_object(result))
        self.store.remove(UPGRADE_WISH)


def test_an_offer_becomes_one_wish(tmp_path: Path) -> None:
    """The wish is written once, however often the offer comes, also after the unit has taken it away."""
    agent = Agent(tmp_path)
    agent.upgrades.note(Accepted(60))
    assert agent.wish() is None

    agent.upgrades.note(OFFERED)
    assert agent.wish() == OFFER and agent.log == [
        "The platform offers version 0.3.0; this box's upgrade unit is asked for it."
    ]
    assert (tmp_path / UPGRADE_WISH).stat().st_mode & 0o777 == 0o600
    agent.store.remove(UPGRADE_WISH)
    agent.upgrades.note(Told(60, upgrade=OFFER))
    assert agent.wish() is None

    agent.upgrades.note(Accepted(60, upgrade=OFFER._replace(attempt=2)))
    assert agent.wish() == OFFER._replace(attempt=2), "another attempt is another wish"


def test_a_result_is_told_until_it_was_heard(tmp_path: Path) -> None:
    """Read at the start or as soon as it is there; told with the next beat, and with the first of each connection."""
    agent = Agent(tmp_path)
    assert agent.upgrades.result(is_first=True) is None
    agent.upgrades.note(OFFERED)
    agent.unit_writes(FAILED)

    assert [agent.upgrades.result(is_first=False) for _ in range(2)] == [FAILED, FAILED], "until a beat arrived"
    agent.upgrades.told()
    assert agent.upgrades.result(is_first=False) is None and agent.upgrades.result(is_first=True) == FAILED
    assert Agent(tmp_path).upgrades.result(is_first=True) == FAILED


def test_what_has_ended_is_told_again_and_not_wished_for(tmp_path: Path) -> None:
    """A hub that offers what this box has ended already has not heard of it."""
    agent = Agent(tmp_path)
    agent.unit_writes(FAILED)
    assert agent.upgrades.result(is_first=True) == FAILED
    agent.upgrades.told()

    agent.upgrades.note(OFFERED)
    assert agent.wish() is None and agent.upgrades.result(is_first=False) == FAILED


def test_the_release_that_runs_is_no_news(tmp_path: Path) -> None:
    """An offer of what runs here already leaves no wish."""
    agent = Agent(tmp_path, release=ID[:8])
    agent.upgrades.note(OFFERED)
    assert agent.wish() is None and agent.log == []


@pytest.mark.parametrize(("who", "code"), [(BY_PACKAGE, "upgrade_managed"), (BY_NOBODY, "upgrade_unattended")])
def test_where_no_unit_would_act_the_hub_hears_it_at_once(tmp_path: Path, who: str, code: str) -> None:
    """No wish lies about for ever; the next beat says who upgrades this box, and so does the next process."""
    agent = Agent(tmp_path, who)
    agent.upgrades.note(OFFERED)

    told = agent.upgrades.result(is_first=False)
    assert told is not None and (told.code, told.version, told.id, told.attempt) == (code, "0.3.0", ID, 1)
    assert agent.wish() is None and f"[{code}]" in agent.log[0]
    agent.upgrades.told()
    assert agent.upgrades.result(is_first=False) is None
    assert Agent(tmp_path, who).upgrades.result(is_first=True) == told
    agent.upgrades.note(OFFERED)
    assert len(agent.log) == 1


def test_a_disk_that_refuses_is_named_once_and_tried_again(tmp_path: Path) -> None:
    """Beats go on without the wish; it is written when there is room."""
    agent = Agent(tmp_path / "state")
    moved = tmp_path / "elsewhere"
    (tmp_path / "state").rename(moved)  # nothing can be written there; also as root, whom no mode keeps out
    for _ in range(3):
        agent.upgrades.note(OFFERED)
    assert len(agent.log) == 1 and "beats go on" in agent.log[0]

    moved.rename(tmp_path / "state")
    agent.upgrades.note(OFFERED)
    assert agent.wish() == OFFER


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b"{}",
        b'{"version": "0.3.0"}',
        json.dumps({**upgraded_object(FAILED), "code": "No such code"}).encode(),
        json.dumps(offer_object(OFFER)).encode(),
        b"x" * 2_000_000,
    ],
)
def test_a_damaged_result_is_passed_over(tmp_path: Path, content: bytes) -> None:
    """It is said once, and neither costs the beat nor hides a good one that follows."""
    agent = Agent(tmp_path)
    (tmp_path / UPGRADED).write_bytes(content)

    assert [agent.upgrades.result(is_first=True) for _ in range(3)] == [None] * 3
    assert len(agent.log) == 1 and "cannot be used" in agent.log[0]
    agent.unit_writes(FAILED)
    assert agent.upgrades.result(is_first=False) == FAILED


def test_a_link_in_the_place_of_a_result_is_not_followed(tmp_path: Path) -> None:
    """Whoever can write here has no other file read for a result."""
    (tmp_path / "other").write_text(json.dumps(upgraded_object(FAILED)))
    (tmp_path / UPGRADED).symlink_to(tmp_path / "other")
    assert Agent(tmp_path).upgrades.result(is_first=True) is None
