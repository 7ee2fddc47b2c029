"""hub.toml: what is written by init can be read, and what cannot be used is named."""

from pathlib import Path

import pytest

from firstlight.errors import FirstlightError, UsageError
from firstlight_hub.settings import Settings, load, parse, template

GOOD: dict[str, object] = {"hosts": ["hub.example"], "workspace": {"demo": {"features": ["deviceAio"]}}}


def test_template_has_every_setting_with_its_default(tmp_path: Path) -> None:
    """The commented file of init reads back as the defaults."""
    path = tmp_path / "hub.toml"
    path.write_text(template(("hub.example", "fd00::1"), 9443, "demo"))
    features = {"demo": frozenset({"deviceAio", "roboflowLiteMode"})}
    assert load(path) == Settings(("hub.example", "fd00::1"), 9443, features)
    text = path.read_text()
    assert not [name for name in Settings._fields if name != "workspaces" and f"\n{name} = " not in text]


def test_settings_left_out_take_their_defaults() -> None:
    """Only hosts and one workspace are needed."""
    assert parse(GOOD) == Settings(("hub.example",), 8443, {"demo": frozenset({"deviceAio"})})


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"colour": "red"}, "colour"),
        ({"port": "8443"}, "port"),
        ({"port": True}, "port"),
        ({"port": 70_000}, "port"),
        ({"take_back": 1}, "take_back"),
        ({"heartbeat_interval_s": 0}, "heartbeat_interval_s"),
        ({"heartbeat_interval_s": 1.5}, "heartbeat_interval_s"),
        ({"online_window_s": -1}, "online_window_s"),
        ({"hosts": []}, "hosts"),
        ({"hosts": "hub.example"}, "hosts"),
        ({"hosts": ["a b"]}, "'a b'"),
        ({"hosts": ["a:b"]}, "'a:b'"),
        ({"hosts": ["fe80::1%eth0"]}, "'fe80::1%eth0'"),
        ({"workspace": {}}, "workspace"),
        ({"workspace": {"a.b": {}}}, "'a.b'"),
        ({"workspace": {"demo": {"feature": []}}}, "workspace.demo"),
        ({"workspace": {"demo": {"features": ["flying"]}}}, "flying"),
        ({"behind_proxy": True}, "public_url"),
        ({"public_url": "https://hub.example/path"}, "public_url"),
        ({"public_url": "http://hub.example"}, "public_url"),
    ],
)
def test_what_cannot_be_used_is_named(change: dict[str, object], named: str) -> None:
    """Unknown settings, wrong types and values out of bounds are refused; the sentence names the setting."""
    with pytest.raises(UsageError) as caught:
        parse({**GOOD, **change})
    assert caught.value.code == "settings_invalid"
    assert named in caught.value.message


@pytest.mark.parametrize("content", [b"hosts = [", b"\xff\xfe"])
def test_file_that_is_no_toml_is_named(tmp_path: Path, content: bytes) -> None:
    """Broken syntax and broken text are errors in plain words."""
    path = tmp_path / "hub.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"hub\.toml is not TOML"):
        load(path)
    with pytest.raises(FirstlightError, match="cannot be read"):
        load(tmp_path)
