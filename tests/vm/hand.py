"""The tests' hand in the machine: a line of JSON asks for a command, a line of JSON answers with what came of it.

Asked:    {"id": n, "words": [...], "stdin": "..."}
Answered: {"id": n, "status": n, "stdout": "...", "stderr": "..."}, each output cut to its last ``OUTPUT_BYTES``.
It says {"id": 0, "boot": "..."} when it is there. Commands run one after the other.
"""

import json
import os
import subprocess
import sys

OUTPUT_BYTES = 1 << 20


def perform(asked: dict[str, object]) -> dict[str, object]:
    """Runs one command; 127 if there is none of that name."""
    try:
        done = subprocess.run(asked["words"], input=str(asked["stdin"]).encode(), capture_output=True, check=False)  # type: ignore[call-overload]
    except OSError as error:
        return {"id": asked["id"], "status": 127, "stdout": "", "stderr": str(error)}
    outputs = [text[-OUTPUT_BYTES:].decode("utf-8", "replace") for text in (done.stdout, done.stderr)]
    return {"id": asked["id"], "status": done.returncode, "stdout": outputs[0], "stderr": outputs[1]}


def main() -> None:
    """Serves one port for ever."""
    with open("/proc/sys/kernel/random/boot_id") as file:  # noqa: PTH123 - pathlib is slow to import
        said: dict[str, object] = {"id": 0, "boot": file.read().strip()}
    # One descriptor for both directions: a second open of the port is refused.
    port = os.open(sys.argv[1], os.O_RDWR)
    with os.fdopen(port, "rb", buffering=0) as listening:
        while True:
            left = json.dumps(said).encode() + b"\n"
            while left:
                left = left[os.write(port, left) :]
            heard = b""
            while not heard.endswith(b"\n"):
                heard += listening.read(65536) or b""
            said = perform(json.loads(heard))


if __name__ == "__main__":
    main()
