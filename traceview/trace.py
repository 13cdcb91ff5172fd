"""Trace: an opened trace, its settings, and the batches of events that stream out of it.

A `Trace` holds no events. Each `batches()` reads the file again from the start, so that memory
depends on the batch, not on the file. What a parser learns about the host, and what it could
not read, comes with the batches: `Batch.facts` and `Batch.diagnostics`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

import polars as pl

from traceview.schema import ARGS, EVENTS, LOSSES, SAMPLES, SOURCES, frame
from traceview.symbols import SymbolSources, TableCheck, name_frames, name_probes
from traceview.synthetic import with_origin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from traceview.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """Something that the reader of a result must know: loss, damage, a gap in the evidence.

    `severity` is "info", "warning" or "error"; `code` a stable kebab-case name; `count` how many
    events, bytes or calls it concerns, where that is a number.
    """

    code: str
    severity: str
    message: str
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """A stretch of a trace.

    `events`, `args` and `losses` have the columns of schema.EVENTS, ARGS and LOSSES. Events
    are in time order, and so are the batches: `seq` increases. `args` may be in any order and
    speak of events of the same batch. `samples` (schema.SAMPLES) says more of the events that are
    samples; queries fill in `unmap_id` and `operation`. `skipped` counts by name the events that
    were seen and not decoded because nobody asked for them. `facts` are columns of schema.SOURCES
    that the parser learned (later ones win), `traced`: the functions that the recorder was told to
    time, hit or not, and `hostnames`: names of hosts and guests, which no table shows.
    `diagnostics` is what was found wrong in this stretch.
    """

    events: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=EVENTS))
    args: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=ARGS))
    losses: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=LOSSES))
    samples: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=SAMPLES))
    skipped: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    diagnostics: tuple[Diagnostic, ...] = ()


@dataclass(frozen=True, slots=True)
class Want:
    """What the caller will look at; a parser may leave out the rest.

    With `all_events` every event and argument is wanted (export). Otherwise events that the
    vocabulary does not ask for (`Vocabulary.wants_event`) may be counted in `Batch.skipped`
    instead of decoded, and arguments that it does not know may be left out. `batch_events`:
    about how many events a batch should hold. `symbols` will name what the parser leaves unnamed:
    it must assume no name where they say one.
    """

    vocabulary: Vocabulary
    all_events: bool = False
    batch_events: int = 150_000
    symbols: SymbolSources = field(default_factory=SymbolSources)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user states about a trace: options win over the sidecar, the sidecar over the file.

    `facts`: columns of schema.SOURCES. `traced`: functions that were traced whether they were
    hit or not, or None where nobody says. `symbols`: what names the probes. `hypervisor`: a file
    with what the hypervisor recorded meanwhile (tracefs remotes/hypervisor/trace_pipe).
    """

    facts: Mapping[str, Any] = field(default_factory=dict)
    traced: frozenset[str] | None = None
    symbols: SymbolSources = field(default_factory=SymbolSources)
    hypervisor: Path | None = None


class Read(Protocol):
    """How a Trace gets its batches: a parser bound to a file."""

    def __call__(self, want: Want, progress: Callable[[float], None], /) -> Iterator[Batch]:
        """Yield the batches of the file; *progress* hears the fraction read, 0 to 1."""
        ...


@dataclass(frozen=True, slots=True)
class Tables:
    """A whole trace in memory: all that its batches hold, and one row of SOURCES."""

    events: pl.DataFrame
    args: pl.DataFrame
    losses: pl.DataFrame
    samples: pl.DataFrame
    sources: pl.DataFrame
    diagnostics: tuple[Diagnostic, ...]


@dataclass(frozen=True, slots=True)
class Trace:
    """An opened trace. Immutable; reading it twice gives the same batches twice."""

    path: str
    format: str
    read: Read
    vocabulary: Vocabulary
    settings: Settings = field(default_factory=Settings)

    def batches(
        self,
        *,
        all_events: bool = False,
        batch_events: int = 150_000,
        progress: Callable[[float], None] = lambda _: None,
    ) -> Iterator[Batch]:
        """Read the file from its start and yield its batches, probes named (see symbols.py).

        Raises ParseError where nothing more can be read; damage that leaves something to read
        is a diagnostic.
        """
        symbols = self.settings.symbols
        want = Want(self.vocabulary, all_events, batch_events, symbols)
        check = TableCheck(symbols.kallsyms) if symbols.kallsyms is not None else None
        # A loop here would keep each batch in memory until the next one is read.
        known = partial(with_origin, stated=self.settings.facts.get("origin"))
        read = map(known, self.read(want, progress))
        named = map(partial(_named, symbols=symbols, check=check), read)
        return named if check is None else chain(named, _about_table(check))

    def sources(self) -> pl.DataFrame:
        """One row of schema.SOURCES: what the file, the sidecar and the user say of the host.

        Reads the whole file, because some formats say it at the end.
        """
        facts: dict[str, Any] = {}
        for batch in self.batches():
            facts.update(batch.facts)
        return self.source_row(facts)

    def source_row(self, facts: Mapping[str, Any]) -> pl.DataFrame:
        """One row of schema.SOURCES: *facts* of the file, overruled by what the user stated."""
        stated = {"path": self.path, "format": self.format, "origin": "unknown"}
        row = {**stated, **facts, **self.settings.facts}
        known = {name: [row[name]] for name in SOURCES if name in row}
        return frame("sources", known)

    def tables(self) -> Tables:
        """The whole trace in memory: every event and argument, about 150 bytes an event."""
        batches = list(self.batches(all_events=True))
        facts: dict[str, Any] = {}
        for batch in batches:
            facts.update(batch.facts)
        return Tables(
            events=pl.concat([frame("events"), *(b.events for b in batches)]),
            args=pl.concat([frame("args"), *(b.args for b in batches)]),
            losses=pl.concat([frame("losses"), *(b.losses for b in batches)]),
            samples=pl.concat([frame("samples"), *(b.samples for b in batches)]),
            sources=self.source_row(facts),
            diagnostics=tuple(d for b in batches for d in b.diagnostics),
        )


def _about_table(check: TableCheck) -> Iterator[Batch]:
    """At the end: whether the symbol table fits the addresses that were read."""
    misses = check.misses()
    if misses * 2 > check.addresses:
        message = (
            f"{misses} of {check.addresses} addresses of returns and graph functions are not where"
            " a function of the symbol table begins, so names may be wrong: is it of another"
            " kernel, or of another boot (KASLR)?"
        )
        yield Batch(diagnostics=(Diagnostic("symbol-table-mismatch", "warning", message, misses),))
    for event, (defined, at) in sorted(check.contradicted.items()):
        message = (
            f"the probe {event} is of {defined} as kprobe_events says, and at {at} by the symbol"
            " table: one of them is not of this recording (kprobe_events was believed)"
        )
        yield Batch(diagnostics=(Diagnostic("names-contradict", "warning", message),))


def _named(batch: Batch, *, symbols: SymbolSources, check: TableCheck | None) -> Batch:
    return replace(
        batch,
        events=name_probes(batch.events, symbols, check),
        samples=name_frames(batch.samples, symbols),
    )
