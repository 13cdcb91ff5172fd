r"""Steps: stretches of a recording that the person who made it gave a name.

Either markers written to trace_marker, which label the unmaps of *the task that wrote them*
("... begin s03.1 ..." to "... end s03.1 ..."), or a file of intervals in a stated clock, for traces
without markers: JSON lines such as

    {"id": "s03.1", "clock": "mono", "begin_ns": 38782810585, "end_ns": 38783357469, "tid": 298}

`tid` may be left out. An unmap that began in two steps, or in none, has no step.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.errors import SettingError
from traceview.queries.rows import NIL, task_keys, whole

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from traceview.queries.rows import Ints
    from traceview.trace import Batch

# A marker that opens or closes a step: "KVMLAB begin s03.1 dontneed ..." and "... end s03.1 ...".
STEP_PATTERN: Final = r"\b(?P<edge>begin|end)\s+(?P<id>\S+)"


@dataclass(frozen=True, slots=True)
class StepIntervals:
    """Named intervals in a stated clock: parallel tuples, nanoseconds, ends included."""

    clock: str
    ids: tuple[str, ...]
    begin_ns: tuple[int, ...]
    end_ns: tuple[int, ...]
    tids: tuple[int | None, ...]


def read_steps(path: Path) -> StepIntervals:
    """Read a step file. Raises SettingError for anything but valid lines in one clock."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as err:
        raise SettingError(f"step file cannot be read: {path}: {err}") from err
    rows = [_step(line, f"{path}, line {n}") for n, line in enumerate(lines, 1) if line.strip()]
    clocks = sorted({clock for clock, *_ in rows})
    if not rows:
        raise SettingError(f"no steps\nin file: {path}\n{_EXPECTED}")
    if len(clocks) != 1:
        raise SettingError(f"a step file must state one clock, not {clocks}\nin file: {path}")
    _, ids, begins, ends, tids = zip(*rows, strict=True)
    return StepIntervals(clocks[0], ids, begins, ends, tids)


def _step(line: str, where: str) -> tuple[str, str, int, int, int | None]:
    try:
        row = json.loads(line)
        clock, name = row["clock"], row["id"]
        begin, end, tid = row["begin_ns"], row["end_ns"], row.get("tid")
    except KeyError as err:
        raise SettingError(f"a step without {err}\nin file: {where}\n{_EXPECTED}") from err
    except (ValueError, TypeError, AttributeError) as err:
        raise SettingError(f"not a JSON object\nin file: {where}\n{_EXPECTED}") from err
    numbers = (begin, end, 0 if tid is None else tid)
    if not (isinstance(clock, str) and isinstance(name, str)) or not all(
        isinstance(number, int) and not isinstance(number, bool) for number in numbers
    ):
        raise SettingError(f"a step has a value of the wrong type\nin file: {where}\n{_EXPECTED}")
    if end < begin:
        raise SettingError(f"step {name!r} ends before it begins\nin file: {where}")
    return clock, name, begin, end, tid


_EXPECTED = 'expected: {"id": "s03.1", "clock": "mono", "begin_ns": 1, "end_ns": 2, "tid": 298}'


class Markers:
    """The step markers of one source, collected batch by batch."""

    def __init__(self, pattern: str = STEP_PATTERN) -> None:
        """Raises SettingError when *pattern* is no regular expression with `edge` and `id`."""
        try:
            self._pattern = re.compile(pattern)
        except re.error as err:
            raise SettingError(f"step pattern is no regular expression: {err}") from err
        if not {"edge", "id"} <= set(self._pattern.groupindex):
            raise SettingError(
                "a step pattern needs the groups (?P<edge>begin|end) and (?P<id>...)"
            )
        self._rows: list[tuple[int, int, str, str]] = []

    def add(self, batch: Batch) -> None:
        """Take the markers of a batch."""
        markers = batch.events.filter(pl.col("evidence") == "marker").select("seq", "tid", "cpu")
        if markers.is_empty():
            return
        texts = batch.args.filter(pl.col("text").is_not_null()).select("seq", "text")
        found = markers.join(texts, on="seq", how="inner", maintain_order="left")
        task = task_keys(whole(found["tid"]), whole(found["cpu"])).tolist()
        for seq, key, text in zip(found["seq"].to_list(), task, found["text"], strict=True):
            match = self._pattern.search(text)
            if match is not None:
                self._rows.append((key, seq, match["edge"], match["id"]))

    def steps(self, task: Ints, seq: Ints) -> pl.Series:
        """The step (String) in which each task was at each event, null in none or in several."""
        names = np.full(task.size, None, dtype=object)
        by_task: dict[int, list[tuple[int, str, str]]] = {}
        for key, at, edge, name in sorted(self._rows):
            by_task.setdefault(key, []).append((at, edge, name))
        for key, edges in by_task.items():
            mine = np.flatnonzero(task == key)
            starts, states = _states(_whole_steps(edges))
            if mine.size and starts.size:
                found = np.searchsorted(starts, seq[mine], side="right") - 1
                names[mine] = states[np.maximum(found, 0)]
                names[mine[found < 0]] = None
        return pl.Series("step", names.tolist(), dtype=pl.String)


def _whole_steps(edges: list[tuple[int, str, str]]) -> list[tuple[int, str, str]]:
    """The edges of steps that have both: of one whose end was lost nobody knows the extent."""
    begun: dict[str, int] = {}
    kept = []
    for at, edge, name in edges:
        if edge != "end":
            begun[name] = at
        elif name in begun:
            kept += [(begun.pop(name), "begin", name), (at, edge, name)]
    return sorted(kept)


def _states(edges: list[tuple[int, str, str]]) -> tuple[Ints, NDArray[np.object_]]:
    """From which event on a task is in which step, None for none or several."""
    open_steps: list[str] = []
    starts, states = [], []
    for at, edge, name in edges:
        if edge == "end":
            open_steps = [step for step in open_steps if step != name]
        else:
            open_steps.append(name)
        starts.append(at)
        states.append(open_steps[0] if len(open_steps) == 1 else None)
    return np.array(starts, dtype=np.int64), np.array(states, dtype=object)


def steps_by_time(intervals: StepIntervals, start_ns: Ints, tid: Ints) -> pl.Series:
    """The step (String) in which each call began, by time; null in none or in several."""
    names: list[str | None] = [None] * start_ns.size
    hits = np.zeros(start_ns.size, dtype=np.int64)
    rows = zip(intervals.ids, intervals.begin_ns, intervals.end_ns, intervals.tids, strict=True)
    for name, begin, end, of in rows:
        inside = (start_ns != NIL) & (start_ns >= begin) & (start_ns <= end)
        if of is not None:
            inside &= tid == of
        hits += inside
        for at in np.flatnonzero(inside).tolist():
            names[at] = name
    return pl.Series(
        "step", [n if h == 1 else None for n, h in zip(names, hits, strict=True)], dtype=pl.String
    )
