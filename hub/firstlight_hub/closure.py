"""Which distributions a distribution needs at run time: its requirements, and theirs, without extras.

Requirements and their environment markers are read as PyPA's dependency specifiers describe them. Only what metadata of
our own dependencies says has to be understood; anything else is refused by name rather than guessed.
"""

from __future__ import annotations

import ast
import operator
import platform
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any

from firstlight.errors import FirstlightError

Environment = dict[str, str]
COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
VERSIONS = ("python_version", "python_full_version", "implementation_version")


class RequirementError(FirstlightError):
    """A requirement that is missing, or that cannot be understood."""

    exit_status = 70
    is_permanent = True


def environment(python: str, machine: str) -> Environment:
    """What markers are compared with, for CPython on Linux.

    Args:
        python: version as ``3.12`` or ``3.12.1``.
        machine: processor as ``uname -m`` names it, ``x86_64`` or ``aarch64``.
    """
    return {
        "extra": "",
        "implementation_name": "cpython",
        "implementation_version": python,
        "os_name": "posix",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": python,
        "python_version": ".".join(python.split(".")[:2]),
        "sys_platform": "linux",
    }


def own_environment() -> Environment:
    """The environment of the running interpreter, as far as Linux goes."""
    return environment(".".join(map(str, sys.version_info[:3])), platform.machine())


def canonical(name: str) -> str:
    """One spelling for the names of one distribution: lower case, ``-`` between the parts."""
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(root: str, requires: Callable[[str], Iterable[str] | None], where: Environment) -> list[str]:
    """Names of ``root`` and of everything it needs, canonical and sorted.

    Args:
        root: name to start from.
        requires: the Requires-Dist lines of a canonical name, or None when that distribution is not there.
        where: see ``environment``.

    Raises:
        RequirementError: ``requirement_missing``, ``requirement_unreadable``.
    """
    found: set[str] = set()
    waiting = [(canonical(root), "")]
    while waiting:
        name, asker = waiting.pop()
        if name in found:
            continue
        lines = requires(name)
        if lines is None:
            by = f", which {asker} needs," if asker else ""
            raise RequirementError(
                "requirement_missing",
                f"The distribution {name}{by} is not there.",
                "Add it, then run the command again.",
            )
        found.add(name)
        waiting.extend((needed_name, name) for line in lines if (needed_name := needed(line, where)))
    return sorted(found)


def needed(line: str, where: Environment) -> str:
    """The canonical name that a Requires-Dist line asks for in an environment, or "". Raises RequirementError."""
    requirement, _, marker = line.partition(";")
    name = re.match(r"\s*([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)", requirement)
    if name is None:
        raise _unreadable(line)
    return canonical(name[1]) if holds(marker, where) else ""


def holds(marker: str, where: Environment) -> bool:
    """Whether an environment marker is true; an empty one is.

    Raises:
        RequirementError: ``requirement_unreadable``.
    """
    if not marker.strip():
        return True
    try:
        return _truth(ast.parse(marker.strip(), mode="eval").body, where)
    except (SyntaxError, KeyError, ValueError, TypeError, RecursionError):
        raise _unreadable(marker.strip()) from None


def _unreadable(text: str) -> RequirementError:
    return RequirementError("requirement_unreadable", f"The requirement {text[:200]!r} cannot be understood.")


def _truth(node: ast.expr, where: Environment) -> bool:
    if isinstance(node, ast.BoolOp):
        joined = all if isinstance(node.op, ast.And) else any
        return joined([_truth(value, where) for value in node.values])
    if not isinstance(node, ast.Compare) or len(node.ops) != 1:
        raise ValueError
    left, right = node.left, node.comparators[0]
    texts = _text(left, where), _text(right, where)
    if isinstance(node.ops[0], ast.In | ast.NotIn):
        return (texts[0] in texts[1]) == isinstance(node.ops[0], ast.In)
    compare = COMPARISONS[type(node.ops[0])]
    if any(isinstance(side, ast.Name) and side.id in VERSIONS for side in (left, right)):
        return compare(_release(texts[0]), _release(texts[1]))
    return compare(*texts)


def _text(node: ast.expr, where: Environment) -> str:
    if isinstance(node, ast.Name):
        return where[node.id]
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    raise ValueError


def _release(version: str) -> tuple[int, ...]:
    """``3.10`` as (3, 10): numbers compare as numbers, trailing zeros do not count."""
    parts = [int(part) for part in version.split(".")]
    while parts and parts[-1] == 0:
        parts.pop()
    return tuple(parts)
