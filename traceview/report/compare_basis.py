"""What a comparison stands on: noise, what was excluded, what tracing cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import polars as pl

from traceview.queries.calibration import FITS, FITS_WORST
from traceview.report.compared import SIDES
from traceview.report.layout import Column, bullets, heading, table
from traceview.report.ratio_words import ratio_text
from traceview.report.wording import UNKNOWN, clean, count, number, step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.text import Text

    from traceview.queries.analysis import Analysis
    from traceview.queries.noise_floor import NoiseFloor
    from traceview.report.compared import Compared

# The worst first: what may bias what is left.
PLACES: Final = {
    "censored": "censored: entry or exit missing",
    "contaminated": "contaminated: a loss or a cut-off call inside",
    "undecided": "may pass the filters or not",
    "entry_only": "recorded by their entry only",
    "no_duration": "complete, without a duration",
    "left_out": "left out by the filters",
    "counted": "complete, with a duration",
    "loss_unknown": "of these, of sources that cannot say whether they lost events",
}
TRACING: Final = "What tracing cost (docs/observer.md)"
# Left out of the captures that are compared: the ledger has these of all captures.
OF_STATUS: Final = ("censored", "contaminated", "recorded by its entry only", "no duration")
METHODS: Final = {
    "calibrated": "calibrated", "bounded": "a bound, no estimate", "none": "nothing, no tracer ran",
    "unknown": "not known",
}  # fmt: skip
EVIDENCE: Final = (
    "what recorded the calls (fgraph: function_graph, kprobe: probes of entry and return)"
)
COST_COLUMNS: Final = (
    "evidence", "method", "call_ns", "call_low_ns", "call_high_ns", "inside_ns", "inside_low_ns",
    "inside_high_ns", "strata", "median_residual", "worst_residual",
)  # fmt: skip


def noise(found: Compared, width: int) -> list[Text]:
    """What these runs could have found."""
    lines = heading("Noise (of the headline's estimates, one per run)", width)
    return lines + bullets(noise_texts(found), width)


def noise_texts(found: Compared) -> Iterator[str]:
    """Noise floor of each side, the least ratio that is found, runs needed, the clock."""
    comparison = found.comparison
    of = comparison.headline
    if of is None:
        yield "without a headline there is no noise to judge it by"
        return
    if comparison.plan.standing == "no_spread":
        yield (
            "how much a ratio must be to be found is not known, and there is no noise floor: the"
            " runs of a side do not differ, which says nothing of what others would"
        )
        yield from _quantum(found)
        return
    runs = (len(comparison.base_runs), len(comparison.with_runs))
    for name, floor, many in zip(SIDES, comparison.noise, runs, strict=True):
        yield floor_text(name, floor, many)
    least = comparison.detectable
    if least is not None:
        yield (
            f"at this spread as many runs find a ratio of {ratio_text(least)} or more, or"
            f" {ratio_text(1 / least)} or less, with a power of 0.8"
        )
        yield from _needed(found)
    elif min(runs) < 2:
        yield "how much a ratio must be to be found is not known: runs of a side have no spread"
    else:
        yield (
            "how much a ratio must be to be found is not known: the runs of a side do not differ,"
            " which says nothing of what others would"
        )
    yield from _quantum(found)


def _needed(found: Compared) -> Iterator[str]:
    comparison = found.comparison
    of = comparison.headline
    if of is None or of.interval.value == 1:
        return
    seen = ratio_text(of.interval.value)
    each = "pairs of runs" if comparison.plan.paired else "runs a side"
    if comparison.needed is None:
        yield f"no number of runs would find the ratio seen ({seen}) with this spread and clock"
    else:
        yield (
            f"the ratio seen ({seen}) takes {comparison.needed:,} {each} to be found with that"
            " power"
        )


def floor_text(name: str, floor: NoiseFloor | None, runs: int) -> str:
    """A/A of one side."""
    if floor is None:
        few = "4 runs or more" if runs < 4 else "times above 0"
        return f"{name}: no noise floor, which wants {few}"
    splits = "" if floor.all_splits else ", a sample"
    halves = " and ".join(map(str, dict.fromkeys(floor.runs_per_half)))
    return (
        f"{name} against itself: halves of {halves} runs differ by up to {ratio_text(floor.ratio)}"
        f" (95% of {floor.splits} splits{splits}); false alarms: {floor.false_alarms:.0%} of them"
    )


def _quantum(found: Compared) -> Iterator[str]:
    steps = found.comparison.quantum_ns
    if not any(steps):
        return
    said = ", ".join(f"{name} {step(ns)}" for name, ns in zip(SIDES, steps, strict=True) if ns)
    undecided = 0.0 if found.comparison.headline is None else (
        found.comparison.headline.interval.undecided
    )  # fmt: skip
    wider = f"; they widen the headline's interval by {undecided:.2%}" if undecided else ""
    yield f"steps of the durations: {said}{wider}"


# ---- exclusions


def ledger(found: Compared, width: int) -> list[Text]:
    """How many unmaps the comparison stands on, and what became of the others."""
    lines = heading("What it stands on", width) + table(*places(found), width)
    return lines + bullets(left_out_texts(found), width)


def places(found: Compared) -> tuple[tuple[Column, ...], list[list[str]]]:
    """Where the unmaps of both sides are; those of a set that were compared, at the end."""
    matched = found.comparison.matched
    rows = [["began", *(count(side["began"]) for side in found.ledger)]]
    rows += [
        [text, *(count(side[place]) for side in found.ledger)]
        for place, text in PLACES.items()
        if any(side[place] for side in found.ledger)
    ]
    times = (len(matched.base), len(matched.with_))
    split = (len(matched.base_detailed), len(matched.with_detailed))
    if matched.alone:
        rows.append(["compared: times, of captures of the unmap alone", *map(count, times)])
        rows.append(["compared: split, of detailed captures", *map(count, split)])
    else:
        rows.append(["compared", *map(count, times)])
    return (Column("unmaps"), *(Column(name, right=True) for name in SIDES)), rows


def left_out_texts(found: Compared) -> Iterator[str]:
    """What is complete and not compared, and why."""
    for one in found.comparison.matched.left_out:
        if not one.reason.startswith(OF_STATUS):
            noun = "unmap" if one.unmaps == 1 else "unmaps"
            yield f"{count(one.unmaps)} {noun} of {one.side} not compared: {one.reason}"
    if found.unassigned:
        noun = "unmap is" if found.unassigned == 1 else "unmaps are"
        yield f"{count(found.unassigned)} {noun} of neither strategy, or of an unknown one"


# ---- tracing


def tracing(found: Compared, width: int) -> list[Text]:
    """What tracing one call cost on either side."""
    lines = heading(TRACING, width) + table(*tracing_costs(found), width)
    return lines + bullets(tracing_texts(found), width)


def tracing_costs(found: Compared) -> tuple[tuple[Column, ...], list[list[str]]]:
    """What tracing one call cost on either side, and how well that is known."""
    rows = [
        [name, *_cost(row), _agreement(found, at)]
        for at, name in enumerate(SIDES)
        for row in costs((found.comparison.base, found.comparison.with_)[at])
    ]
    columns = (
        Column("side"),
        Column("evidence", drop=3, note=EVIDENCE),
        Column("method"), Column("ns per call", right=True, note="cost of one traced call"),
        Column("interval", drop=1),
        Column(
            "of it inside", right=True, drop=4,
            note="what of that is in the call's own duration, the rest being in its caller's",
        ),
        Column(
            "strata", right=True, drop=5, note="steps or sizes that the cost was estimated from"
        ),
        Column(
            "residual", drop=2,
            note="median and worst error on steps not calibrated on; above"
            f" {FITS:.0%} and {FITS_WORST:.0%} it is no calibration",
        ),
        Column(
            "agreement", drop=2,
            note="how far corrected detailed captures are from those of the unmap alone (median and"
            " worst over sizes)",
        ),
    )  # fmt: skip
    return columns, rows


def cost_texts(found: Compared) -> Iterator[tuple[str, str]]:
    """The same as a sentence for each side."""
    for at, name in enumerate(SIDES):
        for row in costs((found.comparison.base, found.comparison.with_)[at]):
            yield name, _cost_text(row, _agreement(found, at))


def _cost_text(row: dict[str, Any], agreement: str) -> str:
    said = f"{METHODS[row['method']]} ({clean(row['evidence'])})"
    low, high = row["call_low_ns"], row["call_high_ns"]
    if row["call_ns"] is not None:
        said += f": {_ns(row['call_ns'])} ns per traced call"
        said += "" if low is None else f" ({_ends(low, high)})"
        if row["inside_ns"] is not None:
            said += f", {_ns(row['inside_ns'])} of it in the call's own duration"
    elif high is not None:
        said += f": at most {_ns(high)} ns per traced call"
    if row["strata"] is not None:
        said += f"; estimated from {count(row['strata'])} steps or sizes"
    if row["median_residual"] is not None:
        median, worst = (_percent(row[f"{which}_residual"]) for which in ("median", "worst"))
        said += (
            f"; on steps not calibrated on it is off by {median} (median), {worst} (worst); above"
            f" {FITS:.0%} and {FITS_WORST:.0%} it is no calibration"
        )
    if agreement != UNKNOWN:
        said += (
            "; corrected detailed captures differ from those of the unmap alone by"
            f" {agreement} (median, worst over sizes)"
        )
    return said


def tracing_texts(found: Compared) -> Iterator[str]:
    """What the costs are known from, where that was given."""
    for name, of in zip(SIDES, found.calibrations, strict=True):
        if of is not None:
            yield f"{name} calibrated with {', '.join(clean(path) for path in of.sources['path'])}"


def costs(side: Analysis) -> list[dict[str, Any]]:
    """The distinct costs of the sources of a side."""
    rows = side.tracing_costs.select(COST_COLUMNS).unique(maintain_order=True)
    return rows.with_columns(pl.col("evidence", "method").cast(pl.String)).to_dicts()


def _cost(row: dict[str, Any]) -> list[str]:
    residual = UNKNOWN
    if row["median_residual"] is not None:
        residual = f"{_percent(row['median_residual'])}, {_percent(row['worst_residual'])}"
    return [
        clean(row["evidence"]), METHODS[row["method"]], _ns(row["call_ns"]),
        _ends(row["call_low_ns"], row["call_high_ns"]), _ns(row["inside_ns"]),
        count(row["strata"]), residual,
    ]  # fmt: skip


def _percent(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.1%}" if value < 1 else f"{value:,.0%}"


def _ns(value: float | None) -> str:
    return number(value)


def _ends(low: float | None, high: float | None) -> str:
    return UNKNOWN if low is None or high is None else f"{_ns(low)} .. {_ns(high)}"


def _agreement(found: Compared, at: int) -> str:
    of = found.comparison.agreement[at]
    return UNKNOWN if of is None else f"{_percent(of.median)}, {_percent(of.worst)}"
