"""Where a sample fell: `ffff8000800f7afc func+0x10 ([kernel.kallsyms])`, on its line or below it.

Without a call chain address, function and file stand at the end of the event's line. With one, each
frame has a line of its own below, behind a tab, innermost first, and a blank line ends the chain.
An address has 16 columns, so it is read in place; what follows takes few distinct values.

Functions are those that perf found on the machine where the text was made. Where that was another
machine than the recorded one, perf names kernel addresses wrongly and does not say so.

Sources of truth: tools/perf/util/evsel_fprintf.c (sample__fprintf_sym, sample__fprintf_callchain),
tools/perf/util/symbol_fprintf.c, 4.4 to 7.2.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.parsers.ftrace_text_lines import distinct, nullable
from traceview.parsers.ftrace_text_rows import LINE, NONE, looked_up
from traceview.schema import CPUMODE, CPUMODES, SAMPLES, conform, list_column
from traceview.symbols import ENTRY_SLACK_BYTES

if TYPE_CHECKING:
    from traceview.parsers.ftrace_text_lines import Lines, Mask, Positions, Words
    from traceview.parsers.perf_script_head import ScriptHeads

ADDRESS_BYTES: Final = 16
NO_DIGIT, SPACE = 0xFF, 0xFE
DIGITS: Final = np.full(256, NO_DIGIT, np.uint8)
DIGITS[list(b"0123456789abcdef")] = range(16)
DIGITS[ord(" ")] = SPACE

SAMPLE_ROWS: Final = {"line": LINE, **{name: t for name, t in SAMPLES.items() if name != "seq"}}
# Flags (`-F +flags`) stand between an event's name and what it says, in one of these widths.
FLAG_BYTES: Final = (24, 18, 22)
# ` name+0x10 (file)`, and without the offset, the file, or both. A name may hold spaces and
# parentheses, but does not begin with one.
FUNCTIONS: Final = (
    re.compile(r" ([^(\s].*?)\+0x([0-9a-f]{1,16})(?: \(.*)?"),
    re.compile(r" ([^(\s].*?)()(?: \(.*)?"),
)
SYMBOL_BYTES: Final = 600  # 512 (KSYM_NAME_LEN), and an offset
FUNCTION_CHARS: Final = 1024  # what is longer is none, and not worth remembering
# Lines below an event that say nothing that is kept: the source line of a frame, instructions,
# the payload of a bpf-output event; registers, branches and so on, behind a call chain.
BELOW: Final = (
    r"^(?:  [^ ]|\t[0-9a-f]{16}\t|\t\t| {6}(?:BPF output:| {11}) [0-9a-f]{4}:"
    r"| ?(?:ilen: \d|insn: |ABI:\d| *\w{1,8}:0x[0-9a-f]{1,16} |0x[0-9a-f]{1,16}(?:\([^)]*\))?/0x"
    r"|\S+\+0x[0-9a-f]{1,16}(?:\([^)]*\))?/\S))"
)
BELOW_BYTES: Final = re.compile(BELOW.encode())
UNKNOWN: Final = "[unknown]"
NO_OFFSET, MAX_OFFSET = -1, np.iinfo(np.int64).max
SHOWN_BY: Final = 50  # lines that show which fields there are
# Where nothing stands in its place, because other fields come before: the last address.
COLUMNS: Final = "|".join(f" {{{16 - n}}}[0-9a-f]{{{n}}}" for n in range(16, 0, -1))
LAST_ADDRESS: Final = rf"^.* (?<ip>{COLUMNS})(?<function>(?: [^ =]+)?(?: \([^()]*\))?)$"


@dataclass(slots=True)
class Frames:
    """Frames by line: the `line` of the event that they are below, address, function, offset.

    `function` is an index into `names`; `offset` is NO_OFFSET where it was not printed.
    """

    event: Positions
    ip: Words
    function: Positions
    offset: Positions
    names: list[str | None]

    def of(self, lines: Positions) -> Frames:
        """The frames of the events at *lines* (ascending), `event` as an index into them."""
        at = np.searchsorted(lines, self.event)
        mine = at < lines.size
        mine[mine] = lines[at[mine]] == self.event[mine]
        return Frames(at[mine], self.ip[mine], self.function[mine], self.offset[mine], self.names)

    def innermost(self) -> Positions:
        """The row of each event's first frame."""
        return np.flatnonzero(np.diff(self.event, prepend=-1) != 0)


def is_below(line: bytes) -> bool:
    """Whether *line* belongs to the event above it."""
    if line[:1] in b"\t" or not line.strip():
        return True
    # An event without a name may begin with two spaces, as the source line of a frame does.
    return BELOW_BYTES.match(line) is not None and b": " not in line[16:]


def find_frames(lines: Lines, index: Positions) -> tuple[Mask, Words]:
    """Which of the lines at *index* are frames of a call chain, and those frames' addresses."""
    start = lines.starts[index] + 1
    found: Mask = lines.buffer[start - 1] == ord("\t")
    found &= start + ADDRESS_BYTES <= lines.ends[index]
    rows = np.flatnonzero(found)
    ip, found[rows] = addresses(lines, start[rows])
    return found, ip[found[rows]]


def read_frames(lines: Lines, index: Positions, ip: Words, event: Positions) -> Frames:
    """The frames on the lines at *index*, which are below the events at the lines *event*."""
    start = lines.starts[index] + 1 + ADDRESS_BYTES
    function, offset, names = _functions(lines, start, lines.ends[index])
    return Frames(event, ip, function, offset, names)


def no_frames() -> Frames:
    """None at all."""
    none = np.zeros(0, np.int64)
    return Frames(none, none.astype(np.uint64), none, none, [])


def addresses(lines: Lines, at: Positions) -> tuple[Words, Mask]:
    """The address in the 16 columns from each position, and whether one stands alone there."""
    digits = DIGITS[lines.buffer[at[:, None] + np.arange(ADDRESS_BYTES)]]
    blank = digits == SPACE
    valid = (digits != NO_DIGIT).all(axis=1) & ~blank[:, -1]
    valid &= ~(blank[:, 1:] & ~blank[:, :-1]).any(axis=1)
    valid &= np.isin(lines.buffer[at + ADDRESS_BYTES], (ord(" "), ord("\n")))
    digits = np.where(blank, 0, digits)
    octets = digits[:, ::2] << 4 | (digits[:, 1::2] & 0xF)
    return np.ascontiguousarray(octets).view(">u8")[:, 0].astype(np.uint64), valid


def sample_rows(
    lines: Lines, heads: ScriptHeads, frames: Frames, names: pl.Series
) -> tuple[pl.DataFrame, pl.Series]:
    """The samples at *heads* as rows of schema.SAMPLES, but for `line` instead of `seq`.

    Also their addresses, null where the text has none.
    """
    if heads.heads.line.size == 0:
        return pl.DataFrame(schema=SAMPLE_ROWS), pl.Series(dtype=pl.UInt64)
    of_sample = frames.of(heads.heads.line)
    ip, valid, symbol = _on_the_line(lines, heads)
    first = of_sample.innermost()
    has_chain = of_sample.event[first]
    ip[has_chain], valid[has_chain] = of_sample.ip[first], True
    at_ip = looked_up(of_sample.names, of_sample.function[first])
    symbol = symbol.scatter(has_chain, at_ip) if has_chain.size else symbol
    rows = heads.heads.frame().drop("tgid")
    ips = nullable(ip, valid, pl.UInt64())
    rows = rows.with_columns(
        names.alias("event"),
        pl.Series("cpumode", [*CPUMODES], dtype=CPUMODE).gather(heads.cpumode),
        nullable(heads.period, heads.period != NONE).alias("period"),
        ips.alias("ip"),
        symbol.alias("symbol"),
        *_chains(of_sample, len(rows)),
    )
    return conform("samples", rows.rename({"line": "seq"})).rename({"seq": "line"}), ips


def name_probes_by_frame(rows: pl.DataFrame, frames: Frames) -> pl.DataFrame:
    """*rows* of events with the `symbol` of entry probes that have a frame saying it.

    Only where the frame is the probe's own address and says that it is a function's entry: perf
    on another machine than the recorded one gives wrong names, with large offsets.
    """
    nameless = rows["symbol"].is_null() & rows["probe_ip"].is_not_null()
    nameless &= (rows["evidence"] == "kprobe") & (rows["phase"] == "entry")
    if not frames.event.size or not nameless.any():
        return rows
    at = np.flatnonzero(nameless.to_numpy())
    mine = frames.of(rows["line"].to_numpy()[at])
    first = mine.innermost()
    offset, ip = mine.offset[first], rows["probe_ip"].to_numpy()[at[mine.event[first]]]
    entry = (offset >= 0) & (offset <= ENTRY_SLACK_BYTES) & (ip == mine.ip[first])
    first = first[entry]
    names = looked_up(mine.names, mine.function[first])
    return rows.with_columns(rows["symbol"].scatter(at[mine.event[first]], names))


@dataclass(slots=True)
class PayloadEnds:
    """Finds where the text of tracepoints ends: at the address that `-F +ip` adds, if it did.

    It did if most of the lines that were looked at end in one, each chunk's first. `words`: how
    many there are behind the address, by how often.
    """

    looked_at: int = 0
    words: Counter[int] = field(default_factory=Counter)

    def read(self, lines: Lines, heads: ScriptHeads) -> tuple[Positions, Frames]:
        """The end of each tracepoint's own text, and the addresses behind it."""
        end = heads.heads.end
        few = slice(0, SHOWN_BY)
        groups = _last_addresses(lines.text(heads.name_end[few], end[few]))
        self.looked_at += len(groups)
        self.words.update(groups["function"].drop_nulls().str.count_matches(" ").to_list())
        if self.words.total() * 2 <= self.looked_at:
            return end, no_frames()
        stop = self._ends_of_addresses(lines, heads)
        found = np.flatnonzero(stop > heads.name_end)
        stop = stop[found]
        ip, _ = addresses(lines, stop - ADDRESS_BYTES)
        without = end.copy()
        without[found] = stop - ADDRESS_BYTES
        function, offset, names = _functions(lines, stop, end[found])
        return without, Frames(heads.heads.line[found], ip, function, offset, names)

    def _ends_of_addresses(self, lines: Lines, heads: ScriptHeads) -> Positions:
        """Where the address of each line ends; 0 where it has none."""
        start = stop = end = heads.heads.end
        for _ in range(1 + self.words.most_common(1)[0][0]):
            stop = start - lines.spaces_before(start)
            start = stop - lines.word_before(stop, SYMBOL_BYTES)
        at = stop - ADDRESS_BYTES
        _, valid = addresses(lines, at)
        valid &= (lines.buffer[at - 1] == ord(" ")) & (at > heads.name_end)
        odd = np.flatnonzero(~valid)
        if odd.size:
            groups = _last_addresses(lines.text(heads.name_end[odd], end[odd]))
            width = groups["function"].str.len_bytes().fill_null(0).to_numpy().astype(np.int64)
            stop[odd] = np.where(groups["ip"].is_not_null(), end[odd] - width, 0)
        return stop


def _last_addresses(texts: pl.Series) -> pl.DataFrame:
    return texts.str.extract_groups(LAST_ADDRESS).struct.unnest()


def _on_the_line(lines: Lines, heads: ScriptHeads) -> tuple[Words, Mask, pl.Series]:
    """Address and function that stand on the sample's own line."""
    size, end = heads.heads.line.size, heads.heads.end
    ip, valid = np.zeros(size, np.uint64), np.zeros(size, np.bool_)
    stop = end.copy()
    # Behind `name: ` or the flags comes one space, then the address.
    for before in (0, *FLAG_BYTES):
        at = heads.name_end + len(": ") + before + 1
        rows = np.flatnonzero(~valid & (at + ADDRESS_BYTES <= end))
        rows = rows[lines.buffer[at[rows] - 1] == ord(" ")]
        value, good = addresses(lines, at[rows])
        rows = rows[good]
        ip[rows], valid[rows], stop[rows] = value[good], True, at[rows] + ADDRESS_BYTES
    rest = np.flatnonzero(~valid & (heads.name_end + len(": ") < end))
    if rest.size:
        texts = lines.text(heads.name_end[rest], end[rest])
        groups = _last_addresses(texts)
        found = groups["ip"].is_not_null().to_numpy()
        rest = rest[found]
        digits = groups["ip"].drop_nulls().str.strip_chars(" ")
        ip[rest] = digits.str.to_integer(base=16, dtype=pl.UInt64).to_numpy()
        valid[rest] = True
        width = groups["function"].drop_nulls().str.len_bytes().to_numpy().astype(np.int64)
        stop[rest] = end[rest] - width
    function, _, names = _functions(lines, stop, end)
    return ip, valid, looked_up(names, function)


def _functions(
    lines: Lines, start: Positions, stop: Positions
) -> tuple[Positions, Positions, list[str | None]]:
    """What stands behind each address: the index of its function, the offset; and the names."""
    index, texts = distinct(lines.text(start, stop))
    read = [function(text) for text in texts]
    offsets = np.array([offset for _, offset in read], np.int64)
    return index, offsets[index], [name for name, _ in read]


def function(text: str) -> tuple[str | None, int]:
    """The function that *text* names, and the offset in it (NO_OFFSET: not printed)."""
    return (None, NO_OFFSET) if len(text) > FUNCTION_CHARS else _cached_function(text)


@lru_cache(maxsize=20_000)
def _cached_function(text: str) -> tuple[str | None, int]:
    match = next((m for form in FUNCTIONS if (m := form.fullmatch(text))), None)
    if match is None or match[1] == UNKNOWN:
        return None, NO_OFFSET
    return match[1], min(int(match[2], 16), MAX_OFFSET) if match[2] else NO_OFFSET


def _chains(frames: Frames, size: int) -> list[pl.Series]:
    """Addresses and functions as lists; null without a call chain, or where none has a name."""
    counts = np.bincount(frames.event, minlength=size)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    functions = looked_up(frames.names, frames.function)
    named = np.zeros(size, np.bool_)
    named[frames.event[functions.is_not_null().to_numpy()]] = True
    chains = list_column(pl.Series(frames.ip), offsets)
    names = list_column(functions, offsets)
    some = pl.select(
        callchain=pl.when(pl.Series(counts > 0)).then(chains),
        frames=pl.when(pl.Series(named)).then(names),
    )
    return some.get_columns()
