"""Which questions a trace can answer, and why it cannot answer the others.

An answer rests on what the analysis found, not on what the format could hold: `yes`, `no`, or
`partly` (for some unmaps). The reasons name the functions that would have had to be traced.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

from traceview.queries.reasons import (
    BLURRED,
    CMO_ABSENT,
    FLUSH_ABSENT,
    IRQ_ABSENT,
    PUT_ABSENT,
    RANGE_ABSENT,
    why_no_leaves,
    why_no_strategy,
    why_no_trigger,
)
from traceview.queries.recorded import Recorded, names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from traceview.queries.analysis import Analysis
    from traceview.vocabulary import Vocabulary

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

    `operation`: what must have been timed; what was hit of it is the reason if it was not.
    `nests`: it takes calls inside the unmap or around it, so an entry of it is not enough.
    """

    code: str
    question: str
    known: pl.Expr
    why: str | Callable[[Recorded, int], str]
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
        why_no_strategy,
        nests=True,
    ),
    Question(
        "leaves",
        "how many leaves each unmap cleared",
        _has("leaves"),
        why_no_leaves,
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
        why_no_trigger,
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
        pl.col("tid") > 0,  # 0 is the idle task, which unmaps nothing: no task was known
        "the trace names no task (function_graph text does with funcgraph-proc)",
    ),
    Question(
        "step",
        "which step of the recording an unmap belongs to",
        _has("step"),
        "no begin/end markers in trace_marker match --step-pattern (or `traceview analyze --steps"
        " FILE`)",
    ),
)

# Of every complete unmap.
OF_COMPONENTS: Final = (
    Question(
        "cmo-time",
        "how long cache maintenance took",
        _has("cmo_ns"),
        f"{CMO_ABSENT} (dcache_clean_inval_poc cannot be traced)",
        "cmo",
    ),
    Question(
        "table-put-time",
        "how long the release of page-table pages took",
        _has("table_put_ns"),
        PUT_ABSENT,
        "table_put",
    ),
    Question(
        "irq-time",
        "how much interrupts took of it",
        _has("irq_ns"),
        f"{IRQ_ABSENT} (irq_handler_entry, gic_handle_irq, ...)",
        "irq",
    ),
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the questions are asked of: one source. `operations`: those hit or stated as traced."""

    analysis: Analysis
    source_id: int
    operations: frozenset[str]
    recorded: Recorded

    def of(self, table: str) -> pl.DataFrame:
        """The rows of this source."""
        rows: pl.DataFrame = getattr(self.analysis, table)
        return rows.filter(pl.col("source_id") == self.source_id)

    def emulated(self) -> bool:
        """Whether all functions were seen by an emulator, from outside the machine."""
        kinds = set(self.of("event_counts").drop_nulls("symbol")["evidence"].drop_nulls())
        return kinds == {"insn"}


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
    evidence = Evidence(analysis, source_id, operations, Recorded(analysis, vocabulary))
    unmaps = evidence.of("unmaps")
    counted = unmaps.filter(pl.col("status").is_in(["complete", "point"]))
    complete = unmaps.filter(pl.col("status") == "complete")
    return [
        _duration(evidence),
        *(_of_instructions(_for_unmaps(q, counted, evidence), evidence) for q in OF_UNMAPS),
        _invalidation_time(evidence, complete),
        _for_unmaps(_tables_question(complete), complete, evidence),
        *(_for_unmaps(question, complete, evidence) for question in OF_COMPONENTS),
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
        are = "is incomplete or overlaps" if excluded == 1 else "are incomplete or overlap"
        why = f"{excluded:,} of {len(unmaps):,} {are} a loss"
        return Answer("duration", question, "partly", why)
    return Answer("duration", question, "yes", "")


def _why_no_unmap(evidence: Evidence) -> str:
    hits = evidence.recorded.hits([evidence.source_id], "unmap")
    if hits:
        return f"no call of {names(hits)} was recorded, only points inside it"
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
    functions = evidence.of("event_counts").filter(pl.col("symbol").is_not_null())
    more = "" if len(functions) else "; no event of any function is in the trace"
    return f"kvm_pgtable_stage2_unmap was never hit and is not listed as traced{more}"


def _of_instructions(answer: Answer, evidence: Evidence) -> Answer:
    """*answer*, if it holds for executed instructions: an emulator knows vCPUs and no tasks."""
    if answer.why == NO_UNMAP or not evidence.emulated():
        return answer
    if answer.code == "task" and answer.answer == "no":
        why = "the emulator recorded vCPUs, not the tasks that ran on them"
        return Answer(answer.code, answer.question, "no", why)
    if answer.code == "when" and answer.answer == "yes":
        why = "in instructions executed per vCPU, which do not compare across vCPUs"
        return Answer(answer.code, answer.question, "partly", why)
    return answer


FLUSH_TIMED: Final = (
    _has("invalidate_leaf_ns", "invalidate_table_ns") | pl.col("invalidate_ipa_ns").is_not_null()
)


def _invalidation_time(evidence: Evidence, complete: pl.DataFrame) -> Answer:
    """Time of all invalidations: of leaves and tables, and of ranges."""
    code, question = "invalidation-time", "how long invalidation took"
    if complete.is_empty():
        return Answer(code, question, "no", NO_UNMAP)
    range_timed = pl.col("invalidate_range_ns").is_not_null()
    parts = (
        ("of leaves and tables", "invalidate_ipa", FLUSH_TIMED, FLUSH_ABSENT),
        ("of ranges", "invalidate_range", range_timed, RANGE_ABSENT),
    )
    whys = []
    for what, operation, timed, absent in parts:
        lacking = len(complete.filter(~timed))
        if lacking:
            of = "" if lacking == len(complete) else f" ({lacking:,} of {len(complete):,} unmaps)"
            why = evidence.recorded.why_untimed(evidence.source_id, operation, absent)
            whys.append(f"{what}{of}: {why}")
    if not whys:
        return Answer(code, question, "yes", "")
    # A zero by construction is no measurement.
    some = complete.filter(FLUSH_TIMED | (pl.col("invalidate_range_ns") > 0))
    said = f"no timing {'; '.join(whys)}"
    return Answer(code, question, "no" if some.is_empty() else "partly", said)


def _tables_question(complete: pl.DataFrame) -> Question:
    """Either flushes have no time, or they have and cannot be told from those of leaves."""
    blurred = complete["invalidate_ipa_ns"].null_count() < len(complete)
    return Question(
        "table-invalidation-time",
        "how long the invalidation of freed tables took",
        _has("invalidate_table_ns"),
        BLURRED if blurred else FLUSH_ABSENT,
        None if blurred else "invalidate_ipa",
    )


def _of_the_rest(evidence: Evidence) -> Iterator[Answer]:
    source = evidence.of("sources").row(0, named=True)
    yield Answer(
        "loss",
        "whether events were lost",
        "yes" if source["loss_known"] else "no",
        "" if source["loss_known"] else f"{source['format']} does not say here what it lost",
    )
    inside = len(evidence.of("samples"))
    if inside:
        why = f"{inside:,} samples inside unmaps; leaves and tables are not told apart"
        yield Answer("samples", "where the samples of a profiler fell", "yes", why)
    instructions = evidence.of("instructions")
    executed = len(instructions) > 0
    yield Answer(
        "tlbi-dsb",
        "how TLBI and DSB divide an invalidate call",
        "partly" if executed else "no",
        "their counts; instructions have no durations"
        if executed
        else "function timings cannot separate them; an emulator's instruction trace counts them",
    )
    yield _range_operand(instructions)
    question = "what the tracing itself cost"
    if evidence.emulated():
        why = "nothing: no tracer ran in the guest, the emulator recorded it from outside"
        yield Answer("tracing-cost", question, "yes", why)
    else:
        why = "one trace cannot tell; a second one of kvm_pgtable_stage2_unmap alone can"
        yield Answer("tracing-cost", question, "no", why)


def _range_operand(instructions: pl.DataFrame) -> Answer:
    """Range operations have names with an R (RIPAS2E1IS); others say nothing of ranges."""
    code, question = "range-operand", "what range operations really covered"
    if instructions.is_empty():
        why = "operand not recorded; the kernel's formula is assumed"
        return Answer(code, question, "no", why)
    ranges = instructions.filter(
        (pl.col("insn").cast(pl.String) == "tlbi")
        & pl.col("op").cast(pl.String).str.to_lowercase().str.starts_with("r")
    )
    if ranges.is_empty():
        return Answer(code, question, "no", "there were none: no range TLBI was executed")
    known = len(ranges) - ranges["operand"].null_count()
    if known == len(ranges):
        return Answer(code, question, "yes", "")
    why = f"{known:,} of {len(ranges):,} range TLBIs have their operand"
    return Answer(code, question, "partly" if known else "no", why)


def _for_unmaps(asked: Question, unmaps: pl.DataFrame, evidence: Evidence) -> Answer:
    """The answer by how many of *unmaps* can give it."""
    known = len(unmaps.filter(asked.known))
    if unmaps.is_empty():
        return Answer(asked.code, asked.question, "no", NO_UNMAP)
    if known == len(unmaps):
        return Answer(asked.code, asked.question, "yes", "")
    why = _why(asked, evidence)
    if asked.nests and (unmaps["status"] == "point").all():
        why = UNMAP_ENTRIES_ONLY
    if known == 0:
        return Answer(asked.code, asked.question, "no", why)
    why = f"for {known:,} of {len(unmaps):,} unmaps; else: {why}"
    return Answer(asked.code, asked.question, "partly", why)


def _why(asked: Question, evidence: Evidence) -> str:
    if not isinstance(asked.why, str):
        return asked.why(evidence.recorded, evidence.source_id)
    if asked.operation is None:
        return asked.why
    return evidence.recorded.why_untimed(evidence.source_id, asked.operation, asked.why)
