"""Enrolls again and again, killed one step later each time, and goes on after each kill with the real verb.

Not a test: tests/e2e/test_kill_enrolling.py runs it. Reads one installId a line from standard input, one a round;
prints a JSON line a round. A step is every durable step of the state directory, every call about to be sent and every
reply just received. Round n is killed at step n; the rounds end when one was not killed, because there is no step n.
"""

from __future__ import annotations

import io
import json
import os
import random
import secrets
import signal
import sys
from pathlib import Path
from typing import Any

from firstlight.cli import enrolling
from firstlight.cli.enrolling import Parts
from firstlight.cli.lifetime import renew_at_s
from firstlight.cli.main import main
from firstlight.core.exchange import HttpCall
from firstlight.core.interfaces import Session
from firstlight.core.model import Facts, Invitation, Registration, Trust, parse_endpoint, parse_install_id
from firstlight.platforms.hub import device
from firstlight.system.clock import SystemClock
from firstlight.system.keys import KeyFile, certificate_fingerprint
from firstlight.system.store import StateDirectory
from firstlight.transports.http_calls import HttpCalls
from firstlight.transports.http_session import HttpSession


class Fuse:
    """Counts steps and ends the process at one of them, telling which through a pipe."""

    def __init__(self, burns_at: int, tell: int) -> None:
        self.left, self.tell = burns_at, tell

    def step(self, name: str) -> None:
        """One step is about to be taken."""
        if self.left == 0:
            os.write(self.tell, name.encode())
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1


class Fused:
    """A caller or session around the real one: a step before each call and after each reply."""

    def __init__(self, real: HttpCalls | Session, fuse: Fuse) -> None:
        self.real, self.fuse = real, fuse

    def exchange(self, call: Any, deadline_s: float) -> Any:
        """Calls the real one, with a step on either side."""
        name = call.url.rsplit("/", 1)[1] if isinstance(call, HttpCall) else "message"
        self.fuse.step(f"send {name}")
        reply = self.real.exchange(call, deadline_s)
        self.fuse.step(f"reply to {name}")
        return reply

    def close(self) -> None:
        """Closes the real one."""
        self.real.close()

    @property
    def connections(self) -> int:
        """Those of the real session."""
        assert isinstance(self.real, HttpSession)
        return self.real.connections


def enroll_until_killed(state_dir: str, install_id: str, hub: str, pin: str, fuse: Fuse) -> None:
    """The same parts as ``firstlight enroll``, each with the fuse in it."""
    store = StateDirectory(state_dir, on_step=fuse.step)
    store.prepare()
    trust = Trust(pins=(pin,))

    def open_session(registration: Registration) -> Session:
        return Fused(HttpSession(registration.trust), fuse)  # type: ignore[return-value]

    with store.lock(), HttpCalls(trust) as caller:
        parts = Parts(
            store=store,
            make_key=lambda: KeyFile().make_or_load(store),
            make_attempt_id=lambda: secrets.token_hex(16),
            caller=Fused(caller, fuse),
            open_session=open_session,
            open_appeal=open_session,
            fingerprint_of=certificate_fingerprint,
            renew_at_s=renew_at_s,
            clock=SystemClock(),
            saw_time=store.save_seen,
            chance=random.random,
            tell=lambda line: None,
            patience_s=30,
        )
        invitation = Invitation("hub", parse_endpoint(hub), trust, parse_install_id(install_id))
        enrolling.enroll(parts, device, invitation, Facts(hostname="killed-box"))


def in_child(act: object, *words: object) -> int:
    """Performs in a forked child; its wait status."""
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            assert callable(act)
            status = act(*words) or 0
        finally:
            sys.stdout.flush()
            os._exit(status)
    return os.waitpid(pid, 0)[1]


def go_on(state_dir: str, install_id: str, hub: str, pin: str) -> int:
    """``firstlight enroll`` as the technician runs it again, the installId on standard input."""
    sys.stdin = io.TextIOWrapper(io.BytesIO(install_id.encode()))
    sys.stdout = io.StringIO()
    return main(["enroll", "-", "--hub", hub, "--pin", pin, "--state-dir", state_dir, "--patience", "30"])


def rounds(folder: Path, hub: str, pin: str) -> None:
    """One round for each installId, until a round was not killed."""
    for number, line in enumerate(sys.stdin):
        install_id, state_dir = line.strip(), str(folder / str(number))
        reading, writing = os.pipe()
        status = in_child(enroll_until_killed, state_dir, install_id, hub, pin, Fuse(number, writing))
        os.close(writing)
        step = os.read(reading, 200).decode()
        os.close(reading)
        killed = os.WIFSIGNALED(status)
        resumed = os.waitstatus_to_exitcode(in_child(go_on, state_dir, install_id, hub, pin))
        sys.stdout.write(json.dumps({"step": step, "killed": killed, "status": status, "resumed": resumed}) + "\n")
        sys.stdout.flush()
        if not killed:
            return


if __name__ == "__main__":
    rounds(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
