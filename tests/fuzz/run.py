"""``make fuzz``: the targets under atheris, one process each; what was run is added to a record.

    python -m tests.fuzz.run FOLDER INPUTS [TARGET …]

FOLDER keeps a corpus for each target, inputs that made one fail, and ``record.jsonl`` (target, inputs, seconds, date,
result). Without TARGETs the inputs are shared among all of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import datetime, timezone
from importlib import import_module
from pathlib import Path

CHEAP = {"parts": 2, "typed_code": 2, "cbor": 2, "wire": 2}  # those that run fast get more of the inputs
SECONDS_EACH = 25  # after which a single input counts as hung
MEMORY_MB = 1024


def fuzz(name: str, arguments: list[str]) -> None:
    """Runs one target in this process, which libFuzzer ends."""
    atheris = import_module("atheris")  # in an environment of its own: packaging/requirements-fuzz.txt
    with atheris.instrument_imports(include=["firstlight", "base45"]):
        from tests.fuzz.targets import TARGETS

    atheris.Setup([sys.argv[0], *arguments], TARGETS[name][0])
    atheris.Fuzz()


def shares(inputs: int, names: list[str]) -> dict[str, int]:
    """How many inputs each target gets."""
    weights = {name: CHEAP.get(name, 1) for name in names}
    return {name: -(-inputs * weight // sum(weights.values())) for name, weight in weights.items()}


def record(folder: Path, inputs: int, names: list[str]) -> int:
    """Runs the targets one after the other. Returns how many failed."""
    from tests.fuzz.targets import TARGETS

    failed = 0
    for name, count in shares(inputs, names or list(TARGETS)).items():
        corpus, found = folder / "corpus" / name, folder / "found" / name
        for each in (corpus, found):
            each.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(TARGETS[name][1]):
            (corpus / f"seed-{number:03d}").write_bytes(seed)
        limits = [f"-runs={count}", "-max_len=1500", f"-timeout={SECONDS_EACH}", f"-rss_limit_mb={MEMORY_MB}"]
        tell(f"{name}, {count} inputs")
        begun = time.monotonic()
        command = [sys.executable, "-m", "tests.fuzz.run", "--one", name, *limits, f"-artifact_prefix={found}/"]
        with (folder / f"{name}.log").open("wb") as log:
            status = subprocess.run([*command, "-print_final_stats=1", str(corpus)], stderr=log, check=False).returncode
        failed += status != 0
        line = {
            "target": name,
            "inputs": executed(folder / f"{name}.log"),
            "seconds": round(time.monotonic() - begun),
            "date": datetime.now(timezone.utc).date().isoformat(),
            "result": "nothing found" if status == 0 else f"failed, see {folder}/{name}.log",
        }
        with (folder / "record.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        tell(json.dumps(line))
    return failed


def tell(line: str) -> None:
    """One line of progress."""
    sys.stdout.write(f"fuzz: {line}\n")
    sys.stdout.flush()


def executed(log: Path) -> int:
    """How many inputs libFuzzer says that it ran."""
    mark = "stat::number_of_executed_units:"
    lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.startswith(mark)]
    return int(lines[-1].removeprefix(mark)) if lines else 0


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        fuzz(sys.argv[2], sys.argv[3:])
    else:
        sys.exit(1 if record(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]) else 0)
