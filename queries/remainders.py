"""What tracing leaves of sums of times, over all costs of traced calls that are possible.

A time is its raw one less `inside` for each of its own traced calls, `call` for each traced call
inside those, and `own` for the unmap itself (docs/observer.md): linear in three numbers, which are
known within bounds and are the same for all times of a source. What is inside is a part of the
call, and a cost that leaves less than nothing of a component is not possible: an estimate that does
is none. So a sum, and a share of the whole, are extreme at a corner of what the three can be. To
take each time at its own worst would be wider: what one component loses when `inside` is larger,
the rest gains.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

NUMBERS: Final = ("own", "inside", "call")
# Of what is compared: beyond this it is arithmetic, not rounding.
TOLERANCE: Final = 1e-9
# Of sums of times, beside which costs are rounded to parts of a nanosecond.
ROUNDING: Final = 1e-6


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
    """Per unmap (a row): a raw time, and how often it contains each of NUMBERS (columns)."""

    raw: Floats
    counts: Floats

    def __sub__(self, other: Times) -> Times:
        return Times(self.raw - other.raw, self.counts - other.counts)

    def of(self, these: NDArray[np.bool_]) -> Times:
        """Only *these* unmaps."""
        return Times(self.raw[these], self.counts[these])

    def left(self, corners: Floats) -> Floats:
        """What is left of each (row) at each of *corners* (column)."""
        return self.raw[:, None] - self.counts @ corners.T

    def total(self, corners: Floats) -> Floats:
        """What is left of all of them at each of *corners*."""
        return np.asarray(self.raw.sum() - self.counts.sum(axis=0) @ corners.T)


@dataclass(frozen=True, slots=True)
class Cost:
    """The corners (rows of NUMBERS) of what tracing can have cost; none: nothing is known of it."""

    corners: Floats
    estimate: Floats | None

    def leaving(self, components: Iterable[Times]) -> Cost:
        """Only those costs that leave no less than nothing of each.

        Where all would leave less, they are not of these times: tracing can have cost less. What
        cost nothing leaves everything.
        """
        if not self.corners.any():
            return self
        components = tuple(components)
        low, high = self.corners.min(axis=0), self.corners.max(axis=0)
        planes = [(one.counts.sum(axis=0), float(one.raw.sum())) for one in components]
        corners = _corners(low, high, planes)
        if not len(corners):
            corners = _corners(np.zeros_like(high), high, planes)
        fits = not any(self.estimate_exceeds(one) for one in components)
        return replace(self, corners=corners, estimate=self.estimate if fits else None)

    def estimate_exceeds(self, component: Times) -> bool:
        """Whether the estimate leaves less than nothing of it, by more than rounding."""
        if self.estimate is None:
            return False
        least = -ROUNDING * max(1.0, float(component.raw.sum()))
        return float(component.total(self.estimate[None, :])[0]) < least


def cost(row: dict[str, Any]) -> Cost:
    """The cost that a row of schema.TRACING_COSTS states."""
    if row["method"] == "none":
        nothing = np.zeros(len(NUMBERS))
        return Cost(nothing[None, :], nothing)
    low, high, value = (
        [row[f"{name}{which}_ns"] for name in NUMBERS] for which in ("_low", "_high", "")
    )
    if None in (*low, *high):
        return Cost(np.zeros((0, len(NUMBERS))), None)
    corners = _corners(np.array(low), np.array(high), [])
    return Cost(corners, None if None in value else np.array(value))


def _corners(low: Floats, high: Floats, planes: Sequence[tuple[Floats, float]]) -> Floats:
    """The corners of the body between *low* and *high* in which inside <= call, and counts @ x <=
    raw of all *planes*: the points where three of its faces meet that lie in all the others.
    """  # fmt: skip
    unit = np.eye(len(NUMBERS))
    part = np.array([0.0, 1.0, -1.0])
    faces = [*unit, *-unit, part, *(counts for counts, _ in planes)]
    limits = [*high, *-low, 0.0, *(raw for _, raw in planes)]
    scale = np.array([max(1.0, float(np.abs(face).max())) for face in faces])
    a = np.array(faces) / scale[:, None]
    b = np.array(limits) / scale
    three = np.array(list(combinations(range(len(a)), len(NUMBERS))))
    meet = np.abs(np.linalg.det(a[three])) > TOLERANCE
    points = np.linalg.solve(a[three[meet]], b[three[meet]][..., None])[..., 0]
    slack = TOLERANCE * max(1.0, float(np.abs(high).max()))
    inside = (points @ a.T <= b + slack).all(axis=1)
    return np.unique(points[inside].round(6), axis=0)


@dataclass(frozen=True, slots=True)
class Remainders:
    """Times of unmaps, whose source has the cost of the number that `kind` gives."""

    costs: Sequence[Cost]
    kind: NDArray[np.int64]

    def total(self, times: Times) -> Span:
        """The sum, never below nothing."""
        low = high = 0.0
        value: float | None = 0.0
        for known, mine in self._by_cost(times):
            found = mine.total(known.corners)
            if not len(found):
                found = np.array([0.0, mine.raw.sum()])
            found = np.where(found < ROUNDING * max(1.0, mine.raw.sum()), 0.0, found)
            if known.estimate is None:
                value = None
            elif value is not None:
                value += float(mine.total(known.estimate[None, :])[0])
            low, high = low + float(found.min()), high + float(found.max())
        return _around(value, low, high)

    def share(self, part: Times, others: Times) -> Span:
        """*part* of both, between 0 and 1."""
        if not all(len(known.corners) for known in self.costs):
            return Span(None, 0.0, 1.0)
        low, high = _shares(*(self._sums(one) for one in (part, others)))
        value = None
        estimates = [known.estimate for known in self.costs if known.estimate is not None]
        if len(estimates) == len(self.costs):
            sums = (self._sums(one, [e[None, :] for e in estimates]) for one in (part, others))
            value = float(_shares(*sums)[0].item())
        return _around(value, float(low.min()), float(high.max()))

    def larger(self, one: Times, other: Times) -> int:
        """In how many unmaps *one* is more than *other*, whatever a call costs."""
        # Where nothing is known of the cost, all of it may be tracing.
        return sum(
            int((mine.left(known.corners) > 0).all(axis=1).sum())
            for known, mine in self._by_cost(one - other)
            if len(known.corners)
        )

    def exceeds(self, one: Times, other: Times) -> bool:
        """Whether *one* is more in all, whatever a call costs."""
        if not all(len(known.corners) for known in self.costs):
            return False
        return float(self._sums(one - other).min()) > 0

    def _by_cost(self, times: Times) -> list[tuple[Cost, Times]]:
        return [(known, times.of(self.kind == at)) for at, known in enumerate(self.costs)]

    def _sums(self, times: Times, at: Sequence[Floats] | None = None) -> Floats:
        """The sum over all unmaps for every combination of corners of the costs."""
        corners = at or [known.corners for known in self.costs]
        sums = [mine.total(of) for of, (_, mine) in zip(corners, self._by_cost(times), strict=True)]
        return np.asarray(reduce(np.add.outer, sums)).reshape(-1)


def _around(value: float | None, low: float, high: float) -> Span:
    """What was calibrated is between its bounds, up to rounding."""
    return Span(value, *((low, high) if value is None else (min(low, value), max(high, value))))


def _shares(part: Floats, others: Floats) -> tuple[Floats, Floats]:
    """The least and the most that the shares can be: anything where nothing is left of both."""
    part, others = part.clip(0.0), others.clip(0.0)
    whole = part + others
    shares = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
    return shares, np.where(whole > 0, shares, 1.0)
