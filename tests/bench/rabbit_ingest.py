"""The same as ``mqtt_ingest`` out of RabbitMQ's queue, told beside it: as root, where RabbitMQ is installed."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pika

from firstlight.wire.facts import facts_hash
from firstlight_hub import settings as hub_settings
from firstlight_hub.rabbitmq.auth import broker_token
from firstlight_hub.rabbitmq.consumer import QUEUE
from firstlight_hub.rabbitmq.link import read_place
from tests.bench.figures import Figure, Report
from tests.bench.load import BODY
from tests.bench.mqtt_ingest import BEATS, DEVICES, drained
from tests.bench.processes import on_core, wait_until
from tests.bench.stage import FACTS, WORKSPACE, Hub, Stage
from tests.system.rabbit import SERVER, Rabbit

EXCHANGE = "firstlight-answers"  # where the hub's own words enter without being asked about


def measure(stage: Stage, report: Report) -> None:
    """Fills the queue while the hub is away, then lets it drain; the broker on another core than the hub."""
    report.head(
        "rabbit_ingest", f"{BEATS} beats of {DEVICES} devices wait in RabbitMQ; hub on one core, broker on another"
    )
    if os.geteuid() != 0 or not Path(SERVER).exists():
        report.note("not measured: needs root and the Debian package rabbitmq-server")
        return
    cores = sorted(os.sched_getaffinity(0))
    with on_core(cores[0]):
        hub = Hub(stage, devices=DEVICES, is_served=False)
    with tempfile.TemporaryDirectory(prefix="flb-") as scratch, on_core(cores[-1]):  # Erlang wants short paths
        (Path(scratch) / "node").mkdir()
        (Path(scratch) / "password").write_text("the-password-of-the-hub-itself\n")
        told = hub_settings.load(hub.folder / "hub.toml")
        token = broker_token(hub.folder / "broker.token").reveal()
        rabbit = Rabbit(Path(scratch) / "node", f"https://localhost:{told.port}", token, hub.folder)
        hub.change(
            {
                "mqtt": "rabbitmq",
                "mqtt_port": rabbit.mqtt_port,
                "mqtt_certificate_port": rabbit.mqtt_port,
                "broker_url": rabbit.amqp_url,
                "broker_password_file": str(Path(scratch) / "password"),
                "broker_management_url": rabbit.management_url,
            }
        )
        with rabbit:
            idle_mb = rabbit.resident_bytes() / 1e6
            _fill(hub)
            full_mb = rabbit.resident_bytes() / 1e6
            rate = drained(hub, BEATS, cores[0])
            hub.stop()
    report.add(Figure("taken and committed a second", rate, "/s"))
    report.add(Figure("RabbitMQ's memory at rest", idle_mb, "MB"))
    report.add(Figure(f"RabbitMQ's memory with {BEATS} beats waiting", full_mb, "MB"))


def _fill(hub: Hub) -> None:
    """Logs in while the hub is there to be asked, and publishes when it is gone."""
    hub.start()
    place = read_place(hub_settings.load(hub.folder / "hub.toml"), (hub.folder / "ca.pem").read_text())
    connection = pika.BlockingConnection(place.amqp)
    channel = connection.channel()
    channel.basic_publish(EXCHANGE, "nobody.listens", b"x")  # so that its permission is known
    channel.queue_declare(QUEUE, passive=True)
    hub.stop()
    kept = pika.BasicProperties(delivery_mode=2)
    for number in range(1, BEATS + 1):
        device_id, _ = hub.keys[number % len(hub.keys)]
        body = BODY.format(sequence=number, wall=1_795_300_000 + number / 1000, facts_hash=facts_hash(FACTS))
        channel.basic_publish(EXCHANGE, f"firstlight.{WORKSPACE}.{device_id}.heartbeat", body.encode(), kept)
    wait_until("all beats wait", lambda: channel.queue_declare(QUEUE, passive=True).method.message_count == BEATS, 30)
    connection.close()
