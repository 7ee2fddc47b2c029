"""Where the walks are played: each platform, or what stands for it, with a desk and a box."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives import serialization

from tests.contract.http_transports.certificates import Identity
from tests.demo_play import free_port
from tests.e2e.conftest import Hub
from tests.platforms.site import Site
from tests.twins import fleet, huawei, qubitro

TWIN, OWN = "our twin of it", "the hub itself"


class Ground(NamedTuple):
    """A platform that is ready to be walked on.

    Args:
        site: desk and box.
        create: makes a device with the desk's verb (or with what the platform has instead): its id, and the boot file.
        silence: makes the platform believe that nothing came for long; None = it notices by itself.
        appears: makes a device that never beats be seen by the platform itself; None = the box beats.
        is_known: whether the platform lists it before it was there.
        can_remove: whether the platform lets devices go.
    """

    site: Site
    create: Callable[[], tuple[str, Path | None]]
    silence: Callable[[str], None] | None = None
    appears: Callable[[str], None] | None = None
    is_known: bool = True
    can_remove: bool = True


Open = Callable[[Path], AbstractContextManager[Ground]]


def created(site: Site, *words: str) -> tuple[str, Path | None]:
    """``device create`` with a boot file where the platform has boxes."""
    made = json.loads(site.desk("create", *words, "--json", "--boot", str(site.boot)))
    files = list(site.boot.iterdir())
    return str(made["deviceId"]), files[0] if files else None


def key_of(one: Identity) -> str:
    """Its private key, PEM."""
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return one.key.private_bytes(encoding, form, serialization.NoEncryption()).decode()


# -- our hub ---------------------------------------------------------------------------------------------------------
def on_hub(transport: str, credential: str) -> Open:
    """Over HTTP, or through a mosquitto that the hub starts."""

    @contextmanager
    def opened(folder: Path) -> Iterator[Ground]:
        broker: dict[str, str | int] = {}
        if transport == "mqtt":
            broker = {"mqtt": "mosquitto", "mqtt_port": free_port(), "mqtt_certificate_port": free_port()}
        hub = Hub(folder, is_served=True, heartbeat_interval_s=1, online_window_s=3, **broker)
        try:
            site = Site(folder / "site", "hub", hub.url, "demo", hub.key.reveal(), trust=("--pin", hub.pin))
            words = ("Roof camera", "--transport", transport, "--credential", credential)
            yield Ground(site, lambda: created(site, *words))
        finally:
            hub.stop()

    return opened


@contextmanager
def as_roboflow(folder: Path) -> Iterator[Ground]:
    """Our hub stands for Roboflow's public interface, whose dialect the desk speaks."""
    hub = Hub(folder, heartbeat_interval_s=1, online_window_s=3)
    try:
        site = Site(folder / "site", "roboflow", hub.url, "demo", hub.key.reveal(), trust=("--pin", hub.pin))

        def create() -> tuple[str, Path | None]:
            made = json.loads(site.desk("create", "Roof camera", "--json"))
            return str(made["deviceId"]), None

        yield Ground(site, create, can_remove=False)
    finally:
        hub.stop()


# -- Huawei IoTDA ----------------------------------------------------------------------------------------------------
def _huawei_site(folder: Path, twin: huawei.HuaweiTwin) -> Site:
    ca_file = folder / "devices-ca.pem"
    ca_file.write_text(twin.ca_pem)
    extra = {
        "device_broker": twin.mqtt_url,
        "device_endpoint": twin.http_url,
        "device_ca": f"@{ca_file}",
        "instance_id": twin.instance_id,
    }
    return Site(folder / "site", "huawei", twin.http_url, twin.project_id, twin.operator_key, twin.ca_pem, extra)


def on_huawei(transport: str, credential: str) -> Open:
    """A device that the desk makes."""

    @contextmanager
    def opened(folder: Path) -> Iterator[Ground]:
        with huawei.serve() as twin:
            site = _huawei_site(folder, twin)
            words = ["--field", "node_id=SN-1", "--field", f"product_id={twin.product_id}"]
            words += ["--field", f"transport={transport}"]
            if credential == "certificate":
                one = twin.device_ca.issue("SN-1", title="a device")
                for name, text in (("certificate", one.pem), ("key", key_of(one))):
                    path = folder / f"{name}.pem"
                    path.write_text(text)
                    path.chmod(0o600)
                    words += ["--field", f"{name}=@{path}"]

            def silence(device_id: str) -> None:
                twin.clock.advance(200_000.0)

            yield Ground(site, lambda: created(site, *words), silence if transport == "http" else None)

    return opened


def on_bootstrap(kind: str, credential: str) -> Open:
    """A device that learns from the bootstrap server where it belongs.

    Args:
        kind: "device" (registered beforehand) or "group".
        credential: "secret" or "certificate".
    """

    @contextmanager
    def opened(folder: Path) -> Iterator[Ground]:
        with huawei.serve() as twin:
            site = _huawei_site(folder, twin)
            yield Ground(site, lambda: _bootstrapped(site, twin, kind, credential), is_known=False)

    return opened


def _bootstrapped(site: Site, twin: huawei.HuaweiTwin, kind: str, credential: str) -> tuple[str, Path]:
    device_id, secret = "box-7", "S3cret_Value-01"
    said: dict[str, object] = {
        "format": 1,
        "platform": "huawei",
        "road": "bootstrap",
        "deviceId": device_id,
        "broker": twin.bootstrap_url,
        "ca": twin.ca_pem,
        "extra": {"bootstrap_ca": twin.bootstrap_ca_pem},
    }
    if kind == "group":
        group = twin.provisioning.add_group(twin.product_id, twin.project_id, with_secret=credential == "secret")
        secret = group.secret
        said["extra"] = {"bootstrap_ca": twin.bootstrap_ca_pem, "scope": group.scope_id}
    else:
        fixed = secret if credential == "secret" else ""
        twin.provisioning.add_device(device_id, twin.product_id, twin.project_id, secret=fixed)
    if credential == "secret":
        said["secret"] = secret
    else:
        one = twin.device_ca.issue(device_id, title="a device")
        said |= {"certificate": one.pem, "key": key_of(one)}
    path = site.boot / f"{device_id}.json"
    path.write_text(json.dumps(said))
    path.chmod(0o600)
    return device_id, path


# -- Qubitro ---------------------------------------------------------------------------------------------------------
def on_qubitro(source: str) -> Open:
    """A device with a token."""

    @contextmanager
    def opened(folder: Path) -> Iterator[Ground]:
        with qubitro.serve() as twin:
            ca_file = folder / "devices-ca.pem"
            ca_file.write_text(twin.ca_pem)
            extra = {
                "device_broker": twin.mqtt_url,
                "device_endpoint": twin.http_url,
                "device_ca": f"@{ca_file}",
            }
            workspace = twin.addresses["project"]
            site = Site(folder / "site", "qubitro", twin.http_url, workspace, twin.operator_key, twin.ca_pem, extra)
            words = ("Pump 1", "--field", "description=In the cellar", "--field", f"source={source}")

            def silence(device_id: str) -> None:
                with twin.state.lock:
                    device = twin.state.device(device_id)
                    assert device is not None
                    device.seen_s = twin.clock.now_s() - 301

            yield Ground(site, lambda: created(site, *words), silence)

    return opened


# -- Fleet -----------------------------------------------------------------------------------------------------------
@contextmanager
def on_fleet(folder: Path) -> Iterator[Ground]:
    """An inventory: it has no boxes of its own, and is told by its device management when one was seen."""
    with fleet.serve() as twin:
        site = Site(folder / "site", "fleet", twin.http_url, "", twin.operator_key, twin.ca_pem)
        words = ("Dock camera", "--field", "type=Camera", "--field", "category=IoT")

        def seen(device_id: str, ago_s: float) -> None:
            twin.state.manage(int(device_id), "ENROLLED", time.time() - ago_s)

        yield Ground(
            site,
            lambda: created(site, *words),
            lambda device_id: seen(device_id, 200_000.0),
            lambda device_id: seen(device_id, 0.0),
        )
