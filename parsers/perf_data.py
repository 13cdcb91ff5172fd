"""perf.data of perf record: samples, tracepoints and probes, in time order.

Read are files and pipes (`-o -`), packed (`-z`) or not, of little-endian 64-bit kernels, with any
sample_type that perf record can ask for. Tracepoints and probes need the tracing data that perf
writes last. Not read: hardware traces (AUX), the parts of a directory (`--threads`), registers,
branches and user stacks. No perf.data holds the kernel's symbols: give kprobe_events or kallsyms.

    perf_header, perf_session, perf_tracing_data    what the file says about itself
    perf_records, perf_chain, perf_unpack           the chain of records
    perf_index                                      first pass: places, tasks, losses
    perf_layout, perf_columns, perf_samples         second pass: samples
    perf_switches, perf_tasks, perf_losses          other records

Sources of truth: tools/perf/Documentation/perf.data-file-format.txt and the files named in these
modules, of Linux 6.1 to 7.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from traceview.parsers.perf_reader import read_data

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from traceview.parsers.source import Source
    from traceview.trace import Batch, Want


def read(
    source: Source, want: Want, progress: Callable[[float], None] = lambda _: None
) -> Iterator[Batch]:
    """The batches of the recording; *progress* hears the fraction read, 0 to 1."""
    return read_data(source, want, progress)
