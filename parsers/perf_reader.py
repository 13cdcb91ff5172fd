"""The two passes over perf.data: describe, then decode in time order."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from traceview.parsers.chunks import Chunk
from traceview.parsers.classes import Classes
from traceview.parsers.merge import Merge, untimed
from traceview.parsers.names import Names
from traceview.parsers.perf_diagnostics import at_first, at_last
from traceview.parsers.perf_header import read_header
from traceview.parsers.perf_index import Index
from traceview.parsers.perf_samples import SampleDecoder
from traceview.parsers.perf_session import Session
from traceview.parsers.perf_switches import SwitchDecoder
from traceview.parsers.perf_unpack import unpacked
from traceview.parsers.source import drop_pages
from traceview.parsers.tasks import Tasks
from traceview.trace import Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from traceview.parsers.source import Source
    from traceview.trace import Want

INDEX_SHARE: Final = 0.2  # of the time, spent in the first pass


def read_data(source: Source, want: Want, progress: Callable[[float], None]) -> Iterator[Batch]:
    """The batches of the recording; what the first pass found comes with the first of them."""
    names, classes = Names(), Classes()
    with source.view() as view, ExitStack() as open_files:
        session = Session(source.path)
        header = read_header(view, session)
        index = Index(session, names)
        begin, end = header.data_begin, header.data_end
        index.read(view, begin, end, lambda done: progress(done * INDEX_SHARE / 2))
        found = [*source.damage, *header.diagnostics]
        if index.packed:
            packed = open_files.enter_context(unpacked(view, index.packed, source.path))
            found += packed.diagnostics()
            half = INDEX_SHARE / 2
            index.read(packed.view, 0, len(packed.view), lambda done: progress(half + done * half))
        session.name_events()
        decoder = SampleDecoder(session, index.layouts, want, names, classes)
        facts = session.final_facts()
        if traced := decoder.probes.assumed.traced():
            facts["traced"] = traced
        found += at_first(index)
        yield Batch(losses=index.losses.rows(), facts=facts, diagnostics=tuple(found))
        tracing = session.tracing
        comm, comms = index.tasks.comms(tracing.comm if tracing else {})
        merge = Merge(names, classes, Tasks(comm, index.tasks.tgids(), names), want.batch_events)
        merge.add(Chunk.blank(np.zeros(0, dtype=np.int64), comms=comms))
        switches = SwitchDecoder(session, index.layouts, want, names, classes)
        batches = _events(index, decoder, switches, merge, progress)
        yield from batches if index.layouts.have_time else map(untimed, batches)
        last = at_last(index, decoder, merge)
        if last:
            yield Batch(diagnostics=tuple(last))
    progress(1.0)


def _events(
    index: Index,
    decoder: SampleDecoder,
    switches: SwitchDecoder,
    merge: Merge,
    progress: Callable[[float], None],
) -> Iterator[Batch]:
    """The second pass."""
    have_time = index.layouts.have_time
    pieces = sorted(index.pieces, key=lambda one: one.needed_ns if have_time else one.first)
    done, total = 0, max(1, sum(one.stop - one.offset for one in pieces))
    for number, piece in enumerate(pieces):
        window = index.window(piece)
        merge.add(replace(decoder.decode(window, piece.first), holes=piece.holes))
        chunk = switches.decode(window, piece.first)
        if chunk is not None:
            merge.add(chunk)
        drop_pages(index.streams[piece.stream])
        done += piece.stop - piece.offset
        progress(INDEX_SHARE + (1 - INDEX_SHARE) * done / total)
        if number + 1 < len(pieces):
            following = pieces[number + 1]
            yield from merge.ready(following.needed_ns if have_time else following.first)
    yield from merge.rest([])
