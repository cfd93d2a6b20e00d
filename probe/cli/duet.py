"""`probe duet`: two targets played in turn, block by block, and compared by blocks.

What differs from hour to hour meets both alike (duet benchmarking: Bulej et al., ICPE 2020).
Each block is a run of its own, with its own directory and verdict; both of a pair have the same
seed, and so the same plan, and a coin says which goes first. The rule: what was played is
written down after each block, so that an end in between leaves a comparison of the whole pairs
there are, and `--resume` plays the rest.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from probe.check.comparing.comparison import compare
from probe.cli.arms import taken
from probe.cli.blocks import ARMS, TRIES, Arm, Duet, Interrupted, blocks_of, resumed, started
from probe.cli.comparing import FailOn, exit_code, margin_of, show_comparison
from probe.cli.console import console
from probe.errors import ConfigError, Problem
from probe.report.comparison import NAME, comparison_document
from probe.report.comparison_views import comparison_markdown
from probe.report.document import json_bytes
from probe.report.past import past_of

if TYPE_CHECKING:
    from rich.console import Console

PAIRS_MAX = 200
PAIRS = 12
PAIRS_MIN = 3
MARKDOWN = "comparison.md"
EXIT_INTERRUPTED = 130
EXIT_UNDECIDED = 3
SEED_MAX = 2**32


def command(
    scenario: Annotated[str | None, typer.Argument(help="Name or file of a scenario.")] = None,
    a: Annotated[str | None, typer.Option("--a", help="The target as it was.")] = None,
    b: Annotated[str | None, typer.Option("--b", help="The target as it is.")] = None,
    pairs: Annotated[
        int, typer.Option("--blocks", min=PAIRS_MIN, max=PAIRS_MAX, help="Blocks of each.")
    ] = PAIRS,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="As of `probe run`, for both (repeatable).")
    ] = None,
    set_a: Annotated[
        list[str] | None, typer.Option("--set-a", help="The same for a alone (repeatable).")
    ] = None,
    set_b: Annotated[
        list[str] | None, typer.Option("--set-b", help="The same for b alone (repeatable).")
    ] = None,
    defect_a: Annotated[
        list[str] | None, typer.Option("--defect-a", help="A defect of the lab, in a (repeatable).")
    ] = None,
    defect_b: Annotated[
        list[str] | None, typer.Option("--defect-b", help="A defect of the lab, in b (repeatable).")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=SEED_MAX, help="Of the order, and of the plans.")
    ] = None,
    tries: Annotated[
        int, typer.Option(min=1, max=10, help="So often is a block played that was not fit.")
    ] = TRIES,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with this duet; nothing else is said then.")
    ] = None,
    margin: Annotated[
        str, typer.Option(help="What a timing may change by and still be called the same.")
    ] = "5%",
    fail_on: Annotated[
        FailOn, typer.Option("--fail-on", help="worse: exit 1; undecided: exit 3 as well.")
    ] = FailOn.WORSE,
    out: Annotated[Path, typer.Option(help="Where the duet's directory goes.")] = Path("results"),
    json: Annotated[bool, typer.Option("--json", help="Print comparison.json on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No line for each block.")] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours.")] = False,
) -> None:
    """Play two targets in turn, in blocks of random order, and compare them by blocks."""
    small = margin_of(margin)
    if resume is not None:
        duet = resumed(resume)
    elif scenario is None or a is None or b is None:
        raise ConfigError(Problem("duet", "", "takes a scenario, --a and --b, or --resume"))
    else:
        shared = sets or []
        arms = {
            "a": Arm(a, [*shared, *(set_a or [])], defect_a or []),
            "b": Arm(b, [*shared, *(set_b or [])], defect_b or []),
        }
        duet = started(out, scenario, arms, pairs, seed)
    screen = console(no_color=no_color, stderr=json)
    interrupted = _play(duet, tries, None if quiet else screen)
    told = _compare(duet, small)
    if told is None:
        _say(screen, f"no pair was played to its end; {_again(duet)}")
        raise typer.Exit(EXIT_INTERRUPTED if interrupted else EXIT_UNDECIDED)
    if json:
        sys.stdout.buffer.write(json_bytes(told))
    else:
        show_comparison(told, screen)
    _say(screen, f"{duet.folder}/  ({NAME}, {MARKDOWN})")
    if interrupted:
        _say(screen, f"interrupted; {_again(duet)}")
        raise typer.Exit(EXIT_INTERRUPTED)
    raise typer.Exit(exit_code(told, fail_on))


def _play(duet: Duet, tries: int, screen: Console | None) -> bool:
    """Play what is left; whether it was interrupted."""
    if screen is not None:
        screen.print(f"{duet.scenario}: {duet.words}, seed {duet.seed}", markup=False)
    try:
        for block in blocks_of(duet, tries):
            if screen is not None:
                run = past_of(block.verdict, block.summary)
                figures = ", ".join(each.text for each in run.main) or "no figure"
                unfit = "" if run.fit else "; the probe was unfit"
                head = f"  {block.number + 1:>3} of {len(duet.orders)}  {block.arm}"
                screen.print(f"{head}  {run.verdict:<12}  {figures}{unfit}", markup=False)
    except (Interrupted, KeyboardInterrupt):
        return True
    return False


def _compare(duet: Duet, small: float) -> dict[str, Any] | None:
    """Compare the whole pairs, and write it down; None where there is none."""
    whole = duet.pairs()
    if not whole:
        return None
    before, now = ([taken(pair[place]) for pair in whole] for place in range(len(ARMS)))
    told = comparison_document(compare(before, now, paired=True, across=True, small=small))
    names = " against ".join(duet.arms[arm].target for arm in ARMS[::-1])
    told["target"] = names
    (duet.folder / NAME).write_bytes(json_bytes(told))
    (duet.folder / MARKDOWN).write_text(comparison_markdown(told) + "\n", encoding="utf-8")
    return told


def _say(screen: Console, text: str) -> None:
    """A line as it is: a path or a command that was wrapped cannot be copied."""
    screen.print(text, markup=False, soft_wrap=True)


def _again(duet: Duet) -> str:
    return f"to go on: probe duet --resume {duet.folder}"
