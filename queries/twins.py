"""One function traced twice, by the graph and by a kprobe: two calls that are one.

The graph gives the time (it has less overhead and states the duration), the kprobe the
arguments. Both fire within a few events of each other on the task; which comes first depends on
the kernel, so the direction that matches more often is taken for a whole batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from traceview.queries.arguments import ARGUMENTS
from traceview.queries.rows import FGRAPH, NIL, PROBES, take

if TYPE_CHECKING:
    from traceview.queries.rows import Ints, Rows

# How many calls of the task may begin between the two records of one call.
TWIN_DISTANCE: Final = 4


def merge_twins(calls: Rows) -> tuple[Rows, int]:
    """*calls* (in order of task and start) without kprobe twins of graph calls, and how many."""
    function, stream = calls["function"], calls["stream"]
    graph = np.unique(function[stream == FGRAPH])
    shared = np.intersect1d(graph[graph >= 0], np.unique(function[stream == PROBES]))
    twins: list[tuple[Ints, Ints]] = []
    for number in shared.tolist():
        mine = function == number
        twins.append(_match(calls, np.flatnonzero(mine & (stream == PROBES)),
                            np.flatnonzero(mine & (stream == FGRAPH))))  # fmt: skip
    if not twins:
        return calls, 0
    probe = np.concatenate([pair[0] for pair in twins])
    graph = np.concatenate([pair[1] for pair in twins])
    calls = dict(calls)
    for name in ARGUMENTS:
        column = calls[name].copy()
        known = (column[graph] == NIL) & (column[probe] != NIL)
        column[graph[known]] = column[probe[known]]
        calls[name] = column
    keep = np.ones(function.size, dtype=bool)
    keep[probe] = False
    return take(calls, keep), int(probe.size)


def _match(calls: Rows, probe: Ints, graph: Ints) -> tuple[Ints, Ints]:
    """Which probe call is which graph call: the next one, or the previous one, throughout."""
    if graph.size == 0 or probe.size == 0:
        return probe[:0], graph[:0]
    after = np.searchsorted(graph, probe)
    following = _accepted(calls, probe, graph, after)
    preceding = _accepted(calls, probe, graph, after - 1)
    return max(following, preceding, key=lambda pair: pair[0].size)


def _accepted(calls: Rows, probe: Ints, graph: Ints, at: Ints) -> tuple[Ints, Ints]:
    inside = (at >= 0) & (at < graph.size)
    probe, candidate = probe[inside], graph[at[inside]]
    near = (np.abs(candidate - probe) <= TWIN_DISTANCE) & (
        calls["task"][candidate] == calls["task"][probe]
    )
    late = np.maximum(calls["start_seq"][candidate], calls["start_seq"][probe])
    point = calls["end_seq"][probe] == calls["start_seq"][probe]
    overlap = point | ((late <= calls["end_seq"][candidate]) & (late <= calls["end_seq"][probe]))
    probe, candidate = probe[near & overlap], candidate[near & overlap]
    _, first = np.unique(candidate, return_index=True)
    return probe[first], candidate[first]
