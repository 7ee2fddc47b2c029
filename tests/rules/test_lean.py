"""The process that stays for months loads what its allow-list names, and nothing else (design sections 2 and 6)."""

import json
import subprocess
import sys
import sysconfig
from functools import cache

import pytest

from tests.rules.sources import SOURCE_ROOTS, imports, modules

DAEMON = SOURCE_ROOTS["firstlight"] / "firstlight" / "daemon"
ALLOW_LIST = DAEMON / "allowed_imports.txt"

# Each costs megabytes or wake-ups; no allow-list may let them in.
TOO_HEAVY = (
    *("asyncio", "concurrent", "dataclasses", "inspect", "logging", "multiprocessing", "typing", "unittest"),
    *("cbor2", "cryptography", "httpx", "PIL", "psutil", "pydantic"),
)


def covers(allowed: str, name: str) -> bool:
    """Whether a dotted name is the allowed one or lies below it."""
    return name == allowed or name.startswith(f"{allowed}.")


@cache
def loaded() -> tuple[str, ...]:
    """What a fresh process holds after importing the daemon; -S keeps .pth files from hiding or adding modules."""
    script = (
        "import sys; bare = set(sys.modules); sys.path.append(sys.argv[1]); import firstlight.daemon.main;"
        "names = sorted(set(sys.modules) - bare); import json; print(json.dumps(names))"
    )
    command = [sys.executable, "-I", "-S", "-c", script, sysconfig.get_path("purelib")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(json.loads(done.stdout))


def allowed() -> set[str]:
    """The allow-list: one name a line, which stands for itself and all below it; # starts a comment."""
    assert ALLOW_LIST.exists(), f"{ALLOW_LIST} is missing: the daemon needs its import allow-list beside it"
    written = (line.partition("#")[0].strip() for line in ALLOW_LIST.read_text(encoding="utf-8").splitlines())
    return {name.removesuffix(".*") for name in written if name}


def test_daemon_loads_only_what_its_allow_list_names() -> None:
    """Importing the beating process brings in no module outside agent/firstlight/daemon/allowed_imports.txt."""
    names = allowed()
    assert "firstlight" not in names, "name our own modules one by one: the bare package would let all of them in"
    # Loading a.b loads a; only naming a lets in all below it.
    strangers = [name for name in loaded() if not any(covers(one, name) or covers(name, one) for one in names)]
    assert not strangers, "not in the allow-list: " + " ".join(strangers)


@pytest.mark.parametrize("heavy", TOO_HEAVY)
def test_daemon_loads_nothing_heavy(heavy: str) -> None:
    """Importing the beating process loads none of the modules that are too heavy to keep for months."""
    assert not [name for name in loaded() if covers(heavy, name)]


def test_modules_of_the_daemon_load_nothing_heavy_later() -> None:
    """No module that the beating process loads imports something heavy inside a function either."""
    ours = modules("firstlight")
    late = [
        f"{ours[name].path}:{found.line}: {found.name}"
        for name in loaded()
        if name in ours
        for found in imports(ours[name], for_types=False)
        if any(covers(heavy, found.name) for heavy in TOO_HEAVY)
    ]
    assert not late, "\n".join(late)
