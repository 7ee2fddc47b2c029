"""How the tests here look at a finding. Each call says check and severity in words, so that a test can collect them."""

from __future__ import annotations

from firstlight.core.diagnosis import CHECKS, FAILURE, NOTE, WARNING, Finding


def check(finding: Finding, name: str, severity: str, *says: str) -> None:
    """The finding is of that check and severity and says those words; what is wrong has a next step."""
    assert (finding.id, finding.severity) == (name, severity), finding
    for words in says:
        assert words in f"{finding.message} {finding.fix}", finding
    assert severity not in (WARNING, FAILURE) or finding.fix, "what is wrong needs a next step"
    assert severity == NOTE or severity in (WARNING, FAILURE) or not finding.fix
    order = ("skipped", "pass", "note", "warning", "failure")
    assert order.index(severity) <= order.index(CHECKS[name].severity), "worse than docs/doctor.md says"
    assert finding.message.endswith(".") or finding.message.endswith("]") or severity == "skipped"
