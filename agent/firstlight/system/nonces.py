"""The payloads that this box took in before, by their nonces: ``nonces.json``. It outlives a reset.

Without it a label from the rubbish bin would provision the box again after its clock was set back. A box takes a few
payloads in its life; so many more are kept that none which could still be scanned is forgotten.
"""

from __future__ import annotations

from firstlight.errors import StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firstlight.system.store import StateDirectory

NAME = "nonces.json"
FORMAT = 1
MAX_NONCES = 1024


def seen(store: StateDirectory, nonce: bytes) -> bool:
    """Whether a payload with that nonce was taken in before. Raises StateError (``state_newer``, ``…_unreadable``)."""
    return nonce.hex() in _read(store)


def note(store: StateDirectory, nonce: bytes) -> None:
    """On disk when it returns; beyond ``MAX_NONCES`` the oldest go.

    Raises:
        StateError: ``state_unwritable``; ``state_newer``: what a later version wrote stays.
    """
    found = _read(store)
    if nonce.hex() not in found:
        store.write_json(NAME, {"format": FORMAT, "nonces": [*found, nonce.hex()][-MAX_NONCES:]})


def _read(store: StateDirectory) -> list[str]:
    """The oldest first. A damaged file counts as empty: what else refuses an old payload is still in force."""
    try:
        found = store.read_json(NAME) or {}
    except StateError as error:
        if error.code != "state_corrupt":
            raise
        found = {}
    store.refuse_newer(NAME, found, FORMAT)
    nonces = found.get("nonces")
    return [one for one in nonces if isinstance(one, str)] if isinstance(nonces, list) else []
