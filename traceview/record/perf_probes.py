"""The kprobes that perf records in place of function_graph, which it cannot use."""

from __future__ import annotations

import re

from traceview.record.preset import Probe


def kprobes_of(graph: tuple[str, ...], probes: tuple[Probe, ...]) -> tuple[Probe, ...]:
    """*probes*, and those of entry and return of functions of *graph* that have none."""
    there = {one.symbol for one in probes if one.returns and not one.offset}
    further = [
        Probe(event=re.sub(r"\W", "_", name), symbol=name) for name in graph if name not in there
    ]
    return (*probes, *further)
