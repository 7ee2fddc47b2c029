"""Who may call the management API: keys are made, listed, revoked and recognised here."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

from firstlight.core.model import Secret
from firstlight_hub.model import READ, ApiKey, Caller, Refusal, digest
from firstlight_hub.service import Clock
from firstlight_hub.store import Store

MAX_KEY = 256


class Access:
    """Keys and callers.

    Args:
        store: where keys are kept, as SHA-256.
        clock: the hub's.
        workspaces: slug -> features.
    """

    def __init__(self, store: Store, clock: Clock, workspaces: Mapping[str, frozenset[str]]) -> None:
        self._store = store
        self._clock = clock
        self._workspaces = workspaces

    def create_key(
        self, workspace: str, scopes: Sequence[str] | None, device_id: str | None, label: str
    ) -> tuple[ApiKey, Secret]:
        """Makes a key; its text is returned this once. ``scopes`` None means all.

        Raises:
            Refusal: ``not_found``: no such workspace, or no such device in it.
        """
        if workspace not in self._workspaces:
            hint = f"Add [workspace.{workspace}] to hub.toml and restart the hub."
            raise Refusal("not_found", f"There is no workspace {workspace} in hub.toml.", hint=hint)
        text = "flk_" + secrets.token_urlsafe(24)
        bound = None if scopes is None else tuple(scopes)
        key = ApiKey(digest(text), workspace, bound, device_id, label, self._clock())
        with self._store.writing() as transaction:
            if device_id is not None:
                device = transaction.device(device_id)
                if device is None or device.workspace != workspace:
                    raise Refusal("not_found", f"There is no device {device_id} in workspace {workspace}.")
            transaction.add_api_key(key)
        return key, Secret(text)

    def all_keys(self) -> Sequence[ApiKey]:
        """All keys, revoked ones too."""
        with self._store.reading() as view:
            return view.api_keys()

    def revoke_key(self, handle: str) -> None:
        """Ends a key at once. Raises Refusal ``not_found``."""
        with self._store.writing() as transaction:
            found = [key for key in transaction.api_keys() if key.handle == handle]
            if not found:
                raise Refusal("not_found", f"There is no key {handle}.", hint="See: firstlight-hub key list")
            transaction.revoke_api_key(found[0].hash, self._clock())

    def caller(self, key: str) -> Caller:
        """Whose key this is: an operator's, or a device's own.

        Raises:
            Refusal: ``unauthorized``.
        """
        if 0 < len(key) <= MAX_KEY:
            hashed = digest(key)
            with self._store.reading() as view:
                known = view.api_key(hashed)
                device = None if known else view.device_by_key(hashed)
            if known and known.revoked_at_ms is None:
                return Caller(known.workspace, known.scopes, known.device_id)
            if device:
                return Caller(device.workspace, (READ,), device.id)
        raise Refusal("unauthorized", "The key is missing or not valid here.")


def demand(caller: Caller, workspace: str, scope: str, device_id: str | None = None) -> None:
    """Lets a caller pass, or not.

    Args:
        caller: who calls.
        workspace: the workspace in the path.
        scope: what the call needs.
        device_id: the device in the path; None where the call is about the workspace.

    Raises:
        Refusal: ``not_found`` for another workspace, there or not; ``forbidden`` for a missing scope, and for a
            device's key anywhere but at its own device.
    """
    if caller.workspace != workspace:
        raise Refusal("not_found", "There is no such workspace for this key.")
    if caller.device_id is not None and caller.device_id != device_id:
        raise Refusal("forbidden", "A device's key may only look at its own device.")
    if caller.scopes is not None and scope not in caller.scopes:
        raise Refusal("forbidden", f"This key does not have the scope {scope}.")
