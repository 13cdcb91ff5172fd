"""What an export says on standard error: what is not in it as it was in the trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from traceview.report.wording import count

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

COUNTED: Final = {
    "samples": "samples of a profiler: not written, they are no ftrace events",
    "untimed": "events without a time: not written, a timeline has no place for them",
    "cpus": "events of an unknown CPU: written as events of CPU 0",
    "backwards": "events that are earlier than the one before them on their CPU: whatever reads"
    " the file puts them in order of time",
    "moved": "events of tasks that changed the CPU within one step of the clock: their order is not"
    " in the file",
    "fields": "arguments of events with more than 31 of them: not written",
    "graph_arguments": "arguments and return values of function_graph: not written, Perfetto has no"
    " place for them",
    "tasks": "tasks whose process was not recorded: their names are on the tracks of the analysis"
    " and in sched_switch, Perfetto names no other thread without its process",
    "undrawn": "unmaps without a time (their entry is not in the trace): not drawn",
    "merged": "unmaps have so many calls that their components are drawn merged; the names of the"
    " slices say how",
}
CLOCKS: Final = {
    "mono": "the clock is mono, which Perfetto's ftrace does not know: its times are written as of"
    " the boot clock",
}


def notes(counts: Mapping[str, int], clock: str | None, *, stated: bool) -> Iterator[str]:
    """Sentences; *stated*: the user or a sidecar said something that the file cannot hold."""
    for code, text in COUNTED.items():
        if counts.get(code):
            yield f"{count(counts[code])} {text}"
    if clock in CLOCKS:
        yield CLOCKS[clock]
    if stated:
        yield (
            "what was stated of the trace (sidecar, options) is not in the file: give it again to"
            " whatever reads it, as with analyze --host"
        )
