"""How much of the shortest traced call may be its own work, and not tracing.

What tracing costs inside a call is taken to be all of the shortest traced call (observer.py). Where
that is `clean_dcache_guest_page`, its own work is little: on a machine with FEAT_S2FWB it returns
at once (arch/arm64/kvm/mmu.c), after 4 executed instructions where `kvm_s2_put_page`, which drops a
reference by an atomic operation, executes 31 (6.1) or 33 (6.12), by the plugin of the lab. It is
taken to work a share of that, as of the instructions, and no longer than half as long: then no
longer than the other call is longer.

Of function_graph alone: there every call has the same entry record, a probe fetches arguments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from traceview.queries.observer import ENOUGH_CALLS

if TYPE_CHECKING:
    from traceview.queries.analysis import Analysis

EMPTY: Final = "clean_dcache_guest_page"
OTHER: Final = "table_put"
# Executed instructions of the one, and by how many the other has more.
SHARE: Final = 4 / (31 - 4)


def own_work_ns(analysis: Analysis, calibration: Analysis | None) -> tuple[float, float] | None:
    """What the shortest traced call works, and the most of it; None where that is not known.

    Over all captures: the longest that they show of the other against the shortest of the one.
    """
    times = [analysis.own_times] + ([] if calibration is None else [calibration.own_times])
    graph = pl.col("evidence") == "fgraph"
    often = pl.concat(times).filter(
        graph & (pl.col("nested") == 0) & (pl.col("calls") >= ENOUGH_CALLS)
    )
    empty = often.filter(pl.col("symbol").cast(pl.String) == EMPTY)["own_ns"].min()
    other = often.filter(pl.col("operation") == OTHER)["own_ns"].max()
    shortest = often.filter(pl.col("operation") != "unmap")["own_ns"].min()
    if empty is None or other is None or empty != shortest:
        return None
    longer = max(0.0, float(other) - float(empty))  # type: ignore[arg-type]
    return SHARE * longer, longer
