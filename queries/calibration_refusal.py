"""Why captures that were given as a calibration say nothing of what tracing cost.

Follows the conditions of calibration.py in their order: the reason is the first that leaves
nothing, of the label that comes furthest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from traceview.queries.calibration import MIN_STRATA, WORK, same_work
from traceview.queries.groups import source_labels
from traceview.queries.matching import numbered

if TYPE_CHECKING:
    from collections.abc import Iterable

    from traceview.queries.analysis import Analysis

TRACERS: Final = ("fgraph", "kprobe", "fprobe")
VALID: Final = (
    f"valid: captures of the same workload, with at least {MIN_STRATA} steps or sizes in common,"
    " in which unlike numbers of calls were traced, and more of them took longer"
)
NAMED: Final = 3


def too_little_in_common(analysis: Analysis, calibration: Analysis) -> str:
    """The message: what is missing, and what would be valid."""
    reasons = []
    theirs = _unmaps(calibration)
    labels = source_labels(analysis.sources)
    for _, of in labels.group_by("label", maintain_order=True):
        mine = _unmaps(analysis).join(of, on="source_id", how="semi", maintain_order="left")
        reasons.append(_reason(mine, theirs))
    _, said = max(reasons, default=(0, "there is no trace"), key=lambda reason: reason[0])
    return f"the calibration cannot say what tracing cost: {said}\n{VALID}"


def _unmaps(analysis: Analysis) -> pl.DataFrame:
    columns = ("source_id", "step", "stem", "order", "of", "placed", "status", "duration_ns")
    found = numbered(analysis.unmaps).select(*columns, "evidence", "traced_calls", *WORK)
    return found.with_columns(pl.col("evidence").cast(pl.String))


def _reason(mine: pl.DataFrame, theirs: pl.DataFrame) -> tuple[int, str]:
    """The first condition that leaves nothing, and which one it is."""
    if theirs.is_empty() or mine.is_empty():
        return 0, f"there is no unmap in the {'calibration' if theirs.is_empty() else 'trace'}"
    ours, others = (set(of["evidence"].drop_nulls()) for of in (mine, theirs))
    common = ours & others & set(TRACERS)
    if not common:
        return 1, _of_other_evidence(ours, others)
    mine, theirs = (of.filter(pl.col("evidence").is_in(list(common))) for of in (mine, theirs))
    if not (mine["placed"].any() and theirs["placed"].any()):
        return 2, "several tasks unmap and there are no steps: which unmaps belong together?"
    steps = mine.join(theirs, on="step", how="semi", nulls_equal=True)
    if steps.is_empty():
        said = f"the calibration has {_names(theirs['step'])}, the trace has {_names(mine['step'])}"
        return 3, f"they have no step in common: {said}"
    return _of_common_steps(mine, theirs)


def _of_common_steps(mine: pl.DataFrame, theirs: pl.DataFrame) -> tuple[int, str]:
    unlike = _unlike_counts(mine, theirs)
    pairs = mine.join(
        theirs, on=["evidence", "step", "order", "of"], suffix="_other", nulls_equal=True
    )
    if pairs.is_empty():
        return 4, f"the steps that they share have unlike numbers of unmaps: {unlike}"
    complete = (pl.col("status") == "complete") & (pl.col("status_other") == "complete")
    pairs = pairs.filter(complete).drop_nulls(["duration_ns", "duration_ns_other"])
    if pairs.is_empty():
        return 5, "no unmap is complete in both"
    pairs = pairs.filter(same_work("_other"))
    if pairs.is_empty():
        return 6, "their unmaps did other work (unlike numbers of leaves, invalidations or puts)"
    further = pl.col("traced_calls") - pl.col("traced_calls_other")
    pairs = pairs.with_columns(further.alias("calls")).filter(pl.col("calls") != 0)
    if pairs.is_empty():
        return 7, "both traced as many calls in each unmap that they share"
    strata = pairs.select("source_id", "source_id_other", "stem", "calls").unique()
    if len(strata) < MIN_STRATA:
        few = f"only {len(strata)} of the {MIN_STRATA} steps or sizes that it takes"
        said = f"{few} can be compared ({_names(strata['stem'])})"
        return 8, said + (f"; others have unlike numbers of unmaps: {unlike}" if unlike else "")
    return 9, "unmaps in which more calls were traced took no longer: they did not do the same work"


def _of_other_evidence(ours: set[str], others: set[str]) -> str:
    if ours == {"insn"}:
        return "the trace is of executed instructions, which cost the guest nothing to record"
    if not (ours | others) & set(TRACERS):
        return "neither records calls with their durations"
    said = " and ".join(sorted(others)) or "no calls"
    return f"the calibration records {said}, the trace {' and '.join(sorted(ours)) or 'no calls'}"


def _unlike_counts(mine: pl.DataFrame, theirs: pl.DataFrame) -> str:
    """The first steps of which the two have unlike numbers of unmaps, with these."""
    counts = (of.select("step", "of").unique(maintain_order=True) for of in (mine, theirs))
    one, other = counts
    alike = one.join(other, on=["step", "of"], how="semi", nulls_equal=True)
    rows = one.join(other, on="step", suffix="_other", nulls_equal=True, maintain_order="left")
    rows = rows.join(alike, on="step", how="anti", nulls_equal=True, maintain_order="left")
    said = [
        f"{_named(step)} {count} in the trace and {theirs} in the calibration"
        for step, count, theirs in rows.unique("step", maintain_order=True).iter_rows()
    ]
    more = f" and {len(said) - NAMED} more" if len(said) > NAMED else ""
    return ", ".join(said[:NAMED]) + more


def _named(step: str | None) -> str:
    return "outside of steps" if step is None else step


def _names(steps: pl.Series) -> str:
    """The first few of *steps*."""
    names: Iterable[str | None] = steps.unique(maintain_order=True).to_list()
    said = sorted({"no steps" if name is None else name for name in names})
    return ", ".join(said[:NAMED]) + (f" and {len(said) - NAMED} more" if len(said) > NAMED else "")
