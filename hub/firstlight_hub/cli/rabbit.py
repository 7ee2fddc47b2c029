"""RabbitMQ as one of the brokers that ``serve`` can choose."""

from __future__ import annotations

from starlette.routing import BaseRoute

from firstlight_hub.api.broker import make_route
from firstlight_hub.cli.broker import Broker
from firstlight_hub.folder import HubFolder
from firstlight_hub.ingest.group_commit import GroupCommit
from firstlight_hub.ingest.intake import Intake
from firstlight_hub.rabbitmq.auth import Logins, broker_token
from firstlight_hub.rabbitmq.link import RabbitLink, read_place
from firstlight_hub.service.beats import Beats
from firstlight_hub.settings import Settings
from firstlight_hub.store import Store


class RabbitMq(Broker):
    """A RabbitMQ of the operator; packaging/rabbitmq shows how it is set up."""

    shows_certificate = True  # the operator gives it the hub's

    def __init__(self, settings: Settings, folder: HubFolder, store: Store) -> None:
        place = read_place(settings, folder.authorities().trust_pem())
        self.link = self._rabbit = RabbitLink(place, store)
        self.routes: list[BaseRoute] = [
            make_route(Logins(store, place.login), broker_token(folder.path / "broker.token"))
        ]

    async def attend(self, beats: Beats, commits: GroupCommit) -> None:
        """As ``Broker.attend``."""
        await self._rabbit.attend(lambda publish: Intake(beats, commits, publish))

    async def leave(self) -> None:
        """As ``Broker.leave``."""
        await self._rabbit.leave()
