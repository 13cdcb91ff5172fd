"""What readers find in files of simulated recordings, and what they should: as plain rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import traceview
from tests.writers.recorded import PROBES
from traceview.trace import Tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from traceview.simulate.recording import Recorded

PHASES = {"funcgraph_entry": "entry", "funcgraph_exit": "exit", "kprobe": "entry",
          "kretprobe": "exit", "print": "instant"}  # fmt: skip
EVIDENCE = {"funcgraph_entry": "fgraph", "funcgraph_exit": "fgraph", "kprobe": "kprobe",
            "kretprobe": "kprobe", "print": "marker"}  # fmt: skip
COLUMNS = ("ts_ns", "cpu", "tid", "comm", "name", "symbol", "phase", "duration_ns", "depth",
           "evidence")  # fmt: skip
FILL = {"s32": 32, "s8": 8}

Row = dict[str, Any]


def tables(path: Path) -> Tables:
    """All of a file."""
    return traceview.open_trace(path).tables()


def expected(recorded: Recorded, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events that a reader should find."""
    comms: dict[int, str | None] = {one.tid: one.comm for one in recorded.tasks}
    comms[0] = None  # nothing in the file names it
    found = []
    for row in rows:
        took = None
        if row["kind"] == "funcgraph_exit":
            took = row["rettime_ns"] - row["calltime_ns"]
        found.append({**row, "comm": comms[row["tid"]], "duration_ns": took})
    return found


def events_of(what: Tables | Iterable[Row]) -> list[tuple[Any, ...]]:
    """The events of a trace, or those that rows of RECORDS should become."""
    if isinstance(what, Tables):
        return what.events.select(COLUMNS).rows()
    return [tuple(_event(row)[name] for name in COLUMNS) for row in what]


def _event(row: Row) -> Row:
    kind = row["kind"]
    phase = row.get("phase") or PHASES[kind]
    name = kind
    if kind in ("kprobe", "kretprobe"):
        name = row["symbol"].replace(".", "_") + ("_ret" if kind == "kretprobe" else "")
    return {**row, "phase": phase, "evidence": EVIDENCE[kind], "name": name}


def losses_of(
    what: Tables | Sequence[Row], at_end: dict[int, int] | None = None, *, placed: bool = True
) -> list[tuple[Any, ...]]:
    """The losses: CPU, number, time of the event before and behind.

    *placed*: the format says that those at the end are behind the last event.
    """
    if isinstance(what, Tables):
        rows = what.losses.select("cpu", "count", "from_ns", "to_ns").rows()
        return sorted(rows, key=repr)
    found: list[tuple[Any, ...]] = []
    last: dict[int, int] = {}
    for row in what:
        if row["lost_before"]:
            found.append((row["cpu"], row["lost_before"], last.get(row["cpu"]), row["ts_ns"]))
        last[row["cpu"]] = row["ts_ns"]
    for cpu, count in (at_end or {}).items():
        found.append((cpu, count, last.get(cpu) if placed else None, None))
    return sorted(found, key=repr)


def args_of(found: Tables, ignored: Sequence[str] = ()) -> list[tuple[Any, ...]]:
    """The arguments of a trace: number of the event, name, value."""
    rows = found.args.select("seq", "name", "value", "text").rows()
    return sorted((row for row in rows if row[1] not in ignored), key=repr)


def expected_args(rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    """The arguments that rows should have."""
    found: list[tuple[Any, ...]] = []
    for seq, row in enumerate(rows):
        if row["kind"] == "print":
            found.append((seq, "buf", None, row["text"]))
        elif row["kind"] == "kprobe":
            for n, one in enumerate(PROBES[row["symbol"]]):
                value = _signed(row[f"arg{n}"], FILL.get(one.type, 64))
                found.append((seq, one.name, value, None))
    return sorted(found, key=repr)


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value
