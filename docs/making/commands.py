"""The commands that the docs show, so that a test can run them as a reader would.

A block is commands when it is fenced as `sh` or `console`, or when it is fenced as nothing or
indented and begins with one of the project's own commands. Each line is one, but for a
backslash at its end; of `console` only what stands behind `$ ` is. A fenced block behind a line
such as `` `scenarios/echo.toml`: `` is that file. What cannot be run here is told by `ELSEWHERE`,
with a word for the reason; nothing else is left out.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parent.parent.parent
ELSEWHERE: Final = {
    "staging": r"\bstaging\b",  # a real service, which is not here
    "cluster": r"--engine[ =]ray|\bkubectl\b|\bray\b|make test-cluster",
    "hours": r"--full|make certificate|benchmarks\.|make bench|make test-long|selftest",
    "itself": r"make (test|test-docs|check|coverage|docs|pictures)\b",
    "outside": r"/var/lib|collector:|:9091|://(?!127\.0\.0\.1|localhost)[\w.-]+",  # another host
    "stays": r"(make|probe) lab\b(?!.*--list)|--dashboard",  # runs until it is stopped
    "pattern": r"…|(?<![=\w$])[A-Z][A-Z_]+\b(?!=)|<[a-z-]+>",  # a word in capitals is yours to fill
}
_OURS: Final = re.compile(r"(\$ )?(probe|make|\.venv/bin/\S+) ")
_FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INDENTED: Final = re.compile(r"(?:^    .*\n)+", re.MULTILINE)
_FILE: Final = re.compile(r"^`(scenarios/[\w./-]+)`[^`]*:")
_FILES: Final = ("toml", "python")
_EXIT: Final = re.compile(r"#\s*exit (\d+)")
_HEADING: Final = re.compile(r"^#+ (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Command:
    """One line to run, in the order of the page; or a file to write before it.

    `why` is the word of `ELSEWHERE` for what cannot be run here, "" for what can.
    `exits` are the exit codes that it may have; 3 and 4 speak of the machine.
    """

    section: str
    line: str
    why: str = ""
    exits: tuple[int, ...] = (0,)
    file: str = ""

    @property
    def program(self) -> str:
        """What it starts; "" for what is the shell's own, or cannot be told."""
        words = [word for word in shlex.split(self.line) if not re.match(r"\w+=", word)]
        return words[0] if words else ""


def pages() -> list[Path]:
    """Every page that may hold commands."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands(page: Path) -> list[Command]:
    """The commands and files of a page, in its order."""
    return list(_commands(page.read_text(encoding="utf-8")))


def _commands(text: str) -> Iterator[Command]:
    blocks = [(match.start(), match[1], match[2]) for match in _FENCE.finditer(text)]
    blank = _FENCE.sub(lambda match: re.sub(r"[^\n]", "", match[0]), text)
    # Blanked, fences keep their lines; offsets do not hold, so indented blocks go by line.
    first_of = {text.count("\n", 0, start): (kind, body) for start, kind, body in blocks}
    for match in _INDENTED.finditer(blank):
        body = "".join(line[4:] for line in match[0].splitlines(keepends=True))
        first_of[blank.count("\n", 0, match.start())] = ("", body)
    lines = blank.splitlines()
    section = ""
    for number in range(len(lines)):
        if heading := _HEADING.match(lines[number]):
            section = heading[1]
        if number in first_of:
            kind, body = first_of[number]
            before = next((line for line in reversed(lines[:number]) if line.strip()), "")
            named = _FILE.match(before)
            if named and kind in _FILES:
                yield Command(section, body, file=named[1])
            elif kind in {"sh", "console"} or (not kind and _OURS.match(body)):
                yield from (_command(section, line) for line in _lines(kind, body))


def _lines(kind: str, body: str) -> Iterator[str]:
    prompted = kind == "console" or body.startswith("$ ")
    for line in re.sub(r"\\\n\s*", "", body).splitlines():
        if prompted and line.startswith("$ "):
            yield line[2:].strip()
        elif not prompted and line.strip() and not line.startswith("#"):
            yield line.strip()


def _command(section: str, line: str) -> Command:
    why = next((word for word, rule in ELSEWHERE.items() if re.search(rule, _bare(line))), "")
    runs = re.search(r"\b(probe (run|calibrate)|make (probe|smoke))\b", line)
    exits: tuple[int, ...] = (0, 3, 4) if runs else (0,)
    if runs and "--defect" in line:
        exits += (1,)
    if told := _EXIT.search(line):
        exits = (int(told[1]),)
    if line.startswith("make") and any(exits):
        exits += (2,)  # which is what make turns every failure into
    return Command(section, line, why, exits)


def _bare(line: str) -> str:
    """A command without its comment and without what it says in quotes."""
    return re.sub(r"\s#.*$", "", line)


def told() -> str:
    """Every command of the docs by page, and why one is not run."""
    return "\n".join(
        f"{page.relative_to(ROOT)}: {each.why or 'run':8} {each.line}"
        for page in pages()
        for each in commands(page)
        if not each.file
    )


if __name__ == "__main__":
    print(told())
