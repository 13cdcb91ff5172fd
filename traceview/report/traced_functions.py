"""Which functions were traced, as far as hits tell: what was traced and never hit leaves no event.

A hit of a function of arch/arm64/kvm/hyp/vhe/tlb.c (Linux 6.12) says that the host runs at EL2: of
nVHE and pKVM these run in the hypervisor, under names of their own, and no host traces them.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

import polars as pl

from traceview.queries.audit_source import OF_VHE
from traceview.report.wording import clean, count, plural
from traceview.vocabulary import Vocabulary, strip_suffix

if TYPE_CHECKING:
    from traceview.queries.analysis import Analysis

FUNCTIONS: Final = ("fgraph", "kprobe", "fprobe", "insn", "function")
ENDS: Final = ("exit", "complete")
MOST: Final = 15
# What a reader asks for first: the unmap, what it is made of, who asked for it.
ROLES: Final = (
    "unmap", "invalidate_ipa", "invalidate_range", "invalidate_vmid", "cmo", "table_put", "walk",
    "trigger", "hypercall", "irq", "destroy", "lock", "sched", "other",
)  # fmt: skip


def traced_text(analysis: Analysis) -> str:
    """The functions that the traces hit, by role; with how many of the traces where not in all."""
    rows = _hits(analysis)
    said = []
    if len(rows):
        said.append(_listed(rows, len(analysis.sources)))
    nameless = int(_of(analysis).filter(_is_nameless())["count"].sum())
    if nameless:
        said.append(f"{plural(nameless, 'event')} of probes whose functions are not known")
    return "; ".join(said) or "no function"


def mode_text(analysis: Analysis) -> str:
    """VHE where its own functions were hit; what else a host may be no hit tells."""
    of = _of(analysis).filter(pl.col("symbol").is_not_null())
    hit = {
        source
        for source, symbol in of.select("source_id", pl.col("symbol").cast(pl.String)).iter_rows()
        if strip_suffix(symbol) in OF_VHE
    }
    if not hit:
        return "unknown (VHE or nVHE)"
    if len(hit) == len(analysis.sources):
        return "VHE (functions of vhe/tlb.c were hit)"
    return (
        f"VHE in {len(hit)} of {plural(len(analysis.sources), 'trace')} (functions of vhe/tlb.c"
        " were hit), else unknown"
    )


def _of(analysis: Analysis) -> pl.DataFrame:
    """What was hit of the functions, in the traces of *analysis*."""
    ids = analysis.sources["source_id"].implode()
    return analysis.event_counts.filter(
        pl.col("source_id").is_in(ids), pl.col("evidence").is_in(FUNCTIONS)
    )


def _is_nameless() -> pl.Expr:
    # Instructions are events of their own, within functions.
    return pl.col("symbol").is_null() & (pl.col("evidence") != "insn")


def _hits(analysis: Analysis) -> pl.DataFrame:
    """Name, how many traces hit it, whether returns were recorded; in order of role and name."""
    words = Vocabulary.builtin()
    own = dict(
        analysis.own_times.select(pl.col("symbol", "operation").cast(pl.String))
        .drop_nulls()
        .unique(maintain_order=True)
        .iter_rows()
    )
    rows = (
        _of(analysis)
        .filter(pl.col("symbol").is_not_null())
        .with_columns(pl.col("symbol").cast(pl.String))
        .group_by("symbol")
        .agg(
            pl.col("source_id").n_unique().alias("traces"),
            pl.col("phase").cast(pl.String).is_in(ENDS).any().alias("ends"),
        )
    )
    roles = [ROLES.index(own.get(name) or words.meaning(name).operation) for name in rows["symbol"]]
    return rows.with_columns(pl.Series("role", roles, pl.Int32())).sort("role", "symbol")


def _listed(rows: pl.DataFrame, sources: int) -> str:
    """The first of *rows*, those of all traces before those of some."""
    whole = bool(rows["ends"].any())
    by_traces: defaultdict[int, list[str]] = defaultdict(list)
    for name, traces, ends in rows.head(MOST).select("symbol", "traces", "ends").iter_rows():
        by_traces[traces].append(clean(name) + ("" if ends or not whole else " (entry only)"))
    said = [
        ("" if traces == sources else f"in {traces} of {sources} traces: ") + ", ".join(names)
        for traces, names in sorted(by_traces.items(), reverse=True)
    ]
    more = len(rows) - MOST
    said += [f"and {count(more)} more"] if more > 0 else []
    return ("" if whole else "entries alone: ") + "; ".join(said)
