"""Between which two events of the host a stay at EL2 lies, and at what times.

While a CPU is at EL2 its host records nothing, so that a stay lies whole between two events of the
host on that CPU. Its times are cut to microseconds. Where its exit is shown later than its entry
only one gap is possible. Where both are shown in one microsecond it is one of those that begin or
end in it: one inside an unmap before others, for on these hosts unmaps are what calls EL2, and of
those the widest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from traceview.parsers.hypervisor_times import CUT_NS, FOREVER

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Flags = NDArray[np.bool_]

NEVER: Final = np.iinfo(np.int64).min
SHORTEST_NS: Final = 100  # what is left of a gap must hold the handler of EL2
MOST_GAPS: Final = 64  # within a microsecond: a bound against damage


@dataclass(frozen=True, slots=True)
class Host:
    """The events of the host on one CPU, in order: their times, and whether an unmap is open behind
    each.
    """

    ns: Ints
    unmapping: Flags


@dataclass(frozen=True, slots=True)
class Places:
    """Per stay: the event of the host before it (-1: none), and when it began and ended.

    `several`: more than one gap was possible; `none`: no gap was, for there are events of the host
    inside it.
    """

    after: Ints
    enter_ns: Ints
    exit_ns: Ints
    several: Flags
    none: Flags


def placed(host: Host, enter_ns: Ints, exit_ns: Ints, since_ns: int = NEVER) -> Places:
    """Where the stays of one CPU lie, none before *since_ns*; *host* knows all until they end."""
    begins = np.concatenate([[NEVER], host.ns])
    ends = np.append(host.ns, FOREVER)
    unmapping = np.concatenate([[False], host.unmapping])
    first = np.searchsorted(begins, enter_ns, side="right") - 1
    last = np.searchsorted(begins, enter_ns + CUT_NS, side="right") - 1
    # The gap that the entry must lie in if the stay is not within a microsecond.
    best = last.copy()
    short = np.flatnonzero((exit_ns <= enter_ns + CUT_NS) & (last > first))
    best[short] = _best(
        begins, ends, unmapping, first[short], last[short], enter_ns[short], exit_ns[short]
    )
    none = ends[best] < exit_ns
    low, high = begins[best], np.maximum(begins[best], ends[best] - 1)
    enter, leave = _middle(enter_ns, low, high), _middle(exit_ns, low, high)
    # In the same microsecond they follow each other.
    both = np.stack([enter, leave], axis=1).ravel()
    both = np.maximum.accumulate(np.maximum(both, since_ns))
    both = np.minimum(both, np.repeat(high, 2))
    several = np.zeros(len(best), dtype=np.bool_)
    several[short] = True
    return Places(best - 1, both[0::2], both[1::2], several & ~none, none)


def _best(
    begins: Ints,
    ends: Ints,
    unmapping: Flags,
    first: Ints,
    last: Ints,
    enter_ns: Ints,
    exit_ns: Ints,
) -> Ints:
    """Of the gaps *first* to *last* the one that each stay overlaps best."""
    best = first.copy()
    most = np.full(len(first), NEVER)
    reach = int(min((last - first).max(initial=0), MOST_GAPS))
    for step in range(reach + 1):
        gap = np.minimum(first + step, last)
        width = np.minimum(ends[gap], exit_ns + CUT_NS) - np.maximum(begins[gap], enter_ns)
        rank = width + np.where(unmapping[gap] & (width >= SHORTEST_NS), 2 * CUT_NS, 0)
        better = rank > most
        best[better], most[better] = gap[better], rank[better]
    return best


def _middle(cut_ns: Ints, low: Ints, high: Ints) -> Ints:
    """The middle of the times that a time cut to *cut_ns* can have between *low* and *high*."""
    least = np.clip(cut_ns, low, high)
    most = np.clip(cut_ns + CUT_NS, least, high)
    return least + (most - least) // 2
