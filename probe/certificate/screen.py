"""The matrix on a terminal: a table of defects, one of the healthy lab, and one line in the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from probe.certificate.pages import k_of_n, ledger, others, percent, uncounted

if TYPE_CHECKING:
    from probe.certificate.matrix import Matrix


def tables(matrix: Matrix) -> list[Table]:
    """One table of defects and one of the healthy lab."""
    found: list[Table] = []
    if matrix.rows:
        table = Table(box=None, pad_edge=False)
        table.add_column("defect, and what shows it", no_wrap=True)
        table.add_column("seen", justify="right", no_wrap=True)
        table.add_column("95 %", no_wrap=True)
        table.add_column("told / ledger", justify="right", no_wrap=True)
        table.add_column("also", overflow="fold")
        for row in matrix.rows:
            whole = row.seen.n and row.seen.k == row.seen.n
            agrees = row.agrees.k == row.agrees.n
            notes = [f"{code} {n}" for code, n in others(row).items()]
            notes += [words] if (words := uncounted(row.sights)) else []
            table.add_row(
                "\n  ".join((f"{row.defect}={row.value}", *row.expected)),
                Text(k_of_n(row.seen), style="" if whole else "bold red"),
                percent(row.seen),
                Text(ledger(row), style="" if agrees else "bold red"),
                "\n".join(notes),
            )
        found.append(table)
    if matrix.calm:
        table = Table("healthy lab", box=None, pad_edge=False)
        table.add_column("false alarms", justify="right", no_wrap=True)
        table.add_column("95 %", no_wrap=True)
        table.add_column("PASS", justify="right", no_wrap=True)
        table.add_column("also")
        for each in matrix.calm:
            notes = [f"{code} {n}" for code, n in each.codes.items()]
            notes += [words] if (words := uncounted(each.sights)) else []
            table.add_row(
                each.scenario,
                Text(k_of_n(each.alarms), style="bold red" if each.alarms.k else ""),
                percent(each.alarms),
                f"{each.passed} of {each.runs}",
                "\n".join(notes),
            )
        found.append(table)
    return found
