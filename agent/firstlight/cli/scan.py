"""``firstlight scan``: takes in what a camera, a picture, a scanner or a person reads off a label."""

from __future__ import annotations

import argparse
import json
import os
import select
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from firstlight.cli import networks, next_step, options, service
from firstlight.cli.settings import Settings
from firstlight.cli.taking import Outcome, Taking
from firstlight.errors import InvitationError
from firstlight.sources import camera, keyboard, kinds

if TYPE_CHECKING:
    from PIL.Image import Image

DESCRIPTION = (
    "Take in a Firstlight code: from a picture, a camera, a scanner that types, or typed. Needs no network: the box "
    "registers by itself when one appears."
)
CAMERA_S = 120.0
# What another picture mends.
PASSING = frozenset({kinds.NOT_OURS, "codes_several", "payload_parts_mixed", "network_not_allowed"})
# How many pictures are looked at before the person hears how it goes.
FRAMES_A_WORD = 20
# How long a started service may take until it is said that it has not registered yet.
REGISTER_S = 8.0
LOOK_S = 0.2
MAX_PICTURE_BYTES = 32 * 1024 * 1024 + 1
NOTHING_TYPED = (
    "Scan the code with a hand scanner, or type it and press Enter. A picture of it: firstlight scan --image FILE"
)
SEEN = {
    "blurred": "a code is there, but blurred: hold still, wipe the lens, mind the glare",
    "far": "a code is there, but too small: go closer",
}


def verb(words: list[str], config: str | None) -> int:
    """Parses, reads, takes in. Raises FirstlightError; returns 0 when something was taken in."""
    typed = _parsed(words)
    settings = options.load(typed, config)
    tell = _silent if typed.json else _tell
    started: list[str] = []

    def start(state_dir: str) -> str:
        started.append("" if typed.no_start else service.start(state_dir))
        return started[-1]

    taking = Taking(settings, tell, start)
    outcome = _outcome(typed, settings, taking, tell)
    if outcome.provision and settings.apply_network == "yes":
        outcome = _with_network(settings, outcome, tell)
    is_started = bool(started and started[-1])
    _conclude(settings, outcome, wait_s=REGISTER_S if is_started else 0.0, as_json=typed.json)
    return 0


def _parsed(words: list[str]) -> argparse.Namespace:
    made = options.parser("scan", DESCRIPTION)
    options.add_state(made)
    ways = made.add_mutually_exclusive_group()
    ways.add_argument(
        "--image",
        metavar="FILE",
        action="append",
        help="a picture ('-' = standard input); again for more parts",
    )
    ways.add_argument(
        "--camera", metavar="DEVICE", nargs="?", const="", help="the camera: /dev/videoN, else the first there is"
    )
    ways.add_argument("--stdin", action="store_true", help="lines of a scanner, or pasted text")
    made.add_argument(
        "--patience", metavar="SECONDS", type=float, help=f"give up after so long without a code (camera: {CAMERA_S:g})"
    )
    made.add_argument("--no-start", action="store_true", help="do not start the service afterwards")
    made.add_argument("--json", action="store_true", help="print the result as one JSON object")
    return made.parse_args(words)


# -- where texts come from ---------------------------------------------------------------------------------------------
def _outcome(typed: argparse.Namespace, settings: Settings, taking: Taking, tell: Callable[[str], None]) -> Outcome:
    if typed.image:
        return _from_pictures(typed.image, taking, tell)
    has_camera = typed.camera is not None or bool(settings.camera_command) or bool(camera.nodes())
    if has_camera and not typed.stdin:
        try:
            return _from_camera(typed, settings, taking, tell)
        except InvitationError as error:
            # Asked for by name, or a camera that is there and nobody who could type instead.
            is_none = error.code in (camera.MISSING, camera.UNSUPPORTED)
            is_camera = error.code.startswith("camera_")
            if typed.camera is not None or not is_camera or not (is_none or sys.stdin.isatty()):
                raise
            tell(error.message)
    return _typed_in(typed.patience, taking, tell)


def _from_pictures(paths: list[str], taking: Taking, tell: Callable[[str], None]) -> Outcome:
    from firstlight.sources import picture

    for path in paths:
        source = sys.stdin.buffer.read(MAX_PICTURE_BYTES) if path == "-" else path
        reading = picture.read(picture.load(source))
        texts = kinds.chosen(reading.texts)
        if not texts:
            word = f" ({SEEN[reading.seen]})" if reading.seen in SEEN else ""
            raise InvitationError("code_not_found", f"There is no code to be read in {path}{word}.")
        outcome = _each(texts, "picture", taking, tell)
        if outcome:
            return outcome
    taking.end()
    raise InvitationError("code_not_found", "Nothing that this box takes in was in the picture.")


def _from_camera(typed: argparse.Namespace, settings: Settings, taking: Taking, tell: Callable[[str], None]) -> Outcome:
    from firstlight.sources import picture

    until_s = time.monotonic() + (CAMERA_S if typed.patience is None else typed.patience)
    with camera.open_camera(typed.camera or "", settings.camera_command) as opened:
        tell("looking through the camera; hold the code in front of it")
        frames = _until(opened, until_s)
        known: set[str] = set()
        word = ""
        while time.monotonic() < until_s:
            reading = picture.read_frames(frames, FRAMES_A_WORD)
            is_new = not known.issuperset(reading.texts)
            known.update(reading.texts)
            try:
                outcome = _each(kinds.chosen(reading.texts), "camera", taking, tell) if is_new else None
            except InvitationError as error:
                if error.code not in PASSING:
                    raise
                tell(error.message)
                continue
            if outcome:
                return outcome
            if reading.seen != word and reading.seen in SEEN:
                tell(SEEN[reading.seen])
            word = reading.seen
    taking.end()
    word = f" ({SEEN[word]})" if word in SEEN else ""
    raise InvitationError("code_not_found", f"The camera saw no code that this box takes in{word}.")


def _until(frames: Iterable[Image], until_s: float) -> Iterator[Image]:
    """The pictures that come in time; one iterator for several readers."""
    for frame in frames:
        if time.monotonic() >= until_s:
            return
        yield frame


def _typed_in(patience_s: float | None, taking: Taking, tell: Callable[[str], None]) -> Outcome:
    if sys.stdin.isatty():
        tell("scan the code with a scanner, or type or paste it, and press Enter")
    trouble: InvitationError | None = None
    for text in keyboard.texts(sys.stdin.fileno(), patience_s):
        try:
            outcome = taking.take(text, "standard input")
        except InvitationError as error:
            if not os.isatty(sys.stdin.fileno()) and error.code != kinds.NOT_OURS:
                raise
            trouble = error
            tell(f"{error.message} [{error.code}]")
        else:
            trouble = None
            if outcome:
                return outcome
    taking.end()
    raise trouble or InvitationError("code_not_found", "Nothing was scanned or typed.", NOTHING_TYPED)


def _each(texts: list[str], source: str, taking: Taking, tell: Callable[[str], None]) -> Outcome | None:
    """Takes in what one picture shows; None where that was nothing, or not all of it. Raises FirstlightError."""
    outcome: Outcome | None = None
    for text in texts:
        try:
            found = taking.take(text, source)
        except InvitationError as error:
            # A Wi-Fi beside the box's own code is no reason to refuse that.
            if text == texts[-1] or error.code not in ("network_not_allowed", "wifi_unsupported"):
                raise
            tell(error.message)
            continue
        if found is not None:
            outcome = Outcome(found.provision, found.network or (outcome.network if outcome else ""))
    return outcome


# -- what is said ------------------------------------------------------------------------------------------------------
def _tell(line: str) -> None:
    print(f"  {line}", flush=True)


def _silent(line: str) -> None:
    """With --json, progress is not shown."""


def _conclude(settings: Settings, outcome: Outcome, *, wait_s: float, as_json: bool) -> None:
    made = outcome.provision
    device_id = registered(settings, wait_s) if made else ""
    if as_json:
        said: dict[str, object] = {"provisioned": made is not None, "network": outcome.network or None}
        if made:
            said["deviceId"] = device_id or made.device_id or None
            said["workspace"], said["name"] = made.workspace or None, made.name or None
            said["endpoint"], said["source"] = made.invitation.endpoint.url, made.source
            said["keyFingerprint"], said["registered"] = made.key_fingerprint, bool(device_id)
        print(json.dumps(said))
    elif made is None:
        print("The box is not provisioned by this; scan its own code next.")
    elif device_id:
        print(next_step.typed(f"This box is registered as {device_id}. See: firstlight status"))
    else:
        rest = "" if next_step.has_service() else next_step.typed(", while this runs: firstlight run")
        print(f"Provisioned, not yet registered: it registers by itself when a network appears{rest}.")


def _with_network(settings: Settings, outcome: Outcome, tell: Callable[[str], None]) -> Outcome:
    """What became of the network that came with the code: root may still be at work on it."""
    from firstlight.system.network import RESULT, WISH
    from firstlight.system.store import StateDirectory

    store = StateDirectory(settings.state_dir)
    if not store.has(WISH) and not store.has(RESULT):
        return outcome
    code, sentence = networks.answer(store, networks.WAIT_S if networks.is_watched() else 0.0)
    tell(sentence)
    return outcome._replace(network=code)


def registered(settings: Settings, wait_s: float) -> str:
    """The device id of the registration, as soon as there is one, "" = not in that time, or the agent says why not."""
    from firstlight.cli import status
    from firstlight.system.store import StateDirectory

    store = StateDirectory(settings.state_dir)
    until_s = time.monotonic() + wait_s
    while (registration := store.load_registration()) is None:
        if time.monotonic() >= until_s or status.read(settings).get("reason"):
            return ""
        select.select([], [], [], LOOK_S)
    return registration.device_id
