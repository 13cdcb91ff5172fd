"""Two sides compared: how much faster, by what, and whether these runs can tell.

Effect first: the ratio base / with (above 1: `with` is faster) of the slopes of the lines through
the sizes, and of each size, with one estimate per run (run_estimates.py). Whether an interval
may be read as inference is a matter of how the runs were recorded (recording_plan.py). All of it
stands on corrected times where both sides have an estimate of what tracing cost, on recorded
ones where not; and again with the least and the most that tracing can have cost, on whichever
side makes the ratio smallest and largest: a conclusion that changes there is not robust.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from traceview.errors import QueryError
from traceview.queries.decomposition import Decomposition, decompose, refusal
from traceview.queries.duration_step import duration_step_of
from traceview.queries.like_sides import refuse_same_runs
from traceview.queries.matched_unmaps import CELL, UNKNOWN_RUN, Matched, Name, match
from traceview.queries.matching import numbered
from traceview.queries.noise_floor import NoiseFloor, noise_floor
from traceview.queries.quantile_shift import FEWEST_UNMAPS, Shift, quantile_shift
from traceview.queries.ratios import Ratio, Setup, difference_of, ratio_of
from traceview.queries.recording_plan import Plan, RecordedRun, recording_plan
from traceview.queries.run_estimates import (
    LINE,
    VARIANTS,
    as_float,
    cells_of,
    estimates_of,
    of_cell,
    run_lines,
    run_medians,
)
from traceview.queries.run_intervals import holm
from traceview.queries.run_power import minimum_detectable_ratio, runs_needed
from traceview.queries.worst_case import WorstRatio, excluded_per_cell, worst_case

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from traceview.queries.analysis import Analysis
    from traceview.queries.run_estimates import RunLine, Variant
    from traceview.queries.run_intervals import Interval

    Recorded = Mapping[tuple[Name, str], RecordedRun]

# What is known of a machine; the sides may differ in what is compared, and in nothing else.
FACTS: Final = (
    "kernel", "machine", "cpus", "midr", "fwb", "tlbirange", "lpa2", "page_size_bytes", "errata",
    "origin", "clock", "tracer", "buffer_size_kb",
)  # fmt: skip
COUNTS: Final = (
    "invalidate_leaf", "invalidate_table", "invalidate_ipa", "invalidate_range", "cmo",
    "table_put", "traced_calls", "tlbi_insns", "dsb_insns", "cmo_lines",
)  # fmt: skip


# A line further than this from the median of a size, relative to it, does not describe its run.
FITS: Final = 0.25
# Times of more steps of the clock than this are never the same twice on a real host.
SAME: Final = 100


@dataclass(frozen=True, slots=True)
class Size:
    """One cell: `cell` (CELL), unmaps and runs of each side, its ratio, its shift function.

    `within`: how far the unmaps of a run spread, the interquartile range relative to the median, as
    the median over runs: no part of any interval, runs are what is compared. `counts`: per side the
    median number of operations per unmap, null where not counted. `worst`: what unmaps without a
    usable time could make of the ratio; None where there are none.
    """

    cell: dict[str, Any]
    base_unmaps: int
    with_unmaps: int
    ratio: Ratio | None
    shift: Shift | None
    worst: WorstRatio | None
    base_within: float | None
    with_within: float | None
    base_counts: dict[str, float | None]
    with_counts: dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Line:
    """The lines of one level and trigger (`line`: LINE): ratio of slopes, and the differences.

    Slopes in ns per leaf, intercepts in ns; means over runs, of the variant of `ratio`.
    `misfit`: the largest relative distance of a size's median from its run's line.
    """

    line: dict[str, Any]
    sizes: tuple[int, ...]
    ratio: Ratio
    base_slope: float
    with_slope: float
    slope_difference: Interval
    intercept_difference: Interval
    base_intercept: float
    with_intercept: float
    misfit: float

    @property
    def fits(self) -> bool:
        """Whether the times are those of a line; else its slope is no cost per leaf."""
        return self.misfit <= FITS


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far the corrected detailed captures of a side are from its captures of the unmap alone.

    Relative, the median and the worst over sizes; `fit`: how well the calibration did on strata
    that it did not stand on (median, worst).
    """

    median: float
    worst: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything about two sides.

    `headline`: that of the line with the most leaves if it fits, else of the size with the most, of
    several the one nearest to 1; None if no ratio can be made, or leaves are not known.
    `quantum_ns` per side, 0 where none is known.
    """

    base: Analysis
    with_: Analysis
    matched: Matched
    plan: Plan
    base_runs: tuple[str, ...]
    with_runs: tuple[str, ...]
    sizes: tuple[Size, ...]
    lines: tuple[Line, ...]
    headline: Ratio | None
    decomposition: Decomposition | str
    agreement: tuple[Agreement | None, Agreement | None]
    noise: tuple[NoiseFloor | None, NoiseFloor | None]
    detectable: float | None
    needed: int | None
    facts: dict[str, tuple[tuple[str, ...], tuple[str, ...]]]
    quantum_ns: tuple[float, float]


def compare(
    base: Analysis, with_: Analysis, wholes: tuple[Analysis, Analysis] | None = None
) -> Comparison:
    """Compare two sides whose tracing costs are known (observer.priced).

    *wholes*: what they were filtered from, where they were (matched_unmaps.match).

    Raises QueryError when one run is on both sides, and when nothing of them can be compared
    (matched_unmaps.match).
    """
    refuse_same_runs(base, with_)
    return _compared(base, with_, wholes)


def _compared(
    base: Analysis, with_: Analysis, wholes: tuple[Analysis, Analysis] | None
) -> Comparison:
    matched = match(base, with_, wholes)
    runs = [_runs(matched.base), _runs(matched.with_)]
    recorded = [*_recorded("base", base, runs[0]), *_recorded("with", with_, runs[1])]
    by_run = dict(zip([*_keys("base", runs[0]), *_keys("with", runs[1])], recorded, strict=True))
    plan = recording_plan(recorded)
    quantum = (duration_step_of(base), duration_step_of(with_))
    pairs = _run_pairs(plan, runs[0], runs[1])
    if pairs is not None:
        runs, matched = _only_paired(matched, pairs)
    setup = Setup(plan, pairs, quantum)
    sizes = _sizes(matched, setup, by_run)
    if plan.standing in {"inference", "descriptive"} and _without_spread(sizes):
        plan = replace(plan, standing="no_spread")
        setup = replace(setup, plan=plan)
    lines = _lines(matched, setup)
    headline = _headline(lines, sizes)
    facts = {name: (_known(base, name), _known(with_, name)) for name in FACTS}
    why_not = refusal(
        matched.base_detailed, matched.with_detailed,
        {name: (*ours, *theirs) for name, (ours, theirs) in facts.items()},
    )  # fmt: skip
    return Comparison(
        base, with_, matched, plan, runs[0], runs[1], sizes, lines, headline,
        why_not or decompose(matched.base_detailed, matched.with_detailed, pairs),
        (_agreement(matched.base, matched.base_detailed, alone=matched.alone),
         _agreement(matched.with_, matched.with_detailed, alone=matched.alone)),
        *_power(None if plan.standing == "no_spread" else headline, paired=pairs is not None),
        facts, quantum,
    )  # fmt: skip


def compare_strategies(of: Analysis, whole: Analysis | None = None) -> Comparison:
    """The unmaps of one set that invalidate per page, against those that defer.

    Captures of the unmap alone do not see the strategy, and take it from the detailed capture of
    their run. Raises QueryError when the set does not hold both.
    """
    names = ("per_pte", "deferred_range")
    base, with_ = _by_strategy(of, names)
    for side, name in ((base, "per_pte"), (with_, "deferred_range")):
        if side.unmaps.is_empty():
            seen = sorted(set(of.unmaps["strategy"].cast(pl.String).drop_nulls())) or ["none"]
            raise QueryError(
                f"no unmap of strategy {name}: the traces hold {', '.join(seen)}\n"
                "--group strategy wants both in one set; two sets are compared with --base, --with"
            )
    wholes = (base, with_) if whole is None else _by_strategy(whole, names)
    found = _compared(base, with_, wholes)
    if found.plan.standing in {"inference", "no_spread"} and not _balanced(of):
        text = "inside the runs, one strategy was used before the other: drift is confounded"
        plan = replace(found.plan, kind="sequential", standing="confounded", text=text)
        return replace(found, plan=plan)
    return found


def _balanced(of: Analysis) -> bool:
    """Whether neither strategy comes first in the captures that hold both.

    By the mean positions of their unmaps, which differ by half a capture where one follows the
    other; a quarter of that is allowed, as an average over captures.
    """
    rows = of.unmaps.filter(pl.col("strategy").is_in(["per_pte", "deferred_range"]))
    place = (pl.int_range(pl.len()) / pl.len()).over("source_id")
    by = (
        rows.with_columns(place.alias("place"))
        .group_by("source_id")
        .agg(
            pl.col("place").filter(pl.col("strategy") == "per_pte").mean().alias("base"),
            pl.col("place").filter(pl.col("strategy") == "deferred_range").mean().alias("with"),
        )
    )
    apart = (by["with"] - by["base"]).drop_nulls().mean()
    return not isinstance(apart, float) or abs(apart) <= 0.5 / 4


def _by_strategy(of: Analysis, names: tuple[str, str]) -> tuple[Analysis, Analysis]:
    """The parts of *of* with those strategies, and what was traced alone of the same unmaps."""
    strategies = _strategies(of)
    one, other = (_of(of, of.unmaps.filter(strategies == name)) for name in names)
    return one, other


def _of(of: Analysis, unmaps: pl.DataFrame) -> Analysis:
    """The part of *of* that *unmaps* are from."""
    mine = pl.col("source_id").is_in(unmaps["source_id"].unique().to_list())
    return replace(
        of,
        unmaps=unmaps,
        sources=of.sources.filter(mine),
        tracing_costs=of.tracing_costs.filter(mine),
    )


def _strategies(of: Analysis) -> pl.Series:
    """The strategy of each unmap; a capture of the unmap alone takes it from one of its run.

    There, from the unmap in the same place, if that is of one strategy.
    """
    runs = of.sources.select("source_id", "run")
    rows = numbered(of.unmaps).join(runs, on="source_id", how="left", maintain_order="left")
    place = ["run", "step", "order", "of"]
    known = pl.col("strategy").is_in(["per_pte", "deferred_range"])
    seen = (
        rows.filter(known)
        .group_by(place)
        .agg(pl.col("strategy").unique().alias("seen"))
        .filter(pl.col("seen").list.len() == 1)
        .select(*place, pl.col("seen").list.first())
    )
    joined = rows.join(seen, on=place, how="left", nulls_equal=True, maintain_order="left")
    alone = (pl.col("traced_calls").max() == 0).over("source_id") & pl.col("run").is_not_null()
    return joined.select(
        pl.when(alone).then("seen").otherwise("strategy").cast(pl.String).fill_null("unknown")
    ).to_series()


def _runs(rows: pl.DataFrame) -> tuple[str, ...]:
    return tuple(rows["run"].unique(maintain_order=True))


def _recorded(side: Name, of: Analysis, runs: Sequence[str]) -> list[RecordedRun]:
    """One entry per run: the earliest that one of its captures states."""
    stated = (
        of.sources.with_columns(pl.col("run").fill_null(UNKNOWN_RUN))
        .group_by("run")
        .agg(pl.col("order").min(), pl.col("recorded_at").min())
    )
    by_run = {run: (order, at) for run, order, at in stated.iter_rows()}
    return [RecordedRun(side, *by_run[run]) for run in runs]


def _without_spread(sizes: Sequence[Size]) -> bool:
    """Whether the runs of either side gave the same times, size by size.

    A coarse clock makes equal times of short unmaps; of one that takes SAME steps of the clock, or
    so many nanoseconds, no two runs of a real host agree to the last one.
    """
    ratios = [one.ratio for one in sizes if one.ratio is not None]
    same = all(max(runs) - min(runs) <= 1e-9 * max(runs) for of in ratios for runs in of.estimates)
    long = any(
        min(runs) > SAME * max(step, 1.0)
        for of in ratios
        for runs, step in zip(of.estimates, of.quantum, strict=True)
    )
    return same and long


def _keys(side: Name, runs: Iterable[str]) -> list[tuple[Name, str]]:
    return [(side, run) for run in runs]


def _run_pairs(
    plan: Plan, base: Sequence[str], with_: Sequence[str]
) -> tuple[tuple[str, str], ...] | None:
    if not plan.paired:
        return None
    return tuple((base[one], with_[other - len(base)]) for one, other in plan.pairs)


def _only_paired(
    matched: Matched, pairs: Sequence[tuple[str, str]]
) -> tuple[list[tuple[str, ...]], Matched]:
    runs = [tuple(pair[side] for pair in pairs) for side in (0, 1)]
    return runs, replace(
        matched,
        base=_in_order(matched.base, runs[0]),
        base_detailed=_in_order(matched.base_detailed, runs[0]),
        with_=_in_order(matched.with_, runs[1]),
        with_detailed=_in_order(matched.with_detailed, runs[1]),
    )


def _in_order(rows: pl.DataFrame, runs: Sequence[str]) -> pl.DataFrame:
    """The rows of *runs*, in that order: the n-th of both sides are a pair."""
    place = pl.DataFrame({"run": list(runs), "place": range(len(runs))})
    kept = rows.join(place, on="run", how="inner", maintain_order="left")
    return kept.sort("place", maintain_order=True).drop("place")


def _known(of: Analysis, fact: str) -> tuple[str, ...]:
    values = of.sources[fact].drop_nulls().unique(maintain_order=True).cast(pl.String).to_list()
    return tuple(value for value in values if value != "unknown")


def _sizes(matched: Matched, setup: Setup, recorded: Recorded) -> tuple[Size, ...]:
    tables = [run_medians(rows) for rows in (matched.base, matched.with_)]
    cells = cells_of(tables[0]).iter_rows(named=True)
    lost = tuple(
        excluded_per_cell(of, kept, matched.mode)
        for of, kept in ((matched.base_lost, matched.base), (matched.with_lost, matched.with_))
    )
    found = [_size(cell, tables, lost, matched, setup, recorded) for cell in cells]
    tested = [None if size.ratio is None else size.ratio.interval.p_value for size in found]
    return tuple(
        size if size.ratio is None else replace(size, ratio=replace(size.ratio, adjusted_p=p))
        for size, p in zip(found, holm(tested), strict=True)
    )


def _size(
    cell: dict[str, Any], tables: Sequence[pl.DataFrame], lost: Sequence[pl.DataFrame],
    matched: Matched, setup: Setup, recorded: Recorded,
) -> Size:  # fmt: skip
    rows = [of_cell(side, cell) for side in (matched.base, matched.with_)]
    ours, theirs = (of_cell(table, cell) for table in tables)
    runs = [matched.base["run"].n_unique(), matched.with_["run"].n_unique()]
    whole = [len(ours), len(theirs)] == runs
    ratio = ratio_of(estimates_of(ours), estimates_of(theirs), setup) if (
        whole or setup.pairs is None
    ) else None  # fmt: skip
    why_not = None if whole else _why_not(ours, theirs, setup.plan, recorded)
    if ratio is not None and why_not is not None:
        ratio = ratio.value_alone(why_not)
    return Size(
        cell, int(ours["unmaps"].sum()), int(theirs["unmaps"].sum()), ratio,
        _shift(rows, setup, whole=whole) if why_not is None else None,
        None if ratio is None else _worst(rows, [of_cell(of, cell) for of in lost], ratio.variant),
        _within(rows[0]),
        _within(rows[1]),
        _counts(of_cell(matched.base_detailed, cell)),
        _counts(of_cell(matched.with_detailed, cell)),
    )  # fmt: skip


def _why_not(base: pl.DataFrame, with_: pl.DataFrame, plan: Plan, recorded: Recorded) -> str | None:
    """Why a size that some runs lack permits no inference though all runs together do."""
    runs = [*_keys("base", base["run"]), *_keys("with", with_["run"])]
    if not plan.allows_inference or base.is_empty() or with_.is_empty():
        return None
    mine = recording_plan([recorded[run] for run in runs])
    return None if mine.allows_inference else "not in enough of the runs: no interval"


def _shift(sides: Sequence[pl.DataFrame], setup: Setup, *, whole: bool) -> Shift | None:
    """Where there are enough unmaps in every run for deciles to be more than a few of them."""
    column = VARIANTS["corrected"]
    if any(rows[column].null_count() for rows in sides):
        column = VARIANTS["raw"]
    runs = [
        [of[column].to_numpy() for _, of in rows.group_by("run", maintain_order=True)]
        for rows in sides
    ]
    fewest = min(run.size for side in runs for run in side)
    if fewest < FEWEST_UNMAPS or (setup.pairs is not None and not whole):
        return None
    return quantile_shift(*runs, paired=setup.pairs is not None, quantum=setup.quantum)


def _worst(
    sides: Sequence[pl.DataFrame], lost: Sequence[pl.DataFrame], variant: Variant
) -> WorstRatio | None:
    base, with_ = (_with_lost(*of, variant) for of in zip(sides, lost, strict=True))
    return worst_case(base, with_)


def _with_lost(
    rows: pl.DataFrame, excluded: pl.DataFrame, variant: Variant
) -> list[tuple[NDArray[np.float64], int]]:
    """Per run: its times, and how many unmaps without a usable one could be of this cell."""
    counts = dict(excluded.select("run", "excluded").iter_rows())
    return [
        (of[VARIANTS[variant]].cast(pl.Float64).to_numpy(), counts.get(run, 0))
        for (run,), of in rows.group_by("run", maintain_order=True)
    ]


def _within(rows: pl.DataFrame) -> float | None:
    time = pl.col("duration_ns")
    range_ns = time.quantile(0.75, "linear") - time.quantile(0.25, "linear")
    relative = pl.when(time.median() > 0).then(range_ns / time.median())
    by_run = rows.group_by("run").agg(relative.alias("spread"))
    return as_float(by_run["spread"].median())


def _counts(rows: pl.DataFrame) -> dict[str, float | None]:
    return {
        name: None if rows[name].null_count() or rows.is_empty() else as_float(rows[name].median())
        for name in COUNTS
    }


# ---- lines


def _lines(matched: Matched, setup: Setup) -> tuple[Line, ...]:
    groups = matched.base.filter(pl.col("leaves") > 0).select(LINE).unique(maintain_order=True)
    found = []
    for group in groups.sort(*LINE, nulls_last=True).iter_rows(named=True):
        base, with_ = (run_lines(of_cell(rows, group)) for rows in (matched.base, matched.with_))
        if base is None or with_ is None or not _same_runs(base, with_, matched):
            continue
        sizes = of_cell(matched.base, group)["leaves"].unique().sort().to_list()
        line = _line(group, tuple(s for s in sizes if s), base, with_, setup)
        found += [] if line is None else [line]
    return tuple(found)


def _same_runs(base: list[RunLine], with_: list[RunLine], matched: Matched) -> bool:
    """Whether every run has a line: else the sides would stand on some of their runs only."""
    wanted = (matched.base["run"].n_unique(), matched.with_["run"].n_unique())
    return (len(base), len(with_)) == wanted


def _line(
    group: dict[str, Any], sizes: tuple[int, ...], base: list[RunLine], with_: list[RunLine],
    setup: Setup,
) -> Line | None:  # fmt: skip
    slopes = [{name: _of_lines(side, name, "slope") for name in VARIANTS} for side in (base, with_)]
    narrow = setup.of_slopes(sizes)
    ratio = ratio_of(slopes[0], slopes[1], narrow)
    if ratio is None:
        return None
    ours, theirs = (_of_lines(side, ratio.variant, "intercept") or [] for side in (base, with_))
    chosen = [side[ratio.variant] or [] for side in slopes]
    lines = [line for side in (base, with_) for run in side if (line := run.lines[ratio.variant])]
    return Line(
        group, sizes, ratio, _mean(chosen[0]), _mean(chosen[1]),
        difference_of(chosen[0], chosen[1], narrow),
        difference_of(ours, theirs, setup), _mean(ours), _mean(theirs),
        max(abs(line.worst.relative) for line in lines),
    )  # fmt: skip


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _of_lines(side: list[RunLine], variant: Variant, what: str) -> list[float] | None:
    lines = [run.lines[variant] for run in side]
    known = [line for line in lines if line is not None]
    return [float(getattr(line, what)) for line in known] if len(known) == len(lines) else None


# ---- the whole


def _headline(lines: Sequence[Line], sizes: Sequence[Size]) -> Ratio | None:
    """Of the line with the most leaves if it fits, else of the largest size that has a ratio.

    Of several sizes of as many leaves, the ratio nearest to 1. None where leaves are not known.
    """
    longest = max(lines, key=lambda line: max(line.sizes), default=None)
    if longest is not None and longest.fits:
        return longest.ratio
    known = [size for size in sizes if size.ratio is not None and size.cell["leaves"]]
    most = max((size.cell["leaves"] for size in known), default=0)
    ratios = [size.ratio for size in known if size.cell["leaves"] == most]
    return min(ratios, key=lambda one: abs(log(one.interval.value)), default=None)  # type: ignore[union-attr]


def _power(
    headline: Ratio | None, *, paired: bool
) -> tuple[tuple[NoiseFloor | None, NoiseFloor | None], float | None, int | None]:
    """Noise floor of each side, the least ratio that these runs find, and runs for the seen one."""
    if headline is None:
        return (None, None), None, None
    runs, quantum = headline.estimates, headline.quantum
    noise = tuple(noise_floor(of, quantum=q) for of, q in zip(runs, quantum, strict=True))
    least = minimum_detectable_ratio(*runs, paired=paired, quantum=quantum)
    seen = headline.interval.value
    needed = None if seen == 1 else runs_needed(*runs, seen, paired=paired, quantum=quantum)
    return (noise[0], noise[1]), least, needed


def _agreement(headline: pl.DataFrame, detailed: pl.DataFrame, *, alone: bool) -> Agreement | None:
    """Of captures of the unmap alone with the corrected detailed ones, size by size."""
    if not alone or detailed.is_empty():
        return None
    tables = [
        rows.group_by(CELL).agg(
            pl.when(pl.col("corrected_ns").null_count() == 0).then(pl.col("corrected_ns").median())
        )
        for rows in (headline, detailed)
    ]
    both = (
        tables[0]
        .join(tables[1], on=CELL, nulls_equal=True, suffix="_detailed")
        .drop_nulls(["corrected_ns", "corrected_ns_detailed"])
        .filter(pl.col("corrected_ns") > 0)
    )
    off = (both["corrected_ns_detailed"] / both["corrected_ns"] - 1).abs()
    median, worst = as_float(off.median()), as_float(off.max())
    return None if median is None or worst is None else Agreement(median, worst)
