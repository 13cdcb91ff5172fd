"""What one call inside an unmap takes, as far as a trace tells it.

Of calls that were traced with their durations, without what tracing them cost: `low` and `high` are
what the most and the least that it can have cost leave. An invalidate call for a leaf and one for a
freed table are the same function (`__kvm_tlb_flush_vmid_ipa`), so they are one cost.

What a trace holds none of is not known from it. Of the other kind of invalidate call there is a
bracket: both consist of the same frame (enter and exit of the VMID's context, the `vmalle1is`, the
DSBs; arch/arm64/kvm/hyp/vhe/tlb.c) around one TLBI, or around the range operations. So a range call
is taken to be at least one call for a leaf, and each of its operations to add one more at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import polars as pl

from traceview.queries.moderated_noise import MEDIAN

if TYPE_CHECKING:
    from collections.abc import Sequence

Kind = Literal["ipa", "range", "cmo"]
Source = Literal["measured", "bracket"]
OF: Final[dict[Kind, tuple[str, ...]]] = {
    "ipa": ("invalidate_leaf", "invalidate_table"), "range": ("invalidate_range",),
    "cmo": ("cmo",),
}  # fmt: skip
# Where in its bracket the other kind of call is taken to be: half of the operations count.
MIDDLE: Final = 0.5


@dataclass(frozen=True, slots=True)
class CallCost:
    """ns of one call: `value`, between `low` and `high`; `error`: its standard error, relative."""

    value: float
    low: float
    high: float
    error: float
    source: Source

    @property
    def choices(self) -> tuple[float, float, float]:
        """The value first."""
        return self.value, self.low, self.high


def measured_cost(rows: pl.DataFrame, kind: Kind) -> CallCost | None:
    """The cost of calls of *kind* in the unmaps *rows*; None where there are none with a time."""
    parts = [rows.select(pl.col(f"{name}_each{which}").alias(which or "value")
                         for which in ("", "_low", "_high")) for name in OF[kind]]  # fmt: skip
    each = pl.concat(parts).drop_nulls(["_low", "_high"])
    if each.is_empty():
        return None
    low, high = (float(np.median(each[name].to_numpy())) for name in ("_low", "_high"))
    if each["value"].null_count():
        # As everywhere: the shortest traced call is taken to be nothing but tracing.
        return CallCost(low, low, high, 0.0, "measured")
    values = each["value"].to_numpy()
    middle = float(np.median(values))
    if middle <= 0:
        return CallCost(max(middle, 0.0), max(low, 0.0), high, 0.0, "measured")
    spread = float(values.std(ddof=1)) if values.size > 1 else 0.0
    error = spread * float(np.sqrt(MEDIAN / values.size)) / middle
    return CallCost(middle, min(low, middle), max(high, middle), error, "measured")


def range_from_leaf(leaf: CallCost, operations: tuple[int, int]) -> CallCost:
    """The bracket of a range call with that many operations (fewest, most)."""
    fewest, most = operations
    value = leaf.value * (1 + MIDDLE * fewest)
    return CallCost(value, leaf.low, leaf.high * (1 + most), leaf.error, "bracket")


def leaf_from_range(call: CallCost, operations: tuple[int, int]) -> CallCost:
    """The bracket of a call for a leaf, where only range calls were measured."""
    fewest, most = operations
    value = call.value / (1 + MIDDLE * fewest)
    return CallCost(value, call.low / (1 + most), call.high, call.error, "bracket")


def of_all(costs: Sequence[CallCost | None]) -> CallCost | None:
    """What cells say together, for a cell that has no such call: between all of them."""
    known = [one for one in costs if one is not None]
    if not known:
        return None
    middle = float(np.median([one.value for one in known]))
    return CallCost(
        middle, min(one.low for one in known), max(one.high for one in known),
        max(one.error for one in known), known[0].source,
    )  # fmt: skip
