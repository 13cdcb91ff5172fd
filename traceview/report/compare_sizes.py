"""A comparison size by size: ratios, lines through the sizes, counts."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from rich.text import Text

from traceview.queries.matched_unmaps import CELL
from traceview.report.compared import cell_words, line_words
from traceview.report.layout import Column, bullets, heading, table, wrapped
from traceview.report.operation_names import COUNT_NOTES, COUNTED, SHORT
from traceview.report.ratio_words import (
    given,
    ns_ends,
    p_text,
    ratio_ends,
    ratio_text,
    runs_text,
    time_text,
)
from traceview.report.wording import UNKNOWN, bytes_size, clean, count, number, plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from traceview.queries.comparison import Line, Size
    from traceview.queries.ratios import Ratio
    from traceview.queries.recording_plan import Plan
    from traceview.report.compared import Compared

# What may be left out of a narrow table, the highest first.
DROPS: Final = {"table_put": 3, "traced_calls": 2, "cmo_lines": 1}
AGAINST_TRACING: Final = {"robust": "same", "not_robust": "CHANGES IT", "unknown": "unknown"}
CONCLUSIONS: Final = {"with": "faster", "base": "slower", "undecided": "not decided"}
LINES: Final = "Lines through the sizes (one per run; means over runs)"
LINE_COLUMNS: Final = (
    Column(""), Column("base", right=True), Column("with", right=True),
    Column("base / with", right=True), Column("interval", drop=2),
    Column("base - with", right=True), Column("interval", drop=1),
)  # fmt: skip
COUNTS: Final = "Operations per unmap (median; base -> with)"
MOST_WORST: Final = 3  # sizes of which the worst case is told in words


def sizes(found: Compared, width: int) -> list[Text]:
    """The table of sizes, the lines through them, and the deciles of the largest."""
    comparison = found.comparison
    keys, names = key_columns(comparison.sizes, found.leaf_sizes)
    # An interval goes with its ratio; where there is none the column says nothing.
    intervals = any(_has_interval(one, found) for one in comparison.sizes)
    columns = (
        *keys, Column("base", right=True), Column("with", right=True),
        Column("ratio", right=True), Column(interval_title(found), drop=0 if intervals else 1),
        *basis_columns(found), Column("unmaps", right=True, drop=5, note="base / with"),
    )  # fmt: skip
    values = [
        [
            *keys_of(one, names, found), *_row(one, found), *basis_row(one, found),
            f"{one.base_unmaps:,} / {one.with_unmaps:,}",
        ]
        for one in comparison.sizes
    ]  # fmt: skip
    lines = heading(title(found), width)
    lines += table(columns, values, width, keys=len(keys))
    lines += bullets(notes(found), width)
    return lines


def basis_columns(found: Compared) -> tuple[Column, ...]:
    """What a ratio is worth: by its interval, and whatever tracing cost."""
    return (
        Column("with is", drop=1, note="by the interval; not decided: it includes 1"),
        Column("p (Holm)", right=True, drop=3),
        Column("recorded", right=True, drop=4, note="the ratio of recorded times"),
        Column("tracing", drop=2, note=tracing_note(found)),
    )


def title(found: Compared) -> str:
    """What the table of sizes is of."""
    return (
        f"By size{common(found)} (medians of runs, geometric means over these; ratio base / with)"
    )


def _has_interval(one: Size, found: Compared) -> bool:
    ratio = one.ratio
    return ratio is not None and given(ratio.interval, found.comparison.plan).low is not None


def tracing_note(found: Compared) -> str:
    """What the column of robustness says."""
    whether = (
        "the conclusion (faster, slower, not decided) is the same"
        if found.comparison.plan.allows_inference
        else "the ratio stays on its side of 1"
    )
    return f"whether {whether} with the least and the most that tracing can have cost"


def interval_title(found: Compared) -> str:
    """What an interval is called: without inference it describes these runs."""
    return "95% interval" if found.comparison.plan.allows_inference else "interval (descriptive)"


def key_columns(of: Sequence[Size], leaf_sizes: dict[str, str]) -> tuple[list[Column], list[str]]:
    """The columns of a cell that are known of any size, and not the same of all.

    The level of no leaves is said by their number.
    """
    values = {name: {one.cell[name] for one in of} - {None} for name in CELL}
    levels = {leaf_sizes.get(level, level) for level in values["level"]} - {UNKNOWN, "none"}
    known = [
        name for name in ("level", "trigger", "stem", "leaves", "length_bytes")
        if values[name] and (name != "level" or levels)
        and (name in {"stem", "leaves"} or len({one.cell[name] for one in of}) > 1)
        and (name != "length_bytes" or not _are_told_apart(of))
    ]  # fmt: skip
    titles = {"level": "leaf", "stem": "step", "length_bytes": "length"}
    right = {"leaves", "length_bytes"}
    return [Column(titles.get(name, name), right=name in right) for name in known], known


def _are_told_apart(of: Sequence[Size]) -> bool:
    """Whether no two sizes differ in the length of their ranges alone."""
    names = [name for name in CELL if name != "length_bytes"]
    return len({tuple(one.cell[name] for name in names) for one in of}) == len(of)


def common(found: Compared) -> str:
    """Leaf size and trigger where they are the same of all sizes."""
    of = found.comparison.sizes
    said = []
    for name in ("level", "trigger"):
        values = {one.cell[name] for one in of}
        value = values.pop() if len(values) == 1 else None
        if value is not None:
            said.append(
                f"{found.leaf_sizes.get(value, value)} leaves" if name == "level" else value
            )
    return f", {', '.join(said)}" if said else ""


def keys_of(one: Size, names: Sequence[str], found: Compared) -> list[str]:
    """What names a size, in the columns of `key_columns`."""
    values = dict(one.cell)
    if values["level"] is not None:
        values["level"] = found.leaf_sizes.get(values["level"], values["level"])
    if values["leaves"] is not None:
        values["leaves"] = count(values["leaves"])
    if values["length_bytes"] is not None:
        values["length_bytes"] = bytes_size(values["length_bytes"])
    return [UNKNOWN if values[name] is None else clean(values[name]) for name in names]


def _row(one: Size, found: Compared) -> list[str]:
    ratio, plan = one.ratio, found.comparison.plan
    if ratio is None:
        return [UNKNOWN] * 4
    return [
        time_text(ratio.base),
        time_text(ratio.with_),
        ratio_text(ratio.interval.value),
        ratio_ends(given(ratio.interval, plan)),
    ]


def basis_row(one: Size, found: Compared) -> list[str]:
    """What `basis_columns` has of a size."""
    ratio, plan = one.ratio, found.comparison.plan
    if ratio is None:
        return [UNKNOWN] * 4
    adjusted = ratio.adjusted_p if plan.allows_inference else None
    return [
        conclusion(ratio, plan), p_text(adjusted),
        UNKNOWN if ratio.variant == "raw" or found.untraced else ratio_text(ratio.raw),
        UNKNOWN if found.untraced else AGAINST_TRACING[ratio.robustness(plan)],
    ]  # fmt: skip


def conclusion(ratio: Ratio, plan: Plan) -> str:
    """What the interval says of a size, where the plan lets it say anything."""
    if not plan.allows_inference or ratio.interval.low is None:
        return UNKNOWN
    return CONCLUSIONS[ratio.direction(plan)]


def notes(found: Compared) -> Iterator[str]:
    """What the table of sizes stands on, and what it leaves open."""
    comparison = found.comparison
    ratios = [one.ratio for one in comparison.sizes if one.ratio is not None]
    variants = {ratio.variant for ratio in ratios}
    if found.untraced:
        yield "no tracer ran: nothing had to be taken out of these"
    elif variants == {"corrected"}:
        yield "base, with and ratio are without tracing"
    elif variants == {"raw"}:
        yield "base, with and ratio are as recorded, what tracing cost included"
    elif variants:
        yield (
            "where a ratio of recorded times stands beside it, base, with and ratio are without"
            " tracing, else as recorded"
        )
    for text, sizes_of in (
        ("not decided, the interval includes 1", _undecided(found)),
        ("not robust against tracing, by what it can have cost", _fragile(found)),
    ):
        names = [cell_words(one.cell, found.leaf_sizes) for one in sizes_of]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        if names:
            yield f"{text}: {'; '.join(names[:3])}{more}"
    yield from _worst_cases(found)
    missing = len(comparison.sizes) - len(ratios)
    if missing:
        yield f"no ratio for {missing} of them: not in every pair of runs, or with a time of 0"
    runs = {(r.interval.base_runs, r.interval.with_runs) for r in ratios}
    if len(runs) > 1:
        least = min(runs)
        yield (
            "not every size was unmapped in every run: the fewest are"
            f" {runs_text(*least, paired=comparison.plan.paired)}"
        )


def _undecided(found: Compared) -> list[Size]:
    plan = found.comparison.plan
    return [
        one for one in found.comparison.sizes
        if one.ratio is not None and conclusion(one.ratio, plan) == CONCLUSIONS["undecided"]
    ]  # fmt: skip


def _fragile(found: Compared) -> list[Size]:
    plan = found.comparison.plan
    return [
        one for one in found.comparison.sizes
        if one.ratio is not None and one.ratio.robustness(plan) == "not_robust"
    ]  # fmt: skip


def _worst_cases(found: Compared) -> Iterator[str]:
    """What unmaps without a usable time could make of a ratio, the widest first."""
    having = [one for one in found.comparison.sizes if one.worst is not None]
    for one in sorted(having, key=_openness, reverse=True)[:MOST_WORST]:
        worst, words = one.worst, cell_words(one.cell, found.leaf_sizes)
        if worst is None:
            continue
        excluded = f"{worst.base_excluded:,} of base and {worst.with_excluded:,} of with"
        if worst.low == 0 and worst.high is None:
            end = "they are too many for any bound on the ratio"
        elif worst.high is None:
            end = f"whatever they took, the ratio is {ratio_text(worst.low)} or more"
        else:
            low = "anything up to" if worst.low == 0 else f"{ratio_text(worst.low)} to"
            end = f"whatever they took, the ratio is {low} {ratio_text(worst.high)}"
        yield f"without a usable time: {excluded} could be of {words}; {end}"
    if len(having) > MOST_WORST:
        yield f"and so of {plural(len(having) - MOST_WORST, 'more size')} (--json)"


def _openness(one: Size) -> float:
    if one.worst is None or one.worst.high is None or one.worst.low == 0:
        return inf
    return one.worst.high / one.worst.low


# ---- lines


def lines_through(found: Compared, width: int) -> list[Text]:
    """Slope and intercept of each side."""
    of = found.comparison.lines
    if not of:
        return []
    lines = heading(LINES, width)
    for one in of:
        lines += wrapped(Text(line_words(one, found.leaf_sizes)), width, indent=2)
        lines += table(LINE_COLUMNS, line_rows(one, found), width)
        lines += bullets(misfit_texts(one), width)
    return lines


def misfit_texts(one: Line) -> Iterator[str]:
    """That a line does not describe its sizes."""
    if not one.fits:
        yield (
            f"these are on no straight line (a size is {100 * one.misfit:.0f}% off it): the"
            " slopes are no cost per leaf and not used"
        )


def line_rows(one: Line, found: Compared) -> list[list[str]]:
    """Slope and intercept."""
    plan, ratio = found.comparison.plan, one.ratio
    slope, intercept = (
        given(interval, plan) for interval in (one.slope_difference, one.intercept_difference)
    )
    return [
        [
            "ns per leaf", number(one.base_slope), number(one.with_slope),
            ratio_text(ratio.interval.value), ratio_ends(given(ratio.interval, plan)),
            number(slope.value), ns_ends(slope),
        ],
        [
            "ns per unmap", number(one.base_intercept), number(one.with_intercept), UNKNOWN,
            UNKNOWN, number(intercept.value), ns_ends(intercept),
        ],
    ]  # fmt: skip


# ---- counts


def counts(found: Compared, width: int) -> list[Text]:
    """What each unmap did on either side: the mechanism."""
    columns, values, keys = operations(found)
    if not values:
        return []
    lines = heading(COUNTS, width) + table(columns, values, width, keys=keys)
    return lines + bullets(mechanism(found), width)


def operations(found: Compared) -> tuple[tuple[Column, ...], list[list[str]], int]:
    """What each unmap did, size by size, and how many columns name the size."""
    of = found.comparison.sizes
    names = [name for name in COUNTED if _says_something(name, of)]
    keys, known = key_columns(of, found.leaf_sizes)
    columns = (
        *keys,
        *(
            Column(
                SHORT.get(name, COUNTED[name]), right=True, drop=DROPS.get(name, 0),
                note=COUNT_NOTES.get(name, ""),
            )
            for name in names
        ),
    )  # fmt: skip
    values = [[*keys_of(one, known, found), *(_change(name, one) for name in names)] for one in of]
    return columns, values if names else [], len(keys)


def _says_something(name: str, of: Sequence[Size]) -> bool:
    return any(one.base_counts[name] or one.with_counts[name] for one in of)


def _change(name: str, one: Size) -> str:
    base, with_ = (_whole(counts[name]) for counts in (one.base_counts, one.with_counts))
    return base if base == with_ else f"{base} -> {with_}"


def _whole(value: float | None) -> str:
    if value is None:
        return UNKNOWN
    return f"{value:,.0f}" if value == round(value) else f"{value:,.1f}"


def mechanism(found: Compared) -> Iterator[str]:
    """What the counts of the largest size prove, where all of them are known."""
    known = [
        one for one in found.comparison.sizes
        if one.cell["leaves"] and None not in (
            one.base_counts["invalidate_leaf"], one.base_counts["invalidate_range"],
            one.with_counts["invalidate_leaf"], one.with_counts["invalidate_range"],
        )
    ]  # fmt: skip
    largest = max(known, key=lambda one: one.cell["leaves"], default=None)
    if largest is None:
        return
    leaf = (largest.base_counts["invalidate_leaf"], largest.with_counts["invalidate_leaf"])
    flush = (largest.base_counts["invalidate_range"], largest.with_counts["invalidate_range"])
    if leaf == flush or (leaf[0] == leaf[1] and flush[0] == flush[1]):
        return
    where = cell_words(largest.cell, found.leaf_sizes)
    if leaf[0] and not leaf[1] and not flush[0] and flush[1]:
        yield (
            f"counted, not timed: {_some(leaf[0], 'leaf invalidation')} per unmap become"
            f" {_some(flush[1], 'range flush')} ({where})"
        )
    elif leaf[1] and not leaf[0] and not flush[1] and flush[0]:
        yield (
            f"counted, not timed: with makes {_some(leaf[1], 'leaf invalidation')} per unmap where"
            f" base makes {_some(flush[0], 'range flush')} ({where})"
        )


def _some(value: float | None, noun: str) -> str:
    plural = "es" if noun.endswith("sh") else "s"
    return f"{_whole(value)} {noun}" + ("" if value == 1 else plural)
