"""What was measured and how: every fact of a host and of a recording, stated or `unknown`.

A fact that all traces share is said once; where they differ, once for each side or label, and
within these with the number of traces that it is of.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from traceview.queries.groups import source_labels
from traceview.report.cpu_names import cpu_name
from traceview.report.sources import FEATURES, events, loss, options
from traceview.report.time_units import unit_of
from traceview.report.traced_functions import mode_text, traced_text
from traceview.report.wording import bytes_size, clean, count, plural, step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from traceview.queries.analysis import Analysis

    Row = dict[str, Any]
    Pair = tuple[str, str]

UNKNOWN: Final = "unknown"
MOST_VALUES: Final = 4  # of one fact in one group
MOST_GROUPS: Final = 4
MOST_RUNS: Final = 12  # of one group
NS_PER_S: Final = 1e9
NOT_HARDWARE: Final = {
    "emulated": "emulated (an emulator, no hardware)",
    "synthetic": "synthetic (a simulator, no hardware)",
    "unknown": "unknown (hardware or not: nobody stated it)",
}
EVIDENCE: Final = {
    "fgraph": "function_graph", "kprobe": "kprobes", "fprobe": "fprobes",
    "insn": "executed instructions, by an emulator", "function": "entries of functions only",
    "sample": "samples",
}  # fmt: skip


def host_facts(groups: Sequence[tuple[str, Analysis]]) -> tuple[Pair, ...]:
    """Names and values for the traces of *groups*: a side or a label each, one without a name."""
    found: list[Pair] = []
    for name, says in FACTS:
        texts = [
            (of, [says(row, analysis) for row in analysis.sources.iter_rows(named=True)])
            for of, analysis in groups
        ]
        found += [(name, text) for text in _told(texts)]
    for name, of_all in FACTS_OF_ALL:
        told = _told([(of, [of_all(analysis)]) for of, analysis in groups])
        found += [(name, text) for text in told]
    return tuple(found)


def by_label(analysis: Analysis) -> list[tuple[str, Analysis]]:
    """The traces of each label, in one group where they are too many to tell of each."""
    labels = source_labels(analysis.sources)
    names = labels["label"].unique(maintain_order=True)
    if not 1 < len(names) <= MOST_GROUPS:
        return [("", analysis)]
    return [
        (clean(name), _only(analysis, labels.filter(pl.col("label") == name)["source_id"]))
        for name in names
    ]


def traces_text(analysis: Analysis) -> str:
    """How many traces of which labels and runs, or the path of the only one."""
    rows = analysis.sources
    if len(rows) == 1:
        return clean(rows["path"][0])
    labels = rows["label"].fill_null(UNKNOWN)
    said = []
    for name in labels.unique(maintain_order=True):
        runs = rows.filter(labels == name)["run"]
        known = runs.drop_nulls().n_unique()
        of = f" of {plural(known, 'run')}" if known else ", runs unknown"
        more = ", some of unknown runs" if known and runs.null_count() else ""
        said.append(f"{plural(len(runs), 'trace')}{of}{more}, label {clean(name)}")
    return "; ".join(said)


def _only(analysis: Analysis, source_ids: pl.Series) -> Analysis:
    """For facts alone: the sources of *source_ids*, everything else as it is."""
    rows = analysis.sources.filter(pl.col("source_id").is_in(source_ids.implode()))
    return replace(analysis, sources=rows)


def _told(groups: Sequence[tuple[str, list[str]]]) -> Iterator[str]:
    texts = dict.fromkeys(text for _, of in groups for text in of)
    if len(texts) == 1:
        yield from texts
        return
    for name, of in groups:
        yield f"{name}: {_listed(of)}" if name else _listed(of)


def _listed(texts: list[str]) -> str:
    """Each value with the number of traces that it is of."""
    values = Counter(texts)
    if len(values) == 1:
        return texts[0]
    said = [f"{text} ({n} of {plural(len(texts), 'trace')})" for text, n in values.most_common()]
    more = len(said) - MOST_VALUES
    return "; ".join(said[:MOST_VALUES]) + (f"; and {more} more values" if more > 0 else "")


def _or_unknown(value: object) -> str:
    return UNKNOWN if value is None else clean(value)


def _yes_no(value: object) -> str:
    return UNKNOWN if value is None else "yes" if value else "no"


def _origin(row: Row, _: Analysis) -> str:
    return NOT_HARDWARE.get(row["origin"] or UNKNOWN, clean(row["origin"]))


def _kernel(row: Row, _: Analysis) -> str:
    page = row["page_size_bytes"]
    size = UNKNOWN if page is None else bytes_size(page)
    return f"{_or_unknown(row['kernel'])}, machine {_or_unknown(row['machine'])}, page size {size}"


def _cpu(row: Row, _: Analysis) -> str:
    name = cpu_name(row["midr"])
    if name is None:
        name = UNKNOWN
    elif row["origin"] == "emulated":
        name += ", modelled by an emulator"
    elif row["origin"] != "hardware":
        name = f"MIDR reads as {name} (an emulator can show it)"
    cpus = "number of CPUs unknown" if row["cpus"] is None else plural(row["cpus"], "CPU")
    return f"{name}, MIDR {_or_unknown(row['midr'])}, {cpus}"


def _features(row: Row, _: Analysis) -> str:
    return ", ".join(f"{name} {_yes_no(row[key])}" for key, name in FEATURES)


def _errata(row: Row, _: Analysis) -> str:
    return "no workarounds" if row["errata"] == "none" else _or_unknown(row["errata"])


def _counter(row: Row, _: Analysis) -> str:
    hertz = row["cntfrq_hz"]
    if not hertz:
        return UNKNOWN
    return f"{hertz:,} Hz (a tick is {10**9 / hertz:.4g} ns)"


def _tracer(row: Row, _: Analysis) -> str:
    """With those of its options that bear on what is measured."""
    stated = options(row["tracer_options"])
    said = _or_unknown(stated)
    if stated is not None and stated.endswith("..."):
        said = f"{clean(stated.removesuffix('...')) or 'as is usual '}(of a longer list)"
    return f"{_or_unknown(row['tracer'])}, options {said}"


def _evidence(row: Row, analysis: Analysis) -> str:
    """What recorded the functions."""
    of = analysis.event_counts.filter(pl.col("source_id") == row["source_id"])
    kinds = set(of["evidence"].cast(pl.String).drop_nulls())
    said = [text for kind, text in EVIDENCE.items() if kind in kinds]
    return ", ".join(said) or "no function"


def _buffer(row: Row, _: Analysis) -> str:
    size = row["buffer_size_kb"]
    return UNKNOWN if size is None else f"{size:,} kB per CPU"


def _clock(row: Row, analysis: Analysis) -> str:
    """With the steps of time stamps, and of the durations that are not made of these."""
    resolution = row["ts_resolution_ns"]
    steps = "resolution unknown" if resolution is None else f"steps of {step(resolution)}"
    said = f"{_or_unknown(row['clock'])}, time stamps: {steps}"
    of = analysis.event_counts.filter(pl.col("source_id") == row["source_id"])
    kinds = set(of["evidence"].cast(pl.String).drop_nulls())
    said += f"; {_durations(row)}" if "fgraph" in kinds else ""
    return f"{said}; a ns is an instruction" if "insn" in kinds else said


def _durations(row: Row) -> str:
    """Those that function_graph states (queries/duration_step.py), of a counter of the CPU."""
    found = row["duration_step_ns"] or (NS_PER_S / row["cntfrq_hz"] if row["cntfrq_hz"] else None)
    steps = "stated in ns, their steps unknown" if found is None else f"steps of {step(found)}"
    return f"durations of function_graph: {steps}"


def _format(row: Row, _: Analysis) -> str:
    return clean(row["format"])


def _loss(row: Row, analysis: Analysis) -> str:
    return loss(row, analysis.losses.filter(pl.col("source_id") == row["source_id"]))


def events_text(analysis: Analysis) -> str:
    """How many events there are, with the time that the only source spans."""
    said = count(_events(analysis))
    row = analysis.sources.row(0, named=True)
    if len(analysis.sources) > 1 or row["first_ns"] is None or row["last_ns"] is None:
        return said
    return f"{said} in {unit_of(analysis).named(row['last_ns'] - row['first_ns'])}"


def events_of_sides(base: Analysis, with_: Analysis) -> str:
    """How many each side has, and both; of one set of traces how many these have."""
    ours, theirs = _events(base), _events(with_)
    if base is with_:
        return f"{count(ours)} in the traces of both sides"
    return f"base {count(ours)}, with {count(theirs)}; {count(ours + theirs)} in all"


def _events(analysis: Analysis) -> int:
    return sum(events(analysis, source_id) for source_id in analysis.sources["source_id"])


def _runs(analysis: Analysis) -> str:
    """Each run with its place in the order of recording, in that order."""
    columns = analysis.sources.select("run", "order").unique()
    rows = columns.drop_nulls("run").sort("order", "run", nulls_last=True)
    if rows.is_empty():
        return UNKNOWN
    said = [f"{clean(run)} ({_or_unknown(order)})" for run, order in rows.iter_rows()]
    if rows["order"].null_count() == len(rows):
        said = [clean(run) for run in rows["run"]]
        said[-1] += " (order unknown)"
    more = len(said) - MOST_RUNS
    said = said[:MOST_RUNS] + ([f"and {count(more)} more"] if more > 0 else [])
    others = len(columns) > len(rows)
    return ", ".join(said) + ("; of some traces unknown" if others else "")


def _recorded(analysis: Analysis) -> str:
    """The first and the last date of recording."""
    stated = analysis.sources["recorded_at"]
    times = sorted(set(stated.drop_nulls()), key=_moment)
    if not times:
        return UNKNOWN
    said = clean(times[0]) + (f" to {clean(times[-1])}" if len(times) > 1 else "")
    lacking = stated.null_count()
    of = f"; of {count(lacking)} of {plural(len(stated), 'trace')} unknown" if lacking else ""
    return said + of


def _moment(text: str) -> tuple[float, str]:
    """What dates are sorted by; those without a zone are taken as UTC."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:  # of a format that states something else
        return float("inf"), text
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp(), text


FACTS: Final[tuple[tuple[str, Callable[[Row, Analysis], str]], ...]] = (
    ("origin", _origin), ("kernel", _kernel), ("CPU", _cpu), ("features", _features),
    ("errata", _errata), ("CNTFRQ", _counter), ("evidence", _evidence), ("tracer", _tracer),
    ("buffer", _buffer), ("trace clock", _clock), ("format", _format), ("events lost", _loss),
)  # fmt: skip
# What the traces of a group show together.
FACTS_OF_ALL: Final[tuple[tuple[str, Callable[[Analysis], str]], ...]] = (
    ("traced (hit)", traced_text), ("mode", mode_text), ("recorded", _recorded),
    ("runs (order)", _runs),
)  # fmt: skip
