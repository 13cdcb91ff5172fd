"""What a reader must know before quoting a number: one sentence per reason, only those that apply.

Every output repeats them; JSON gives them with their stable codes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from traceview.queries.bystander_groups import unmeasured
from traceview.queries.groups import source_labels
from traceview.queries.recorded import Recorded
from traceview.report.caveat import Caveat
from traceview.report.tracing import tracing_caveats
from traceview.report.unknowns import invalidations, unknowns
from traceview.report.wording import clean, duration, plural, share, step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from traceview.queries.analysis import Analysis
    from traceview.vocabulary import Vocabulary

ORIGINS: Final = {
    "emulated": "recorded in an emulator: counts and order are real, the times are no evidence"
    " about hardware",
    "synthetic": "made by a simulator: counts and times follow its model, nothing here is evidence"
    " about hardware",
    "unknown": "nobody stated whether this was recorded on hardware (--origin), and a trace cannot"
    " tell: do not quote the times as hardware latencies",
}

# What makes two machines of one label different ones, with how it is called.
HOST_FACTS: Final = (
    ("kernel", "kernel"), ("machine", "machine"), ("midr", "MIDR"), ("fwb", "FWB"),
    ("tlbirange", "TLBIRANGE"), ("page_size_bytes", "page size"), ("origin", "origin"),
    ("evidence", "evidence"),
)  # fmt: skip

# Holes of the hypervisor in which events of the host are known (parsers/hypervisor_times.py).
UNKNOWN_AT_EL2: Final = ("hypervisor_clock", "hypervisor_not_recorded")

# A number below this many steps of the clock says little.
STEPS_OF_AN_UNMAP: Final = 100
STEPS_OF_A_CALL: Final = 20
CALLS: Final = (
    ("invalidate_leaf", "leaf invalidate call"),
    ("invalidate_table", "table invalidate call"),
    ("invalidate_ipa", "leaf or table invalidate call"),
    ("invalidate_range", "range invalidate call"),
    ("cmo", "cache maintenance call"),
    ("table_put", "table release"),
    ("irq", "interrupt"),
)


def caveats(
    analysis: Analysis,
    vocabulary: Vocabulary | None = None,
    calibration: Analysis | None = None,
) -> tuple[Caveat, ...]:
    """Everything that limits what *analysis* may be quoted for, the gravest first."""
    recorded = Recorded(analysis, vocabulary)
    found = [*_origins(analysis), *_instruction_times(analysis), *_mixed_hosts(analysis)]
    found += _despite_fwb(analysis)
    found += _per_source(analysis, "loss-unknown", _loss_unknown)
    # Lists are slow to copy, and none of these looks at them.
    complete = analysis.unmaps.drop("separated").filter(pl.col("status") == "complete")
    if len(analysis.unmaps):
        found += _excluded(analysis.unmaps, lost=_lost(analysis.losses))
    if len(complete):
        found += unknowns(complete, recorded)
        found += invalidations(complete, recorded)
        found += _overhead(complete, hint=calibration is None)
        found += tracing_caveats(analysis, calibration)
        found += _per_source(analysis, "clock-resolution", _resolution(complete))
        found += _runs(analysis)
        found += _elsewhere(analysis)
    return tuple(found)


def _elsewhere(analysis: Analysis) -> Iterable[Caveat]:
    """What unmaps cost others: why stalls of vCPUs are not known, and what no event shows."""
    why = unmeasured(analysis)

    def says(source: dict[str, Any]) -> str | None:
        reason = why.get(source["source_id"])
        return None if reason is None else f"cost to bystanders: not measured ({reason})"

    yield from _per_source(analysis, "bystanders-not-measured", says)
    yield Caveat(
        "elsewhere-not-measured",
        "what invalidations cost the guest in TLBs to refill, and other CPUs in DVM traffic, was"
        " not measured: no event shows it",
    )


def left_out(undecided: dict[str, int]) -> Iterable[Caveat]:
    """What filters left out because it was *undecided*: by what was not known, how many."""
    for what, number in undecided.items():
        was, belongs = ("was", "it may belong") if number == 1 else ("were", "they may belong")
        yield Caveat(
            "left-out-by-filter",
            f"{plural(number, 'unmap')} without a known {what} {was} left out by the filter:"
            f" {belongs} to what it keeps",
            counts=True,
        )


def _origins(analysis: Analysis) -> Iterable[Caveat]:
    for origin, text in ORIGINS.items():
        of = analysis.sources.filter(pl.col("origin") == origin)
        if len(of):
            said = _about(analysis, f"origin-{origin}", f"origin {origin}: {text}", of)
            yield replace(said, severity="strong")


def _instruction_times(analysis: Analysis) -> Iterable[Caveat]:
    """An emulator's clock counts instructions, and every duration is made of it."""
    seen = analysis.event_counts.filter(pl.col("evidence") == "insn")["source_id"].to_list()
    kinds = analysis.unmaps.select("source_id", "evidence").unique()
    seen += kinds.filter(pl.col("evidence") == "insn")["source_id"].to_list()
    of = analysis.sources.filter(pl.col("source_id").is_in(seen))
    if len(of):
        text = "times are counts of executed instructions, 1 ns = 1 instruction"
        yield replace(_about(analysis, "times-are-instructions", text, of), severity="strong")


def _despite_fwb(analysis: Analysis) -> Iterable[Caveat]:
    """Cache maintenance where FWB is stated: stage2_unmap_walker does none with it (pgtable.c)."""
    maintained = analysis.unmaps.lazy().filter(pl.col("cmo") > 0).select("source_id").collect()
    stated = analysis.sources.filter(pl.col("fwb"))["source_id"]
    of = analysis.sources.filter(
        pl.col("source_id").is_in(maintained["source_id"].implode())
        & pl.col("source_id").is_in(stated.implode())
    )
    if len(of):
        number = int(maintained["source_id"].is_in(stated.implode()).sum())
        text = (
            f"FWB is stated, and {plural(number, 'unmap')} did cache maintenance, which no unmap"
            " does with FWB: what is stated of the host is wrong"
        )
        yield replace(_about(analysis, "cmo-despite-fwb", text, of), severity="strong")


def _mixed_hosts(analysis: Analysis) -> Iterable[Caveat]:
    """Labels under which different machines, or different evidence, are one group."""
    kinds = (
        analysis.unmaps.select("source_id", "evidence")
        .unique()
        .drop_nulls("evidence")
        .group_by("source_id")
        .agg(pl.col("evidence").cast(pl.String).unique().sort().str.join("+"))
    )
    sources = analysis.sources.join(kinds, on="source_id", how="left", maintain_order="left")
    sources = sources.with_columns(pl.coalesce("label", "path").alias("label"))
    for (label,), of in sources.group_by("label", maintain_order=True):
        differ = []
        for column, name in HOST_FACTS:
            values = [clean(value) for value in of[column].drop_nulls().unique(maintain_order=True)]
            if len(values) > 1:
                differ.append(f"{name} ({', '.join(values)})")
        if differ:
            text = (
                f"traces of different {', '.join(differ)} are one group under the label"
                f" {clean(label)}: its statistics are of no single machine or method"
            )
            yield Caveat("mixed-hosts", text, tuple(of["source_id"]), "strong")


def _per_source(
    analysis: Analysis, code: str, says: Callable[[dict[str, Any]], str | None]
) -> Iterable[Caveat]:
    """One caveat per distinct text, about the sources of which *says* says it."""
    texts: dict[str, list[int]] = {}
    for row in analysis.sources.iter_rows(named=True):
        text = says(row)
        if text is not None:
            texts.setdefault(text, []).append(row["source_id"])
    for text, sources in texts.items():
        yield _about(
            analysis, code, text, analysis.sources.filter(pl.col("source_id").is_in(sources))
        )


def _about(analysis: Analysis, code: str, text: str, sources: pl.DataFrame) -> Caveat:
    """The caveat, with the names of its sources where it is not about all of them."""
    if len(sources) == len(analysis.sources):
        return Caveat(code, text)
    named, others = (
        set(source_labels(of)["label"])
        for of in (
            sources,
            analysis.sources.filter(~pl.col("source_id").is_in(sources["source_id"].implode())),
        )
    )
    # A label that others share does not say which of its traces are meant.
    shown = _listed(sources["path"] if named & others else named)
    return Caveat(code, f"{shown}: {text}", tuple(sources["source_id"]))


def _loss_unknown(source: dict[str, Any]) -> str | None:
    if source["loss_known"]:
        return None
    return (
        f"loss unknown: {source['format']} does not say here whether events were lost, so an unmap"
        " that looks complete may have lost a part"
    )


def _lost(losses: pl.DataFrame) -> bool:
    """Whether a buffer lost events: what the hypervisor says of no time is no matter of length."""
    return bool((~losses["kind"].cast(pl.String).is_in(UNKNOWN_AT_EL2)).any())


def _excluded(unmaps: pl.DataFrame, *, lost: bool) -> Iterable[Caveat]:
    began = len(unmaps)
    for status, why in (
        ("censored", "their entry or exit is missing"),
        (
            "contaminated",
            "they overlap a loss of events, or a call in them has no entry or no return",
        ),
    ):
        number = int((unmaps["status"] == status).sum())
        if number:
            yield Caveat(
                f"excluded-{status}",
                f"{plural(number, 'unmap')} of {began:,} ({share(number, began)}) {status}"
                f" ({why}): in no statistics",
                counts=True,
            )
    if lost:
        yield Caveat(
            "survivors-are-short",
            "a long unmap is likelier to meet a loss than a short one, and a whole one may lie in"
            " it: what is left is no fair sample of all unmaps",
        )
    entries = int((unmaps["status"] == "point").sum())
    if entries:
        yield Caveat(
            "entries-only",
            f"{plural(entries, 'unmap')} of {began:,} recorded by their entry only: no durations,"
            " and nothing can be placed inside them",
            counts=True,
        )


def _overhead(complete: pl.DataFrame, *, hint: bool) -> Iterable[Caveat]:
    timed = (
        complete.lazy()
        .filter((pl.col("evidence") != "insn") & pl.col("probe_ns").is_null())
        .select("traced_calls", "leaves")
        .collect()
    )
    if timed.is_empty():
        return
    calls, leaves = int(timed["traced_calls"].sum()), int(timed["leaves"].sum())
    per_leaf = f" ({calls / leaves:,.1f} per leaf)" if leaves else ""
    cost = "tracing the unmaps themselves cost"
    if calls:
        cost = f"tracing {plural(calls, 'call')}{per_leaf} cost"
    if hint and calls:
        cost += (
            "; a trace of kvm_pgtable_stage2_unmap alone is nearer the truth, and says what it was"
            " (--calibration)"
        )
    yield Caveat(
        "overhead-not-calibrated",
        f"tracing overhead not calibrated: the times contain what {cost}",
    )


def _resolution(complete: pl.DataFrame) -> Callable[[dict[str, Any]], str | None]:
    """Of a source: whether its clock is coarse beside what is shown of its unmaps.

    The durations of function_graph are not made of two times of the trace's clock.
    """
    timed = complete.filter(pl.col("evidence") != "fgraph")

    def says(source: dict[str, Any]) -> str | None:
        resolution = source["ts_resolution_ns"]
        if resolution is None or resolution <= 1:
            return None
        of = timed.filter(pl.col("source_id") == source["source_id"])
        short = [
            f"{duration(round(median))} {what}"
            for what, median, steps in _medians(of)
            if median < steps * resolution
        ]
        if not short:
            return None
        return (
            f"times are multiples of {step(resolution)}: no call is timed more finely, and short"
            f" calls may read 0; coarse beside medians over unmaps: {', '.join(short)}"
        )

    return says


def _medians(unmaps: pl.DataFrame) -> Iterable[tuple[str, float, int]]:
    """What is shown of *unmaps*: its name, its median, how many steps of the clock it should be.

    Of calls it is the median over unmaps of what a call took in each in the mean: single calls are
    in no table.
    """
    shown = [("per unmap", pl.col("duration_ns"), STEPS_OF_AN_UNMAP)]
    per_leaf = pl.when(pl.col("leaves") > 0).then(pl.col("duration_ns") / pl.col("leaves"))
    shown.append(("per leaf (mean of each unmap)", per_leaf, STEPS_OF_A_CALL))
    for name, what in CALLS:
        per_call = pl.when(pl.col(name) > 0).then(pl.col(f"{name}_ns") / pl.col(name))
        shown.append((f"per {what} (mean of each unmap)", per_call, STEPS_OF_A_CALL))
    for what, value, steps in shown:
        median = unmaps.select(value.median()).item()
        if median is not None:
            yield what, median, steps


def _runs(analysis: Analysis) -> Iterable[Caveat]:
    """Traces of one label are replication only if they state different runs."""
    sources = source_labels(analysis.sources).hstack(analysis.sources.select("run"))
    labels = sources.group_by("label", maintain_order=True).agg(
        pl.len().alias("sources"),
        pl.col("run").drop_nulls().n_unique().alias("runs"),
        pl.col("run").null_count().alias("unstated"),
    )
    single = labels.filter(pl.col("runs") < 2)
    if len(single):
        stated = "" if (single["sources"] == 1).all() else " as far as is stated"
        of = "" if len(labels) == len(single) else f" of {_listed(single['label'])}"
        yield Caveat(
            "one-run",
            f"one run{of}{stated}: unmaps of one boot are not independent, so these are effect"
            " sizes that permit no inference",
        )
    if len(labels.filter((pl.col("unstated") > 0) & (pl.col("sources") > 1))):
        yield Caveat(
            "runs-unknown",
            "runs not stated (--run, sidecar): traces of one label may be of one boot, and permit"
            " no inference",
        )


def _listed(labels: Iterable[str]) -> str:
    """The first few of *labels*."""
    names = sorted({clean(label) for label in labels})
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
