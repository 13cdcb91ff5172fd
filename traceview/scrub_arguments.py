"""What the arguments of events are the names of: tasks, commands, files, addresses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.scrub_addresses import operand_addresses

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from traceview.scrub_addresses import Addresses
    from traceview.trace import Batch

PID_NAME: Final = r"(?:^|_)(?:pid|tid|tgid|ppid|pgid|sid|pgrp)$"
COMM_NAME: Final = r"comm$"
FILE_NAME: Final = r"^(?:filename|file|path|pathname|exe|interp)$"
# Texts that are codes of the kernel's, of which a task may be the namesake.
CODES: Final = ("op", "option", "prev_state")
NOTHING: Final = np.zeros(0, dtype=np.uint64)


def are_pids(args: pl.DataFrame) -> NDArray[np.bool_]:
    """Which of *args* are PIDs, by their names."""
    found = args["name"].cast(pl.String).str.contains(PID_NAME).fill_null(value=False)
    return found.to_numpy()


def text_kinds(batch: Batch) -> pl.DataFrame:
    """`kind` and `text` of every argument: what its text is the name of."""
    name = pl.col("name").cast(pl.String)
    markers = batch.events.filter(pl.col("evidence") == "marker").select(
        "seq", pl.lit(value=True).alias("marker")
    )
    rows = batch.args.select("seq", "name", "text").join(
        markers, on="seq", how="left", maintain_order="left"
    )
    return rows.select(
        pl.when(pl.col("marker")).then(pl.lit("marker"))
        .when(name.str.contains(COMM_NAME)).then(pl.lit("comm"))
        .when(name.str.contains(FILE_NAME)).then(pl.lit("file"))
        .when(name.is_in(CODES)).then(pl.lit("code"))
        .otherwise(pl.lit("other")).alias("kind"),
        "text",
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Operands:
    """Operands of TLBI instructions: `here` marks them, `at` are those that name addresses."""

    here: NDArray[np.bool_]
    at: NDArray[np.int64]
    address: Addresses
    mask: Addresses


def operands(batch: Batch, numbers: NDArray[np.int64]) -> Operands:
    """The operands among the arguments of *batch*, of which *numbers* are the values."""
    insns = batch.events.filter((pl.col("evidence") == "insn") & (pl.col("name") == "tlbi"))
    if insns.is_empty():
        nothing = np.zeros(0, dtype=np.int64)
        return Operands(np.zeros(numbers.size, dtype=np.bool_), nothing, NOTHING, NOTHING)
    ops = batch.args.filter(pl.col("name") == "op").select("seq", op="text").unique("seq")
    tlbi = insns.select("seq", pl.lit(value=True).alias("tlbi")).join(ops, on="seq", how="left")
    rows = batch.args.select("seq", "name").join(tlbi, on="seq", how="left", maintain_order="left")
    here = (rows["tlbi"].fill_null(value=False) & (rows["name"] == "operand")).to_numpy()
    at = np.flatnonzero(here)
    address, mask = operand_addresses(rows["op"].gather(at), numbers[at].view(np.uint64))
    named = mask > 0
    return Operands(here, at[named], address[named], mask[named])
