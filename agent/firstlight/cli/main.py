"""``firstlight``: finds the verb, loads only that verb, turns every error into a sentence and an exit status.

The front is written by hand (no argparse): ``firstlight --help`` costs little more than Python itself. Each verb parses
its own options.
"""

from __future__ import annotations

import sys

from firstlight import __version__
from firstlight.errors import FirstlightError, UnreachableError, UsageError
from firstlight.system import place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# verb -> (module, one line for --help); the description completes "could not ..." in error messages.
ON_THIS_BOX = {
    "enroll": ("firstlight.cli.enroll", "enroll this box with an installId or a device file"),
    "firstboot": ("firstlight.cli.firstboot", "enroll this box with the invitation that waits on it"),
    "scan": ("firstlight.cli.scan", "take in the code on a label, with or without a network"),
    "provision": ("firstlight.cli.provision_service", "wait for this box's code by camera, USB stick and scanner"),
    "run": ("firstlight.cli.run", "run the agent: send heartbeats until stopped"),
    "status": ("firstlight.cli.status", "show whether this box is enrolled and online"),
    "doctor": ("firstlight.cli.doctor", "find what is wrong with this box or its way to the hub, and what helps"),
    "logs": ("firstlight.cli.logs", "show what the agent's services have written"),
    "facts": ("firstlight.cli.facts", "show what this machine tells about itself"),
    "receipt": ("firstlight.cli.receipt", "show a signed code that tells the hub how this box is"),
    "network": ("firstlight.cli.network", "show or set up the network that a code brought"),
    "hooks": ("firstlight.cli.hooks", "show or run the executables that an integrator has put here"),
    "rotate": ("firstlight.cli.rotate", "replace this box's key and credential now"),
    "upgrade": ("firstlight.cli.upgrade", "upgrade the agent"),
    "reset": ("firstlight.cli.reset", "reset this box, so that it can be enrolled anew"),
}
# The desk verbs by their second word.
DESK_ACTS = {
    "create": "create the device",
    "list": "list the devices",
    "show": "show the device",
    "invite": "invite the device",
    "qr": "draw the code",
    "labels": "print the labels",
    "stick": "write the stick's files",
    "receipt": "report the receipt",
    "revoke": "end the device's credential",
    "rotate": "have the credential replaced",
    "remove": "remove the device",
    "reset-fingerprint": "have the device's certificate forgotten",
}
AGAIN = "Run the command again."
AT_THE_DESK = {
    "device": ("firstlight.cli.device", "create, list, show, invite … devices on a platform; codes, labels, receipts"),
}


def help_text() -> str:
    """What ``firstlight --help`` prints."""

    def lines(verbs: dict[str, tuple[str, str]]) -> str:
        return "\n".join(f"  {verb:<9} {line}" for verb, (_, line) in verbs.items())

    return (
        "usage: firstlight VERB [OPTIONS]\n\n"
        "Turns a fresh Linux box into a managed, heartbeating device.\n\n"
        f"On this box:\n{lines(ON_THIS_BOX)}\n\n"
        f"At the desk:\n{lines(AT_THE_DESK)}\n\n"
        "'firstlight VERB --help' explains a verb. 'firstlight --version' prints the version.\n"
        "With --debug before the verb, a fault shows where it happened."
    )


def main(argv: list[str] | None = None, config: str | None = None) -> int:
    """Runs one verb.

    Args:
        argv: words after the program's name; the process's own by default.
        config: settings file of this installation (an installed launcher names it); None = the usual places.

    Returns:
        the exit status: 0, or that of the error (see ``firstlight.errors``), 130 when interrupted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = bool(words) and words[0] == "--debug"
    if debug:
        words.pop(0)
    if not words or words[0] in ("-h", "--help", "help"):
        print(help_text())
        return 0 if words else UsageError.exit_status
    if words[0] in ("--version", "-V"):
        print(f"firstlight {__version__}")
        return 0
    verbs = {**ON_THIS_BOX, **AT_THE_DESK}
    found = verbs.get(words[0])
    if found is None:
        known = ", ".join(verbs)
        return report([], "", UsageError("usage", f"There is no verb {words[0]!r}; there are: {known}."))
    return _perform(found[0], found[1], words, config, debug)


def _perform(module: str, line: str, words: list[str], config: str | None, debug: bool) -> int:
    try:
        if layer := place.scan_layer():
            sys.path.append(layer)
        verb: Callable[[list[str], str | None], int] = __import__(module, fromlist=["verb"]).verb
        status = verb(words[1:], config)
        sys.stdout.flush()
        return status
    except FirstlightError as error:
        if debug:
            raise
        return report(words, line, error)
    except KeyboardInterrupt:
        print("firstlight: interrupted; running the same command again goes on where this one was.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output went away; what is buffered has nowhere to go.
        sys.stdout = None
        return 141
    except Exception as error:  # the last resort: no traceback reaches a user
        if debug:
            raise
        where = f"{type(error).__name__} in {_deepest(error)}"
        return report(words, line, FirstlightError("internal", f"An unexpected fault: {where}."))


def _deepest(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}" if trace else "unknown place"


def report(words: list[str], line: str, error: FirstlightError) -> int:
    """Prints an error as a technician reads it, with --json as an object too.

    Args:
        words: the command line, verb first.
        line: what the verb does, as --help says it.
        error: what went wrong.

    Returns:
        its exit status.
    """
    # Here, so that --help does not pay for them.
    import json
    from contextlib import suppress

    from firstlight.cli import next_step

    act = DESK_ACTS.get(words[1] if len(words) > 1 else "", "") if words[:1] == ["device"] else line
    sentence = f"{error.message} [{error.code}]"
    hint = next_step.typed(_hint_once(error))
    if error.code == "usage" or not act:
        # Nothing was tried yet.
        verb = [word for word in words[: 2 if words[:1] == ["device"] else 1] if not word.startswith("-")]
        print(f"{' '.join(['firstlight', *verb])}: {sentence}", file=sys.stderr)
    else:
        print(f"firstlight: could not {act}:\n  {sentence}", file=sys.stderr)
    if hint:
        print(f"  {hint}", file=sys.stderr)
    if "--json" in words[1:]:
        with suppress(OSError):
            print(json.dumps({"error": {"code": error.code, "message": error.message, "hint": hint}}), flush=True)
    return error.exit_status


def _hint_once(error: FirstlightError) -> str:
    """The next step after a verb that was given up: nobody tries again but the person who reads this."""
    hint = error.hint.replace("The agent tries again by itself.", AGAIN)
    if isinstance(error, UnreachableError) and AGAIN not in hint and error.code != "rotation_failed":
        hint = f"{hint} Then run the command again.".strip()
    return hint
