"""The groups of an analysis by name, and the unmaps of each: what every chart is about.

A name says label (where there are several), strategy, leaf size and trigger, as the report does. It
is spelled alike in every chart of a page, and is no longer than a legend can show.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from traceview.queries.groups import leaf_level, source_labels
from traceview.report.absent import why_no_unmap
from traceview.report.charts.theme import MOST_GROUPS
from traceview.report.terminal import leaf_sizes
from traceview.report.wording import UNKNOWN, clean, plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from traceview.queries.analysis import Analysis
    from traceview.report.contents import Contents

LONGEST: Final = 36  # characters of a label or a path
USED: Final = ("source_id", "unmap_id", "start_ns", "duration_ns", "leaves", "cpu", "step")
KEYS: Final = ("label", "strategy", "leaf_level", "trigger", "no_leaves")


@dataclass(frozen=True, slots=True)
class Groups:
    """`rows`: the groups of complete unmaps, the most expensive first, with `group`, their name.

    `unmaps`: all complete ones with a time above 0, with `group`. `drawn`: the names that have a
    colour and a shape of their own; of the others charts say that they are not drawn.
    """

    rows: pl.DataFrame
    unmaps: pl.DataFrame
    drawn: tuple[str, ...]

    @property
    def not_drawn(self) -> str:
        """A clause on the groups that are not drawn; empty if all are."""
        more = len(self.rows) - len(self.drawn)
        return f"{plural(more, 'smaller group')} not drawn" if more > 0 else ""

    def of_drawn(self) -> pl.DataFrame:
        """The unmaps of the groups that are drawn."""
        return self.unmaps.filter(pl.col("group").is_in(self.drawn))


def no_unmaps(found: Contents) -> str:
    """Why there is no unmap with a time, in one sentence."""
    if found.whole.unmaps.is_empty():
        why = next(iter(why_no_unmap(found.whole)), "no unmap was recorded")
        return why.removesuffix(" (below)").removesuffix(" (see below)")
    if found.analysis.unmaps.is_empty():
        return "no unmap passes the filters"
    began = len(found.analysis.unmaps)
    return f"none of {plural(began, 'unmap')} is complete and has a time above 0"


def named_groups(found: Contents) -> Groups:
    """The groups of *found*, and their unmaps."""
    sizes = leaf_sizes(found.analysis.sources)
    rows = found.groups.filter(
        (pl.col("status").cast(pl.String) == "complete") & (pl.col("duration_ns") > 0)
    )
    rows = rows.with_columns(
        pl.Series("group", group_names(rows, sizes), dtype=pl.String),
        pl.col("leaves").is_null().alias("no_leaves"),
    )
    # Names as an Enum: a million strings would be compared again and again.
    names = pl.Enum(rows["group"])
    keys = rows.select(*KEYS, pl.col("group").cast(names))
    unmaps = (
        _keyed(found.analysis)
        .join(keys, on=KEYS, how="inner", maintain_order="left")
        .drop("label", "strategy", "trigger", "no_leaves")
    )
    return Groups(rows, unmaps, tuple(rows["group"].head(MOST_GROUPS)))


def _keyed(analysis: Analysis) -> pl.DataFrame:
    """The complete unmaps of *analysis* with what their group is known by."""
    whole = (pl.col("status").cast(pl.String) == "complete") & (pl.col("duration_ns") > 0)
    return (
        analysis.unmaps.lazy()
        .filter(whole)
        .with_columns(leaf_level(), pl.col("leaves").is_null().alias("no_leaves"))
        .select(*USED, "leaf_level", "no_leaves", "strategy", "trigger")
        .collect()
        .join(source_labels(analysis.sources), on="source_id", how="left", maintain_order="left")
    )


def group_names(rows: pl.DataFrame, sizes: dict[str, str]) -> list[str]:
    """One name per row of queries.groups.groups(); *sizes*: terminal.leaf_sizes()."""
    several = rows["label"].n_unique() > 1
    return distinct(_name(row, sizes, several=several) for row in rows.iter_rows(named=True))


def _name(row: dict[str, Any], sizes: dict[str, str], *, several: bool) -> str:
    said = [short(row["label"])] if several else []
    level, strategy, trigger = row["leaf_level"], str(row["strategy"]), str(row["trigger"])
    if level != "none":
        said.append("strategy unknown" if strategy == "unknown" else strategy)
        size = sizes[level]
        size = "leaves of mixed size" if size == "mixed" else size
        said.append("leaves of unknown size" if size == UNKNOWN else size)
    else:
        said += [] if strategy in {"none", "unknown"} else [strategy]
        said.append("nothing mapped")
    said.append("trigger unknown" if trigger == "unknown" else trigger)
    return ", ".join(said) + (
        ", leaves unknown"
        if level != "none" and row["leaves"] is None and sizes[level] != UNKNOWN
        else ""
    )


def short(text: object, most: int = LONGEST) -> str:
    """*text*, which came from a file, made visible and cut in the middle where it is long."""
    name = clean(text)
    head = (most - 3) // 3
    return name if len(name) <= most else f"{name[:head]}...{name[len(name) - most + head + 3 :]}"


def distinct(names: Iterable[str]) -> list[str]:
    """*names* with a number behind those that were there before."""
    found: list[str] = []
    for name in names:
        number, shown = 1, name
        while shown in found:
            number += 1
            shown = f"{name} ({number})"
        found.append(shown)
    return found


def source_names(sources: pl.DataFrame, source_ids: Sequence[int]) -> list[str]:
    """What the sources of these ids are called: their labels, where these tell them apart."""
    of = source_labels(sources)
    labels = dict(of.select("source_id", "label").iter_rows())
    paths = dict(sources.select("source_id", "path").iter_rows())
    names = [labels[one] for one in source_ids]
    if len(set(names)) < len(names):
        names = [PurePath(str(paths[one])).name or paths[one] for one in source_ids]
    return distinct(short(name) for name in names)
