"""Upgrades on a box without systemd, against a real hub: by hand, by wish, back, cut, and by broken releases."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from firstlight.core.model import Trust
from firstlight.platforms.hub import management
from firstlight.system.releases import Releases
from firstlight.transports.http_calls import HttpCalls
from tests.e2e.conftest import Hub, wait_until
from tests.upgrade.bundles import Signer, id_of, make_bundle, release_of
from tests.upgrade.conftest import Box, journal_stage, wait_stage

CRASHES = {"cli/run.py": "def verb(words, config):\n    raise SystemExit(70)"}
# The hub reads a beat of it as nothing.
GARBAGE = {
    "platforms/hub/device.py": "_beat = beat\n"
    "def beat(registration, one, token=''):\n    return _beat(registration, one)._replace(body=b'garbage')"
}
# It writes the state in a format of its own, and then ends.
NEWER_STATE = {
    "cli/run.py": "def verb(words, config):\n"
    "    import re, sys\n"
    "    folder = Path(words[words.index('--state-dir') + 1])\n"
    "    for name in ('registration.json', 'registration.backup.json'):\n"
    "        text = (folder / name).read_text()\n"
    "        (folder / name).write_text(re.sub(r'\"format\": [0-9]+', '\"format\": 9', text))\n"
    "    (folder / 'change.json').write_text('{\"format\": 9}')\n"
    "    raise SystemExit(70)"
}
Shelf = Callable[..., Path]


def test_what_the_hub_offers_is_fetched_proved_and_kept(box: Box, shelf: Shelf) -> None:
    """The hub's newest release beats once as a child; nobody ran the agent, so nobody does afterwards."""
    offered = shelf("0.3.0")
    done = box.upgrade("--check")
    assert done.returncode == 0 and release_of(offered) in done.stdout and box.is_tidy(box.old)

    done = box.upgrade("--json")

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["upgraded"], told["from"], told["release"]) == (True, box.old, release_of(offered))
    assert box.is_tidy(release_of(offered)) and Releases(str(box.prefix)).names() == [box.old, release_of(offered)]
    assert box.status()["state"] == "stopped" and box.status()["agentVersion"] == "0.3.0"
    result = box.store.read_json("upgraded.json")
    assert result == {"version": "0.3.0", "id": id_of(offered), "attempt": 1, "code": ""}
    done = box.upgrade()
    assert done.returncode == 0 and "nothing to do" in done.stdout


def test_a_third_release_leaves_two(box: Box) -> None:
    """The one in use and the one before it stay; what is older goes."""
    names = []
    for version in ("0.3.0", "0.4.0"):
        bundle = box.bundle(version)
        names.append(release_of(bundle))
        assert box.upgrade(bundle).returncode == 0
    assert Releases(str(box.prefix)).names() == names


@pytest.mark.parametrize(
    ("changes", "patience_s", "code"),
    [(CRASHES, "40", "upgrade_crashed"), (GARBAGE, "4", "upgrade_not_proved"), (NEWER_STATE, "40", "upgrade_crashed")],
    ids=["crashes", "never accepted", "crashes after writing newer state"],
)
def test_a_broken_release_goes_back_by_itself(box: Box, changes: dict[str, str], patience_s: str, code: str) -> None:
    """Launcher, state and keys are those from before, the broken release is gone, and the old one beats."""
    before = {name: (box.state_dir / name).read_bytes() for name in ("registration.json", "device.key")}
    done = box.upgrade(box.bundle("0.3.0", changes), "--patience", patience_s)

    assert done.returncode == 70 and code in done.stderr and box.old in done.stderr, done.stderr
    assert box.is_tidy(box.old) and Releases(str(box.prefix)).names() == [box.old]
    assert {name: (box.state_dir / name).read_bytes() for name in before} == before
    assert not (box.state_dir / "change.json").exists()
    assert not (box.state_dir / "upgraded.json").exists(), "a person's own try is not the hub's to know"
    box.run()
    assert box.status()["agentVersion"] == "0.2.0"


def test_going_back_by_hand_and_forth(box: Box) -> None:
    """The release before is proved the same way; the hub hears that the newer one was undone."""
    bundle = box.bundle("0.3.0")
    assert box.upgrade(bundle).returncode == 0
    assert box.old in box.upgrade("--back", "--check").stdout
    assert box.upgrade("--back").returncode == 0
    assert box.is_tidy(box.old)
    result = box.store.read_json("upgraded.json")
    assert result and (result["id"], result["code"]) == (id_of(bundle), "upgrade_undone")
    assert box.upgrade("--back").returncode == 0
    assert box.is_tidy(release_of(bundle))


def test_nothing_to_go_back_to(box: Box) -> None:
    """A box with one release says so."""
    done = box.upgrade("--back")
    assert done.returncode == 70 and "upgrade_no_previous" in done.stderr


def test_going_back_to_what_cannot_read_the_state(box: Box) -> None:
    """A copy of the state from before is used while it still opens the door, and refused once it does not."""
    text = (Path(__file__).parents[2] / "agent/firstlight/system/registration_file.py").read_text()
    for known, other in (
        ("PLAIN_FORMAT = 1 ", "PLAIN_FORMAT = 9 "),
        ("\nFORMAT = 3 ", "\nFORMAT = 9 "),
        ("not in (PLAIN_FORMAT, SEVERAL_FORMAT, FORMAT)", "not in (1, 2, 9)"),
    ):
        assert text.count(known) == 1, known
        text = text.replace(known, other)
    bundle = box.bundle("0.3.0", {"lib/firstlight/system/registration_file.py": text})
    assert box.upgrade(bundle).returncode == 0
    # The newer release rotates: what it writes the older one cannot read, and what was there opens no door.
    assert box.cli("rotate").returncode == 0
    assert b'"format": 9' in (box.state_dir / "registration.json").read_bytes()
    done = box.upgrade("--back")
    assert done.returncode == 74 and "state_newer" in done.stderr, done.stderr
    assert box.is_tidy(release_of(bundle))
    box.run()


def test_an_agent_that_a_person_runs_is_theirs_to_restart(box: Box) -> None:
    """It says what to do and waits; the restarted agent is the proof."""
    agent = box.run()
    bundle = box.bundle("0.3.0")
    process = box.start("upgrade", bundle, "--patience", "60")
    assert process.stdout is not None
    said = next(line for line in process.stdout if "Restart the agent now" in line)
    assert f"kill {agent.pid}" in said and "firstlight run" in said
    assert box.status()["agentVersion"] == "0.2.0"
    agent.terminate()
    agent.communicate(timeout=20)
    box.run()
    assert process.wait(60) == 0
    assert box.is_tidy(release_of(bundle)) and box.status()["state"] == "online"


def test_a_wish_of_the_hub_is_answered(box: Box, shelf: Shelf) -> None:
    """What the upgrade unit runs: the release is in use, the result is left, the wish is gone."""
    offered = shelf("0.3.0")
    box.wish("0.3.0", id_of(offered), attempt=3)
    done = box.upgrade("--wished")
    assert done.returncode == 0, done.stderr
    assert box.is_tidy(release_of(offered)) and not (box.state_dir / "upgrade-wish.json").exists()
    result = box.store.read_json("upgraded.json")
    assert result == {"version": "0.3.0", "id": id_of(offered), "attempt": 3, "code": ""}
    assert box.upgrade("--wished").returncode == 0


@pytest.mark.parametrize("what", ["broken", "other id", "not there", "unsigned", "older"])
def test_a_wish_that_cannot_be_granted_is_answered_too(box: Box, shelf: Shelf, hub: Hub, what: str) -> None:
    """The box stays as it is; the hub will hear which attempt failed and why; the unit is not started again."""
    version = "0.1.0" if what == "older" else "0.3.0"
    path, code = "", {"broken": "upgrade_crashed", "older": "upgrade_older", "unsigned": "upgrade_untrusted"}.get(what)
    offered = shelf(version, CRASHES if what == "broken" else None)
    release_id = id_of(offered)
    if what == "other id":
        release_id, code = "0" * 64, "upgrade_forged"
    elif what == "not there":
        path, code = "/bundles/firstlight-9.9.9-x86_64.tar", "bundle_missing"
    elif what == "unsigned":
        release_id = id_of(make_bundle(hub.folder / "bundles", version, Signer()))
    box.wish(version, release_id, 2, path)
    done = box.upgrade("--wished")
    assert done.returncode == 0, done.stderr
    result = box.store.read_json("upgraded.json")
    assert result and (result["id"], result["attempt"], result["code"]) == (release_id, 2, code), done.stderr
    assert result["message"] and box.is_tidy(box.old) and not (box.state_dir / "upgrade-wish.json").exists()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"version": "0.3.0"}', "x" * 10_000, '{"version":"1","id":"x","path":"/etc","attempt":1}']
)
def test_a_wish_that_is_none_is_dropped(box: Box, text: str) -> None:
    """The file is an unprivileged user's: read within bounds, believed in little, never a reason to loop."""
    (box.state_dir / "upgrade-wish.json").write_text(text)
    done = box.upgrade("--wished")
    assert done.returncode == 0 and "upgrade_malformed" in done.stderr
    assert not (box.state_dir / "upgrade-wish.json").exists() and box.is_tidy(box.old)


def test_a_wish_that_is_a_link_is_not_followed(box: Box, tmp_path: Path) -> None:
    """Root reads and removes the link, not what it leads to."""
    secret = tmp_path / "secret"
    secret.write_text("{}")
    (box.state_dir / "upgrade-wish.json").symlink_to(secret)
    assert box.upgrade("--wished").returncode == 0
    assert secret.exists() and not (box.state_dir / "upgrade-wish.json").is_symlink()


def test_power_goes_while_a_good_release_is_proved(box: Box) -> None:
    """The child ends with its parent; the next start, by what was proved, goes on to the new release."""
    bundle = box.bundle(
        "0.3.0", {"cli/run.py": "_v = verb\ndef verb(w, c):\n    select.select([], [], [], 2)\n    _v(w, c)"}
    )
    process = box.start("upgrade", bundle, "--patience", "60")
    wait_stage(box, "prove")
    process.kill()
    process.communicate()
    wait_until("nobody runs the agent", lambda: box.status()["state"] == "stopped", 30)
    assert box.upgrade("--check").stdout.count("under way") == 1
    done = box.cli("upgrade", "--resume", "--patience", "60", by=box.proven)
    assert done.returncode == 0, done.stderr
    assert box.is_tidy(release_of(bundle))


def has_begun(box: Box, proofs: int) -> bool:
    """Whether so many proofs were begun."""
    found = Releases(str(box.prefix)).journal()
    return found is not None and found.proofs == proofs


def test_power_goes_again_and_again_while_a_bad_release_is_proved(box: Box) -> None:
    """Whoever types the verb: the old release judges; after three proofs it goes back, without waiting any longer."""
    bundle = box.bundle("0.3.0", GARBAGE)
    process = box.start("upgrade", bundle, "--patience", "100")
    proofs = 1
    for _ in range(2):
        wait_until("it is being proved", lambda: journal_stage(box) == "prove" and box.status().get("pid"), 60)
        process.kill()
        process.communicate()
        process = box.start("upgrade", "--resume", "--patience", "100")
        proofs += 1
        wait_until("the next proof began", partial(has_begun, box, proofs), 60)
    process.kill()
    process.communicate()
    done = box.cli("upgrade", "--resume", "--patience", "100")
    assert done.returncode == 70 and "interrupted 3 times" in done.stderr, done.stderr
    assert box.is_tidy(box.old)
    box.run()


def test_a_damaged_journal_leads_back_to_what_was_proved(box: Box) -> None:
    """Nothing is guessed: the launcher names the proven release, and the verb goes on."""
    (box.prefix / "upgrade.json").write_text("{")
    assert "damaged" in box.upgrade("--check").stderr
    done = box.upgrade("--resume")
    assert done.returncode == 0 and box.is_tidy(box.old), done.stderr


def test_one_upgrade_at_a_time(box: Box) -> None:
    """A second one by hand is refused at once; what runs goes on."""
    bundle = box.bundle("0.3.0", GARBAGE)
    process = box.start("upgrade", bundle, "--patience", "100")
    wait_stage(box, "prove")
    done = box.upgrade(bundle)
    assert done.returncode == 70 and "upgrade_under_way" in done.stderr
    process.kill()
    process.communicate()


def test_no_credential_changes_while_a_release_is_proved(box: Box, hub: Hub) -> None:
    """Neither by hand nor because the hub asks: going back must find it as it was. Afterwards it is replaced."""
    box.run()
    (box.prefix / "upgrade.json").write_text("{}")  # all that the agent looks at is whether it is there
    done = box.cli("rotate")
    assert done.returncode == 70 and "upgrade_under_way" in done.stderr
    before = box.store.load_registration()
    assert before is not None
    with HttpCalls(Trust(pins=(hub.pin,))) as calls:
        reply = calls.exchange(management.rotate(hub.place, box.device_id), 10)
    assert reply.status == 202
    wait_until("the agent was told", lambda: (box.store.read_json("change.json") or {}).get("rotate"))
    beats = int(str(box.status()["beats"]))
    wait_until("it beats on", lambda: int(str(box.status()["beats"])) > beats + 2)
    assert box.store.load_registration() == before
    (box.prefix / "upgrade.json").unlink()
    wait_until("it has another credential", lambda: box.store.load_registration() != before)


def test_a_box_that_is_not_enrolled_is_upgraded_from_a_stick(fresh: Box) -> None:
    """There is nothing to beat: the trial start is the proof; without a bundle there is no hub to ask."""
    bundle = fresh.bundle("0.3.0")
    done = fresh.upgrade()
    assert done.returncode == 78 and "not_enrolled" in done.stderr
    assert fresh.upgrade(bundle).returncode == 0 and fresh.is_tidy(release_of(bundle))


def keys_of(box: Box) -> set[str]:
    """The files of its trust.d."""
    return {path.name for path in (box.prefix / "etc/trust.d").iterdir()}


def test_keys_that_a_release_brings_are_trusted_from_then_on(box: Box) -> None:
    """Roll-over: signed by the present key, it brings the next one; damaged and known ones are passed over."""
    following = Signer()
    bundle = box.bundle(
        "0.3.0",
        {
            "share/trust.d/next.pub": following.pem.decode(),
            "share/trust.d/same.pub": box.signer.pem.decode(),
            "share/trust.d/junk.pub": "junk",
        },
    )
    assert box.upgrade(bundle).returncode == 0
    assert keys_of(box) == {f"{one}.pub" for one in (following.id, box.signer.id)}
    box.signer = following
    assert box.upgrade(box.bundle("0.4.0")).returncode == 0


def test_a_person_vouches_by_id(box: Box, tmp_path: Path) -> None:
    """A bundle of a stranger is taken with its id, and brings no keys."""
    stranger = Signer()
    bundle = make_bundle(tmp_path / "b", "0.3.0", stranger, {"share/trust.d/x.pub": stranger.pem.decode()})
    done = box.upgrade(bundle)
    assert done.returncode == 70 and "upgrade_untrusted" in done.stderr
    assert box.upgrade(bundle, "--id", id_of(bundle)).returncode == 0
    assert keys_of(box) == {f"{box.signer.id}.pub"}


@pytest.mark.parametrize(
    "words",
    [("--back", "--wished"), ("x.tar", "--back"), ("--id", "0" * 64), ("x.tar", "--id", "12"), ("--allow-older",)],
)
def test_what_does_not_go_together_is_refused(fresh: Box, words: tuple[str, ...]) -> None:
    """A sentence and exit status 2."""
    done = fresh.upgrade(*words)
    assert done.returncode == 2 and "usage" in done.stderr


def test_other_installations_name_their_own_way(fresh: Box) -> None:
    """A package names its manager; an agent that the script did not put there names its own."""
    share = fresh.prefix / "lib" / fresh.old / "share"
    (share / "managed").write_text("deb\n")
    done = fresh.upgrade()
    assert done.returncode == 70 and "upgrade_managed" in done.stderr and "apt" in done.stderr
    (share / "managed").unlink()
    (fresh.prefix / ".firstlight").unlink()
    done = fresh.upgrade()
    assert done.returncode == 70 and "upgrade_unsupported" in done.stderr


def test_ctrl_c_while_it_is_proved(box: Box) -> None:
    """The command says how to go on; the same command does."""
    bundle = box.bundle("0.3.0", GARBAGE)
    process = box.start("upgrade", bundle, "--patience", "100")
    wait_stage(box, "prove")
    process.send_signal(signal.SIGINT)
    try:
        _, errors = process.communicate(timeout=15)
    except subprocess.TimeoutExpired:
        # Python loses one that comes while it forks ("Exception ignored in _releaseLock"): a person presses it again.
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and "goes on" in errors
    done = box.upgrade("--resume", "--patience", "2")
    assert done.returncode == 70 and "upgrade_not_proved" in done.stderr and box.is_tidy(box.old)
