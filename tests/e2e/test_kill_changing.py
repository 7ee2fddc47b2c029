"""SIGKILL at every durable write, every request and every reply of a rotation and of a move: one device, online."""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from firstlight.system.store import StateDirectory
from firstlight.wire.move import Move, encode_statement, seal
from firstlight_hub.folder import HubFolder
from tests.e2e.conftest import Box, Hub

CHILD = Path(__file__).with_name("kill_changing_child.py")
ROOT = Path(__file__).resolve().parents[2]
MOST_STEPS = 150
KINDS = ["secret", "certificate"]


class Relay:
    """Another address of the same hub: bytes go to and fro."""

    def __init__(self, port: int) -> None:
        self.to = ("127.0.0.1", port)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                one, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(one,), daemon=True).start()

    def _carry(self, one: socket.socket) -> None:
        with suppress(OSError), one, socket.create_connection(self.to) as other:
            while True:
                for source in select.select([one, other], [], [])[0]:
                    part = source.recv(65_536)
                    if not part:
                        return
                    (other if source is one else one).sendall(part)

    def close(self) -> None:
        """Takes no more."""
        self.listener.close()


@pytest.fixture
def relay(hub: Hub) -> Iterator[Relay]:
    """The hub at another address."""
    one = Relay(hub.port)
    yield one
    one.close()


def killed_again_and_again(box: Box, lines: list[str]) -> list[dict[str, object]]:
    """What the child told, round by round; the last one was not killed."""
    done = subprocess.run(
        [sys.executable, str(CHILD), str(box.state_dir)],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        timeout=115,
        env={**box.env, "PYTHONPATH": str(ROOT)},
    )
    rounds = [json.loads(line) for line in done.stdout.splitlines()]
    assert rounds and not rounds[-1]["killed"], f"{len(rounds)} rounds and no end, or: {done.stderr}"
    assert rounds[-1]["status"] == 0, done.stderr
    assert all(one["killed"] for one in rounds[:-1])
    assert [0] * len(rounds) == [one["resumed"] for one in rounds], f"{rounds} {done.stderr}"
    assert [0] * len(rounds) == [one["begun"] for one in rounds]
    return rounds


def generation(box: Box) -> int:
    """How many credentials this device has had."""
    registration = StateDirectory(str(box.state_dir)).load_registration()
    assert registration is not None
    if registration.credential.secret:
        return int(registration.credential.secret.reveal().partition(".")[0])
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    certificate = x509.load_pem_x509_certificates(registration.credential.certificate_pem.encode())[0]
    return int(certificate.subject.get_attributes_for_oid(NameOID.SERIAL_NUMBER)[0].value)


@pytest.mark.parametrize("kind", KINDS)
def test_kill_at_every_step_of_a_rotation(hub: Hub, make_box: Callable[[Hub], Box], kind: str) -> None:
    """Whatever step the kill hits, the next start beats as the same device, with one new credential and no other."""
    box, created = make_box(hub), hub.create(f"rotated {kind}")
    box.enroll(created.install_id.reveal(), "--credential", kind)
    before = set(hub.devices())

    rounds = killed_again_and_again(box, [""] * MOST_STEPS)

    # Killed before the wish itself was on disk, nothing was to be changed.
    asked = next(number for number, one in enumerate(rounds) if one["step"] == "written change.json")
    keys = [one["key"] for one in rounds[asked:]]
    assert len(set(keys)) == len(keys), "a round did not end with a key of its own"
    assert all(one["deviceId"] == created.device_id for one in rounds)
    assert all(len(one["keys"]) == 1 for one in rounds)  # type: ignore[arg-type]
    assert asked > 0
    assert generation(box) == len({one["key"] for one in rounds}), "the hub made more credentials than keys"
    steps = {str(one["step"]) for one in rounds}
    assert {"send credential", "reply to credential", "send heartbeat", "reply to heartbeat"} <= steps
    assert set(hub.devices()) == before


@pytest.mark.parametrize("kind", KINDS)
def test_kill_at_every_step_of_a_move(hub: Hub, relay: Relay, make_box: Callable[[Hub], Box], kind: str) -> None:
    """Whatever step the kill hits, the next start beats as the same device, at the new address."""
    box, created = make_box(hub), hub.create(f"moved {kind}")
    box.enroll(created.install_id.reveal(), "--credential", kind)
    ca = HubFolder(hub.folder).authorities().present
    addresses = [f"https://127.0.0.1:{port}" for port in (relay.port, hub.port)]
    lines = []
    for number in range(MOST_STEPS):
        statement = encode_statement(Move(addresses[number % 2], ca.pem, (), 1_795_000_000.0 + number))
        lines.append(seal(statement, ca.sign(statement)))

    rounds = killed_again_and_again(box, lines)

    asked = next(number for number, one in enumerate(rounds) if one["step"] == "written change.json")
    for number, one in enumerate(rounds[asked:], asked):
        assert one["endpoint"] == addresses[number % 2], one
        assert one["deviceId"] == created.device_id
    assert len({one["key"] for one in rounds}) == 1
    steps = {str(one["step"]) for one in rounds}
    assert {"send heartbeat", "reply to heartbeat", "rename registration.json"} <= steps
