"""How far the medians of small groups are from those of further groups like them.

A group of six unmaps knows its own spread badly, a neighbouring group knows a like one. Variances
of logarithms are therefore moderated: each is drawn towards what all groups share, as far as they
are alike (Smyth, Statist. Appl. Genet. Mol. Biol. 3, 2004); the degrees of freedom of what they
share are added to its own. Noise that differs between groups (short unmaps are caught by an
interrupt more seldom, and hit harder) leaves few to add. The median of n values has a variance of
at most pi/2 s^2/n for noise that is normal or has heavier tails; s is the standard deviation, so
that an interrupt among the values widens the interval though it does not move the median.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

CONFIDENCE: Final = 0.95
MEDIAN: Final = float(np.pi / 2)
MOST_FREEDOM: Final = 200.0
NEWTON: Final = 40
# No group is taken to have less of the variance than this part of the mean of all.
SHARE: Final = 0.1


@dataclass(frozen=True, slots=True)
class Noise:
    """Per group: `variance` of the logarithm of one value, and its degrees of `freedom`."""

    variance: Floats
    freedom: Floats


def moderated(variances: ArrayLike, freedom: ArrayLike, least: ArrayLike) -> Noise:
    """The *variances* of groups with as much *freedom* (n - 1), none below *least*.

    A group of one value has no variance of its own, and that of all.
    """
    own = np.maximum(np.asarray(variances, dtype=np.float64), np.asarray(least))
    d = np.asarray(freedom, dtype=np.float64)
    known = (d > 0) & (own > 0)
    if not known.any():
        return Noise(np.where(d > 0, own, 0.0), np.maximum(d, 1.0))
    # Six times that are alike by chance do not say that none will ever differ.
    own = np.where(d > 0, np.maximum(own, SHARE * float(own[known].mean())), own)
    common, common_d = _shared(own[known], d[known])
    weight = common_d + d
    variance = (common_d * common + d * np.where(d > 0, own, 0.0)) / np.maximum(weight, 1e-9)
    return Noise(np.maximum(variance, np.asarray(least)), np.clip(weight, 1.0, MOST_FREEDOM))


def variances_of(groups: Sequence[Floats]) -> Floats:
    """The variances of the logarithms of each group, 0 of a single value."""
    return np.array([float(np.log(of).var(ddof=1)) if of.size > 1 else 0.0 for of in groups])


def median_factor(size: int) -> float:
    """The variance of a median of *size* values, of 1 for one value."""
    return 1.0 / size if size < 3 else MEDIAN / size


def reach(freedom: float) -> float:
    """Student's t of CONFIDENCE."""
    return float(special.stdtrit(max(freedom, 1.0), (1 + CONFIDENCE) / 2))


def _shared(variances: Floats, freedom: Floats) -> tuple[float, float]:
    """What the groups share: a variance, and how many degrees of freedom it is worth."""
    half = freedom / 2
    moved = np.log(variances) - special.digamma(half) + np.log(half)
    middle = float(moved.mean())
    if variances.size < 2:
        return float(np.exp(middle)), 0.0
    excess = float(moved.var(ddof=1) - special.polygamma(1, half).mean())
    if excess <= 0:
        return float(np.exp(middle)), MOST_FREEDOM
    worth = 2 * _inverse_trigamma(excess)
    shared = float(np.exp(middle + special.digamma(worth / 2) - np.log(worth / 2)))
    return shared, min(worth, MOST_FREEDOM)


def _inverse_trigamma(value: float) -> float:
    """Newton's method on 1 / trigamma, which is nearly a line (Smyth 2004, appendix)."""
    found = 0.5 + 1 / value
    for _ in range(NEWTON):
        trigamma = float(special.polygamma(1, found))
        step = trigamma * (1 - trigamma / value) / float(special.polygamma(2, found))
        found += step
        if -step / found < 1e-8:
            break
    return found
