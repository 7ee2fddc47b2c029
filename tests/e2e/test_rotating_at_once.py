"""Several verbs on one box at once: none ends another, and each says how it ended."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from firstlight.system.store import RUNNING, StateDirectory
from tests.e2e.conftest import BIN, Box, Hub, wait_until
from tests.e2e.test_rotation import beats, enrolled, registration


def begun(box: Box, verb: str, *words: str) -> subprocess.Popen[str]:
    """A verb as a process of its own."""
    line = [str(BIN / "firstlight"), verb, "--state-dir", str(box.state_dir), *words]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=box.env)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit status and words."""
    said = process.communicate(timeout=60)[0]
    assert "Traceback" not in said, said
    return process.returncode, said


def waits(process: subprocess.Popen[str]) -> None:
    """It has said that it waits for another one."""
    assert process.stdout is not None and "waiting for its end" in process.stdout.readline()


@contextmanager
def slow(hub: Hub) -> Iterator[None]:
    """The hub answers nothing while the ``with`` block runs."""
    assert hub.process is not None
    hub.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        hub.process.send_signal(signal.SIGCONT)


def test_a_second_rotate_waits_for_the_first_and_tells_its_end(own_hub: Hub, make_box: Callable[[Hub], Box]) -> None:
    """While one makes the change itself, another neither ends it nor makes a second one; both say the same."""
    box = enrolled(own_hub, make_box, "secret")
    store, before = StateDirectory(str(box.state_dir)), registration(box)
    with slow(own_hub):
        first = begun(box, "rotate")
        wait_until("it is at work", lambda: store.holder(RUNNING) == first.pid)
        os.kill(first.pid, signal.SIGHUP)  # what an earlier version did, and what a lost terminal does
        others = [begun(box, "rotate") for _ in range(2)]
        for process in others:
            waits(process)
    results = [ended(process) for process in (first, *others)]

    assert [code for code, _ in results] == [0, 0, 0], results
    assert all("has a new key" in said for _, said in results)
    assert all("this is how it ended" in said for _, said in results[1:])
    after = registration(box)
    assert after.key_fingerprint != before.key_fingerprint and len(store.key_names()) == 1
    assert not store.has("wish.json")
    box.run()
    wait_until("it beats", beats(box))


def test_a_second_rotate_tells_why_the_first_failed(own_hub: Hub, make_box: Callable[[Hub], Box]) -> None:
    """Without a hub both end in the same named error, and the hub is not asked twice."""
    box = enrolled(own_hub, make_box, "secret")
    store = StateDirectory(str(box.state_dir))
    with slow(own_hub):
        first = begun(box, "rotate")
        wait_until("it is at work", lambda: store.holder(RUNNING) == first.pid)
        second = begun(box, "rotate")
        waits(second)
        own_hub.stop(signal.SIGKILL)
    for code, said in (ended(first), ended(second)):
        assert code == 69 and "[rotation_failed]" in said and "present credential stays in use" in said


def test_rotates_at_once_share_a_wish_where_the_agent_runs(hub: Hub, make_box: Callable[[Hub], Box]) -> None:
    """Each is answered by the agent, which goes on; nobody waits in vain for a wish that another one replaced."""
    box = enrolled(hub, make_box, "secret")
    agent = box.run()
    wait_until("it beats", beats(box))
    before = registration(box)
    results = [ended(process) for process in [begun(box, "rotate", "--patience", "40") for _ in range(4)]]

    assert [code for code, _ in results] == [0] * 4, results
    assert registration(box).key_fingerprint != before.key_fingerprint
    wait_until("it beats again", beats(box))
    assert agent.poll() is None and not StateDirectory(str(box.state_dir)).has("wish.json")


def test_a_rotate_waits_for_a_reset_and_does_not_end_it(hub: Hub, make_box: Callable[[Hub], Box]) -> None:
    """What holds the locks while the box is set back is left alone; afterwards there is nothing to rotate."""
    box = enrolled(hub, make_box, "secret")
    store = StateDirectory(str(box.state_dir))
    with store.lock(), store.lock(RUNNING):
        code, said = ended(begun(box, "rotate", "--patience", "0.5"))
        assert code == 74 and "[state_locked]" in said and "still at work" in said
        later = begun(box, "rotate")
        waits(later)
        store.retire("reset")
        for name in ("attempt.json", "enrolled.json"):
            store.remove(name)
    code, said = ended(later)
    assert code == 78 and "[not_enrolled]" in said


@pytest.mark.parametrize("body", [b'{"move": "e30=.e30="}', b"{", b"[]", b"\x00" * 100])
def test_damaged_notes_do_not_block_a_rotation(hub: Hub, make_box: Callable[[Hub], Box], body: bytes) -> None:
    """The command works at the first attempt."""
    box = enrolled(hub, make_box, "secret")
    (box.state_dir / "change.json").write_bytes(body)
    (box.state_dir / "change.json").chmod(0o600)

    assert "has a new key" in box.cli("rotate", "--state-dir", str(box.state_dir)).stdout
