"""Starts peers (``peer.py``) on boxes of their own: same interpreter, same byte-compiled libraries as the agent."""

from __future__ import annotations

import json
from pathlib import Path

from firstlight import __version__
from firstlight.system.store import StateDirectory
from firstlight.wire.facts import facts_hash, read_facts
from tests.bench.stage import Box, Hub, Stage

HERE = Path(__file__).parent
COLUMNS = ("httpx as it comes", "httpx, kept alive")
# httpx drops a connection that was idle for 5 s: as it comes, and told to keep it.
KEEPALIVES_S = (0, 3600)


class Peer:
    """One peer: a device of its own, beating as the agent does.

    Args:
        stage, hub: where.
        keepalive_s: how long httpx keeps an idle connection; 0 = as it comes.
        interval_s: between beats.
        beats: after so many it beats no more but stays; 0 = for ever.
    """

    def __init__(self, stage: Stage, hub: Hub, keepalive_s: int, interval_s: float, beats: int = 0) -> None:
        self.box = Box(stage, hub)
        self._stage = stage
        self._settings: dict[str, object] = {
            "intervalS": interval_s,
            "keepaliveS": keepalive_s,
            "beats": beats,
            "agent": __version__,
            "ca": hub.ca_file,
            "diskPath": str(self.box.state_dir),
        }

    def start(self, base_url: str = "") -> int:
        """Starts it, at the hub's address or at another one that leads there; its process id."""
        registration = self.box.registration
        secret = registration.credential.secret
        assert secret is not None
        path = f"{registration.workspace}/devices/v2/{registration.device_id}/heartbeat"
        url = f"{base_url or registration.endpoint.url}/{path}"
        facts = StateDirectory(str(self.box.state_dir)).read_json("facts.json") or {}
        told = {"url": url, "key": secret.reveal(), "facts": facts, "factsHash": facts_hash(read_facts(facts))}
        file = self.box.room / "peer.json"
        file.write_text(json.dumps({**self._settings, **told}))
        place = [self._stage.libraries, str(HERE)]
        script = f"import sys; sys.path[:0] = {place!r}; from peer import main; main({str(file)!r})"
        return self._stage.start([self._stage.python, "-I", "-c", script], self.box.log, self.box.env)

    def beats(self) -> int:
        """How many were accepted so far, by its own log."""
        return self.box.log.read_text().count(" accepted\n") if self.box.log.exists() else 0

    @property
    def logs_to(self) -> str:
        """Where it logs to, as it says itself."""
        return self.box.log.read_text().partition("started, ")[2].partition("\n")[0]
