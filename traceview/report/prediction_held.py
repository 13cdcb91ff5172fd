"""How a prediction did on what it does not stand on: what was held out, and what it is held
against.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from traceview.queries.predicted_cell import NARROW
from traceview.queries.stated_spread import ENOUGH
from traceview.report.blocks import Block, Bullets, Paragraph, Section, Table, TableColumn
from traceview.report.prediction_words import name_of, name_with_leaves, ns, percent, span
from traceview.report.wording import UNKNOWN, clean, count, plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from traceview.queries.prediction import Prediction
    from traceview.queries.prediction_check import Check, CheckedTime
    from traceview.queries.prediction_holdout import Trial

# So many calls are the larger part of what the walks differ by.
SOME: Final = 100
KINDS: Final = {
    "halves": "a half of the unmaps, by the other half",
    "costs": "the same, by costs fitted to the other half",
    "sizes": "a number of leaves, by costs fitted to the others",
    "runs": "a run, by the others",
}
COUNT_NAMES: Final = {
    "leaves": "leaves", "invalidate_leaf": "calls for leaves", "invalidate_table": "for tables",
    "invalidate_range": "range calls", "cmo": "cache maintenance", "table_put": "puts",
}  # fmt: skip


def held_section(found: Prediction, trials: Sequence[Trial]) -> Section:
    """What was left out and predicted."""
    return Section("held-out", "Held out and predicted", tuple(_held(found, trials)))


def _held(found: Prediction, trials: Sequence[Trial]) -> Iterator[Block]:
    if not trials:
        yield Paragraph("Too few unmaps of a kind to hold any out: nothing shows how good this is.")
        return
    columns = (
        TableColumn("what"), TableColumn("in their interval", right=True),
        TableColumn("half-width", right=True), TableColumn("off", right=True),
        TableColumn("narrow", right=True), TableColumn("widest", right=True),
    )  # fmt: skip
    rows = tuple(
        (
            KINDS[one.kind], f"{percent(one.coverage)} of {count(one.tried)}",
            percent(one.half_width), percent(one.off), percent(one.narrow / one.tried),
            percent(one.worst_half_width),
        )
        for one in trials
    )  # fmt: skip
    yield Table(
        columns, rows,
        note=f"of so many trials, of splits of {len(found.cells)} kinds of unmaps over and over;"
        f" half-width and off: medians; narrow: intervals of {percent(NARROW)} at most to each"
        " side. Of the strategy measured: no trace of one strategy can test the other",
    )  # fmt: skip
    poor = [KINDS[one.kind] for one in trials if one.coverage < ENOUGH and one.kind != "sizes"]
    if poor:
        yield Paragraph(
            f"Fewer than {percent(ENOUGH)} lay in their 95% interval ({'; '.join(poor)}): intervals"
            " of these traces are too narrow there.",
            strong=True,
        )
    if not isinstance(found.fitted, str):
        if found.fitted.widening > 1:
            yield Paragraph(
                f"Fewer than {percent(ENOUGH)} of the sizes left out lay in their interval: those"
                f" of other sizes are made {found.fitted.widening:.2g} times as wide, which holds"
                " all of them.",
                strong=True,
            )
        yield Paragraph(_trust(found))


def _trust(found: Prediction) -> str:
    assert not isinstance(found.fitted, str)
    largest, trust = found.fitted.largest, found.fitted.trust
    if trust <= 1:
        return (
            f"No size beyond {largest:,.0f} leaves is predicted: costs fitted to the smaller sizes"
            " alone did not predict the larger ones."
        )
    return (
        f"Costs fitted to the smaller sizes alone predicted sizes up to {trust:.3g} times larger:"
        f" up to {trust * largest:,.0f} leaves are predicted."
    )


def against_section(held: Check) -> Section:
    """What is predicted beside what was measured there."""
    return Section("against", "Held against what was measured", tuple(_against(held)))


def _against(held: Check) -> Iterator[Block]:
    yield from _counts(held)
    if held.no_times is not None:
        yield Paragraph(f"Times are not compared: {held.no_times}.", strong=True)
    if held.not_matched:
        yield Paragraph(f"{plural(held.not_matched, 'unmap')} there: no twin here, not compared.")
    if not held.times:
        return
    columns = (
        TableColumn("unmaps of"), TableColumn("leaves", right=True),
        TableColumn("predicted", right=True), TableColumn("measured", right=True),
        TableColumn("off", right=True), TableColumn("in the interval"),
        TableColumn("walk here", right=True), TableColumn("walk there", right=True),
    )  # fmt: skip
    yield Table(
        columns, tuple(_time(one) for one in held.times), keys=2,
        note="walk: all but invalidate calls and cache maintenance"
        + ("" if held.executed else ", and what tracing the unmap's own call adds to it")
        + "; a prediction takes it over from here",
    )  # fmt: skip
    yield Bullets(tuple(Paragraph(text) for text in _why(held)))


def _counts(held: Check) -> Iterator[Block]:
    if not held.counts:
        yield Paragraph("No counts can be compared: no unmap stands in the same place of both.")
        return
    compared = max(one.compared for one in held.counts)
    if held.counts_hold:
        names = ", ".join(COUNT_NAMES[one.name] for one in held.counts)
        yield Paragraph(
            f"Counts ({names}) are as predicted in each of {plural(compared, 'unmap')}, step by"
            " step and one by one."
        )
        return
    yield Bullets(
        tuple(
            Paragraph(
                f"{COUNT_NAMES[one.name]}: as predicted in {count(one.equal)} of"
                f" {plural(one.compared, 'unmap')}"
                + (
                    f"; first in {clean(one.first[0])}: {one.first[1]} predicted,"
                    f" {one.first[2]} counted"
                    if one.first
                    else ""
                ),
                strong=one.equal < one.compared,
            )
            for one in held.counts
        )
    )


def _time(one: CheckedTime) -> tuple[str, ...]:
    then = one.cell.then
    return (
        name_of(one.cell), count(one.cell.before.leaves),
        ns(then.value) if then.decided else span(then.low, then.high), ns(one.measured.ns),
        percent(one.off, signed=True) if then.decided else UNKNOWN, _inside(one),
        UNKNOWN if one.walk_now is None else ns(one.walk_now),
        UNKNOWN if one.walk_there is None else ns(one.walk_there),
    )  # fmt: skip


def _inside(one: CheckedTime) -> str:
    if not one.inside:
        return "NO"
    return "yes" if one.cell.then.decided else "undecided"


def _why(held: Check) -> Iterator[str]:
    decided = [one for one in held.times if one.cell.then.decided]
    inside = sum(one.inside for one in decided)
    said = f"{inside} of {len(decided)} measured times lie in the interval predicted"
    if open_ := len(held.times) - len(decided):
        said += f"; {open_} more are undecided: nothing could contradict so wide an interval"
    yield said
    known = [one for one in held.times if one.walk_now is not None and one.walk_there is not None]
    ends = sorted(known, key=lambda one: one.cell.before.leaves)
    yield from (_parts(one, held) for one in (ends[:1] + ends[-1:] if len(ends) > 1 else ends))
    if held.facts:
        said = ", ".join(f"{name} {clean(here)} here, {clean(there)} there"
                         for name, here, there in held.facts)  # fmt: skip
        yield (
            f"these are not one host and kernel ({said}): the walk itself differs between them"
            " (functions inlined, puts, checks), and a model of one does not know the other's"
        )
    elif held.stated:
        yield (
            "no fact of host or kernel that is stated of both differs; where nobody stated the"
            " kernel, the walk may be another one all the same"
        )
    else:
        yield ("nobody stated the host or kernel of both: they may be others, with another walk")


def _parts(one: CheckedTime, held: Check) -> str:
    """What the prediction of one cell is off by, and where that lies."""
    assert one.walk_now is not None
    assert one.walk_there is not None
    off, walk = one.cell.then.value - one.measured.ns, one.walk_now - one.walk_there
    return (
        f"of {name_with_leaves(one.cell)} the prediction is off by {_signed(off)}: the walk is"
        f" {_signed(walk)} here against there{_each(one, walk, held)}, the calls make the rest"
        f" ({_signed(off - walk)})"
    )


def _each(one: CheckedTime, walk: float, held: Check) -> str:
    """The walk holds what is around the calls, and what tracing them cost beyond the estimate."""
    before, after = one.cell.before, one.cell.after
    calls = abs(before.invalidate_leaf - after.invalidate_leaf)
    if calls < SOME:
        return ""
    traced = "" if held.executed else ", and what tracing it cost beyond the estimate"
    return (
        f" ({walk / calls:+.1f} ns for each of {count(calls)} calls that only one of them makes:"
        f" what is around a call is in the walk{traced})"
    )


def _signed(value: float) -> str:
    return f"{'-' if value < 0 else '+'}{ns(abs(value))}"
