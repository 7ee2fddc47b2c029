"""Settings: file < environment < flags. Read at the door, never while beating; the only reader of the environment.

The file is ``agent.toml``: the one the launcher or ``--config`` names, else systemd's credential of that name, else
``/etc/firstlight/agent.toml`` for root and ``~/.config/firstlight/agent.toml`` for others. A missing default file is
fine; unknown names and wrong types are refused by name.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NamedTuple

from firstlight.core.model import Secret
from firstlight.errors import UsageError
from firstlight.transports.proxy import Proxy, parse_proxy

MAX_FILE_BYTES = 65_536
MAX_SECRET_BYTES = 4_096

# name -> (environment variable, what it is); docs/settings.md shows this table, and a test compares them.
SETTINGS = {
    "state_dir": ("FIRSTLIGHT_STATE_DIR", "where registration, key and kept beats live"),
    "runtime_dir": ("FIRSTLIGHT_RUNTIME_DIR", "where the running agent writes its status"),
    "proxy": ("FIRSTLIGHT_PROXY", "HTTP proxy on the way to the hub, http://HOST:PORT"),
    "proxy_auth_file": ("FIRSTLIGHT_PROXY_AUTH_FILE", "file with USER:PASSWORD for the proxy"),
    "hub": ("FIRSTLIGHT_HUB", "address of the hub, https://HOST:PORT"),
    "pin": ("FIRSTLIGHT_PIN", "pin of the hub's key, sha256//BASE64"),
    "ca_file": ("FIRSTLIGHT_CA_FILE", "PEM file with the hub's CA"),
    "workspace": ("FIRSTLIGHT_WORKSPACE", "workspace for the desk verbs"),
    "api_key_file": ("FIRSTLIGHT_API_KEY_FILE", "file with the operator key for the desk verbs"),
    "trust_dir": ("FIRSTLIGHT_TRUST_DIR", "folder of the public keys that offline payloads must be signed with"),
    "payload_trust": ("FIRSTLIGHT_PAYLOAD_TRUST", "offline payloads taken in: signed (by such a key), or any"),
    "device_type": ("FIRSTLIGHT_DEVICE_TYPE", "type of this box, for payloads that are for one type only"),
    "serial": ("FIRSTLIGHT_SERIAL", "serial number of this box, where the machine's own is not the one on the label"),
    "apply_network": ("FIRSTLIGHT_APPLY_NETWORK", "whether a payload may set up the network: no, or yes"),
    "hooks_dir": ("FIRSTLIGHT_HOOKS_DIR", "folder of the hooks, with one folder for each kind of event"),
    "hook_limit_s": ("FIRSTLIGHT_HOOK_LIMIT_S", "how long a hook may take, 1 to 3600 seconds: 60"),
    "camera_command": ("FIRSTLIGHT_CAMERA_COMMAND", "command that writes pictures, for a camera without /dev/video"),
    "scanner_device": ("FIRSTLIGHT_SCANNER_DEVICE", "hand scanners of the headless service: paths, or none"),
    "led": ("FIRSTLIGHT_LED", "LED that answers, a name in /sys/class/leds, or none"),
    "beeper": ("FIRSTLIGHT_BEEPER", "file that switches a buzzer with 1 and 0, or none"),
}
# Settings with few values, the default first.
CHOICES = {"payload_trust": ("signed", "any"), "apply_network": ("no", "yes")}


class Settings(NamedTuple):
    """Every setting, "" where it is not given and has no default; the meaning of each is in ``SETTINGS``."""

    state_dir: str = ""
    runtime_dir: str = ""
    proxy: str = ""
    proxy_auth_file: str = ""
    hub: str = ""
    pin: str = ""
    ca_file: str = ""
    workspace: str = ""
    api_key_file: str = ""
    trust_dir: str = ""
    payload_trust: str = ""
    device_type: str = ""
    serial: str = ""
    apply_network: str = ""
    hooks_dir: str = ""
    hook_limit_s: str = ""
    camera_command: str = ""
    scanner_device: str = ""
    led: str = ""
    beeper: str = ""


def load(config: str | None, flags: dict[str, str | None], env: dict[str, str] | None = None) -> Settings:
    """Reads file, environment and flags; the later wins.

    Args:
        config: settings file that must exist, or None for the usual places.
        flags: setting name -> value typed, None where it was not typed.
        env: the environment; the process's own by default.

    Raises:
        UsageError: ``settings_invalid``, ``settings_unreadable``.
    """
    env = dict(os.environ) if env is None else env
    found = _from_file(config, env)
    found.update({name: env[variable] for name, (variable, _) in SETTINGS.items() if env.get(variable)})
    found.update({name: value for name, value in flags.items() if value})
    for name, choices in CHOICES.items():
        if found.setdefault(name, choices[0]) not in choices:
            raise UsageError("settings_invalid", f"The setting {name!r} must be one of: {', '.join(choices)}.")
    settings = Settings(**found)
    beside = (Path(config) if config else _usual_file(env)).parent
    trust_dir, hooks_dir = settings.trust_dir or str(beside / "trust.d"), settings.hooks_dir or str(beside / "hooks")
    state_dir = settings.state_dir or _default_state_dir(env)
    runtime_dir = settings.runtime_dir or env.get("RUNTIME_DIRECTORY", "").split(":")[0]
    return settings._replace(
        state_dir=str(Path(state_dir).expanduser().absolute()),
        runtime_dir=str(Path(runtime_dir).absolute()) if runtime_dir else "",
        trust_dir=str(_expanded(trust_dir).absolute()),
        hooks_dir=str(_expanded(hooks_dir).absolute()),
    )


def _default_state_dir(env: dict[str, str]) -> str:
    if env.get("STATE_DIRECTORY"):  # systemd gave this service one
        return env["STATE_DIRECTORY"].split(":")[0]
    if os.geteuid() == 0:
        return "/var/lib/firstlight"
    return str(Path(env.get("XDG_STATE_HOME") or "~/.local/state") / "firstlight")


def _default_file(env: dict[str, str]) -> Path:
    if env.get("CREDENTIALS_DIRECTORY"):
        credential = Path(env["CREDENTIALS_DIRECTORY"]) / "agent.toml"
        if credential.exists():
            return credential
    return _usual_file(env)


def _usual_file(env: dict[str, str]) -> Path:
    if os.geteuid() == 0:
        return Path("/etc/firstlight/agent.toml")
    return _expanded(env.get("XDG_CONFIG_HOME") or "~/.config") / "firstlight" / "agent.toml"


def _expanded(path: str) -> Path:
    """With the user's home in place of ``~``; as it is for a service's user, who may have none."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def desk_tables(config: str | None, env: dict[str, str] | None = None) -> dict[str, dict[str, str]]:
    """What the settings file says of each platform's desk, its tables ``[desk.NAME]``; the same file as ``load``.

    Raises:
        UsageError: ``settings_invalid``, ``settings_unreadable``.
    """
    return _parsed(config, dict(os.environ) if env is None else env)[1]


def _from_file(config: str | None, env: dict[str, str]) -> dict[str, str]:
    return _parsed(config, env)[0]


def _parsed(config: str | None, env: dict[str, str]) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """The settings of the file, and the tables of its desks."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    credential = Path(env["CREDENTIALS_DIRECTORY"], "agent.toml") if env.get("CREDENTIALS_DIRECTORY") else None
    # Inside the service the file itself is root's; systemd hands its content over as a credential.
    path = credential if credential and credential.exists() else Path(config) if config else _default_file(env)
    try:
        body = read_bounded(path, MAX_FILE_BYTES)
    except FileNotFoundError:
        if config:
            raise UsageError(
                "settings_unreadable", f"The settings file {path} does not exist.", "Check the path."
            ) from None
        return {}, {}
    except OSError as error:
        raise unreadable(f"The settings file {path}", error) from None
    try:
        parsed = tomllib.loads(body.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UsageError("settings_invalid", f"{path} is not valid TOML: {error}.") from None
    desks = _desks(parsed.pop("desk", {}), path)
    for name, value in parsed.items():
        if name not in SETTINGS:
            raise UsageError(
                "settings_invalid", f"{path} has an unknown setting {name!r}; there are: {', '.join(SETTINGS)}."
            )
        if not isinstance(value, str):
            raise UsageError("settings_invalid", f"{name!r} in {path} is not a text.")
    return parsed, desks


def _desks(found: object, path: Path) -> dict[str, dict[str, str]]:
    tables: dict[str, dict[str, str]] = {}
    for name, table in (found if isinstance(found, dict) else {"": found}).items():
        if not isinstance(table, dict):
            raise UsageError("settings_invalid", f"{path} has no tables in 'desk': write [desk.huawei], a line a name.")
        wrong = next((key for key, value in table.items() if not isinstance(value, str)), None)
        if wrong is not None:
            raise UsageError("settings_invalid", f"'{wrong}' in [desk.{name}] of {path} is not a text.")
        tables[name] = table
    return tables


def read_bounded(path: Path, limit_bytes: int) -> bytes:
    """A file's content; UsageError when it is larger than ``limit_bytes``. Raises OSError as ``open`` does."""
    with path.open("rb") as file:
        body = file.read(limit_bytes + 1)
    if len(body) > limit_bytes:
        raise UsageError("settings_invalid", f"{path} is larger than {limit_bytes} bytes.")
    return body


def unreadable(what: str, error: OSError) -> UsageError:
    """What a file is called that was named and cannot be read; a path that leads nowhere is not a matter of rights."""
    hint = "Check the path." if isinstance(error, (FileNotFoundError, NotADirectoryError, IsADirectoryError)) else ""
    return UsageError("settings_unreadable", f"{what} cannot be read: {error.strerror}.", hint)


def read_secret_file(path: str, what: str) -> Secret:
    """A secret from the first line of a file.

    Raises:
        UsageError: the file cannot be read, is empty, or others than its owner may read it.
    """
    text = read_secret_text(path, what)
    if not text or "\n" in text:
        raise UsageError("settings_invalid", f"{path} does not hold {what} on its one line.")
    return Secret(text)


def read_secret_text(path: str, what: str) -> str:
    """The text of a file that others than its owner may not read, trimmed. Raises UsageError."""
    try:
        if Path(path).stat().st_mode & 0o004:
            raise UsageError(
                "settings_invalid", f"{path} with {what} is readable by everyone.", f"Run: chmod 600 {path}"
            )
        return read_bounded(Path(path), MAX_SECRET_BYTES).decode("utf-8").strip()
    except OSError as error:
        raise unreadable(f"{path} with {what}", error) from None
    except UnicodeDecodeError:
        raise UsageError("settings_invalid", f"{path} with {what} is not text.") from None


def proxy_of(settings: Settings, host: str, env: dict[str, str] | None = None) -> Proxy | None:
    """The proxy on the way to a host (IPv6 in brackets), its password read from its file; None for a direct way.

    The setting wins; without it ``https_proxy`` and ``no_proxy`` count, as other tools read them. Loopback is direct.

    Raises:
        UsageError: the address cannot be used, or carries a password itself.
    """
    address = proxy_address(settings, host, env)
    if not address:
        return None
    auth = read_secret_file(settings.proxy_auth_file, "the proxy's password") if settings.proxy_auth_file else None
    return parse_proxy(address, auth.reveal() if auth else None)


def proxy_address(settings: Settings, host: str, env: dict[str, str] | None = None) -> str:
    """The proxy's address for a host, "" for a direct way."""
    env = dict(os.environ) if env is None else env
    host = host.strip("[]")
    if host in ("localhost", "::1") or host.startswith("127."):
        return ""
    if settings.proxy:
        return settings.proxy
    for entry in (env.get("no_proxy") or env.get("NO_PROXY") or "").split(","):
        suffix = entry.strip().lstrip(".").lower()
        if suffix == "*" or (suffix and (host == suffix or host.endswith("." + suffix))):
            return ""
    return env.get("https_proxy") or env.get("HTTPS_PROXY") or ""
