"""Next steps name the state directory that was typed, and the commands that printed them can be typed as they stand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from firstlight.cli import next_step
from firstlight.cli.main import main


@pytest.fixture(autouse=True)
def _forgets() -> Iterator[None]:
    """Nothing typed here outlives its test."""
    yield
    next_step.remember("")


def test_the_state_directory_that_was_typed_is_typed_again() -> None:
    """Behind each verb of this box, quoted; not behind a desk verb, nor where --help is asked for."""
    next_step.remember("/srv/a box")
    assert next_step.typed("Run 'firstlight reset', then enroll.").endswith(
        "firstlight reset --state-dir '/srv/a box'', then enroll."
    )
    assert next_step.typed("firstlight reset --yes").endswith("reset --state-dir '/srv/a box' --yes")
    for text in ("firstlight device invite cam-1", "firstlight rotate --help", "the firstlight runtime"):
        assert "--state-dir" not in next_step.typed(text)
    assert next_step.to_start().endswith("firstlight run --state-dir '/srv/a box'")
    assert next_step.to_stop(12) == "kill 12"

    next_step.remember("")
    assert "--state-dir" not in next_step.typed("Run 'firstlight reset'.")


def test_only_one_that_is_not_the_settings_own_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A box whose settings name the directory needs no option; one typed for it beside them does."""
    monkeypatch.setenv("FIRSTLIGHT_STATE_DIR", str(tmp_path / "usual"))
    other = str(tmp_path / "other")
    assert main(["status", "--state-dir", other]) == 3
    assert f"firstlight enroll --state-dir {other} INSTALL_ID" in capsys.readouterr().out
    assert main(["rotate", "--state-dir", other]) == 78
    assert f"firstlight enroll --state-dir {other}'" in capsys.readouterr().err
    for words in ([], ["--state-dir", str(tmp_path / "usual")]):
        assert main(["status", *words]) == 3
        assert "--state-dir" not in capsys.readouterr().out
