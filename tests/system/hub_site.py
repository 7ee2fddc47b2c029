"""The hub in a network of its own, and the operator at a desk there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from firstlight.core.exchange import HttpCall
from firstlight.core.management import Place
from firstlight.core.model import Endpoint, Secret, Trust, parse_endpoint
from firstlight.errors import FirstlightError
from firstlight.platforms.hub import management
from firstlight.transports.http_calls import HttpCalls
from tests.e2e.conftest import wait_until
from tests.hub.served import change
from tests.system.namespaces import PLAIN_ENV, WITH_US, Network

BIN = Path(sys.executable).parent


class Desk:
    """An operator's view of a hub: the public API, over the network that the boxes use."""

    def __init__(self, network: Network, url: str, pin: str, key: str) -> None:
        self.network = network
        self._endpoint: Endpoint = parse_endpoint(url)
        self._trust = Trust(pins=(pin,))
        self._key = Secret(key.strip())

    @property
    def url(self) -> str:
        """The hub's."""
        return self._endpoint.url

    def call(self, method: str, path: str, body: dict[str, object] | None = None) -> Any:
        """A call to the API below ``/demo/devices/v2``; the JSON it answers."""
        headers = (("Authorization", f"Bearer {self._key.reveal()}"), ("Content-Type", "application/json"))
        data = None if body is None else json.dumps(body).encode()
        url = f"{self._endpoint.url}/demo/devices/v2{path}"

        def exchange() -> Any:
            with HttpCalls(self._trust) as calls:
                return calls.exchange(HttpCall(method, url, headers, data), 10)

        reply = self.network.do(exchange)
        assert reply.status < 300, reply.body
        return json.loads(reply.body) if reply.body else None

    def create(self, name: str, transport: str | None = None, credential: str | None = None) -> management.Created:
        """Creates a device."""
        wanted = management.NewDevice(name, transport=transport, credential=credential)

        def exchange() -> management.Created:
            with HttpCalls(self._trust) as calls:
                call = management.create(Place(self._endpoint, "demo", self._key), wanted)
                return management.read_invited(calls.exchange(call, 10))

        return self.network.do(exchange)

    def device(self, device_id: str) -> dict[str, object]:
        """A device as the list shows it; empty while the hub is down or when there is none."""
        try:
            listed = self.call("GET", "?limit=100")["data"]
        except FirstlightError:
            return {}
        return next((record for record in listed if record["id"] == device_id), {})

    def status(self, device_id: str) -> object:
        """A device's status in the list."""
        return self.device(device_id).get("status")

    def install_id_state(self, device_id: str) -> object:
        """What the hub says of the device's newest installId."""
        return self.call("GET", f"/{device_id}/install-ids")["data"][-1]["state"]


class HubSite:
    """A hub on the network's own address; devices beat every second.

    Args:
        network: where it listens.
        folder: an own, empty folder.
        bundles: bundle files to offer beside the one of its own Python.
        settings: of hub.toml.
    """

    def __init__(self, network: Network, folder: Path, bundles: list[Path], **settings: object) -> None:
        self.network, self._folder = network, folder / "hub"
        key_file = folder / "operator.key"
        words = ("--host", network.address, "--key-file", str(key_file))
        self.cli("init", *words)
        change(self._folder, **{"heartbeat_interval_s": 1, "online_window_s": 5, **settings})
        (self._folder / "bundles").mkdir(exist_ok=True)
        for bundle in bundles:
            (self._folder / "bundles" / bundle.name).write_bytes(bundle.read_bytes())
        self._log = folder / "hub.log"
        self.serve()
        said = json.loads((self._folder / "hub.json").read_text())
        self.desk = Desk(network, said["url"], said["pin"], key_file.read_text())

    @property
    def database(self) -> Path:
        """Where it keeps devices and beats."""
        return self._folder / "hub.sqlite3"

    def put_on_shelf(self, bundle: Path) -> None:
        """Signs a bundle and offers it to the boxes from now on."""
        place = self._folder / "bundles" / bundle.name
        with tempfile.TemporaryDirectory(dir=self._folder) as scratch:
            copy = Path(scratch, bundle.name)
            copy.write_bytes(bundle.read_bytes())
            self.cli("sign", str(copy))
            copy.rename(place)

    def take_off_shelf(self, name: str) -> None:
        """Offers a bundle no longer."""
        (self._folder / "bundles" / name).unlink()

    def cli(self, verb: str, *words: str) -> str:
        """Runs a verb of the hub's own command line; what it printed."""
        line = [str(BIN / "firstlight-hub"), *verb.split(), "--dir", str(self._folder), *words]
        return subprocess.run(line, check=True, capture_output=True, text=True, timeout=30).stdout

    def serve(self) -> None:
        """Starts it; returns when it listens."""
        said = self._folder / "hub.json"
        said.unlink(missing_ok=True)
        reader, writer = os.pipe()
        line = [str(BIN / "firstlight-hub"), "serve", "--dir", str(self._folder), "--ready-fd", str(writer)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*WITH_US, *self.network.holder.inside(*line)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(writer,),
                env=PLAIN_ENV,
            )
        os.close(writer)
        with os.fdopen(reader, "rb") as ready:
            assert ready.readline(), self._log.read_text()
        wait_until("the hub says where it is", said.exists)

    def stop(self) -> None:
        """Stops it."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(20)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """The hub takes connections but says nothing while the ``with`` block runs."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    @contextmanager
    def away(self) -> Iterator[None]:
        """The hub is down while the ``with`` block runs."""
        self.stop()
        try:
            yield
        finally:
            self.serve()
