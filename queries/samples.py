"""Where the samples of a profiler fell inside unmaps: a breakdown that needs no traced function.

A sample is inside an unmap if its callchain passes through one, or if an unmap recorded in the
same file was running on its task. What the unmap was doing follows the rule of its durations: an
interrupt is cut out of whatever it interrupted, else the outermost function below the unmap that
is a component counts; what is left is the walk. Leaves and tables are not separable by samples.

`exit_vmid_context()` is the last call of `__kvm_tlb_flush_vmid_ipa()` (Linux 6.12,
arch/arm64/kvm/hyp/vhe/tlb.c), which compilers turn into a jump, so that its callchain lacks the
caller: a switch of the VMID context below no flush belongs to `__kvm_tlb_flush_vmid_ipa()`.
Interrupts are masked between the two switches, so a sampling interrupt that falls due inside an
invalidation fires at its end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.queries.functions import OP
from traceview.queries.unmaps import owner
from traceview.queries.waiting import Waiting, id_of, positions
from traceview.schema import OPERATION, conform
from traceview.vocabulary import strip_suffix

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from traceview.queries.calls import Chunk
    from traceview.queries.functions import Functions
    from traceview.queries.rows import Ints
    from traceview.queries.unmaps import Placed
    from traceview.trace import Batch

COMPONENTS: Final = (
    "invalidate_ipa", "invalidate_range", "invalidate_vmid", "cmo", "table_put", "hypercall",
)  # fmt: skip
CONTEXT_SWITCHES: Final = frozenset(
    {"enter_vmid_context", "exit_vmid_context", "__tlb_switch_to_guest", "__tlb_switch_to_host"}
)
NOWHERE: Final = -1
KERNEL: Final = 1 << 63  # addresses from here on are the kernel's


class Samples:
    """The samples of one source, placed in unmaps."""

    def __init__(self, functions: Functions) -> None:
        """Start with none; *functions* say what the frames mean."""
        self._functions = functions
        self._waiting = Waiting()
        self.unnamed = 0  # samples in the kernel of which no frame has a name

    def add(self, batch: Batch) -> None:
        """Take the samples of a batch."""
        if batch.samples.is_empty():
            return
        inside, operation = self._operations(batch.samples)
        kernel = (batch.samples["ip"].fill_null(0) >= KERNEL).to_numpy()
        self.unnamed += int(((operation == NOWHERE) & kernel).sum())
        self._waiting.add(
            batch.samples.with_columns(
                pl.Series("inside", inside), _names(operation).alias("operation")
            )
        )

    def place(self, chunk: Chunk, placed: Placed, unmaps: Placed) -> pl.DataFrame:
        """The samples that are due with *chunk*: schema.SAMPLES.

        `operation` is null outside unmaps, and inside one where no frame has a name.
        """
        rows = self._waiting.due(chunk)
        if rows is None:
            return conform("samples", pl.DataFrame())
        of = owner(unmaps, positions(rows, placed))
        inside = pl.col("inside") | pl.col("unmap_id").is_not_null()
        rows = rows.with_columns(id_of(unmaps, of, "unmap_id")).with_columns(
            pl.when(inside).then("operation").alias("operation")
        )
        return conform("samples", rows)

    def _operations(self, samples: pl.DataFrame) -> tuple[NDArray[np.bool_], Ints]:
        """Whether each callchain passes through an unmap, and the operation it would then be in."""
        frames = samples["frames"].fill_null([])
        # Without a callchain the sampled function is all there is.
        alone = (frames.list.len() == 0) & samples["symbol"].is_not_null()
        single = samples.select(pl.concat_list("symbol"))["symbol"]
        frames = pl.select(pl.when(alone).then(single).otherwise(frames)).to_series()
        length = frames.list.len().to_numpy().astype(np.int64)
        symbols = frames.explode(empty_as_null=False)
        function = self._functions.of_symbols(symbols)
        code = self._functions.operations()[function].astype(np.int64)
        sample = np.repeat(np.arange(len(length)), length)
        depth = np.arange(len(sample)) - np.repeat(np.cumsum(length) - length, length)

        def innermost(mask: NDArray[np.bool_]) -> Ints:
            """The depth of the first such frame of each sample, its length where there is none."""
            found = length.copy()
            np.minimum.at(found, sample[mask], depth[mask])
            return found

        limit = innermost(code == OP["unmap"])
        below = depth < limit[sample]
        interrupted = innermost(below & (code == OP["irq"])) < limit
        component = below & np.isin(code, [OP[name] for name in COMPONENTS])
        outermost = np.full(len(length), NOWHERE, dtype=np.int64)
        np.maximum.at(outermost, sample[component], depth[component])
        named = function >= 0
        operation = np.full(len(length), NOWHERE, dtype=np.int64)
        operation[np.unique(sample[named])] = OP["unmap"]
        operation[sample[below & (code == OP["walk"])]] = OP["walk"]
        operation[sample[below & self._switches_context()[function]]] = OP["invalidate_ipa"]
        first = np.cumsum(length) - length
        hit = outermost != NOWHERE
        operation[hit] = code[(first + outermost)[hit]]
        operation[interrupted] = OP["irq"]
        return limit < length, operation

    def _switches_context(self) -> NDArray[np.bool_]:
        names = (strip_suffix(symbol) in CONTEXT_SWITCHES for symbol in self._functions.symbols)
        return np.array([*names, False], dtype=bool)


def _names(operation: Ints) -> pl.Series:
    codes = pl.Series(np.maximum(operation, 0).astype(np.uint8)).cat.to(OPERATION)
    return pl.select(pl.when(pl.Series(operation != NOWHERE)).then(codes)).to_series()
