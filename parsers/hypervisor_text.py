"""The text of tracefs `remotes/hypervisor/trace_pipe`: entries and exits of EL2.

    [001]   12.345678: hyp_enter reason=hvc vcpu=0
    [001]   12.345680: hyp_exit reason=eret_host vcpu=0
    CPU:1 [LOST 12 EVENTS]

Times are of the boot clock, cut to whole microseconds; no task is named. An entry is written first
thing in the handler of EL2, an exit last: the exception itself lies outside. `trace`, beside it, is
not to be copied: on 7.1.8 it gave 1,014 of 16,038 events, and said nothing. Sources of truth:
kernel/trace/trace_remote.c (trace_remote_iter_print_event), arch/arm64/include/asm/kvm_hypevents.h
and arch/arm64/kvm/hyp/nvhe/hyp-main.c (handle_trap) of Linux 7.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

from traceview.parsers.chunks import MAX_CPUS
from traceview.parsers.source import CHUNK_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

EVENT: Final = (
    r"^\[(\d{1,5})\]\s+(\d{1,11})\.(\d{6}): (hyp_enter|hyp_exit)(?: reason=(\w{1,32}))?"
    r"(?: vcpu=(-?\d{1,9}))?\s*$"
)
OURS: Final = r": (?:hyp_enter|hyp_exit)\b"
OTHER: Final = r"^\[\d{1,5}\]\s+\d{1,11}\.\d{6}: \w+"
LOST: Final = r"^CPU:(\d{1,5}) \[LOST (\d{1,18}) EVENTS\]\s*$"

# The largest time that 64 bits of nanoseconds hold.
MOST_US: Final = (1 << 64) // 1000 - 1

# `at`: the position in the text; `us`: the time, cut to microseconds; `entry`: hyp_enter.
EVENTS: Final[dict[str, pl.DataType | type[pl.DataType]]] = {
    "at": pl.Int64, "cpu": pl.Int32, "us": pl.Int64, "entry": pl.Boolean,
    "reason": pl.Categorical, "vcpu": pl.Int32,
}  # fmt: skip
LOSSES: Final[dict[str, pl.DataType | type[pl.DataType]]] = {
    "at": pl.Int64, "cpu": pl.Int32, "count": pl.Int64,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class HypervisorText:
    """What the text says: frames of EVENTS and LOSSES, in the order in which they stand.

    `unparsed` lines were not understood; `others` are events of other names.
    """

    events: pl.DataFrame
    losses: pl.DataFrame
    others: int = 0
    unparsed: int = 0


def parse(chunks: Iterable[bytes]) -> HypervisorText:
    """Read the text, given in pieces of any size."""
    events, losses, others, unparsed, at = [], [], 0, 0, 0
    for lines in _lines(chunks):
        numbered = lines.with_row_index("at", offset=at).with_columns(pl.col("at").cast(pl.Int64))
        at += len(lines)
        known = _events(numbered)
        rest = numbered.join(known, on="at", how="anti", maintain_order="left")
        lost = _losses(rest)
        other = int((rest["line"].str.contains(OTHER) & ~rest["line"].str.contains(OURS)).sum())
        unparsed += len(rest) - len(lost) - other
        others += other
        events.append(known)
        losses.append(lost)
    return HypervisorText(
        pl.concat([pl.DataFrame(schema=EVENTS), *events]),
        pl.concat([pl.DataFrame(schema=LOSSES), *losses]),
        others,
        unparsed,
    )


def pieces(view: memoryview) -> Iterator[bytes]:
    """The bytes of *view*, a chunk at a time."""
    return (bytes(view[at : at + CHUNK_BYTES]) for at in range(0, len(view), CHUNK_BYTES))


def _events(numbered: pl.DataFrame) -> pl.DataFrame:
    group = pl.col("line").str.extract_groups(EVENT)
    found = numbered.select("at", group.alias("of")).unnest("of").filter(pl.col("1").is_not_null())
    events = found.select(
        "at",
        pl.col("1").cast(pl.Int32).alias("cpu"),
        (pl.col("2").cast(pl.Int64) * 1_000_000 + pl.col("3").cast(pl.Int64)).alias("us"),
        (pl.col("4") == "hyp_enter").alias("entry"),
        pl.col("5").cast(pl.Categorical).alias("reason"),
        pl.col("6").cast(pl.Int32).alias("vcpu"),
    )
    return events.filter((pl.col("us") <= MOST_US) & (pl.col("cpu") < MAX_CPUS))


def _losses(numbered: pl.DataFrame) -> pl.DataFrame:
    group = pl.col("line").str.extract_groups(LOST)
    found = numbered.select("at", group.alias("of")).unnest("of").filter(pl.col("1").is_not_null())
    losses = found.select(
        "at", pl.col("1").cast(pl.Int32).alias("cpu"), pl.col("2").cast(pl.Int64).alias("count")
    )
    return losses.filter(pl.col("cpu") < MAX_CPUS)


def _lines(chunks: Iterable[bytes]) -> Iterator[pl.DataFrame]:
    """Frames of whole lines without empty ones, each of about CHUNK_BYTES."""
    rest = b""
    for chunk in chunks:
        rest += chunk
        if len(rest) < CHUNK_BYTES:
            continue
        whole, _, rest = rest.rpartition(b"\n")
        if not whole:  # no text at all: what cannot be a line is not kept
            whole, rest = rest[:CHUNK_BYTES], b""
        yield _frame(whole)
    yield _frame(rest)


def _frame(text: bytes) -> pl.DataFrame:
    whole = pl.DataFrame({"line": [text.decode("utf-8", "replace")]})
    lines = whole.select(pl.col("line").str.split("\n").explode())
    return lines.filter(pl.col("line").str.strip_chars() != "")
