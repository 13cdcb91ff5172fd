"""The slowest unmaps as a table to choose one from: the waterfall draws its calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from traceview.queries.groups import source_labels
from traceview.report.dashboard.words import text
from traceview.report.wording import UNKNOWN, clean, count, duration, number, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import polars as pl

    from traceview.queries.analysis import Analysis

TITLES: Final = (
    "duration", "leaves", "ns/leaf", "strategy", "trigger", "step", "at (s)", "CPU", "comm", "trace"
)  # fmt: skip
NUMBERS: Final = frozenset({"duration", "leaves", "ns/leaf", "at (s)", "CPU"})


@dataclass(frozen=True, slots=True)
class SlowUnmap:
    """One unmap: its name in the charts (`source_id:unmap_id`), and what its row says."""

    key: str
    cells: tuple[str, ...]


def slow_unmaps(analysis: Analysis, slow_calls: pl.DataFrame) -> list[SlowUnmap]:
    """Those of *analysis* that *slow_calls* (SLOW_CALLS) holds the calls of, the slowest first."""
    kept = slow_calls.select("source_id", "unmap_id").unique(maintain_order=True)
    rows = kept.join(analysis.unmaps, on=["source_id", "unmap_id"], maintain_order="left")
    rows = rows.sort("duration_ns", descending=True, maintain_order=True).join(
        source_labels(analysis.sources), on="source_id", how="left", maintain_order="left"
    )
    return [
        SlowUnmap(f"{row['source_id']}:{row['unmap_id']}", _cells(row))
        for row in rows.iter_rows(named=True)
    ]


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    leaves = row["leaves"]
    return (
        duration(row["duration_ns"]), count(leaves),
        number(row["duration_ns"] / leaves if leaves else None), row["strategy"], row["trigger"],
        clean(row["step"]), seconds(row["start_ns"]), count(row["cpu"]), clean(row["comm"]),
        clean(row["label"]),
    )  # fmt: skip


def chooser(unmaps: Sequence[SlowUnmap]) -> Iterator[str]:
    """A table with a radio button a row: one stop of the Tab key, the arrow keys move in it."""
    shown = [at for at in range(len(TITLES)) if any(_says(one.cells[at]) for one in unmaps)]
    yield '<div class="scroll low" role="region" tabindex="0" aria-label="the slowest unmaps">'
    yield '<table id="slowest"><thead><tr>'
    yield from (f'<th scope="col"{_side(at)}>{text(TITLES[at])}</th>' for at in shown)
    yield "</tr></thead><tbody>\n"
    for place, one in enumerate(unmaps):
        first = " checked" if place == 0 else ""
        yield f'<tr><th scope="row" class="n"><label><input type="radio" name="unmap"{first}'
        yield f' value="{text(one.key)}"> {text(one.cells[0])}</label></th>'
        yield from (f"<td{_side(at)}>{text(one.cells[at])}</td>" for at in shown if at)
        yield "</tr>\n"
    yield "</tbody></table></div>\n"


def _says(cell: str) -> bool:
    return cell not in {"", UNKNOWN}


def _side(at: int) -> str:
    return ' class="n"' if TITLES[at] in NUMBERS else ""
