"""Setting up a network through NetworkManager, where the settings allow it.

Two halves. Whoever takes a code in, which may be an unprivileged process, leaves a *wish* in the state directory. Root
(``firstlight network --apply``, started by firstlight-network.path) reads it, believes nothing of it beyond its strict
grammar, writes one profile of NetworkManager's, and has NetworkManager read and join it. No secret is in an argument.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from contextlib import suppress

from firstlight.core.model import Secret
from firstlight.core.network import problem_of
from firstlight.core.provision import Network
from firstlight.errors import StateError
from firstlight.system import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from firstlight.system.store import StateDirectory

    Run = Callable[[Sequence[str]], int]

WISH, RESULT = "network-wish.json", "network-result.json"
MAX_WISH_BYTES = 4096
FORMAT = 1
FOLDER = "/etc/NetworkManager/system-connections"
PROFILE = "firstlight.nmconnection"
UUID = "5f1a6d0e-7c34-5b5e-9a0b-1f6c2f0e7a11"  # one profile on a box: a new one takes the place of the one before
JOINED, NOT_JOINED = "network_joined", "network_not_joined"
JOIN_S = 30
NOT_RUNNING = 8  # nmcli's exit status
ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
TEXTS = ("ssid", "security", "address", "gateway")


def leave_wish(store: StateDirectory, network: Network) -> None:
    """Leaves it for root, 0600. Raises StateError (``state_unwritable``)."""
    passphrase = network.passphrase.reveal() if network.passphrase else None
    wish = {"format": FORMAT, **network._asdict(), "passphrase": passphrase}
    store.prepare()
    store.write_json(WISH, wish)


def read_wish(directory: str) -> Network | None:
    """What is wished for, None where nothing is.

    Raises:
        StateError: ``network_wish_malformed`` for what is no wish; ``state_corrupt`` for a link or what is too large,
            ``state_unreadable``.
    """
    found = files.read(directory, WISH, MAX_WISH_BYTES)
    if found is None:
        return None
    try:
        wish = json.loads(found[0])
    except (ValueError, RecursionError):
        wish = None
    network = _network(wish) if isinstance(wish, dict) else None
    problem = "It is none." if network is None else problem_of(network)
    if network is None or problem:
        raise StateError("network_wish_malformed", f"{os.path.join(directory, WISH)} is not applied. {problem}")
    return network


def _network(wish: dict[str, object]) -> Network | None:
    """None for anything but exactly what ``leave_wish`` writes."""
    passphrase, hidden, dns = wish.get("passphrase"), wish.get("is_hidden"), wish.get("dns")
    if set(wish) != {"format", *Network._fields} or wish["format"] != FORMAT or not isinstance(hidden, bool):
        return None
    texts = {name: str(wish[name]) for name in TEXTS if isinstance(wish[name], str)}
    if len(texts) < len(TEXTS) or not isinstance(dns, list) or not all(isinstance(each, str) for each in dns):
        return None
    if passphrase is not None and not isinstance(passphrase, str):
        return None
    secret = None if passphrase is None else Secret(passphrase)
    return Network(**texts, passphrase=secret, is_hidden=hidden, dns=tuple(dns))


def keyfile(network: Network) -> str:
    """The profile as NetworkManager reads it (its keyfile format; escapes are those of GLib's key files)."""
    kind = "wifi" if network.ssid else "ethernet"
    lines = ["[connection]", "id=firstlight", f"uuid={UUID}", f"type={kind}", "autoconnect=true"]
    if network.ssid:
        # As a list of bytes: a name of any bytes, and none that looks like such a list itself.
        name = "".join(f"{byte};" for byte in network.ssid.encode("utf-8"))
        lines += ["", "[wifi]", "mode=infrastructure", f"ssid={name}"]
        lines += ["hidden=true"] if network.is_hidden else []
        lines += _security(network)
    lines += _addresses(network, 4) + _addresses(network, 6)
    return "\n".join(lines) + "\n"


def _security(network: Network) -> list[str]:
    if network.passphrase is None:
        return []
    passphrase = escaped(network.passphrase.reveal())
    if network.security == "wep":
        return ["", "[wifi-security]", "key-mgmt=none", "wep-key-type=1", f"wep-key0={passphrase}"]
    # NetworkManager's wpa-psk is WPA2 and WPA3, as access point and Wi-Fi card have it.
    management = "sae" if network.security == "sae" else "wpa-psk"
    return ["", "[wifi-security]", f"key-mgmt={management}", f"psk={passphrase}"]


def _addresses(network: Network, version: int) -> list[str]:
    is_six = version == 6
    servers = [each for each in network.dns if (":" in each) == is_six]
    lines = ["", f"[ipv{version}]"]
    if network.address and (":" in network.address) == is_six:
        gateway = f",{network.gateway}" if network.gateway else ""
        lines += ["method=manual", f"address1={network.address}{gateway}"]
    else:
        lines += ["method=auto"]
    return lines + ([f"dns={''.join(f'{each};' for each in servers)}"] if servers else [])


def escaped(value: str) -> str:
    """A value as it stands in a key file: a space in front would be lost, and a backslash taken for an escape."""
    text = "".join(ESCAPES.get(each, each) for each in value)
    kept = text.lstrip(" ")
    return "\\s" * (len(text) - len(kept)) + kept


def nmcli(words: Sequence[str]) -> int:
    """NetworkManager's command with these words: its exit status; 127 where there is none, 124 where it hangs."""
    try:
        return subprocess.run(  # noqa: S603 - our own words
            ["nmcli", *words],  # noqa: S607 - where it is differs from system to system
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=JOIN_S + 15,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        return 124
    except OSError:
        return 127


def is_managed(run: Run = nmcli) -> bool:
    """Whether NetworkManager runs here and can be asked."""
    return shutil.which("nmcli") is not None and run(["general", "status"]) == 0


def apply(network: Network, folder: str = FOLDER, run: Run = nmcli) -> tuple[str, str]:
    """Writes the profile and has it joined. Needs root.

    Args:
        network: judged (``problem_of``).
        folder: where NetworkManager has its profiles.
        run: asks NetworkManager.

    Returns:
        ``network_joined`` or ``network_not_joined``, and a sentence. Not joined is no failure: the network may be out
        of reach now, and NetworkManager goes on trying.

    Raises:
        StateError: ``network_unmanaged``; ``network_refused``, then the profile is as it was before;
            ``state_unwritable``.
    """
    if not is_managed(run):
        raise StateError("network_unmanaged", "No NetworkManager runs on this box, so its network was left as it is.")
    before = files.read(folder, PROFILE)
    files.write(folder, PROFILE, keyfile(network).encode("utf-8"), mode=0o600)
    path = os.path.join(folder, PROFILE)
    if run(["connection", "load", path]) != 0:
        _put_back(folder, before[0] if before else None)
        run(["connection", "load", path])
        raise StateError("network_refused", "NetworkManager does not take this network; it was left as it is.")
    what = f"the Wi-Fi {network.ssid!r}" if network.ssid else "the wired network"
    if run(["--wait", str(JOIN_S), "connection", "up", "uuid", UUID]) == 0:
        return JOINED, f"This box has joined {what}."
    return NOT_JOINED, f"{what[:1].upper()}{what[1:]} is set up and not joined yet: out of reach, or a wrong password."


def _put_back(folder: str, before: bytes | None) -> None:
    if before is not None:
        files.write(folder, PROFILE, before, mode=0o600)
        return
    with suppress(OSError):
        os.unlink(os.path.join(folder, PROFILE))


def is_set_up(folder: str = FOLDER) -> bool:
    """Whether there is a profile of ours. False where that cannot be seen."""
    return os.path.lexists(os.path.join(folder, PROFILE))


def remove(folder: str = FOLDER, run: Run = nmcli) -> bool:
    """Takes our profile away; NetworkManager goes on with those it has. Returns whether there was one.

    Raises:
        StateError: ``state_unwritable``.
    """
    path = os.path.join(folder, PROFILE)
    if not os.path.lexists(path):
        return False
    if shutil.which("nmcli") is not None:
        run(["connection", "delete", "uuid", UUID])
    try:
        os.unlink(path)
    except FileNotFoundError:  # NetworkManager did it
        pass
    except OSError as error:
        raise files.unwritable(path, error) from None
    return True
