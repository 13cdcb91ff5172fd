"""A recording of two vCPUs that unmap at once: tasks, steps and stores are kept apart."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import polars as pl

import traceview
from traceview import Analysis
from traceview.queries.audit import audit

SAMPLE = Path(__file__).parent.parent / "sample_traces" / "insn-2-vcpus-6.12-max.txt.xz"
# As every other recorder sees this suite on this kernel (docs: sample_traces/lab).
UNMAPS, LEAVES, TABLES = 71, 4146, 38


@cache
def analysed() -> Analysis:
    return traceview.analyze(traceview.open_trace(SAMPLE))


def test_the_suite_has_the_unmaps_that_other_recorders_see() -> None:
    unmaps = analysed().unmaps
    assert unmaps["status"].unique().to_list() == ["complete"]
    found = unmaps.select(pl.len(), pl.sum("leaves", "invalidate_table")).row(0)
    assert found == (UNMAPS, LEAVES, TABLES)
    assert sorted(unmaps["trigger"].cast(pl.String).unique()) == ["memslot", "notifier"]


def test_two_tasks_that_unmap_on_two_cpus_have_their_own_steps() -> None:
    both = analysed().unmaps.filter(pl.col("step").is_in(["s19.1", "s20.1"])).sort("step")
    assert both["leaves"].to_list() == [128, 128]
    assert both["cpu"].to_list() == [0, 1]
    assert both["tid"].n_unique() == 2
    assert both["comm"].cast(pl.String).unique().to_list() == ["workload"]


def test_every_entry_that_was_cleared_was_invalidated_in_order() -> None:
    found = audit([traceview.open_trace(SAMPLE)])
    assert found.is_clean
    counts = {one.code: (one.checked, one.idle) for one in found.checks}
    # Three unmaps found nothing mapped.
    assert counts["entries-invalidated"] == (UNMAPS - 3, 3)
