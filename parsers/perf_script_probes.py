"""Functions of probes that `perf probe` named, in `perf script` text.

The rules are those of perf_probe_names.py, and they need the names of all probes, while text has
names only where events are. So the file is searched for them once, when the first event of the
group `probe` comes. An event that was never hit is in no text: what its name would have made
ambiguous is not known to be.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.parsers.ftrace_text_chunks import whole_lines
from traceview.parsers.perf_probe_names import GROUP, AssumedFunctions
from traceview.schema import NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from traceview.parsers.ftrace_text_lines import Positions
    from traceview.parsers.source import Source
    from traceview.trace import Want

MINE: Final = f"{GROUP}:"
HIT: Final = re.compile(rb" probe:([\w.]{1,256}):(?= |$)", re.MULTILINE)
MAX_NAMES: Final = 100_000


class ProbeNames:
    """Names the probes of the group `probe`, chunk by chunk; `assumed` says how."""

    def __init__(self, source: Source, want: Want) -> None:
        """Assume nothing yet of the text of *source*."""
        self.assumed = AssumedFunctions(set(), set(), want)
        self._source, self._want = source, want
        self._searched = False
        self._lines = np.zeros(0, np.int64)
        self._symbols = pl.Series([], dtype=NAME)

    def take(self, line: Positions, names: list[str], index: Positions) -> None:
        """The events of a chunk: those at *line* have *names*, group included, at *index*."""
        if not self._searched and any(name.startswith(MINE) for name in names):
            self._searched = True
            self.assumed = AssumedFunctions(self._all_names(), set(), self._want)
        known = self.assumed.symbols
        symbols = [
            known.get(name.removeprefix(MINE)) if name.startswith(MINE) else None for name in names
        ]
        mine = np.array([symbol is not None for symbol in symbols], np.bool_)[index]
        self._lines = line[mine]
        self._symbols = pl.Series(symbols, dtype=pl.String).cast(NAME).gather(index[mine])

    def named(self, rows: pl.DataFrame) -> pl.DataFrame:
        """*rows* of the events taken last, with the `symbol` of probes that nothing else names."""
        if not self._lines.size:
            return rows
        assumed = pl.DataFrame({"line": self._lines, "assumed": self._symbols})
        rows = rows.join(assumed, on="line", how="left", maintain_order="left")
        nameless = pl.col("symbol").is_null() & (pl.col("evidence") == "kprobe")
        symbol = pl.when(nameless).then("assumed").otherwise("symbol").alias("symbol")
        return rows.with_columns(symbol).drop("assumed")

    def _all_names(self) -> set[str]:
        """The events of the group in the whole text."""
        found: set[bytes] = set()
        with _as_it_was(self._source):
            for chunk in whole_lines(self._source.chunks()):
                if len(found) < MAX_NAMES:  # no recording has so many
                    found.update(HIT.findall(chunk))
        return {name.decode("utf-8", "replace") for name in found}


@contextmanager
def _as_it_was(source: Source) -> Iterator[None]:
    """Let *source* be read from its start while a pass over it goes on, which does not notice."""
    file, damage = source.file, [*source.damage]
    at = None if isinstance(file, Path) else file.tell()
    yield
    if at is not None and not isinstance(file, Path):
        file.seek(at)
    source.damage[:] = damage
