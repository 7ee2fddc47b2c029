"""mosquitto, the hub's child or another, as a ``BrokerLink``: files rewritten and read again, sessions ended."""

from __future__ import annotations

import contextlib
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
from firstlight_hub.store import Store

PATIENCE_S = 10.0
PROBE = "firstlight.probe"  # ids of devices have no dot
LOOK_AGAIN_S, AGAIN_S = 0.1, 1.0
BARRED_S = 60.0
LOG = logging.getLogger(__name__)

Apply = Callable[[set[str] | None], None]


class Together:
    """Many who want the same work done at once: one does it for all who asked before it began.

    Args:
        work: given whose files to look at, None = everybody's.
        patience_s: how long anybody waits.
    """

    def __init__(self, work: Apply, patience_s: float = PATIENCE_S) -> None:
        self._work = work
        self._patience_s = patience_s
        self._turn = threading.Condition()
        self.asked = self._covered = 0
        self._waiting: set[int] = set()
        self._is_busy = self._has_failed = False
        self._whose: set[str] | None = set()

    def do(self, *device_ids: str) -> bool:
        """Asks for the work; who waited for long goes, and it is done later all the same.

        Args:
            device_ids: whose files to look at; none = everybody's.

        Returns:
            whether it was done after this call began.

        Raises:
            Exception: what the work raises, in the thread that did it.
        """
        with self._turn:
            self.asked += 1
            mine = self.asked
            self._whose = None if self._whose is None or not device_ids else {*self._whose, *device_ids}
            self._waiting.add(mine)
            self._turn.wait_for(lambda: self._covered >= mine or not self._is_busy, self._patience_s)
            self._waiting.remove(mine)
            if self._covered >= mine or self._is_busy:
                return self._covered >= mine and not self._has_failed
            self._is_busy = True
        while self._is_to_go_on():
            pass
        return True

    def _is_to_go_on(self) -> bool:
        """One round; True where this thread must do another: somebody asked meanwhile, and does not wait any more."""
        with self._turn:
            covers, whose, self._whose = self.asked, self._whose, set()
        has_failed = True
        try:
            self._work(whose)
            has_failed = False
        finally:
            with self._turn:
                if has_failed:
                    self._whose = None  # what was not done is looked at next time
                self._covered, self._has_failed = covers, has_failed
                is_left = self.asked > covers and max(self._waiting, default=0) <= covers
                self._is_busy = is_left and not has_failed
                self._turn.notify_all()
        return is_left

    @property
    def is_behind(self) -> bool:
        """Whether something is left that nobody does, after a round that failed."""
        with self._turn:
            return not self._is_busy and self._whose != set()


class MosquittoLink:
    """Implements ``BrokerLink``. Never raises: the commit is done, and ingest refuses what is nobody's any more.

    Args:
        files: what mosquitto reads.
        reload: has it read them; True when it has.
        door: the hub's own way in.
        tell: publishes a body to a topic, from any thread.
        store: remembers whose sessions are to be ended, also when the hub is killed.
    """

    def __init__(
        self,
        files: Files,
        reload: Callable[[Files], bool],
        door: Door,
        tell: Callable[[str, bytes], None],
        store: Store,
    ) -> None:
        self._files = files
        self._reload = reload
        self._door = door
        self._tell = tell
        self._store = store
        self._together, self._settling = Together(self._apply), Together(self._settle)
        self._is_unread = False

    def _apply(self, whose: set[str] | None) -> None:
        self._is_unread = self._files.write(whose) or self._is_unread
        if self._is_unread:
            self._is_unread = not self._reload(self._files)
        if self._is_unread:
            LOG.warning("mosquitto did not say that it has read its files again.")

    def refresh(self, *device_ids: str) -> bool:
        """Makes what mosquitto reads what the hub knows, about these devices or, without one, about all.

        Returns:
            whether mosquitto has read it.
        """
        try:
            return self._together.do(*device_ids) and not self._is_unread
        except UnreachableError as error:
            LOG.warning("The broker reads its files when it is back. %s", error.message)
        except (FirstlightError, OSError) as error:
            LOG.error("The broker's files could not be written, it goes by the old ones: %s", error)
        return False

    def issued(self, device_id: str) -> None:
        """As ``BrokerLink.issued``."""
        self.refresh(device_id)

    def ended(self, device_id: str) -> None:
        """As ``BrokerLink.ended``.

        mosquitto looks again at who is connected with a password when it reads its files, but not at certificates.
        So the hub takes the session over: a second connection with the same client id ends the first.
        """
        self.settle()

    def settle(self) -> bool:
        """Ends the sessions that are to end; what fails stays in the store.

        Returns:
            False where something is left.
        """
        try:
            return self._settling.do()
        except FirstlightError as error:
            LOG.warning("Sessions whose credential has ended are ended later. %s", error.message)
        return False

    def _settle(self, _: set[str] | None) -> None:
        with self._store.reading() as view:
            owed = view.ended_sessions()
        is_behind = self._together.is_behind or self._is_unread
        # A session that ends before the broker knows that its credential has ended would simply begin again.
        if (owed or is_behind) and not self.refresh(*({one for _, one in owed} if not is_behind else ())):
            raise UnreachableError("broker_unreachable", "The broker has not read its files.")
        ended: list[int] = []
        try:
            for number, device_id in owed:
                if not self._door.visit(device_id):
                    raise UnreachableError("broker_unreachable", "The broker does not let this hub in.")
                ended.append(number)
        finally:
            if ended:
                with self._store.writing() as transaction:
                    transaction.forget_ended_sessions(ended)

    def expel(self, device_id: str) -> None:
        """As ``BrokerLink.expel``.

        Who comes back at once would flood on: so mosquitto drops for a minute what this device publishes.
        """
        if device_id in self._files.barred:
            return
        self._files.barred.add(device_id)
        self.refresh(device_id)
        with contextlib.suppress(UnreachableError):  # it may stay, unheard
            self._door.visit(device_id)
        timer = threading.Timer(BARRED_S, self._admit, (device_id,))
        timer.daemon = True
        timer.start()

    def _admit(self, device_id: str) -> None:
        self._files.barred.discard(device_id)
        self.refresh(device_id)

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
