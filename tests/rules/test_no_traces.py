"""Nothing that we keep tells where it was made, and no test fakes a library or waits by the clock."""

import os
import re
import subprocess
from functools import cache
from pathlib import Path

from tests.rules.sources import ROOT

NOT_OURS = {".git", ".venv", ".cache", "dist", "__pycache__", ".hypothesis"}


@cache
def texts() -> dict[str, str]:
    """Every text file that is, or is about to be, in the repository, by its name from the root."""
    git = ["git", "-c", "safe.directory=*", "-C", str(ROOT)]
    listing = [*git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if (ROOT / ".git").exists():
        done = subprocess.run(listing, capture_output=True, text=True, check=True)
        names = [name for name in done.stdout.split("\0") if name]
    else:  # unpacked from an archive
        paths = (path.relative_to(ROOT) for path in ROOT.rglob("*"))
        names = [str(path) for path in paths if not NOT_OURS & set(path.parts)]
    found = {}
    for name in sorted(set(names)):
        path = ROOT / name
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            if b"\0" not in content:
                found[name] = content.decode("utf-8", "replace")
    assert found, "the repository has no files: this rule is looking in the wrong place"
    return found


def places(pattern: str, *, only: str = "") -> list[str]:
    """Each line that has the pattern, in files whose name has the other pattern."""
    return [
        f"{name}:{number}: {line.strip()[:160]}"
        for name, text in texts().items()
        if re.search(only, name)
        for number, line in enumerate(text.splitlines(), 1)
        if re.search(pattern, line)
    ]


def test_no_file_names_this_checkout() -> None:
    """No file has the path of the checkout it lies in."""
    assert not places(rf"{re.escape(str(ROOT))}\b")


def test_no_file_names_this_home() -> None:
    """No file has a path inside the home directory of whoever runs this."""
    home = Path(os.environ.get("HOME", "/"))
    if home != Path("/"):
        assert not places(rf"{re.escape(str(home))}/")


def test_no_file_names_a_package_index() -> None:
    """No file sends pip to a package index of its own: that is the machine's business."""
    assert not places(r"index[-_][u]rl|extra[-_][i]ndex|find[-_][l]inks")


def test_no_test_fakes_by_patching() -> None:
    """No Python file uses the standard library's faking module: we write fakes that implement the seam."""
    assert not places(r"unittest[.]mock|from unittest import[ ]mock|Magic[M]ock", only=r"\.py$")


def test_no_test_waits_by_the_clock() -> None:
    """No test sleeps: it waits for the thing itself, with a limit."""
    assert not places(r"\btime[.]sleep\(|from time import[ ][^#]*\bsleep\b", only=r"^tests/.*\.py$")
