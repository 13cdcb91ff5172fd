"""Which unmaps of two sides did the same work: like with like, or nothing.

By kind (level of the leaves, what asked for the unmap, number of leaves) where all of these are
known on both sides; else by step and order within it (matching.py). Where a run has a capture
of `kvm_pgtable_stage2_unmap` alone, that one is the headline: it is distorted least. It does not
see leaves, so it takes them from the detailed capture of the same run, unmap by unmap, where both
have the same number of unmaps in a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import polars as pl

from traceview.errors import QueryError
from traceview.queries.correction import corrected
from traceview.queries.groups import leaf_level
from traceview.queries.matching import numbered

if TYPE_CHECKING:
    from traceview.queries.analysis import Analysis

Mode = Literal["kind", "step"]
Name = Literal["base", "with"]
UNKNOWN_RUN: Final = "not stated"
# What a cell is: unmaps of which the same time is expected. In order of how reports sort them.
CELL: Final = ("level", "trigger", "leaves", "length_bytes", "stem")
PLACE: Final = ("step", "order", "of")
# Where the kind of fewer is unknown, those are left out rather than the others matched by step.
MOST_KNOWN: Final = 0.9
# A capture that traces this much more per unmap than another of its run is the more detailed one.
SAME_DETAIL: Final = 1.05


@dataclass(frozen=True, slots=True)
class LeftOut:
    """*unmaps* of a side that the comparison does not stand on, and why."""

    side: Name
    reason: str
    unmaps: int


@dataclass(frozen=True, slots=True)
class Matched:
    """The unmaps of both sides that are compared.

    Frames of complete unmaps, in order: `run`, the columns of correction.corrected(), `level`,
    `trigger`, `stem`, `order`, `of`. A cell (CELL) is in both sides. `headline` are those that
    totals are taken from, `detailed` those that components are; they are the same where a run has
    no capture of the unmap alone. Columns of CELL that the mode does not match by are null.
    `base_lost`, `with_lost`: unmaps of the same captures that have no time to use: `run`, `stem`.
    """

    mode: Mode
    base: pl.DataFrame
    with_: pl.DataFrame
    base_detailed: pl.DataFrame
    with_detailed: pl.DataFrame
    base_lost: pl.DataFrame
    with_lost: pl.DataFrame
    alone: bool
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True, slots=True)
class _Side:
    headline: pl.DataFrame
    detailed: pl.DataFrame
    lost: pl.DataFrame
    left_out: tuple[LeftOut, ...]


def match(
    base: Analysis, with_: Analysis, wholes: tuple[Analysis, Analysis] | None = None
) -> Matched:
    """The unmaps of *base* and *with_* that did the same work.

    *wholes*: what they were filtered from, where they were: places are those in the workload.

    Raises QueryError when a side has no complete unmap with a duration, or none that matches.
    """
    whole_base, whole_with = wholes or (base, with_)
    rows = {"base": _rows(base, whole_base), "with": _rows(with_, whole_with)}
    for name, frame in rows.items():
        if frame.filter(usable()).is_empty():
            why = _said_of((base, with_)[name == "with"])
            raise QueryError(
                f"no unmap of --{name} is complete and has a duration: nothing to compare{why}"
            )
    alone = all(_every_run_has_alone(frame) for frame in rows.values())
    sides = {name: _side(name, frame, alone=alone) for name, frame in rows.items()}
    _refuse_unlike_detail(sides["base"].headline, sides["with"].headline)
    mode = _mode(sides["base"].headline, sides["with"].headline)
    left = [*sides["base"].left_out, *sides["with"].left_out]
    frames = [*(side.headline for side in sides.values()), *(s.detailed for s in sides.values())]
    ranges = all(frame["length_bytes"].null_count() == 0 for frame in frames)
    one, other, fine_one, fine_other = (_as_cells(frame, mode, ranges=ranges) for frame in frames)
    one, other = _comparable("base", one, mode, left), _comparable("with", other, mode, left)
    fine_one, fine_other = (
        _comparable("base", fine_one, mode),
        _comparable("with", fine_other, mode),
    )
    if mode == "step":
        one, other = _same_place("base", one, other, left), _same_place("with", other, one, left)
        fine_one, fine_other = (
            _same_place("", fine_one, fine_other),
            _same_place("", fine_other, fine_one),
        )
        one, other, fine_one, fine_other = _shared_facts(one, other, fine_one, fine_other, left)
    one, other = _same_cells("base", one, other, left), _same_cells("with", other, one, left)
    if one.is_empty() or other.is_empty():
        raise QueryError(_nothing_matches(left))
    cells = one.select(CELL).unique()
    fine_one, fine_other = (
        frame.join(cells, on=CELL, how="semi", nulls_equal=True, maintain_order="left")
        for frame in (fine_one, fine_other)
    )
    lost = [side.lost for side in sides.values()]
    return Matched(mode, one, other, fine_one, fine_other, lost[0], lost[1], alone, _summed(left))


def one_side(
    of: Analysis, whole: Analysis | None = None
) -> tuple[pl.DataFrame, tuple[LeftOut, ...]]:
    """The unmaps of *of* in their cells, as match() takes the headline of a side.

    *whole*: what it was filtered from, where it was.

    Raises QueryError when none is complete and has a duration.
    """
    rows = _rows(of, whole or of)
    side = _side("base", rows, alone=_every_run_has_alone(rows))
    if side.headline.is_empty():
        raise QueryError("no unmap is complete and has a duration: nothing to compare")
    mode = _mode(side.headline, side.headline)
    left = list(side.left_out)
    ranges = side.headline["length_bytes"].null_count() == 0
    rows = _as_cells(side.headline, mode, ranges=ranges)
    return _comparable("base", rows, mode, left), _summed(left)


def _said_of(of: Analysis) -> str:
    """What was wrong with the traces of a side, which may be why."""
    grave = [what.message for _, what in of.diagnostics if what.severity != "info"]
    return "".join(f"\n{message}" for message in dict.fromkeys(grave[:3]))


def _refuse_unlike_detail(base: pl.DataFrame, with_: pl.DataFrame) -> None:
    """Captures of the unmap alone and detailed ones differ by the tracing, whatever else does."""
    alone = [
        bool((rows["traced_calls"] == 0).all())
        for rows in (base.filter(pl.col("evidence") != "insn"),
                     with_.filter(pl.col("evidence") != "insn"))
        if len(rows)
    ]  # fmt: skip
    if len(set(alone)) > 1:
        one, other = ("--base", "--with") if alone[0] else ("--with", "--base")
        raise QueryError(
            f"{one} is of kvm_pgtable_stage2_unmap alone, {other} is traced in more detail: what"
            " differs between them is the tracing\n"
            "valid: captures of like detail on both sides; best both kinds of every run"
        )


def usable() -> pl.Expr:
    """Which unmaps have a time that may be compared."""
    return (pl.col("status") == "complete") & pl.col("duration_ns").is_not_null()


def _rows(analysis: Analysis, whole: Analysis) -> pl.DataFrame:
    """All unmaps with their run, their cell and their place, and whether their capture is alone."""
    runs = analysis.sources.select(
        "source_id", pl.col("run").fill_null(UNKNOWN_RUN), "order", "recorded_at"
    ).rename({"order": "plan_order"})
    rows = corrected(analysis).with_columns(leaf_level().alias("level"))
    if whole is analysis:
        rows = numbered(rows)
    else:  # what filters left out has its place all the same
        ids = ("source_id", "unmap_id")
        places = numbered(whole.unmaps).select(*ids, "stem", "order", "of", "placed")
        rows = rows.join(places, on=ids, how="left", maintain_order="left")
    # Null: a capture without a usable unmap, which may have traced anything.
    calls = pl.col("traced_calls").filter(usable()).mean().over("source_id")
    return rows.join(runs, on="source_id", how="left", maintain_order="left").with_columns(
        calls.alias("detail")
    )


def _every_run_has_alone(rows: pl.DataFrame) -> bool:
    """Whether each run has a capture of the unmap alone; executions cost nothing to record."""
    by_run = rows.group_by("run").agg(
        (pl.col("detail") == 0).any() & (pl.col("evidence") != "insn").any()
    )
    return bool(by_run[by_run.columns[1]].all())


def _side(name: str, rows: pl.DataFrame, *, alone: bool) -> _Side:
    """The captures of a side that are used, and what is left out of the others."""
    side: Name = "base" if name == "base" else "with"
    detail = pl.col("detail")
    least = detail.filter(detail > 0).min().over("run")
    fewest = least.is_null() & (detail == 0) & (not alone)  # the run has captures of it alone only
    detailed = rows.filter(fewest | detail.is_between(0, SAME_DETAIL * least, closed="right"))
    chosen = rows.filter(detail == 0) if alone else detailed
    used = pl.concat([chosen, detailed]) if alone else detailed
    nothing = rows.filter(detail.is_null())
    others = rows.drop_nulls("detail").join(
        used.select("source_id").unique(), on="source_id", how="anti"
    )
    left = [
        LeftOut(
            side, "of a capture of another detail than the one of its run that is used", len(others)
        )
    ]
    headline = chosen
    if alone and len(detailed):
        headline = _with_leaves(chosen, detailed)
        left += _without_leaves(side, headline, detailed)
        headline = headline.filter(pl.col("matched"))
    left += _unusable(side, pl.concat([headline.select(nothing.columns), nothing]))
    lost = headline.filter(~usable() & (pl.col("status") != "point")).select("run", "stem")
    return _Side(headline.filter(usable()), detailed.filter(usable()), lost, tuple(left))


def _unusable(side: Name, rows: pl.DataFrame) -> list[LeftOut]:
    why = {
        "censored": "censored: entry or exit missing", "point": "recorded by its entry only",
        "contaminated": "contaminated by lost events or a cut-off call",
    }  # fmt: skip
    counted = dict(rows.group_by(pl.col("status").cast(pl.String)).len().iter_rows())
    found = [LeftOut(side, text, counted.get(status, 0)) for status, text in why.items()]
    whole = rows.filter(pl.col("status") == "complete")
    return [*found, LeftOut(side, "no duration", whole["duration_ns"].null_count())]


def _with_leaves(alone: pl.DataFrame, detailed: pl.DataFrame) -> pl.DataFrame:
    """The unmaps of *alone* with what the detailed capture of their run knows of each, if it does.

    Column `matched`: whether that has an unmap in the same place.
    """
    facts = ["leaves", "level", "trigger", "strategy"]
    known = detailed.unique(["run", *PLACE], keep="first", maintain_order=True).select(
        "run", *PLACE, *facts, pl.lit(value=True).alias("matched")
    )
    return (
        alone.drop(facts)
        .join(known, on=["run", *PLACE], how="left", nulls_equal=True, maintain_order="left")
        .with_columns(pl.col("matched").fill_null(value=False))
    )


def _without_leaves(side: Name, rows: pl.DataFrame, detailed: pl.DataFrame) -> list[LeftOut]:
    """Why some of *rows* were not matched."""
    missing = rows.filter(~pl.col("matched") & usable())
    elsewhere = len(missing.join(detailed.select("run").unique(), on="run", how="semi"))
    unlike = "its step has another number of unmaps in the detailed capture of its run"
    none = "its run has no detailed capture"
    return [
        LeftOut(side, f"leaves unknown: {unlike}", elsewhere),
        LeftOut(side, f"leaves unknown: {none}", len(missing) - elsewhere),
    ]


def _mode(one: pl.DataFrame, other: pl.DataFrame) -> Mode:
    """By kind where that is known of nearly every unmap of both sides; else by step."""
    known = (rows.select(_of_known_kind().mean()).item() for rows in (one, other))
    return "kind" if all((share or 0.0) >= MOST_KNOWN for share in known) else "step"


def _of_known_kind() -> pl.Expr:
    return (
        pl.col("leaves").is_not_null()
        & (pl.col("level") != "unknown")
        & (pl.col("trigger") != "unknown")
    )


def _comparable(
    side: Name, rows: pl.DataFrame, mode: Mode, left: list[LeftOut] | None = None
) -> pl.DataFrame:
    """The unmaps of which it is known what they did, by kind, or where, by step."""
    keep, reason = (
        (_of_known_kind(), "leaf level, leaves or trigger unknown, unlike those of nearly all")
        if mode == "kind"
        else (pl.col("placed"), "in no step, and several tasks unmap: their order is chance")
    )
    kept = rows.filter(keep)
    if left is not None:
        left.append(LeftOut(side, reason, len(rows) - len(kept)))
    return kept


def _as_cells(rows: pl.DataFrame, mode: Mode, *, ranges: bool) -> pl.DataFrame:
    """With the columns of CELL; *ranges*: the length of the range is known of every unmap.

    A step says the range as well.
    """
    told = ranges and (mode == "kind" or rows["step"].is_null().all())
    rows = rows.with_columns(
        pl.col("trigger").cast(pl.String),
        pl.when(pl.lit(value=told)).then("length_bytes").alias("length_bytes"),
    )
    if mode == "kind":
        return rows.with_columns(pl.lit(None, dtype=pl.String).alias("stem"))
    known = {"level": "unknown", "trigger": "unknown"}
    return rows.with_columns(
        pl.when(pl.col(name) != nothing).then(name).alias(name) for name, nothing in known.items()
    )


def _same_place(
    name: str, rows: pl.DataFrame, other: pl.DataFrame, left: list[LeftOut] | None = None
) -> pl.DataFrame:
    """The unmaps whose step has as many unmaps on the other side."""
    kept = rows.join(
        other.select(PLACE).unique(), on=PLACE, how="semi", nulls_equal=True, maintain_order="left"
    )
    if left is not None:
        reason = "its step is not on the other side, or has another number of unmaps there"
        left.append(LeftOut("base" if name == "base" else "with", reason, len(rows) - len(kept)))
    return kept


def _shared_facts(
    one: pl.DataFrame, other: pl.DataFrame, fine_one: pl.DataFrame, fine_other: pl.DataFrame,
    left: list[LeftOut],
) -> tuple[pl.DataFrame, ...]:  # fmt: skip
    """What one side knows of an unmap holds for its twin; where they differ, it is none."""
    facts = ("leaves", "level", "trigger")
    frames = (one, other, fine_one, fine_other)
    seen = pl.concat([frame.select(*PLACE, *facts) for frame in frames])
    shared = seen.group_by(PLACE).agg(
        *(pl.col(name).drop_nulls().first() for name in facts),
        pl.any_horizontal(pl.col(name).drop_nulls().n_unique() > 1 for name in facts).alias(
            "differ"
        ),
    )
    found = []
    for name, frame in zip(("base", "with", "", ""), frames, strict=True):
        rows = frame.drop(facts).join(
            shared, on=PLACE, how="left", nulls_equal=True, maintain_order="left"
        )
        if name:
            differ = len(rows.filter("differ"))
            side: Name = "base" if name == "base" else "with"
            reason = "its twin has another number of leaves, another level or trigger"
            left.append(LeftOut(side, reason, differ))
        found.append(rows.filter(~pl.col("differ")).drop("differ"))
    return tuple(found)


def _same_cells(
    name: Name, rows: pl.DataFrame, other: pl.DataFrame, left: list[LeftOut]
) -> pl.DataFrame:
    kept = rows.join(
        other.select(CELL).unique(), on=CELL, how="semi", nulls_equal=True, maintain_order="left"
    )
    reason = "no unmap of that kind, trigger and number of leaves on the other side"
    left.append(LeftOut(name, reason, len(rows) - len(kept)))
    return kept


def _summed(left: list[LeftOut]) -> tuple[LeftOut, ...]:
    return tuple(one for one in left if one.unmaps)


def _nothing_matches(left: list[LeftOut]) -> str:
    why = "; ".join(f"{one.unmaps} of --{one.side}: {one.reason}" for one in _summed(left))
    return (
        f"no unmap of the two sides is known to have done the same work ({why})\n"
        "what is compared must be the same: leaf level, leaves and trigger known on both sides"
        " (probes with arguments), or steps of the same names with the same unmaps (docs/steps.md)"
    )
