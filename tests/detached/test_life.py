"""A provisioned box and a real hub that comes later: from the label to a device that is online, no hand touching it."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import closing

import pytest

from firstlight.cli import registering
from firstlight.core.admission import TimeBounds
from firstlight.core.model import Trust, parse_endpoint
from firstlight.core.provision import Payload
from firstlight.errors import InvitationError, StateError, UsageError
from firstlight.platforms.hub import management
from firstlight.transports.http_calls import HttpCalls
from tests.contract.http_transports.servers import Peer, Server, proxying, relayed
from tests.detached.conftest import Road, long_ago, run_file
from tests.detached.labels import payload
from tests.e2e.conftest import Hub

MakeRoad = Callable[..., Road]


def unknown(hub: Hub) -> Payload:
    """What the label of no device says."""
    return payload(hub.url, hub.pin, "n" * 16)


def test_the_hub_comes_later(make_road: MakeRoad, own_hub: Hub) -> None:
    """Beats are kept, through a restart of the box's agent too; then all of them are on the hub, once each."""
    device = own_hub.create()
    own_hub.stop()
    road = make_road(own_hub)
    token = device.install_id.reveal()
    road.provision(road.label(device))
    shown = road.box.cli("status", check=False)
    assert shown.returncode == 3 and shown.stdout.startswith("state              provisioned, not yet registered\n")
    assert "The agent does not run" in shown.stdout

    first = road.box.run()
    found = road.until("beats are kept", lambda status: status.get("spooled", 0) >= 2)
    assert (found["state"], found["reason"]) == ("provisioned", "connect_refused")
    assert found["deviceId"] == device.device_id and found["agentRuns"] and found["nextTryAt"]
    said = road.box.cli("status", check=False).stdout
    assert "next try " in said and "kept beats " in said and "[connect_refused]" in said and "since " in said
    first.send_signal(signal.SIGTERM)
    assert first.wait(20) == 0
    assert road.box.status()["state"] == "provisioned"
    road.box.run()
    kept = road.until("it goes on", lambda status: status.get("agentRuns") and status["spooled"] > found["spooled"])

    own_hub.serve()
    online = road.online()
    assert online["deviceId"] == device.device_id and own_hub.status(device.device_id) == "online"
    written = road.written(device.device_id)
    late = [beat for beat in written if beat.late]
    assert len(late) >= kept["spooled"] and {beat.reason for beat in late} == {"not_registered"}
    assert len({beat.sequence for beat in written}) == len(written), "something is there twice"
    assert [beat.sequence for beat in late] == sorted(beat.sequence for beat in late)
    names = {path.name for path in road.box.state_dir.iterdir()}
    assert "provisioned.json" not in names and "attempt.json" not in names and "nonces.json" in names
    log = road.log()
    assert token not in road.everything() + log + said
    assert log.count("Registered as") == 1 and log.count("[connect_refused]") == 2, "said once by each agent"


def test_a_refusal_parks_until_the_label_is_corrected(make_road: MakeRoad, hub: Hub) -> None:
    """A label of no device parks, visibly; the corrected one is taken at once, though the next try is hours away."""
    road, device = make_road(hub, 1.0), hub.create()
    road.provision(road.signer.label(unknown(hub)))
    road.box.run()
    found = road.until("it is parked", lambda status: status["state"] == "parked")
    assert found["reason"] == "install_id_unknown" and found["nextTryInS"] > 600
    shown = road.box.cli("status", check=False).stdout
    assert shown.startswith("state              parked; provisioned, not yet registered\n")
    assert "[install_id_unknown]" in shown
    road.provision(road.label(device))
    assert any("takes the place" in line for line in road.told)
    assert road.online()["deviceId"] == device.device_id


def test_the_same_label_again_asks_at_once(make_road: MakeRoad, own_hub: Hub) -> None:
    """A hub restored from before the device was made refuses it; restored right, the next scan, or hours, end that."""
    own_hub.stop()
    shutil.copytree(own_hub.folder, own_hub.folder.with_name("before"))
    own_hub.serve()
    device = own_hub.create()
    own_hub.stop()
    own_hub.folder.rename(own_hub.folder.with_name("right"))
    own_hub.folder.with_name("before").rename(own_hub.folder)
    own_hub.serve()
    road = make_road(own_hub, 1.0)
    text = road.label(device)
    road.provision(text)
    road.box.run()
    road.until("it is parked", lambda status: status["state"] == "parked")
    own_hub.stop()
    own_hub.folder.rename(own_hub.folder.with_name("wrong"))
    own_hub.folder.with_name("right").rename(own_hub.folder)
    own_hub.serve()
    road.provision(text)
    assert road.online()["deviceId"] == device.device_id


def test_a_parked_box_asks_by_itself(make_road: MakeRoad, hub: Hub) -> None:
    """Now and then, ever more seldom, without a hand; each refusal by the same name is said once."""
    road = make_road(hub, 2000.0)
    road.provision(road.signer.label(unknown(hub)))
    road.box.run()
    road.until("it has asked again", lambda status: run_file(road).get("detached", {}).get("tried", [0] * 4)[3] >= 3)
    assert road.log().count("[install_id_unknown]") == 1


def _tried_thrice(status: dict[str, object]) -> bool:
    return status.get("reason") == "tls_failed" and int(str(status["failures"])) >= 3


def test_something_else_answers(make_road: MakeRoad, own_hub: Hub) -> None:
    """A port that takes every connection and speaks no TLS: named, tried ever more seldom, over once it is gone."""
    device = own_hub.create()
    own_hub.stop()
    road = make_road(own_hub)
    calls: list[int] = []
    with closing(socket.create_server(("127.0.0.1", own_hub.port))) as server:

        def take() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                calls.append(1)
                connection.close()

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        road.provision(road.label(device))
        road.box.run()
        found = road.until("it is named", _tried_thrice)
        assert found["state"] == "provisioned"
        server.shutdown(socket.SHUT_RDWR)
    thread.join()
    # Three connections a try at most: the knock, the pre-flight, and the knock of the process that waits.
    assert len(calls) <= 3 * (run_file(road)["detached"]["tried"][2] + 1)
    own_hub.serve()
    assert road.online()["deviceId"] == device.device_id


def test_a_year_later(make_road: MakeRoad, hub: Hub) -> None:
    """What was taken in while it was good stays good: the payload's own dates count when it is scanned."""
    road, device = make_road(hub), hub.create()
    dates, then = long_ago(380)
    text = road.label(device, **dates)
    with pytest.raises(InvitationError) as caught:
        road.provision(text, TimeBounds(then.now_s + 380 * 86_400, True, then.floor_s))
    assert caught.value.code == "payload_expired"
    road.provision(text, then)
    road.box.run()
    assert road.online()["deviceId"] == device.device_id


def test_a_removed_device_retires_only_its_own_key(make_road: MakeRoad, hub: Hub) -> None:
    """A tombstone for a key that was bound retires the box; a device that was removed before that only parks it."""
    removed, bound = hub.create("removed"), hub.create("bound")
    road = make_road(hub, 1.0)
    _remove(hub, removed)
    road.provision(road.label(removed))
    road.box.run()
    assert road.until("it is parked", lambda status: status["state"] == "parked")["reason"] != "device_removed"

    road.provision(road.label(bound))
    file = road.box.state_dir / "provisioned.json"
    provisioned = file.read_bytes()
    road.online()
    road.log()
    for name in ("registration.json", "registration.backup.json", "enrolled.json"):
        (road.box.state_dir / name).unlink()
    file.write_bytes(provisioned)
    _remove(hub, bound)
    done = road.box.cli("run", check=False)
    assert done.returncode == 78 and "[device_removed]" in done.stderr
    found = road.box.status()
    assert (found["state"], found["reason"]) == ("retired", "device_removed")
    assert not file.exists() and not road.store.has("device.key")
    assert list((road.box.state_dir / "retired").glob("*/device.key"))
    fresh = hub.create("fresh")
    road.provision(road.label(fresh))
    road.box.run()
    assert road.online()["deviceId"] == fresh.device_id


def _remove(hub: Hub, device: management.Created) -> None:
    with HttpCalls(Trust(pins=(hub.pin,))) as calls:
        call = management.remove(hub.place, device.device_id)
        management.read_done(calls.exchange(call, 10))


def test_enrolling_takes_the_place_of_a_provision(make_road: MakeRoad, own_hub: Hub) -> None:
    """The person at the keyboard wins: the running agent goes on as the device of that installId."""
    provisioned, enrolled = own_hub.create("provisioned"), own_hub.create("enrolled")
    road = make_road(own_hub, 1.0)
    road.provision(road.signer.label(unknown(own_hub)))
    road.box.run()
    road.until("it is parked", lambda status: status["state"] == "parked")
    road.box.enroll(enrolled.install_id.reveal())
    assert road.online()["deviceId"] == enrolled.device_id
    assert not road.store.has("provisioned.json")
    with pytest.raises(UsageError) as caught:
        road.provision(road.label(provisioned))
    assert caught.value.code == "already_enrolled"


def test_a_reset_forgets_the_provision_and_keeps_its_nonce(make_road: MakeRoad, hub: Hub) -> None:
    """Not while the agent runs; afterwards the box is as new, but for the label that it took in before."""
    road, device = make_road(hub, 1.0), hub.create()
    text = road.signer.label(unknown(hub))
    road.provision(text)
    process = road.box.run()
    road.until("it is parked", lambda status: status["state"] == "parked")
    assert "[agent_running]" in road.box.cli("reset", "--yes", check=False).stderr
    process.terminate()
    process.wait(20)
    road.box.cli("reset", "--yes")
    assert road.box.status()["state"] == "not_enrolled"
    assert not road.store.has("provisioned.json") and not road.store.has("device.key")
    with pytest.raises(InvitationError) as caught:
        road.provision(text)
    assert caught.value.code == "payload_seen"
    road.provision(road.label(device))
    road.box.run()
    assert road.online()["deviceId"] == device.device_id


def test_the_choices_of_the_label_are_honoured(make_road: MakeRoad, hub: Hub) -> None:
    """A transport that the hub does not have is refused by name; a certificate comes where the operator chose it."""
    road = make_road(hub, 1.0)
    road.provision(road.label(hub.create(), transport="mqtt"))
    road.box.run()
    found = road.until("it is parked", lambda status: status["state"] == "parked")
    assert found["reason"] == "transport_unavailable"
    with HttpCalls(Trust(pins=(hub.pin,))) as calls:
        call = management.create(hub.place, management.NewDevice("box", credential="certificate"))
        device = management.read_invited(calls.exchange(call, 10))
    road.provision(road.label(device))
    assert road.online()["credential"] == "certificate"


def test_a_payload_on_the_boot_partition(make_road: MakeRoad, own_hub: Hub) -> None:
    """``firstboot`` provisions with it, hub or no hub, takes the file away, and leaves word beside it."""
    device = own_hub.create()
    own_hub.stop()
    road = make_road(own_hub)
    boot = road.folder / "boot"
    boot.mkdir()
    file, word = boot / "firstlight.txt", boot / "firstlight-result.txt"
    file.write_text(f"{road.label(device)}\r\n")
    road.box.env["FIRSTLIGHT_TRUST_DIR"] = road.settings.trust_dir
    words = ("firstboot", "--top", str(road.folder), "--kernel-line", "/dev/null", "--state-dir", road.store.path)
    shown = road.box.cli(*words).stdout
    assert shown.startswith(f"firstlight: This box is provisioned as {device.device_id}; it registers by itself")
    assert not file.exists() and "[provisioned]" in word.read_text()
    assert road.box.cli(*words).stdout == ""
    file.write_text("FL1P:1-2:0123456789ABCDEF:ABC")
    assert "[payload_part_missing]" in road.box.cli(*words, check=False).stdout
    own_hub.serve()
    road.box.run()
    assert road.online()["deviceId"] == device.device_id


def test_a_damaged_or_newer_provision_is_named(make_road: MakeRoad, hub: Hub) -> None:
    """``run`` and ``status`` say what is wrong and what helps, and change nothing."""
    road = make_road(hub)
    road.provision(road.label(hub.create()))
    file = road.box.state_dir / "provisioned.json"
    good = file.read_text()
    for body, code in (("{}", "state_corrupt"), (json.dumps({**json.loads(good), "format": 9}), "state_newer")):
        file.write_text(body)
        for verb in ("run", "status"):
            done = road.box.cli(verb, check=False)
            assert done.returncode == 74 and f"[{code}]" in done.stderr
        with pytest.raises(StateError):
            registering.register(road.settings, road.store, lambda priority, text: None)
        assert file.read_text() == body
    assert not (road.box.state_dir / "registration.json").exists()


def test_a_proxy_comes_later(make_road: MakeRoad, hub: Hub) -> None:
    """The hub's name is known to the proxy alone; while that is away nothing else is tried, and it is named."""
    road, device = make_road(hub), hub.create()
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]

    def to_the_hub(peer: Peer) -> None:
        with socket.create_connection(("127.0.0.1", hub.port)) as origin:
            for _ in relayed(peer.sock, origin):
                pass

    road.box.env["FIRSTLIGHT_PROXY"] = f"http://127.0.0.1:{port}"
    claims = payload(f"https://hub.example:{hub.port}", hub.pin, device.install_id.reveal())
    road.provision(road.signer.label(claims))
    road.box.run()
    found = road.until("it is named", lambda status: status.get("reason") == "proxy_failed")
    assert str(found["message"]).startswith(f"The proxy cannot be reached: 127.0.0.1:{port} refused")
    server = Server(proxying(on_open=to_the_hub), port=port)
    try:
        assert road.online()["deviceId"] == device.device_id
    finally:
        server.stop()
    assert any(request.startswith(f"CONNECT hub.example:{hub.port} ".encode()) for request in server.requests)


def test_where_it_knocks(make_road: MakeRoad, hub: Hub) -> None:
    """At the proxy, where one is on the way: the endpoint itself need not be in reach."""
    road = make_road(hub)
    settings = road.settings._replace(proxy="http://proxy.example:3128")
    assert registering.where_to_knock(settings, parse_endpoint("https://hub.example:8443")) == (
        "proxy.example",
        3128,
        True,
    )
    assert registering.where_to_knock(settings, parse_endpoint("https://[::1]:8443")) == ("::1", 8443, False)
