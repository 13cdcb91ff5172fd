"""A trace compared with the workload's ground truth, step by step.

    unmaps     as many as the truth says
    leaves     by level, where the trace can tell them
    tables     one invalidation per freed table, where it can tell (eager kernels, all so far)
    strategy   as kernel and CPU have it: stage2_unmap_defer_tlb_flush() of 6.6 and later defers
               where FEAT_S2FWB and FEAT_TLBIRANGE are; earlier ones never

What a trace cannot tell is counted, never taken for right.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from traceview.parsers import open_trace
from traceview.queries import analyze
from traceview.queries.steps import read_steps

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sample_traces.lab.truth import Step

LEVELS: Final = (1, 2, 3)
COUNTS: Final = (
    *("leaves_l1", "leaves_l2", "leaves_l3"),
    *("invalidate_leaf", "invalidate_table", "invalidate_range", "cmo", "table_put"),
)
FIRST_DEFERRING: Final = (6, 6)


@dataclass(slots=True)
class Checked:
    """What came out for one trace: how many comparisons held, which not, what it cannot tell."""

    steps: int = 0
    unmaps: int = 0
    held: dict[str, int] = field(default_factory=dict)
    untold: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def compare(self, what: str, step: str, found: object, true: object) -> None:
        """Count a comparison. None on the trace's side: it cannot tell."""
        if found is None:
            self.untold[what] = self.untold.get(what, 0) + 1
        elif found == true:
            self.held[what] = self.held.get(what, 0) + 1
        else:
            self.wrong.append(f"{step}: {what}: {found}, in truth {true}")

    def line(self) -> str:
        """In one line: what was compared and what could not be."""
        held = ", ".join(f"{what} {n}" for what, n in self.held.items())
        untold = ", ".join(f"{what} {n}" for what, n in self.untold.items())
        return (
            f"{self.steps} steps, {self.unmaps} unmaps; equal: {held or 'nothing'}"
            + (f"; cannot tell: {untold}" if untold else "")
            + (f"; WRONG: {len(self.wrong)}" if self.wrong else "")
        )


def has_unmaps(trace: Path) -> bool:
    """Whether it has any; samples of a clock have none."""
    return not analyze(open_trace(trace)).unmaps.is_empty()


def unmaps_by_step(trace: Path, steps: Path | None = None) -> dict[str, pl.DataFrame]:
    """The unmaps of each step. *steps*: a step file, for a trace without markers."""
    found = analyze(open_trace(trace), steps=read_steps(steps) if steps else None)
    rows = found.unmaps.filter(pl.col("step").is_not_null())
    return {str(name[0]): part for name, part in rows.partition_by("step", as_dict=True).items()}


def unmaps_in_order(trace: Path) -> dict[str, pl.DataFrame]:
    """Each unmap by itself, for traces without steps."""
    rows = analyze(open_trace(trace)).unmaps.sort("start_ns")
    return {f"unmap {number + 1}": rows[number] for number in range(len(rows))}


def strategy(kernel: str, facts: Mapping[str, Any]) -> str:
    """What an unmap that finds leaves does on this machine."""
    numbers = re.match(r"(\d+)\.(\d+)", kernel)
    can = bool(facts.get("fwb")) and bool(facts.get("tlbirange"))
    defers = numbers is not None and (int(numbers[1]), int(numbers[2])) >= FIRST_DEFERRING
    return "deferred_range" if defers and can else "per_pte"


def check(
    found: Mapping[str, pl.DataFrame], truth: Mapping[str, Step], expected_strategy: str
) -> Checked:
    """Compare the steps of a trace with the truth."""
    checked = Checked()
    for name, step in truth.items():
        rows = found.get(name)
        count = 0 if rows is None else len(rows)
        checked.steps += 1
        checked.unmaps += count
        if step.all_unmaps is not None:
            checked.compare("unmaps", name, count, step.all_unmaps)
        elif count < step.unmaps:
            checked.wrong.append(f"{name}: unmaps: {count}, in truth {step.unmaps} or more")
        if rows is not None and step.unmaps:
            _compare_counts(checked, name, rows, step)
            _compare_strategy(checked, name, rows, step, expected_strategy)
    checked.wrong += [f"{name}: in the trace, not in the truth" for name in found.keys() - truth]
    return checked


def _compare_counts(checked: Checked, name: str, rows: pl.DataFrame, step: Step) -> None:
    if step.leaves is not None:
        by_level = {level: total(rows, f"leaves_l{level}") for level in LEVELS}
        whole = total(rows, "leaves")
        if None in by_level.values():
            checked.compare("leaves", name, whole, sum(step.leaves.values()))
        else:
            found = {level: n for level, n in by_level.items() if n}
            checked.compare("leaves by level", name, found, dict(step.leaves))
    if step.tables is not None:
        tables = total(rows, "invalidate_table")
        checked.compare("freed tables", name, tables, sum(step.tables.values()))


def _compare_strategy(
    checked: Checked, name: str, rows: pl.DataFrame, step: Step, expected: str
) -> None:
    """Of unmaps that find nothing a deferring kernel still flushes; the others flush nothing."""
    seen = set(rows["strategy"].drop_nulls().to_list()) - {"none"}
    if seen <= {"unknown"}:
        checked.compare("strategy", name, None, expected)
    elif step.leaves is not None:
        checked.compare("strategy", name, sorted(seen), [expected])


def total(rows: pl.DataFrame, column: str) -> int | None:
    """The sum of a column, None when one of its values is not known."""
    return None if rows[column].null_count() else int(rows[column].sum())


def differences(one: Mapping[str, pl.DataFrame], other: Mapping[str, pl.DataFrame]) -> list[str]:
    """Steps of two captures of one workload whose counts differ. A count that one of them cannot
    tell differs from a number.
    """
    found = []
    for name in sorted(one.keys() | other.keys()):
        if name not in one or name not in other:
            found.append(f"{name}: only in the {'second' if name not in one else 'first'}")
            continue
        pairs = {"unmaps": (len(one[name]), len(other[name]))}
        for column in COUNTS:
            pairs[column] = (total(one[name], column) or 0, total(other[name], column) or 0)
        unlike = [f"{what} {a} and {b}" for what, (a, b) in pairs.items() if a != b]
        if unlike:
            found.append(f"{name}: {', '.join(unlike)}")
    return found
