"""A twin of Qubitro: create, list, show and remove (seed 003), devices over MQTT 3.1.1 and HTTPS.

Where the pages contradict each other it can speak either way (``State.dialect``, ``created_status``,
``errors_are_200``, ``publish_body``). What it makes up where they are silent stands in docs/platforms/qubitro.md.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from tests.twins.kit.clock import TwinClock
from tests.twins.kit.faults import Faults
from tests.twins.kit.http import HttpServer
from tests.twins.kit.log import Log
from tests.twins.kit.mqtt import MqttServer
from tests.twins.kit.tls import authority, make_context, make_server
from tests.twins.kit.twin import Twin
from tests.twins.qubitro.api import Api
from tests.twins.qubitro.rules import QubitroRules
from tests.twins.qubitro.state import State

__all__ = ["QubitroTwin", "serve"]

QubitroTwin = Twin[State]


@contextlib.contextmanager
def serve(*, is_plain: bool = False, clock: TwinClock | None = None, dialect: str = "seed") -> Iterator[QubitroTwin]:
    """Runs one, with one project (``addresses["project"]``) and one key for it.

    Args:
        is_plain: HTTP and MQTT without TLS.
        clock: its time.
        dialect: "seed" or "newer", see ``State``.
    """
    clock, log, faults = clock or TwinClock(), Log(), Faults()
    state = State(clock, dialect)
    project = state.add_project()
    key = state.add_key(project)
    ca = None if is_plain else authority("Qubitro twin")
    context = make_context(make_server(ca)) if ca else None
    rules = QubitroRules(state)
    with MqttServer(rules, context=context, clock=clock, log=log) as mqtt:
        state.send = mqtt.send
        app = Api(state, mqtt.drop).app()
        with HttpServer(app, context=context, clock=clock, log=log, faults=faults) as http:
            yield Twin(
                "qubitro",
                http.url,
                mqtt.url,
                ca.pem if ca else "",
                key,
                state,
                log,
                clock,
                faults,
                {"project": project, "publish": f"{http.url}/integrations/http"},
                lambda key_file, ca_file: _examples(http.url, mqtt.url, project, key_file, ca_file if ca else None),
            )


def _examples(url: str, broker: str, project: str, key_file: Path, ca_file: Path | None) -> list[str]:
    """One device created by the desk and by curl, both listed; the key stays out of what others see of the command."""
    curl = f"curl -sS{f' --cacert {ca_file}' if ca_file else ''}"
    key = f'-H "@-" < <(printf "Authorization: Bearer %s" "$(cat {key_file})")'
    body = json.dumps({"name": "Pump 1", "description": "By hand", "source": "mqtt", "tags": []})
    devices = f"{url}/v2/projects/{project}/devices"
    folder = key_file.parent
    desk = f"--platform qubitro --base {url} --workspace {project} --api-key-file {key_file}"
    desk += f" --ca-file {ca_file}" if ca_file else ""
    boot = f"--extra device_broker={broker} --extra device_endpoint={url}"
    boot += f" --extra device_ca=@{ca_file}" if ca_file else ""
    return [
        f"{curl} {devices} -H 'Content-Type: application/json' -d '{body}' {key}",
        f"{curl} {devices} {key}",
        f'firstlight device create "Pump 2" {desk} {boot} --field description=Pump --boot {folder}',
        f"firstlight enroll --file {folder}/DEVICE_ID.json --state-dir {folder}/box --no-start",
        f"firstlight run --state-dir {folder}/box",
        f"firstlight device list {desk}",
    ]
