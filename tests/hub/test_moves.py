"""The hub's CA ends, or the hub moves: what boxes are told, and that every one of them still finishes the handshake."""

from __future__ import annotations

import asyncio
import itertools
import stat
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509

from firstlight.core.model import Trust
from firstlight.errors import FirstlightError
from firstlight.transports.tls import client_context
from firstlight.wire.move import Move, decode_statement, unseal
from firstlight_hub import tls
from firstlight_hub.authorities import Authorities
from firstlight_hub.folder import HubFolder
from firstlight_hub.moves import LOOK_EVERY_S, Moves, Order, sealed, write_order
from firstlight_hub.renewal import LOOK_EVERY_S as CERTIFICATE_LOOK_EVERY_S
from tests.hub.hub_world import FACTS, JSON, Box
from tests.hub.identities import believed, new_authority, now, show
from tests.hub.served import PATIENCE_S, Served, change, command, make

HOSTS = ("127.0.0.1",)
HERE = "https://hub.example:8443"


@pytest.fixture
def folder(tmp_path: Path) -> HubFolder:
    """A hub's folder, freshly made."""
    made = HubFolder(tmp_path / "hub")
    made.create(HOSTS, 8443, "demo")
    made.finish(HOSTS, 8443, "demo")
    return made


class Turned:
    """Seconds that the test turns."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        """Now."""
        return self.now_s


# ---- what is told ----------------------------------------------------------------------------------------------


def test_hub_that_stays_says_nothing(folder: HubFolder) -> None:
    """Without an order, a successor or a former CA there is no statement."""
    assert sealed(folder.authorities(), None, HERE) == ""
    assert Moves(folder, HERE).text() == ""


def test_successor_is_told_under_the_present_ca(folder: HubFolder) -> None:
    """``ca new``: same endpoint, the successor's certificate, signed by the CA that boxes trust."""
    present = folder.authorities().present
    made = folder.ca_files.begin(now())
    told = believed(sealed(folder.authorities(), None, HERE), present.certificate)
    assert told == Move(HERE, tls.certificate_pem(made).decode(), (), told.issued_at_s)
    assert abs(told.issued_at_s - now().timestamp()) < 60
    assert folder.ca_pem() == present.pem


def test_after_the_switch_those_who_were_off_are_told_under_the_former_ca(folder: HubFolder) -> None:
    """``ca switch``: the same statement, with the same date, by the key that was kept for it."""
    former = folder.authorities().present
    folder.ca_files.begin(now())
    before = believed(sealed(folder.authorities(), None, HERE), former.certificate)
    folder.ca_files.switch()
    known = folder.authorities()
    assert known.successor is None
    assert [one.certificate for one in known.formers] == [former.certificate]
    assert believed(sealed(known, None, HERE), former.certificate) == before
    assert before.ca_pem == known.present.pem == folder.ca_pem()


def test_order_is_told_with_its_trust_and_brokers(folder: HubFolder) -> None:
    """An address, what to trust there and the brokers there; the newest of order and successor dates it."""
    present = folder.authorities().present
    brokers = (("secret", "mqtts://new.example:8883"),)
    order = Order("https://new.example:8443", "own", brokers, 5.0)
    for trust, wanted in (("own", present.pem), ("system", ""), (new_authority().pem, None)):
        order = order._replace(trust=trust)
        told = believed(sealed(folder.authorities(), order, HERE), present.certificate)
        assert told == Move("https://new.example:8443", trust if wanted is None else wanted, brokers, 5.0)
    folder.ca_files.begin(now())
    both = believed(sealed(folder.authorities(), order._replace(trust="own"), HERE), present.certificate)
    assert both.ca_pem == tls.certificate_pem(folder.authorities().accepted()[1]).decode()
    assert both.issued_at_s > 5.0


def test_statement_that_no_answer_could_carry_is_refused(folder: HubFolder) -> None:
    """A CA file with a whole store in it is refused when it is ordered, not by each box."""
    order = Order(HERE, new_authority().pem * 40, (), 5.0)
    with pytest.raises(ValueError, match="characters"):
        sealed(folder.authorities(), order, HERE)


def test_text_is_signed_once_and_follows_the_files(folder: HubFolder) -> None:
    """Between two looks nothing is read, without a change nothing is signed; a damaged order says nothing."""
    clock = Turned()
    moves = Moves(folder, HERE, clock)
    assert moves.text() == ""
    write_order(folder.path, Order("https://new.example:8443", "own", (), 5.0))
    assert moves.text() == ""
    clock.now_s += LOOK_EVERY_S
    first = moves.text()
    assert believed(first, folder.authorities().present.certificate).endpoint == "https://new.example:8443"
    clock.now_s += LOOK_EVERY_S
    assert moves.text() is first
    (folder.path / "move.json").write_text("{")
    clock.now_s += LOOK_EVERY_S
    assert moves.text() == ""
    (folder.path / "move.json").unlink()
    folder.ca_files.begin(now())
    clock.now_s += LOOK_EVERY_S
    assert believed(moves.text(), folder.authorities().present.certificate).endpoint == HERE


def test_watch_says_when_there_is_something_else_to_tell(folder: HubFolder) -> None:
    """An order and another one are said once each; an order that was taken back is nothing to tell."""
    moves = Moves(folder, HERE, itertools.count().__next__, every_s=0.01)  # a clock by which each look is due
    said: list[str] = []

    async def watched() -> None:
        heard = asyncio.Event()

        def changed() -> None:
            said.append(moves.text())
            heard.set()

        watching = asyncio.create_task(moves.watch(changed))
        for port in (1, 2):
            write_order(folder.path, Order(f"https://new.example:{port}", "own", (), port))
            await asyncio.wait_for(heard.wait(), PATIENCE_S)
            heard.clear()
            (folder.path / "move.json").unlink()
            assert moves.text() == ""
        watching.cancel()

    asyncio.run(watched())
    present = folder.authorities().present.certificate
    assert [believed(one, present).endpoint[-1] for one in said] == ["1", "2"]


# ---- the files -------------------------------------------------------------------------------------------------


def test_second_switch_keeps_both_former_cas(folder: HubFolder) -> None:
    """Formers are listed with the latest first; a box that trusts the first one is still served."""
    made = [folder.authorities().present]
    for _ in range(2):
        folder.ca_files.begin(now())
        folder.ca_files.switch()
        made.append(folder.authorities().present)
    formers = [one.certificate for one in folder.authorities().formers]
    assert formers == [made[1].certificate, made[0].certificate]
    assert len({one.certificate.subject for one in made}) == 1


@pytest.mark.parametrize("step", range(1, 7))
def test_switch_that_was_cut_is_simply_run_again(folder: HubFolder, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Killed at any step, the next switch ends with one former CA and a hub that reads."""
    former = folder.authorities().present
    made = folder.ca_files.begin(now())
    done = 0
    unlink, replace = Path.unlink, Path.replace

    def cut(real: Callable[..., object]) -> Callable[..., object]:
        def counted(path: Path, *more: object, **words: object) -> object:
            nonlocal done
            if not path.name.startswith(".") or real is replace:
                done += 1
                if done == step:
                    raise KeyboardInterrupt
            return real(path, *more, **words)

        return counted

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", cut(unlink))
        patched.setattr(Path, "replace", cut(replace))
        with pytest.raises(KeyboardInterrupt):
            folder.ca_files.switch()
    if (folder.path / "ca-next.pem").exists():
        folder.ca_files.switch()
    known = HubFolder(folder.path).authorities()
    assert known.present.certificate == made
    assert [one.certificate for one in known.formers] == [former.certificate]


def test_change_that_is_half_done_is_not_seen(folder: HubFolder) -> None:
    """Who reads between two files of a switch goes on with what it knew; a fresh start names the file."""
    known = folder.authorities()
    (folder.path / "ca.key").write_bytes(tls.key_pem(tls.make_key()))
    assert folder.authorities() == known
    with pytest.raises(FirstlightError) as refused:
        HubFolder(folder.path).authorities()
    assert (refused.value.code, "is not the key of ca.pem" in refused.value.message) == ("hub_damaged", True)


def test_backup_has_the_cas_and_the_move(folder: HubFolder, tmp_path: Path) -> None:
    """A restored hub goes on with the change where it was."""
    folder.ca_files.begin(now())
    folder.ca_files.switch()
    folder.ca_files.begin(now())
    write_order(folder.path, Order(HERE, "own", (), 5.0))
    folder.back_up(tmp_path / "copy")
    copy = HubFolder(tmp_path / "copy")
    assert copy.authorities().accepted() == folder.authorities().accepted()
    assert len(copy.authorities().accepted()) == 3
    assert (copy.path / "move.json").read_bytes() == (folder.path / "move.json").read_bytes()
    assert {stat.S_IMODE(path.stat().st_mode) for path in copy.path.iterdir()} == {0o600}


# ---- a served hub ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A running hub that gives out certificates."""
    folder = tmp_path_factory.mktemp("moves") / "hub"
    key = make(folder)
    change(folder, credential="certificate")
    with Served(folder, key) as found:
        yield found


def as_agent(hub: Served, ca_pem: str, certificate_pem: str = "", box: Box | None = None) -> httpx.Client:
    """A client with the agent's own TLS settings, which trusts that CA alone."""
    context = client_context(Trust(ca_pem=ca_pem))
    if box is not None:
        show(context, certificate_pem, box.private)
    return httpx.Client(base_url=hub.url, verify=context, timeout=PATIENCE_S)


def heard(calling: httpx.Client, device_id: str, box: Box, part: str = "") -> str:
    """Sends beats with facts until the hub has looked at its files -> the move in the answer."""
    path, until_s = f"/demo/devices/v2/{device_id}/heartbeat", time.monotonic() + PATIENCE_S
    while True:
        answer = calling.post(path, content=box.beat_body(facts=FACTS), headers=JSON)
        assert answer.status_code == 200, answer.text
        text = str(answer.json().get("move", ""))
        if not part or (text and part in believed_text(text)) or time.monotonic() > until_s:
            return text


def believed_text(text: str) -> str:
    """The CA in a statement, its signature aside."""
    return decode_statement(unseal(text)[0]).ca_pem


def wait_for_line(hub: Served, part: str) -> None:
    """Reads what the hub prints until it says that."""
    assert hub.process.stdout is not None
    for line in hub.process.stdout:
        if part in line:
            return
    raise AssertionError(part)


def test_ca_changes_under_a_serving_hub_and_loses_no_box(served: Served) -> None:
    """New and switch while it serves: old trust and new trust finish the handshake before and after, and each device
    certificate, of the former CA and of the present one, is accepted.
    """
    assert max(LOOK_EVERY_S, CERTIFICATE_LOOK_EVERY_S) < 10
    folder = HubFolder(served.folder)
    old = folder.ca_pem()
    device_id, install_id, _ = served.create()
    box = Box()
    first = served.redeem(install_id, box).json()["certificatePem"]
    with as_agent(served, old, first, box) as calling:
        assert heard(calling, device_id, box) == ""

    assert command("ca", "new", "--dir", served.folder).returncode == 0
    wait_for_line(served, "certificate was issued")
    successor = folder.authorities().successor
    assert successor is not None
    for trust in (old, successor.pem):
        with as_agent(served, trust, first, box) as calling:
            told = believed(heard(calling, device_id, box, successor.pem), x509.load_pem_x509_certificate(old.encode()))
            assert (told.endpoint, told.ca_pem) == (served.url, successor.pem)

    assert command("ca", "switch", "--dir", served.folder).returncode == 0
    wait_for_line(served, "certificate was issued")
    later_id, install_id, _ = served.create()
    later = Box()
    second = served.redeem(install_id, later).json()["certificatePem"]
    x509.load_pem_x509_certificate(second.encode()).verify_directly_issued_by(successor.certificate)
    for trust in (old, successor.pem):
        for certificate_pem, one, name in ((first, box, device_id), (second, later, later_id)):
            with as_agent(served, trust, certificate_pem, one) as calling:
                told = believed(heard(calling, name, one, successor.pem), x509.load_pem_x509_certificate(old.encode()))
                assert told.ca_pem == successor.pem
    with pytest.raises(httpx.ConnectError), as_agent(served, new_authority().pem) as calling:
        calling.get("/health")


def test_order_is_told_while_the_hub_serves(tmp_path: Path) -> None:
    """Beats with facts carry it, steady ones do not; after --cancel nothing is told."""
    folder = tmp_path / "hub"
    key = make(folder)
    assert command("move", "--dir", folder, "--to", "https://new.example:8443").returncode == 0
    with Served(folder, key) as hub:
        device_id, install_id, _ = hub.create()
        box = Box()
        headers = {**JSON, "Authorization": f"Bearer {hub.redeem(install_id, box).json()['key']}"}
        path = f"/demo/devices/v2/{device_id}/heartbeat"
        first = hub.client.post(path, content=box.beat_body(facts=FACTS), headers=headers).json()
        ca = HubFolder(folder).authorities().present.certificate
        assert believed(first["move"], ca).endpoint == "https://new.example:8443"
        assert "move" not in hub.client.post(path, content=box.beat_body(), headers=headers).json()
    assert command("move", "--dir", folder, "--cancel").returncode == 0
    with Served(folder, key) as hub:
        assert "move" not in hub.client.post(path, content=box.beat_body(facts=FACTS), headers=headers).json()


def test_chain_is_made_once(folder: HubFolder) -> None:
    """Cross certificates have the same content each time, so that a hub with a former CA does not renew for ever."""
    folder.ca_files.begin(now())
    folder.ca_files.switch()
    assert folder.renew_certificate(HOSTS, now()) is True
    assert folder.renew_certificate(HOSTS, now()) is False
    assert len(x509.load_pem_x509_certificates(folder.server_certificate.read_bytes())) == 2
    later = now() + timedelta(days=21 * 365)
    assert len(Authorities(*folder.authorities()).server_chain(later)) == 0
