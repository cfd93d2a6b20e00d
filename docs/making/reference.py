"""The reference pages, made from the code: `python -m docs.making.reference`.

The rule: a page in `docs/reference/` is what this makes, letter for letter
(`tests/test_docs_reference.py`), so it cannot say what the code does not.
"""

from __future__ import annotations

import inspect
from enum import Enum
from importlib import import_module
from itertools import groupby
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Final, get_args, get_origin, get_type_hints

from typer.models import ArgumentInfo, OptionInfo

from docs.making.tables import sections
from docs.making.verdict_words import WORDS
from probe.check.catalogue import CATALOGUE
from probe.check.entries_delivery import FAMILIES
from probe.check.entries_race import OWN
from probe.check.verdict import EXIT_CODES, EXIT_INTERRUPTED
from probe.cli import EXIT_USAGE, VERBS
from probe.lab.table import TABLE
from probe.model.dialect import Dialect
from probe.model.scenario import Scenario
from probe.model.target import Target
from probe.report.schema import verdict_schema

if TYPE_CHECKING:
    from pydantic import BaseModel

FOLDER: Final = Path(__file__).parent.parent / "reference"
MADE: Final = "<!-- made by `make reference` from the code: change it there -->\n"
_TYPES: Final = {
    "duration": (
        'a number and a unit, or several: `"250ms"`, `"1.5s"`, `"2min 30s"`; units ns, us, ms, s, '
        'm or min, h; `"0"`'
    ),
    "offset": 'a duration with a sign or without: `"-20ms"`',
    "rate": 'a number per second, minute or hour: `"5/s"`, `"90/min"`',
    "size": 'bytes, with or without a unit: `"64KiB"`, `"1MB"`',
    "share": '`"95%"` or `0.95`',
    "quantile": '`"p50"`, `"p95"`, `"p99.9"`',
    "name": "small letters, digits and `_`, first a letter, at most 64",
}
_FILES: Final[dict[str, type[BaseModel]]] = {
    "scenario": Scenario,
    "target": Target,
    "dialect": Dialect,
}
_TOLD: Final = {
    "scenario": (
        "A scenario says what is done and what it is held to; it stands in "
        "`scenarios/NAME.toml`, or as a table or a `Scenario` in `scenarios/NAME.py`. "
        "`probe schema scenario` prints this page for editors, `probe validate NAME` tells every "
        "mistake of a file at once, and `probe run NAME --dry-run` what would be played."
    ),
    "target": (
        "A target says where a service is, what may be done to it and how its tokens come; it "
        "stands in `scenarios/targets/NAME.toml`. `${PROBE_NAME}` in any text is replaced by that "
        "variable of the environment or of `.env`; one that is not set is an error that names it."
    ),
    "dialect": (
        "A dialect says how a service speaks; it stands in `scenarios/dialects/NAME.toml`, and "
        "targets name it. What is left out is not asked of the service."
    ),
}
_VERDICTS: Final = {
    "PASS": "every required check passed, and each had samples",
    "FAIL": "a witness, or a bound that is broken",
    "INCONCLUSIVE": "not enough was seen to say, and the report says how much it would take",
    "SKIPPED": "of one check: an earlier stage left it unrun",
    "INVALID": "this machine was not fit to measure",
    "ERROR": "an error of the probe's own",
}


def pages() -> dict[str, str]:
    """Every page by the name of its file."""
    made = {f"{name}.md": _file(name) for name in _FILES}
    made |= {
        "cli.md": _cli(),
        "findings.md": _findings(),
        "verdict.md": _verdict(),
        "defects.md": _defects(),
    }
    return {name: f"{MADE}{text.rstrip()}\n" for name, text in made.items()}


def _file(name: str) -> str:
    rows = "".join(f"| {kind} | {written} |\n" for kind, written in _TYPES.items())
    types = f"| type | written as |\n|---|---|\n{rows}"
    parts = [f"# The {name} file\n\n{_TOLD[name]}\n\n{types}\n"]
    steps = False
    for section in sections(_FILES[name].model_json_schema(), name.capitalize()):
        if section.startswith("## do ") and not steps:
            steps = True
            parts.append(
                '## Steps\n\nEach step is `{ do = "…" }` with its keys. In a Python scenario they '
                "are the methods of a session (`probe.model.script.Session`).\n\n"
            )
        parts.append(section + "\n")
    return "".join(parts)


def _cli() -> str:
    parts = ['# The command line\n\n`probe VERB …`; with `make`, options go through `ARGS="…"`.\n']
    for verb, (module, _) in VERBS.items():
        command = import_module(f"probe.cli.{module}").command
        hints = get_type_hints(command, include_extras=True)
        parameters = inspect.signature(command).parameters
        told = inspect.getdoc(command) or ""
        words, rows = [f"probe {verb}"], []
        for name, parameter in parameters.items():
            kind, info = get_args(hints[name])[:2]
            unset = parameter.default is inspect.Parameter.empty
            if info.hidden:
                continue
            if isinstance(info, ArgumentInfo):
                words.append(name.upper() if unset else f"[{name.upper()}]")
            rows.append(_option(name, kind, info, parameter.default))
        options = any("--" in row for row in rows)
        parts.append(f"\n## {verb}\n\n    {' '.join(words)}{' [OPTIONS]' if options else ''}\n\n")
        parts.append(f"{told}\n\n| | value | default | meaning |\n|---|---|---|---|\n")
        parts += rows
    return "".join([*parts, "\n", _exits()])


def _option(name: str, kind: Any, info: ArgumentInfo | OptionInfo, default: Any) -> str:
    told = (info.help or "").replace("|", "\\|")
    unset = default is inspect.Parameter.empty
    shown = (
        "**required**" if unset else "none" if default in (None, False) else f"`{_plain(default)}`"
    )
    # Within Annotated the first name that is given stands where a default would.
    given = [str(each) for each in (info.default, *(info.param_decls or ()))]
    words = [each for each in given if each.startswith("-")] or [f"--{name.replace('_', '-')}"]
    if isinstance(info, ArgumentInfo):
        words = [name.upper()]
    called = ", ".join(f"`{word}`" for word in words)
    return f"| {called} | {_value(kind, info)} | {shown} | {told} |\n"


def _plain(value: Any) -> str:
    return str(value.value if isinstance(value, Enum) else value)


def _value(kind: Any, info: ArgumentInfo | OptionInfo) -> str:
    """What an option takes: a number with its bounds, one of some words, a path or text."""
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) is UnionType:
        kind = next(each for each in get_args(kind) if each is not type(None))
    if get_origin(kind) is list:
        kind = get_args(kind)[0]
    if kind is bool:
        return ""
    if isinstance(kind, type) and issubclass(kind, Enum):
        return ", ".join(f"`{each.value}`" for each in kind)
    word = {int: "whole number", float: "number", Path: "path"}.get(kind, "text")
    bounds = [f"at least {info.min:,}"] if info.min is not None else []
    bounds += [f"at most {info.max:,}"] if info.max is not None else []
    return ", ".join([word, *bounds])


def _exits() -> str:
    rows = [(code, name.value, _VERDICTS[name.value]) for name, code in EXIT_CODES.items()]
    rows += [(EXIT_USAGE, "", "usage or configuration: no run was begun")]
    rows += [(EXIT_INTERRUPTED, "", "interrupted; what was recorded is judged")]
    rows = sorted(row for row in rows if row[1] != "SKIPPED")
    lines = [f"| {code} | {name} | {told} |" for code, name, told in rows]
    told = (
        "`make` turns every failure into its own 2, so CI calls `probe` itself, or reads "
        "`verdict.json`."
    )
    return "\n".join(
        ["## Exit codes", "", "| code | verdict | |", "|---|---|---|", *lines, "", told]
    )


def _findings() -> str:
    told = (
        "# Findings\n\n"
        "Every finding that a report can hold. The code is stable: CI, known findings and issues "
        "go by it. What it rests on says how it is judged "
        "([methods](../methods.md#verdict)): a *witness* is one case, and one is enough; a *bound* "
        "is a share or a quantile by its 95 % bound; an *absence* is what must not be there at "
        "all. The control shows that the check can see at all.\n"
    )
    parts = [told]
    for area, codes in groupby(sorted(CATALOGUE), key=lambda code: code.partition(".")[0]):
        parts.append(f"\n## {area}\n")
        parts += [_finding(code, CATALOGUE[code]) for code in codes]
    parts.append("\n## Families\n\nCodes that end in a name of your own files.\n")
    parts += [_finding(f"{start}NAME", entry) for start, entry in {**FAMILIES, **OWN}.items()]
    return "".join(parts)


def _finding(code: str, entry: Any) -> str:
    causes = [each[0].upper() + each[1:] for each in entry.causes.values()]
    listed = "".join(f"- {each}.\n" for each in dict.fromkeys(causes))
    many = "causes" if len(causes) > 1 else "cause"
    return (
        f"\n### `{code}`\n\n**{entry.severity}**; rests on: {entry.evidence}; "
        f"control: {entry.control}\n\nLikely {many}:\n\n{listed}\n"
        f"Source: {_source(entry.source)}\n"
    )


def _source(text: str) -> str:
    """Where the rule stands; pages of these docs as links."""
    linked = []
    for part in text.split("; "):
        page, comma, rest = part.partition(",")
        if page.startswith("docs/"):
            linked.append(
                f"[{page.removeprefix('docs/').removesuffix('.md')}](../{page[5:]}){comma}{rest}"
            )
        else:
            linked.append(part)
    return "; ".join(linked)


def _verdict() -> str:
    schema = verdict_schema()
    for name, words in WORDS.items():
        entries = schema["$defs"][name]["properties"]
        for key, told in words.items():
            if key in entries:
                entries[key] = {"description": told} | entries[key]
    told = (
        "# verdict.json\n\n"
        "One run, judged, for machines; it is in every run's directory, and `probe run … --json` "
        "prints it. Within schema version 1 fields may be added, and none goes or changes what it "
        "means. `probe schema verdict` prints the JSON Schema.\n\n"
    )
    inner = {"$ref": schema["$ref"], "$defs": schema["$defs"]}
    made = sections(inner, "verdict.json", defaults=False)
    return told + "\n".join(made) + "\n" + _exits()


def _defects() -> str:
    told = (
        "# Defects of the lab\n\n"
        "What can go wrong in the [embedded lab](../lab.md), one by one: "
        "`probe run SCENARIO --target lab --defect NAME` or `--defect NAME=VALUE`, and "
        "`probe lab --list-defects` as JSON. A rate is the share of the cases that are hit.\n\n"
        "| defect | value | default | what the lab does |\n|---|---|---|---|\n"
    )
    rows = [
        f"| `{each.name}` | {each.unit} | `{each.default}` | {each.meaning} |\n"
        for each in TABLE.values()
    ]
    return told + "".join(rows)


def main() -> None:
    """Write every page."""
    FOLDER.mkdir(exist_ok=True)
    made = pages()
    for page in FOLDER.glob("*.md"):
        if page.name not in made:
            page.unlink()
    for name, text in made.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
