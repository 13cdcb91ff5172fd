"""What a prediction stands on: the times of unmaps, and what they did, in cells of like work.

Times are those that a capture of `kvm_pgtable_stage2_unmap` alone records. Such captures are used
where there are any (of the same run, or given as a calibration); what their unmaps did is taken,
place by place, from the detailed captures. Without them the times are those of the detailed
captures, without what their traced calls cost where that is known (`corrected`), as they are where
it is not (`traced`), and as they are where an emulator recorded instructions at no cost (`insn`).

A cell holds unmaps of one step, leaf level, trigger, number of leaves and of freed tables, length
of range where it is recorded, and number of CPUs. Where there are very many, numbers of leaves
within an eighth of an octave are one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import polars as pl

from traceview.queries.correction import corrected
from traceview.queries.groups import leaf_level
from traceview.queries.leaf_costs import PER_OCTAVE
from traceview.queries.matching import numbered
from traceview.queries.shortest_call import own_work_ns
from traceview.queries.strategy_counts import LEAF_PUTS, TABLE_PUTS

if TYPE_CHECKING:
    from traceview.queries.analysis import Analysis

Basis = Literal["alone", "corrected", "traced", "insn"]
CELL: Final = ("stem", "level", "trigger", "leaves", "tables", "length_bytes", "cpus")
PLACE: Final = ("step", "order", "of")
COUNTS: Final = (
    "leaves", "leaves_l1", "leaves_l2", "leaves_l3", "pte_visits", "invalidate_leaf",
    "invalidate_table", "invalidate_range", "cmo", "table_put", "length_bytes",
)  # fmt: skip
# What is taken out of an unmap, or made more of.
CALLS: Final = ("invalidate_leaf", "invalidate_table", "invalidate_range", "cmo")
BOUNDS: Final = ("", "_low", "_high")
FACTS: Final = ("strategy", "trigger", "level", "tables", *COUNTS)
# Beyond so many cells neighbouring sizes are joined.
MOST_CELLS: Final = 60
NOT_STATED: Final = "not stated"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """*unmaps* that the prediction does not stand on, and why."""

    reason: str
    unmaps: int


@dataclass(frozen=True, slots=True)
class Measured:
    """Complete unmaps of which it is known what they did.

    `timed`: `run`, CELL, COUNTS, `ns`. `detailed`: the same of the detailed captures, where `ns`,
    `ns_low`, `ns_high` are their times at the scale of `timed`, and per call of CALLS
    `NAME_each`, `_low`, `_high` is the time of one (ns; null where the unmap has none).
    """

    basis: Basis
    timed: pl.DataFrame
    detailed: pl.DataFrame
    left_out: tuple[LeftOut, ...]


def measured(analysis: Analysis, calibration: Analysis | None) -> Measured:
    """The unmaps of *analysis*, which is priced, with the times of what shows them best."""
    left: list[LeftOut] = []
    rows = _rows(analysis)
    detail = pl.col("detail")
    executed = pl.col("evidence") == "insn"
    watched = rows.filter((detail > 0) | executed)
    alone = [rows.filter((detail == 0) & ~executed)]
    if calibration is not None:
        more = _rows(calibration)
        alone.append(more.filter((detail == 0) & ~executed))
    detailed = _known(watched, left)
    top = _with_facts(pl.concat(alone, how="vertical_relaxed"), detailed, left)
    basis = _basis(top, detailed)
    if basis == "alone":
        timed = top.with_columns(pl.col("duration_ns").cast(pl.Float64).alias("ns"))
    else:
        timed = detailed
    detailed = _scaled(detailed, own_work_ns(analysis, calibration), traced=basis == "traced")
    timed = timed if basis == "alone" else detailed
    timed, detailed = _as_cells(timed, detailed)
    return Measured(basis, timed, detailed, tuple(one for one in left if one.unmaps))


def _rows(analysis: Analysis) -> pl.DataFrame:
    """Unmaps with their place, run and level, what their capture traced, and what it cost."""
    runs = analysis.sources.select(
        "source_id", pl.col("run").fill_null(NOT_STATED), "cpus",
    )  # fmt: skip
    costs = analysis.tracing_costs.select(
        "source_id", "evidence", "own_ns", "own_low_ns", "own_high_ns", "call_high_ns",
        "inside_ns", "inside_low_ns",
    )  # fmt: skip
    rows = numbered(corrected(analysis)).with_columns(
        leaf_level().alias("level"),
        _freed().alias("tables"),
        pl.col("traced_calls").mean().over("source_id").alias("detail"),
    )
    return rows.join(runs, on="source_id", how="left", maintain_order="left").join(
        costs, on=["source_id", "evidence"], how="left", maintain_order="left"
    )


def _freed() -> pl.Expr:
    """Freed tables, as strategy_counts.freed_tables()."""
    by_puts = ((pl.col("table_put") - LEAF_PUTS * pl.col("leaves")) // TABLE_PUTS).clip(0)
    seen = pl.col("invalidate_table")
    return pl.when((seen == 0) & (by_puts > 0)).then(by_puts).otherwise(seen)


def _usable() -> pl.Expr:
    return (pl.col("status") == "complete") & (pl.col("duration_ns") > 0)


def _known(rows: pl.DataFrame, left: list[LeftOut]) -> pl.DataFrame:
    """The complete unmaps of which leaves, tables and strategy are known."""
    usable = rows.filter(_usable())
    left.append(
        LeftOut("contaminated by loss, cut off or without a duration", len(rows) - len(usable))
    )
    known = pl.col("leaves").is_not_null() & pl.col("tables").is_not_null()
    found = usable.filter(known)
    left.append(LeftOut("leaves or freed tables unknown", len(usable) - len(found)))
    return found


def _with_facts(alone: pl.DataFrame, detailed: pl.DataFrame, left: list[LeftOut]) -> pl.DataFrame:
    """The unmaps of *alone* with what the detailed capture of their run, or any, says of each."""
    usable = alone.filter(_usable())
    left.append(LeftOut("of a capture of the unmap alone, not complete", len(alone) - len(usable)))
    placed = detailed.filter("placed")
    theirs = [*PLACE, *(name for name in FACTS)]
    by_run = placed.unique(["run", *PLACE], keep="first", maintain_order=True)
    alike = placed.group_by(PLACE, maintain_order=True).agg(
        *(pl.col(name).first() for name in FACTS),
        pl.any_horizontal(
            pl.col(name).n_unique() > 1 for name in ("leaves", "tables", "length_bytes")
        ).alias("differ"),
    )
    alike = alike.filter(~pl.col("differ"))
    bare = usable.filter("placed").drop(FACTS)
    with_run = bare.join(by_run.select("run", *theirs), on=["run", *PLACE], nulls_equal=True,
                         maintain_order="left")  # fmt: skip
    runs = by_run["run"].unique().to_list()
    others = bare.filter(~pl.col("run").is_in(runs)).join(
        alike.select(theirs), on=list(PLACE), nulls_equal=True, maintain_order="left"
    )
    found = pl.concat([with_run, others], how="diagonal_relaxed")
    left.append(
        LeftOut("no detailed capture has an unmap in their place", len(usable) - len(found))
    )
    return found


def _basis(top: pl.DataFrame, detailed: pl.DataFrame) -> Basis:
    if len(top):
        return "alone"
    if len(detailed) and (detailed["evidence"] == "insn").all():
        return "insn"
    known = len(detailed) and detailed["corrected_ns"].null_count() == 0
    return "corrected" if known else "traced"


def _scaled(
    rows: pl.DataFrame, own_work: tuple[float, float] | None, *, traced: bool
) -> pl.DataFrame:
    """The times of detailed captures as those of the unmap alone, and the times of single calls.

    *own_work*: what of the shortest call is not tracing, and the most (shortest_call.py). What
    *traced* ones cost is not known: a call then stands with what is recorded of it, and at most
    with all that tracing one can add to what contains it.
    """
    times = {
        "": pl.col("corrected_ns") + pl.col("own_ns"),
        "_low": pl.col("corrected_low_ns") + pl.col("own_high_ns"),
        "_high": pl.col("corrected_high_ns") + pl.col("own_low_ns"),
    }
    if traced:
        times = dict.fromkeys(BOUNDS, pl.col("duration_ns").cast(pl.Float64))
    found = [of.alias(f"ns{which}") for which, of in times.items()]
    # Less than the shortest call leaves room for cannot have been inside.
    work, most = (0.0, None) if own_work is None else own_work
    room = pl.col("inside_ns") - pl.col("inside_low_ns")
    moved = {
        "": pl.min_horizontal(room, pl.lit(work, pl.Float64)).fill_null(0.0),
        "_high": -(room - pl.lit(most, pl.Float64)).clip(lower_bound=0.0).fill_null(0.0),
    }
    for name in CALLS:
        number = pl.col(name).cast(pl.Float64)
        for which in BOUNDS:
            time = pl.col(f"{name}_corrected{which}_ns")
            if traced:
                time = pl.col(f"{name}_ns").cast(pl.Float64)
            each: pl.Expr = pl.when(number > 0).then(time / number)
            if traced and which == "_high":
                each = each + pl.col("call_high_ns").fill_null(0.0)
            elif which in moved:
                each = each + moved[which]
            found.append(each.clip(lower_bound=0.0).alias(f"{name}_each{which}"))
    return rows.with_columns(found)


def _as_cells(timed: pl.DataFrame, detailed: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Both with the columns of CELL alike; neighbouring sizes are one cell where there are many."""
    frames = [
        of.with_columns(
            pl.col("trigger").cast(pl.String), pl.col("leaves").alias("size"),
            pl.col("tables").alias("freed"), pl.col("length_bytes").alias("range_bytes"),
        )
        for of in (timed, detailed)
    ]  # fmt: skip
    if frames[0].select(CELL).n_unique() <= MOST_CELLS:
        return frames[0], frames[1]
    octave = (pl.col("leaves").log(2.0) * PER_OCTAVE).floor()
    binned = pl.when(pl.col("leaves") > 0).then(octave).otherwise(-1.0)
    joined = [
        of.with_columns(
            binned.cast(pl.Int64).alias("bin"),
            pl.lit(None, dtype=pl.String).alias("stem"),
            pl.lit(None, dtype=pl.Int64).alias("tables"),
            pl.lit(None, dtype=pl.UInt64).alias("length_bytes"),
        ).with_columns(
            pl.col("leaves").median().over("level", "bin").round().cast(pl.Int64),
        )
        for of in frames
    ]
    sizes = joined[0].select("level", "bin", "leaves").unique(["level", "bin"])
    joined[1] = joined[1].drop("leaves").join(sizes, on=["level", "bin"], maintain_order="left")
    return joined[0].drop("bin"), joined[1].drop("bin")
