"""A Qubitro twin for each test, and the operator's place in it."""

from collections.abc import Iterator

import pytest

from firstlight.core.exchange import HttpCall, HttpReply
from firstlight.core.management import Place
from firstlight.core.model import Secret, Trust, parse_endpoint
from firstlight.transports.http_calls import HttpCalls
from tests.twins.qubitro import QubitroTwin, serve


@pytest.fixture
def twin() -> Iterator[QubitroTwin]:
    """A twin as the seed has it, in TLS."""
    with serve() as one:
        yield one


class Desk:
    """Carries the operator's calls to a twin."""

    def __init__(self, twin: QubitroTwin) -> None:
        self.twin = twin
        extra = (
            ("device_endpoint", twin.http_url),
            ("device_broker", twin.mqtt_url),
            ("device_ca", twin.ca_pem),
        )
        self.place = Place(parse_endpoint(twin.http_url), twin.addresses["project"], Secret(twin.operator_key), extra)

    def call(self, call: HttpCall) -> HttpReply:
        """One call over TLS, trusting the twin's authority."""
        with HttpCalls(Trust(ca_pem=self.twin.ca_pem)) as calls:
            return calls.exchange(call, 20)


@pytest.fixture
def desk(twin: QubitroTwin) -> Desk:
    """The operator of that twin."""
    return Desk(twin)
