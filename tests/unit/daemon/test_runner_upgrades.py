"""The runner and upgrades: offers are handed on, and how the last one ended travels with the right beats."""

from firstlight.core.model import Metrics, Offer, Upgraded
from firstlight.wire.heartbeat import BeatReply, encode_beat_reply
from tests.unit.daemon.world import DOWN, OVER_MQTT, World, answered, ok, taken

OFFER = Offer("0.3.0", "5eed" * 16, "/bundles/firstlight-0.3.0-x86_64.tar", 1)
LAST = Upgraded("0.3.0", "5eed" * 16, 1, "")


def test_the_last_result_travels_with_the_first_beat_of_each_connection() -> None:
    """Over HTTP: with the first beat, and again once a new connection is there; exactly where facts are."""
    world = World([ok(), ok(), DOWN, ok(), ok()])
    world.upgrades.last = LAST
    world.run()
    assert [beat.upgraded for beat in world.link.beats] == [LAST, None, None, None, LAST], "as facts do"


def test_over_mqtt_it_travels_too() -> None:
    """A broker's acknowledgement is enough: it hands the beat on when the hub is back."""
    world = World([taken(), taken(), answered(), taken()], registration=OVER_MQTT)
    world.upgrades.last = LAST
    world.run()
    assert [beat.upgraded for beat in world.link.beats] == [LAST, None, None, None]


class UnitEnds(World):
    """Root's unit ends before the third beat."""

    def metrics(self) -> Metrics:
        """Once a beat."""
        if len(self.link.calls) == 2:
            self.upgrades.last, self.upgrades.is_untold = LAST, True
        return super().metrics()


def test_a_result_that_comes_later_travels_at_once() -> None:
    """Nobody waits for the next connection to hear that an upgrade failed, nor hears it twice."""
    world = UnitEnds([ok(), ok(), ok(), ok()])
    world.run()
    assert [beat.upgraded for beat in world.link.beats] == [None, None, LAST, None]


def test_offers_are_handed_on_from_answers_and_from_words_in_between() -> None:
    """Over HTTP with the answer, over MQTT also unasked."""
    offered = answered(upgrade=OFFER)
    world = World([offered, taken()], registration=OVER_MQTT)
    unasked = encode_beat_reply(BeatReply(1_763_724_000.0, 60, upgrade=OFFER._replace(attempt=2)))
    world.link.words = [(5.0, (unasked,))]
    world.run()
    assert world.upgrades.offers == [OFFER, OFFER._replace(attempt=2)]
