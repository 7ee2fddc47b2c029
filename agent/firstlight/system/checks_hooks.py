"""The check of an integrator's hooks: which are not run, and which did not end well."""

from __future__ import annotations

from firstlight.core.diagnosis import Finding, passed, warned
from firstlight.errors import HINTS
from firstlight.system import hook_files, hook_queue

MAX_NAMED = 3


def hooks(folder: str, state_dir: str) -> Finding:
    """Whether all that is installed may be run, and ended well when it was run last.

    Args:
        folder: of the hooks.
        state_dir: the agent's state directory.
    """
    installed = hook_files.all_installed(folder)
    if not installed:
        return passed("hooks", "No hooks are installed on this box.")
    foreign = [hook for hook in installed if hook.problem]
    if foreign:
        named = "; ".join(f"{hook.id}: {hook.problem}" for hook in foreign[:MAX_NAMED])
        return warned("hooks", f"{_count(len(foreign))} not run. {named}", "Run: firstlight hooks", notRun=len(foreign))
    if wrong := ended_wrong(folder, state_dir):
        code = next(iter(wrong.values())).code
        return warned("hooks", in_words(wrong), HINTS.get(code, ""), code=code, failed=sorted(wrong))
    return passed("hooks", f"{_count(len(installed))} installed; none ended badly.")


def ended_wrong(folder: str, state_dir: str) -> dict[str, hook_queue.Result]:
    """``KIND/NAME`` -> how it ended, of those that are installed and did not end well."""
    ids = {hook.id for hook in hook_files.all_installed(folder)}
    return {name: each for name, each in hook_queue.results(state_dir).items() if each.code and name in ids}


def in_words(wrong: dict[str, hook_queue.Result]) -> str:
    """One sentence for each, of a few."""
    said = []
    for name, each in list(wrong.items())[:MAX_NAMED]:
        after = "given up" if each.is_given_up else "it is tried again"
        said.append(f"{name}: {each.message.rstrip('.')}; {after}. [{each.code}]")
    more = len(wrong) - MAX_NAMED
    return " ".join(said) + (f" And {more} more." if more > 0 else "")


def _count(number: int) -> str:
    return "1 hook is" if number == 1 else f"{number} hooks are"
