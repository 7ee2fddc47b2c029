"""Whom the servers of all contract suites show themselves as."""

import pytest

from tests.contract.http_transports.certificates import Identity, authority


@pytest.fixture(scope="session")
def ca() -> Identity:
    """The hub's own CA."""
    return authority("the hub's CA")


@pytest.fixture(scope="session")
def other_ca() -> Identity:
    """Somebody else's CA."""
    return authority("Big Interceptor Inc.")


@pytest.fixture(scope="session")
def hub(ca: Identity) -> Identity:
    """A server that the hub's CA vouches for."""
    return ca.issue("127.0.0.1", "localhost")
