"""``python -m tests.twins NAME``: runs a twin for integrators until Ctrl-C (``make twin PLATFORM=NAME``)."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path

from tests.twins.kit.log import Seen
from tests.twins.kit.twin import Twin

HERE = Path(__file__).parent
HEARS = "What it hears:"


def names() -> list[str]:
    """Every twin that there is."""
    return sorted(path.parent.name for path in HERE.glob("*/__init__.py") if path.parent.name != "kit")


def write_private(path: Path, text: str) -> None:
    """A file that only its owner reads."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def introduce(twin: Twin[object], folder: Path) -> str:
    """What an integrator is told; writes the key's file and the CA's."""
    key_file, ca_file = folder / "operator.key", folder / "ca.pem"
    write_private(key_file, twin.operator_key + "\n")
    rows = {"management": twin.http_url, "MQTT": twin.mqtt_url, **twin.addresses, "operator key": str(key_file)}
    if twin.ca_pem:
        ca_file.write_text(twin.ca_pem)
        rows["CA"] = str(ca_file)
    width = max(map(len, rows))
    lines = [f"A twin of {twin.name} runs on this machine; Ctrl-C ends it and removes these files.", ""]
    lines += [f"  {name:<{width}}  {value}" for name, value in rows.items() if value]
    examples = twin.examples(key_file, ca_file)
    if examples:
        lines += ["", "Try:", *(f"  {line}" for line in examples)]
    return "\n".join([*lines, "", HEARS])


def show(seen: Seen) -> None:
    """One line of the log."""
    words = (seen.kind, seen.who, seen.what, str(seen.code) if seen.kind != "gone" else "")
    sys.stdout.write(" ".join(word for word in words if word).encode("ascii", "backslashreplace").decode() + "\n")
    sys.stdout.flush()


def main(words: list[str] | None = None) -> int:
    """Serves until Ctrl-C or SIGTERM.

    Returns:
        The exit status: 0 once it was ended.
    """
    parser = argparse.ArgumentParser(
        prog="python -m tests.twins", description="A small real server that behaves as a platform does."
    )
    parser.add_argument("name", choices=names(), help="the platform")
    parser.add_argument("--plain", action="store_true", help="HTTP and MQTT without TLS, on loopback")
    asked = parser.parse_args(words)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    module = importlib.import_module(f"tests.twins.{asked.name}")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"twin-{asked.name}-")))
        twin = stack.enter_context(module.serve(is_plain=asked.plain))
        sys.stdout.write(introduce(twin, folder) + "\n")
        sys.stdout.flush()
        twin.log.echo = show
        ended.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
