"""Rotations and moves as the beating process sees them: what the platform asked for, and when to give way."""

from __future__ import annotations

from firstlight.core import change, change_notes
from firstlight.core.change import Notes, Situation
from firstlight.errors import StateError
from firstlight.system import place
from firstlight.system.store import CANDIDATE, CHANGE, WISH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from firstlight.core.interfaces import Clock
    from firstlight.core.lifecycle import Accepted, Told
    from firstlight.core.model import Registration
    from firstlight.system.store import StateDirectory

CUT_OFF_FOR_S = 120.0
FORMAT = 1  # of change.json; what the first versions wrote does not say it
WARNING = 4


def load(store: StateDirectory) -> Notes:
    """What is asked for and under way. A damaged file counts as none: the candidate and the keys are safe beside it.

    Raises:
        StateError: ``state_newer``, ``state_unreadable``.
    """
    try:
        found = store.read_json(CHANGE) or {}
        store.refuse_newer(CHANGE, found, FORMAT)
        return change_notes.decode(found)
    except StateError as error:
        if error.code != "state_corrupt":
            raise
        return Notes()


def save(store: StateDirectory, notes: Notes) -> None:
    """On disk when it returns. Raises StateError (``state_unwritable``)."""
    store.write_json(CHANGE, change_notes.encode(notes))


def wish_of(store: StateDirectory) -> str:
    """Id of the rotation that somebody on this box wishes for, "" = nobody does, or what is there is damaged."""
    try:
        wish = (store.read_json(WISH) or {}).get("id")
    except StateError:
        return ""
    return wish if isinstance(wish, str) and len(wish) <= change_notes.MAX_NAME and wish.isprintable() else ""


class DiskChanges:
    """Implements ``core.interfaces.Changes``.

    Args:
        store: the state directory; this process holds its lock ``running``.
        registration: the present one.
        clock: for waits; the box's own date is not asked.
        log: writes one line, with a priority as in syslog.
    """

    def __init__(
        self, store: StateDirectory, registration: Registration, clock: Clock, log: Callable[[int, str], None]
    ) -> None:
        self._store = store
        self._renew_at_s = registration.renew_at_s
        self._clock = clock
        self._log = log
        self._told: tuple[float, float] | None = None  # the platform's clock, and the time since boot when it told it
        self._seen_s = store.seen_s()
        self._cut_off_since_s: float | None = None
        self._last_move = ""
        self._fails = False
        self._has_candidate = store.has(CANDIDATE)
        self._is_newer = False
        try:
            self._notes = load(store)
        except StateError as error:
            log(WARNING, str(error))
            self._notes = Notes()
            self._is_newer = error.code == "state_newer"

    def note(self, event: Accepted | Told) -> None:
        """Keeps what the platform asked for. Never raises: a disk that refuses is logged."""
        if event.server_time_s is not None:
            self._told = (event.server_time_s, self._clock.moment().monotonic_s)
        notes = self._notes
        if event.rotate:
            notes = notes._replace(rotate=True)
        if change.is_stale(notes) and getattr(event, "is_confirmed", True):
            notes = change.let_go(notes)
            self._last_move = ""
            self._log(WARNING, notes.move_result.message)
        if event.move and event.move != self._last_move:
            self._last_move = event.move
            if change.is_news(notes, event.move):
                notes = notes._replace(heard=event.move)
        before, self._notes = self._notes, notes  # in memory also where the disk refuses: asked again by ``is_due``
        # What is not to be judged yet is not worth a write: a hostile broker has a new statement with each answer.
        if (notes if self._listens() else notes._replace(heard=before.heard)) != before:
            self._save(notes)

    def _listens(self) -> bool:
        moment = self._clock.moment()
        return self._notes.heard_later.has_come(moment.boot_id, moment.monotonic_s)

    def is_due(self, trouble: str, *, is_asked: bool = False) -> bool:
        """Whether to give way now; why is on disk then. False where the disk refuses: nothing could be changed there.

        Args:
            trouble: code of the last failure or refusal, "" while beats are accepted.
            is_asked: somebody on this box wants it tried, however often it was begun without an end.
        """
        moment = self._clock.moment()
        situation = Situation(
            notes=self._notes,
            has_candidate=self._has_candidate,
            has_wish=self._store.has(WISH) and bool(wish_of(self._store)),  # mostly there is none, and nothing to read
            renew_at_s=self._renew_at_s,
            platform_s=self._platform_s(moment.monotonic_s),
            trouble=self._lasting(trouble, self._clock.monotonic_s()),
            boot_id=moment.boot_id,
            now_s=moment.monotonic_s,
        )
        # In case the richer process cannot make a note of its own end: it would be called for ever.
        if not change.due(situation) or (self._notes.begun >= change.MAX_BEGUN and not is_asked):
            return False
        if place.is_upgrading():
            return False  # going back must find the credential as it was; it is asked again
        notes = change.begun(self._notes)._replace(trouble=situation.trouble)
        if not self._save(notes):
            return False
        self._notes = notes
        return True

    def _lasting(self, trouble: str, now_s: float) -> str:
        """The trouble, unless it is a way that is cut off only for a moment."""
        if change.kind_of(trouble) != change.CUT_OFF:
            self._cut_off_since_s = None
            return trouble
        if self._cut_off_since_s is None:
            self._cut_off_since_s = now_s
        return trouble if now_s - self._cut_off_since_s >= CUT_OFF_FOR_S else ""

    def _platform_s(self, now_s: float) -> float:
        """The platform's clock; before it told its time: no earlier than what was last seen."""
        if self._told is None:
            return self._seen_s
        server_time_s, told_at_s = self._told
        return server_time_s + now_s - told_at_s

    def _save(self, notes: Notes) -> bool:
        if self._is_newer:
            return False  # what a later version is at stays as it is, until that version is back
        try:
            save(self._store, notes)
        except StateError as error:
            if not self._fails:
                self._log(WARNING, f"{error} Credential and address stay as they are; beats go on.")
            self._fails = True
            return False
        self._fails = False
        return True
