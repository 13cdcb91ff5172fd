"""What tracing leaves of sums of times, over all costs of a traced call that are possible.

Every time is its raw one less `inside` for each of its own traced calls and `call` for each traced
call inside those (docs/observer.md): linear in two numbers, which are known within bounds and are
the same for all times of a source. A cost that leaves less than nothing of a component is not
possible either. So a sum, and a share of the whole, are extreme at a corner of what the two can be.
To take each time at its own worst would be wider: what one component loses when `inside` is larger,
the rest gains.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Corner = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Span:
    """A number between `low` and `high`; `value` is null where there is no estimate."""

    value: float | None
    low: float
    high: float

    def over(self, divisor: float) -> Span:
        """All three by *divisor*."""
        value = None if self.value is None else self.value / divisor
        return Span(value, self.low / divisor, self.high / divisor)


@dataclass(frozen=True, slots=True)
class Times:
    """Per unmap: a time, how many traced calls it is made of, and how many are inside those."""

    raw: Floats
    calls: Floats
    nested: Floats

    def __sub__(self, other: Times) -> Times:
        return Times(self.raw - other.raw, self.calls - other.calls, self.nested - other.nested)

    def __add__(self, other: Times) -> Times:
        return Times(self.raw + other.raw, self.calls + other.calls, self.nested + other.nested)

    def at(self, corner: Corner) -> Floats:
        """What is left where a call costs so much."""
        return self.raw - corner[0] * self.calls - corner[1] * self.nested

    def of(self, these: NDArray[np.bool_]) -> Times:
        """Only *these* unmaps."""
        return Times(self.raw[these], self.calls[these], self.nested[these])


@dataclass(frozen=True, slots=True)
class Cost:
    """`inside` and `call` are the corners' two numbers; no corner: nothing is known of them."""

    corners: tuple[Corner, ...]
    estimate: Corner | None

    def leaving(self, components: Iterable[Times]) -> Cost:
        """Only those costs that leave no less than nothing of each, if there are any."""
        corners = self.corners
        for one in components:
            raw, calls, nested = (float(of.sum()) for of in (one.raw, one.calls, one.nested))
            corners = _cut(corners, raw, calls, nested)
        return replace(self, corners=corners or self.corners)


def cost(row: dict[str, Any]) -> Cost:
    """The cost that a row of schema.TRACING_COSTS states; `inside` is a part of `call`."""
    low, high = row["inside_low_ns"], row["inside_high_ns"]
    least, most = row["call_low_ns"], row["call_high_ns"]
    if row["method"] == "none":
        return Cost(((0.0, 0.0),), (0.0, 0.0))
    if None in (low, high, least, most):
        return Cost((), None)
    high, least = min(high, most), max(low, least)
    # In order around what is possible.
    corners = ((low, least), (low, most), (high, most), (high, max(high, least)),
               (min(high, least), least))  # fmt: skip
    value = (row["inside_ns"], row["call_ns"])
    return Cost(tuple(dict.fromkeys(corners)), None if None in value else value)


def _cut(
    corners: tuple[Corner, ...], raw: float, calls: float, nested: float
) -> tuple[Corner, ...]:
    """The corners of the part of a convex polygon in which raw >= calls * x + nested * y."""
    left = [raw - calls * inside - nested * call for inside, call in corners]
    found: list[Corner] = []
    for at, corner in enumerate(corners):
        before, gone = corners[at - 1], left[at - 1]
        if gone * left[at] < 0:
            part = gone / (gone - left[at])
            found.append(
                (before[0] + part * (corner[0] - before[0]),
                 before[1] + part * (corner[1] - before[1]))
            )  # fmt: skip
        if left[at] >= 0:
            found.append(corner)
    return tuple(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class Remainders:
    """Times of unmaps, whose source has the cost of the number that `kind` gives."""

    costs: Sequence[Cost]
    kind: NDArray[np.int64]

    def total(self, times: Times) -> Span:
        """The sum; never below nothing where it is only bounded."""
        low = high = 0.0
        value: float | None = 0.0
        for at, known in enumerate(self.costs):
            mine = times.of(self.kind == at)
            found = [float(mine.at(corner).sum()) for corner in known.corners]
            found = found or [0.0, float(mine.raw.sum())]
            if known.estimate is None:
                found, value = [max(0.0, one) for one in found], None
            elif value is not None:
                value += float(mine.at(known.estimate).sum())
            low, high = low + min(found), high + max(found)
        return Span(value, low, high)

    def share(self, part: Times, others: Times) -> Span:
        """*part* of both, between 0 and 1."""
        if not all(known.corners for known in self.costs):
            return Span(None, 0.0, 1.0)
        found = [_share(*sums) for sums in self._sums(part, others)]
        estimates = [known.estimate for known in self.costs]
        value = None
        if None not in estimates:
            at = [one for one in estimates if one is not None]
            value = _share(self._at(part, at), self._at(others, at))[0]
        return Span(value, min(low for low, _ in found), max(high for _, high in found))

    def larger(self, one: Times, other: Times) -> int:
        """In how many unmaps *one* is more than *other*, whatever a call costs."""
        number = 0
        difference = one - other
        for at, known in enumerate(self.costs):
            mine = difference.of(self.kind == at)
            left = [mine.at(corner) > 0 for corner in known.corners]
            # Of which nothing is known, all of it may be tracing.
            number += int(np.logical_and.reduce(left).sum()) if left else 0
        return number

    def exceeds(self, one: Times, other: Times) -> bool:
        """Whether *one* is more in all, whatever a call costs."""
        lows = [
            min((float(mine.at(corner).sum()) for corner in known.corners), default=-np.inf)
            for at, known in enumerate(self.costs)
            for mine in [(one - other).of(self.kind == at)]
        ]
        return sum(lows) > 0

    def _sums(self, *times: Times) -> Iterator[list[float]]:
        for corners in product(*(known.corners for known in self.costs)):
            yield [self._at(one, corners) for one in times]

    def _at(self, times: Times, corners: Sequence[Corner]) -> float:
        return sum(
            float(times.of(self.kind == at).at(corner).sum()) for at, corner in enumerate(corners)
        )


def _share(part: float, others: float) -> tuple[float, float]:
    """The share, twice; anything where nothing but tracing is left of the whole."""
    part, others = max(part, 0.0), max(others, 0.0)
    if part + others == 0:
        return 0.0, 1.0
    return part / (part + others), part / (part + others)
