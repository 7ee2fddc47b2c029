"""Settings: file < environment < flags, each refused by name when it cannot be used."""

from pathlib import Path

import pytest

from firstlight.cli import settings
from firstlight.core.model import parse_endpoint
from firstlight.errors import UsageError

HUB = parse_endpoint("https://hub.example:8443")


def test_flags_win_over_environment_over_file(tmp_path: Path) -> None:
    """Each level overrides the one before, setting by setting."""
    file = tmp_path / "agent.toml"
    file.write_text('hub = "https://file"\npin = "file"\nworkspace = "file"\n')
    env = {"FIRSTLIGHT_PIN": "environment", "FIRSTLIGHT_WORKSPACE": "environment", "HOME": str(tmp_path)}

    found = settings.load(str(file), {"workspace": "flag", "hub": None}, env)

    assert (found.hub, found.pin, found.workspace) == ("https://file", "environment", "flag")


def test_every_setting_has_a_place_and_a_variable() -> None:
    """The table, the value and the names of the variables belong together."""
    assert list(settings.SETTINGS) == list(settings.Settings._fields)
    for name, (variable, _) in settings.SETTINGS.items():
        assert f"FIRSTLIGHT_{name.upper()}" == variable


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('hubb = "https://x"', "hubb"),
        ("hub = 5", "hub"),
        ("hub =", "TOML"),
        ("\udcff", "TOML"),
        ("a = 1\n" * 20_000, "larger"),
    ],
)
def test_bad_files_are_refused_by_name(tmp_path: Path, text: str, named: str) -> None:
    """An unknown name, a wrong type, broken TOML or an endless file is one sentence that says so."""
    file = tmp_path / "agent.toml"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))

    with pytest.raises(UsageError) as caught:
        settings.load(str(file), {}, {})

    assert caught.value.code == "settings_invalid"
    assert named in caught.value.message


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    """A settings file that was named and is not there is an error; the default one may be missing."""
    with pytest.raises(UsageError):
        settings.load(str(tmp_path / "none.toml"), {}, {})
    env = {"XDG_CONFIG_HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path), "CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert settings.load(None, {"state_dir": str(tmp_path)}, env).hub == ""


def test_systemd_credential_is_found(tmp_path: Path) -> None:
    """Inside the service, settings come from the credential that systemd hands over."""
    (tmp_path / "agent.toml").write_text('hub = "https://credential"')

    assert settings.load(None, {}, {"CREDENTIALS_DIRECTORY": str(tmp_path)}).hub == "https://credential"


def test_systemd_names_the_state_directory(tmp_path: Path) -> None:
    """Inside a service the directory that systemd made counts, unless another was named."""
    env = {"STATE_DIRECTORY": f"{tmp_path}/own:{tmp_path}/second", "XDG_CONFIG_HOME": str(tmp_path)}
    assert settings.load(None, {}, env).state_dir == f"{tmp_path}/own"
    assert settings.load(None, {"state_dir": "/srv/typed"}, env).state_dir == "/srv/typed"


@pytest.mark.parametrize(
    ("explicit", "env", "endpoint", "expected"),
    [
        ("", {}, "https://hub.example", ""),
        ("", {"https_proxy": "http://p:1"}, "https://hub.example", "http://p:1"),
        ("", {"HTTPS_PROXY": "http://p:1"}, "https://hub.example", "http://p:1"),
        ("", {"https_proxy": "http://p:1", "no_proxy": "other, .example"}, "https://hub.example", ""),
        ("", {"https_proxy": "http://p:1", "no_proxy": "*"}, "https://hub.example", ""),
        ("", {"https_proxy": "http://p:1", "no_proxy": "xample"}, "https://hub.example", "http://p:1"),
        ("", {"https_proxy": "http://p:1"}, "https://127.0.0.1:8443", ""),
        ("http://q:2", {"https_proxy": "http://p:1", "no_proxy": "*"}, "https://hub.example", "http://q:2"),
        ("http://q:2", {}, "https://localhost:8443", ""),
    ],
)
def test_proxy_choice(explicit: str, env: dict[str, str], endpoint: str, expected: str) -> None:
    """The setting wins over the environment, no_proxy is honoured, and loopback is always direct."""
    chosen = settings.proxy_address(settings.Settings(proxy=explicit), parse_endpoint(endpoint).host, env)

    assert expected == chosen


@pytest.mark.parametrize("body", [b"", b"\n", b"one\ntwo\n", b"\xff\xfe"])
def test_secret_files_hold_one_line(tmp_path: Path, body: bytes) -> None:
    """An empty, many-lined or binary file is no secret."""
    file = tmp_path / "key"
    file.write_bytes(body)
    file.chmod(0o600)

    with pytest.raises(UsageError):
        settings.read_secret_file(str(file), "the key")


def test_secret_files_are_private(tmp_path: Path) -> None:
    """A secret that everyone can read is refused with the command that mends it; a private one is read."""
    file = tmp_path / "key"
    file.write_text("the-secret\n")
    file.chmod(0o644)
    with pytest.raises(UsageError) as caught:
        settings.read_secret_file(str(file), "the key")
    assert f"chmod 600 {file}" in caught.value.hint

    file.chmod(0o600)
    assert settings.read_secret_file(str(file), "the key").reveal() == "the-secret"
