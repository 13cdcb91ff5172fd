"""The names that traces hold, and what becomes of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.schema import NAME
from traceview.scrub_addresses import Regions, is_kernel, text_addresses
from traceview.scrub_arguments import are_pids, operands, text_kinds
from traceview.scrub_words import KEPT_COMMS, paths_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from traceview.trace import Batch

SUFFIXES: Final = frozenset({
    ".dat", ".data", ".perf", ".txt", ".trace", ".perfetto", ".pftrace", ".script", ".xz", ".zst",
    ".gz", ".zip", ".json", ".jsonl", ".toml", ".csv", ".html", ".md", ".parquet", ".sql",
})  # fmt: skip


@dataclass(slots=True)
class Seen:
    """The names that traces hold, batch by batch."""

    comms: set[str] = field(default_factory=set)
    tids: set[int] = field(default_factory=set)
    hosts: set[str] = field(default_factory=set)
    paths: set[str] = field(default_factory=set)
    regions: Regions = field(default_factory=Regions)

    def add(self, batch: Batch) -> None:
        """Take in the names of *batch*."""
        self.hosts.update(batch.facts.get("hostnames", ()))
        for rows in (batch.events, batch.samples):
            self._comms(rows["comm"])
            self._tids(rows["tid"])
        self._tids(batch.events["tgid"])
        for names in (batch.events["name"], batch.events["symbol"]):
            self.text(names.unique().cast(pl.String).drop_nulls())
        self._addresses(batch.events["probe_ip"])
        self._addresses(batch.samples["ip"])
        self._addresses(batch.samples["callchain"].explode(empty_as_null=False))
        self._args(batch)
        said = [*(one.message for one in batch.diagnostics), *map(str, batch.facts.values())]
        self.text(pl.Series(said, dtype=pl.String))

    def text(self, texts: pl.Series) -> None:
        """Take in what is written in *texts*."""
        self.regions.add(text_addresses(texts))
        self.paths |= paths_of(texts)

    def _args(self, batch: Batch) -> None:
        args = batch.args
        if args.is_empty():
            return
        pids = are_pids(args)
        self._tids(args["value"].filter(pl.Series(pids)).abs())
        numbers = args["value"].fill_null(0).to_numpy()
        at_operands = operands(batch, numbers)
        bits = numbers.view(np.uint64)
        self.regions.add(np.unique(bits[is_kernel(bits) & ~at_operands.here & ~pids]))
        self.regions.add(np.unique(at_operands.address))
        texts = text_kinds(batch).drop_nulls("text").unique()
        of = {kind: texts.filter(pl.col("kind") == kind)["text"] for kind in ("comm", "file")}
        self._comms(of["comm"])
        self.paths.update(path for path in of["file"] if path)
        self.text(texts.filter(pl.col("kind").is_in(["marker", "other"]))["text"])

    def _comms(self, names: pl.Series) -> None:
        found = names.unique().cast(pl.String).drop_nulls()
        self.comms.update(name for name in found if not KEPT_COMMS.fullmatch(name))

    def _tids(self, numbers: pl.Series) -> None:
        found = numbers.drop_nulls().unique()
        self.tids.update(found.filter(found > 0).cast(pl.Int64).to_list())

    def _addresses(self, column: pl.Series) -> None:
        if column.null_count() < len(column):
            known = column.drop_nulls()
            self.regions.add(np.unique(known.filter(known > 0).to_numpy()))


class Categories:
    """Replaces the names of categorical columns; each distinct name is looked at once."""

    def __init__(self, change: Callable[[str], str]) -> None:
        """*change* says what a name becomes."""
        self._change = change
        # While a column of names lives, names keep their numbers; without one they start again.
        self._alive = pl.Series(["alive"], dtype=NAME)
        self._known = np.zeros(0, dtype=np.bool_)
        self._codes = np.zeros(0, dtype=np.uint32)

    def column(self, names: pl.Series) -> pl.Series:
        """*names* as they become."""
        known = names.is_not_null().to_numpy()
        codes = names.to_physical().fill_null(0).to_numpy()
        if not known.any():
            return names
        self._learn(codes[known])
        new = pl.Series(self._codes[np.where(known, codes, codes[known][0])]).cat.to(NAME)
        return pl.select(pl.when(names.is_not_null()).then(new).alias(names.name)).to_series()

    def _learn(self, codes: NDArray[np.uint32]) -> None:
        short = int(codes.max()) + 1 - self._known.size
        if short > 0:
            self._known = np.append(self._known, np.zeros(short, dtype=np.bool_))
            self._codes = np.append(self._codes, np.zeros(short, dtype=np.uint32))
        seen = np.zeros(self._known.size, dtype=np.bool_)
        seen[codes] = True
        fresh = np.flatnonzero(seen & ~self._known)
        if fresh.size == 0:
            return
        names = pl.Series(fresh.astype(np.uint32)).cat.to(NAME)
        changed = pl.Series([self._change(name) for name in names], dtype=NAME)
        self._codes[fresh] = changed.to_physical().to_numpy()
        self._known[fresh] = True


def numbered(names: Iterable[str]) -> dict[str, str]:
    """A number for each of *names*, in their order and of one width."""
    ordered = sorted(names)
    width = len(str(len(ordered)))
    return {name: f"{at:0{width}d}" for at, name in enumerate(ordered, 1)}


def suffix_of(path: str) -> str:
    """What the name of a file ends in, as far as that says no more than its kind."""
    found = ""
    for suffix in reversed(PurePath(path).suffixes):
        if suffix.lower() not in SUFFIXES:
            break
        found = suffix + found
    return found
