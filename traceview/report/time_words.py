"""What times are, in the words that a sentence about them begins with."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import polars as pl

from traceview.queries.groups import source_labels

if TYPE_CHECKING:
    from traceview.queries.analysis import Analysis

IN_TIME: Final = {
    "synthetic": "in simulated time, ", "emulated": "in emulated time, ",
    "unknown": "in time of unknown origin, ",
}  # fmt: skip


def time_words(*sides: Analysis) -> str:
    """What the times are, so that the sentence cannot be quoted without it."""
    for side in sides:
        if (side.unmaps["evidence"] == "insn").any():
            return "in executed instructions, "
    origins = {
        origin
        for side in sides
        for origin in side.sources["origin"].cast(pl.String).fill_null("unknown")
    }
    return next((text for origin, text in IN_TIME.items() if origin in origins), "")


def of_label(of: Analysis, label: str | None) -> Analysis:
    """Sources and unmaps of a label (groups.source_labels) alone; all of them without one."""
    if label is None:
        return of
    labels = source_labels(of.sources)
    ids = labels.filter(pl.col("label") == label)["source_id"]
    mine = pl.col("source_id").is_in(ids.implode())
    return replace(of, sources=of.sources.filter(mine), unmaps=of.unmaps.filter(mine))


def words_of_label(of: Analysis, label: str | None) -> str:
    """The same for the traces of a label; of all traces without one."""
    of = of_label(of, label)
    instructions = of.unmaps["evidence"].drop_nulls() == "insn"
    if instructions.any() and not instructions.all():
        return "in times of several kinds, "
    if of.sources["origin"].cast(pl.String).fill_null("unknown").n_unique() > 1:
        return "in times of several origins, "
    return time_words(of)


def time_title(*sides: Analysis) -> str:
    """The same for a title; empty where times are of hardware."""
    return time_words(*sides).removesuffix(", ")
