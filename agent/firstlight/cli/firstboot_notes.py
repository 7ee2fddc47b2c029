"""What was written down about each invitation that waited on this box: ``firstboot.json`` in the state directory."""

from __future__ import annotations

from firstlight.cli import enrolling
from firstlight.errors import StateError
from firstlight.system.store import StateDirectory

NOTES = "firstboot.json"
MAX_NOTES = 16
# What became of it. A text that could not be read is read again at the next boot: it costs nothing.
USED, REFUSED, NOT_NEEDED, WRONG = "used", "refused", "not_needed", "wrong"


def read(store: StateDirectory) -> dict[str, object]:
    """Fingerprint of the invitation -> fate, code and message, the newest last; empty where they cannot be read."""
    try:
        return enrolling.kept(store, NOTES)
    except StateError:
        return {}


def write(store: StateDirectory, fingerprint: str, fate: str, code: str, message: str) -> None:
    """Keeps how it went with one; the oldest are forgotten. Raises StateError."""
    before = read(store)
    before.pop(fingerprint, None)
    for name in list(before)[: max(0, len(before) - MAX_NOTES + 1)]:
        del before[name]
    store.prepare()
    store.write_json(NOTES, {**before, fingerprint: {"fate": fate, "code": code, "message": message}})


def last(store: StateDirectory) -> str:
    """How the newest one that did not lead to a registration ended, as a sentence; "" without one."""
    newest = list(read(store).values())[-1:]
    if not newest or not isinstance(newest[0], dict) or newest[0].get("fate") not in (REFUSED, WRONG):
        return ""
    return f"{newest[0].get('message')} [{newest[0].get('code')}]"
