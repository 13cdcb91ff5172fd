"""Which part of an unmap paid for the difference of two sides.

A part is named only where the numbers carry it: the difference is decided, by its interval where
the plan permits one, and by everything that tracing can have cost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from traceview.queries.decomposition import TRACING, Decomposition
from traceview.report.layout import Column, bullets, heading, table
from traceview.report.ratio_words import given, ns_ends
from traceview.report.wording import UNKNOWN, count, number

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.text import Text

    from traceview.queries.decomposition import Part
    from traceview.queries.recording_plan import Plan
    from traceview.report.compared import Compared

NAMES: Final = {
    "invalidate_leaf": "leaf invalidations", "invalidate_table": "table invalidations",
    "invalidate_ipa": "leaf or table invalidations", "invalidate_range": "range flushes",
    "cmo": "cache maintenance", "table_put": "table release", "hypercall": "hypercalls",
    "irq": "interrupts", "off_cpu": "off CPU", "rest": "rest of the walk",
    "tracing": "tracing", "net": "without tracing", "total": "as recorded",
}  # fmt: skip
TITLE: Final = "What the difference is made of (ns per leaf)"
MOST: Final = 0.5  # of the difference: what makes a part the one that pays
NOTABLE: Final = 0.05


def split(found: Compared, width: int) -> list[Text]:
    """The parts of the difference, and what they say."""
    of, plan = found.comparison.decomposition, found.comparison.plan
    lines = heading(TITLE, width)
    if isinstance(of, str):
        return lines + bullets([f"not split: {of}"], width)
    columns, values = parts(of, found)
    lines += table(columns, values, width)
    return lines + bullets([*split_texts(of, plan), *notes(of, found)], width)


def parts(of: Decomposition, found: Compared) -> tuple[tuple[Column, ...], list[list[str]]]:
    """Each part of the difference."""
    plan = found.comparison.plan
    columns = (
        Column("part"), Column("base", right=True), Column("with", right=True),
        Column("base - with", right=True), Column("interval", drop=1),
        Column("share", right=True, drop=3, note=_share_note(of)),
        Column(
            "range by tracing", drop=2,
            note="the difference with the least and the most that tracing can have cost",
        ),
    )  # fmt: skip
    values = [
        [*row[:-1], UNKNOWN] if found.untraced else row
        for part in _shown(of)
        if not (found.untraced and part is of.net)
        for row in [_row(part, of, plan)]
    ]
    return columns, values


def _share_note(of: Decomposition) -> str:
    return "of the difference" + ("" if of.net is None else " without tracing")


def _shown(of: Decomposition) -> list[Part]:
    """Parts that are not nothing on both sides, then the sums."""
    parts = [part for part in of.parts if part.base_ns or part.with_ns]
    tracing = [part for part in parts if part.name == TRACING]
    parts = [part for part in parts if part.name != TRACING]
    return [*parts, *([] if of.net is None else [of.net]), *tracing, of.total]


def _row(part: Part, of: Decomposition, plan: Plan) -> list[str]:
    difference, whole = given(part.difference, plan), of.net or of.total
    own = part.name not in {"net", TRACING, "total"}
    share = UNKNOWN
    if own and is_decided(whole, plan):
        share = f"{part.difference.value / whole.difference.value:.0%}".replace("-0%", "0%")
    # The range of the recorded total is that of the times without tracing.
    has_range = part.name != "total" or of.net is None
    return [
        NAMES[part.name], number(part.base_ns), number(part.with_ns), number(difference.value),
        ns_ends(difference), share, tracing_range(part) if has_range else UNKNOWN,
    ]  # fmt: skip


def tracing_range(part: Part) -> str:
    """What the difference is with the least and the most that tracing can have cost."""
    ends = _by_tracing(part)
    return UNKNOWN if ends is None else f"{number(ends[0])} .. {number(ends[1])}"


def _by_tracing(part: Part) -> tuple[float, float] | None:
    if part.low_tracing is None or part.high_tracing is None:
        return None
    low, high = sorted((part.low_tracing, part.high_tracing))
    return low, high


def is_decided(part: Part, plan: Plan) -> bool:
    """Whether the sign of a difference is known, as far as the plan permits to know it."""
    value, interval = part.difference.value, given(part.difference, plan)
    ends = [value]
    if plan.allows_inference and interval.low is not None and interval.high is not None:
        ends += [interval.low, interval.high]
    tracing = _by_tracing(part)
    return tracing is not None and _one_sign([*ends, *tracing])


def _one_sign(values: list[float]) -> bool:
    return min(values) > 0 or max(values) < 0


def split_texts(of: Decomposition, plan: Plan) -> Iterator[str]:
    """What the parts say: how much was tracing, and which part pays."""
    whole = of.net or of.total
    yield from _tracing_text(of, plan)
    if not is_decided(whole, plan):
        yield _undecided(whole, plan)
        return
    gain = whole.difference.value > 0
    name = "gain" if gain else "loss"
    said = "" if _inferred(whole, plan) else "in these runs, "
    own = [part for part in of.parts if part.name != TRACING]
    decided = [part for part in own if is_decided(part, plan)]
    shares = {part.name: part.difference.value / whole.difference.value for part in decided}
    main = max(decided, key=lambda part: shares[part.name], default=None)
    if main is not None and shares[main.name] >= MOST:
        sure = _least_share(main, whole) >= MOST
        text = f"of the {name}, {_of(main, whole, plan)} is {_what(main, gain=gain)}"
        unsure = "; what tracing can have cost leaves that open"
        yield f"{said}{text if sure else f'as estimated, {text}{unsure}'}"
        yield from _open_text(own, whole, plan)
    else:
        yield f"no part is known to make up half of the {name}"
    for part in decided:
        if shares[part.name] <= -NOTABLE:
            more = "more" if gain else "less"
            where = _in_sentence(part)
            yield f"{said}against it, {more} time in {where}: {_of(part, whole, plan)}"


def _open_text(own: Sequence[Part], whole: Part, plan: Plan) -> Iterator[str]:
    """The parts that may add or take much, and are not known to."""
    amount = abs(whole.difference.value)
    left = [
        _in_sentence(part)
        for part in own
        if not is_decided(part, plan) and _most(part, plan) >= NOTABLE * amount
    ]
    if left:
        yield f"what {' and '.join(left)} add to that or take from it is not determined"


def _most(part: Part, plan: Plan) -> float:
    """The largest difference that a part may have, either way."""
    interval = given(part.difference, plan)
    ends = [part.difference.value, *(_by_tracing(part) or ())]
    ends += [end for end in (interval.low, interval.high) if end is not None]
    return float(max(map(abs, ends)))


def _least_share(part: Part, whole: Part) -> float:
    """The least share of the whole that tracing leaves to a part; both are decided."""
    ends, most = _by_tracing(part), _by_tracing(whole)
    if ends is None or most is None:
        return 0.0
    least = min(abs(one) for one in (part.difference.value, *ends))
    return least / max(abs(one) for one in (whole.difference.value, *most))


def _inferred(part: Part, plan: Plan) -> bool:
    return plan.allows_inference and part.difference.low is not None


def _what(part: Part, *, gain: bool) -> str:
    if gain:
        removed = part.with_ns == 0
        return (
            f"the removed {NAMES[part.name]}" if removed else f"less time in {_in_sentence(part)}"
        )
    added = part.base_ns == 0
    return f"the added {NAMES[part.name]}" if added else f"more time in {_in_sentence(part)}"


def _in_sentence(part: Part) -> str:
    return f"the {NAMES[part.name]}" if part.name == "rest" else NAMES[part.name]


def _of(part: Part, whole: Part, plan: Plan) -> str:
    """`98 of 107 ns per leaf (95% interval ..., by tracing ...)`."""
    ends = []
    interval = given(part.difference, plan)
    if interval.low is not None and interval.high is not None:
        name = "95% interval" if plan.allows_inference else "interval"
        ends.append(f"{name} {_as_amounts(part, interval.low, interval.high)}")
    by_tracing = _by_tracing(part)
    if by_tracing is not None and by_tracing[0] != by_tracing[1]:
        ends.append(f"by what tracing cost {_as_amounts(part, *by_tracing)}")
    value = f"{number(abs(part.difference.value))} of {number(abs(whole.difference.value))}"
    return f"{value} ns per leaf" + (f" ({'; '.join(ends)})" if ends else "")


def _as_amounts(part: Part, low: float, high: float) -> str:
    """An interval as amounts of what the part adds or takes away."""
    if part.difference.value < 0:
        low, high = -high, -low
    return f"{number(low)} .. {number(high)}"


def _tracing_text(of: Decomposition, plan: Plan) -> Iterator[str]:
    """Whether the recorded difference is one of traced calls."""
    tracing = next((part for part in of.parts if part.name == TRACING), None)
    total = of.total.difference.value
    if tracing is None or not total or not is_decided(tracing, plan):
        return
    value = tracing.difference.value
    said = "" if _inferred(tracing, plan) else "in these runs, "
    name = "gain" if total > 0 else "loss"
    fewer = "fewer" if value > 0 else "more"
    if value * total < 0:
        yield (
            f"{said}with makes {fewer} traced calls: tracing hides {number(abs(value))} ns per leaf"
            f" of its {name}"
        )
        return
    share = value / total
    if share > 1:
        yield (
            f"{said}{fewer} traced calls are {number(abs(value))} ns per leaf, more than the whole"
            f" {name} of {number(abs(total))} that the detailed captures recorded"
        )
    elif share >= NOTABLE:
        yield (
            f"{said}{share:.0%} of the {name} that the detailed captures recorded is {fewer} traced"
            f" calls: {number(abs(value))} of {number(abs(total))} ns per leaf"
        )


def _undecided(whole: Part, plan: Plan) -> str:
    by_tracing = _by_tracing(whole)
    if not whole.difference.value:
        return "per leaf these runs do not differ"
    if by_tracing is None:
        return (
            "what tracing cost is not known, so it is not known either which part pays for the"
            " difference"
        )
    if not _one_sign([*by_tracing]):
        return (
            "not robust against tracing: without it the difference is anything from"
            f" {number(by_tracing[0])} to {number(by_tracing[1])} ns per leaf, so no part is known"
            " to pay for it"
        )
    interval = ns_ends(given(whole.difference, plan))
    if interval != UNKNOWN:
        return (
            f"no difference is shown ({number(whole.difference.value)} ns per leaf, interval"
            f" {interval}), so no part pays for one"
        )
    return "the sign of the difference depends on what tracing cost: no part is known to pay for it"


def notes(of: Decomposition, found: Compared) -> Iterator[str]:
    """What is merged, and what the numbers are means of."""
    if of.merged:
        names = ", ".join(NAMES[name] for name in of.merged)
        yield f"separated on one side only, so in the rest of the walk on both: {names}"
    matched = found.comparison.matched
    where = " of the detailed captures" if matched.alone else ""
    yield (
        f"means over runs, of {count(of.leaves)} leaves{where}: weighted by leaves, with the same"
        " mix of sizes on both sides; parts sum to the whole"
    )
