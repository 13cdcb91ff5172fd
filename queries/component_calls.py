"""The calls that the components of unmaps are made of: who has the time, from when to when.

The outermost classified calls inside each unmap, as its breakdown adds them up. An interrupt
inside one of them is not listed: the breakdown cuts it out of the call, which here stays whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.queries.rows import NIL
from traceview.queries.unmaps import call_components, outermost, owner, place, unmap_calls
from traceview.schema import TIMED_COMPONENTS

if TYPE_CHECKING:
    from traceview.queries.calls import Chunk
    from traceview.queries.functions import Functions

COMPONENT_CALLS: Final = {
    "unmap_id": pl.Int64(), "component": pl.Enum(TIMED_COMPONENTS), "start_ns": pl.Int64(),
    "duration_ns": pl.Int64(),
}  # fmt: skip


def component_calls(chunk: Chunk, functions: Functions, page_bytes: int) -> pl.DataFrame:
    """COMPONENT_CALLS of the unmaps that closed with *chunk*, in order of task and start."""
    placed = place(chunk)
    component = call_components(placed, functions, page_bytes)
    known = (component >= 0) & (placed.calls["start_ns"] != NIL)
    known &= placed.calls["duration_ns"] != NIL
    inside = placed.pick(known)
    outer = outermost(inside)
    unmaps = unmap_calls(placed)
    of = owner(unmaps, inside.start[outer])
    ids = unmaps.calls["start_seq"] if unmaps.start.size else np.array([NIL])
    return pl.DataFrame(
        {
            "unmap_id": ids[of],
            "component": pl.Series(component[known][outer].astype(np.uint8)).cat.to(
                COMPONENT_CALLS["component"]
            ),
            "start_ns": inside.calls["start_ns"][outer],
            "duration_ns": inside.calls["duration_ns"][outer],
        }
    )
