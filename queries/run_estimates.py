"""One estimate per run: what a run says of each cell, and of the line through its sizes.

A run is a boot or a VM: the unit of replication. Each estimate is made four times: of the times
as they were recorded (`raw`), without the estimated cost of tracing (`corrected`, None where there
is only a bound), and without the most and the least that tracing can have cost (`low`, `high`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import polars as pl

from traceview.queries.matched_unmaps import CELL
from traceview.queries.relative_line import relative_line

if TYPE_CHECKING:
    from traceview.queries.relative_line import RelativeLine

Variant = Literal["raw", "corrected", "low", "high"]
VARIANTS: Final[dict[Variant, str]] = {
    "raw": "duration_ns", "corrected": "corrected_ns", "low": "corrected_low_ns",
    "high": "corrected_high_ns",
}  # fmt: skip
# Unmaps of one line: leaves of one level that were cleared for one reason.
LINE: Final = ("level", "trigger")
MIN_SIZES: Final = 3


@dataclass(frozen=True, slots=True)
class RunLine:
    """The line of one run, per variant; None where it is not known for every unmap."""

    run: str
    lines: dict[Variant, RelativeLine | None]


def run_medians(unmaps: pl.DataFrame) -> pl.DataFrame:
    """Per run and cell: `unmaps`, and the median of each variant (ns; null if one is unknown).

    One row per run and cell, runs in order of their first unmap.
    """
    return unmaps.group_by("run", *CELL, maintain_order=True).agg(
        pl.len().cast(pl.Int64).alias("unmaps"),
        *(
            pl.when(pl.col(column).null_count() == 0).then(pl.col(column).median()).alias(name)
            for name, column in VARIANTS.items()
        ),
    )


def run_lines(unmaps: pl.DataFrame) -> list[RunLine] | None:
    """The line of each run through *unmaps*, which are of one level and trigger.

    None with fewer than MIN_SIZES sizes in a run: a line through two says nothing of its fit.
    Every size weighs the same, however many unmaps it has.
    """
    rows = unmaps.filter(pl.col("leaves") > 0)
    found = []
    for (run,), of in rows.group_by("run", maintain_order=True):
        if of["leaves"].n_unique() < MIN_SIZES:
            return None
        found.append(RunLine(str(run), {name: _line(of, name) for name in VARIANTS}))
    return found or None


def _line(rows: pl.DataFrame, variant: Variant) -> RelativeLine | None:
    column = VARIANTS[variant]
    if rows[column].null_count():
        return None
    weights = rows.select((1 / pl.len().over("leaves")).alias("weight"))["weight"]
    line = relative_line(rows["leaves"].to_numpy(), rows[column].to_numpy(), weights.to_numpy())
    # A duration of nothing or less is on no line of relative errors: then it is not this one.
    return None if line is None or line.left_out else line


def cells_of(rows: pl.DataFrame) -> pl.DataFrame:
    """The cells of *rows*, in the order of reports."""
    cells = rows.select(CELL).unique(maintain_order=True)
    return cells.sort(*CELL, nulls_last=True, maintain_order=True)


def of_cell(rows: pl.DataFrame, cell: dict[str, Any]) -> pl.DataFrame:
    """The rows of one cell, or of one line."""
    return rows.filter(pl.all_horizontal(pl.col(name).eq_missing(cell[name]) for name in cell))


def estimates_of(medians: pl.DataFrame) -> dict[Variant, list[float] | None]:
    """The runs' medians per variant, None where one is unknown."""
    return {
        name: None if medians[name].null_count() else medians[name].cast(pl.Float64).to_list()
        for name in VARIANTS
    }


def as_float(value: object) -> float | None:
    """A number that polars made of a column; None where there was nothing to make it of."""
    return float(value) if isinstance(value, (int, float)) else None
