"""A trace with its analysis on the timeline, as a Perfetto trace.

Two passes over the trace: the first one answers (queries.audit: unmaps, triggers, losses,
findings), the second one writes: the packets of a Perfetto trace as they are, or the events of
another format as ftrace events; then what calls each unmap consists of, while they go by; and at
the end the tracks. Memory is bounded by a batch and by the unmaps.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb

import traceview
from traceview.errors import QueryError
from traceview.protobuf_columns import packet
from traceview.queries.analysis import analyze
from traceview.queries.component_calls import component_calls
from traceview.queries.steps import STEP_PATTERN
from traceview.report.perfetto.bundles import CLOCKS, Bundles, Losses
from traceview.report.perfetto.events import Events
from traceview.report.perfetto.notes import notes
from traceview.report.perfetto.output import Direct, Spooled
from traceview.report.perfetto.sequence import Sequence, Taken
from traceview.report.perfetto.steps import MarkedSteps, stated_steps
from traceview.report.perfetto.trace_tracks import TraceTracks
from traceview.report.perfetto.unmap_tracks import TaskTracks
from traceview.report.wording import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import polars as pl

    from traceview.queries.audit_results import Audit
    from traceview.queries.calls import Chunk
    from traceview.queries.source_tables import SourceTables
    from traceview.report.caveat import Caveat
    from traceview.report.perfetto.output import Original, Output
    from traceview.trace import Batch, Trace

SALT: Final = b"traceview"
FIRST_SEQUENCE: Final = 1  # of events that are written anew
TIMES: Final = {
    "hardware": "",
    "emulated": " (emulated)",
    "synthetic": " (synthetic)",
    "unknown": " (origin unknown)",
}


@dataclass(slots=True)
class Export:
    """What is exported. `original`: a Perfetto trace; None: events are written anew (those of a
    Perfetto trace too, where names were replaced: its packets hold the old ones).

    `taken`: what its packets use. `steps`: the arguments of `analyze` that say what a step is.
    """

    trace: Trace
    found: Audit
    caveats: Iterable[Caveat]
    original: Original | None
    taken: Taken
    steps: dict[str, Any]
    with_events: bool = True
    _counts: Counter[str] = field(default_factory=Counter)

    def write(
        self, write: Callable[[bytes | memoryview], object], progress: Callable[[float], None]
    ) -> None:
        """Write everything. Raises QueryError for a trace without times."""
        whole = self.found.whole
        source = whole.sources.row(0, named=True)
        _refuse_timeless(whole.unmaps, whole.event_counts, source)
        if self.original is None or not self.with_events:
            self._write(source, write, Direct(write), progress)
            return
        with tempfile.TemporaryFile(prefix="traceview-") as file:
            mixed = Spooled(file)
            self._write(source, write, mixed, progress)
            mixed.mix(self.original, write)

    def _write(
        self, source: dict[str, Any], write: Callable[[bytes | memoryview], object],
        output: Output, progress: Callable[[float], None],
    ) -> None:  # fmt: skip
        writer = _Writer(self, source, write, output)
        writer.begin()
        analyze(self.trace, hear=writer.hear, all_events=True, progress=progress, **self.steps)
        writer.finish()
        self._counts.update(writer.counts())

    def notes(self) -> list[str]:
        """What is not in the file as it was in the trace."""
        source = self.found.whole.sources.row(0, named=True)
        anew = self.original is None and self.with_events
        settings = self.trace.settings
        stated = bool(settings.facts or settings.traced or settings.symbols.probes)
        counts = Counter(self._counts)
        if self.original is not None and self.with_events:
            counts["cut"] = self.original.cut_bytes
        clock = source["clock"] if anew else None
        packets = anew and self.trace.format == "perfetto"
        return list(notes(counts, clock, stated=stated, anew=packets))


def _refuse_timeless(unmaps: pl.DataFrame, counts: pl.DataFrame, source: dict[str, Any]) -> None:
    if source["first_ns"] is not None or (unmaps.is_empty() and counts.is_empty()):
        return
    raise QueryError(
        "the events have no times, so nothing can be put on a timeline\n"
        f"in file: {source['path']}\n"
        "function_graph prints times with the option funcgraph-abstime, and trace-cmd, perf and"
        " Perfetto always record them"
    )


class _Writer:
    """The second pass."""

    def __init__(
        self, export: Export, source: dict[str, Any],
        write: Callable[[bytes | memoryview], object], output: Output,
    ) -> None:  # fmt: skip
        self._export, self._source, self._write = export, source, write
        found = export.found
        times = TIMES[source["origin"]]
        if str(source["clock"]).startswith("instructions"):
            times = f"{times[:-1]}, 1 ns = 1 instruction)" if times else " (1 ns = 1 instruction)"
        self._sequence = Sequence(SALT, export.taken, output)
        root = self._sequence.track(
            "root", name=f"traceview: stage-2 unmaps{times}", description=_description(found)
        )
        span = max(0, source["first_ns"] or 0), max(0, source["last_ns"] or 0)
        self._tasks = TaskTracks(self._sequence, root, times, found.whole.unmaps)
        self._tracks = TraceTracks(self._sequence, root, times, span)
        self._markers = MarkedSteps(export.steps.get("step_pattern") or STEP_PATTERN)
        self._bundles: Bundles | None = None
        self._events = Events()
        if export.original is None and export.with_events:
            losses = Losses.of(found.whole.losses, known=bool(source["loss_known"]))
            self._bundles = Bundles(self._events, losses, _clock(source["clock"]), FIRST_SEQUENCE)

    def begin(self) -> None:
        """What stands before everything else of ours."""
        if self._bundles is not None:
            self._write(packet(_system_info(self._source)))
        self._sequence.begin()

    def hear(self, _source_id: int, batch: Batch, chunk: Chunk, tables: SourceTables) -> None:
        """Write the events of a batch, and the calls of unmaps that ended with it."""
        if self._bundles is not None and not batch.events.is_empty():
            self._write(self._bundles.tasks(batch.events))
            for one in self._bundles.packets(self._events.encode(batch.events, batch.args)):
                self._write(one)
        self._markers.add(batch)
        calls = component_calls(chunk, tables.functions, tables.page_bytes)
        if not calls.is_empty():
            self._tasks.components(calls)
        self._traced = {*(tables.trace.settings.traced or ()), *(tables.facts.get("traced") or ())}

    def finish(self) -> None:
        """Write what is known of the whole trace."""
        if self._bundles is not None:
            for one in self._bundles.rest():
                self._write(one)
            if self._traced:
                self._write(packet(_config(self._traced, self._export.found.whole.event_counts)))
        found, whole = self._export.found, self._export.found.whole
        intervals = self._export.steps.get("steps")
        steps = self._markers.steps if intervals is None else stated_steps(intervals)
        self._tasks.steps(steps, self._markers.comms)
        self._tasks.triggers(whole.triggers)
        self._tasks.unmaps(whole.triggers)
        self._tracks.counters(whole.unmaps)
        self._tracks.losses(whole.losses, known=bool(self._source["loss_known"]))
        self._tracks.findings(found)
        self._tracks.texts(self._export.caveats, found)
        self._sequence.flush()

    def counts(self) -> dict[str, int]:
        """What is not written as it was, by what it is."""
        ours = {"undrawn": self._tasks.undrawn, "merged": self._tasks.merged}
        ours["tasks"] = 0 if self._bundles is None else len(self._bundles.nameless)
        return {**self._events.left_out.counts, **ours}


def _clock(clock: str | None) -> str | None:
    """The clock as Perfetto can be told of it; one per CPU is as `local` is."""
    if clock is not None and clock.startswith("instructions"):
        return "local"
    return clock if clock in CLOCKS else None


def _description(found: Audit) -> str:
    unmaps, triggers = len(found.whole.unmaps), len(found.whole.triggers)
    return (
        f"traceview {traceview.__version__}: {plural(unmaps, 'unmap')},"
        f" {plural(triggers, 'request')}, {plural(len(found.findings), 'finding')} of the audit"
    )


def _system_info(source: dict[str, Any]) -> Any:
    """The host, as far as Perfetto has a place for what is known of it."""
    info = pb.SystemInfo()
    if source["kernel"]:
        info.utsname.sysname, info.utsname.release = "Linux", source["kernel"]
    if source["machine"]:
        info.utsname.machine = source["machine"]
    if source["cpus"]:
        info.num_cpus = source["cpus"]
    if source["page_size_bytes"]:
        info.page_size = source["page_size_bytes"]
    return pb.TracePacket(trusted_packet_sequence_id=FIRST_SEQUENCE, system_info=info)


def _config(traced: Iterable[str], counts: pl.DataFrame) -> Any:
    """Which functions were traced, hit or not, as a trace config says it."""
    config = pb.TraceConfig()
    source = config.data_sources.add().config
    source.name = "linux.ftrace"
    if (counts["evidence"] == "fgraph").any():
        source.ftrace_config.enable_function_graph = True
        source.ftrace_config.function_filters.extend(sorted(traced))
    else:
        both = pb.FtraceConfig.KprobeEvent.KPROBE_TYPE_BOTH
        for name in sorted(traced):
            source.ftrace_config.kprobe_events.add(probe=name, type=both)
    return pb.TracePacket(trusted_packet_sequence_id=FIRST_SEQUENCE, trace_config=config)
