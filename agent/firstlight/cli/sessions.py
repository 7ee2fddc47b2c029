"""The sessions that a verb opens for a registration: over the transport it names, or over HTTP whatever it names."""

from __future__ import annotations

from firstlight.cli.settings import Settings, proxy_of
from firstlight.core.interfaces import DevicePlatform, Session
from firstlight.core.model import Endpoint, Identity, Registration
from firstlight.system.clock import SystemClock
from firstlight.system.store import StateDirectory


class Sessions:
    """Opens them.

    Args:
        settings: for the proxy on the way.
        store: where the keys are.
        clock: says whether certificates' dates count: a wrong clock must not keep a box from its first beat.
        dialect: of the registration's platform.
    """

    def __init__(self, settings: Settings, store: StateDirectory, clock: SystemClock, dialect: DevicePlatform) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._dialect = dialect

    def for_beats(self, registration: Registration) -> Session:
        """The session that the registration names. Raises UsageError where the proxy's setting cannot be used."""
        login = self._dialect.login(registration, self._clock.moment().boot_id)
        if registration.transport != "mqtt" or login is None:
            return self.over_http(registration)
        # Imported here: one of the two is enough.
        from firstlight.transports.mqtt_session import MqttSession

        broker = login.broker
        # no_proxy and loopback are judged by the broker's own name.
        proxy = proxy_of(self._settings, Endpoint("https", broker.host, broker.port))
        return MqttSession(
            lambda: login,
            registration.trust,
            proxy,
            check_dates=self._clock.is_trustworthy,
            identity=self._identity(registration),
        )

    def over_http(self, registration: Registration) -> Session:
        """A session to the platform's own address, with the registration's credential."""
        from firstlight.transports.http_session import HttpSession

        return HttpSession(
            registration.trust,
            proxy_of(self._settings, registration.endpoint),
            check_dates=self._clock.is_trustworthy,
            identity=self._identity(registration),
        )

    def _identity(self, registration: Registration) -> Identity | None:
        pem = registration.credential.certificate_pem
        return Identity(pem, self._store.key_file(registration.key_fingerprint)) if pem else None
