"""The verdict: what the data says of the three hypotheses, in short sentences with their numbers.

A status is printed only where the times can bear one; else the sentence says why they cannot, and
the numbers stand without it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

from traceview.queries.verdict import MIN_UNMAPS, MOST
from traceview.report.layout import facts, heading, wrapped
from traceview.report.tracing import between, nanoseconds
from traceview.report.wording import clean, number, plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from traceview.queries.remainders import Span
    from traceview.queries.verdict import Hypothesis, Verdict

SHOWN: Final = 3
TITLE: Final = "The three hypotheses (docs/verdict.md)"
WHAT_IF: Final = "what if"
NAMES: Final = {"tlbi_count": "TLBI+DSB count", "cmo": "CMO", "dsb_wait": "DSB wait"}
WORDS: Final = {
    "supported": "supported", "contradicted": "contradicted", "minor": "not most of the time",
    "undecided": "undecided", "no_evidence": "no evidence", "not_separable": "not separable",
    "not_measured": "not measured",
}  # fmt: skip
NO_VERDICT: Final = {
    "emulated": "emulated times are no evidence about hardware, counts are",
    "synthetic": "simulated times follow their model and are no evidence",
    "instructions": "executed instructions are no times; counts are evidence",
    "unknown": "nobody stated that these times are of hardware (--origin)",
}
NO_CMO: Final = {
    "fwb": "this machine does no cache maintenance (FWB)",
    "no-maintenance": "no cache maintenance was done here, as on a machine with FWB",
    "none-seen": "no cache maintenance was seen, and whether leaves were cleared is not known",
    "not-separated": "its time is in the rest of the walk",
}
DEFERS: Final = "this machine does no cache maintenance: only with FWB does a kernel defer"
ELSEWHERE: Final = {
    "all_flushes": "invalidate calls", "cmo": "cache maintenance", "table_put": "table release",
    "hypercall": "hypercalls", "irq": "interrupts", "off_cpu": "off CPU",
    "rest": "the rest of the walk",
}  # fmt: skip
FREE: Final = {"leaf_flushes": "leaf invalidation", "cmo": "cache maintenance"}
BELOW_ZERO: Final = {
    "leaf_flushes": "leaf invalidation", "table_flushes": "table invalidation", **ELSEWHERE,
}  # fmt: skip


def verdict(found: Sequence[Verdict], width: int, sizes: dict[str, str]) -> list[Text]:
    """The section; one line where nothing was separated that could say anything."""
    if not found:
        return []
    lines = heading(TITLE, width)
    for text in first_texts(found):
        lines += wrapped(text, width, indent=2, hang=2)
    for title, pairs in kinds(found, sizes):
        lines += wrapped(Text(title, style="bold"), width, indent=2, hang=2)
        lines += facts(pairs, width)
    for text in more_texts(found):
        lines += wrapped(text, width, indent=2)
    return lines


def tells(one: Verdict) -> bool:
    """Whether there is anything to say of a hypothesis."""
    return any(of.reason != "not-separated" for of in one.hypotheses)


def first_texts(found: Sequence[Verdict]) -> Iterator[str]:
    """Why there is no verdict, or nothing to base one on."""
    telling = list(filter(tells, found))
    if not telling:
        if any(_at_el2(one) for one in found):
            yield "not measured by name: invalidations are in the hypercalls, not separated there"
        else:
            yield "not measured: neither invalidation nor cache maintenance is separated"
    for time in dict.fromkeys(one.time for one in telling[:SHOWN] if one.time in NO_VERDICT):
        yield f"no verdict: {NO_VERDICT[time]}"


def kinds(
    found: Sequence[Verdict], sizes: dict[str, str]
) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """The kinds of unmap that say most, each with the hypotheses and a sentence about them."""
    for one in [one for one in found if tells(one)][:SHOWN]:
        yield _title(one, found, sizes), list(_said(one))


def more_texts(found: Sequence[Verdict]) -> Iterator[str]:
    """How many kinds are not told of."""
    more = sum(map(tells, found)) - SHOWN
    if more > 0:
        yield f"and {plural(more, 'smaller kind')} of unmap (--json has them all)"


def _title(one: Verdict, found: Sequence[Verdict], sizes: dict[str, str]) -> str:
    size = sizes.get(one.leaf_level, "-")
    label = [clean(one.label)] if len({of.label for of in found}) > 1 else []
    size = "leaves of unknown size" if size == "-" else size
    leaves = "leaves unknown" if one.leaves is None else plural(one.leaves, "leaf")
    leaves = leaves.replace("leafs", "leaves")
    return f"{', '.join([*label, one.strategy, size])}: {plural(one.unmaps, 'unmap')}, {leaves}"


def _said(one: Verdict) -> Iterator[tuple[str, str]]:
    sentences = {"tlbi_count": _tlbi_count, "cmo": _cmo, "dsb_wait": _dsb_wait}
    for of in one.hypotheses:
        yield NAMES[of.code], f"{WORDS[of.status]}: {sentences[of.code](one, of)}"
    free = [text for name in FREE if (text := _free(one, name))]
    if free:
        times = "" if one.time == "hardware" else "in these times, "
        yield WHAT_IF, f"{times}the calls of {'; those of '.join(free)}"
    if one.below_zero:
        yield "calibration", _misfit(one)


def _misfit(one: Verdict) -> str:
    """Why there are intervals and no estimates."""
    parts = [BELOW_ZERO[name] for name in BELOW_ZERO if name in one.below_zero]
    return (
        f"does not fit these unmaps: its estimate leaves less than nothing of {', '.join(parts)};"
        " so it is no estimate of them, and ranges stand alone"
    )


def _tlbi_count(one: Verdict, of: Hypothesis) -> str:
    if of.reason == "not-separated":
        where = "in the hypercalls" if _at_el2(one) else "in the rest of the walk"
        return f"invalidation is not separated, its time is {where}"
    calls = ""
    if one.leaves and "flushes" in one.counts:
        calls = f" ({_per_leaf(one.counts['flushes'], one.leaves)} per leaf)"
    return f"invalidate calls{calls} take {_share(one, 'all_flushes')}{_why(one, of, 'cmo')}"


def _at_el2(one: Verdict) -> bool:
    """Whether hypercalls were seen: there the invalidations are."""
    return "hypercall" in one.parts and one.parts["hypercall"].share.high > 0


def _cmo(one: Verdict, of: Hypothesis) -> str:
    if of.reason == "not-separated" and _at_el2(one):
        return f"{NO_CMO[of.reason]}, on pKVM in the hypercalls"
    if of.reason == "fwb" and one.strategy == "deferred_range":
        return DEFERS
    if of.reason in NO_CMO:
        return NO_CMO[of.reason]
    times = "" if one.ratio is None else f", {_times(one.ratio)} the invalidate calls"
    return f"cache maintenance takes {_share(one, 'cmo')}{times}{_why(one, of, 'all_flushes')}"


def _dsb_wait(one: Verdict, of: Hypothesis) -> str:
    if of.reason == "not-separated":
        return "the calls that hold a DSB are not separated"
    name = "both" if "both" in one.parts else "all_flushes" if "all_flushes" in one.parts else "cmo"
    calls = {"all_flushes": "invalidate calls", "cmo": "cache maintenance calls",
             "both": "invalidate and cache maintenance calls"}[name]  # fmt: skip
    if name == "both" and not one.counts.get("cmo", 1):
        calls = "invalidate calls"
    if of.reason == "minor":
        return f"the {calls}, with every DSB in them, take {_share(one, name)}{_instructions(one)}"
    if one.time == "instructions":
        return f"what a DSB waits is in no count of instructions{_instructions(one)}"
    waits = {"emulated", "synthetic"} & {one.time} and ", and none waits as on hardware"
    return f"a DSB is timed only with the {calls} around it{waits or ''}{_instructions(one)}"


def _instructions(one: Verdict) -> str:
    """What was executed per leaf, where that was recorded."""
    said = []
    for name, what in (("tlbi_insns", "TLBI"), ("dsb_insns", "DSB"), ("cmo_lines", "CMO lines")):
        if name in one.counts and one.leaves:
            said.append(f"{_per_leaf(one.counts[name], one.leaves)} {what}")
    return f"; executed per leaf: {', '.join(said)}" if said else ""


def _why(one: Verdict, of: Hypothesis, rival: str) -> str:
    """What decides it, or leaves it open."""
    if of.reason == "few":
        return f"; fewer than {MIN_UNMAPS} unmaps decide nothing"
    if of.reason == "tracing":
        return "; what tracing cost leaves open whether that is more than half"
    if of.reason == "varies":
        mine = "all_flushes" if of.code == "tlbi_count" else "cmo"
        most = "more than half in" if one.parts[mine].share.low > MOST else "so in"
        return f"; {most} {of.agree or 0:,} of {one.unmaps:,} unmaps only"
    if of.reason == "smaller":
        more = "" if rival == "cmo" else ", less than those"
        return more or f"; {ELSEWHERE[rival]} takes more"
    if of.status == "supported" and of.code == "tlbi_count":
        return "; whether that is their number or the wait in each, timings do not say"
    return _largest(one, of) if of.reason == "minor" else ""


def _largest(one: Verdict, of: Hypothesis) -> str:
    """The largest component that this is not about.

    That it is most of the others is said where it holds over the whole range; it is left out where
    it may be nothing.
    """
    mine = {"tlbi_count": "all_flushes", "cmo": "cmo"}.get(of.code, "")
    shares = {
        name: one.parts[name].share for name in ELSEWHERE if name in one.parts and name != mine
    }
    name = max(shares, key=lambda key: shares[key].value or shares[key].high)
    share = shares[name]
    if 2 * share.low > 1 - one.parts[mine].share.low:
        return f"; of the others most is in {ELSEWHERE[name]}, {_percents(share)}"
    return f"; {ELSEWHERE[name]}: {_percents(share)}" if _percent(share.low) != "0" else ""


def _share(one: Verdict, name: str) -> str:
    of = {
        "none": "of the time", "calibrated": "of the time without tracing",
        "bounded": "of what tracing leaves",
    }.get(one.method, "of the time")  # fmt: skip
    if one.time == "instructions":
        of = "of the instructions"
    return f"{_percents(one.parts[name].share)} {of}"


def _percents(share: Span) -> str:
    low, high = _percent(share.low), _percent(share.high)
    if share.value is None:
        return f"{low} to {high}%" if low != high else f"{high}%"
    value = _percent(share.value)
    return f"{value}%" if low == high else f"{value}% ({low}..{high})"


def _percent(share: float) -> str:
    """What is not nothing is not 0, and what is not all is not 100."""
    percent = 100 * share
    return f"{percent:.1f}" if 0.05 <= percent < 10 or 99 < percent < 99.95 else f"{percent:.0f}"


def _times(ratio: Span) -> str:
    """How many times one is the other; a ratio to nothing has no end."""
    if math.isinf(ratio.low) or (math.isinf(ratio.high) and _factor(ratio.low) == "0.00"):
        return "any number of times"
    low = _factor(ratio.low)
    if math.isinf(ratio.high):
        if ratio.value is None or math.isinf(ratio.value):
            return f"{low} or more times"
        return f"{_factor(ratio.value)} ({low} or more) times"
    high = _factor(ratio.high)
    if ratio.value is None:
        return f"{low} to {high} times" if low != high else f"{low} times"
    value = _factor(ratio.value)
    return f"{value} times" if low == high else f"{value} ({low}..{high}) times"


def _factor(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio < 10 else number(ratio)


def _per_leaf(of: int, leaves: int) -> str:
    return number(of / leaves) if of else "0"


def _free(one: Verdict, name: str) -> str:
    """No bound: who removes the calls removes the work around them too, and may wait elsewhere."""
    if name not in one.free or "leaf_flushes" not in one.free:
        return ""
    found = one.free[name]
    whole, unit, written = (
        (one.leaves, "ns per leaf", number)
        if one.leaves
        else (one.unmaps, "per unmap", nanoseconds)
    )
    left, now = (_range(of.over(whole), written) for of in (found.left_ns, one.total))
    merged = " (with that of tables)" if name == "leaf_flushes" and one.merged else ""
    faster = f"{_times(found.factor)} as fast"
    if found.factor.value is None and found.factor.high > 2 * found.factor.low:
        faster = "what tracing cost leaves open how much that is"
    verb = "took nothing and all else stayed" if name == "leaf_flushes" else "likewise"
    return f"{FREE[name]}{merged} {verb}: {left} instead of {now} {unit}, {faster}"


def _range(span: Span, written: Callable[[float], str]) -> str:
    ends = between(max(0.0, span.low), span.high, written)
    if span.value is None:
        return ends
    value = written(max(0.0, span.value))
    return value if ".." not in ends else f"{value} ({ends})"


def verdict_rows(found: Sequence[Verdict]) -> list[dict[str, Any]]:
    """For JSON: what has no end is null."""
    return [
        {
            "label": one.label, "strategy": one.strategy, "leaf_level": one.leaf_level,
            "unmaps": one.unmaps, "leaves": one.leaves, "runs": one.runs, "time": one.time,
            "method": one.method, "duration_ns": one.raw_ns, "corrected_ns": _span(one.total),
            "parts": {
                name: {"ns": _span(part.ns), "share": _span(part.share)}
                for name, part in one.parts.items()
            },
            "merged": one.merged, "below_zero": list(one.below_zero),
            "cmo_to_flushes": None if one.ratio is None else _span(one.ratio),
            "counts": one.counts,
            "free": {
                name: {"left_ns": _span(of.left_ns), "factor": _span(of.factor)}
                for name, of in one.free.items()
            },
            "hypotheses": {
                of.code: {
                    "status": of.status, "reason": of.reason, "agree": of.agree,
                    "in_recorded_time": of.in_recorded_time,
                }
                for of in one.hypotheses
            },
        }
        for one in found
    ]  # fmt: skip


def _span(span: Span) -> dict[str, float | None]:
    ends = {"value": span.value, "low": span.low, "high": span.high}
    return {
        name: None if end is None or math.isinf(end) else round(end, 6)
        for name, end in ends.items()
    }
