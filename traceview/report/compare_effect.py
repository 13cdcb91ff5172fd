"""How much faster: the headline of a comparison, and what it may be used for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl
from rich.text import Text

from traceview.report.caveats import ORIGINS
from traceview.report.compared import SIDES, cell_words, label_of, line_words
from traceview.report.layout import bullets, heading, led, wrapped
from traceview.report.ratio_words import given, inverse, ratio_ends, ratio_text, runs_text
from traceview.report.wording import clean, plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from traceview.queries.compared_claims import JudgedClaim
    from traceview.queries.ratios import Direction, Ratio
    from traceview.queries.recording_plan import Plan
    from traceview.queries.run_intervals import Interval
    from traceview.report.compared import Compared

CLAIM_STYLES: Final = {"holds": "green", "open": "yellow", "fails": "red"}
LONGEST_LABEL: Final = 24
BARE: Final = 0.01  # a ratio that tracing changes by less is that of the times without it
IN_TIME: Final = {
    "synthetic": "in simulated time, ", "emulated": "in emulated time, ",
    "unknown": "in time of unknown origin, ",
}  # fmt: skip
OF_DIRECTION: Final = {
    "with": "with is faster", "base": "with is slower", "undecided": "no difference shown",
}  # fmt: skip
NO_RATIO: Final = (
    "no ratio can be made: no size was unmapped, with a time above 0, in every run of both sides"
)
KINDS: Final = {
    "paired_concurrent": "pairs of runs were recorded at the same time",
    "interleaved": "the runs of both sides were recorded in turn",
    "sequential": "one side was recorded after the other",
    "unbalanced": "the runs of both sides were recorded in an order that is not balanced",
    "unknown": "the order of the runs is not known",
}


def effect(found: Compared, width: int) -> list[Text]:
    """The headline with everything that its reader must know at once."""
    lines = heading("Effect", width)
    lines += wrapped(Text(headline_text(found), style="bold"), width, indent=2, hang=2)
    lines += bullets([Text(text, style="bold") for text in origin_texts(found)], width)
    lines += bullets(
        [*_tracing_texts(found), *plan_texts(found), *_no_line(found)],
        width,
    )
    for claim in found.claims:
        lead = Text(f"{claim.overall:6}", CLAIM_STYLES[claim.overall])
        lines += led(lead, claim_text(claim, found), width, indent=2)
    return lines


def headline_text(found: Compared) -> str:
    """One sentence: which side is faster, how much, and by what interval."""
    comparison = found.comparison
    ratio, plan = comparison.headline, comparison.plan
    if ratio is None:
        return NO_RATIO
    said = comparison_text(ratio, plan, headline_of(found), side_names(found))
    if ratio.variant == "raw" and not _is_bare(ratio):
        said = f"as recorded, {said}"
    elif ratio.robustness(plan) != "robust":
        said = f"by the estimate of what tracing cost, {said}"
    said = _time_words(found) + said
    return f"{said} ({_stands_on(ratio, plan)})"


def _is_bare(ratio: Ratio) -> bool:
    """Whether tracing, whatever it cost, leaves the ratio as it is."""
    ends = [ratio.least, ratio.most]
    return all(end is not None and abs(end.value / ratio.interval.value - 1) < BARE for end in ends)


def _time_words(found: Compared) -> str:
    """What the times are, so that the sentence cannot be quoted without it."""
    for side in (found.comparison.base, found.comparison.with_):
        if (side.unmaps["evidence"] == "insn").any():
            return "in executed instructions, "
    origins = {
        origin
        for side in (found.comparison.base, found.comparison.with_)
        for origin in side.sources["origin"].cast(pl.String).fill_null("unknown")
    }
    return next((text for origin, text in IN_TIME.items() if origin in origins), "")


def side_names(found: Compared) -> tuple[str, str]:
    """What the sides are called in a sentence: with their labels, where these tell them apart."""
    if found.one_set:
        return "per_pte", "deferred_range"
    labels = [label_of(side) for side in (found.comparison.base, found.comparison.with_)]
    if labels[0] == labels[1] or max(map(len, labels)) > LONGEST_LABEL:
        return SIDES
    base, with_ = (
        name if name == label else f"{name} ({label})"
        for name, label in zip(SIDES, labels, strict=True)
    )
    return base, with_


def headline_of(found: Compared) -> str:
    """What the headline is a ratio of."""
    line = found.headline_line
    if line is not None:
        return f"per leaf, over {len(line.sizes)} sizes"
    of = found.comparison.headline
    cell = next((size.cell for size in found.comparison.sizes if size.ratio is of), {})
    return f"for {cell_words(cell, found.leaf_sizes)}"


def comparison_text(ratio: Ratio, plan: Plan, what: str, names: tuple[str, str]) -> str:
    """Which side is faster, true of the plan."""
    direction, interval = ratio.direction(plan), given(ratio.interval, plan)
    value = interval.value
    if plan.allows_inference and direction == "undecided" and interval.low is not None:
        return (
            f"no difference is shown: {what}, {names[0]} takes {ratio_text(value)} times as long as"
            f" {names[1]}"
        )
    # Without an interval the value alone speaks, of these runs.
    direction = _by_value(value) if interval.low is None else direction
    said = _faster(direction, value, what, names)
    return said if plan.allows_inference and interval.low is not None else f"in these runs, {said}"


def _by_value(value: float) -> Direction:
    return "with" if value > 1 else "base" if value < 1 else "undecided"


def _faster(direction: Direction, value: float, what: str, names: tuple[str, str]) -> str:
    base, with_ = names
    if direction == "with":
        return f"{with_} is faster: {what}, {base} takes {ratio_text(value)} times as long"
    if direction == "base":
        return (
            f"{with_} is slower: {what}, it takes {ratio_text(1 / value)} times as long as {base}"
        )
    return f"both sides take the same time {what}"


def _stands_on(ratio: Ratio, plan: Plan) -> str:
    """The interval, in the direction of the sentence, and the runs."""
    interval = given(ratio.interval, plan)
    runs = runs_text(interval.base_runs, interval.with_runs, paired=plan.paired)
    if interval.low is None:
        why = f"; {ratio.interval.method}" if plan.standing in {"inference", "descriptive"} else ""
        return runs + why
    shown = inverse(interval) if _inverted(ratio, plan) else interval
    if plan.standing == "descriptive":
        return f"{runs}; interval of so few runs, descriptive only: {ratio_ends(shown)}"
    return f"95% interval {ratio_ends(shown)}; {runs}; {interval.method}"


def _inverted(ratio: Ratio, plan: Plan) -> bool:
    return ratio.direction(plan) == "base"


# ---- what it may be used for


def origin_texts(found: Compared) -> Iterator[str]:
    """What the times are, unless they are known to be of hardware."""
    sides = (found.comparison.base, found.comparison.with_)
    insn = [bool((side.unmaps["evidence"] == "insn").any()) for side in sides]
    if any(insn):
        where = "" if all(insn) else f"{SIDES[insn.index(True)]}: "
        yield f"{where}times are counts of executed instructions, 1 ns = 1 instruction"
    known = [set(side.sources["origin"].cast(pl.String).fill_null("unknown")) for side in sides]
    for origin, text in ORIGINS.items():
        has = [origin in origins for origins in known]
        if any(has):
            where = "" if all(has) else f"{SIDES[has.index(True)]}: "
            yield f"{where}origin {origin}: {text}"


def is_hardware(found: Compared) -> bool:
    """Whether all times are stated to be of hardware."""
    return not list(origin_texts(found))


def plan_texts(found: Compared) -> Iterator[str]:
    """How the runs were recorded, and what that permits."""
    plan = found.comparison.plan
    recorded = f"{KINDS[plan.kind]} ({plan.text})"
    drift = plan.kind not in {"paired_concurrent", "interleaved"}
    confounded = "; drift is confounded with side" if drift else ""
    permitted = "intervals and p-values permit inference"
    if not is_hardware(found):
        permitted += " about what was recorded, not about hardware"
    ratio = found.comparison.headline
    if ratio is not None and ratio.interval.low is None:
        permitted = "inference would be permitted, but there is no interval to infer from"
    yield {
        "inference": f"{recorded}: {permitted}",
        "descriptive": f"{recorded}; fewer than 5 runs a side: intervals describe these runs and"
        " permit no inference",
        "confounded": f"{recorded}{confounded}: no inference, and no interval",
        "effect_only": f"{_one_run(plan)}: effect sizes only, no inference{confounded}"
        + (f" ({plan.text})" if drift else ""),
    }[plan.standing]
    if plan.unpaired:
        verb = "is" if len(plan.unpaired) == 1 else "are"
        yield f"{plural(len(plan.unpaired), 'run')} without a partner {verb} left out of everything"


def _one_run(plan: Plan) -> str:
    if plan.base_runs == plan.with_runs == 1:
        return "one run a side"
    if plan.pairs:
        return "one pair of runs"
    return f"one run of {'base' if plan.base_runs == 1 else 'with'}"


def _tracing_texts(found: Compared) -> Iterator[str]:
    """Recorded beside corrected, and whether tracing could turn the conclusion round."""
    ratio, plan = found.comparison.headline, found.comparison.plan
    if ratio is None:
        return
    if found.untraced:
        yield "no tracer ran: tracing cost nothing"
        return
    if ratio.variant == "corrected":
        yield (
            "times are without what tracing cost; as recorded, base / with is"
            f" {ratio_text(ratio.raw)}"
        )
    else:
        yield "times are as recorded: they contain what tracing cost, of which there is no estimate"
    yield robustness_text(ratio, plan, _why_unknown(found))


def robustness_text(ratio: Ratio, plan: Plan, why_unknown: str) -> str:
    """What becomes of the conclusion with the least and the most that tracing can have cost."""
    least, most, said = ratio.least, ratio.most, ratio.robustness(plan)
    if least is None or most is None:
        return f"whether this holds without tracing is not known: {why_unknown}"
    if said == "robust":
        low, high = ratio_text(least.value), ratio_text(most.value)
        ends = f"stays {low}" if low == high else f"is {low} to {high}"
        return f"robust against tracing: base / with {ends} whatever tracing cost"
    low, high = (_end(ratio, plan, one) for one in (least, most))
    return (
        f"NOT ROBUST AGAINST TRACING: by what it cost, base / with is anything from {low} to {high}"
    )


def _end(ratio: Ratio, plan: Plan, interval: Interval) -> str:
    said = OF_DIRECTION[ratio.direction(plan, interval)]
    shown = ratio_ends(given(interval, plan))
    return f"{ratio_text(interval.value)} ({said}{'' if shown == '-' else f': {shown}'})"


def _why_unknown(found: Compared) -> str:
    matched = found.comparison.matched
    for rows in (matched.base, matched.with_):
        if rows["corrected_low_ns"].null_count():
            return "what tracing cost is not known (docs/observer.md)"
    return "the most that tracing can have cost leaves nothing of some times"


def _no_line(found: Compared) -> Iterator[str]:
    """Why the headline is that of a size."""
    lines = found.comparison.lines
    if found.comparison.headline is None or found.headline_line is not None or not lines:
        return
    longest = max(lines, key=lambda line: max(line.sizes))
    yield (
        f"no cost per leaf: {line_words(longest, found.leaf_sizes)} are on no straight line (a size"
        f" is {100 * longest.misfit:.0f}% off it), so the headline is that of the largest size"
    )


def claim_text(claim: JudgedClaim, found: Compared) -> str:
    """What became of a claim, and where."""
    text = f'"{clean(claim.claim.text)}"'
    if claim.why is not None:
        return f"{text}: not judged, {claim.why}"
    if claim.claim.largest_only:
        return f"{text}, of the largest ratio; of the headline: {claim.headline}"
    cells = [cell_words(size.cell, found.leaf_sizes) for size in found.comparison.sizes]
    parts = [f"headline {claim.headline}"]
    for status in ("fails", "open"):
        where = [name for name, said in zip(cells, claim.by_size, strict=True) if said == status]
        more = f" and {len(where) - 3} more" if len(where) > 3 else ""
        parts += [f"{status} for {'; '.join(where[:3])}{more}"] if where else []
    held = claim.by_size.count("holds")
    return f"{text}: {', '.join(parts)}; holds at {held} of {plural(len(cells), 'size')}"
