"""The judgement on one screen: verdict, leading figures, checks, findings, where the rest is.

The rule: no line is wider than the console, a passing run fits 30 lines and a failing one 40;
what is left out is counted and stands in report.md, and what failed is named. All text goes
into rich as `Text`, so that nothing in it is read as markup, and is made visible first. Colour
only repeats what a word says already.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

from rich.cells import cell_len
from rich.text import Text

from probe.check.verdict import Outcome
from probe.report import figures, views
from probe.report.curve import TERMINAL_LEVELS_MAX, curve_lines, curves_of
from probe.report.facts import facts_of
from probe.report.visible import visible

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import Console

    from probe.check.verdict import Check, Finding, Judgement, Step, Witness

COLOURS: Final = {
    Outcome.PASS: "green",
    Outcome.FAIL: "red",
    Outcome.INCONCLUSIVE: "yellow",
    Outcome.SKIPPED: "yellow",
    Outcome.ERROR: "magenta",
    Outcome.INVALID: "magenta",
}
LINES_MAX: Final = 40
PASS_LINES_MAX: Final = 30
CHECK_LINES_MIN: Final = 5
NAMED_MAX: Final = 20
ACCEPTED_MAX: Final = 3
STEPS_MAX: Final = 6
LEVELS_MIN: Final = 3
COMMAND_LINES_MAX: Final = 3
_INDENT: Final = "  "
_LIMIT: Final = re.compile(r"; limit [^;]{1,20}$")
# Where a cut leaves little of a clause, or a number without what it counts.
_DANGLING: Final = re.compile(
    r"[,:;](?: \S+){0,2}$"
    r"| (?:\S*\d|of|within|after|before|at|least|most|than|under|over|in|is|by|to|from|the|a)$"
)


def show(judgement: Judgement, console: Console, folder: Path | None = None) -> None:
    """Print the summary; without colours where the console has none."""
    for line in screen(judgement, console, folder):
        console.print(line)


def screen(judgement: Judgement, console: Console, folder: Path | None = None) -> list[Text]:
    """The summary as lines no wider than the console."""
    page = _Page(console)
    colour = COLOURS[judgement.verdict]
    facts = facts_of(judgement)
    parts = [facts.origin]
    if facts.seed is not None:
        parts.append(f"seed {facts.seed}")
    if facts.duration_s is not None:
        parts.append(figures.duration(facts.duration_s))
    page.add(
        Text(judgement.headline, f"bold {colour}").append(
            f"  {page.safe('  '.join(parts))}", "bold"
        )
    )
    for reason in views.why(judgement)[:2]:
        page.text(reason, lines_max=2, style=colour)
    for line in _accepted(judgement.accepted):
        page.text(line, lines_max=2)
    for line in views.leading(judgement)[:5]:
        page.text(line, lines_max=1 if " restart" in line else 2)
    _add_curves(page, judgement)
    rest = _Page(console)
    if judgement.findings:
        rest.blank()
        _add_findings(rest, judgement.findings)
    rest.blank()
    fit = judgement.fitness.fit
    rest.text(_fitness(judgement), lines_max=2, style="" if fit else "magenta")
    if told := judgement.fitness.figures.get("calibration"):
        rest.text(f"calibration: {told}", lines_max=2, style="dim")
    if told := judgement.authenticity.get("clocks"):
        rest.text(f"clocks: {told}", lines_max=2, style="dim")
    if folder is not None:
        rest.text(f"{folder}/  (report.html, verdict.json)", lines_max=3, style="dim")
    page.blank()
    # The checks get what the rest leaves, less the line that counts those left out.
    screenful = PASS_LINES_MAX if judgement.verdict is Outcome.PASS else LINES_MAX
    left = screenful - len(page.lines) - len(rest.lines) - 1
    _add_checks(page, judgement.checks, max(left, CHECK_LINES_MIN))
    return page.lines + rest.lines


class _Page:
    """Lines for one console; every text on it is safe and fits."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._ascii_only = not console.encoding.lower().startswith("utf")
        self.width = console.width
        self.lines: list[Text] = []

    def safe(self, text: object) -> str:
        return visible(text, ascii_only=self._ascii_only)

    def wrap(self, text: Text, width: int, lines_max: int) -> list[Text]:
        """Lines of at most `width` cells; where lines are left out the last ends in "..."."""
        lines = list(text.wrap(self._console, max(1, width), overflow="fold"))
        for line in lines:
            line.rstrip()
        if len(lines) > lines_max:
            lines = lines[:lines_max]
            lines[-1].truncate(max(0, width - 3))
            lines[-1].append("...")
        return lines

    def add(self, text: Text, *, lines_max: int = 2, indent: str = "") -> None:
        for line in self.wrap(text, self.width - len(indent), lines_max):
            self.lines.append(Text(indent) + line)

    def text(self, text: str, *, lines_max: int = 1, style: str = "", indent: str = "") -> None:
        self.add(Text(self.safe(text), style), lines_max=lines_max, indent=indent)

    def line(self, text: str, *, style: str = "", indent: str = "") -> None:
        """One line, cut where it must be: what came over the wire has few places to wrap at."""
        shown = Text(indent + self.safe(text), style)
        if cell_len(shown.plain) > self.width:
            shown.truncate(self.width - 3)
            shown.append("...")
        self.lines.append(shown)

    def blank(self) -> None:
        self.lines.append(Text())

    def keeping(self, text: Text, width: int, lines_max: int) -> list[Text]:
        """The same, but cut between words, never between a number and what it counts.

        What is left out is left out before the limit at its end.
        """
        if len(self.wrap(text, width, lines_max + 1)) <= lines_max:
            return self.wrap(text, width, lines_max)
        found = _LIMIT.search(text.plain)
        limit = found[0] if found else ""
        words = text.plain.removesuffix(limit).split(" ")
        while words.pop() and words:
            kept = " ".join(words)
            while (less := _DANGLING.sub("", kept)) != kept:
                kept = less
            lines = self.wrap(Text(f"{kept}...{limit}", text.style), width, lines_max + 1)
            if len(lines) <= lines_max:
                return lines
        return self.wrap(text, width, lines_max)

    def beside(self, cells: Sequence[tuple[str, str, int, int]]) -> list[Text]:
        """Cells (text, style, width, lines_max) in one row of columns, two blanks between."""
        columns = [
            self.keeping(Text(self.safe(text), style), width, lines_max)
            for text, style, width, lines_max in cells
        ]
        rows = []
        for parts in zip_longest(*columns, fillvalue=Text()):
            row = Text()
            for part, (_, _, width, _) in zip(parts, cells, strict=True):
                row.append_text(part).append(" " * (width - cell_len(part.plain) + 2))
            row.rstrip()
            rows.append(row)
        return rows


def _add_curves(page: _Page, judgement: Judgement) -> None:
    """The levels of a climb about its knee; of several climbs each has its share of the room."""
    curves = curves_of(judgement.summary)
    most = max(TERMINAL_LEVELS_MAX // max(len(curves), 1), LEVELS_MIN)
    for curve in curves:
        page.blank()
        for number, line in enumerate(curve_lines(curve, most)):
            page.line(line, style="" if number else "bold")


def _add_checks(page: _Page, checks: Sequence[Check], lines_max: int) -> None:
    if not checks:
        page.text("No check was executed: nothing was judged.")
        return
    ordered = _skipped_once(views.worst_first(checks))
    # Only passes are cut: of the others one that needs all the room is the first to lose a word.
    for pass_lines_max in (3, 2):
        blocks = _blocks(page, ordered, pass_lines_max, lines_max)
        if sum(map(len, blocks)) <= lines_max:
            break
    shown = _fitting(page, ordered, blocks, lines_max)
    for block in blocks[:shown]:
        page.lines += block
    page.lines += _left_out(page, ordered[shown:], lines_max - sum(map(len, blocks[:shown])))


def _blocks(
    page: _Page, checks: Sequence[Check], pass_lines_max: int, whole_lines_max: int
) -> list[list[Text]]:
    """The lines of each check: verdict, id, what it says; an id is never split.

    One that is longer than its column stands alone, with what is said below it.
    """
    verdict_width = max(len(check.verdict) for check in checks)
    # Of checks that were skipped for one reason the id is words, which wrap.
    ids = [page.safe(check.id) for check in checks]
    longest = max((len(word) for name in ids for word in name.split()), default=0)
    id_width = min(longest, page.width * 2 // 5)
    blocks = []
    for check, name in zip(checks, ids, strict=True):
        lines_max = pass_lines_max if check.verdict is Outcome.PASS else whole_lines_max
        head = (check.verdict, COLOURS[check.verdict], verdict_width, 1)
        rest = page.width - verdict_width - 2
        if max(map(len, name.split()), default=0) <= id_width:
            message = (_told(check), "", rest - id_width - 2, lines_max)
            blocks.append(page.beside([head, (name, "", id_width, 2), message]))
        else:
            below = page.beside([("", "", verdict_width, 1), (_told(check), "", rest, lines_max)])
            blocks.append(page.beside([head, (name, "", rest, 2)]) + below)
    return blocks


def _fitting(
    page: _Page, checks: Sequence[Check], blocks: Sequence[Sequence[Text]], lines_max: int
) -> int:
    """How many checks can be shown, so that what is left out can be told as well."""
    for shown in range(len(blocks), 1, -1):
        used = sum(map(len, blocks[:shown]))
        if used + len(_left_out(page, checks[shown:], LINES_MAX)) <= lines_max:
            return shown
    return 1


def _left_out(page: _Page, checks: Sequence[Check], lines_max: int) -> list[Text]:
    """How many are not shown, by verdict, and the names of those that failed."""
    if not checks:
        return []
    failed = [page.safe(check.id) for check in checks if check.verdict is Outcome.FAIL]
    counted = page.wrap(Text(f"... and {_counted(checks)}"), page.width, 2)
    for named in range(min(len(failed), NAMED_MAX), 0, -1):
        more = f" and {len(failed) - named} more" if named < len(failed) else ""
        told = Text(f"FAIL as well: {', '.join(failed[:named])}{more}", COLOURS[Outcome.FAIL])
        lines = page.wrap(told, page.width - len(_INDENT), LINES_MAX)
        if len(counted) + len(lines) <= lines_max:
            return counted + [Text(_INDENT) + line for line in lines]
    return counted


def _skipped_once(checks: Sequence[Check]) -> list[Check]:
    """What was not run for one reason is one line, not as many as it has checks."""
    alike = Counter(check.message for check in checks if check.verdict is Outcome.SKIPPED)
    shown: list[Check] = []
    for check in checks:
        if check.verdict is not Outcome.SKIPPED or alike[check.message] == 1:
            shown.append(check)
        elif number := alike.pop(check.message, 0):
            name = f"{number} checks, such as {check.id}"
            shown.append(replace(check, id=name))
    return shown


def _told(check: Check) -> str:
    optional = "" if check.required else "not required; "
    return f"{optional}{views.unfit_once(check.message)}"


def _counted(checks: Sequence[Check]) -> str:
    """How many are left out, by verdict: 12 more checks: 2 FAIL, 10 PASS."""
    count: dict[str, int] = {}
    for check in checks:
        count[check.verdict] = count.get(check.verdict, 0) + 1
    parts = ", ".join(f"{n} {verdict}" for verdict, n in count.items())
    return f"{len(checks)} more checks: {parts}"


def _add_findings(page: _Page, findings: Sequence[Finding]) -> None:
    first, *others = views.gravest_first(findings)
    page.text(
        f"{first.code} ({first.severity}, {first.count:,} seen): {first.message}", lines_max=3
    )
    if first.witness:
        _add_witness(page, first.witness[0])
    if first.cause:
        page.text(f"likely cause: {first.cause}", lines_max=2, indent=_INDENT)
    if first.reproduce:
        _add_command(page, first.reproduce)
    for other in others[:2]:
        page.text(
            f"{other.code} ({other.severity}, {other.count:,} seen): {other.message}", lines_max=2
        )
    if others[2:]:
        page.text(f"... and {len(others) - 2} more findings in report.md")


def _add_witness(page: _Page, witness: Witness) -> None:
    """Up to 6 steps: what every case has gives way first, then the middle."""
    shown = _telling(list(witness.steps))
    if len(shown) > STEPS_MAX:
        shown = shown[: STEPS_MAX - 3] + shown[-3:]
    cut = len(witness.steps) - len(shown)
    count = f", {len(shown)} of {len(witness.steps)} steps" if cut else ""
    head = f"session {witness.session}, attempt {witness.attempt}, endpoint {witness.endpoint}"
    page.text(f"{head}{count}:", indent=_INDENT)
    for step in shown:
        text = f"{figures.offset(step.at_s):>9} {step.who:<6} {step.what}"
        page.line(text, style="cyan", indent=_INDENT)


def _telling(steps: list[Step]) -> list[Step]:
    """Notes, then the handshake where messages follow it, then the usual close, give way."""
    if len(steps) > STEPS_MAX and any(step.point for step in steps):
        return _around_points(steps)
    if len(steps) > STEPS_MAX:
        steps = [step for step in steps[:-1] if step.who != "note"] + steps[-1:]
    talk = [k for k, step in enumerate(steps) if _is_message(step)]
    if len(steps) > STEPS_MAX and talk:
        steps = steps[talk[0] :]
    while len(steps) > STEPS_MAX and not _is_message(steps[-1]) and any(map(_is_message, steps)):
        steps = steps[:-1]
    return steps


def _around_points(steps: list[Step]) -> list[Step]:
    """What the case is about, and as there is room what the server did meanwhile."""
    points = [k for k, step in enumerate(steps) if step.point]
    kept = points if len(points) <= STEPS_MAX else [*points[:3], *points[3 - STEPS_MAX :]]
    between = [k for k in range(points[0], points[-1]) if k not in points]
    between = [k for k in between if steps[k].who == "server"]
    # A message that was kept stands twice, as its type and as its text: the type comes first.
    room = STEPS_MAX - len(kept)
    return [steps[k] for k in sorted([*kept, *between[:room]])]


def _is_message(step: Step) -> bool:
    """Something that was said on the open connection: no handshake, ping or close."""
    usual = ("dial ", "GET ", "HTTP/", "close ", "ping", "pong")
    return step.who != "note" and not step.what.startswith(usual)


def _add_command(page: _Page, command: str) -> None:
    """Wrapped as a shell reads it: every line but the last ends in a backslash."""
    safe = page.safe(command)
    lines = page.wrap(Text(safe), page.width - 4, 99)
    # Half a command is worse than none, and so is one that is split within a word.
    whole = max(map(len, safe.split(" "))) <= page.width - 4
    if len(lines) > COMMAND_LINES_MAX or not whole:
        page.text("again: the command is in report.md", indent=_INDENT)
        return
    for line in lines[:-1]:
        page.lines.append(Text(_INDENT) + line + Text(" \\"))
    page.lines.append(Text(_INDENT) + lines[-1])


def _accepted(told: Sequence[str]) -> list[str]:
    more = len(told) - ACCEPTED_MAX
    rest = [f"... and {more} more on accepted findings in report.md"] if more > 0 else []
    return [*told[:ACCEPTED_MAX], *rest]


def _fitness(judgement: Judgement) -> str:
    fitness = judgement.fitness
    if fitness.fit:
        telling = {k: v for k, v in fitness.figures.items() if "p99" in k or "cpu_max" in k}
        told = f": {figures.cell('figures', telling)}" if telling else ""
        return f"fitness: {fitness.said}{told}"
    kind = "unfit" if fitness.invalid else "tainted: what hangs on time or load is not judged"
    return f"fitness: {kind}: {'; '.join(fitness.invalid + fitness.taints)}"
