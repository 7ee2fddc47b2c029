"""paho without the modules that the agent never asks of it; that it works so is shown by tests/rules/test_lean.py."""

import json
import subprocess
import sys
import sysconfig

LOOK = """
import sys; sys.path.append(sys.argv[1])
{first}
import json
from firstlight.transports import lean_paho
absent = [name for name in lean_paho.STAND_INS if name not in sys.modules]
is_same = lean_paho.client.logging is sys.modules.get("logging")
import logging, platform, urllib.parse, urllib.request, uuid
real = [logging.getLogger("x").name, urllib.parse.quote("a b"), hasattr(urllib.request, "urlopen")]
real += [platform.system() != "", len(str(uuid.uuid4()))]
print(json.dumps([absent, is_same, real]))
"""
HOLDERS = """
import sys; sys.path.append(sys.argv[1])
from firstlight.transports import lean_paho
import json
made = [module for module in vars(lean_paho.client).values() if type(module) is type(sys) and not module.__spec__]
print(json.dumps(sorted({
    name for name, module in sys.modules.items() for one in made if module and one in vars(module).values()
}) + [len(made)]))
"""
REAL = ["x", "a%20b", True, True, 36]


def look(first: str = "", script: str = LOOK) -> list[object]:
    """What a fresh process finds after importing paho: which modules are absent, whose logging paho has, what works."""
    command = [sys.executable, "-I", "-S", "-c", script.replace("{first}", first), sysconfig.get_path("purelib")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def test_stand_ins_leave_with_the_import() -> None:
    """A lean process has none of the modules afterwards, and whoever asks for them gets the real ones."""
    absent, is_same, real = look()
    assert absent == ["urllib", "urllib.parse", "urllib.request", "logging", "platform", "uuid", "socks", "dns"]
    assert (is_same, real) == (False, REAL)


def test_rich_process_is_left_as_it_is() -> None:
    """A process that has the real modules keeps them, and so does paho."""
    absent, is_same, real = look("import logging, platform, urllib.request, uuid")
    assert absent == ["socks", "dns"]
    assert (is_same, real) == (True, REAL)


def test_only_paho_holds_stand_ins() -> None:
    """No module of Python's own was imported for the first time meanwhile and kept a stand-in for good."""
    assert look(script=HOLDERS) == ["paho.mqtt.client", 4]
