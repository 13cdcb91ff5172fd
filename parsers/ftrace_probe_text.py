"""Where a probe sits, and the arguments it recorded: `(sym+0x0/0xd0) ipa=0x80000000 level=3`.

The kernel prints the probed function of an entry, and `(caller+0x10/0x20 <- sym)` of a return;
an address that it cannot name has `0x` before it. trace-cmd prints raw addresses without `0x`,
and of a return the probed function first (`(func <- return address)`, the print format of the
event), so the form tells which is which. fprobe events look like kprobes: text cannot tell.

Sources of truth: kernel/trace/trace_kprobe.c (print_kprobe_event, print_kretprobe_event),
trace_fprobe.c, trace_probe.c (print_type_*), 5.10 to 7.x.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.parsers.ftrace_argument_text import QUOTED, arguments, matched_arguments
from traceview.parsers.ftrace_symbol_text import NAME_TEXT, TRAILER
from traceview.parsers.ftrace_text_lines import copied, distinct, next_of, nullable
from traceview.parsers.ftrace_text_rows import looked_up, phases
from traceview.symbols import ENTRY_SLACK_BYTES

if TYPE_CHECKING:
    from traceview.parsers.ftrace_argument_text import WantedArguments
    from traceview.parsers.ftrace_text_lines import Lines, Mask, Positions
    from traceview.parsers.ftrace_text_rows import Bodies, Found

ENTRY, EXIT, INSTANT = 0, 1, 3  # indices into schema.PHASES

ENTRY_PROBE: Final = re.compile(
    rf"\((?:(?P<symbol>{NAME_TEXT})\+0x(?P<offset>[0-9a-f]+)(?:/0x[0-9a-f]+)?(?: \[[\w-]+\])?"
    r"(?: <[0-9a-f]+>)?|(?:0x)?(?P<ip>[0-9a-f]{8,16}))\)"
)
RETURN_PROBE: Final = re.compile(
    r"\([^<>()]+(?: <[0-9a-f]+>)? <- "
    rf"(?:0x(?P<ip>[0-9a-f]{{8,16}})|(?P<symbol>{NAME_TEXT}){TRAILER})\)"
)
# The print format of the event, as trace-cmd uses it, has the function first.
RAW_RETURN_PROBE: Final = re.compile(r"\((?P<ip>[0-9a-f]{8,16}) <- [0-9a-f]{1,16}\)")
KERNEL_ADDRESSES: Final = 1 << 63
LOCATION_BYTES: Final = 1200  # two symbols of at most 512 bytes each, with offsets

# Arguments that are kept whether the vocabulary knows them or not: what a function returned, and
# where the range begins whose TLBI operands follow (ftrace_insn_text.py).
ALWAYS: Final = frozenset({"ret"})
ALWAYS_INSN: Final = frozenset({"ret", "x1"})

# `trace-cmd report -R` prints the fields instead of the format.
RAW_FIELDS: Final = (
    r"^(__probe_(?:ip=(?:0x)?([0-9a-f]+)|func=(?:0x)?([0-9a-f]+) __probe_ret_ip=(?:0x)?[0-9a-f]+))"
    r"(?: |$)"
)


@dataclass(frozen=True, slots=True)
class Location:
    """Where a probe sits: `symbol` or, where only that was recorded, `ip`."""

    symbol: str | None
    ip: int | None
    phase: int


@dataclass(slots=True)
class Located:
    """For each row the index of its location (-1: no probe), and where its arguments begin."""

    index: Positions
    arguments: Positions
    locations: list[Location]

    @property
    def found(self) -> Mask:
        """Which rows are probes."""
        return self.index >= 0

    def take(self, rows: Positions) -> Located:
        """The rows at *rows*."""
        return Located(self.index[rows], self.arguments[rows], self.locations)


@lru_cache(maxsize=20_000)
def location(text: str) -> Location | None:
    """What the parentheses *text* say; None where they are no kernel probe's."""
    found = _return_location(text) or _entry_location(text)
    # A lower address is one of a program: a uprobe.
    return None if found and found.ip is not None and found.ip < KERNEL_ADDRESSES else found


def _return_location(text: str) -> Location | None:
    match = RAW_RETURN_PROBE.fullmatch(text)
    if match is not None:
        return Location(None, int(match["ip"], 16), EXIT)
    match = RETURN_PROBE.fullmatch(text)
    if match is None:
        return None
    return Location(match["symbol"], int(match["ip"], 16) if match["ip"] else None, EXIT)


def _entry_location(text: str) -> Location | None:
    match = ENTRY_PROBE.fullmatch(text)
    if match is None:
        return None
    if match["symbol"] is None:
        return Location(None, int(match["ip"], 16), ENTRY)
    # An fprobe sits behind the landing pad and the patchable nops, as do some kprobes.
    inside = int(match["offset"], 16) > ENTRY_SLACK_BYTES
    return Location(match["symbol"], None, INSTANT if inside else ENTRY)


@dataclass(slots=True)
class ProbeText:
    """Reads probe events."""

    wanted: WantedArguments

    def locate(self, lines: Lines, bodies: Bodies, candidates: Mask) -> Located:
        """Which of *bodies*, among the *candidates*, are probes."""
        size, end = candidates.size, bodies.heads.end
        found = Located(np.full(size, -1), end.copy(), [])
        inside = candidates & (bodies.payload < end)
        rows = np.flatnonzero(inside & lines.has(bodies.payload, "("))
        start = bodies.payload[rows]
        close = next_of(lines.positions(")"), start, end[rows] - 1) + 1
        short = close - start <= LOCATION_BYTES
        rows, start, close = rows[short], start[short], close[short]
        self._add(found, rows, lines.text(start, close), close)
        rows = np.flatnonzero(inside & lines.has(bodies.payload, "__probe_"))
        if rows.size:
            self._locate_raw(lines, bodies, rows, found)
        return found

    def _add(self, found: Located, rows: Positions, texts: pl.Series, stop: Positions) -> None:
        index, values = distinct(texts)
        at = np.full(len(values), -1)
        for number, text in enumerate(values):
            here = location(text)
            if here is not None:
                at[number] = len(found.locations)
                found.locations.append(here)
        found.index[rows] = at[index]
        found.arguments[rows] = stop

    def _locate_raw(self, lines: Lines, bodies: Bodies, rows: Positions, found: Located) -> None:
        texts = lines.text(bodies.payload[rows], bodies.heads.end[rows])
        whole, ip, func = texts.str.extract_groups(RAW_FIELDS).struct.unnest().iter_columns()
        ok = whole.is_not_null()
        # As the print format has them: a function, or a function and where it returns to.
        form = pl.select(
            pl.when(ip.is_not_null())
            .then(pl.concat_str(pl.lit("("), ip, pl.lit(")")))
            .otherwise(pl.concat_str(pl.lit("("), func, pl.lit(" <- 0)")))
        ).to_series()
        rows = rows[ok.to_numpy()]
        width = whole.filter(ok).str.len_bytes().to_numpy().astype(np.int64)
        self._add(found, rows, form.filter(ok), bodies.payload[rows] + width)

    def read(
        self, lines: Lines, bodies: Bodies, located: Located, evidence: str, found: Found
    ) -> None:
        """Add the events of probes, and the arguments that are wanted."""
        if located.index.size == 0:
            return
        symbols = [here.symbol for here in located.locations]
        ips = np.array([here.ip or 0 for here in located.locations], np.uint64)[located.index]
        phase = np.array([here.phase for here in located.locations])[located.index]
        found.add(
            bodies.heads,
            evidence,
            name=bodies.names(),
            symbol=looked_up(symbols, located.index),
            probe_ip=nullable(ips, ips != 0, pl.UInt64()),
            phase=phases(phase),
        )
        start, end = located.arguments, bodies.heads.end
        quoted = _holds_quotes(lines, start, end)
        plain = np.flatnonzero(~quoted)
        rows = np.flatnonzero(quoted)
        given = [(plain, arguments(lines, start[plain], end[plain]))]
        if rows.size:
            texts = copied(lines.text(start[rows], end[rows]))
            given.append((rows, matched_arguments(texts, QUOTED)))
        always = ALWAYS_INSN if evidence == "insn" else ALWAYS
        for of_row, pairs in given:
            symbol = located.index[of_row[pairs.row]]
            kept = pairs.filter(self.wanted.mask(symbol, symbols, pairs, always))
            value, text = kept.values()
            names = looked_up([*kept.names], kept.name)
            found.add_args(bodies.heads.line[of_row[kept.row]], names, value=value, text=text)


def _holds_quotes(lines: Lines, start: Positions, end: Positions) -> Mask:
    quotes = np.union1d(lines.positions('"'), lines.positions("'"))
    return next_of(quotes, start, end) < end
