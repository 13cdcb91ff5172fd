"""A stacked bar of letters, on coloured ground or plain, its legend and its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

from traceview.report.wording import UNKNOWN, duration, number, share

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True, slots=True)
class Part:
    """One component of a duration: how it is drawn and what it is called."""

    column: str
    letter: str
    style: str
    what: str


# In the order of drawing. TLBI and DSB are not separable from function timings: hence "calls".
PARTS: Final = (
    Part("invalidate_leaf_ns", "L", "red", "leaf invalidate calls"),
    Part("invalidate_table_ns", "T", "magenta", "table invalidate calls"),
    Part("invalidate_ipa_ns", "I", "bright_red", "leaf or table invalidate calls"),
    Part("invalidate_range_ns", "R", "blue", "range invalidate calls"),
    Part("cmo_ns", "C", "yellow", "cache maintenance"),
    Part("table_put_ns", "P", "cyan", "table release"),
    Part("hypercall_ns", "H", "bright_blue", "hypercalls"),
    Part("irq_ns", "i", "green", "interrupts"),
    Part("off_cpu_ns", "o", "bright_green", "off CPU"),
    Part("rest_ns", ".", "bright_black", "rest of the walk"),
)


def cells(values: Sequence[int], width: int) -> list[int]:
    """*width* cells divided like *values* (not negative): largest remainders, sums exactly."""
    total = sum(values)
    if total == 0:
        return [0] * len(values)
    exact = [value * width for value in values]
    given = [value // total for value in exact]
    by_remainder = sorted(range(len(values)), key=lambda at: -(exact[at] % total))
    for at in by_remainder[: width - sum(given)]:
        given[at] += 1
    return given


def bar(values: dict[str, int], width: int, *, blocks: bool) -> Text:
    """The components *values* as one line of *width*: their letters, as *blocks* on colours.

    Letters even there: they survive a copy into a mail.
    """
    parts = [part for part in PARTS if values.get(part.column, 0) > 0]
    drawn = Text()
    for part, length in zip(parts, cells([values[p.column] for p in parts], width), strict=True):
        style = f"black on {part.style}" if blocks else part.style
        drawn.append(part.letter * length, style=style)
    return drawn


def legend(drawn: set[str]) -> list[Text]:
    """The letters of the components *drawn* and what they stand for."""
    return [
        Text.assemble((part.letter, part.style), f" {part.what}")
        for part in PARTS
        if part.column in drawn
    ]


def shares(values: dict[str, int], leaves: int | None) -> list[Text]:
    """One entry per component that is not zero: letter, share, nanoseconds per leaf."""
    return [
        Text.assemble((part.letter, part.style), f" {said}", f" {per_leaf}" if per_leaf else "")
        for part, said, per_leaf in share_texts(values, leaves)
    ]


def share_texts(values: dict[str, int], leaves: int | None) -> Iterator[tuple[Part, str, str]]:
    """Each component that is not zero, its share, its nanoseconds per leaf if leaves are known."""
    total = sum(values.values())
    for part in PARTS:
        value = values.get(part.column, 0)
        if value > 0:
            yield part, share(value, total), number(value / leaves) if leaves else ""


def corrected_values(row: dict[str, Any]) -> dict[str, float | None]:
    """What is left of each component of a group without tracing; null where only bounded."""
    found: dict[str, float | None] = {}
    for part in PARTS:
        name = part.column.removesuffix("_ns")
        plain = row.get(part.column)  # of what has no traced calls
        found[part.column] = row.get(f"{name}_corrected_ns", plain) if plain is not None else 0
    return found


def corrected_shares(row: dict[str, Any]) -> list[Text]:
    """One entry per component: letter, share, nanoseconds per leaf with their interval.

    In all where the leaves are unknown. Where there is no estimate, the least that is left: the
    most is the raw time.
    """
    return [
        Text.assemble((part.letter, part.style), f" {said}") for part, said in corrected_texts(row)
    ]


def corrected_texts(row: dict[str, Any]) -> Iterator[tuple[Part, str]]:
    """The same as words."""
    total, leaves = row["corrected_ns"], row["leaves"]
    for part in PARTS:
        if not row.get(part.column):
            continue
        name = part.column.removesuffix("_ns")
        keys = (f"{name}_corrected{which}_ns" for which in ("", "_low", "_high"))
        value, low, high = (row.get(key, row[part.column]) for key in keys)
        if value is None or not total:
            said = UNKNOWN if low is None else _per(max(0.0, low), leaves)
        else:
            said = f"{100 * value / total:.1f}% {_per(value, leaves)}"
            ends = [_per(end if value < 0 else max(0.0, end), leaves) for end in (low, high)]
            said += f" ({'..'.join(ends)})" if ends[0] != ends[1] else ""
        yield part, said


def _per(ns: float, leaves: int | None) -> str:
    return number(ns / leaves) if leaves else duration(round(ns))
