"""What a posted table supports: ratios, a line per side, and which of its claims hold.

A posted number is rounded, so a ratio is an interval: a claim holds at a size where all of the
interval fulfils it, fails where none does, and is open otherwise. Each side is fitted by a line
over the sizes (least squares, as its constant is what is looked for; Theil-Sen beside it), whose
95% intervals speak of how well a line fits these numbers. A table with one number per cell has no
spread: nothing here says what another run would give.

A claim is `[at least | at most | up to | about | ~] NUMBER x`, or the same with `%` of time saved.
A bare number holds where the ratio rounds to it (`4x`: 3.5 to 4.5); `about` and `~` allow 10% if
that is more; `up to` speaks of the largest ratio alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import stats

from traceview.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Sequence

CLAIM: Final = re.compile(
    r"(?:(?P<bound>at least|at most|up to|about|>=|<=|~)\s*)?(?:an?\s+)?"
    r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>x|%)(?:\s+(?:faster|less|improvement|better))?",
    re.IGNORECASE,
)
BOUNDS: Final = {">=": "at least", "<=": "at most", "~": "about"}
LOOSE: Final = 0.1
GIB: Final = 1 << 30
CONFIDENCE: Final = 0.95
# A constant matters where it makes up at least this much of what is looked at.
NOTABLE: Final = 0.5
EXACT: Final = 1e-12  # how far floating point may be off
NOTABLE_CHANGE: Final = 0.1  # of a ratio, from the smallest size to the largest


@dataclass(frozen=True, slots=True)
class Span:
    """A value and the interval that it may lie in."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Cell:
    """One size: the times of both sides in seconds, as rounded."""

    size_bytes: int
    base: Span
    series: Span

    @property
    def ratio(self) -> Span:
        """Base over series, with what rounding leaves open."""
        return Span(
            self.base.value / self.series.value,
            self.base.low / self.series.high,
            self.base.high / self.series.low,
        )

    @property
    def saved(self) -> Span:
        """The part of the base's time that the series saves, in percent."""
        ratio = self.ratio
        return Span(*(100 * (1 - 1 / one) for one in (ratio.value, ratio.low, ratio.high)))


@dataclass(frozen=True, slots=True)
class Line:
    """seconds = constant_s + s_per_gib * size; `robust_*` is Theil and Sen's line."""

    constant_s: Span
    s_per_gib: Span
    robust_constant_s: float
    robust_s_per_gib: float


@dataclass(frozen=True, slots=True)
class Claim:
    """What is claimed: `of` the ratio (x) or the time saved (%), within [low, high]."""

    text: str
    unit: str
    low: float
    high: float
    largest_only: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """`overall` and one of holds, fails, open for each size."""

    claim: Claim
    overall: str
    by_size: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Judgement:
    """Everything about one table. `slope_ratio` is that of the fitted lines, None without them."""

    title: str
    cells: tuple[Cell, ...]
    base: Line | None
    series: Line | None
    slope_ratio: float | None
    verdicts: tuple[Verdict, ...]
    findings: tuple[str, ...]


def parse_claim(text: str) -> Claim:
    """Raises SettingError when *text* is none of the forms above."""
    match = CLAIM.fullmatch(text.strip())
    if match is None or float(match["number"]) == 0:
        raise SettingError(
            f"not a claim: {text!r}\nvalid: at least 3x, at most 2x, up to 4x, 4x, about 4x, ~15%"
        )
    bound = (match["bound"] or "").lower()
    bound = BOUNDS.get(bound, bound)
    number, unit = float(match["number"]), match["unit"].lower()
    half = 0.5 * 10.0 ** -len(match["number"].partition(".")[2])
    half = max(half, LOOSE * number) if bound == "about" else half
    low = -np.inf if bound == "at most" else number if bound == "at least" else number - half
    high = np.inf if bound == "at least" else number if bound == "at most" else number + half
    return Claim(text.strip(), unit, low, high, bound == "up to")


def judge(title: str, cells: Sequence[Cell], claims: Sequence[Claim]) -> Judgement:
    """What the *cells* of one table support."""
    ordered = tuple(sorted(cells, key=lambda one: one.size_bytes))
    base, series = (_line(ordered, side) for side in ("base", "series"))
    slopes = None
    if base is not None and series is not None and series.s_per_gib.value:
        slopes = base.s_per_gib.value / series.s_per_gib.value
    return Judgement(
        title, ordered, base, series, slopes,
        tuple(_verdict(one, ordered) for one in claims),
        tuple(_findings(ordered, base, series, slopes)),
    )  # fmt: skip


def _line(cells: Sequence[Cell], side: str) -> Line | None:
    """The line of one side; three sizes are the least that leave something to judge it by."""
    size = np.array([one.size_bytes / GIB for one in cells])
    seconds = np.array([getattr(one, side).value for one in cells])
    if len(np.unique(size)) < 3:
        return None
    fit = stats.linregress(size, seconds)
    wide = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(size) - 2))
    robust = stats.theilslopes(seconds, size)
    return Line(
        _around(float(fit.intercept), wide * float(fit.intercept_stderr)),
        _around(float(fit.slope), wide * float(fit.stderr)),
        float(robust.intercept),
        float(robust.slope),
    )


def _around(value: float, half: float) -> Span:
    return Span(value, value - half, value + half)


def _verdict(claim: Claim, cells: Sequence[Cell]) -> Verdict:
    found = [one.ratio if claim.unit == "x" else one.saved for one in cells]
    said = tuple(holds(claim, one) for one in found)
    if claim.largest_only:
        return Verdict(claim, said[int(np.argmax([one.value for one in found]))], said)
    if "fails" in said:
        return Verdict(claim, "fails", said)
    return Verdict(claim, "open" if "open" in said else "holds", said)


def holds(claim: Claim, span: Span) -> str:
    """Whether a number within *span* is what is claimed: holds, fails or open."""
    if claim.low * (1 - EXACT) <= span.low and span.high <= claim.high * (1 + EXACT):
        return "holds"
    # A number lies inside its interval, not on its ends.
    below, above = span.high <= claim.low * (1 + EXACT), span.low >= claim.high * (1 - EXACT)
    return "fails" if below or above else "open"


def _findings(
    cells: Sequence[Cell], base: Line | None, series: Line | None, slopes: float | None
) -> list[str]:
    """What a reader of the ratios must know, in words."""
    found = []
    if base is not None and series is not None and slopes is not None:
        found += _constants(cells[0], base, series, slopes)
    first, last = cells[0], cells[-1]
    apart = first.ratio.high < last.ratio.low or last.ratio.high < first.ratio.low
    if apart and abs(np.log(first.ratio.value / last.ratio.value)) > np.log1p(NOTABLE_CHANGE):
        found.append(
            f"the ratio depends on the size: {first.ratio.value:.2f} at {size_text(first)},"
            f" {last.ratio.value:.2f} at {size_text(last)}"
        )
    return found


def _constants(first: Cell, base: Line, series: Line, slopes: float) -> list[str]:
    """A constant that one side has alone, or that both have: no part of what grows with size."""
    apart = base.constant_s.low > series.constant_s.high
    gap = first.base.value - first.series.value
    constant = base.constant_s.value - series.constant_s.value
    if apart and constant > NOTABLE * gap > 0:
        said = (
            f"the base has a constant of {base.constant_s.value:.3f} s that the series lacks"
            f" ({series.constant_s.value:.3f} s): at {size_text(first)} it is"
            f" {100 * constant / gap:.0f}% of the difference, and the ratio there"
            f" ({first.ratio.value:.1f}x) is that constant's; per GB the ratio is {slopes:.2f}x"
        )
        return [said]
    both = [
        line.constant_s.low > NOTABLE * side.value
        for line, side in ((base, first.base), (series, first.series))
    ]
    if all(both):
        said = (
            f"both sides have a constant (base {base.constant_s.value:.3f} s, series"
            f" {series.constant_s.value:.3f} s), which the ratios of small sizes are made of;"
            f" per GB the ratio is {slopes:.2f}x"
        )
        return [said]
    return []


def size_text(cell: Cell) -> str:
    """The size in GB, as such tables print it."""
    return f"{cell.size_bytes / GIB:g} GB"
