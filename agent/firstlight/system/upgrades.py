"""Upgrades as the beating process sees them: an offer of the platform becomes a wish, and the result is told.

This process never upgrades itself. ``upgrade-wish.json`` is what root's unit waits for (``firstlight-upgrade.path``);
``upgraded.json`` is what that unit leaves. Where no unit would act, the result says so at once.
"""

from __future__ import annotations

import os

from firstlight.core.model import UPGRADE_MANAGED, UPGRADE_UNATTENDED, Upgraded
from firstlight.errors import StateError
from firstlight.system.store import UPGRADE_WISH, UPGRADED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from firstlight.core.lifecycle import Accepted, Told
    from firstlight.core.model import Offer
    from firstlight.system.store import StateDirectory

    Written = Callable[[Offer | Upgraded], dict[str, object]]

INFO, WARNING = 6, 4
# Who upgrades this box, as the run file says it: the unit, a package manager, or nobody.
BY_UNIT, BY_PACKAGE, BY_NOBODY = "unit", "managed", "none"
WHO = (BY_UNIT, BY_PACKAGE, BY_NOBODY)
INSTEAD = {
    BY_PACKAGE: (UPGRADE_MANAGED, "This box's packages are upgraded by its package manager."),
    BY_NOBODY: (UPGRADE_UNATTENDED, "Nothing on this box upgrades the agent by itself."),
}


class DiskUpgrades:
    """Implements ``core.interfaces.Upgrades``.

    Args:
        store: the state directory.
        who: one of ``WHO``.
        release: id of the release that runs, or the beginning of it; "" = not known.
        log: writes one line, with a priority as in syslog.
        written: of an ``Offer`` or an ``Upgraded``: its JSON object.
        read_result: a JSON object -> ``Upgraded``; raises ValueError.
    """

    def __init__(
        self,
        store: StateDirectory,
        who: str,
        release: str,
        log: Callable[[int, str], None],
        written: Written,
        read_result: Callable[[dict[str, object]], Upgraded],
    ) -> None:
        self._store = store
        self._written = written
        self._read_result = read_result
        self._who = who
        self._release = release
        self._log = log
        self._path = os.path.join(store.path, UPGRADED)
        self._stamp: tuple[int, int] | None = None  # of upgraded.json when it was read last
        self._result: Upgraded | None = None
        self._is_untold = False
        self._wished: tuple[str, int] | None = None
        self._fails = False

    def result(self, *, is_first: bool) -> Upgraded | None:
        """As ``Upgrades.result``. One ``stat`` each time: root's unit may end while this process beats on."""
        stamp = self._now()
        if stamp not in (None, self._stamp):
            self._stamp = stamp
            self._read()
        return self._result if is_first or self._is_untold else None

    def told(self) -> None:
        """As ``Upgrades.told``."""
        self._is_untold = False

    def note(self, event: Accepted | Told) -> None:
        """As ``Upgrades.note``."""
        offer = event.upgrade
        if offer is None:
            return
        which = (offer.id, offer.attempt)
        if self._result is not None and which == (self._result.id, self._result.attempt):
            self._is_untold = True  # the platform has not heard yet how it ended
        elif which != self._wished and not (self._release and offer.id.startswith(self._release)):
            self._take(offer)

    def _take(self, offer: Offer) -> None:
        instead = INSTEAD.get(self._who)
        if instead is None:
            if self._write(UPGRADE_WISH, offer, durable=True):
                self._wished = (offer.id, offer.attempt)
                self._log(
                    INFO, f"The platform offers version {offer.version}; this box's upgrade unit is asked for it."
                )
            return
        code, message = instead
        self._result = Upgraded(offer.version, offer.id, offer.attempt, code, message)
        self._is_untold = True
        self._log(INFO, f"The platform offers version {offer.version}. {message} [{code}]")
        if self._write(UPGRADED, self._result, durable=False):
            self._stamp = self._now()

    def _read(self) -> None:
        try:
            self._result = self._read_result(self._store.read_json(UPGRADED) or {})
        except (StateError, ValueError) as error:
            self._log(WARNING, f"{self._path} cannot be used: {error}")
        else:
            self._is_untold = True

    def _write(self, name: str, found: Offer | Upgraded, *, durable: bool) -> bool:
        try:
            self._store.write_json(name, self._written(found), durable=durable)
        except StateError as error:
            if not self._fails:
                self._log(WARNING, f"{error} The version stays as it is; beats go on.")
            self._fails = True
            return False
        self._fails = False
        return True

    def _now(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._path, follow_symlinks=False)
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns
