"""What an audit says: per check what was checked, what was found, and what could not be checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Mapping

    from traceview.queries.analysis import Analysis
    from traceview.queries.filters import Filters

FINDINGS: Final = {
    "source_id": pl.Int32(), "check": pl.String(), "severity": pl.String(),
    "unmap_id": pl.Int64(), "call_id": pl.Int64(), "step": pl.String(), "cpu": pl.Int32(),
    "tid": pl.Int32(), "start_ns": pl.Int64(), "text": pl.String(),
}  # fmt: skip

WINDOWS: Final = {
    "label": pl.String(), "origin": pl.String(), "evidence": pl.String(), "strategy": pl.String(),
    "unmaps": pl.Int64(), "windows": pl.Int64(), "unknown": pl.Int64(),
    "leaves_unknown": pl.Int64(),
    "median_ns": pl.Int64(), "p95_ns": pl.Int64(), "max_ns": pl.Int64(),
    "leaves_median": pl.Int64(), "leaves_max": pl.Int64(),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Check:
    """One question put to one source.

    `unit`: what was looked at. `checked` of them were decided, `found` of these are findings, and
    `idle` had nothing to decide. `by`: what the decision rests on. `unchecked`: why others could
    not be decided, and how many.
    """

    source_id: int
    code: str
    unit: str
    checked: int
    found: int
    idle: int
    by: Mapping[str, int]
    unchecked: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Bystanders:
    """Guest faults of other tasks inside stale windows, of one source."""

    source_id: int
    recorded: int
    inside: int
    unmaps: int


@dataclass(frozen=True, slots=True)
class Assumed:
    """What the sequence of range operations of one source was computed with.

    `formulas`: those that the kernel may have (range_operations.Formula, as text). `page_known`:
    whether the trace or the user says the page size, else it is assumed.
    """

    source_id: int
    kernel: str | None
    page_size_bytes: int
    page_known: bool
    lpa2: bool | None
    formulas: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Audit:
    """The result. `whole` is what was read, `kept` what the filters left of it.

    `findings`: FINDINGS. `windows`: WINDOWS, the stale windows by label, origin,
    evidence and strategy.
    """

    whole: Analysis
    kept: Analysis
    filters: Filters
    checks: tuple[Check, ...]
    findings: pl.DataFrame
    windows: pl.DataFrame
    bystanders: tuple[Bystanders, ...]
    assumed: tuple[Assumed, ...]

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found; what could not be checked is not said to be right."""
        return self.findings.is_empty()

    @property
    def checked(self) -> int:
        """How many decisions were made, over all checks."""
        return sum(check.checked for check in self.checks)

    @property
    def is_complete(self) -> bool:
        """Whether there are unmaps, something was checked, and nothing was left unchecked."""
        some = self.checked > 0 and not self.kept.unmaps.is_empty()
        return some and not any(check.unchecked for check in self.checks)

    @property
    def outcome(self) -> str:
        """`findings`, `nothing_checked`, `incomplete` or `clean`."""
        if not self.is_clean:
            return "findings"
        if not self.checked:
            return "nothing_checked"
        return "clean" if self.is_complete else "incomplete"


def judged(
    source_id: int, code: str, unit: str, rows: pl.DataFrame, *, doubt: str | None = None
) -> tuple[Check, pl.DataFrame]:
    """The check of *rows*, and its findings.

    *doubt*: why something that is seen to be missing may just not have been recorded.

    *rows* have `reason` (why one cannot be decided, or null), `idle`, `bad`, `by` and `text`, and
    of the columns of FINDINGS those that are known.
    """
    if "severity" not in rows.columns:
        rows = rows.with_columns(pl.lit("finding").alias("severity"))
    if doubt is not None:
        missing = pl.col("reason").is_null() & pl.col("bad") & (pl.col("severity") == "finding")
        rows = rows.with_columns(
            pl.when(missing).then(pl.lit(doubt)).otherwise("reason").alias("reason")
        )
    open_ = pl.col("reason").is_null()
    decided = rows.filter(open_ & ~pl.col("idle"))
    bad = decided.filter("bad")
    check = Check(
        source_id, code, unit, len(decided), len(bad), len(rows.filter(open_ & pl.col("idle"))),
        _counted(decided, "by"), _counted(rows.filter(~open_), "reason"),
    )  # fmt: skip
    given = bad.with_columns(
        pl.lit(source_id).alias("source_id"),
        pl.lit(code).alias("check"),
        *(pl.lit(None, dtype).alias(name) for name, dtype in FINDINGS.items()
          if name not in {*bad.columns, "source_id", "check"}),
    )  # fmt: skip
    found = given.select(pl.col(name).cast(dtype) for name, dtype in FINDINGS.items())
    return check, found


def _counted(rows: pl.DataFrame, column: str) -> dict[str, int]:
    counts = rows.group_by(column, maintain_order=True).len().sort("len", descending=True)
    return {name: number for name, number in counts.iter_rows() if name is not None}
