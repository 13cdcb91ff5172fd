"""How much faster: the headline of a comparison, and what it may be used for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import polars as pl
from rich.text import Text

from traceview.queries.calibration import FITS, FITS_WORST
from traceview.report.caveats import ORIGINS
from traceview.report.compare_basis import costs
from traceview.report.compare_headline import headline_text
from traceview.report.compared import SIDES, cell_words, line_words
from traceview.report.layout import bullets, heading, led, wrapped
from traceview.report.ratio_words import given, ratio_ends, ratio_text
from traceview.report.wording import clean, plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from traceview.queries.compared_claims import JudgedClaim
    from traceview.queries.ratios import Ratio
    from traceview.queries.recording_plan import Plan
    from traceview.queries.run_intervals import Interval
    from traceview.report.compared import Compared

CLAIM_STYLES: Final = {"holds": "green", "open": "yellow", "fails": "red"}
OF_DIRECTION: Final = {
    "with": "with is faster", "base": "with is slower", "undecided": "not decided",
}  # fmt: skip
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
    first = [*label_texts(found), *origin_texts(found)]
    lines += bullets([Text(text, style="bold") for text in first], width)
    lines += bullets(
        [
            *size_texts(found),
            *tracing_effect_texts(found),
            *plan_texts(found),
            *no_line_texts(found),
        ],
        width,
    )
    for claim in found.claims:
        lead = Text(f"{claim.overall:6}", CLAIM_STYLES[claim.overall])
        lines += led(lead, claim_text(claim, found), width, indent=2)
    return lines


# ---- what it may be used for


def label_texts(found: Compared) -> Iterator[str]:
    """Sides whose traces are of several things."""
    for one in found.caveats:
        if one.caveat.code == "several-labels":
            yield one.caveat.text if one.side is None else f"{one.side}: {one.caveat.text}"


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
        "no_spread": f"{recorded}: all runs of a side gave the same times to the clock's step, as"
        " only a deterministic machine does: one observation a side, no inference, and no interval",
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


def tracing_effect_texts(found: Compared) -> Iterator[str]:
    """Recorded beside corrected, and whether tracing could turn the conclusion round."""
    ratio, plan = found.comparison.headline, found.comparison.plan
    if ratio is None:
        return
    if found.untraced:
        yield "no tracer ran: tracing cost nothing"
        return
    if ratio.variant == "corrected":
        yield (
            f"times are without what tracing cost; as {_recorded_by(found)}, base / with is"
            f" {ratio_text(ratio.raw)}"
        )
    else:
        yield "times are as recorded: they contain what tracing cost, of which there is no estimate"
        yield from misfit_texts(found)
    yield robustness_text(ratio, plan, _why_unknown(found))


def _recorded_by(found: Compared) -> str:
    """Detailed captures record other ratios: more calls are traced in them."""
    alone = found.comparison.matched.alone
    return "captures of the unmap alone recorded it" if alone else "recorded"


def size_texts(found: Compared) -> Iterator[str]:
    """What the ratio is size by size, where the headline is that of lines through them."""
    line = found.headline_line
    if line is None:
        return
    ratios = [
        one.ratio.interval.value
        for one in found.comparison.sizes
        if one.ratio is not None and one.cell["leaves"]
    ]
    low, high = (ratio_text(end) for end in (min(ratios), max(ratios)))
    whole = f"is {low}" if low == high else f"is {low} to {high}"
    yield (
        f"whole unmaps, size by size: base / with {whole}; the lines are at most {line.misfit:.0%}"
        " off the median of a size"
    )


def misfit_texts(found: Compared) -> Iterator[str]:
    """Why what was there to calibrate with gives no estimate."""
    sides = (found.comparison.base, found.comparison.with_)
    for name, side, calibration in zip(SIDES, sides, found.calibrations, strict=True):
        off = next((text for row in costs(side) if (text := _misfit(row)) is not None), None)
        if off is not None:
            what = (
                "captures of the unmap alone were found"
                if calibration is None
                else "a calibration was given"
            )
            yield f"{name}: {what}, but one cost per call does not fit them ({off} is the limit)"


def _misfit(row: dict[str, Any]) -> str | None:
    """How far one cost per call misses, where it was refused for that."""
    if row["method"] != "bounded" or row["median_residual"] is None:
        return None
    if row["median_residual"] > FITS:
        return f"half of the steps are more than {row['median_residual']:,.0%} off; {FITS:.0%}"
    if row["worst_residual"] > FITS_WORST:
        return f"the worst step is {row['worst_residual']:,.0%} off; {FITS_WORST:.0%}"
    return None


def robustness_text(ratio: Ratio, plan: Plan, why_unknown: str) -> str:
    """What becomes of the conclusion with the least and the most that tracing can have cost."""
    least, most, said = ratio.least, ratio.most, ratio.robustness(plan)
    if least is None or most is None:
        return f"whether this holds without tracing is not known: {why_unknown}"
    if said == "robust":
        low, high = ratio_text(least.value), ratio_text(most.value)
        ends = f"stays {low}" if low == high else f"is {low} to {high}"
        decided = plan.allows_inference and ratio.interval.low is not None
        if decided and ratio.direction(plan) == "undecided":
            return f"not decided, whatever tracing cost: base / with {ends}"
        what = "that" if decided else "which side took longer in these runs"
        return f"tracing does not change {what}: base / with {ends} whatever it cost"
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


def no_line_texts(found: Compared) -> Iterator[str]:
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
    cells = [cell_words(size.cell, found.leaf_sizes) for size in found.comparison.sizes]
    sizes = list(zip(cells, claim.by_size, claim.counts, strict=True))
    apart = [f"{name}: {said}" for name, said, counts in sizes if not counts]
    aside = f"; apart, without a vote: {'; '.join(apart[:3])}" if apart else ""
    if claim.claim.largest_only:
        reached = " (it must be reached)" if claim.overall == "fails" else ""
        return f"{text}: of the largest ratio{reached}; of the headline: {claim.headline}{aside}"
    parts = [f"headline {claim.headline}"]
    for status in ("fails", "open"):
        where = [name for name, said, counts in sizes if counts and said == status]
        more = f" and {len(where) - 3} more" if len(where) > 3 else ""
        parts += [f"{status} for {'; '.join(where[:3])}{more}"] if where else []
    counted = [said for _, said, counts in sizes if counts]
    held = f"holds at {counted.count('holds')} of {plural(len(counted), 'size')}"
    return f"{text}: {', '.join(parts)}; {held}{aside}"
