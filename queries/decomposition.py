"""What the difference of two sides is made of: per leaf, component by component.

Means, not medians: the components of a mean sum to the mean. Each run is one estimate; cells weigh
as often as they were unmapped on both sides together, so that both sides stand on the same work.
Only components that are separated on both sides are told apart; the time of the others is in the
rest of the walk on both. What tracing cost is a part of its own: a gain may be fewer traced calls.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Final

import polars as pl

from traceview.queries.matched_unmaps import CELL
from traceview.queries.run_estimates import as_float
from traceview.queries.run_intervals import (
    joined_difference,
    paired_difference,
    welch_difference,
)
from traceview.schema import COMPONENTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from traceview.queries.run_intervals import Interval

SPLIT: Final = tuple(name.removesuffix("_ns") for name in COMPONENTS if name != "rest_ns")
TRACING: Final = "tracing"
WHOLE: Final = "total"
NET: Final = "net"
# Facts that make cache maintenance of one side no measure of the other's.
MACHINE: Final = {"midr": "MIDR", "fwb": "FWB", "machine": "machine"}


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the difference: ns per leaf of each side (means over runs), base - with.

    `low_tracing`, `high_tracing`: the difference if tracing cost the least and the most that it
    can have, on whichever side makes that smallest and largest.
    """

    name: str
    base_ns: float
    with_ns: float
    difference: Interval
    low_tracing: float | None
    high_tracing: float | None


@dataclass(frozen=True, slots=True)
class Decomposition:
    """The parts sum to `total`. `corrected`: tracing is estimated, and a part of its own.

    `net` is the total without tracing, None where that is not estimated. `merged`: separated on
    one side only, so in the rest on both.
    """

    parts: tuple[Part, ...]
    total: Part
    net: Part | None
    corrected: bool
    merged: tuple[str, ...]
    leaves: int


def refusal(base: pl.DataFrame, with_: pl.DataFrame, facts: Mapping[str, tuple[str, ...]]) -> (
    str | None
):  # fmt: skip
    """Why the components of these two sides must not be subtracted; None if they may be.

    *facts*: of each fact, the values that the two sides are known to have (as text).
    """
    if base["leaves"].fill_null(0).sum() == 0:
        return "leaves are not known, so nothing can be told per leaf"
    differ = [name for fact, name in MACHINE.items() if len(set(facts[fact])) > 1]
    counts = [int(rows["cmo"].fill_null(0).sum()) for rows in (base, with_)]
    unknown = any(rows["cmo"].null_count() for rows in (base, with_))
    if differ and any(counts):
        return (
            f"the sides are different machines ({', '.join(differ)}), and one of them does cache"
            " maintenance: it can be neither added to nor subtracted from the times of the other"
        )
    if (counts[0] == 0) != (counts[1] == 0) and not unknown:
        return (
            "one side does cache maintenance and the other does none (FWB): different machines,"
            " of which the components can be neither added nor subtracted"
        )
    return None


def decompose(
    base: pl.DataFrame, with_: pl.DataFrame, pairs: Sequence[tuple[str, str]] | None
) -> Decomposition | str:
    """The difference of the sides per leaf, from the matched detailed unmaps of each.

    *pairs*: the runs that were recorded together, or None. Frames as in matched_unmaps.Matched.
    Text says why there is none: no size is in every run, or nothing is separated on both sides.
    """
    sides = (base, with_)
    weights = _weights(base, with_)
    runs = [set(rows["run"]) for rows in sides]
    if not any(one in runs[0] and other in runs[1] for one, other in pairs or product(*runs)):
        return "no run of one side, or no pair of runs, has a detailed capture on both sides"
    if weights.is_empty():
        return "no size with leaves is in the detailed captures of every run of both sides"
    names = [name for name in SPLIT if all(_separated(rows, name) for rows in sides)]
    merged = [
        name for name in SPLIT
        if name not in names and any(_separated(rows, name) for rows in sides)
    ]  # fmt: skip
    if not names:
        return "no component is separated on both sides"
    corrected = all(rows["corrected_ns"].null_count() == 0 for rows in sides)
    one, other = (_per_leaf(rows, names, weights, corrected=corrected) for rows in sides)
    parts = [*names, "rest", *([TRACING] if corrected else [])]
    found = tuple(_part(name, one, other, pairs) for name in parts)
    leaves = int((weights["leaves"] * weights["weight"]).sum())
    whole = _part(WHOLE, one, other, pairs)
    net = _part(NET, one, other, pairs) if corrected else None
    if corrected:  # what was recorded does not depend on what tracing cost
        found = tuple(_with_cost(part) for part in found)
        net = None if net is None else _with_cost(net)
        whole = replace(whole, low_tracing=None, high_tracing=None)
    return Decomposition(found, whole, net, corrected, tuple(merged), leaves)


def _separated(rows: pl.DataFrame, name: str) -> bool:
    return rows[f"{name}_ns"].null_count() == 0


def _weights(base: pl.DataFrame, with_: pl.DataFrame) -> pl.DataFrame:
    """Cells that both sides have in every run, with how often each was unmapped in all."""
    rows = pl.concat([frame.select("run", *CELL).with_columns(pl.lit(side).alias("side"))
                      for side, frame in enumerate((base, with_))])  # fmt: skip
    runs = rows.select("run", "side").unique().height
    cells = (
        rows.filter(pl.col("leaves") > 0)
        .group_by(CELL, maintain_order=True)
        .agg(pl.len().alias("weight"), pl.struct("run", "side").n_unique().alias("seen"))
    )
    return cells.filter(pl.col("seen") == runs).drop("seen")


def _per_leaf(
    rows: pl.DataFrame, names: Sequence[str], weights: pl.DataFrame, *, corrected: bool
) -> pl.DataFrame:
    """Per run: ns per leaf of every part, of the total, and of the parts' bounds."""
    columns = {WHOLE: pl.col("duration_ns").cast(pl.Float64)}
    for which in ("", "_low", "_high"):
        columns[f"{NET}{which}"] = pl.col(f"corrected{which}_ns")
    columns |= {f"{WHOLE}{which}": columns[f"{NET}{which}"] for which in ("_low", "_high")}
    for which in ("", "_low", "_high"):
        split = {
            name: pl.col(_corrected(name, which) if corrected or which else f"{name}_ns")
            for name in names
        }  # fmt: skip
        columns |= {f"{name}{which}": part for name, part in split.items()}
        columns[f"{TRACING}{which}"] = pl.col(f"probe{which}_ns").cast(pl.Float64)
        if which:
            columns[f"rest{which}"] = _rest(names, which)
        else:
            whole = "corrected_ns" if corrected else "duration_ns"
            columns["rest"] = pl.col(whole) - pl.sum_horizontal(split.values())
    means = rows.group_by("run", *CELL, maintain_order=True).agg(
        part.mean().alias(name) for name, part in columns.items()
    )
    joined = means.join(weights, on=CELL, how="inner", nulls_equal=True, maintain_order="left")
    work = (pl.col("leaves") * pl.col("weight")).sum()
    # A sum passes over nulls: what is not known of every size is not known.
    known = {name: pl.col(name).null_count() == 0 for name in columns}
    return joined.group_by("run", maintain_order=True).agg(
        pl.when(known[name]).then((pl.col(name) * pl.col("weight")).sum() / work).alias(name)
        for name in columns
    )


def _rest(names: Sequence[str], which: str) -> pl.Expr:
    """A bound of the rest, with the components that are not among *names*."""
    merged = [
        pl.when(pl.col(f"{name}_ns").is_null()).then(0.0).otherwise(_corrected(name, which))
        for name in SPLIT if name not in names
    ]  # fmt: skip
    return pl.sum_horizontal(f"rest_corrected{which}_ns", *merged, ignore_nulls=False)


def _corrected(name: str, which: str) -> str:
    return "off_cpu_ns" if name == "off_cpu" else f"{name}_corrected{which}_ns"


def _part(
    name: str, base: pl.DataFrame, with_: pl.DataFrame, pairs: Sequence[tuple[str, str]] | None
) -> Part:
    if pairs is None:
        ours, theirs = base[name].to_numpy(), with_[name].to_numpy()
        difference = welch_difference(ours, theirs)
    else:
        one, other = (dict(rows.select("run", name).iter_rows()) for rows in (base, with_))
        both = [(one[a], other[b]) for a, b in pairs if a in one and b in other]
        difference = paired_difference([a for a, _ in both], [b for _, b in both])
    means = {
        (side, which): rows[f"{name}{which}"].mean() if f"{name}{which}" in rows.columns else None
        for side, rows in (("base", base), ("with", with_)) for which in ("", "_low", "_high")
    }  # fmt: skip
    return Part(
        name,
        as_float(means["base", ""]) or 0.0,
        as_float(means["with", ""]) or 0.0,
        difference,
        _less(means["base", "_low"], means["with", "_high"]),
        _less(means["base", "_high"], means["with", "_low"]),
    )


def _with_cost(part: Part) -> Part:
    """The cost of tracing was estimated too: its error joins that of the runs."""
    joined = joined_difference(part.difference, part.low_tracing, part.high_tracing)
    return replace(part, difference=joined)


def _less(one: object, other: object) -> float | None:
    a, b = as_float(one), as_float(other)
    return None if a is None or b is None else a - b
