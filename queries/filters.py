"""Which unmaps of an analysis to keep: by step, trigger, CPU, task, time.

A filter keeps the rows whose column matches; a row that cannot say (null) never matches, and
`undecided` counts the unmaps of which that is so. Triggers,
flushes and VM destructions are filtered by the same columns; those that have no trigger are left
out when one is asked for. What describes the source (losses, event counts) stays whole.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import polars as pl

from traceview.errors import QueryError, SettingError
from traceview.schema import TRIGGER_KINDS

if TYPE_CHECKING:
    from traceview.queries.analysis import Analysis

UNITS_NS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
TIME = re.compile(r"(?P<number>\d+(?:\.\d+)?|\.\d+)\s*(?P<unit>s|ms|us|ns)?")


@dataclass(frozen=True, slots=True)
class Filters:
    """What to keep; an empty tuple or None does not filter. Steps may be globs (`s03.*`)."""

    steps: tuple[str, ...] = ()
    triggers: tuple[str, ...] = ()
    cpus: tuple[int, ...] = ()
    tids: tuple[int, ...] = ()
    from_ns: int | None = None
    to_ns: int | None = None

    def __post_init__(self) -> None:
        """Refuse a trigger that no trace can have, and a range that ends before it begins."""
        for kind in self.triggers:
            if kind not in TRIGGER_KINDS:
                raise SettingError(
                    f"unknown trigger {kind!r}\nvalid: {', '.join(sorted(TRIGGER_KINDS))}"
                )
        if self.from_ns is not None and self.to_ns is not None and self.from_ns > self.to_ns:
            raise SettingError(
                f"no time is from {seconds(self.from_ns)} to {seconds(self.to_ns)}:"
                " the range ends before it begins"
            )

    def __bool__(self) -> bool:
        return self != Filters()

    def __str__(self) -> str:
        """As the options that ask for it, for a report to repeat."""
        said = [f"step {name}" for name in self.steps]
        said += [f"trigger {kind}" for kind in self.triggers]
        said += [f"cpu {cpu}" for cpu in self.cpus]
        said += [f"tid {tid}" for tid in self.tids]
        said += [] if self.from_ns is None else [f"from {seconds(self.from_ns)}"]
        said += [] if self.to_ns is None else [f"to {seconds(self.to_ns)}"]
        return ", ".join(said)


def parse_time(text: str) -> int:
    """Nanoseconds of a time as tracefs prints it (`30.155`, seconds) or with a unit (`30155ms`).

    Raises SettingError when *text* is no time, or is finer than a nanosecond.
    """
    match = TIME.fullmatch(text.strip())
    try:
        exact = Decimal(match["number"]) * UNITS_NS[match["unit"] or "s"] if match else None
    except InvalidOperation:
        exact = None
    if exact is None or exact != int(exact) or exact >= 2**63:
        raise SettingError(
            f"not a time: {text!r}\n"
            "valid: seconds of the trace's clock (30.155), or with a unit: s, ms, us, ns"
        )
    return int(exact)


def seconds(ns: int) -> str:
    """*ns* as exact seconds, as parse_time reads them."""
    return f"{ns // 10**9}.{ns % 10**9:09d}".rstrip("0").rstrip(".") + " s"


def apply(filters: Filters, analysis: Analysis) -> Analysis:
    """*analysis* with only what *filters* keep.

    Raises QueryError when a step is asked for that no row has, or a time of a trace without times.
    """
    if not filters:
        return analysis
    _answerable(filters, analysis)
    kept = {
        name: getattr(analysis, name).filter(_keeps(filters, getattr(analysis, name)))
        for name in ("unmaps", "triggers", "flushes", "destroys")
    }
    inside = analysis.instructions.join(
        kept["unmaps"].select("source_id", "unmap_id"), on=["source_id", "unmap_id"], how="semi",
        maintain_order="left",
    )  # fmt: skip
    beside = analysis.bystanders.join(
        kept["unmaps"].select("source_id", "unmap_id"), on=["source_id", "unmap_id"], how="semi",
        maintain_order="left",
    )  # fmt: skip
    return replace(
        analysis, **kept, instructions=inside, bystanders=beside,
        samples=_samples(filters, analysis, kept["unmaps"]),
    )  # fmt: skip


def _samples(filters: Filters, analysis: Analysis, unmaps: pl.DataFrame) -> pl.DataFrame:
    """Samples of the kept unmaps; those of an unmap that only their callchain knows, by their own.

    Such a sample has no step and no trigger.
    """
    own = replace(filters, steps=(), triggers=())
    known = pl.col("unmap_id").is_not_null()
    rows = analysis.samples.rename({"ts_ns": "start_ns"})
    placed = rows.filter(known).join(
        unmaps.select("source_id", "unmap_id"), on=["source_id", "unmap_id"], how="semi",
        maintain_order="left",
    )  # fmt: skip
    chains = rows.filter(~known).filter(_keeps(own, rows))
    if filters.steps or filters.triggers:
        chains = chains.clear()
    kept = pl.concat([placed, chains]).sort("source_id", "seq")
    return kept.rename({"start_ns": "ts_ns"})


def there(filters: Filters, analysis: Analysis) -> list[str]:
    """What *filters* could have asked for: what the unmaps of *analysis* have, of each kind asked.

    Times are those of their beginnings.
    """
    unmaps = analysis.unmaps
    said = []
    for name, column, asked in (
        ("triggers", "trigger", filters.triggers),
        ("CPUs", "cpu", filters.cpus),
        ("tids", "tid", filters.tids),
    ):
        if asked:
            known = unmaps[column].cast(pl.String).drop_nulls().unique()
            order = sorted(known, key=lambda text: (len(text), text))
            said.append(f"{name} {_some(order, 'not known')}")
    if filters.from_ns is not None or filters.to_ns is not None:
        first, last = unmaps["start_ns"].min(), unmaps["start_ns"].max()
        if isinstance(first, int) and isinstance(last, int):
            said.append(f"times from {seconds(first)} to {seconds(last)}")
    return said


def undecided_unmaps(filters: Filters, analysis: Analysis) -> pl.DataFrame:
    """The unmaps that may pass *filters* or not; what could place them is null.

    An unmap without its entry has no start, so nothing places it in a step or a stretch of time.
    """
    if not filters:
        return analysis.unmaps.clear()
    cut_off = pl.col("status").is_in(["censored", "contaminated"])
    steps = pl.when(pl.col("step").is_null() & cut_off).then(None)
    unknown = pl.col("trigger") == "unknown"
    left = analysis.unmaps.with_columns(
        pl.when(unknown & cut_off).then(None).otherwise("trigger").alias("trigger"),
        steps.otherwise(pl.col("step").fill_null("")).alias("step"),
    )
    return left.filter(_keeps(filters, left).is_null())


def undecided(filters: Filters, analysis: Analysis) -> dict[str, int]:
    """How many unmaps may pass *filters* or not, by what is not known of them."""
    said: dict[str, int] = {}
    left = undecided_unmaps(filters, analysis)
    for what, column, asked in (
        ("start", "start_ns", filters.from_ns is not None or filters.to_ns is not None),
        ("step", "step", bool(filters.steps)),
        ("trigger", "trigger", bool(filters.triggers)),
        ("CPU", "cpu", bool(filters.cpus)),
        ("task", "tid", bool(filters.tids)),
    ):
        if asked:
            number = left[column].null_count()
            left = left.drop_nulls(column)
            said |= {what: number} if number else {}
    return said


def _keeps(filters: Filters, rows: pl.DataFrame) -> pl.Expr:
    kind = "trigger" if "trigger" in rows.columns else "kind"
    keep = pl.lit(value=True)
    if filters.steps:
        keep &= pl.col("step").is_in(_matching(filters.steps, rows))
    if filters.triggers:
        keep &= (
            pl.col(kind).is_in(filters.triggers) if kind in rows.columns else pl.lit(value=False)
        )
    if filters.cpus:
        keep &= pl.col("cpu").is_in(filters.cpus)
    if filters.tids:
        keep &= pl.col("tid").is_in(filters.tids)
    if filters.from_ns is not None:
        keep &= pl.col("start_ns") >= filters.from_ns
    if filters.to_ns is not None:
        keep &= pl.col("start_ns") <= filters.to_ns
    return keep


def _matching(patterns: tuple[str, ...], rows: pl.DataFrame) -> list[str]:
    known = rows["step"].drop_nulls().unique().to_list()
    return [name for name in known if any(fnmatchcase(name, p) for p in patterns)]


def _answerable(filters: Filters, analysis: Analysis) -> None:
    tables = (analysis.unmaps, analysis.triggers, analysis.flushes, analysis.destroys)
    steps = pl.concat([rows.select("step") for rows in tables])
    for pattern in filters.steps:
        if not _matching((pattern,), steps):
            known = sorted(steps["step"].drop_nulls().unique().to_list())
            none = "no steps (no markers, or none that match --step-pattern)"
            raise QueryError(f"no step {pattern!r}\nthe trace has: {_some(known, none)}")
    timed = filters.from_ns is not None or filters.to_ns is not None
    if (
        timed
        and len(analysis.unmaps)
        and analysis.unmaps["start_ns"].null_count() == len(analysis.unmaps)
    ):
        raise QueryError("the trace has no times to filter by (function_graph without abstime?)")


def _some(names: list[str], none: str) -> str:
    shown = ", ".join(names[:20]) or none
    return shown + (f" and {len(names) - 20} more" if len(names) > 20 else "")
