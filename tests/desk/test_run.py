"""A run over a table against a platform in memory: every way to break, and what the next run makes of it."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from firstlight.cli.device_journal import Journal
from firstlight.cli.device_run import PATIENCE_S, TRIES, Item, Run, Seams, key_of
from firstlight.core.management import Listed, Made
from firstlight.errors import FirstlightError, RefusedError, StateError, UnreachableError, UsageError
from tests.desk import fake_platform as fake
from tests.desk.fake_platform import PLACE, Platform


class Bench:
    """A platform, its dialect, a journal, and what was told."""

    def __init__(self, folder: Path, half: ModuleType | None = None) -> None:
        self.platform, self.half = Platform(), half or fake.dialect()
        self.path = folder / "t.journal"
        self.told: list[tuple[str, str]] = []
        self.waited: list[float] = []
        self.run: Run

    def go(self, *names: str, secret: str = "") -> Journal:
        """One run over devices of these names."""
        values = {"secret": secret} if secret else {}
        items = [
            Item(line, key_of("name", name), name, "", {"name": name, **values}, values)
            for line, name in enumerate(names, 2)
        ]
        journal = Journal(self.path, "fake", PLACE)
        seams = Seams(lambda item, outcome, _: self.told.append((item.name, outcome)), self._wait, self.waited.append)
        self.run = Run(fake.desk(self.platform, self.half), journal, seams)
        try:
            self.run.perform(items)
        finally:
            journal.close()
        return journal

    def _wait(self, why: str, wait_s: float) -> None:
        assert why and wait_s > 0

    @property
    def names(self) -> list[object]:
        """Of the devices that there are."""
        return [one["name"] for one in self.platform.made.values()]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """With a dialect that can search."""
    return Bench(tmp_path)


@pytest.mark.parametrize("finds", [True, False], ids=["find", "list"])
def test_an_answer_that_was_lost(tmp_path: Path, finds: bool) -> None:
    """Looked for before it is asked for again, by search or in the list; its device is taken over."""
    more = {} if finds else {"reclaim": fake.dialect().reclaim, "read_reclaimed": fake.dialect().read_reclaimed}
    bench = Bench(tmp_path, fake.dialect(finds=finds, **more))
    bench.platform.trouble = [None, fake.lost(fake.cut())]
    journal = bench.go("a", "b")
    assert bench.names == ["a", "b"] and bench.told == [("a", "found"), ("b", "made")]
    looks = "find" if finds else "list"
    assert bench.platform.asked == ["list", "create", looks, "reclaim", "create"]
    assert journal.made["name=a"].was_found and journal.made["name=a"].made.boot_file is not None


def test_a_call_that_never_arrived(bench: Bench) -> None:
    """Looked for in vain, it is asked for again; a short wait comes before."""
    bench.platform.trouble = [None, fake.cut(), None]
    bench.go("a")
    assert bench.names == ["a"] and bench.waited == [1.0] and bench.told == [("a", "made")]


def test_a_storm_of_429_is_waited_out(bench: Bench) -> None:
    """As long as the platform asks each time; with no end of it the run gives up and is gone on with."""
    bench.platform.trouble = [None, *[fake.busy(7.0)] * 30]
    bench.go("a", "b")
    assert bench.names == ["a", "b"] and bench.waited[:3] == [7.0, 7.0, 7.0] and max(bench.waited) == 60.0
    bench.platform.trouble = [None, *[fake.busy(600.0)] * 30]
    bench.waited.clear()
    with pytest.raises(UnreachableError) as caught:
        bench.go("c", "d")
    assert caught.value.code == "platform_busy" and sum(bench.waited) <= PATIENCE_S and bench.run.at is not None
    bench.platform.trouble = []
    bench.go("c", "d")
    assert bench.names == ["a", "b", "c", "d"]


def test_a_platform_that_cannot_be_reached(bench: Bench) -> None:
    """Some tries, then the run ends with the error; what was made before it stays made."""
    bench.platform.trouble = [None, None, *[fake.cut()] * 20]
    with pytest.raises(UnreachableError):
        bench.go("a", "b")
    assert len(bench.waited) == TRIES - 1 and bench.names == ["a"] and bench.run.at is not None
    assert bench.run.at.name == "b" and bench.run.outcomes == {"name=a": "made"}


def test_a_made_up_secret_stays_the_same(bench: Bench) -> None:
    """A second run sends the secret of the first, which may be the device's already."""
    bench.platform.trouble = [None, fake.refused("unauthorized")]
    with pytest.raises(RefusedError):
        bench.go("a", secret="first")
    bench.go("a", secret="second")
    assert [one["secret"] for one in bench.platform.made.values()] == ["first"]
    assert bench.path.stat().st_mode & 0o777 == 0o600


def test_names_that_are_there_already(tmp_path: Path) -> None:
    """Left alone where the platform can be searched; else the table is refused as a whole."""
    for finds in (True, False):
        bench = Bench(tmp_path / str(finds), fake.dialect(finds=finds))
        bench.path.parent.mkdir()
        bench.platform.made["id-x"] = {"name": "b"}
        if finds:
            bench.go("a", "b")
            assert sorted(bench.told) == [("a", "made"), ("b", "exists")] and bench.run.exists == {"name=b": "id-x"}
        else:
            with pytest.raises(UsageError, match="named 'b'"):
                bench.go("a", "b")
            assert bench.platform.asked == ["list"]


def test_all_lines_are_looked_at_first(bench: Bench) -> None:
    """A value that breaks a rule in the last line: nothing was asked."""
    with pytest.raises(UsageError):
        bench.go("a", "never")
    assert not bench.platform.asked


def test_ctrl_c_in_the_middle(bench: Bench) -> None:
    """What was made is known to the next run, and what was being asked for is looked for."""
    bench.platform.trouble = [None, None, KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        bench.go("a", "b", "c")
    bench.go("a", "b", "c")
    assert bench.names == ["a", "b", "c"]
    assert bench.told == [("a", "made"), ("a", "made earlier"), ("b", "made"), ("c", "made")]


def test_a_batch_of_which_some_are_missing(tmp_path: Path) -> None:
    """What its answer does not have is looked for, and made alone."""
    half = fake.dialect()
    half.batch_size = lambda place: 3  # type: ignore[attr-defined]
    half.create_many = lambda place, devices: half.create(place, devices[0])  # type: ignore[attr-defined]

    def read(place: object, devices: list[dict[str, object]], reply: object) -> list[Made]:
        first = half.read_created(PLACE, devices[0], reply)
        return [first, *(Made("", str(one["name"]), None, {}) for one in devices[1:])]

    half.read_created_many = read  # type: ignore[attr-defined]
    bench = Bench(tmp_path, half)
    bench.go("a", "b", "c", "d")
    assert bench.names == ["a", "b", "c", "d"]
    assert bench.platform.asked == ["list", "create", "find", "create", "find", "create", "create"]


def test_a_pause_that_the_platform_asks_for(tmp_path: Path) -> None:
    """Before the next call, so that none is refused."""
    bench = Bench(tmp_path, fake.dialect(pause_s=lambda reply: 3.0))
    bench.go("a")
    assert bench.waited == [3.0, 3.0] and bench.names == ["a"]


# -- the journal -------------------------------------------------------------------------------------------------------
def test_a_journal_whose_last_line_was_cut(bench: Bench) -> None:
    """The line is passed over, and what it was about is looked for; the next lines begin on their own."""
    bench.go("a", "b")
    body = bench.path.read_bytes()
    for size in range(len(body) - 1, body.index(b"\n"), -40):
        bench.path.write_bytes(body[:size])
        bench.go("a", "b")
        assert bench.names == ["a", "b"]
        for line in bench.path.read_text().splitlines():
            json.loads(line)


@pytest.mark.parametrize(
    "junk",
    [b"hello\n", b"[]\n", b'{"made": {"id": 1}}\n', b'{"will": {"k": 5}}\n', b"\xff\xfe\n", b"[" * 50_000 + b"\n"],
)
def test_a_journal_with_junk_in_it(bench: Bench, junk: bytes) -> None:
    """Refused by name: nobody knows what was made."""
    bench.go("a")
    bench.path.write_bytes(bench.path.read_bytes() + junk)
    with pytest.raises(UsageError) as caught:
        bench.go("a", "b")
    assert caught.value.code == "journal_damaged" and bench.names == ["a"]


@pytest.mark.parametrize("mode", [0o644, 0o620])
def test_a_journal_that_came_from_elsewhere(bench: Bench, mode: int) -> None:
    """What boxes are told to trust is never taken from a file that others may read or write; not the second time."""
    bench.go("a")
    bench.path.chmod(mode)
    for _ in range(2):
        with pytest.raises(UsageError) as caught:
            bench.go("a", "b")
        assert caught.value.code == "journal_damaged" and "chmod 600" in caught.value.hint and len(bench.names) == 1


def test_a_journal_of_another_place(bench: Bench) -> None:
    """Another platform, address or workspace: refused, whatever is in it."""
    bench.go("a")
    for platform, place in (
        ("other", PLACE),
        ("fake", PLACE._replace(workspace="x")),
        ("fake", PLACE._replace(endpoint=PLACE.endpoint._replace(port=8443))),
    ):
        with pytest.raises(UsageError) as caught:
            Journal(bench.path, platform, place)
        assert caught.value.code == "journal_other"


def test_two_runs_at_once(bench: Bench) -> None:
    """The second is refused while the first is at work."""
    first = Journal(bench.path, "fake", PLACE)
    with pytest.raises(UsageError) as caught:
        Journal(bench.path, "fake", PLACE)
    assert caught.value.code == "journal_locked"
    first.close()
    Journal(bench.path, "fake", PLACE).close()


def test_a_journal_that_cannot_be_written(bench: Bench, tmp_path: Path) -> None:
    """A link of that name is not followed, and a folder that is not there is named."""
    (tmp_path / "elsewhere").write_text("")
    bench.path.symlink_to(tmp_path / "elsewhere")
    for path in (bench.path, tmp_path / "none" / "j"):
        with pytest.raises(StateError) as caught:
            Journal(path, "fake", PLACE)
        assert caught.value.code == "output_unwritable" and "--journal" in caught.value.hint
    with pytest.raises(FirstlightError):
        bench.go("a")
    assert not bench.platform.asked and (tmp_path / "elsewhere").read_text() == ""


def test_no_secret_in_what_a_traceback_shows() -> None:
    """Neither a box's file nor a platform's record nor the values of a table stand in a value's text."""
    made = Made("d", "n", {"secret": "s3cret"}, {"token": "s3cret"})
    listed = Listed("d", "n", "online", "", "", {"token": "s3cret"})
    item = Item(2, "name=n", "n", "", {"secret": "s3cret"}, {"secret": "s3cret"})
    assert "s3cret" not in repr((made, listed, item))
