"""Text that `perf script` prints: one event a line, call chains below.

What is read: the default fields and any other set (`-F`, `--ns`) that holds time and event:
tracepoints, kprobes and kretprobes with arguments, sampling events with and without call chains,
PERF_RECORD_LOST (`--show-lost-events`); records of other types are counted. The header
(`--header`) gives facts of the host.

What the text cannot say: a loss is printed only with --show-lost-events; times are cut to whole
microseconds without --ns; a sample's cpumode is printed only with `-F +misc`, and samples with
guest cpumode are not printed at all; probes have addresses, no function names (a sidecar, the
probe's own call chain, or perf probe's name of the event says them); fprobes look like kprobes.

A file is read in chunks of whole events, each column by column (perf_script_reader.py). Sources of
truth: see perf_script_head.py, perf_script_chain.py and perf_script_notes.py; what stands behind
an event's name is read as in ftrace text (ftrace_event_text.py).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import numpy as np

from traceview.parsers import ftrace_text
from traceview.parsers.ftrace_text_lines import Lines
from traceview.parsers.perf_script_chain import BELOW, find_frames, is_below
from traceview.parsers.perf_script_head import EVENT, TIMELESS, HeadReader
from traceview.parsers.perf_script_notes import Notes, comments
from traceview.parsers.perf_script_probes import ProbeNames
from traceview.parsers.perf_script_reader import Reader
from traceview.parsers.source import CHUNK_BYTES
from traceview.parsers.text_batch import read_batches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from traceview.parsers.ftrace_text_lines import Mask
    from traceview.parsers.perf_script_head import ScriptHeads
    from traceview.parsers.source import Source
    from traceview.trace import Batch, Want

HEAD_LINES: Final = 400

HEADER_LINES: Final = re.compile(rb"\s*# ========\s*\n# captured on\s*:")


def detect(head: bytes) -> bool:
    """Whether *head*, the start of a file, is `perf script` text.

    At least half of the first lines must be events or parts of call chains; events without time
    or name count, so that they are refused with the reason. What could be ftrace text as well
    is ftrace text.
    """
    whole = head[: head.rfind(b"\n") + 1] or head
    lines = Lines(b"".join(whole.splitlines(keepends=True)[:HEAD_LINES]))
    heads = HeadReader().read(lines)
    known, counted = np.zeros(len(lines), np.bool_), np.ones(len(lines), np.bool_)
    known[heads.heads.line[_is_distinctive(lines, heads)]] = True
    texts = lines.text(lines.starts, lines.ends)
    known |= texts.str.contains(TIMELESS).to_numpy()
    counted[comments(lines)] = False
    counted &= (texts.str.strip_chars(" \t\r") != "").to_numpy() & ~Notes().read_messages(texts)
    if HEADER_LINES.match(head) and not counted.any():
        return True
    frames = find_frames(lines, np.arange(len(lines)))[0] | texts.str.contains(BELOW).to_numpy()
    events, rest = known.sum(), (counted & ~known & ~frames).sum()
    return bool(events and events >= rest) and not ftrace_text.detect(head)


def _is_distinctive(lines: Lines, heads: ScriptHeads) -> Mask:
    """Which of *heads* are no lines of just any log: they say a CPU or a thread, or are padded."""
    padded = lines.buffer[lines.starts[heads.heads.line]] == ord(" ")
    distinctive: Mask = (heads.shape > 0) | (padded & (heads.kind == EVENT))
    return distinctive


def read(
    source: Source,
    want: Want,
    progress: Callable[[float], None],
    *,
    chunk_bytes: int = CHUNK_BYTES,
) -> Iterator[Batch]:
    """Yield the batches of *source*; see Trace.batches.

    Raises UnsupportedError where the text lacks the fields time or event.
    """
    reader = Reader(want, source.path, ProbeNames(source, want))
    yield from read_batches(reader, source, progress, chunk_bytes, is_below)
