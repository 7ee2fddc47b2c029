"""One suite for both HTTP clients of the agent: what the fixtures here make runs against each of them."""

import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import pytest

from firstlight.core import model
from firstlight.core.exchange import HttpCall, HttpReply
from firstlight.core.model import Trust
from firstlight.errors import UnreachableError
from firstlight.transports.http_calls import HttpCalls
from firstlight.transports.http_session import HttpSession
from firstlight.transports.proxy import Proxy
from tests.contract.http_transports.certificates import Identity
from tests.contract.http_transports.servers import Script, Server

# None of these may show in an error: they stand in the path, a header and the body of each request.
SECRETS = ("sEcretInPath", "sEcretInHeader", "sEcretInBody", "sEcretOfProxy", "c0VjcmV0T2ZQcm94eQ")
DEADLINE_S = 5.0


class Client(Protocol):
    """What both clients have in common."""

    def exchange(self, call: HttpCall, deadline_s: float) -> HttpReply:
        """See ``core.interfaces.Caller``."""
        ...

    def close(self) -> None:
        """Ends the connection."""
        ...


def call(url: str, body: bytes | None = b"sEcretInBody", limit_bytes: int = 65_536, method: str = "POST") -> HttpCall:
    """A request full of secrets."""
    headers = (("Authorization", "Bearer sEcretInHeader"),)
    return HttpCall(method, f"{url.rstrip('/')}/sEcretInPath", headers, body, limit_bytes)


@dataclass
class Clients:
    """Makes clients of one kind, closes them in the end, and looks at their errors."""

    kind: Callable[..., Client]
    made: list[Client] = field(default_factory=list)

    @property
    def keeps(self) -> bool:
        """Whether a connection is kept for the next call."""
        return self.kind is not HttpCalls

    def make(
        self,
        trust: Trust | None = None,
        proxy: Proxy | None = None,
        *,
        check_dates: bool = True,
        identity: model.Identity | None = None,
    ) -> Client:
        """A new client."""
        client: Client = self.kind(trust or Trust(), proxy, check_dates=check_dates, identity=identity)
        self.made.append(client)
        return client

    def post(
        self, url: str, trust: Trust | None = None, proxy: Proxy | None = None, *, check_dates: bool = True
    ) -> HttpReply:
        """One call by a client of its own."""
        return self.make(trust, proxy, check_dates=check_dates).exchange(call(url), DEADLINE_S)

    def fail(
        self,
        url: str,
        trust: Trust | None = None,
        proxy: Proxy | None = None,
        *,
        check_dates: bool = True,
        deadline_s: float = DEADLINE_S,
        limit_bytes: int = 65_536,
        client: Client | None = None,
    ) -> UnreachableError:
        """The error that one call must end in: within the deadline, and without a secret anywhere in it."""
        client = client or self.make(trust, proxy, check_dates=check_dates)
        began_s = time.monotonic()
        with pytest.raises(UnreachableError) as caught:
            client.exchange(call(url, limit_bytes=limit_bytes), deadline_s)
        assert time.monotonic() - began_s < deadline_s + 0.5
        error = caught.value
        texts = [str(error), repr(error), error.hint, *traceback.format_exception_only(type(error), error)]
        chain: BaseException | None = error
        while chain is not None:
            texts += [str(chain), repr(chain)]
            chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)
        assert not [secret for secret in SECRETS if any(secret in text for text in texts)]
        assert error.hint
        return error


KINDS: list[Callable[..., Client]] = [HttpCalls, partial(HttpCalls, keeps=True), HttpSession]


@pytest.fixture(params=KINDS, ids=["calls", "kept", "session"])
def clients(request: pytest.FixtureRequest) -> Iterator[Clients]:
    """Clients of each kind in turn."""
    found = Clients(request.param)
    yield found
    for client in found.made:
        client.close()


Serve = Callable[..., Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers that stop with the test."""
    started: list[Server] = []

    def start(script: Script, identity: Identity | None = None, client_ca: Identity | None = None) -> Server:
        context = identity.server_context if identity else None
        if identity and client_ca:
            context = identity.server_context_for(client_ca)
        started.append(Server(script, context))
        return started[-1]

    yield start
    for server in started:
        server.stop()
