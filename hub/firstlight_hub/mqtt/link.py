"""mosquitto, the hub's child or another, as a ``BrokerLink``: files rewritten and read again, sessions ended."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from firstlight.core.model import Secret
from firstlight.errors import FirstlightError, UnreachableError
from firstlight.wire import topics
from firstlight_hub.mqtt.door import Door
from firstlight_hub.mqtt.files import Files

PATIENCE_S = 10.0
PROBE = "firstlight.probe"  # ids of devices have no dot
LOOK_AGAIN_S, AGAIN_S = 0.1, 1.0
LOG = logging.getLogger(__name__)

Apply = Callable[[set[str] | None], None]


class Together:
    """Many who want the same work done at once: one does it for all who asked before it began.

    Args:
        work: given whose files to look at, None = everybody's.
    """

    def __init__(self, work: Apply) -> None:
        self._work = work
        self._turn = threading.Condition()
        self.asked = self._covered = 0
        self._is_busy = False
        self._whose: set[str] | None = set()

    def do(self, device_id: str | None) -> None:
        """Returns when the work was done after this call began, or after some seconds; raises what the work raises."""
        with self._turn:
            self.asked += 1
            mine = self.asked
            self._whose = None if self._whose is None or device_id is None else {*self._whose, device_id}
            self._turn.wait_for(lambda: self._covered >= mine or not self._is_busy, PATIENCE_S)
            if self._covered >= mine or self._is_busy:
                return
            self._is_busy = True
            covers, whose, self._whose = self.asked, self._whose, set()
        try:
            self._work(whose)
        except BaseException:
            with self._turn:
                self._whose = None  # what was not written then is looked at next time
            raise
        finally:
            with self._turn:
                self._is_busy = False
                self._covered = covers
                self._turn.notify_all()


class MosquittoLink:
    """Implements ``BrokerLink``. Never raises: the commit is done, and ingest refuses what is nobody's any more.

    Args:
        files: what mosquitto reads.
        reload: has it read them; True when it has.
        door: the hub's own way in.
        tell: publishes a body to a topic, from any thread.
    """

    def __init__(
        self, files: Files, reload: Callable[[Files], bool], door: Door, tell: Callable[[str, bytes], None]
    ) -> None:
        self._files = files
        self._reload = reload
        self._door = door
        self._tell = tell
        self._together = Together(self._apply)
        self._owed: set[str] = set()

    def _apply(self, whose: set[str] | None) -> None:
        if self._files.write(whose) and not self._reload(self._files):
            LOG.warning("mosquitto did not say that it has read its files again.")

    def refresh(self, device_id: str | None = None) -> None:
        """Makes what mosquitto reads what the hub knows, about one device or, with None, about all."""
        try:
            self._together.do(device_id)
        except UnreachableError as error:
            LOG.warning("The broker reads its files when it is back. %s", error.message)
        except (FirstlightError, OSError) as error:
            LOG.error("The broker's files could not be written, it goes by the old ones: %s", error)

    def issued(self, device_id: str) -> None:
        """As ``BrokerLink.issued``."""
        self.refresh(device_id)

    def ended(self, device_id: str) -> None:
        """As ``BrokerLink.ended``.

        mosquitto looks again at who is connected with a password when it reads its files, but not at certificates.
        So the hub takes the session over: a second connection with the same client id ends the first.
        """
        self.refresh(device_id)
        self._owed.add(device_id)
        self.settle()

    def settle(self) -> None:
        """Ends the sessions that are to end; what fails is done when the broker can be reached again."""
        for device_id in list(self._owed):
            try:
                self._door.visit(device_id)
            except UnreachableError as error:
                LOG.warning("A session of %s is ended later. %s", device_id, error.message)
                return
            self._owed.discard(device_id)

    def tell(self, workspace: str, device_id: str, body: bytes) -> None:
        """As ``BrokerLink.tell``."""
        self._tell(topics.answer(workspace, device_id), body)


class OthersMosquitto:
    """A mosquitto that is not the hub's child: told by SIGHUP, and tried until it knows a password made just now.

    Args:
        pid_file: where its process id stands; None where something else has it read its files when they change.
        door: the way to it.
    """

    def __init__(self, pid_file: Path | None, door: Door) -> None:
        self._pid_file = pid_file
        self._door = door

    def reload(self, files: Files) -> bool:
        """As ``Mosquitto.reload``; it says nothing to us, so a fresh password shows whether it has read the file."""
        password = Secret(secrets.token_urlsafe(32))
        files.probe = (PROBE, password)
        files.write(())
        ends_s = time.monotonic() + PATIENCE_S
        signalled_s = 0.0
        while time.monotonic() < ends_s:
            try:
                if self._pid_file is not None and time.monotonic() - signalled_s > AGAIN_S:
                    os.kill(int(self._pid_file.read_text()), signal.SIGHUP)  # one that comes while it reads is lost
                    signalled_s = time.monotonic()
                if self._door.visit(PROBE, PROBE, password.reveal()):
                    return True
            except UnreachableError as error:
                LOG.warning("%s", error.message)
                return False
            except (OSError, ValueError) as error:
                LOG.error("The broker could not be told to read its files again (%s): %s", self._pid_file, error)
                return False
            time.sleep(LOOK_AGAIN_S)
        return False
