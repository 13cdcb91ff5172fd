"""Functions in function_graph text: `f() {`, `f();`, `}`, and what stands in comments.

Two columns of indentation are one level of depth. With funcgraph-args the parentheses hold the
arguments by name, with funcgraph-retval a comment holds the value returned (`= 0x0` up to 6.13,
`ret=0x0` since), with funcgraph-retaddr the caller (`<-caller`). A comment behind a closing brace
names the function: always with funcgraph-tail or -retval, otherwise where its entry was lost.
trace-cmd can add the depth in parentheses.

Source of truth: kernel/trace/trace_functions_graph.c (print_graph_entry_leaf,
print_graph_entry_nested, print_graph_return, print_graph_retval, print_graph_comment) 5.10 to
7.x; trace-cmd 3.4 lib/trace-cmd/trace-ftrace.c.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.parsers.ftrace_argument_text import WantedArguments, arguments, numbers
from traceview.parsers.ftrace_graph_head import NO_DURATION_NS
from traceview.parsers.ftrace_symbol_text import read_symbols
from traceview.parsers.ftrace_text_lines import copied, next_of, nullable
from traceview.parsers.ftrace_text_rows import looked_up, phases
from traceview.schema import PHASES

if TYPE_CHECKING:
    from traceview.parsers.ftrace_graph_head import GraphHeads
    from traceview.parsers.ftrace_symbol_text import Symbols
    from traceview.parsers.ftrace_text_lines import Lines, Mask, Positions
    from traceview.parsers.ftrace_text_rows import Found, Heads
    from traceview.trace import Want

ENTRY, EXIT, COMPLETE = 0, 1, 2  # indices into schema.PHASES
INDENT: Final = 2
DEPTH_LIMIT: Final = 255  # the kernel's own limit is 50
NO_DEPTH: Final = -1
# Inside a comment: the caller, the value returned.
RETURNED: Final = r"(?:^|\s)(?:<-(\S+)(?: \[[\w-]+\])?\s*)?(?:(?:ret=|V=|= ?)(-?\w+))?$"
TAIL: Final = r"^(\S+(?: \[[\w-]+\])?)(?: (?:ret=|V=|= ?)(-?\w+))?$"
FIELDS: Final = (
    r"^func=(\S+)(?: \(0x[0-9a-f]+\))? .*?\bdepth=(\d{1,3})\b"
    r"(?:.*\bcalltime=(\S+) rettime=(\S+))?"
)
EXIT_NAME: Final = "funcgraph_exit"
ENTRY_NAME: Final = "funcgraph_entry"


@dataclass(slots=True)
class GraphText:
    """Reads the functions of graph lines into rows."""

    want: Want
    wanted: WantedArguments = field(init=False)

    def __post_init__(self) -> None:
        self.wanted = WantedArguments(self.want)

    def read(self, lines: Lines, graph: GraphHeads, found: Found, *, depths: bool) -> Heads:
        """Add the functions of *graph* to *found*. Returns the heads of comments.

        *depths*: a depth in parentheses may follow (trace-cmd).
        """
        heads = graph.heads
        _interrupts(graph, found)
        start = heads.body + lines.spaces_after(heads.body, limit=INDENT * DEPTH_LIMIT)
        end = np.maximum(heads.end - lines.spaces_before(heads.end), heads.body)
        depth = (start - heads.body) // INDENT
        if depths:
            end = _without_depth(lines, end, start)
        spans = Spans(heads, start, end, depth, graph.duration_ns)
        plain = (graph.irq == 0) & (start < end) & (depth <= DEPTH_LIMIT)
        comment = plain & lines.has(start, "/* ") & lines.ends_with(end, " */")
        comment &= end - start >= len("/*  */")
        brace = plain & lines.has(start, "}")
        understood = comment | (graph.irq != 0)
        understood[brace] = self._braces(lines, spans.take(brace), found)
        call = plain & ~brace & ~comment
        understood[call] = self._calls(lines, spans.take(call), found)
        found.unparsed.append(heads.line[~understood])
        bodies = heads.take(comment)
        bodies.body, bodies.end = start[comment] + len("/* "), end[comment] - len(" */")
        bodies.comment = np.ones(bodies.line.size, np.bool_)
        return bodies

    def read_fields(self, lines: Lines, heads: Heads, found: Found) -> None:
        """Add functions that `trace-cmd report -R` prints by their fields."""
        texts = lines.text(heads.body, heads.end)
        func, depth, calltime, rettime = (
            texts.str.extract_groups(FIELDS).struct.unnest().iter_columns()
        )
        symbols = read_symbols(func.fill_null(""))
        valid, mask = symbols.valid, pl.Series(symbols.valid)
        symbols = symbols.take(valid)
        duration = numbers(rettime.filter(mask)) - numbers(calltime.filter(mask))
        exits = calltime.is_not_null().filter(mask)
        found.add(
            heads.take(valid),
            "fgraph",
            name=looked_up([ENTRY_NAME, EXIT_NAME], exits.cast(pl.Int64).to_numpy()),
            phase=phases(np.where(exits.to_numpy(), EXIT, ENTRY)),
            depth=depth.filter(mask).cast(pl.Int32, strict=False),
            duration_ns=duration,
            symbol=symbols.symbol,
            probe_ip=symbols.probe_ip,
        )
        found.unparsed.append(heads.line[~valid])

    def _braces(self, lines: Lines, spans: Spans, found: Found) -> Mask:
        """Add exits; those whose brace names no function are named by ftrace_graph_calls.py."""
        start, end = spans.start, spans.end
        bare: Mask = end - start == 1
        named = lines.has(start, "} /* ") & lines.ends_with(end, " */") & (end - start > 8)
        spans.take(bare).add(found, EXIT)
        spans = spans.take(named)
        texts = lines.text(spans.start + len("} /* "), spans.end - len(" */"))
        returned = None
        if texts.str.contains(" ", literal=True).any():
            groups = texts.str.extract_groups(TAIL).struct.unnest()
            texts, returned = groups["1"].fill_null(texts), groups["2"]
        symbols = read_symbols(texts)
        spans.take(symbols.valid).add(found, EXIT, symbols.take(symbols.valid))
        _add_returned(spans.heads.line, returned, symbols.valid, found)
        named[named] = symbols.valid
        return bare | named

    def _calls(self, lines: Lines, spans: Spans, found: Found) -> Mask:
        """Add entries and leaves."""
        start, end = spans.start, spans.end
        paren = next_of(lines.positions("("), start, end)
        core, comment = _without_comment(lines, paren, end)
        leaf, nested = lines.ends_with(core, ");"), lines.ends_with(core, ") {")
        stop = core - np.where(leaf, len(");"), len(") {"))
        valid = (paren < end) & (leaf | nested) & (paren < stop + 1)
        symbols = read_symbols(lines.text(start, np.where(valid, paren, start)))
        valid &= symbols.valid
        for phase, rows in ((COMPLETE, valid & leaf), (ENTRY, valid & nested)):
            spans.take(rows).add(found, phase, symbols.take(rows))
        self._arguments(lines, spans.heads.line, symbols, paren + 1, stop, valid, found)
        commented = np.flatnonzero(valid & (comment < end))
        if commented.size:
            texts = lines.text(comment[commented] + len("/*"), end[commented] - len("*/"))
            self._comments(spans.heads.line[commented], texts.str.strip_chars(" "), found)
        return valid

    def _arguments(
        self,
        lines: Lines,
        line: Positions,
        symbols: Symbols,
        start: Positions,
        stop: Positions,
        valid: Mask,
        found: Found,
    ) -> None:
        rows = np.flatnonzero(valid & (stop > start))
        if rows.size == 0:
            return
        pairs = arguments(lines, start[rows], stop[rows])
        symbol = symbols.index[rows[pairs.row]]
        kept = pairs.filter(self.wanted.mask(symbol, symbols.names, pairs))
        value, text = kept.values()
        found.add_args(
            line[rows[kept.row]], looked_up([*kept.names], kept.name), value=value, text=text
        )

    def _comments(self, line: Positions, texts: pl.Series, found: Found) -> None:
        caller, returned = texts.str.extract_groups(RETURNED).struct.unnest().iter_columns()
        _add_returned(line, returned, np.ones(line.size, np.bool_), found)
        if self.want.all_events:
            known = caller.is_not_null()
            found.add_args(line[known.to_numpy()], "parent_ip", text=copied(caller.filter(known)))


@dataclass(slots=True)
class Spans:
    """Function lines: from `start` to `end` there is the function and what is said about it."""

    heads: Heads
    start: Positions
    end: Positions
    depth: Positions
    duration_ns: Positions

    def take(self, rows: Mask) -> Spans:
        """The lines in *rows*."""
        return Spans(
            self.heads.take(rows),
            self.start[rows],
            self.end[rows],
            self.depth[rows],
            self.duration_ns[rows],
        )

    def add(self, found: Found, phase: int, symbols: Symbols | None = None) -> None:
        """Add one event per line."""
        columns: dict[str, pl.Series | str | None] = {}
        if symbols is not None:
            columns = {"symbol": symbols.symbol, "probe_ip": symbols.probe_ip}
        found.add(
            self.heads,
            "fgraph",
            name=EXIT_NAME if phase == EXIT else ENTRY_NAME,
            phase=PHASES[phase],
            duration_ns=nullable(self.duration_ns, self.duration_ns != NO_DURATION_NS),
            depth=pl.Series(self.depth),
            **columns,
        )


def _interrupts(graph: GraphHeads, found: Found) -> None:
    for irq, phase in ((1, "entry"), (-1, "exit")):
        found.add(graph.heads.take(graph.irq == irq), "fgraph", name="irq", phase=phase)


def _without_depth(lines: Lines, end: Positions, start: Positions) -> Positions:
    """*end* before a depth in parentheses, which says no more than the indentation."""
    _, digits = lines.decimal_before(end - 1)
    paren = end - 2 - digits
    has = lines.ends_with(end, ")") & (digits > 0) & lines.has(paren - 1, " (") & (paren > start)
    return np.where(has, paren - 1, end)


def _without_comment(lines: Lines, paren: Positions, end: Positions) -> tuple[Positions, Positions]:
    """Where the call ends, and where the comment behind it begins (*end*: there is none)."""
    slashes = lines.positions("/")
    opening = slashes[lines.buffer[slashes + 1] == ord("*")]
    comment = np.where(lines.ends_with(end, " */"), next_of(opening, paren, end), end)
    spaces = np.where(comment < end, lines.spaces_before(comment), 0)
    return comment - spaces, comment


def _add_returned(line: Positions, returned: pl.Series | None, valid: Mask, found: Found) -> None:
    """Add the values that functions returned, as the argument `ret`."""
    if returned is None:
        return
    known = pl.Series(valid) & returned.is_not_null()
    found.add_args(line[known.to_numpy()], "ret", value=numbers(returned.filter(known)))
