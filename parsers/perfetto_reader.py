"""The two passes over a Perfetto trace, and what is said about it at the end."""

from __future__ import annotations

from dataclasses import replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

import polars as pl

from traceview.parsers.classes import Classes
from traceview.parsers.merge import Merge
from traceview.parsers.names import Names
from traceview.parsers.perfetto_ftrace import Decoder
from traceview.parsers.perfetto_host import counted
from traceview.parsers.perfetto_index import Index
from traceview.parsers.perfetto_kinds import Kinds
from traceview.parsers.source import drop_pages
from traceview.parsers.tasks import Tasks
from traceview.trace import Batch, Diagnostic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from traceview.parsers.source import Source
    from traceview.trace import Want

# So many bytes of events at a time: enough to be fast, and their columns stay in the CPU's cache.
GROUP_BYTES: Final = 1 << 20
GROUP_BUNDLES: Final = 4096
INDEX_SHARE: Final = 0.2  # of the time, spent in the first pass


def read_trace(source: Source, want: Want, progress: Callable[[float], None]) -> Iterator[Batch]:
    """The batches of the trace; what the first pass found comes with the first of them."""
    names, classes = Names(), Classes()
    with source.view() as view:
        index = Index(view, names, Kinds(want, names, classes))
        try:
            index.build(lambda done: progress(done * INDEX_SHARE))
            decoder = Decoder(index, classes, want)
            merge = Merge(
                names, classes, Tasks(index.host.comm, index.host.tgid, names), want.batch_events
            )
            first = _first(index, source)
            for batch in _events(index, decoder, merge, progress):
                yield _with(batch, first)
                first = Batch()
            last = replace(first, diagnostics=(*first.diagnostics, *_late(decoder, merge)))
            if first.facts or last.diagnostics:
                yield last
        finally:
            index.close()
    progress(1.0)


def _events(
    index: Index, decoder: Decoder, merge: Merge, progress: Callable[[float], None]
) -> Iterator[Batch]:
    """The second pass."""
    bundles = index.bundles
    total, done = max(1, sum(bundles.length)), 0
    groups = _groups(index)
    for group, following in zip_longest(groups, groups[1:]):
        merge.add(decoder.decode(group))
        drop_pages(index.view)
        done += sum(bundles.length[i] for i in group)
        progress(INDEX_SHARE + (1 - INDEX_SHARE) * done / total)
        if following:
            yield from merge.ready(bundles.needed_ns[following[0]])
    yield from merge.rest(decoder.last_holes())


def _groups(index: Index) -> list[list[int]]:
    """The bundles in the order in which they are needed, GROUP_BYTES at a time."""
    groups: list[list[int]] = []
    size = GROUP_BYTES + 1
    for bundle in index.bundles.in_order().tolist():
        length = index.bundles.length[bundle]
        size += length
        if size > GROUP_BYTES or len(groups[-1]) == GROUP_BUNDLES:
            groups.append([])
            size = length
        groups[-1].append(bundle)
    return groups


def _first(index: Index, source: Source) -> Batch:
    """What the first pass has to say: facts, losses without a place, diagnostics."""
    count = len(index.bundles.offset)
    diagnostics = [*index.host.diagnostics(bundles=count), *_damage(index), *source.damage]
    return Batch(
        losses=index.host.losses(), facts=index.host.final_facts(), diagnostics=tuple(diagnostics)
    )


def _with(batch: Batch, first: Batch) -> Batch:
    if not first.facts:
        return batch
    return replace(
        batch,
        facts=first.facts,
        losses=pl.concat([first.losses, batch.losses]),
        diagnostics=(*first.diagnostics, *batch.diagnostics),
    )


def _damage(index: Index) -> list[Diagnostic]:
    """What could not be read of the file, or is not read."""
    found, damage = [], index.damage
    if damage.truncated_at is not None:
        lost = len(index.view) - damage.truncated_at
        message = (
            f"the file ends in the middle of a packet: its last {lost} bytes,"
            f" from byte {damage.truncated_at:#x}, are not read"
        )
        found.append(Diagnostic("truncated", "warning", message))
    if damage.places:
        offset, what = damage.places[0]
        more = f" and {len(damage.places) - 1} more" if len(damage.places) > 1 else ""
        message = f"damage at byte {offset:#x} ({what}){more}; what can be told apart is read"
        found.append(Diagnostic("damaged-packets", "warning", message, len(damage.places)))
    if damage.gave_up_at is not None:
        message = (
            f"nothing is read from byte {damage.gave_up_at:#x} on:"
            f" {len(damage.places)} places before it are damaged"
        )
        found.append(Diagnostic("too-much-damage", "error", message))
    found += counted(
        "damaged-descriptors", index.kinds.unreadable,
        "descriptions of events that cannot be read (those events are counted, not decoded)",
    )  # fmt: skip
    found += counted(
        "other-machine", index.other_machines,
        "bundles of events of other machines, which are left out",
    )  # fmt: skip
    if len(set(index.bundles.sequence)) > 1:
        message = (
            "ftrace was recorded by several data sources (the column buffer tells them apart);"
            " an event that two of them asked for is there twice"
        )
        found.append(Diagnostic("several-sequences", "info", message))
    return found


def _late(decoder: Decoder, merge: Merge) -> list[Diagnostic]:
    """What only the second pass can tell."""
    return [
        *counted("damaged-events", decoder.damaged_events, "events that cannot be read"),
        *counted(
            "nameless-functions", decoder.nameless,
            "function_graph events whose function has no name in the trace (recorded without"
            " symbolize_ksyms, or with /proc/kallsyms hidden, or the names were lost)",
        ),
        *merge.diagnostics(),
    ]  # fmt: skip
