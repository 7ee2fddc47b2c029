"""The process that stays for months loads what its allow-lists name, and nothing else (design sections 2 and 6).

It beats as each of the four pairings against a server of its own: HTTP or MQTT, with a secret or a certificate.
"""

import json
import signal
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from firstlight.core.model import Credential, Registration, Secret, Trust, parse_broker, parse_endpoint
from firstlight.system.store import KEY, StateDirectory
from firstlight.wire.heartbeat import BeatReply, encode_beat_reply
from tests.contract.http_transports.certificates import Identity, authority
from tests.contract.http_transports.servers import Peer, Script, Server, reply
from tests.contract.mqtt.broker import Heard, Talk, playing
from tests.rules.sources import SOURCE_ROOTS, imports, modules

DAEMON = SOURCE_ROOTS["firstlight"] / "firstlight" / "daemon"
PATIENCE_S = 30.0
BEATS = 3

# Each costs megabytes or wake-ups; no allow-list may let them in.
TOO_HEAVY = (
    *("asyncio", "concurrent", "dataclasses", "inspect", "logging", "multiprocessing", "typing", "unittest"),
    *("email", "http", "tempfile", "urllib"),
    *("cbor2", "cryptography", "httpx", "PIL", "psutil", "pydantic"),
)
# paho is written with it: half a megabyte of its two.
PRICE_OF_PAHO = ("typing",)

ACCEPTED = encode_beat_reply(BeatReply(1_795_300_000.0, 60, False))
START = (
    "import sys; bare = set(sys.modules); sys.path.append(sys.argv[1]);"
    "from firstlight.daemon.main import main; status = main(sys.argv[2]);"
    "names = sorted(set(sys.modules) - bare); import json; print(json.dumps(names)); sys.exit(status)"
)


class Pairing(NamedTuple):
    """What a registration says about the way of beats."""

    transport: str
    credential: str


PAIRINGS = [
    Pairing(transport, credential) for transport in ("http", "mqtt") for credential in ("secret", "certificate")
]


def covers(allowed: str, name: str) -> bool:
    """Whether a dotted name is the allowed one or lies below it."""
    return name == allowed or name.startswith(f"{allowed}.")


def allowed(transport: str) -> set[str]:
    """The allow-list of a transport: one name a line, which stands for itself and all below it; # starts a comment."""
    names: set[str] = set()
    for file in ("allowed_imports.txt", *(["allowed_imports_mqtt.txt"] if transport == "mqtt" else [])):
        assert (DAEMON / file).exists(), f"{file} is missing: the daemon needs its import allow-list beside it"
        written = (line.partition("#")[0].strip() for line in (DAEMON / file).read_text(encoding="utf-8").splitlines())
        names |= {name.removesuffix(".*") for name in written if name}
    return names


class Beats:
    """Counts what a server hears."""

    def __init__(self) -> None:
        self.count = 0
        self._changed = threading.Condition()

    def note(self) -> None:
        """One more."""
        with self._changed:
            self.count += 1
            self._changed.notify_all()

    def wait(self) -> bool:
        """Until there were enough."""
        with self._changed:
            return self._changed.wait_for(lambda: self.count >= BEATS, PATIENCE_S)


def platform(beats: Beats, transport: str) -> Script:
    """The other side of a pairing: a hub's answers over HTTP, or a broker and the hub behind it."""

    def over_http(peer: Peer) -> None:
        while peer.request():
            peer.send(reply(ACCEPTED, "200 OK", "Content-Type: application/json"))
            beats.note()

    def over_mqtt(talk: Talk) -> None:
        talk.login()
        talk.connack()
        while True:
            _, payload, number = talk.next_message()
            talk.puback(number)
            beat = json.loads(payload)
            if beat.get("ask"):
                talk.publish(f"firstlight/acme/dev-1/answer/{beat['seq']}", ACCEPTED)
            beats.note()

    return over_http if transport == "http" else playing(over_mqtt, Heard(), websocket=True)


def box(folder: Path, pairing: Pairing, port: int, ca: Identity) -> Path:
    """An enrolled state directory; its run file."""
    device = ca.issue(title="dev-1")
    identity = device.as_client(folder)
    store = StateDirectory(str(folder / "state"))
    store.prepare()
    is_secret = pairing.credential == "secret"
    store.save_registration(
        Registration(
            platform="hub",
            endpoint=parse_endpoint(f"https://127.0.0.1:{port}"),
            trust=Trust(ca_pem=ca.pem),
            workspace="acme",
            device_id="dev-1",
            credential=Credential("secret", Secret("a key"))
            if is_secret
            else Credential("certificate", certificate_pem=identity.certificate_pem),
            interval_s=60,
            key_fingerprint="sha256:" + "ab" * 32,
            csr_pem="-----BEGIN CERTIFICATE REQUEST-----\n",
            registered_at_s=1_795_000_000.0,
            transport=pairing.transport,
            broker=parse_broker(f"wss://127.0.0.1:{port}/mqtt") if pairing.transport == "mqtt" else None,
        )
    )
    store.write_text(KEY, Path(identity.key_file).read_text(encoding="ascii"))
    run_file = Path(store.path, "run.json")
    run_file.write_text(json.dumps({"stateDir": store.path, "haste": 1000.0}), encoding="utf-8")
    return run_file


def beat_and_stop(folder: Path, pairing: Pairing, ca: Identity) -> list[str]:
    """What the process holds after some beats; -S keeps .pth files from hiding or adding modules."""
    beats = Beats()
    identity = ca.issue("127.0.0.1")
    context = identity.server_context if pairing.credential == "secret" else identity.server_context_for(ca)
    server = Server(platform(beats, pairing.transport), context)
    try:
        run_file = box(folder, pairing, server.port, ca)
        command = [sys.executable, "-I", "-S", "-c", START, sysconfig.get_path("purelib"), str(run_file)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        enough = beats.wait()
        process.send_signal(signal.SIGTERM)
        said, logged = process.communicate(timeout=PATIENCE_S)
    finally:
        server.stop()
    assert enough, logged
    assert process.returncode == 0, logged
    return list(json.loads(said))


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Pairing, list[str]]]:
    """What each pairing has loaded."""
    ca = authority("the hub's CA")
    yield {pairing: beat_and_stop(tmp_path_factory.mktemp("box"), pairing, ca) for pairing in PAIRINGS}


@pytest.mark.parametrize("pairing", PAIRINGS, ids="-".join)
def test_pairing_loads_only_what_its_allow_list_names(loaded: dict[Pairing, list[str]], pairing: Pairing) -> None:
    """Beating brings in no module outside the allow-lists in agent/firstlight/daemon."""
    names = allowed(pairing.transport)
    assert "firstlight" not in names, "name our own modules one by one: the bare package would let all of them in"
    # Loading a.b loads a; only naming a lets in all below it.
    strangers = [name for name in loaded[pairing] if not any(covers(one, name) or covers(name, one) for one in names)]
    assert not strangers, "not in the allow-list: " + " ".join(strangers)


@pytest.mark.parametrize("pairing", PAIRINGS, ids="-".join)
def test_pairing_loads_nothing_heavy(loaded: dict[Pairing, list[str]], pairing: Pairing) -> None:
    """Beating loads none of the modules that are too heavy to keep for months."""
    heavy = set(TOO_HEAVY) - set(PRICE_OF_PAHO if pairing.transport == "mqtt" else ())
    assert not [name for name in loaded[pairing] if any(covers(one, name) for one in heavy)]


@pytest.mark.parametrize("transport", ["http", "mqtt"])
def test_kind_of_credential_makes_no_difference(loaded: dict[Pairing, list[str]], transport: str) -> None:
    """A certificate brings in no module that a secret does not."""
    with_secret, with_certificate = (loaded[Pairing(transport, one)] for one in ("secret", "certificate"))
    assert with_secret == with_certificate


def test_transports_do_not_load_each_other(loaded: dict[Pairing, list[str]]) -> None:
    """Over HTTP nothing of MQTT is loaded nor allowed; over MQTT the HTTP session waits until it is needed."""
    over_http, over_mqtt = loaded[Pairing("http", "secret")], loaded[Pairing("mqtt", "secret")]
    assert not [name for name in over_http if "mqtt" in name or "paho" in name]
    assert not [name for name in allowed("http") if "mqtt" in name or "paho" in name or name == "typing"]
    assert "paho.mqtt.client" in over_mqtt
    assert "firstlight.transports.http_session" not in over_mqtt


def test_modules_of_the_daemon_load_nothing_heavy_later(loaded: dict[Pairing, list[str]]) -> None:
    """No module that the beating process loads imports something heavy inside a function either."""
    ours = modules("firstlight")
    late = [
        f"{ours[name].path}:{found.line}: {found.name}"
        for name in sorted({name for names in loaded.values() for name in names})
        if name in ours
        for found in imports(ours[name], for_types=False)
        if found.name not in LAST_RESORTS and any(covers(heavy, found.name) for heavy in TOO_HEAVY)
    ]
    assert not late, "\n".join(late)


# Only where the system has no files in memory (tls.py).
LAST_RESORTS = ("tempfile",)
