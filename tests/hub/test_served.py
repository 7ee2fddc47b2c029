"""The hub as a process: TLS and pins, kill -9 after answers, backup while writing, a clean stop."""

from __future__ import annotations

import json
import shutil
import socket
import sqlite3
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import pytest

from firstlight import __version__
from firstlight_hub.bundle_contents import Files
from firstlight_hub.bundle_file import read_bundle, write_bundle
from tests.hub.hub_world import Box
from tests.hub.served import PATIENCE_S, Served, change, command, environment, make

CURL = shutil.which("curl")
WRONG_PIN = "sha256//" + "A" * 43 + "="


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A hub's folder with its bundle made once, for tests to copy -> (folder, operator key)."""
    folder = tmp_path_factory.mktemp("made") / "hub"
    key = make(folder)
    with Served(folder, key) as hub:
        assert hub.stop()[0] == 0
    return folder, key


@pytest.fixture
def folder(made: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of that folder."""
    return Path(shutil.copytree(made[0], tmp_path / "hub"))


@pytest.fixture
def hub(made: tuple[Path, str], folder: Path) -> Iterator[Served]:
    """A running hub."""
    with Served(folder, made[1]) as found:
        yield found


def sequences(folder: Path) -> list[int]:
    """The sequence numbers of all beats on disk."""
    with closing(sqlite3.connect(folder / "hub.sqlite3")) as database:
        return [row[0] for row in database.execute("SELECT sequence FROM beat ORDER BY sequence")]


def test_what_was_answered_survives_kill_9(hub: Served) -> None:
    """Many devices beat at once until the hub is killed: every beat that was answered is on disk."""
    device_id, install_id, _ = hub.create()
    box = Box()
    key = hub.redeem(install_id, box).json()["key"]
    answered: list[int] = []
    enough = threading.Event()

    def beat_on(worker: int) -> None:
        with hub.connect() as client:
            for sequence in range(worker * 10_000, worker * 10_000 + 10_000):
                try:
                    if hub.beat(device_id, key, box.beat_body(sequence=sequence), client) == 200:
                        answered.append(sequence)
                except httpx.HTTPError:
                    return
                if len(answered) >= 200:
                    enough.set()

    with ThreadPoolExecutor(6) as threads:
        running = [threads.submit(beat_on, worker) for worker in range(6)]
        assert enough.wait(PATIENCE_S)
        hub.kill()
        for one in running:
            one.result(PATIENCE_S)
    kept = sequences(hub.folder)
    assert len(answered) >= 200
    assert set(answered) <= set(kept)
    assert len(kept) == len(set(kept))


def test_answered_redeem_survives_kill_9(hub: Served, folder: Path) -> None:
    """The registration that was answered is there after kill -9, the same for the same key, and beats count."""
    device_id, install_id, _ = hub.create()
    box = Box()
    first = hub.redeem(install_id, box).json()
    hub.kill()
    with Served(folder, hub.key) as again:
        answer = again.redeem(install_id, box)
        assert (answer.status_code, answer.json()["key"]) == (200, first["key"])
        assert again.beat(device_id, first["key"], box.beat_body()) == 200


def test_kill_9_in_the_middle_of_redeeming_is_all_or_nothing(hub: Served, folder: Path) -> None:
    """Killed while it redeems, the hub has the registration or has not; asked again, the same key gets it."""
    device_id, install_id, _ = hub.create()
    box = Box()
    with ThreadPoolExecutor(1) as threads:
        asking = threads.submit(hub.redeem, install_id, box)
        hub.kill()
        asking.exception(PATIENCE_S)
    with Served(folder, hub.key) as again:
        answer = again.redeem(install_id, box)
        assert answer.status_code in (200, 201)
        assert answer.json()["deviceId"] == device_id
        assert again.beat(device_id, answer.json()["key"], box.beat_body()) == 200
        assert again.redeem(install_id, Box()).status_code == 409


def test_stop_is_prompt_and_clean(hub: Served) -> None:
    """SIGTERM ends the hub with 0 while a connection is kept alive; what was answered is on disk, hub.json is gone."""
    device_id, install_id, _ = hub.create()
    box = Box()
    key = hub.redeem(install_id, box).json()["key"]
    assert hub.beat(device_id, key, box.beat_body()) == 200
    status, output = hub.stop()
    assert (status, sequences(hub.folder)) == (0, [1])
    assert output == f"listening on 127.0.0.1:{hub.told['port']} (HTTPS); boxes reach it at {hub.url}\n"
    assert not (hub.folder / "hub.json").exists()


def test_redeems_at_once_over_sockets_make_one_registration(hub: Served) -> None:
    """The same key over several real connections at once: one 201, the rest 200, one key."""
    _, install_id, _ = hub.create()
    box = Box()
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda _: hub.redeem(install_id, box), range(6)))
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [201]
    assert len({answer.json()["key"] for answer in answers}) == 1


@pytest.mark.skipif(CURL is None, reason="no curl here")
def test_install_command_runs_the_script_only_from_the_pinned_key(hub: Served) -> None:
    """With the right pin the script runs; with a wrong one curl ends with 90 and nothing runs."""
    *_, line = hub.create()
    rehearsed = line.replace("| sudo sh", "| head -n 1")
    right = subprocess.run(["sh", "-c", rehearsed], capture_output=True, text=True, env=environment(), check=False)
    assert (right.returncode, right.stdout) == (0, "#!/bin/sh\n")
    pin = str(hub.told["pin"])
    assert pin in line
    wrong = subprocess.run(
        ["sh", "-c", line.replace(pin, WRONG_PIN)], capture_output=True, text=True, env=environment(), check=False
    )
    assert (wrong.returncode, wrong.stdout) == (90, "")


@pytest.mark.skipif(CURL is None, reason="no curl here")
def test_install_command_of_a_spent_install_id_prints_the_reason(hub: Served, tmp_path: Path) -> None:
    """A refusal is a script as well: pasted, it says why and fails."""
    _, install_id, line = hub.create()
    hub.redeem(install_id, Box())
    as_user = line.replace("| sudo sh", f"| sh -s -- --no-service --prefix {tmp_path / 'prefix'}")
    done = subprocess.run(["sh", "-c", as_user], capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode not in (0, 90)
    assert done.stderr == (
        "firstlight: This installId was used already: by another box, or by this one before a reset.\n"
        "  Ask the operator for a new one.\n"
    )


def test_changed_hosts_get_a_new_certificate_with_the_same_pin(folder: Path, made: tuple[Path, str]) -> None:
    """After hosts changed in hub.toml, serve issues a new leaf at its start; the pin in old commands holds."""
    with Served(folder, made[1]) as hub:
        pin = hub.told["pin"]
    before = (folder / "server.pem").read_bytes()
    change(folder, hosts=["localhost", "hub.example"])
    with Served(folder, made[1]) as hub:
        assert hub.told["pin"] == pin
        assert hub.url.startswith("https://localhost:")
        assert hub.client.get("/health").status_code == 200
        assert "certificate was issued" in hub.stop()[1]
    assert (folder / "server.pem").read_bytes() != before


def test_backup_while_beats_come_in_is_whole(hub: Served, tmp_path: Path) -> None:
    """A backup made while devices beat opens as a hub of its own, with the same secret, pin and registrations."""
    device_id, install_id, _ = hub.create()
    box, stop, beats = Box(), threading.Event(), threading.Event()
    key = hub.redeem(install_id, box).json()["key"]

    def beat_on() -> int:
        with hub.connect() as client:
            while not stop.is_set():
                assert hub.beat(device_id, key, box.beat_body(), client) == 200
                beats.set()
        return box.sequence

    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(beat_on)
        assert beats.wait(PATIENCE_S)
        done = [command("backup", "--dir", hub.folder, tmp_path / name) for name in ("copy", "copy.tar")]
        stop.set()
        sent = running.result(PATIENCE_S)
    assert [(one.returncode, one.stderr) for one in done] == [(0, ""), (0, "")]
    with tarfile.open(tmp_path / "copy.tar") as archive:
        assert {member.mode for member in archive.getmembers()} == {0o600}
        assert sorted(archive.getnames()) == sorted(path.name for path in (tmp_path / "copy").iterdir())
    kept = sequences(tmp_path / "copy")
    assert kept == list(range(1, len(kept) + 1))
    assert 0 < len(kept) <= sent
    with Served(tmp_path / "copy", hub.key) as copy:
        assert copy.told["pin"] == hub.told["pin"]
        assert copy.beat(device_id, key, box.beat_body()) == 200


def test_key_revoked_by_the_command_line_counts_at_once(hub: Served) -> None:
    """The hub keeps no key in memory: a key made or ended by another process counts from the next call on."""
    made_key = command("key", "create", "--dir", hub.folder, "--scope", "device:read", "--label", "till friday")
    handle, key = made_key.stdout.split()[1], made_key.stdout.split()[-1]
    assert hub.client.get("/demo/devices/v2", params={"api_key": key}).status_code == 200
    assert command("key", "revoke", "--dir", hub.folder, handle).returncode == 0
    assert hub.client.get("/demo/devices/v2", params={"api_key": key}).status_code == 401


def test_access_log_of_a_running_hub_has_no_secret(folder: Path, made: tuple[Path, str]) -> None:
    """With access_log on, lines are printed, and neither keys nor installIds are in them."""
    change(folder, access_log=True)
    with Served(folder, made[1]) as hub:
        _, install_id, _ = hub.create()
        hub.client.get("/demo/devices/v2", params={"api_key": hub.key})
        device_key = hub.redeem(install_id, Box()).json()["key"]
        hub.client.get(f"/devices/v2/{install_id}/install.sh")
        _, output = hub.stop()
    assert "POST /devices/v2/***/redeem 201" in output
    assert not [secret for secret in (hub.key, install_id, device_key) if secret in output]


def test_plain_http_needs_the_flag_and_loopback(folder: Path, made: tuple[Path, str]) -> None:
    """With the flag the hub speaks HTTP on loopback, without pin and CA; elsewhere it refuses in one sentence."""
    with Served(folder, made[1], "--plain-http-on-loopback") as hub:
        _, install_id, line = hub.create()
        assert (hub.url[:17], hub.told["pin"]) == ("http://127.0.0.1:", None)
        assert "-k" not in line.partition("http://")[0]
        assert "caPem" not in hub.redeem(install_id, Box()).json()
    words = ("--host", "0.0.0.0", "--plain-http-on-loopback")
    refused = command("serve", "--dir", folder, *words)
    assert (refused.returncode, "[listen_insecure]" in refused.stderr) == (2, True)


def test_hub_behind_a_proxy_gives_the_public_address(folder: Path, made: tuple[Path, str]) -> None:
    """behind_proxy: plain on loopback, public_url in commands and registrations, no pin, no -k, no CA."""
    change(folder, behind_proxy=True, public_url="https://hub.example")
    with Served(folder, made[1]) as hub:
        address = f"http://127.0.0.1:{hub.told['port']}"
        with httpx.Client(base_url=address, timeout=PATIENCE_S) as client:
            hub.client.close()
            hub.client = client
            _, install_id, line = hub.create()
            assert line.startswith("s=$(curl -sS 'https://hub.example/devices/v2/")
            answer = hub.redeem(install_id, Box()).json()
            assert (answer["endpoint"], "caPem" in answer) == ("https://hub.example", False)
        where = f"127.0.0.1:{hub.told['port']} (plain HTTP, behind a proxy); boxes reach it at https://hub.example"
        assert hub.stop()[1] == f"listening on {where}\n"


def test_taken_port_is_one_sentence(hub: Served, made: tuple[Path, str], tmp_path: Path) -> None:
    """A port that is in use ends in a sentence and a hint, not in a traceback."""
    port = hub.url.rpartition(":")[2]
    other = shutil.copytree(made[0], tmp_path / "other")
    refused = command("serve", "--dir", other, "--host", "127.0.0.1", "--port", port)
    assert refused.returncode == 2
    assert "[address_in_use]" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_hub_announces_itself_to_its_folder(hub: Served) -> None:
    """hub.json says where the hub is, for its owner only."""
    path = hub.folder / "hub.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert hub.told["pid"] == hub.process.pid
    assert json.loads(path.read_text()) == hub.told


def test_second_serve_is_refused_and_harms_nothing(hub: Served) -> None:
    """One folder is served by one process: the other ends with a sentence; key and backup work meanwhile."""
    refused = command("serve", "--dir", hub.folder, "--host", "127.0.0.1", "--port", "0")
    assert refused.returncode == 74
    said = f"firstlight-hub: This hub is served already (pid {hub.process.pid}). [hub_served]\n"
    assert (refused.stdout, refused.stderr[: len(said)]) == ("", said)
    assert json.loads((hub.folder / "hub.json").read_text()) == hub.told
    assert hub.client.get("/health").status_code == 200
    assert command("key", "list", "--dir", hub.folder).returncode == 0
    assert command("backup", "--dir", hub.folder, hub.folder.with_name("copy")).returncode == 0


def test_killed_serve_leaves_no_lock(hub: Served, folder: Path) -> None:
    """After kill -9 the hub is simply served again."""
    hub.kill()
    with Served(folder, hub.key) as again:
        assert again.client.get("/health").status_code == 200


def test_bundle_put_there_while_it_serves_is_offered(hub: Served) -> None:
    """A bundle for another box is in the next script and can be fetched, without a restart."""
    _, install_id, _ = hub.create()
    bundles = hub.folder / "bundles"
    (own,) = bundles.glob("*.tar")
    arch = "aarch64" if "x86_64" in own.name else "x86_64"
    script = f"/devices/v2/{install_id}/install.sh"
    assert f"{arch}=" not in hub.client.get(script).text
    small: Files = {"lib/firstlight/__init__.py": b""}
    added = write_bundle(bundles, __version__, arch, ("3.10", "3.12"), small, b"#!/bin/sh\n", lambda manifest: {})
    assert f"{arch}={read_bundle(added).id}=3.10,3.12" in hub.client.get(script).text
    assert hub.client.get(f"/bundles/{added.name}").content == added.read_bytes()
    added.unlink()
    assert f"{arch}=" not in hub.client.get(script).text
    assert hub.client.get(f"/bundles/{added.name}").status_code == 404


@pytest.mark.parametrize("name", ["secret", "server.key", "ca.pem", "ca.key"])
@pytest.mark.parametrize("how", ["missing", "short", "unreadable"])
def test_damaged_hub_says_what_to_restore(name: str, how: str, made: tuple[Path, str], tmp_path: Path) -> None:
    """A file that makes the hub is lost: serve names it and speaks of a backup of the hub, not of a device's reset."""
    folder = tmp_path / "hub"
    shutil.copytree(made[0], folder)
    (folder / "server.pem").unlink()  # so that the CA is needed at once
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    if how == "short":
        (folder / name).write_bytes(content[: len(content) // 2])
    elif how == "unreadable":
        (folder / name).mkdir()
    refused = command("serve", "--dir", folder, "--host", "127.0.0.1", "--port", "0")
    assert (refused.returncode, "[hub_damaged]" in refused.stderr) == (74, True), refused.stderr
    assert str(folder / name) in refused.stderr
    assert "Restore this file from a backup" in refused.stderr
    assert "reset" not in refused.stderr
    assert ("device keys cannot be derived" in refused.stderr) == (name == "secret")
    assert not (folder / "hub.json").exists()


def test_flood_of_connections_leaves_files_for_the_database(folder: Path, made: tuple[Path, str]) -> None:
    """More connections than there are descriptors: who beats already goes on, new ones are told so."""
    with Served(folder, made[1], "--plain-http-on-loopback", files=160) as hub, ExitStack() as open_ones:
        device_id, install_id, _ = hub.create()
        box = Box()
        key = hub.redeem(install_id, box).json()["key"]
        where = ("127.0.0.1", hub.told["port"])
        for _ in range(200):
            open_ones.enter_context(socket.create_connection(where, PATIENCE_S))
        with hub.connect() as late:
            answer = late.get("/health")
        assert (answer.status_code, answer.json()["error"]["type"]) == (503, "hub_busy")
        assert [hub.beat(device_id, key, box.beat_body()) for _ in range(3)] == [200, 200, 200]
        assert hub.client.get("/demo/devices/v2", params={"api_key": hub.key}).status_code == 200


def test_flood_without_handshakes_does_not_stop_who_is_there(folder: Path, made: tuple[Path, str]) -> None:
    """Clients that connect and never speak TLS may take every descriptor; the database has its own already."""
    with Served(folder, made[1], files=160) as small, ExitStack() as open_ones:
        device_id, install_id, _ = small.create()
        box = Box()
        key = small.redeem(install_id, box).json()["key"]
        for _ in range(200):
            open_ones.enter_context(socket.create_connection(("127.0.0.1", small.told["port"]), PATIENCE_S))
        assert [small.beat(device_id, key, box.beat_body()) for _ in range(3)] == [200, 200, 200]
        assert small.client.get("/demo/devices/v2", params={"api_key": small.key}).status_code == 200
