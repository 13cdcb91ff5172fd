"""The headline of an analysis: where most of the time is, and what it stands on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from traceview.report.absent import unknown_because, why_no_unmap
from traceview.report.ledger import PLACES
from traceview.report.samples import DOING
from traceview.report.split import group_name
from traceview.report.terminal import leaf_sizes, why_none
from traceview.report.time_units import Unit, unit_of
from traceview.report.time_words import of_label, words_of_label
from traceview.report.tracing import between
from traceview.report.wording import clean, count, number, plural, share

if TYPE_CHECKING:
    from traceview.queries.analysis import Analysis
    from traceview.report.contents import Contents


def headline(found: Contents) -> str:
    """One sentence: the kind of unmap that took most time, or why there is none to tell of."""
    rows = found.groups.filter(
        (pl.col("leaf_level") != "none") & pl.col("duration_ns").is_not_null()
    )
    if len(found.sample_groups) and rows.is_empty():
        return _sampled(found)
    if found.whole.unmaps.is_empty():
        return next(iter(why_no_unmap(found.whole)))
    if rows.is_empty():
        return why_none(found)
    row = rows.row(0, named=True)
    sizes = leaf_sizes(found.analysis.sources)
    several = found.groups["label"].n_unique() > 1
    what = group_name(row, sizes, several=several)
    of = plural(row["count"], "unmap")
    of += "" if row["leaves"] is None else f", {_leaves(row['leaves'])}"
    label = row["label"] if several else None
    unit = unit_of(of_label(found.analysis, label))
    mine = found.groups.filter(pl.col("label") == row["label"])
    most = ""
    if len(mine) > 1:
        part = share(row["duration_ns"], int(mine["duration_ns"].sum()))
        where = "of this label " if several else ""
        most = f"{part} of the {unit.whole} of all unmaps {where}that are counted is in "
    return f"{words_of_label(found.analysis, label)}{most}{what} ({of}): {_times(row, unit)}"


def counted(found: Contents) -> str:
    """How many unmaps the statistics stand on, and what became of the others."""
    if found.whole.unmaps.is_empty():
        unknown = f"unmaps: {unknown_because(found.whole)}"
        return "; ".join(said for said in (unknown, lost_events(found.whole)) if said)
    sums = {name: int(found.ledger[name].sum()) for name in PLACES}
    began, kept = sums.pop("began"), sums.pop("counted")
    others = [f"{count(number)} {PLACES[name]}" for name, number in sums.items() if number]
    said = f"{plural(began, 'unmap')} began, {count(kept)} counted"
    said += f": {', '.join(others)}" if others else ""
    lost = lost_events(found.whole)
    return f"{said}; {lost}" if lost else said


def lost_events(whole: Analysis) -> str:
    """How many holes, with how many events, and what they do to what is left; else nothing."""
    if whole.losses.is_empty():
        return ""
    known = whole.losses["count"].drop_nulls()
    events = plural(int(known.sum()), "event") if len(known) else "an unknown number of events"
    more = " or more" if 0 < len(known) < len(whole.losses) else ""
    return (
        f"{events}{more} lost in {plural(len(whole.losses), 'hole')}: what is left is no fair"
        " sample, a long unmap meets a hole more often than a short one"
    )


def _leaves(number: int) -> str:
    return f"{number:,} {'leaf' if number == 1 else 'leaves'}"


def _times(row: dict[str, Any], unit: Unit) -> str:
    """Per leaf, else per unmap: as recorded, and without tracing as far as that is known."""

    def rounded(ns: float) -> str:
        return unit.named(round(ns))

    if row["ns_per_leaf"] is None:
        said = f"median {unit.named(row['median_ns'])} as recorded"
        keys = [f"corrected_median{which}_ns" for which in ("", "_low", "_high")]
        value, low, high = (row[key] for key in keys)
        ends = between(low, high, rounded)
        value = None if value is None else rounded(value)
    else:
        said = f"{number(row['ns_per_leaf'])} {unit.name} per leaf as recorded"
        keys = [f"corrected{which}_ns_per_leaf" for which in ("", "_low", "_high")]
        value, low, high = (row[key] for key in keys)
        ends = between(low, high, number)
        value = None if value is None else number(value)
    if row["probe_high_ns"] == 0:
        return f"{said}; no tracer ran"
    if low is None or high is None:
        return f"{said}; what tracing cost is not known"
    if value is None:
        return f"{said}; without tracing {ends} (bounds, no estimate)"
    return f"{said}; without tracing {value}{f' ({ends})' if ends != value else ''}"


def _sampled(found: Contents) -> str:
    row = found.sample_groups.row(0, named=True)
    label = row["label"] if found.sample_groups["label"].n_unique() > 1 else None
    ends = f"{row['share_low']:.1%} .. {row['share_high']:.1%}"
    words = words_of_label(found.analysis, label)
    of = f"{plural(row['of'], 'sample')} ({clean(row['event'])})"
    return (
        f"{words}{row['share']:.1%} of {of} inside unmaps fell into {DOING[row['operation']]} (95%"
        f" interval of counting alone {ends}); no unmap was timed"
    )
