"""Carrying an upgrade through, or back: what each stage of ``core/upgrade.py`` does, in the order that survives a cut.

What runs this is the old release: the process that was started before the switch, or ``bin/firstlight-proven``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from firstlight.cli.upgrade_agent import Agent
from firstlight.core import upgrade
from firstlight.core.model import Offer, Upgraded
from firstlight.core.upgrade import BACK, DONE, PROVE, SWITCH, Evidence, Journal
from firstlight.errors import HINTS, FirstlightError, StateError, UpgradeError
from firstlight.system import files
from firstlight.system.releases import ACTIVE, PROVEN, Launcher, Releases
from firstlight.system.store import UPGRADE_WISH as WISH
from firstlight.system.store import UPGRADED as RESULT
from firstlight.system.store import StateDirectory
from firstlight.wire import bounded
from firstlight.wire import upgrade as wire
from firstlight.wire.bounded import WireError

MAX_FILE = 4_096
POLL_S = 0.2
AGAIN_S = 60.0  # how long it is waited for the old release to beat again, only to say so


class Parts(NamedTuple):
    """What an upgrade is made of.

    Args:
        releases: what is installed.
        launcher: as it was before.
        store: the state directory.
        agent: who runs the agent.
        look: what the running agent says of itself: its release, whether a beat was accepted, why not.
        reads_state: whether a release can read the registration of this box.
        add_keys: adds the trusted keys that a signed release brings.
        now_s: seconds since boot.
        wait: waits so many seconds.
        tell: takes a sentence of progress.
        patience_s: how long a release may take for its proof.
    """

    releases: Releases
    launcher: Launcher
    store: StateDirectory
    agent: Agent
    look: Callable[[], Evidence]
    reads_state: Callable[[str], bool]
    add_keys: Callable[[str], object]
    now_s: Callable[[], float]
    wait: Callable[[float], None]
    tell: Callable[[str], None]
    patience_s: float = upgrade.PATIENCE_S


class Upgrading:
    """One upgrade from its first durable step on."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._releases = parts.releases

    def start(self, journal: Journal) -> Journal:
        """Switches to a release that lies ready.

        Args:
            journal: with the stage ``SWITCH``.

        Returns:
            how it ended: ``DONE``, or ``BACK`` with code and message.

        Raises:
            StateError: nothing was switched, the disk refuses; or tidying up could not be finished.
        """
        releases, launcher = self._releases, self._parts.launcher
        releases.point(PROVEN, journal.old, launcher)
        releases.keep_state(journal.old, self._parts.store.path)
        releases.note(journal)
        return self._carry_through(journal)

    def resume(self, journal: Journal) -> Journal:
        """Goes on after a cut; as ``start``."""
        after = upgrade.resumed(journal)
        if after.stage == PROVE:
            after = upgrade.begun_proof(after)
        if after != journal:
            self._note_if_it_can_be(after)
        return self._carry_through(after)

    def _carry_through(self, journal: Journal) -> Journal:
        while journal.stage in (SWITCH, PROVE):
            try:
                journal = self._switch(journal) if journal.stage == SWITCH else self._prove(journal)
            except FirstlightError as error:
                journal = upgrade.gone_back(journal, error.code, error.message)
            except OSError as error:
                journal = upgrade.gone_back(journal, "state_unwritable", f"The switch failed: {error.strerror}.")
            if journal.stage in (DONE, BACK):
                self._note_if_it_can_be(journal)
        if journal.stage == DONE:
            self._tidy(journal)
        else:
            self._go_back(journal)
        return journal

    def _note_if_it_can_be(self, journal: Journal) -> None:
        """On a full disk it is gone on with in memory; after a cut then from the stage before."""
        try:
            self._releases.note(journal)
        except StateError as error:
            self._parts.tell(f"{error}")

    # -- stages ------------------------------------------------------------------------------------------------------
    def _switch(self, journal: Journal) -> Journal:
        parts = self._parts
        if journal.is_undoing and not parts.reads_state(journal.new):
            self._releases.restore_state(journal.new, parts.store.path)
        self._releases.point(ACTIVE, journal.new, parts.launcher)
        parts.agent.put_units(journal.new, is_proved=False)
        after = upgrade.begun_proof(journal)
        self._releases.note(after)
        return after

    def _prove(self, journal: Journal) -> Journal:
        parts = self._parts
        if not parts.agent.proves:
            return journal._replace(stage=DONE)
        what = "it to keep a heartbeat" if parts.look().is_detached else "the hub to accept its heartbeat"
        parts.tell(f"{journal.new} is in place; waiting for {what}")
        parts.agent.begin()
        began_s = parts.now_s()
        while True:
            process, beats = parts.agent.seen(), parts.look()
            seen = process._replace(
                release=beats.release,
                is_accepted=beats.is_accepted,
                reason=process.reason or beats.reason,
                is_detached=beats.is_detached,
            )
            verdict = upgrade.judged(seen, journal.new, parts.now_s() - began_s, parts.patience_s)
            if verdict is not None:
                break
            parts.wait(POLL_S)
        if verdict.code:
            return upgrade.gone_back(journal, verdict.code, verdict.message)
        return journal._replace(stage=DONE)

    def _tidy(self, journal: Journal) -> None:
        """The new release counts: what is left may be done at any time, and is on record until it is."""
        parts, releases = self._parts, self._releases
        parts.agent.end(journal.was_running)
        releases.point(PROVEN, journal.new, parts.launcher)
        with suppress(OSError):  # those of the release before do as well
            parts.agent.put_units(journal.new, is_proved=True)
        releases.touch(journal.new)
        if journal.signer:
            parts.add_keys(journal.new)
        for name in releases.names():
            if name not in (journal.old, journal.new):
                releases.remove(name)
        self._leave_result(journal)
        releases.end_journal()

    def _go_back(self, journal: Journal) -> None:
        parts, releases = self._parts, self._releases
        parts.tell(f"{journal.message} [{journal.code}] Going back to {journal.old}.")
        releases.point_back()
        with suppress(OSError):
            parts.agent.put_units(journal.old, is_proved=True)
        parts.agent.end(is_to_run=True)
        try:
            if journal.is_undoing or not parts.reads_state(journal.old):
                releases.restore_state(journal.old, parts.store.path)
            self._leave_result(journal)
        finally:
            parts.agent.begin_again(journal.was_running)  # whatever else the disk refuses
        if not journal.is_undoing:
            releases.remove(journal.new)
        releases.end_journal()
        if parts.agent.proves and journal.was_running:
            self._wait_for_the_old(journal)

    def _wait_for_the_old(self, journal: Journal) -> None:
        deadline_s = self._parts.now_s() + min(AGAIN_S, self._parts.patience_s)
        while self._parts.now_s() < deadline_s:
            seen = self._parts.look()
            if seen.is_accepted and seen.release in ("", journal.old):
                what = "keeps its heartbeats" if seen.is_detached else "the hub accepts its heartbeat"
                self._parts.tell(f"{journal.old} runs again, and {what}")
                return
            self._parts.wait(POLL_S)
        self._parts.tell(f"{journal.old} is in place again; no heartbeat of it was seen yet. It goes on trying.")

    def _leave_result(self, journal: Journal) -> None:
        """For the agent, which tells the hub. A person's own try that failed is not the hub's to know."""
        is_done = journal.stage == DONE
        is_news = is_done if journal.is_undoing else is_done or journal.attempt
        if not journal.id or not is_news or not self._parts.store.is_there():
            return
        code, message = (
            ("upgrade_undone", HINTS["upgrade_undone"])
            if journal.is_undoing
            else (
                journal.code,
                journal.message,
            )
        )
        result = Upgraded(journal.version, journal.id, journal.attempt or 1, code, message)
        try:
            leave_result(self._parts.store, result)
        except StateError as error:
            self._parts.tell(f"{error} The hub will not hear how this upgrade ended.")
        forget_wish(self._parts.store, result)  # which a full disk does not keep from it


# -- the files between the agent and this verb -----------------------------------------------------------------------
def wish_of(store: StateDirectory) -> Offer | None:
    """What the hub asked for, None = nothing.

    The file is the agent's, an unprivileged user's: it only says which bundle to ask the hub for.

    Raises:
        UpgradeError: ``upgrade_malformed``.
    """
    found = _object(store, WISH)
    try:
        return None if found is None else wire.read_offer(found)
    except WireError as error:
        raise UpgradeError("upgrade_malformed", f"What the hub asked for cannot be read: {error}.") from None


def result_of(store: StateDirectory) -> Upgraded | None:
    """How the last upgrade ended; None = there was none, or it cannot be read."""
    with suppress(WireError, UpgradeError):
        found = _object(store, RESULT)
        return None if found is None else wire.read_upgraded(found)
    return None


def _object(store: StateDirectory, name: str) -> dict[str, object] | None:
    try:
        found = files.read(store.path, name, MAX_FILE)
        return None if found is None else bounded.decode_object(found[0], MAX_FILE)
    except (StateError, WireError) as error:
        raise UpgradeError("upgrade_malformed", f"{store.path}/{name} cannot be used: {error}.") from None


def leave_result(store: StateDirectory, result: Upgraded) -> None:
    """On disk when it returns, owned like the directory. Raises StateError."""
    store.write_json(RESULT, wire.upgraded_object(result))


def forget_wish(store: StateDirectory, result: Upgraded) -> None:
    """The wish is answered: removed, unless it is another one by now. Raises StateError."""
    with suppress(UpgradeError):
        found = wish_of(store)
        if found is not None and (found.id, found.attempt) != (result.id, result.attempt):
            return
    store.remove(WISH)
