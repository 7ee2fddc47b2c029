"""Reads our own source files for the rules: which modules there are, and what each one imports."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
SOURCE_ROOTS = {"firstlight": ROOT / "agent", "firstlight_hub": ROOT / "hub"}


class Module(NamedTuple):
    """One source file: its import name, where it is, and its syntax tree."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def is_package(self) -> bool:
        """Tells a folder's own file from a plain module."""
        return self.path.name == "__init__.py"


class Import(NamedTuple):
    """One imported name, resolved to an absolute one, and the line it stands on."""

    name: str
    line: int


@cache
def modules(package: str) -> dict[str, Module]:
    """Every module of one of our two packages, by import name."""
    root = SOURCE_ROOTS[package]
    found = {}
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = Module(name, path, ast.parse(path.read_text(encoding="utf-8"), str(path)))
    return found


def python_files() -> list[Path]:
    """Every Python file of ours: both packages and the tests."""
    return sorted(path for folder in ("agent", "hub", "tests") for path in (ROOT / folder).rglob("*.py"))


def imports(module: Module, *, for_types: bool = True) -> Iterator[Import]:
    """What a module imports, at any depth; without ``for_types`` the ``if TYPE_CHECKING:`` blocks are left out."""
    yield from _imports_below(module, module.tree, for_types)


def _imports_below(module: Module, node: ast.AST, for_types: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno)
        elif isinstance(child, ast.ImportFrom):
            base = _absolute(module, child)
            for alias in child.names:
                yield Import(_member(base, alias.name), child.lineno)
        elif isinstance(child, ast.If) and _asks_for_types(child.test):
            if for_types:
                yield from _imports_below(module, ast.Module(child.body, []), for_types)
            yield from _imports_below(module, ast.Module(child.orelse, []), for_types)
        else:
            yield from _imports_below(module, child, for_types)


def _asks_for_types(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _absolute(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    parts = parts[: len(parts) - node.level + module.is_package]
    return ".".join([*parts, *([node.module] if node.module else [])])


def _member(base: str, name: str) -> str:
    """``from firstlight.core import model`` names a module, ``from firstlight.errors import Refusal`` a member."""
    package = base.partition(".")[0]
    if package in SOURCE_ROOTS and f"{base}.{name}" in modules(package):
        return f"{base}.{name}"
    return base
