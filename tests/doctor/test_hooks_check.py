"""What the doctor says of an integrator's hooks."""

from __future__ import annotations

from pathlib import Path

from firstlight.core.diagnosis import PASS, WARNING
from firstlight.system import checks_hooks
from firstlight.system.hook_queue import Queue, Result
from tests.doctor.findings import check


def place(folder: Path) -> tuple[Path, str, Queue]:
    """A hook, the folder of the hooks, and where results are kept."""
    hook = folder / "hooks/enrolled.d/10-app"
    hook.parent.mkdir(parents=True)
    for each in (hook.parent, hook.parent.parent):
        each.chmod(0o755)
    hook.write_text("#!/bin/sh\n")
    hook.chmod(0o755)
    (folder / "state").mkdir()
    queue = Queue(str(folder / "state"))
    queue.prepare()
    return hook, str(folder / "hooks"), queue


def test_none_and_well(tmp_path: Path) -> None:
    """A box without hooks is well, and so is one whose hooks ended well or have not run."""
    state = str(tmp_path / "state")
    check(checks_hooks.hooks(str(tmp_path / "none"), state), "hooks", PASS, "No hooks")
    _, folder, queue = place(tmp_path)
    check(checks_hooks.hooks(folder, state), "hooks", PASS, "1 hook is installed")
    queue.record("enrolled/10-app", Result("t", "", "It ended well.", 1, False), {"enrolled/10-app"})
    check(checks_hooks.hooks(folder, state), "hooks", PASS, "none ended badly")


def test_one_that_failed(tmp_path: Path) -> None:
    """A hook that failed is named with its code and what helps, until it ends well or is gone."""
    hook, folder, queue = place(tmp_path)
    failed = Result("t", "hook_late", "It took longer than 60 s and was ended.", 5, True)
    queue.record("enrolled/10-app", failed, {"enrolled/10-app"})
    found = checks_hooks.hooks(folder, str(tmp_path / "state"))
    check(found, "hooks", WARNING, "enrolled/10-app", "given up", "[hook_late]", "hook_limit_s")
    hook.unlink()
    check(checks_hooks.hooks(folder, str(tmp_path / "state")), "hooks", PASS)


def test_one_that_is_not_run(tmp_path: Path) -> None:
    """A file that is not run is named with why."""
    hook, folder, _ = place(tmp_path)
    hook.chmod(0o777)
    found = checks_hooks.hooks(folder, str(tmp_path / "state"))
    check(found, "hooks", WARNING, "1 hook is not run", "can be written by others", "firstlight hooks")
