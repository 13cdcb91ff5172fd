"""What to say of traces without any unmap: what they hold, and what to trace instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from traceview.queries.recorded import Recorded, names
from traceview.report.wording import clean, count, plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from traceview.queries.analysis import Analysis

SHOWN: Final = 3
FUNCTIONS: Final = ("fgraph", "kprobe", "fprobe", "insn", "function")
# What the summary divides an unmap into (vocabulary.toml has the names of other kernels).
ADVICE: Final = (
    "to trace: kvm_pgtable_stage2_unmap, __kvm_tlb_flush_vmid_ipa, kvm_tlb_flush_vmid_range,"
    " clean_dcache_guest_page and kvm_s2_put_page, and of those who ask"
    " kvm_mmu_notifier_invalidate_range_start and kvm_arch_flush_shadow_memslot; by"
    " function_graph, or by a probe of the entry and one of the return of each"
)


def unknown_because(analysis: Analysis) -> str:
    """Why it is not known how many unmaps there were, where none was recorded as such."""
    counts = analysis.event_counts
    unmaps = Recorded(analysis).hits(analysis.sources["source_id"], "unmap")
    if not int(counts["count"].sum()):
        why = "there is no event at all"
    elif len(analysis.samples):
        why = "samples fell inside them, which do not tell how many there were"
    elif any(what.code == "unnamed-samples" for _, what in analysis.diagnostics):
        why = "samples have no function names"
    elif len(_nameless(counts)):
        why = "what the probes are of is not known"
    elif unmaps:
        why = f"no call of {names(unmaps)} was recorded, only points inside it"
    else:
        why = "kvm_pgtable_stage2_unmap was not traced, or nothing was unmapped"
    return f"unknown ({why})"


def _nameless(counts: pl.DataFrame) -> pl.DataFrame:
    """Events of probes of functions without the name of these."""
    return counts.filter(
        pl.col("evidence").is_in(FUNCTIONS),
        pl.col("symbol").is_null() & (pl.col("evidence") != "insn"),
    )


def why_no_unmap(analysis: Analysis) -> Iterator[str]:
    """Paragraphs about the traces of *analysis*, in which there is no unmap."""
    counts = analysis.event_counts
    events = int(counts["count"].sum())
    if not events:
        yield "no unmap: there is no event at all"
        yield ADVICE
        return
    recorded = Recorded(analysis)
    functions = counts.filter(pl.col("evidence").is_in(FUNCTIONS))
    nameless = _nameless(counts)
    unmaps = recorded.hits(analysis.sources["source_id"], "unmap")
    if len(analysis.samples):
        inside = plural(len(analysis.samples), "sample")
        yield f"no unmap was recorded as such; {inside} fell inside unmaps (below)"
        return
    unnamed = [what for _, what in analysis.diagnostics if what.code == "unnamed-samples"]
    if unnamed:
        yield f"no unmap: {count(unnamed[0].count)} samples have no function names (see below)"
        return
    if len(nameless):
        yield "no unmap: what the probes are of is not known, and one of them may be of unmaps"
    elif unmaps:
        yield f"no unmap: no call of {names(unmaps)} was recorded, only points inside it"
    else:
        yield (
            f"no unmap: none of the {plural(events, 'event')} is of kvm_pgtable_stage2_unmap; it"
            " was not traced, or nothing was unmapped"
        )
    yield f"what is here: {_most(counts)}"
    if len(nameless):
        number = int(nameless["count"].sum())
        probes = "is of a probe without the name of its"
        probes = probes if number == 1 else "are of probes without the name of their"
        yield (
            f"{count(number)} of them {probes} function: give --kallsyms FILE, a copy of the"
            " host's /proc/kallsyms, or put the lines of its tracefs kprobe_events beside the trace"
            ' as TRACE.host.json, {"kprobe_events": ["p:GROUP/EVENT SYMBOL ...", ...]}'
            " (docs/sidecar.md)"
        )
        return
    elif functions.is_empty():
        yield (
            "no function was recorded, neither by function_graph nor by a probe: if some were set"
            " up, their events did not get into the trace"
        )
    destroys = recorded.hits(analysis.sources["source_id"], "destroy")
    if destroys:
        yield f"VMs were destroyed ({names(destroys)}), which is no unmap"
    asked = counts.filter(pl.col("name").cast(pl.String) == "kvm_unmap_hva_range")
    if len(asked):
        hits = int(asked["count"].sum())
        yield f"kvm_unmap_hva_range was hit {plural(hits, 'time')}: unmaps were asked for"
    yield ADVICE


def _most(counts: pl.DataFrame) -> str:
    """The most frequent events by name and function."""
    named = counts.with_columns(
        pl.coalesce(pl.col("symbol").cast(pl.String), pl.col("name").cast(pl.String)).alias("of")
    )
    rows = (
        named.group_by("of", maintain_order=True)
        .agg(pl.col("count").sum())
        .sort("count", "of", descending=[True, False])
    )
    said = [f"{count(number)} {clean(of)}" for of, number in rows.head(SHOWN).iter_rows()]
    more = len(rows) - SHOWN
    return ", ".join(said) + (f", and {plural(more, 'other kind')}" if more > 0 else "")
