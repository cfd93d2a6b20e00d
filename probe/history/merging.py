"""Several journals of one run made into one history: merged as rows.

The rule: nothing is averaged and nothing is lost or made up. Each journal keeps its own order of
writing, and among journals rows stand by time: every process of a host reads the same clock, and
what another host has stamped is brought to the driver's (see `offset`).
References to texts are moved to where their journal's texts begin; one whose text was cut off by
a kill becomes 0, so that no text of another journal is read for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from probe.history.offset import CLOCK, Clock, apart
from probe.history.records import Credential, Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Rows = NDArray[np.void]

WORKER: Final = "worker-"
"""Folders of the workers' journals, beside the driver's own files: `worker-1` and so on."""
TEXT_IN_B: Final = (
    Kind.STAGE, Kind.SETTLED, Kind.TOLD, Kind.PEER, Kind.VARIANT, Kind.SENT, Kind.HEAD,
    Kind.KEPT, Kind.ODD, Kind.CLOSE, Kind.END, Kind.DONE,
)  # fmt: skip
_LENGTH_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class Part:
    """One journal. `torn`: its last row was cut."""

    rows: Rows
    texts: bytes
    meta: dict[str, Any]
    torn: bool


def merged(parts: Sequence[Part]) -> tuple[Rows, bytes, dict[str, Any], bool]:
    """Rows, texts, meta and whether any is torn; `parts[0]` is the driver's."""
    moved, texts, base = [], [], 0
    for part in parts:
        moved.append(_moved(part, base))
        texts.append(part.texts)
        base += len(part.texts)
    rows = np.concatenate(moved)
    # A row may be stamped before the ones that were written before it: it stays behind them.
    reached = [np.maximum.accumulate(each["t"]) for each in moved]
    order = np.argsort(np.concatenate(reached), kind="stable")
    return rows[order], b"".join(texts), _meta(parts), any(part.torn for part in parts)


def _moved(part: Part, base: int) -> Rows:
    """The rows of one journal as they stand in the whole."""
    rows = part.rows.copy()
    kinds = rows["kind"]
    in_b = np.isin(kinds, TEXT_IN_B)
    words = kinds == Kind.CREDENTIAL
    in_a = words & np.isin(rows["flag"], (Credential.SHOWN, Credential.RENEWED))
    in_b |= words & (rows["flag"] == Credential.NOT_MADE)
    for column, mask in (("a", in_a), ("b", in_b)):
        rows[column][mask] = _references(rows[column][mask], part.texts, base)
    if (clock := _clock(part)) is not None:
        rows["t"] = clock.ours(rows["t"])
        gaps = kinds == Kind.GAP
        rows["b"][gaps] = clock.ours(rows["b"][gaps])
    return rows


def _clock(part: Part) -> Clock | None:
    """The clock of another host that has stamped a journal; None where it was ours."""
    return Clock.of(part.meta[CLOCK]) if CLOCK in part.meta else None


def _references(references: NDArray[Any], texts: bytes, base: int) -> NDArray[np.int64]:
    """Where the same texts stand in the whole; 0 for none, and for one that was cut off."""
    found = references.astype(np.int64)
    raw = np.frombuffer(texts, dtype=np.uint8)
    there = (found > 0) & (found + _LENGTH_BYTES <= len(raw))
    at = np.where(there, found, 0)
    size = np.zeros(len(found), dtype=np.int64)
    if there.any():
        for place in range(_LENGTH_BYTES):
            size |= raw[at + place].astype(np.int64) << (8 * place)
    whole = there & (found + _LENGTH_BYTES + size <= len(raw))
    return np.where(whole, found + base, 0)


def lost_of(rows: Rows, meta: dict[str, Any]) -> int:
    """Rows that one journal had to drop."""
    gaps = int(rows["a"][rows["kind"] == Kind.GAP].sum())
    return max(gaps, int(meta.get("totals", {}).get("rows_lost", 0)))


def _meta(parts: Sequence[Part]) -> dict[str, Any]:
    """The driver's, with the sums of all; complete only where each is there and was closed."""
    totals: dict[str, int] = {}
    for part in parts:
        told = {**part.meta.get("totals", {}), "rows_lost": lost_of(part.rows, part.meta)}
        for name, number in told.items():
            totals[name] = totals.get(name, 0) + int(number)
    clocks = [
        (clock, int(part.rows["t"].min()), int(part.rows["t"].max()))
        for part in parts
        if len(part.rows) and (clock := _clock(part)) is not None
    ]
    return {
        **parts[0].meta,
        "complete": len(parts) == 1 + int(parts[0].meta.get("workers", 0))
        and all(part.meta.get("complete") for part in parts),
        "totals": totals,
        "hosts": sorted(
            {str(p.meta["host"]) for p in parts if CLOCK in p.meta and "host" in p.meta}
        ),
        "clock_bound_ns": apart(clocks),
    }
