"""An upgrade with a way back: its stages, what a restart of the machine leads to at each, and what counts as proof.

    (fetch, verify, unpack, try)   nothing is noted: what a cut leaves is an unused folder, and the wish is read again
    SWITCH    the launcher is about to name the new release, or names it
    PROVE     the agent was started anew; the hub must accept a beat of the new release (where the box is provisioned
              and not registered, the new release must make and keep one)
    DONE      it did: what is left is tidying up
    BACK      it did not: the launcher is about to name the old release again, or names it

The rules:

1.  ``SWITCH`` and ``PROVE`` may turn into ``BACK``; nothing leads out of ``DONE`` and ``BACK`` but their own end.
2.  Every act of a stage may be done twice: after a cut the stage is begun again from its start.
3.  A box that goes down while the new release is proved may do so because of it: after ``MAX_PROOFS`` it goes back.
4.  Until ``DONE``, ``bin/firstlight-proven`` names the old release, and the upgrade unit runs that one.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from firstlight.core.record import NamedTuple

SWITCH, PROVE, DONE, BACK = "switch", "prove", "done", "back"
STAGES = (SWITCH, PROVE, DONE, BACK)
FORMAT = 1
MAX_PROOFS = 3  # how often a proof is begun
MAX_RESTARTS = 3  # how often the new release may end while it is proved
PATIENCE_S = 600.0
RELEASE = re.compile(r"[0-9][0-9A-Za-z.+~-]{0,63}-[0-9a-f]{8}\Z")
ID = re.compile(r"[0-9a-f]{64}\Z|\Z")
MAX_MESSAGE = 256


class Journal(NamedTuple):
    """What a fresh start must know to go on.

    Args:
        stage: one of ``STAGES``.
        old, new: names of the two releases, ``VERSION-ID8``.
        version, id: of the release that was asked for; the id is 64 hex digits, or "" where it is not known.
        attempt: of the hub's offer, 0 = a person asked.
        signer: key that signed the bundle, 16 hex digits; "" = a person vouched for it, or it was here before.
        proofs: how often the proof was begun.
        was_running: the service ran before; if not, it is stopped again.
        is_undoing: a person goes back to the release before.
        code, message: why it goes back.
    """

    stage: str
    old: str
    new: str
    version: str
    id: str = ""
    attempt: int = 0
    signer: str = ""
    proofs: int = 0
    was_running: bool = True
    is_undoing: bool = False
    code: str = ""
    message: str = ""


class Evidence(NamedTuple):
    """What can be seen of the agent that was started anew.

    Args:
        release: of the agent that runs, "" = none runs, or it does not say.
        is_accepted: whether the platform itself accepted a beat of it, or it kept one where it is detached.
        reason: code of its last failure, "" = there was none.
        restarts: how often it ended and was started again.
        exit_status: it ended and is not started again; None = it runs, or is started again.
        is_detached: no platform has registered this box yet.
    """

    release: str = ""
    is_accepted: bool = False
    reason: str = ""
    restarts: int = 0
    exit_status: int | None = None
    is_detached: bool = False


class Verdict(NamedTuple):
    """How a proof ended: ``code`` "" = the release is proved."""

    code: str
    message: str = ""


def resumed(journal: Journal) -> Journal:
    """What is gone on with after a cut."""
    if journal.stage == PROVE and journal.proofs >= MAX_PROOFS:
        return gone_back(
            journal,
            "upgrade_crashed",
            f"The upgrade was interrupted {journal.proofs} times while {journal.new} was to prove itself.",
        )
    return journal


def begun_proof(journal: Journal) -> Journal:
    """The agent is about to be started as the new release."""
    return journal._replace(stage=PROVE, proofs=journal.proofs + 1)


def gone_back(journal: Journal, code: str, message: str) -> Journal:
    """The new release is given up; only what is not proved yet can be."""
    if journal.stage not in (SWITCH, PROVE):
        return journal
    return journal._replace(stage=BACK, code=code, message=message[:MAX_MESSAGE])


def judged(seen: Evidence, new: str, waited_s: float, patience_s: float) -> Verdict | None:
    """Whether the new release is proved, has failed, or (None) is still to be waited for.

    Args:
        seen: what can be seen now.
        new: name of the release that is to be proved.
        waited_s: since the start of the proof.
        patience_s: how long it may take at most.
    """
    if seen.release == new and seen.is_accepted:
        return Verdict("")
    if seen.exit_status is not None:
        return Verdict("upgrade_crashed", f"The agent of {new} ended with status {seen.exit_status}.")
    if seen.restarts >= MAX_RESTARTS:
        return Verdict("upgrade_crashed", f"The agent of {new} ended {seen.restarts} times in a row.")
    if waited_s < patience_s:
        return None
    why = f" Last: {seen.reason}." if seen.reason else " The agent does not run." if not seen.release else ""
    if seen.release and seen.release != new:
        why = f" The agent that runs is of {seen.release}."
    what = "kept" if seen.is_detached else "accepted"
    return Verdict("upgrade_not_proved", f"No heartbeat of {new} was {what} in {patience_s:.0f} s.{why}")


def is_release(name: str) -> bool:
    """Whether a folder of ``lib`` is named like a release."""
    return RELEASE.match(name) is not None


# -- on disk ---------------------------------------------------------------------------------------------------------
def encode(journal: Journal) -> dict[str, object]:
    """``Journal`` -> a JSON object."""
    return {
        "format": FORMAT,
        "stage": journal.stage,
        "old": journal.old,
        "new": journal.new,
        "version": journal.version,
        "id": journal.id,
        "attempt": journal.attempt,
        "signer": journal.signer,
        "proofs": journal.proofs,
        "wasRunning": journal.was_running,
        "isUndoing": journal.is_undoing,
        "code": journal.code,
        "message": journal.message,
    }


def decode(source: dict[str, object]) -> Journal:
    """A JSON object -> ``Journal``. Raises ValueError: it was not written by an upgrade, or by a later one."""
    made = Journal(
        stage=_text(source, "stage"),
        old=_text(source, "old"),
        new=_text(source, "new"),
        version=_text(source, "version"),
        id=_text(source, "id"),
        attempt=_number(source, "attempt"),
        signer=_text(source, "signer"),
        proofs=_number(source, "proofs"),
        was_running=source.get("wasRunning") is not False,
        is_undoing=source.get("isUndoing") is True,
        code=_text(source, "code"),
        message=_text(source, "message"),
    )
    if source.get("format") != FORMAT or made.stage not in STAGES or not ID.match(made.id):
        raise ValueError("format, stage or id")
    if not (is_release(made.old) and is_release(made.new)) or made.old == made.new:
        raise ValueError("old or new")
    return made


def _text(source: dict[str, object], name: str) -> str:
    value = source.get(name)
    if not isinstance(value, str) or len(value) > MAX_MESSAGE:
        raise ValueError(name)
    return value


def _number(source: dict[str, object], name: str) -> int:
    value = source.get(name)
    if type(value) is not int or not 0 <= value <= 1_000_000:
        raise ValueError(name)
    return value
