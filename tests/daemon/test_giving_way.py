"""The beating process makes way for a change and comes back: same process, nothing lost, signals heard throughout."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from firstlight.system.store import WISH
from tests.daemon.box import Box
from tests.daemon.platform_server import PlatformServer, Request, accepted, refused

MakeBox = Callable[..., Box]


def notes(box: Box) -> str:
    """A script that tells in a file that it ran (its pid and the notify socket it sees), and fulfils the wish."""
    return (
        f"import os\nif os.path.exists({wish(box)!r}):\n    os.unlink({wish(box)!r})\n"
        f"with open({str(box.folder / 'again')!r}, 'a') as file:\n"
        "    print(os.getpid(), os.environ['NOTIFY_SOCKET'], file=file)"
    )


def wish(box: Box) -> str:
    """Path of what 'firstlight rotate' leaves."""
    return f"{box.store.path}/{WISH}"


def hang_up(box: Box) -> None:
    """What 'firstlight rotate' does: a wish, and SIGHUP."""
    box.store.write_json(WISH, {"id": "1" * 32})
    os.kill(box.pid, signal.SIGHUP)


def lives(box: Box) -> list[str]:
    """What the script noted so far."""
    path = Path(box.folder, "again")
    return path.read_text().splitlines() if path.exists() else []


def test_a_hangup_leads_through_the_door_and_back(server: PlatformServer, make_box: MakeBox) -> None:
    """SIGHUP in a wait: the same process with the same environment, ready again, beating again, with new facts told."""
    box = make_box(1.0)
    box.goes_back_through(notes(box))
    box.start()
    server.wait_beats(1)
    box.wait_for("STATUS=Online")
    hang_up(box)
    box.wait_for("STATUS=Making way")
    assert f"MAINPID={box.pid}" in box.wait_for("READY=1")
    server.wait_beats(2)

    assert lives(box) == [f"{box.pid} {box.folder / 'notify'}"]
    assert "STOPPING=1" not in box.heard and server.beats[1].facts is not None
    assert server.beats[1].sequence > server.beats[0].sequence, "one boot, one growing number"
    assert box.kill(signal.SIGTERM) == 0


def test_a_second_hangup_on_the_way_is_neither_lost_nor_deadly(server: PlatformServer, make_box: MakeBox) -> None:
    """SIGHUP while the richer process runs waits for the agent, which then goes the same way once more."""
    box = make_box(1.0)
    again = f"    open({wish(box)!r}, 'w').write('{{\"id\": \"2\"}}')\n    os.kill(os.getpid(), 1)"
    twice = f"if len(open({str(box.folder / 'again')!r}).readlines()) == 1:\n{again}"
    box.goes_back_through(f"{notes(box)}\n{twice}")
    box.start()
    server.wait_beats(1)
    hang_up(box)
    box.wait_for("Making way")
    box.wait_for("Making way")
    box.wait_for("READY=1")
    server.wait_beats(3)

    assert [line.split()[0] for line in lives(box)] == [str(box.pid)] * 2
    assert box.kill(signal.SIGTERM) == 0


def test_a_hangup_during_a_call_lets_it_finish(server: PlatformServer, make_box: MakeBox) -> None:
    """SIGHUP while the platform takes its time: the beat is accepted first, then the process makes way."""
    box = make_box(1.0)
    box.goes_back_through(notes(box))

    def meanwhile(request: Request) -> object:
        if len(server.requests) == 0:
            hang_up(box)
        return accepted()

    server.rule = meanwhile  # type: ignore[assignment]
    box.start()
    box.wait_for("Making way")
    server.wait_beats(2)

    assert server.connections == 2 and server.beats[1].missed == () and len(lives(box)) == 1


def test_a_storm_of_hangups_ends_nothing(server: PlatformServer, make_box: MakeBox) -> None:
    """A thousand SIGHUPs with nothing due: the process never makes way, and beats on over the same connection."""
    box = make_box(60.0)
    box.goes_back_through(notes(box))
    box.start()
    for round_number in range(1, 6):
        server.wait_beats(round_number)
        for _ in range(200):
            os.kill(box.pid, signal.SIGHUP)
    server.wait_beats(8)
    assert lives(box) == [] and server.connections == 1 and server.beats[-1].missed == ()

    hang_up(box)
    box.wait_for("Making way")
    server.wait_beats(10)
    assert len(lives(box)) == 1
    assert box.kill(signal.SIGTERM) == 0


def test_without_a_way_back_a_hangup_is_nothing(server: PlatformServer, make_box: MakeBox) -> None:
    """An agent that was started without the door beats on."""
    box = make_box(60.0)
    box.start()
    server.wait_beats(1)
    os.kill(box.pid, signal.SIGHUP)
    server.wait_beats(4)

    assert box.process is not None and box.process.poll() is None and server.connections == 1


def test_rotate_in_an_answer_leads_through_the_door(server: PlatformServer, make_box: MakeBox) -> None:
    """What the hub asks for is on disk when the process makes way, and the beat that brought it counts."""
    server.rule = lambda request: accepted(rotate=len(server.requests) == 1)
    box = make_box(60.0)
    box.goes_back_through(f"{notes(box)}\nos.unlink({box.store.path + '/change.json'!r})")
    box.start()
    server.wait_beats(4)

    assert len(lives(box)) == 1 and server.connections == 2
    assert [beat.missed for beat in server.beats[:4]] == [()] * 4


@pytest.mark.parametrize("status", [401, 410])
def test_a_box_that_was_enrolled_anew_goes_on_as_the_new_one(
    server: PlatformServer, make_box: MakeBox, status: int
) -> None:
    """The old registration is refused or removed while a new one is on disk: neither parked nor retired."""
    box = make_box(1.0)
    fresh = box.store.load_registration()
    assert fresh is not None
    fresh = fresh._replace(device_id="dev-2", key_fingerprint="sha256:" + "ef" * 32)
    box.goes_back_through(notes(box))

    def rule(request: Request) -> object:
        if "dev-2" in request.path:
            return accepted()
        box.store.save_registration(fresh)
        return refused(status, "device_removed" if status == 410 else "key_invalid", "sha256:" + "ab" * 32)

    server.rule = rule  # type: ignore[assignment]
    box.start()
    server.wait_beats(2)
    box.wait_status(lambda found: found["deviceId"] == "dev-2" and found["state"] == "beating" and found["beats"])

    assert not Path(box.store.path, "retired").exists() and len(lives(box)) == 1
    assert box.kill(signal.SIGTERM) == 0
