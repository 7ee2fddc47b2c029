"""A twin of Huawei Cloud IoTDA: management, MQTT and HTTPS for devices, and the bootstrap server.

Sources: the vendor's page "Create a Device" (2024-01-26), its pages on connecting, topics, HTTPS access, provisioning
and error codes, and what its own clients send. What those leave open is said where it is decided.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from starlette.applications import Starlette

from tests.twins.huawei.api import Api
from tests.twins.huawei.bootstrap import BootstrapRules, Provisioning
from tests.twins.huawei.device_http import DeviceHttp
from tests.twins.huawei.device_mqtt import DeviceRules
from tests.twins.huawei.state import Product, State
from tests.twins.kit.clock import TwinClock
from tests.twins.kit.faults import Faults
from tests.twins.kit.http import HttpServer
from tests.twins.kit.log import Log
from tests.twins.kit.mqtt import MqttServer
from tests.twins.kit.tls import Identity, authority, make_context, make_server
from tests.twins.kit.twin import Twin

PROJECT_ID = "0123456789abcdef0123456789abcdef"
PRODUCT_ID = "twinproduct"
APP_ID = "twinDefaultApp"
# The usual service of the agent, with properties that an operator may set.
AGENT_PROPERTIES = ("interval", "site", "temperature", "load1", "memory_used", "disk_used", "agent_version")


@dataclass(repr=False)
class HuaweiTwin(Twin[State]):
    """The running twin.

    Args:
        project_id, instance_id, product_id: where devices are made.
        access_key, secret_key: for signed requests, beside ``operator_key`` (a token for X-Auth-Token).
        mqtt_plain_url: MQTT without TLS, for devices with ``secure_access`` false.
        bootstrap_url, bootstrap_ca_pem: the bootstrap server, with an authority of its own.
        provisioning: what that server knows.
        device_ca: signs certificates of devices that both servers believe.
        devices, device_http: the devices' half.
    """

    project_id: str = PROJECT_ID
    product_id: str = PRODUCT_ID
    instance_id: str = ""
    access_key: str = ""
    secret_key: str = ""
    mqtt_plain_url: str = ""
    bootstrap_url: str = ""
    bootstrap_ca_pem: str = ""
    provisioning: Provisioning = field(default_factory=lambda: Provisioning(State(TwinClock())))
    device_ca: Identity = field(default_factory=lambda: authority("devices of a twin"))
    devices: DeviceRules = field(default_factory=lambda: DeviceRules(State(TwinClock())))
    device_http: DeviceHttp | None = None


@contextmanager
def serve(*, clock: TwinClock | None = None, is_plain: bool = False) -> Iterator[HuaweiTwin]:
    """Runs a twin on free ports of loopback.

    Args:
        clock: the platform's time; status, token expiry, sign type 1, timeouts and the day's budget follow it.
        is_plain: HTTP and MQTT without TLS; then a link without it counts as secure.
    """
    clock, log, faults = clock or TwinClock(), Log(), Faults()
    state = State(clock)
    state.takes_plain = is_plain
    state.add_product(_usual_product())
    ca, bootstrap_ca, device_ca = authority("a twin"), authority("its bootstrap server"), authority("its devices")
    context = None if is_plain else make_context(make_server(ca), (device_ca,))
    boot_context = None if is_plain else make_context(make_server(bootstrap_ca), (device_ca,))
    rules, provisioning = DeviceRules(state), Provisioning(state)
    device_http = DeviceHttp(state, rules.events)
    app = Starlette(routes=Api(state, rules.tell, rules.drop).routes() + device_http.routes())
    with ExitStack() as stack:
        links = stack.enter_context(MqttServer(rules, context=context, plain=True, clock=clock, log=log))
        boot = stack.enter_context(MqttServer(BootstrapRules(provisioning), context=boot_context, clock=clock, log=log))
        web_context = None if is_plain else make_context(make_server(ca))
        web = stack.enter_context(HttpServer(app, context=web_context, clock=clock, log=log, faults=faults))
        provisioning.strategies[""] = links.url.partition("://")[2]
        access_key, secret_key = state.add_access_key(PROJECT_ID)
        twin = HuaweiTwin(
            *("huawei", web.url, links.url, "" if is_plain else ca.pem, state.add_token(PROJECT_ID, 7 * 86_400.0)),
            *(state, log, clock, faults),
            instance_id=state.instance_id,
            access_key=access_key,
            secret_key=secret_key,
            mqtt_plain_url=links.plain_url,
            bootstrap_url=boot.url,
            bootstrap_ca_pem="" if is_plain else bootstrap_ca.pem,
            provisioning=provisioning,
            device_ca=device_ca,
            devices=rules,
            device_http=device_http,
        )
        _introduce(twin)
        yield twin


def _usual_product() -> Product:
    properties: dict[str, object] = dict.fromkeys(AGENT_PROPERTIES)
    return Product(PRODUCT_ID, "Edge box", APP_ID, {"Firstlight": properties})


def _introduce(twin: HuaweiTwin) -> None:
    twin.addresses = {
        "MQTT, plain": twin.mqtt_plain_url,
        "bootstrap": twin.bootstrap_url,
        "project": twin.project_id,
        "product": twin.product_id,
        "instance": twin.instance_id,
    }
    twin.examples = lambda key_file, ca_file: _examples(twin, key_file, ca_file)


def _examples(twin: HuaweiTwin, key_file: Path, ca_file: Path) -> list[str]:
    """From a new device to its beats, and the vendor's interface as curl sees it; a key is in no command's words."""
    key, ca, folder = (shlex.quote(str(path)) for path in (key_file, ca_file, key_file.parent))
    devices = f"{twin.http_url}/v5/iot/{twin.project_id}/devices"
    ways = f"--extra device_broker={twin.mqtt_url} --extra device_endpoint={twin.http_url}"
    desk = f"--platform huawei --base {twin.http_url} --workspace {twin.project_id} --api-key-file {key}"
    trust = ""
    if twin.ca_pem:
        trust, ways, desk = f"--cacert {ca} ", f"{ways} --extra device_ca=@{ca}", f"{desk} --ca-file {ca}"
    fields = f"--field node_id=box-1 --field product_id={twin.product_id}"
    return [
        f"firstlight device create {desk} {ways} {fields} --boot {folder}",
        f"firstlight enroll --file {folder}/box-1.json --state-dir {folder}/box --no-start",
        f"firstlight run --state-dir {folder}/box",
        f"firstlight device list {desk}",
        f"curl -sS {trust}-H @<(printf 'X-Auth-Token: '; cat {key}) {devices}",
    ]
