"""Documents that can be wrong are held to the code: settings, errors, exit statuses, the words of the command line."""

import re
from pathlib import Path

import pytest

from firstlight import errors
from firstlight.cli.main import AT_THE_DESK, ON_THIS_BOX
from firstlight.cli.settings import SETTINGS

DOCS = Path(__file__).resolve().parents[2] / "docs"
README = DOCS.parent / "README.md"


def kinds() -> dict[str, type[errors.FirstlightError]]:
    """Every kind of error by name, without the base, which is never raised."""
    found = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type)}
    return {
        name: kind
        for name, kind in found.items()
        if issubclass(kind, errors.FirstlightError) and kind is not errors.FirstlightError
    }


def rows(document: Path) -> list[list[str]]:
    """The cells of every table row in a document."""
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in document.read_text().splitlines()
        if line.startswith("| ")
    ]


def test_settings_table() -> None:
    """docs/settings.md lists every setting with its variable and meaning, and nothing else."""
    documented = [row for row in rows(DOCS / "settings.md") if row[0] != "Setting"]

    assert documented == [[f"`{name}`", f"`{variable}`", what] for name, (variable, what) in SETTINGS.items()]


def test_error_table() -> None:
    """docs/errors.md lists every code with its next step, and nothing else."""
    documented = {row[0]: row[1] for row in rows(DOCS / "errors.md") if row[0].startswith("`") and len(row) == 2}

    assert documented == {f"`{code}`": hint for code, hint in errors.HINTS.items()}


def test_exit_statuses() -> None:
    """docs/errors.md names the exit status of every kind of error."""
    documented = {row[0] for row in rows(DOCS / "errors.md")}

    assert {str(kind.exit_status) for kind in kinds().values()} <= documented


def test_error_tree_is_drawn() -> None:
    """The tree in the docstring of errors.py names every class with its exit status."""
    drawn = dict(re.findall(r"(\w+Error) .*?exit (\d+)", errors.__doc__ or ""))

    assert drawn == {name: str(kind.exit_status) for name, kind in kinds().items()}


@pytest.mark.parametrize(
    "code", re.findall(r"`((?:install_id|device|key|take_back|csr|request)_\w+)`", (DOCS / "protocol.md").read_text())
)
def test_protocol_codes_have_hints(code: str) -> None:
    """Every refusal that docs/protocol.md names has a next step in the agent."""
    assert code in errors.HINTS


def test_readme_speaks_of_real_verbs() -> None:
    """Every `firstlight VERB` in the README and docs is a verb there is, and every verb is in the README."""
    known = set(ON_THIS_BOX) | set(AT_THE_DESK)
    for document in [README, *DOCS.glob("*.md")]:
        named = set(re.findall(r"(?:^ {4}|[`'])firstlight ([a-z]+)\b", document.read_text(), re.MULTILINE))
        assert named <= known, document.name
    assert known <= set(re.findall(r"firstlight ([a-z]+)", README.read_text()))
