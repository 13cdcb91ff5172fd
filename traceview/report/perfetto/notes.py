"""What an export says on standard error: what is not in it as it was in the trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from traceview.report.wording import plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

COUNTED: Final = {
    "samples": ("sample", "of a profiler: not written, as no ftrace event is one"),
    "untimed": ("event", "without a time: not written, a timeline has no place for that"),
    "cpus": ("event", "of an unknown CPU: written as of CPU 0"),
    "backwards": (
        "event",
        "earlier than the one before on its CPU: whatever reads the file puts it in order of time",
    ),
    "moved": (
        "event",
        "of a task that changed the CPU within one step of the clock: of unknown order in the file",
    ),
    "fields": ("argument", "of events that have more than 31: not written"),
    "graph_arguments": (
        "argument",
        "or return value of function_graph: not written, Perfetto has no place for that",
    ),
    "tasks": (
        "task",
        "whose process was not recorded: named on our tracks and in sched_switch only",
    ),
    "undrawn": ("unmap", "without a time (the entry is not in the trace): not drawn"),
    "cut": (
        "byte",
        "behind the last whole packet: not written, the trace is cut off or damaged there",
    ),
    "merged": (
        "unmap",
        "with so many calls that components are drawn merged; the names of the slices say how",
    ),
}
CLOCKS: Final = {
    "mono": "the clock is mono, which Perfetto's ftrace does not know: its times are written as of"
    " the boot clock",
}


def notes(
    counts: Mapping[str, int], clock: str | None, *, stated: bool, anew: bool
) -> Iterator[str]:
    """Sentences; *stated*: the user or a sidecar said something that the file cannot hold.

    *anew*: it is a Perfetto trace, of which the packets are not written.
    """
    if anew:
        yield (
            "the packets of the trace hold names, so none of them is written: its ftrace events are"
            " written anew, and what else it holds is not in the file"
        )
    for code, (noun, text) in COUNTED.items():
        if counts.get(code):
            yield f"{plural(counts[code], noun)} {text}"
    if clock in CLOCKS:
        yield CLOCKS[clock]
    if stated:
        yield (
            "what was stated of the trace (sidecar, options) is not in the file: give it again to"
            " whatever reads it, as with analyze --host"
        )
