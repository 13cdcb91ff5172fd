"""How values are written for people: durations, counts, shares, names that came out of a file.

A value that the data cannot give is `-`, never 0. Units are the kernel's ASCII ones (us).
"""

from __future__ import annotations

from typing import Final

UNKNOWN: Final = "-"
STEPS: Final = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us"))


def duration(ns: int | None) -> str:
    """*ns* with a unit and at least three significant digits: `436 ns`, `79.3 us`, `1.05 ms`."""
    if ns is None:
        return UNKNOWN
    for size, unit in STEPS:
        if abs(ns) >= size:
            whole = abs(ns) // size
            digits = 2 if whole < 10 else 1 if whole < 1000 or unit == "s" else 0
            return f"{ns / size:,.{digits}f} {unit}"
    return f"{ns} ns"


def seconds(ns: int | None) -> str:
    """A time of the trace's clock, as tracefs prints it but to the nanosecond."""
    return UNKNOWN if ns is None else f"{ns // 10**9}.{ns % 10**9:09d}"


def count(number: int | None) -> str:
    """A whole number with thousands separated."""
    return UNKNOWN if number is None else f"{number:,}"


def number(value: float | None) -> str:
    """A ratio: two significant digits below 1, one decimal below 100, none above."""
    if value is None:
        return UNKNOWN
    if abs(value) < 1:
        return f"{value:.2g}"
    return f"{value:,.1f}" if abs(value) < 100 else f"{value:,.0f}"


def step(ns: float) -> str:
    """The step of a clock: `1 us`, `42 ns`, `41.67 ns`."""
    if not float(ns).is_integer():
        return f"{ns:,.2f} ns"
    for size, unit in STEPS:
        if ns % size == 0:
            return f"{int(ns) // size:,} {unit}"
    return f"{int(ns):,} ns"


def share(part: int, whole: int) -> str:
    """*part* of *whole* in percent; what is not nothing is not written as 0."""
    percent = 100 * part / whole if whole else 0.0
    return "<0.1%" if 0 < percent < 0.05 else f"{percent:.1f}%"


def bytes_size(size: int) -> str:
    """A power of two as the kernel's documents write page sizes: 4K, 2M, 1G."""
    for shift, unit in ((30, "G"), (20, "M"), (10, "K")):
        if size >> shift and size % (1 << shift) == 0:
            return f"{size >> shift}{unit}"
    return str(size)


def plural(number: int, noun: str) -> str:
    """*number* and *noun*, in the plural where it is not one."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def clean(text: object) -> str:
    """*text*, which came from a file, with what a terminal would act upon written as escapes."""
    if text is None:
        return UNKNOWN
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode()
        for char in str(text)
    )


def paragraph(text: str) -> str:
    """As clean(), but keeps line breaks: for messages of more than one line."""
    return "\n".join(clean(line) for line in text.splitlines())
