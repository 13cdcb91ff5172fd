"""Which questions a trace can answer, and why it cannot answer the others.

An answer rests on what the analysis found, not on what the format could hold: `yes`, `no`, or
`partly` (for some unmaps). The reasons name the functions that would have had to be traced.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterator

    from traceview.queries.analysis import Analysis
    from traceview.vocabulary import Vocabulary

FLUSH_MISSING: Final = (
    "no flush function was hit or listed as traced (__kvm_tlb_flush_vmid_ipa,"
    " kvm_tlb_flush_vmid_range), or the host runs nVHE, where they cannot be traced"
)

ENTRIES_ONLY: Final = "its functions were recorded by their entry only: counted, not timed"
UNMAP_ENTRIES_ONLY: Final = (
    "kvm_pgtable_stage2_unmap was recorded by its entry only: nothing can be placed inside it"
)
NO_UNMAP: Final = "there is no unmap to ask it of"


@dataclass(frozen=True, slots=True)
class Answer:
    """`code` is a stable name; `answer` is yes, no or partly; `why` may be empty for a yes."""

    code: str
    question: str
    answer: str
    why: str


@dataclass(frozen=True, slots=True)
class Question:
    """One that is asked of every unmap; `known` holds where it can be answered, else `why`.

    `operation`: what must have been timed; if it was hit all the same, only entries were recorded.
    `nests`: it takes calls inside the unmap or around it, so an entry of it is not enough.
    """

    code: str
    question: str
    known: pl.Expr
    why: str
    operation: str | None = None
    nests: bool = False


def _has(*columns: str) -> pl.Expr:
    return pl.all_horizontal(pl.col(name).is_not_null() for name in columns)


# Of every unmap that is complete or recorded by its entry.
OF_UNMAPS: Final = (
    Question(
        "strategy",
        "which invalidation strategy was used",
        pl.col("strategy") != "unknown",
        FLUSH_MISSING,
        nests=True,
    ),
    Question(
        "leaves",
        "how many leaves each unmap cleared",
        _has("leaves"),
        "neither kvm_s2_put_page, nor a flush or cache maintenance per leaf was traced; the length"
        " of a range is no count, it may have holes",
        nests=True,
    ),
    Question(
        "leaf-level",
        "how large the leaves were",
        _has("leaves_l1") | _has("leaves_l2") | _has("leaves_l3"),
        "no argument that tells the level of a leaf was recorded",
        nests=True,
    ),
    Question(
        "trigger",
        "who asked for each unmap",
        pl.col("trigger") != "unknown",
        "no function that asks for unmaps was traced (kvm_unmap_gfn_range,"
        " kvm_arch_flush_shadow_memslot, ...)",
        nests=True,
    ),
    Question(
        "address",
        "which guest addresses were unmapped",
        _has("ipa"),
        "the arguments of kvm_pgtable_stage2_unmap were not recorded (a kprobe can)",
    ),
    Question(
        "when",
        "when each unmap began, and how they overlap",
        _has("start_ns"),
        "the trace has no times (function_graph text has them with funcgraph-abstime)",
    ),
    Question(
        "task",
        "which task unmapped",
        _has("tid"),
        "the trace names no task (function_graph text does with funcgraph-proc)",
    ),
    Question(
        "step",
        "which step of the recording an unmap belongs to",
        _has("step"),
        "no begin/end markers in trace_marker match --step-pattern (or give --steps FILE)",
    ),
)

# Of every complete unmap.
OF_COMPONENTS: Final = (
    Question(
        "invalidation-time",
        "how long invalidation took",
        (_has("invalidate_leaf_ns") | _has("invalidate_ipa_ns")) & _has("invalidate_range_ns"),
        f"no invalidation timing: {FLUSH_MISSING}",
        "invalidate_ipa",
    ),
    Question(
        "table-invalidation-time",
        "how long the invalidation of freed tables took",
        _has("invalidate_table_ns"),
        "leaf and table invalidations are one function; kvm_s2_put_page or the arguments tell"
        " them apart, and neither was recorded",
    ),
    Question(
        "cmo-time",
        "how long cache maintenance took",
        _has("cmo_ns"),
        "clean_dcache_guest_page was not traced (dcache_clean_inval_poc cannot be)",
        "cmo",
    ),
    Question(
        "table-put-time",
        "how long the release of page-table pages took",
        _has("table_put_ns"),
        "kvm_s2_put_page was not traced",
        "table_put",
    ),
    Question(
        "irq-time",
        "how much interrupts took of it",
        _has("irq_ns"),
        "no interrupt function or event was traced (irq_handler_entry, gic_handle_irq, ...)",
    ),
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the questions are asked of: one source. `operations`: those that were traced."""

    analysis: Analysis
    source_id: int
    operations: frozenset[str]

    def of(self, table: str) -> pl.DataFrame:
        """The rows of this source."""
        rows: pl.DataFrame = getattr(self.analysis, table)
        return rows.filter(pl.col("source_id") == self.source_id)


def answers(
    analysis: Analysis, vocabulary: Vocabulary, traced: frozenset[str] | None, source_id: int = 0
) -> list[Answer]:
    """Every question, answered for the source *source_id*.

    *traced* are the functions that its sidecar lists as traced, hit or not.
    """
    hit = analysis.event_counts.filter(
        (pl.col("source_id") == source_id) & pl.col("symbol").is_not_null()
    )["symbol"]
    symbols = {*hit.cast(pl.String).to_list(), *(traced or ())}
    operations = frozenset(vocabulary.meaning(symbol).operation for symbol in symbols)
    evidence = Evidence(analysis, source_id, operations)
    unmaps = evidence.of("unmaps")
    counted = unmaps.filter(pl.col("status").is_in(["complete", "point"]))
    complete = unmaps.filter(pl.col("status") == "complete")
    return [
        _duration(evidence),
        *(_for_unmaps(question, counted, operations) for question in OF_UNMAPS),
        *(_for_unmaps(question, complete, operations) for question in OF_COMPONENTS),
        *_of_the_rest(evidence),
    ]


def _duration(evidence: Evidence) -> Answer:
    question = "how long each unmap took"
    unmaps = evidence.of("unmaps")
    complete = unmaps.filter(pl.col("status") == "complete")
    if unmaps.is_empty():
        return Answer("duration", question, "no", _why_no_unmap(evidence))
    if complete.is_empty():
        why = "kvm_pgtable_stage2_unmap was recorded by its entry only, or every call is incomplete"
        return Answer("duration", question, "no", why)
    excluded = len(unmaps) - len(complete)
    if excluded:
        why = f"{excluded:,} of {len(unmaps):,} are incomplete or overlap a loss"
        return Answer("duration", question, "partly", why)
    return Answer("duration", question, "yes", "")


def _why_no_unmap(evidence: Evidence) -> str:
    if "unmap" in evidence.operations:
        return "kvm_pgtable_stage2_unmap was traced and nothing was unmapped"
    nameless = evidence.of("event_counts").filter(
        pl.col("symbol").is_null() & pl.col("evidence").is_in(["kprobe", "fprobe"])
    )
    if len(nameless):
        return (
            "the trace does not say which functions its probes are of; give --kallsyms FILE, or a"
            " sidecar with kprobe_events"
        )
    return "kvm_pgtable_stage2_unmap was never hit and is not listed as traced"


def _of_the_rest(evidence: Evidence) -> Iterator[Answer]:
    source = evidence.of("sources").row(0, named=True)
    yield Answer(
        "loss",
        "whether events were lost",
        "yes" if source["loss_known"] else "no",
        "" if source["loss_known"] else f"{source['format']} does not say here what it lost",
    )
    executed = len(evidence.of("instructions")) > 0
    yield Answer(
        "tlbi-dsb",
        "how TLBI and DSB divide an invalidate call",
        "partly" if executed else "no",
        "their counts; instructions have no durations"
        if executed
        else "function timings cannot separate them; an emulator's instruction trace counts them",
    )
    operands = len(evidence.of("instructions").filter(pl.col("operand").is_not_null())) > 0
    yield Answer(
        "range-operand",
        "what range operations really covered",
        "yes" if operands else "no",
        "" if operands else "operand not recorded; the kernel's formula is assumed",
    )
    yield Answer(
        "tracing-cost",
        "what the tracing itself cost",
        "no",
        "one trace cannot tell; a second one of kvm_pgtable_stage2_unmap alone can",
    )


def _for_unmaps(asked: Question, unmaps: pl.DataFrame, operations: frozenset[str]) -> Answer:
    """The answer by how many of *unmaps* can give it."""
    known = len(unmaps.filter(asked.known))
    if unmaps.is_empty():
        return Answer(asked.code, asked.question, "no", NO_UNMAP)
    if known == len(unmaps):
        return Answer(asked.code, asked.question, "yes", "")
    why = ENTRIES_ONLY if asked.operation in operations else asked.why
    if asked.nests and (unmaps["status"] == "point").all():
        why = UNMAP_ENTRIES_ONLY
    if known == 0:
        return Answer(asked.code, asked.question, "no", why)
    why = f"for {known:,} of {len(unmaps):,} unmaps; else: {why}"
    return Answer(asked.code, asked.question, "partly", why)
