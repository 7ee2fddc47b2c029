"""The receipts service under all orders of events: one key at a time, counters that grow, a line that is true."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firstlight.core.model import Secret
from firstlight.wire.bounded import WireError
from firstlight.wire.receipt import Told, from_text
from firstlight_hub.model import Device, InstallId, Refusal, digest
from firstlight_hub.service.receipts import Receipts
from firstlight_hub.store.sqlite import SqliteStore
from tests.hub.hub_world import START_MS, TurnedClock
from tests.hub.receipt_world import OfflineBox

TOKEN = Secret("0123456789abcdef")
BOXES = [OfflineBox(TOKEN, "cam") for _ in range(2)]  # the second has a picture of the first one's label

EVENTS = st.lists(
    st.tuples(
        st.integers(0, 1),  # which box
        st.integers(0, 5),  # its counter
        st.integers(-(10**10), 10**10),  # how far its clock is off, in seconds
        st.integers(0, 86_400),  # seconds that pass before
        st.booleans(),  # whether the text is handed in twice
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(EVENTS)
def test_line_is_true_whatever_comes(events: list[tuple[int, int, int, int, bool]]) -> None:
    """The first key stays, what is recorded has a growing counter, and its time lies between creation and now."""
    clock = TurnedClock()
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "hub.sqlite3")
        with store.writing() as transaction:
            transaction.add_device(Device(0, "demo", "cam", "cam", "ai1", None, (), True, START_MS))
            transaction.put_install_id(InstallId(digest(TOKEN.reveal()), "cam", START_MS, START_MS + 10**12))
        receipts, first, last = Receipts(store, clock, {"demo"}), "", 0
        for which, counter, off_s, passes_s, is_twice in events:
            clock.forward(passes_s)
            box = BOXES[which]
            box.counter = counter
            text = box.receipt(clock.now_ms / 1000 + off_s, told=Told(off_s % 2 == 0))
            before = clock.now_ms
            try:
                judged = receipts.record(text)
            except Refusal as refusal:
                is_other = first not in ("", box.fingerprint)
                assert refusal.code == ("receipt_key_other" if is_other else "receipt_replayed")
                assert is_other or counter + 1 <= last
                continue
            first, last = box.fingerprint, counter + 1
            assert START_MS <= judged.by_hand.made_at_ms <= before
            assert judged.is_new
            if is_twice:
                assert receipts.record(text) == judged._replace(
                    is_new=False, device=receipts.look_at(text).device, install_id=None
                )
            with store.reading() as view:
                found = view.device("cam")
            assert found is not None
            assert (found.key_fingerprint, found.key_hash, found.by_hand) == (first, None, judged.by_hand)
        store.close()


@pytest.fixture(scope="module")
def receipts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receipts]:
    """The service of a hub without devices."""
    store = SqliteStore(tmp_path_factory.mktemp("receipts") / "hub.sqlite3")
    yield Receipts(store, TurnedClock(), {"demo"})
    store.close()


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=400) | st.binary(max_size=700).map(lambda body: body.hex()), st.integers())
def test_junk_is_always_named(receipts: Receipts, text: str, at: int) -> None:
    """No text makes the reader fail in another way than by name; a changed receipt is never taken."""
    good = BOXES[0].receipt()
    changed = good[: at % len(good)] + text + good[at % len(good) + 1 :]
    for one in (text, changed):
        try:
            receipts.look_at(one)
        except WireError as error:
            assert error.code.startswith("receipt_")
        except Refusal as refusal:  # what was put in does not count for a receipt: spaces, for example
            assert refusal.code == "receipt_unknown_device"
            assert from_text(one) == from_text(good)
        else:
            raise AssertionError("taken")
