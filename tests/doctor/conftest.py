"""What the checks meet: certificates and servers made for the test, and a box that is enrolled on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firstlight.core.model import Credential, Registration, Secret, Trust, parse_endpoint
from firstlight.system.keys import KeyFile
from firstlight.system.store import StateDirectory
from tests.contract.http_transports.certificates import Identity, authority
from tests.contract.http_transports.servers import Script, Server
from tests.e2e.conftest import Box, Hub

SECRET = "2.sEcretOfTheDevice"
Serve = Callable[..., Server]
Enrolled = Callable[..., Registration]


@pytest.fixture(scope="session")
def ca() -> Identity:
    """The hub's CA."""
    return authority("hub CA")


@pytest.fixture(scope="session")
def hub_identity(ca: Identity) -> Identity:
    """The hub's certificate."""
    return ca.issue("127.0.0.1", "localhost", title="hub.example")


@pytest.fixture(scope="session")
def interceptor() -> Identity:
    """What a firewall that opens TLS shows in the hub's place."""
    return authority("Corporate TLS Inspection").issue("127.0.0.1", title="hub.example")


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers that stop with the test."""
    started: list[Server] = []

    def start(script: Script, identity: Identity | None = None) -> Server:
        started.append(Server(script, identity.server_context if identity else None))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory, still empty."""
    path = tmp_path / "state"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def enrolled(state: Path) -> Enrolled:
    """Enrolls the box of ``state`` on disk, with its key; the registration."""

    def enroll(url: str = "https://hub.example:8443", trust: Trust | None = None, **changes: object) -> Registration:
        store = StateDirectory(str(state))
        key = KeyFile().make_or_load(store)
        registration = Registration(
            platform="hub",
            endpoint=parse_endpoint(url),
            trust=trust or Trust(),
            workspace="acme",
            device_id="dev-1",
            credential=Credential("secret", Secret(SECRET)),
            interval_s=60,
            key_fingerprint=key.key_fingerprint,
            csr_pem=key.csr_pem,
            registered_at_s=1_795_000_000.0,
        )._replace(**changes)  # type: ignore[arg-type]
        store.save_registration(registration)
        return registration

    return enroll


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub that beats every second."""
    one = Hub(tmp_path_factory.mktemp("hub"), heartbeat_interval_s=1, online_window_s=3)
    yield one
    one.stop()


@pytest.fixture
def box(tmp_path: Path, hub: Hub) -> Iterator[Box]:
    """A box beside that hub."""
    folder = tmp_path / "box"
    folder.mkdir()
    one = Box(folder, hub)
    yield one
    for process in one.processes:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=20)
