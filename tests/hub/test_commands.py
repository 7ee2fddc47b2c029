"""firstlight-hub on the command line: init, key, backup, and how they say no."""

from __future__ import annotations

import stat
import tarfile
from pathlib import Path

import pytest

from firstlight_hub.cli import main
from firstlight_hub.cli.main import parser
from firstlight_hub.folder import HubFolder


def run(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    """Runs one command in this process -> exit status, output, errors."""
    status = main([str(word) for word in words])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.fixture
def folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A hub's folder."""
    words = ("--host", "hub.example", "--key-file", tmp_path / "key")
    assert run(capsys, "init", "--dir", tmp_path / "hub", *words)[0] == 0
    return tmp_path / "hub"


def test_init_makes_everything_for_its_owner_only(folder: Path) -> None:
    """The folder is 0700 and each file in it 0600; the secret has 32 bytes."""
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert set(modes) == {"hub.toml", "ca.pem", "ca.key", "server.pem", "server.key", "secret", "hub.sqlite3"}
    assert set(modes.values()) == {0o600}
    assert len((folder / "secret").read_bytes()) == 32
    assert stat.S_IMODE((folder.parent / "key").stat().st_mode) == 0o600


def test_init_prints_key_pin_and_next_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The operator key is printed once, with the pin, why -k is safe, and what to type next."""
    status, output, _ = run(capsys, "init", "--dir", tmp_path / "hub", "--host", "hub.example", "--workspace", "yard")
    assert status == 0
    assert "Operator key (shown this once): flk_" in output
    assert f"Pin of its key: {HubFolder(tmp_path / 'hub').pin()}" in output
    assert "-k is safe here" in output
    assert output.endswith(f"Next: firstlight-hub serve --dir {tmp_path / 'hub'}\n")


def test_second_init_changes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that has a hub is refused by name, and every file stays as it was."""
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    status, _, errors = run(capsys, "init", "--dir", folder)
    assert (status, "[hub_exists]" in errors) == (2, True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_cut_init_is_simply_repeated(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without hub.toml, which comes last, the folder is no hub yet: init makes it anew."""
    (folder / "hub.toml").unlink()
    assert run(capsys, "init", "--dir", folder, "--host", "hub.example")[0] == 0
    listed = run(capsys, "key", "list", "--dir", folder)[1]
    assert len(listed.splitlines()) == 1


def test_folder_with_other_things_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A home or project named by mistake is refused, its rights and files stay."""
    (tmp_path / "thesis.txt").write_text("years of work")
    before = tmp_path.stat().st_mode
    status, _, errors = run(capsys, "init", "--dir", tmp_path)
    assert (status, "[folder_taken]" in errors) == (2, True)
    assert ([path.name for path in tmp_path.iterdir()], tmp_path.stat().st_mode) == (["thesis.txt"], before)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--host", "a b"), "settings_invalid"),
        (("--workspace", "a.b"), "settings_invalid"),
        (("--port", "70000"), "settings_invalid"),
    ],
)
def test_init_refuses_what_cannot_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: str
) -> None:
    """Odd hosts, workspaces and ports are named before anything is made."""
    status, _, errors = run(capsys, "init", "--dir", tmp_path / "hub", *words)
    assert (status, f"[{code}]" in errors) == (2, True)
    assert not (tmp_path / "hub").exists()


@pytest.mark.parametrize("verb", [("serve",), ("key", "list"), ("backup", "x")])
def test_folder_without_a_hub_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: tuple[str, ...]
) -> None:
    """Every verb says in a sentence that there is no hub, and what to do."""
    status, _, errors = run(capsys, *verb, "--dir", tmp_path)
    assert (status, "[hub_missing]" in errors) == (78, True)
    assert "firstlight-hub init" in errors


def test_keys_are_made_listed_and_revoked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A key is printed once; the list has handles, scopes and state, never a key."""
    words = ("--scope", "device:read", "--label", "grafana", "--dir", folder)
    output = run(capsys, "key", "create", *words)[1]
    handle, key = output.split()[1], output.split()[-1]
    listed = run(capsys, "key", "list", "--dir", folder)[1]
    assert f"{handle}  demo  device:read  -  valid  grafana\n" in listed
    assert "made by init" in listed
    assert key not in listed
    assert run(capsys, "key", "revoke", "--dir", folder, handle)[0] == 0
    assert f"{handle}  demo  device:read  -  revoked " in run(capsys, "key", "list", "--dir", folder)[1]
    assert "[not_found]" in run(capsys, "key", "revoke", "--dir", folder, "000000000000")[2]


def test_key_for_nothing_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A key needs a workspace of hub.toml, and a device that exists."""
    for words in (("--workspace", "nowhere"), ("--device", "nobody")):
        status, _, errors = run(capsys, "key", "create", "--dir", folder, *words)
        assert (status, "[not_found]" in errors) == (78, True)


def test_backup_has_everything_and_overwrites_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder or a tar with all that makes the hub, 0600; a name that is taken is refused."""
    copy, packed = folder.parent / "copy", folder.parent / "copy.tar"
    for target in (copy, packed):
        assert run(capsys, "backup", "--dir", folder, target)[0] == 0
        status, _, errors = run(capsys, "backup", "--dir", folder, target)
        assert (status, "[backup_exists]" in errors) == (2, True)
    names = {"hub.toml", "ca.pem", "ca.key", "server.pem", "server.key", "secret", "hub.sqlite3"}
    assert {path.name for path in copy.iterdir()} == names
    assert {stat.S_IMODE(path.stat().st_mode) for path in copy.iterdir()} == {0o600}
    assert (stat.S_IMODE(copy.stat().st_mode), stat.S_IMODE(packed.stat().st_mode)) == (0o700, 0o600)
    with tarfile.open(packed) as archive:
        assert set(archive.getnames()) == names
    assert (copy / "secret").read_bytes() == (folder / "secret").read_bytes()
    assert len(run(capsys, "key", "list", "--dir", copy)[1].splitlines()) == 1


def test_backup_into_nowhere_is_one_sentence(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A target whose folder is missing ends in a sentence."""
    status, _, errors = run(capsys, "backup", "--dir", folder, folder.parent / "missing" / "copy")
    assert (status, "[state_unwritable]" in errors) == (74, True)


@pytest.mark.parametrize("verb", [(), ("init",), ("serve",), ("key",), ("key", "create"), ("backup",)])
def test_every_verb_has_help(capsys: pytest.CaptureFixture[str], verb: tuple[str, ...]) -> None:
    """--help exits with 0 and says what the verb does."""
    with pytest.raises(SystemExit) as caught:
        parser().parse_args([*verb, "--help"])
    assert caught.value.code == 0
    assert "." in capsys.readouterr().out
