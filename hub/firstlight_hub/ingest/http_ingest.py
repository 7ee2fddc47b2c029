"""Beats over HTTP: one raw ASGI endpoint, because this is the road that every device takes every minute."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from starlette.concurrency import run_in_threadpool

from firstlight.core.model import Beat
from firstlight.errors import FirstlightError
from firstlight.wire.bounded import MAX_BEAT_BYTES, WireError
from firstlight.wire.heartbeat import decode_beat, encode_beat_reply
from firstlight_hub.api.problems import FAULT, Receive, answer, is_json, problem_response, read_bounded
from firstlight_hub.client_certificate import shown
from firstlight_hub.ingest.group_commit import GroupCommit
from firstlight_hub.model import Refusal, digest
from firstlight_hub.service.beats import Beater, Beats

ROUTE = "/{workspace}/devices/v2/{device_id}/heartbeat"
BEAT_PATH = re.compile(r"/(?P<workspace>[^/]+)/devices/v2/(?P<device_id>[^/]+)/heartbeat")

LOG = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def bearer(headers: Mapping[bytes, bytes]) -> str:
    """The key in ``Authorization: Bearer KEY``. Raises Refusal ``key_invalid`` when there is none."""
    scheme, _, key = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise Refusal("key_invalid", "The device's key is missing: send it as Authorization: Bearer KEY.")
    return key.strip()


class HeartbeatEndpoint:
    """Answers beats, as plain ASGI."""

    def __init__(self, beats: Beats, commits: GroupCommit) -> None:
        self._beats = beats
        self._commits = commits

    @staticmethod
    def takes(scope: Scope) -> bool:
        """Whether this call is a beat; if so, its workspace and device id are put into the path parameters."""
        if scope["type"] != "http" or scope["method"] != "POST":
            return False
        found = BEAT_PATH.fullmatch(scope["path"])
        if found is None:
            return False
        scope["path_params"] = found.groupdict()
        return True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one beat when it is on disk."""
        try:
            body = await self._take(scope, receive)
        except (FirstlightError, WireError) as error:
            await answer(error)(scope, receive, send)
            return
        except Exception:  # this route stands outside FastAPI, which would answer a fault for the others
            LOG.exception("A beat could not be answered")
            await problem_response(500, FAULT)(scope, receive, send)
            return
        head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": body})

    async def _take(self, scope: Scope, receive: Receive) -> bytes:
        headers = dict(scope["headers"])
        parameters = scope["path_params"]
        path = (parameters["workspace"], parameters["device_id"])
        key_hash = digest(bearer(headers)) if b"authorization" in headers else shown(scope, *path).key_hash
        beater = self._beats.known(*path, key_hash)
        if beater is None:
            beater = await run_in_threadpool(self._beats.look_up, *path, key_hash)
        is_json(headers)
        beat = decode_beat(await read_bounded(headers, receive, MAX_BEAT_BYTES))
        if self._beats.is_stale(beater, beat):
            beater = await run_in_threadpool(self._beats.look_up, *path, key_hash)
        return encode_beat_reply(await self._record(beater, beat))

    async def _record(self, beater: Beater, beat: Beat) -> Any:
        if not await self._commits.commit(self._beats.row(beater, beat)):
            # The key was right a moment ago and is not any more: look again, which names the reason.
            path = (beater.workspace, beater.device_id)
            beater = await run_in_threadpool(self._beats.look_up, *path, beater.key_hash)
            if not await self._commits.commit(self._beats.row(beater, beat)):
                raise Refusal("key_invalid", "The key is not this device's any more.")
        return self._beats.reply(beater, beat)
