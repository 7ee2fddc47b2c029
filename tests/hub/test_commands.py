"""firstlight-hub on the command line: init, key, backup, and how they say no."""

from __future__ import annotations

import re
import stat
import tarfile
from datetime import datetime, timezone
from pathlib import Path

import pytest

from firstlight_hub.cli import main
from firstlight_hub.cli.main import parser
from firstlight_hub.folder import HubFolder

MADE = {"hub.toml", "ca.pem", "ca.key", "server.pem", "server.key", "secret", "release.key", "hub.sqlite3"}


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
    assert set(modes) == MADE
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
    """What an init that was cut left behind is made anew; a hub whose hub.toml is away is not touched."""
    (folder / "hub.toml").unlink()
    secret = (folder / "secret").read_bytes()
    status, _, errors = run(capsys, "init", "--dir", folder, "--host", "hub.example")
    assert (status, "[folder_taken]" in errors) == (2, True)
    assert (folder / "secret").read_bytes() == secret

    (folder / ".init-unfinished").touch()
    assert run(capsys, "init", "--dir", folder, "--host", "hub.example")[0] == 0
    listed = run(capsys, "key", "list", "--dir", folder)[1]
    assert len(listed.splitlines()) == 2


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
    assert listed.splitlines()[0].split() == ["HANDLE", "WORKSPACE", "SCOPES", "DEVICE", "CREATED", "STATE", "LABEL"]
    created = rf"{datetime.now(timezone.utc).year}-\d\d-\d\dT[0-9:.]+Z"
    assert re.search(rf"(?m)^{handle}  demo +device:read +- +{created} +valid +grafana$", listed)
    assert re.search(rf"demo +all +- +{created} +valid +made by init\n", listed)
    assert (
        len({line.index(word) for line, word in zip(listed.splitlines(), ("STATE", "valid", "valid"), strict=True)})
        == 1
    )
    assert key not in listed
    assert run(capsys, "key", "revoke", "--dir", folder, handle)[0] == 0
    listed = run(capsys, "key", "list", "--dir", folder)[1]
    assert re.search(rf"(?m)^{handle} .* revoked {created} +grafana$", listed)
    errors = run(capsys, "key", "revoke", "--dir", folder, "000000000000")[2]
    assert errors.endswith("There is no key 000000000000. [not_found]\n  See: firstlight-hub key list\n")


def test_key_without_a_label_has_a_dash(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every column of the list has something in it."""
    run(capsys, "key", "create", "--dir", folder)
    assert run(capsys, "key", "list", "--dir", folder)[1].splitlines()[2].split()[-2:] == ["valid", "-"]


@pytest.mark.parametrize(
    ("words", "next_step"),
    [
        (("--workspace", "nowhere"), "Add [workspace.nowhere] to hub.toml and restart the hub."),
        (("--device", "nobody"), "Check workspace and device id."),
    ],
)
def test_key_for_nothing_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, str], next_step: str
) -> None:
    """A key needs a workspace of hub.toml, and a device that exists; no key file is left."""
    key_file = folder.parent / "other"
    status, _, errors = run(capsys, "key", "create", "--dir", folder, "--key-file", key_file, *words)
    assert (status, "[not_found]" in errors, errors.splitlines()[-1]) == (78, True, f"  {next_step}")
    assert not key_file.exists()


@pytest.mark.parametrize("kind", ["file", "dangling link"])
def test_key_file_is_never_written_over(folder: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    """A key file that is there stays as it is, and no key and no hub is made."""
    taken = folder.parent / "taken"
    if kind == "file":
        taken.write_text("the operator's only copy")
    else:
        taken.symlink_to("nowhere")
    before = run(capsys, "key", "list", "--dir", folder)[1]
    other = folder.parent / "other"
    for words in (("key", "create", "--dir", folder), ("init", "--dir", other)):
        status, output, errors = run(capsys, *words, "--key-file", taken)
        assert (status, output, f"{taken} is there already" in errors) == (2, "", True)
        assert "[key_file_exists]" in errors
    assert taken.read_text() == "the operator's only copy" if kind == "file" else taken.is_symlink()
    assert run(capsys, "key", "list", "--dir", folder)[1] == before
    assert not other.exists()


def test_key_file_that_cannot_be_made_makes_no_key(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A key that could not be handed out is not made."""
    before = run(capsys, "key", "list", "--dir", folder)[1]
    words = ("--dir", folder, "--key-file", folder.parent / "missing" / "key")
    status, _, errors = run(capsys, "key", "create", *words)
    assert (status, "[state_unwritable]" in errors) == (74, True)
    assert run(capsys, "key", "list", "--dir", folder)[1] == before


def test_key_file_may_be_in_the_new_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The folder is made first, so a key file may be inside it."""
    assert run(capsys, "init", "--dir", tmp_path / "hub", "--key-file", tmp_path / "hub" / "operator.key")[0] == 0
    path = tmp_path / "hub" / "operator.key"
    assert (path.read_text()[:4], stat.S_IMODE(path.stat().st_mode)) == ("flk_", 0o600)


@pytest.mark.parametrize(
    ("words", "program"),
    [
        ((), "firstlight-hub"),
        (("fly",), "firstlight-hub"),
        (("serve",), "firstlight-hub serve"),
        (("serve", "--dir", "x", "--port", "many"), "firstlight-hub serve"),
        (("key", "create", "--dir", "x", "--scope", "all"), "firstlight-hub key create"),
        (("serve", "--dir", "x", "--nonsense"), "firstlight-hub"),
    ],
)
def test_what_cannot_be_understood_is_said_as_every_error(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], program: str
) -> None:
    """A wrong word: one sentence with its code, where to look, exit status 2."""
    status, output, errors = run(capsys, *words)
    assert (status, output) == (2, "")
    sentence, hint = errors.splitlines()
    assert re.fullmatch(r"firstlight-hub: [A-Z].*\. \[usage\]", sentence)
    assert hint == f"  Run: {program} --help"


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.TGZ", "a.tar.xz"])
def test_backup_is_not_named_like_what_it_is_not(folder: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """A name that promises another kind of archive is refused; nothing is made."""
    status, _, errors = run(capsys, "backup", "--dir", folder, folder.parent / name)
    assert (status, f"{name} is named like" in errors, "[backup_format]" in errors) == (2, True, True)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["hub", "key"]


def test_backup_has_everything_and_overwrites_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder or a tar with all that makes the hub, 0600; a name that is taken is refused."""
    copy, packed = folder.parent / "copy", folder.parent / "copy.tar"
    for target in (copy, packed):
        assert run(capsys, "backup", "--dir", folder, target)[0] == 0
        status, _, errors = run(capsys, "backup", "--dir", folder, target)
        assert (status, "[backup_exists]" in errors) == (2, True)
    assert {path.name for path in copy.iterdir()} == MADE
    assert {stat.S_IMODE(path.stat().st_mode) for path in copy.iterdir()} == {0o600}
    assert (stat.S_IMODE(copy.stat().st_mode), stat.S_IMODE(packed.stat().st_mode)) == (0o700, 0o600)
    with tarfile.open(packed) as archive:
        assert set(archive.getnames()) == MADE
    assert (copy / "secret").read_bytes() == (folder / "secret").read_bytes()
    assert len(run(capsys, "key", "list", "--dir", copy)[1].splitlines()) == 2


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


@pytest.mark.parametrize("target", [".", "/"])
def test_backup_into_what_is_there_is_refused(folder: Path, target: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A backup never goes into a folder that exists, not even one without a name of its own."""
    status, _, errors = run(capsys, "backup", "--dir", folder, target)
    assert (status, "[backup_exists]" in errors) == (2, True)


@pytest.mark.parametrize("port", [65_536, 99_999, -1])
def test_serve_refuses_what_is_no_port(folder: Path, port: int, capsys: pytest.CaptureFixture[str]) -> None:
    """A port that does not exist is refused, not turned into another one."""
    status, _, errors = run(capsys, "serve", "--dir", folder, f"--port={port}")
    assert (status, "[settings_invalid]" in errors) == (2, True)
