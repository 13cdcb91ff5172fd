"""What times are, in the words that a sentence about them begins with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

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


def time_title(*sides: Analysis) -> str:
    """The same for a title; empty where times are of hardware."""
    return time_words(*sides).removesuffix(", ")
