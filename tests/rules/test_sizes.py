"""A file and a function fit a reader's head, and a module's name says what is in it."""

import ast
from pathlib import Path

import pytest

from tests.rules.sources import ROOT, python_files

MODULE_LINES = 400
FUNCTION_LINES = 60
EMPTY_WORDS = {"base", "common", "data", "handler", "handlers", "helper", "helpers", "info", "manager", "misc"}
EMPTY_WORDS |= {"util", "utils"}


def relative(path: Path) -> str:
    """A file as a person would name it."""
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", python_files(), ids=relative)
def test_module_is_short(path: Path) -> None:
    """No module of ours is longer than 400 lines."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MODULE_LINES


@pytest.mark.parametrize("path", python_files(), ids=relative)
def test_functions_are_short(path: Path) -> None:
    """No function of ours is longer than 60 lines, its decorators and docstring included."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    long = {
        f"{node.name} (line {node.lineno})": length
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (length := (node.end_lineno or node.lineno) - node.lineno + 1 + len(node.decorator_list)) > FUNCTION_LINES
    }
    assert not long


def test_names_say_what_is_inside() -> None:
    """No module or folder of ours has a name under which anything could be put."""
    empty = [
        relative(path)
        for path in python_files()
        if EMPTY_WORDS & {part.strip("_") for part in path.relative_to(ROOT).with_suffix("").parts}
    ]
    assert not empty
