"""The compatibility table in README.md: made from what the walks did, a line for each.

make compatibility      plays the walks and writes the table
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

README = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- compatibility -->", "<!-- /compatibility -->"
STEPS = ("create", "enroll", "alive", "status", "gone")
HEAD = ("Platform", "Transport", "Credential", *(step.capitalize() for step in STEPS), "Checked against")


class Line(NamedTuple):
    """What one walk showed.

    Args:
        platform, transport, credential: how the device was made known.
        done: the steps that were played; the others this platform does not have.
        against: what stood for the platform.
    """

    platform: str
    transport: str
    credential: str
    done: frozenset[str]
    against: str

    @property
    def text(self) -> str:
        """As it stands in the table."""
        steps = ("yes" if step in self.done else "-" for step in STEPS)
        return f"| {' | '.join((self.platform, self.transport, self.credential, *steps, self.against))} |"


def lines() -> list[str]:
    """The lines of the table in README.md, without its head."""
    text = README.read_text()
    block = text.partition(BEGIN)[2].partition(END)[0]
    return [line for line in block.splitlines() if line.startswith("| ") and not line.startswith("| Platform")]


def write(found: list[Line]) -> None:
    """Puts these lines where the table is."""
    rows = ["| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|", *(line.text for line in found)]
    before, _, rest = README.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    README.write_text(f"{before}{BEGIN}\n\n" + "\n".join(rows) + f"\n\n{END}{after}")
