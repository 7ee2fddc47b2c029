"""The sessions that a registration is good for: over the transport it names, or over HTTP whatever it names."""

from __future__ import annotations

from firstlight.core.model import Identity
from firstlight.errors import StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from firstlight.core.exchange import MqttLogin
    from firstlight.core.interfaces import DevicePlatform, Session
    from firstlight.core.model import Invitation, Registration
    from firstlight.system.clock import SystemClock
    from firstlight.system.store import StateDirectory
    from firstlight.transports.proxy import Proxy


class Sessions:
    """Opens them; what the other transport needs is not loaded.

    Args:
        store: where the keys are.
        clock: says whether certificates' dates count: a wrong clock must not keep a box from its first beat.
        dialect: of the registration's platform.
        proxy_to: the proxy on the way to a host, None for a direct way: hub and broker are judged each by its own name.
    """

    def __init__(
        self,
        store: StateDirectory,
        clock: SystemClock,
        dialect: DevicePlatform,
        proxy_to: Callable[[str], Proxy | None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._dialect = dialect
        self._proxy_to = proxy_to

    def for_beats(self, registration: Registration, interval_s: Callable[[], float] | None = None) -> Session:
        """The session that the registration names.

        Args:
            registration: over MQTT, with its broker.
            interval_s: the interval that counts by now, where it may change: the keep-alive follows it.

        Raises:
            StateError: ``state_corrupt``, the registration names no broker.
            UsageError: the proxy's setting cannot be used.
        """
        broker = registration.broker
        if registration.transport != "mqtt":
            return self.over_http(registration)
        if broker is None:
            raise StateError("state_corrupt", "The registration names no broker.")
        from firstlight.transports.mqtt_session import MqttSession

        def login() -> MqttLogin:
            now = registration._replace(interval_s=int(interval_s())) if interval_s else registration
            made = self._dialect.login(now, self._clock.moment(), knows_time=self._clock.knows_time())
            if made is None:
                raise StateError("state_corrupt", "This platform has no beats over MQTT.")
            return made

        return MqttSession(
            login,
            registration.trust,
            self._proxy_to(broker.host),
            check_dates=self._clock.is_trustworthy,
            identity=self._identity(registration),
        )

    def for_redeem(self, invitation: Invitation, key_fingerprint: str) -> Session | None:
        """The session that carries the redeem where that goes over MQTT; None where it goes over HTTP.

        Args:
            invitation: whose dialect says how that server is recognised, where it is not as the platform is.
            key_fingerprint: of the key that its certificate is for.

        Raises:
            UsageError: the proxy's setting cannot be used.
        """

        def login() -> MqttLogin | None:
            moment, knows_time = self._clock.moment(), self._clock.knows_time()
            return self._dialect.redeem_login(invitation, moment, knows_time=knows_time)

        first = login()
        if first is None:
            return None
        from firstlight.transports.mqtt_session import MqttSession

        pem = invitation.certificate_pem
        return MqttSession(
            lambda: login() or first,
            first.trust or invitation.trust,
            self._proxy_to(first.broker.host),
            check_dates=self._clock.is_trustworthy,
            identity=Identity(pem, self._store.key_file(key_fingerprint)) if pem else None,
        )

    def over_http(self, registration: Registration) -> Session:
        """A session to the platform's own address, with the registration's credential. Raises UsageError as above."""
        from firstlight.transports.http_session import HttpSession

        return HttpSession(
            registration.trust,
            self._proxy_to(registration.endpoint.host),
            check_dates=self._clock.is_trustworthy,
            identity=self._identity(registration),
        )

    def _identity(self, registration: Registration) -> Identity | None:
        pem = registration.credential.certificate_pem
        return Identity(pem, self._store.key_file(registration.key_fingerprint)) if pem else None
