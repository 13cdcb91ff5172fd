"""Perfetto traces: the ftrace events of `linux.ftrace`, in time order.

Two passes. The first (perfetto_index) notes where the bundles of events lie and reads everything
that events refer to; the second decodes the bundles in groups, in the order in which they begin
(perfetto_ftrace), and merges them (merge). Memory is bounded by a batch and by the
bundles that overlap in time. Everything is decoded in columns, from the wire format
(perfetto_wire): events may be damaged in any way, and cost no more than themselves.

Not read: events of other data sources (track events, perf samples), and those of other machines
in a multi-machine trace. Source of truth: protos/perfetto/trace of Perfetto 56 and the descriptors
of the `perfetto` package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from traceview.parsers.perfetto_packets import looks_like_packets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from traceview.parsers.source import Source
    from traceview.trace import Batch, Want


def detect(head: bytes) -> bool:
    """Whether *head*, the start of a file, is that of a Perfetto trace."""
    return looks_like_packets(head)


def read(
    source: Source, want: Want, progress: Callable[[float], None] = lambda _: None
) -> Iterator[Batch]:
    """The batches of the trace; *progress* hears the fraction read, 0 to 1."""
    # Here, because detect() must not cost other formats the import of the descriptors.
    from traceview.parsers.perfetto_reader import read_trace  # noqa: PLC0415

    return read_trace(source, want, progress)
