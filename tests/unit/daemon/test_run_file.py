"""What the door hands over to the process that stays: which host is behind the proxy, and what survives a change."""

import json
from pathlib import Path

import pytest

from firstlight.cli.run import run_file_of
from firstlight.cli.settings import Settings
from firstlight.core.model import Registration, parse_broker, parse_endpoint
from firstlight.daemon.run_file import RunFile, read_run_file
from firstlight.errors import UsageError
from firstlight.system.store import StateDirectory
from tests.unit.daemon.world import OVER_MQTT, REGISTRATION

PROXY = "http://proxy.example:3128"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy of this machine's own."""
    for name in ("https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


def handed_over(folder: Path, registration: Registration, typed: Settings | None = None) -> RunFile:
    """What the daemon reads of what the door writes."""
    store = StateDirectory(str(folder / "state"))
    store.prepare()
    settings = (typed or Settings())._replace(state_dir=store.path)
    store.write_json("run.json", run_file_of(settings, store, registration))
    return read_run_file(f"{store.path}/run.json")


def at(hub: str, broker: str) -> Registration:
    """A device of that hub and that broker."""
    return OVER_MQTT._replace(endpoint=parse_endpoint(hub), broker=parse_broker(broker))


@pytest.mark.parametrize("broker", ["mqtts://{}", "wss://{}/mqtt"])
@pytest.mark.parametrize(
    ("hub_host", "broker_host", "no_proxy", "behind"),
    [
        ("hub.example", "mq.example", "", (True, True)),
        ("hub.example", "mq.example", "mq.example", (True, False)),
        ("hub.example", "mq.example", ".example", (False, False)),
        ("hub.example", "mq.example", "hub.example", (False, True)),
        ("hub.example", "127.0.0.1", "", (True, False)),
        ("127.0.0.1", "mq.example", "", (False, True)),
        ("hub.example", "[::1]", "", (True, False)),
    ],
)
def test_hub_and_broker_have_each_their_own_way(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    broker: str,
    hub_host: str,
    broker_host: str,
    no_proxy: str,
    behind: tuple[bool, bool],
) -> None:
    """``no_proxy`` and loopback are judged by the name of the host itself, in the daemon as while enrolling."""
    monkeypatch.setenv("https_proxy", PROXY)
    monkeypatch.setenv("no_proxy", no_proxy)
    found = handed_over(tmp_path, at(f"https://{hub_host}", broker.format(broker_host)))

    assert (found.proxy_to(hub_host) is not None, found.proxy_to(broker_host) is not None) == behind


def test_the_proxys_password_stays_in_its_file(tmp_path: Path) -> None:
    """The run file names the file."""
    secret = tmp_path / "auth"
    secret.write_text("user:planted-password")
    secret.chmod(0o600)
    found = handed_over(tmp_path, REGISTRATION, Settings(proxy=PROXY, proxy_auth_file=str(secret)))
    proxy = found.proxy_to("hub.example")

    assert proxy is not None and proxy.authorization is not None
    assert "planted" not in Path(tmp_path, "state", "run.json").read_text()


def test_without_a_proxy_there_is_none(tmp_path: Path) -> None:
    """Nothing set, nothing used."""
    assert handed_over(tmp_path, OVER_MQTT).proxy_to("hub.example") is None


def test_haste_and_log_level_outlive_a_change(tmp_path: Path) -> None:
    """The door writes the file anew and takes over what nobody sets there; it leaves what it knows itself."""
    handed_over(tmp_path, REGISTRATION)
    path = tmp_path / "state" / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "haste": 60.0, "logLevel": 3, "stateDir": "/x"}))
    found = handed_over(tmp_path, REGISTRATION)

    assert (found.haste, found.log_level, found.state_dir) == (60.0, 3, str(tmp_path / "state"))


@pytest.mark.parametrize(
    "former", ["[]", "{", '{"haste": 0}', '{"haste": "x"}', '{"logLevel": 99}', '{"logLevel": []}']
)
def test_a_former_run_file_that_cannot_be_used_is_no_reason_to_stay_offline(tmp_path: Path, former: str) -> None:
    """What is damaged or out of bounds is not taken over."""
    handed_over(tmp_path, REGISTRATION)
    (tmp_path / "state" / "run.json").write_text(former)
    found = handed_over(tmp_path, REGISTRATION)

    assert (found.haste, found.log_level) == (1.0, 6)


@pytest.mark.parametrize("hosts", ["hub.example", [1], ["h"] * 65])
def test_hosts_that_are_no_words_are_refused(tmp_path: Path, hosts: object) -> None:
    """A run file that was tampered with is named, and not guessed at."""
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"stateDir": "/x", "proxy": {"url": "p:1", "hosts": hosts}}))
    with pytest.raises(UsageError) as caught:
        read_run_file(str(path))

    assert caught.value.code == "settings_invalid"
