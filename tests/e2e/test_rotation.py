"""The life of a credential on a real box with a real hub: replaced on a wish, on the hub's word, after a year off."""

from __future__ import annotations

import datetime
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from firstlight.core.model import Registration, Trust
from firstlight.platforms.hub import management
from firstlight.system.store import StateDirectory
from firstlight.transports.http_calls import HttpCalls
from firstlight_hub.folder import HubFolder
from tests.e2e.conftest import BIN, Box, Hub, wait_until

KINDS = ["secret", "certificate"]


def registration(box: Box) -> Registration:
    """The one on the box's disk."""
    found = StateDirectory(str(box.state_dir)).load_registration()
    assert found is not None
    return found


def enrolled(hub: Hub, make_box: Callable[[Hub], Box], kind: str) -> Box:
    """A box with a credential of that kind."""
    box = make_box(hub)
    box.enroll(hub.create(f"box with {kind}").install_id.reveal(), "--credential", kind)
    return box


def rotate(box: Box, *words: str, check: bool = True) -> dict[str, object]:
    """``firstlight rotate --json``."""
    done = box.cli("rotate", "--json", "--state-dir", str(box.state_dir), *words, check=check)
    found = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(found, dict)
    return found


def beats(box: Box) -> Callable[[], bool]:
    """Whether the agent is online with the registration that is on disk now, once more from now on."""
    return lambda: box.status()["state"] == "online"


@pytest.mark.parametrize("kind", KINDS)
def test_rotate_while_the_agent_runs(hub: Hub, make_box: Callable[[Hub], Box], kind: str) -> None:
    """The agent makes the change itself, keeps its process id, and goes on beating with the next credential."""
    box = enrolled(hub, make_box, kind)
    before, agent = registration(box), box.run()
    wait_until("it beats", beats(box))

    told = rotate(box)

    after = registration(box)
    assert told == {
        "rotated": True,
        "deviceId": before.device_id,
        "credential": kind,
        "keyFingerprint": after.key_fingerprint,
        "renewAtS": after.renew_at_s or None,
    }
    assert after.key_fingerprint != before.key_fingerprint and after.credential != before.credential
    assert bool(after.renew_at_s) == (kind == "certificate")
    wait_until("it beats again", beats(box))
    assert agent.poll() is None and box.status()["pid"] == agent.pid
    wait_until("the hub sees it", lambda: hub.status(before.device_id) == "online")
    assert StateDirectory(str(box.state_dir)).key_names() == [Path(key_of(box)).name]


def key_of(box: Box) -> str:
    """Path of the present key."""
    return StateDirectory(str(box.state_dir)).key_file(registration(box).key_fingerprint)


@pytest.mark.parametrize("kind", KINDS)
def test_rotate_while_no_agent_runs(hub: Hub, make_box: Callable[[Hub], Box], kind: str) -> None:
    """The verb makes the change itself, twice in a row, and the agent starts with what it left."""
    box = enrolled(hub, make_box, kind)
    keys = [registration(box).key_fingerprint]
    for _ in range(2):
        assert rotate(box)["rotated"] is True
        keys.append(registration(box).key_fingerprint)

    assert len(set(keys)) == 3
    assert len(StateDirectory(str(box.state_dir)).key_names()) == 1
    box.run()
    wait_until("it beats", beats(box))


def test_rotate_says_what_it_did_in_words(hub: Hub, make_box: Callable[[Hub], Box]) -> None:
    """A person reads which device has a new key."""
    box = enrolled(hub, make_box, "secret")

    said = box.cli("rotate", "--state-dir", str(box.state_dir)).stdout

    assert f"{registration(box).device_id} has a new key and a new secret" in said


def test_the_hub_asks_for_a_rotation(hub: Hub, make_box: Callable[[Hub], Box]) -> None:
    """A rotation ordered at the desk reaches the box with the answer to its next beat, once."""
    box = enrolled(hub, make_box, "secret")
    before = registration(box)
    box.run()
    wait_until("it beats", beats(box))

    with HttpCalls(Trust(pins=(hub.pin,))) as calls:
        reply = calls.exchange(management.rotate(hub.place, before.device_id), 10)
    assert reply.status == 202
    wait_until("it has another key", lambda: registration(box).key_fingerprint != before.key_fingerprint)
    after = registration(box)
    wait_until("it beats again", beats(box))
    accepted_at = box.status()["lastAcceptedAt"]
    wait_until("it beat some more", lambda: box.status()["lastAcceptedAt"] != accepted_at)

    assert registration(box) == after, "asked once, rotated twice"


def test_a_certificate_that_expired_while_the_box_was_off(hub: Hub, make_box: Callable[[Hub], Box]) -> None:
    """Off for a year: the hub refuses the certificate; the device key alone gets the next one, and nobody helps."""
    box = enrolled(hub, make_box, "certificate")
    store, before = StateDirectory(str(box.state_dir)), registration(box)
    ended = as_ended(before, hub)
    store.save_registration(ended)
    box.run()

    wait_until("it has another certificate", lambda: registration(box).credential != ended.credential)
    after = registration(box)
    assert after.device_id == before.device_id and after.key_fingerprint != before.key_fingerprint
    wait_until("it beats", beats(box))


def as_ended(found: Registration, hub: Hub) -> Registration:
    """The same registration with a certificate for the same key whose time is over."""
    authority = HubFolder(hub.folder).authorities().present
    given = x509.load_pem_x509_certificates(found.credential.certificate_pem.encode())[0]
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(given.subject)
        .issuer_name(given.issuer)
        .public_key(given.public_key())
        .serial_number(given.serial_number)
        .not_valid_before(now - datetime.timedelta(days=455))
        .not_valid_after(now - datetime.timedelta(days=365))
    )
    for extension in given.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    made = builder.sign(authority.key, hashes.SHA256())
    pem = made.public_bytes(Encoding.PEM).decode()
    return found._replace(credential=found.credential._replace(certificate_pem=pem), renew_at_s=0.0)


def test_the_date_of_renewal_has_come(hub: Hub, make_box: Callable[[Hub], Box]) -> None:
    """A certificate that is due is replaced by the running agent, and the next one is not due at once."""
    box = enrolled(hub, make_box, "certificate")
    before = registration(box)
    StateDirectory(str(box.state_dir)).save_registration(before._replace(renew_at_s=before.registered_at_s + 1))
    box.run()
    wait_until("it has another key", lambda: registration(box).key_fingerprint != before.key_fingerprint)

    after = registration(box)
    assert after.renew_at_s > after.registered_at_s + 86_400
    wait_until("it beats", beats(box))
    assert registration(box) == after


def test_rotate_without_a_hub_changes_nothing_and_says_why(own_hub: Hub, make_box: Callable[[Hub], Box]) -> None:
    """With the hub down, with and without a running agent: a named error, the same key, and beats when it is back."""
    box = enrolled(own_hub, make_box, "secret")
    before = registration(box)
    own_hub.stop()
    alone = box.cli("rotate", "--state-dir", str(box.state_dir), check=False)
    assert alone.returncode == 69 and "[rotation_failed]" in alone.stderr and "connect_refused" in alone.stderr

    box.run()
    wait_until("it runs", lambda: box.status()["state"] == "cut_off")
    asked = rotate(box, check=False)
    assert re.search("connect_refused", json.dumps(asked)) and registration(box) == before
    own_hub.serve()
    wait_until("it beats", beats(box), 60)
    assert registration(box) == before


def test_rotate_on_a_box_that_is_not_enrolled(hub: Hub, make_box: Callable[[Hub], Box]) -> None:
    """There is nothing to rotate: named, exit status 78."""
    done = make_box(hub).cli("rotate", "--state-dir", "/nonexistent", check=False)

    assert done.returncode == 78 and "[not_enrolled]" in done.stderr


def ca(hub: Hub, verb: str) -> None:
    """``firstlight-hub ca VERB``."""
    line = [str(BIN / "firstlight-hub"), "ca", verb, "--dir", str(hub.folder)]
    subprocess.run(line, check=True, capture_output=True, timeout=30)


def test_the_hubs_ca_ends(own_hub: Hub, make_box: Callable[[Hub], Box]) -> None:
    """The running agent follows the hub's word to the next CA, and is online after the switch, trusting that alone."""
    box = enrolled(own_hub, make_box, "secret")
    before = registration(box)
    box.run()
    wait_until("it beats", beats(box))
    ca(own_hub, "new")
    own_hub.stop()
    own_hub.serve()

    wait_until("it trusts the next CA", lambda: registration(box).trust != before.trust, 60)
    successor = HubFolder(own_hub.folder).authorities().successor
    assert successor is not None and registration(box).trust == Trust(successor.pem)
    assert registration(box).key_fingerprint == before.key_fingerprint
    ca(own_hub, "switch")
    own_hub.stop()
    own_hub.serve()
    wait_until("it beats", lambda: own_hub.status(before.device_id) == "online", 60)
