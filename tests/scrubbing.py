"""Two analyses of one trace, the second scrubbed: the same, but for what must be replaced."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from traceview.queries.analysis import Analysis, analyze
from traceview.queries.steps import STEP_PATTERN
from traceview.scrub import Scrubber, scrubbed
from traceview.scrub_addresses import is_kernel
from traceview.scrub_words import KEPT_COMMS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from traceview.trace import Trace

ADDRESSES = {"probe_ip", "mmu", "object_addr", "ret", "operand", "value", "ip", "callchain"}
# Words of the kernel's, of which a task may be the namesake.
KERNEL_WORDS = {"name", "symbol", "frames", "event", "kind", "buffer", "op", "insn"}

# Tasks too; formats and messages of ours are called after them.
RECORDERS = {"perf", "perfetto"}


@dataclass
class Everything:
    """All that an analysis hands out: its frames, the streamed tables, what was said."""

    analysis: Analysis
    streamed: dict[str, pl.DataFrame]

    @property
    def tables(self) -> dict[str, pl.DataFrame]:
        """By name, in the order of their rows; of counts that has no meaning."""
        names = [f.name for f in dataclasses.fields(self.analysis) if f.name != "diagnostics"]
        kept = {name: getattr(self.analysis, name) for name in names}
        counts = kept["event_counts"]
        by_name = [pl.col(name).cast(pl.String) for name in counts.columns[:-1]]
        kept["event_counts"] = counts.sort(by_name, nulls_last=True)
        return kept | {f"streamed {name}": rows for name, rows in self.streamed.items()}

    @property
    def messages(self) -> list[str]:
        return [found.message for _, found in self.analysis.diagnostics]


@dataclass
class Sink:
    parts: dict[str, list[pl.DataFrame]] = field(default_factory=dict)

    def __call__(self, _source_id: int, table: str, rows: pl.DataFrame) -> None:
        self.parts.setdefault(table, []).append(rows)


def everything(traces: Sequence[Trace]) -> Everything:
    sink = Sink()
    analysis = analyze(traces, sink=sink, all_events=True)
    return Everything(analysis, {name: pl.concat(of) for name, of in sink.parts.items()})


def both(
    traces: Sequence[Trace], step_pattern: str = STEP_PATTERN
) -> tuple[Everything, Everything, Scrubber]:
    scrubber = Scrubber(traces, step_pattern=step_pattern)
    return everything(traces), everything([scrubbed(one, scrubber) for one in traces]), scrubber


def assert_same(original: Everything, new: Everything, scrubber: Scrubber) -> None:
    """Every column of every table is what it was, once the replacements are applied to it."""
    before, after = original.tables, new.tables
    assert before.keys() == after.keys()
    for table, rows in before.items():
        assert rows.schema == after[table].schema, table
        assert rows.height == after[table].height, table
        for column in rows.columns:
            expected = _expected(table, rows, column, scrubber)
            if expected is not None:
                assert expected.equals(after[table][column], null_equal=True), (table, column)
    codes = [[(n, one.code, one.count) for n, one in of.analysis.diagnostics]
             for of in (original, new)]  # fmt: skip
    assert codes[0] == codes[1]


def _expected(table: str, rows: pl.DataFrame, column: str, scrubber: Scrubber) -> pl.Series | None:
    values = rows[column]
    if column == "comm":
        return pl.Series(
            column, [None if name is None else scrubber.comm(name) for name in values], pl.String
        ).cast(values.dtype)
    if column in {"tid", "tgid"}:
        mapped = [None if tid is None else scrubber.tid(tid) for tid in values]
        return pl.Series(column, mapped, values.dtype)
    if (table, column) == ("streamed args", "value"):
        return None  # by its name: see moved_arguments
    if column in ADDRESSES:
        return _moved(values, scrubber)
    if (table, column) in {("sources", "path"), ("streamed args", "text"),
                           ("sources", "tracer_options")}:  # fmt: skip
        return None
    return values


def _moved(values: pl.Series, scrubber: Scrubber) -> pl.Series:
    if isinstance(values.dtype, pl.List):
        items = values.explode(empty_as_null=False)
        new = scrubber.addresses(items.fill_null(0).to_numpy())
        count = values.list.len().fill_null(0).to_list()
        parts = iter(new.tolist())
        lists = [
            None if known is None else [next(parts) for _ in range(size)]
            for known, size in zip(values.to_list(), count, strict=True)
        ]
        return pl.Series(values.name, lists, values.dtype)
    bits = values.fill_null(0).cast(pl.Int64, wrap_numerical=True).to_numpy().view(np.uint64)
    every = values.name in {"ip", "probe_ip"}
    mine = np.full(bits.size, every) | is_kernel(bits)
    new_bits = np.where(mine, scrubber.addresses(bits), bits)
    found = pl.Series(values.name, new_bits)
    found = found.reinterpret(signed=True) if values.dtype == pl.Int64 else found
    return pl.select(pl.when(values.is_not_null()).then(found).alias(values.name)).to_series()


def texts(of: Everything) -> list[tuple[str, str]]:
    """Every distinct string and where it is, but for the kernel's own words."""
    found = [("diagnostics", message) for message in of.messages]
    for table, rows in of.tables.items():
        for column in rows.columns:
            if isinstance(rows[column].dtype, (pl.String, pl.Categorical)):
                if column in KERNEL_WORDS:
                    continue
                names = rows[column].cast(pl.String).drop_nulls().unique()
                found += [(f"{table}.{column}", text) for text in names]
    return found


def leaks(of: Everything, original: Everything) -> list[tuple[str, str, str]]:
    """Where a comm, an address or a path of *original* still stands in *of*, as a word."""
    comms = {name for rows in original.tables.values() if "comm" in rows.columns
             for name in rows["comm"].cast(pl.String).drop_nulls().unique()}  # fmt: skip
    comms -= RECORDERS
    # Of a word of one character, or without a letter, nobody can say what it is.
    told = {name for name in comms if len(name) > 1 and re.search(r"[^\W\d_]", name)}
    words = {name for name in told if not KEPT_COMMS.fullmatch(name)}
    words |= set(original.analysis.sources["path"])
    words |= {f"{value:x}" for value in addresses_of(original)}
    patterns = {word: re.compile(rf"(?<!\w){re.escape(word)}(?!\w)") for word in words}
    return [
        (where, text, word)
        for where, text in texts(of)
        for word, pattern in patterns.items()
        if word in text and pattern.search(text)
    ]


def addresses_of(of: Everything) -> set[int]:
    """The kernel addresses in any column."""
    found: set[int] = set()
    for rows in of.tables.values():
        for column in ADDRESSES & set(rows.columns):
            values = rows[column]
            if isinstance(values.dtype, pl.List):
                values = values.explode(empty_as_null=False)
            known = values.drop_nulls().unique()
            bits = known.cast(pl.Int64, wrap_numerical=True).to_numpy().view(np.uint64)
            found |= set(bits[is_kernel(bits)].tolist())
    return found
