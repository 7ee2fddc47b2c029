"""The certificate that the device shows: taken, refused by name, and refused before anything is opened."""

from pathlib import Path

import pytest

from firstlight.core import model
from firstlight.core.model import Trust
from firstlight.errors import StateError
from tests.contract.http_transports.certificates import EXPIRED, NOT_YET_VALID, Identity
from tests.contract.http_transports.conftest import Clients, Serve, call
from tests.contract.http_transports.servers import Peer, answering, reply

OK = answering(reply(b"ok"))


def name_shown(peer: Peer) -> None:
    """Answers with the subject of the certificate that the client has shown."""
    shown = peer.sock.getpeercert()  # type: ignore[attr-defined]
    answering(reply(repr(shown["subject"]).encode()))(peer)


def test_certificate_is_shown_with_its_chain(
    clients: Clients, serve: Serve, ca: Identity, hub: Identity, tmp_path: Path
) -> None:
    """A server that wants a certificate gets the device's and what lies between it and the CA; nothing else is kept."""
    between = ca.issue(is_ca=True, title="devices")
    device = between.issue(title="dev-1")
    identity = device.as_client(tmp_path)._replace(certificate_pem=device.pem + between.pem)
    server = serve(name_shown, hub, ca)
    client = clients.make(Trust(ca.pem), identity=identity)

    assert b"dev-1" in client.exchange(call(server.url()), 5).body
    assert [path.name for path in tmp_path.iterdir()] == [Path(identity.key_file).name]


def test_server_that_wants_no_certificate_is_no_matter(
    clients: Clients, serve: Serve, ca: Identity, hub: Identity, tmp_path: Path
) -> None:
    """A device with a certificate talks to a server that never asks for it."""
    client = clients.make(Trust(ca.pem), identity=ca.issue(title="dev-1").as_client(tmp_path))
    assert client.exchange(call(serve(OK, hub).url()), 5).body == b"ok"


@pytest.mark.parametrize("case", ["other CA", "expired", "not yet valid", "none"])
def test_certificate_that_the_server_does_not_take_is_named(
    clients: Clients, serve: Serve, ca: Identity, other_ca: Identity, hub: Identity, tmp_path: Path, case: str
) -> None:
    """Another CA's, an expired, an early and a missing certificate are refused, and no request is heard."""
    made = {
        "other CA": lambda: other_ca.issue(title="dev-1"),
        "expired": lambda: ca.issue(title="dev-1", dates=EXPIRED),
        "not yet valid": lambda: ca.issue(title="dev-1", dates=NOT_YET_VALID),
    }
    identity = made[case]().as_client(tmp_path) if case in made else None
    server = serve(OK, hub, ca)
    error = clients.fail(server.url(), client=clients.make(Trust(ca.pem), identity=identity))

    assert error.code == "certificate_refused"
    assert f"127.0.0.1:{server.port} does not accept this device's certificate: " in error.message
    server.wait_until_left()
    assert b"".join(server.heard) == b""


def test_pair_that_does_not_fit_is_the_boxs_own_trouble(
    clients: Clients, ca: Identity, other_ca: Identity, tmp_path: Path
) -> None:
    """A damaged certificate, a key of another one, and a key that is gone are named before anything is opened."""
    good, other = ca.issue(title="a").as_client(tmp_path), ca.issue(title="b").as_client(tmp_path)
    (tmp_path / "empty.key").touch()
    bad = {
        "state_corrupt": [
            good._replace(key_file=other.key_file),
            good._replace(certificate_pem="nonsense"),
            good._replace(certificate_pem=""),
            good._replace(certificate_pem="\u00fc" * 100),
            good._replace(certificate_pem=good.certificate_pem * 200),
            good._replace(key_file=str(tmp_path / "empty.key")),
        ],
        "state_unreadable": [good._replace(key_file=str(tmp_path / "gone.key"))],
    }
    for code, identities in bad.items():
        for identity in identities:
            with pytest.raises(StateError) as caught:
                clients.make(Trust(ca.pem), identity=identity).exchange(call("https://127.0.0.1:1/"), 1)
            assert caught.value.code == code
            assert caught.value.hint


def test_encrypted_key_asks_nobody(clients: Clients, ca: Identity, tmp_path: Path) -> None:
    """A key under a password is named, and no prompt waits at a terminal."""
    from cryptography.hazmat.primitives import serialization as form

    device = ca.issue(title="dev-1")
    sealed = form.BestAvailableEncryption(b"a password")
    path = tmp_path / "sealed.key"
    path.write_bytes(device.key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, sealed))
    with pytest.raises(StateError):
        clients.make(Trust(ca.pem), identity=model.Identity(device.pem, str(path))).exchange(
            call("https://127.0.0.1:1/"), 1
        )
