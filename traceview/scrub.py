"""Traces that may leave a company: names, numbers and addresses replaced between parser and query.

    scrubber = Scrubber(traces, step_pattern=STEP_PATTERN)   # reads them once
    traces = [scrubbed(trace, scrubber) for trace in traces]

What identifies a host or a task (names of hosts and commands, PIDs, kernel addresses, paths)
becomes something else, the same in all traces of one command. Replacements are one to one and
keep the order of what they replace, so that whatever is computed of a scrubbed trace is what it
was of the original, in the same order, but for the replaced values. docs/scrub.md says what stays.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from traceview.errors import SettingError
from traceview.schema import list_column
from traceview.scrub_addresses import PAGE_SHIFT, is_kernel
from traceview.scrub_arguments import are_pids, operands, text_kinds
from traceview.scrub_command import is_path, scrubbed_words
from traceview.scrub_names import Categories, Seen, numbered, suffix_of
from traceview.scrub_vocabulary import scrubbed_vocabulary
from traceview.scrub_words import KEPT_COMMS, Words, host_names
from traceview.symbols import SymbolSources
from traceview.trace import Batch, Trace, Want

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from traceview.scrub_addresses import Addresses

STDIN = ("-", "<stdin>")


class Scrubber:
    """What every name becomes in the traces of one command.

    Everything is learned before anything is replaced, from all events of the traces, so that no
    replacement depends on what is asked of them. `text` replaces in free text.
    """

    def __init__(
        self,
        traces: Sequence[Trace],
        *,
        step_pattern: str,
        hosts: Iterable[str] = (),
        progress: Callable[[float], None] = lambda _: None,
    ) -> None:
        """Read *traces* once. What *step_pattern* finds in markers stays findable.

        *hosts*: names known of elsewhere; that of this machine is known. Raises ParseError, and
        SettingError where the pattern is none.
        """
        self._step = _pattern(step_pattern)
        seen = _seen(traces, progress)
        names = numbered({trace.path for trace in traces} - set(STDIN))
        self._traces = {path: f"trace-{n}{suffix_of(path)}" for path, n in names.items()}
        known = numbered(seen.paths - self._traces.keys())
        self._paths = {path: f"file-{n}" for path, n in known.items()}
        self._comms = {comm: f"task-{n}" for comm, n in numbered(seen.comms).items()}
        # The name of this machine comes last: it moves no other's number.
        recorded = sorted(host_names([*seen.hosts, *hosts]))
        here = sorted(host_names([os.uname().nodename]))
        lower = dict.fromkeys(name.lower() for name in (*recorded, *here))
        self._tids = np.array(sorted(seen.tids), dtype=np.int64)
        self._late_tids: dict[int, int] = {}
        self._regions = seen.regions
        self._regions.settle()
        self.text = Words(
            self._comms, {name: f"host-{n}" for n, name in enumerate(lower, 1)}, self._traces,
            self.path, self._tid_if_known, self._regions,
        )  # fmt: skip
        self.comms = Categories(self.comm)
        self.names = Categories(self._regions.text)

    def comm(self, name: str) -> str:
        """What the command name *name* becomes."""
        if KEPT_COMMS.fullmatch(name):
            return name
        return self._comms.setdefault(name, f"task-{len(self._comms) + 1}")

    def tid(self, number: int) -> int:
        """What the PID *number* becomes; 0, the idle task's, and what is negative stay."""
        return int(self.tids(np.array([number], dtype=np.int64))[0])

    def _tid_if_known(self, number: int) -> int | None:
        """The same of a number in a text, which may be no PID: None."""
        known = not number or bool((self._tids == number).any()) or number in self._late_tids
        return self.tid(number) if known else None

    def tids(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """What PIDs become: their places among all, from 1."""
        at = np.searchsorted(self._tids, numbers)
        found = np.append(self._tids, -1)[at] == numbers
        new = np.where(found & (numbers > 0), at + 1, numbers)
        late = np.flatnonzero(~found & (numbers > 0))
        for number in np.unique(numbers[late]).tolist():
            self._late_tids.setdefault(number, self._tids.size + len(self._late_tids) + 1)
        if late.size:
            new[late] = [self._late_tids[number] for number in numbers[late].tolist()]
        return new

    def addresses(self, values: Addresses) -> Addresses:
        """Where addresses are moved to."""
        return self._regions.moved(values)

    def path(self, path: str) -> str:
        """A neutral name for *path*: of a trace `trace-1.dat`, of anything else `file-1`."""
        if path in self._traces:
            return self._traces[path]
        if path in STDIN:
            return path
        return self._paths.setdefault(path, f"file-{len(self._paths) + 1}")

    def step_id(self, name: str) -> str:
        """What the name of a step becomes: it stays, but for names of hosts and tasks in it."""
        return self.text.free(name)

    def marker(self, text: str) -> str:
        """What the text of a marker becomes."""
        return self.text.marker(text, self._step)

    def facts(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Columns of schema.SOURCES; what the user or the parser said is kept but for names."""
        known = {name: value for name, value in facts.items() if name != "hostnames"}
        for name, value in known.items():
            if isinstance(value, str):
                told = self.text.command if name == "tracer_options" else self.text.hosts
                known[name] = told(value)
        return known

    def file(self, path: str) -> str:
        """The same with what the name of a file ends in."""
        if path in STDIN or path in self._traces:
            return self.path(path)
        return self.path(path) + suffix_of(path)

    def words(self, arguments: Iterable[str]) -> tuple[str, ...]:
        """The *arguments* of a command line, for a report to repeat."""
        return tuple(scrubbed_words(arguments, self._argument))

    def _argument(self, option: str, value: str) -> str:
        if is_path(option):
            return self.file(value)
        if option == "--tid" and value.isdecimal():
            return str(self.tid(int(value)))
        if option == "--step":
            return self.step_id(value)
        # What it finds in markers stays there too.
        return value if option == "--step-pattern" else self.text.hosts(value)

    def vocabulary(self, text: str) -> str:
        """The *text* of a vocabulary, of which is kept what it means."""
        return scrubbed_vocabulary(text, self.text.named)


def _pattern(step_pattern: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(step_pattern)
    except re.error as err:
        raise SettingError(f"step pattern is no regular expression: {err}") from err
    if not {"edge", "id"} <= set(pattern.groupindex):
        raise SettingError("a step pattern needs the groups (?P<edge>begin|end) and (?P<id>...)")
    return pattern


def _seen(traces: Sequence[Trace], progress: Callable[[float], None]) -> Seen:
    """The names in all of *traces*."""
    seen = Seen()
    for at, trace in enumerate(traces):

        def advance(fraction: float, done: int = at) -> None:
            progress((done + fraction) / len(traces))

        want = Want(trace.vocabulary, all_events=True, symbols=trace.settings.symbols)
        for batch in trace.read(want, advance):
            seen.add(batch)
        facts = trace.settings.facts.values()
        seen.text(pl.Series([fact for fact in facts if isinstance(fact, str)], dtype=pl.String))
    return seen


def scrubbed(trace: Trace, scrubber: Scrubber) -> Trace:
    """*trace* with what *scrubber* replaces replaced; its probes are named already."""

    def read(want: Want, progress: Callable[[float], None]) -> Iterator[Batch]:
        batches = trace.batches(
            all_events=want.all_events, batch_events=want.batch_events, progress=progress
        )
        # A loop here would keep each batch in memory until the next one is read.
        return (_batch(batch, scrubber) for batch in batches)

    settings = trace.settings
    table = settings.symbols.kallsyms
    # Definitions of probes say which of them return; addresses have got their names.
    probes = {scrubber.text.addresses(name): of for name, of in settings.symbols.probes.items()}
    return replace(
        trace,
        path=scrubber.path(trace.path),
        read=read,
        settings=replace(
            settings,
            facts=scrubber.facts(settings.facts),
            symbols=SymbolSources(probes, None, None if table is None else table.names_sha256),
        ),
    )


def _batch(batch: Batch, scrubber: Scrubber) -> Batch:
    return replace(
        batch,
        events=_columns(
            batch.events, scrubber, ("buffer", "name", "symbol"), ("tid", "tgid"), ("probe_ip",)
        ),
        args=_args(batch, scrubber),
        losses=_columns(batch.losses, scrubber, ("buffer", "kind")),
        samples=_samples(batch.samples, scrubber),
        skipped={scrubber.text.addresses(name): n for name, n in batch.skipped.items()},
        facts=scrubber.facts(batch.facts),
        diagnostics=tuple(
            replace(one, message=scrubber.text.message(one.message)) for one in batch.diagnostics
        ),
    )


def _columns(
    rows: pl.DataFrame,
    scrubber: Scrubber,
    names: Iterable[str],
    tids: Iterable[str] = (),
    addresses: Iterable[str] = (),
) -> pl.DataFrame:
    if rows.is_empty():
        return rows
    found = [scrubber.names.column(rows[name]) for name in names]
    found += [_tids(rows[name], scrubber) for name in tids]
    found += [_moved(rows[name], scrubber) for name in addresses]
    if "comm" in rows.columns:
        found.append(scrubber.comms.column(rows["comm"]))
    return rows.with_columns(found)


def _samples(samples: pl.DataFrame, scrubber: Scrubber) -> pl.DataFrame:
    rows = _columns(samples, scrubber, ("event", "symbol"), ("tid",), ("ip",))
    if rows.is_empty():
        return rows
    return rows.with_columns(
        _elements(rows["callchain"], lambda items: _moved(items, scrubber)),
        _elements(rows["frames"], scrubber.names.column),
    )


def _args(batch: Batch, scrubber: Scrubber) -> pl.DataFrame:
    args = batch.args
    if args.is_empty():
        return args
    value, text = pl.col("value"), pl.col("text")
    numbers = pl.Series("value", _values(batch, scrubber))
    args = args.with_columns(pl.when(value.is_not_null()).then(numbers).alias("value"))
    if args["text"].null_count() == len(args):
        return args
    kinds = text_kinds(batch)
    told = kinds.drop_nulls("text").unique()
    new = [_told(kind, name, scrubber) for kind, name in told.iter_rows()]
    change = told.with_columns(pl.Series("new", new, dtype=pl.String))
    found = kinds.join(change, on=["kind", "text"], how="left", maintain_order="left")
    return args.with_columns(pl.when(text.is_not_null()).then(found["new"]).alias("text"))


def _values(batch: Batch, scrubber: Scrubber) -> NDArray[np.int64]:
    """The values of the arguments of *batch*, anything where there is none."""
    numbers = batch.args["value"].fill_null(0).to_numpy()
    pids, tlbi = are_pids(batch.args), operands(batch, numbers)
    kernel = is_kernel(numbers.view(np.uint64)) & ~pids & ~tlbi.here
    new = numbers.copy()
    # A negative number is that of a group of processes (kill(2)); -1 is all or none.
    mine = np.flatnonzero(pids & (np.abs(numbers) > 0) & (numbers != -1))
    new[mine] = np.sign(numbers[mine]) * scrubber.tids(np.abs(numbers[mine]))
    new[kernel] = scrubber.addresses(numbers[kernel].view(np.uint64)).view(np.int64)
    page = scrubber.addresses(tlbi.address) >> np.uint64(PAGE_SHIFT)
    rest = numbers[tlbi.at].view(np.uint64) & ~tlbi.mask
    new[tlbi.at] = ((page & tlbi.mask) | rest).view(np.int64)
    return new


def _told(kind: str, text: str, scrubber: Scrubber) -> str:
    """What the *text* of an argument becomes."""
    if kind == "comm":
        return scrubber.comm(text)
    if kind == "file":
        return scrubber.path(text) if text else text
    if kind == "marker":
        return scrubber.marker(text)
    return text if kind == "code" else scrubber.text.free(text)


def _tids(column: pl.Series, scrubber: Scrubber) -> pl.Series:
    new = scrubber.tids(column.cast(pl.Int64).fill_null(0).to_numpy())
    return _where_known(column, pl.Series(new).cast(column.dtype))


def _moved(column: pl.Series, scrubber: Scrubber) -> pl.Series:
    if column.null_count() == len(column):
        return column
    new = scrubber.addresses(column.fill_null(0).to_numpy())
    return _where_known(column, pl.Series(new, dtype=pl.UInt64))


def _elements(lists: pl.Series, change: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """*lists* with their elements changed."""
    if lists.null_count() == len(lists):
        return lists
    length = lists.list.len().fill_null(0).to_numpy().astype(np.int64)
    items = change(lists.fill_null([]).explode(empty_as_null=False))
    return _where_known(lists, list_column(items, np.append(0, np.cumsum(length))))


def _where_known(column: pl.Series, new: pl.Series) -> pl.Series:
    known = pl.when(column.is_not_null()).then(new).alias(column.name)
    return pl.select(known).to_series()
