"""What a run gave, for tests: its verdict, checks, findings and folder, from verdict.json alone.

The rule: only PASS is true. `assert run` and `assert run.check("users.runs")` hold for a PASS and
for nothing else. As text each is the finding's sentence and one case as it was on the wire, with
whatever came from a server made visible.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from probe.report.visible import visible

if TYPE_CHECKING:
    from pathlib import Path

STEPS_MAX: Final = 12
FINDINGS_MAX: Final = 3
PASS: Final = "PASS"  # noqa: S105 -- an outcome, not a password


class ProbeRunError(Exception):
    """A run that left no verdict: a mistake in its words, or an error of the probe's own."""


class ProbeFinding:
    """One finding; see `document` for all its fields, which are those of verdict.json."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.code: str = document["code"]
        self.check: str = document["check"]
        self.count: int = document["count"]
        self.message: str = document["message"]

    def __repr__(self) -> str:
        return f"<ProbeFinding {self.code} at {self.check}>"

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """The sentence, one case, the likely cause and the command."""
        told = self.document
        head = f"{self.code} ({told['severity']}, {self.count:,} seen): {self.message}"
        lines = [visible(head)]
        if accepted := told["accepted"]:
            state = "no longer accepted, until" if accepted["ended"] else "accepted until"
            until = f"{state} {accepted['until']}, owner {accepted['owner']}: {accepted['why']}"
            lines.append(visible(f"  {until}"))
        for case in told["witness"][:1]:
            lines += _case(case)
        lines.append(visible(f"  likely cause: {told['cause'] or 'not known'}"))
        if told["reproduce"]:
            lines.append(visible(f"  again: {told['reproduce']}"))
        return lines


def _case(case: dict[str, Any]) -> list[str]:
    """Up to STEPS_MAX lines of a case: what it is about, and what stands nearest to that."""
    steps = case["steps"]
    points = [k for k, step in enumerate(steps) if step["point"]] or [len(steps) - 1]
    near = sorted(range(len(steps)), key=lambda k: (min(abs(k - p) for p in points), k))
    shown = sorted(near[:STEPS_MAX])
    left = f", {len(shown)} of {len(steps)} steps" if len(shown) < len(steps) else ""
    lines = [visible(f"  session {case['session']}, endpoint {case['endpoint']}{left}:")]
    for k in shown:
        at_s = steps[k]["at_s"]
        at = f"{at_s * 1e3:+.1f} ms" if at_s is not None else ""
        lines.append(f"  {at:>12} {steps[k]['who']:<6} {visible(steps[k]['what'])}")
    return lines


class ProbeCheck:
    """One check; true where it is a PASS."""

    def __init__(self, document: dict[str, Any], findings: list[ProbeFinding]) -> None:
        self.document = document
        self.id: str = document["id"]
        self.verdict: str = document["verdict"]
        self.required: bool = document["required"]
        self.accepted: bool = document["accepted"]
        self.message: str = document["message"]
        self.findings = findings

    @property
    def passed(self) -> bool:
        """A PASS, with something seen."""
        return self.verdict == PASS and self.document["n"] > 0

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        return f"<ProbeCheck {visible(self.id)} {self.verdict}>"

    def __str__(self) -> str:
        lines = [visible(f"{self.verdict} {self.id}: {self.message}")]
        for found in self.findings[:FINDINGS_MAX]:
            lines += found.lines()
        if len(self.findings) > FINDINGS_MAX:
            lines.append(f"... and {len(self.findings) - FINDINGS_MAX} more findings")
        return "\n".join(lines)


class ProbeRun:
    """One run; true where its verdict is PASS, which an accepted finding may be part of.

    `folder` is the run directory, `document` all of verdict.json. `looked_at`: whether anybody has
    asked how it went, by its verdict or its checks. Findings alone do not tell: a run that saw
    nothing has none.
    """

    def __init__(self, folder: Path, document: dict[str, Any]) -> None:
        self.folder = folder
        self.document = document
        self.looked_at = False
        self._findings = [ProbeFinding(each) for each in document["findings"]]

    @property
    def verdict(self) -> str:
        """PASS, FAIL, INCONCLUSIVE, INVALID or ERROR."""
        self.looked_at = True
        return str(self.document["verdict"])

    @property
    def headline(self) -> str:
        """The verdict as reports show it."""
        self.looked_at = True
        return str(self.document["headline"])

    @property
    def exit_code(self) -> int:
        """The command's: 0 to 5, or 130."""
        self.looked_at = True
        return int(self.document["exit_code"])

    @property
    def passed(self) -> bool:
        """Whether the run was whole and its verdict PASS."""
        return self.exit_code == 0

    def __bool__(self) -> bool:
        return self.passed

    @property
    def checks(self) -> list[ProbeCheck]:
        """All checks, as judged."""
        self.looked_at = True
        return [
            ProbeCheck(each, [f for f in self._findings if f.check == each["id"]])
            for each in self.document["checks"]
        ]

    @property
    def findings(self) -> list[ProbeFinding]:
        """All findings, gravest first, accepted ones too."""
        return list(self._findings)

    @property
    def codes(self) -> set[str]:
        """The codes of the findings."""
        return {found.code for found in self.findings}

    def check(self, name: str) -> ProbeCheck:
        """The check of that id, or the only one that ends in it: `users.runs`, `runs`.

        Raises LookupError with the ids there are.
        """
        every = self.checks
        found = [each for each in every if each.id == name]
        found = found or [each for each in every if each.id.endswith(f".{name}")]
        if len(found) != 1:
            why = "several checks end in" if found else "no check is called"
            raise LookupError(f"{why} {name!r}; there are: {', '.join(c.id for c in every)}")
        return found[0]

    def __repr__(self) -> str:
        return f"<ProbeRun {self.document['scenario']} {self.document['verdict']}>"

    def __str__(self) -> str:
        lines = [visible(f"{self.document['headline']}: {self.document['scenario']}")]
        lines += [visible(f"  {reason}") for reason in self.document["reasons"]]
        for found in self._findings[:FINDINGS_MAX]:
            lines += found.lines()
        if len(self._findings) > FINDINGS_MAX:
            lines.append(f"... and {len(self._findings) - FINDINGS_MAX} more findings")
        return "\n".join([*lines, f"run: {self.folder}"])
