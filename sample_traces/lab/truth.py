"""The workload's ground truth: what each step unmapped (workload/workload.c says the fields)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sample_traces.lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Step:
    """One step. None: it cannot be known. *leaves* and *tables* are by level."""

    name: str
    action: str
    unmaps: int
    empty_unmaps: int | None
    leaves: Mapping[int, int] | None
    tables: Mapping[int, int] | None
    begin_ns: int
    end_ns: int

    @property
    def all_unmaps(self) -> int | None:
        """How many calls of the unmap, found something or not."""
        return None if self.empty_unmaps is None else self.unmaps + self.empty_unmaps


def read_truth(path: Path) -> dict[str, Step]:
    """The steps by name. Raises LabError for a workload that failed and for what is no truth."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        steps = [_step(json.loads(line)) for line in lines]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
        raise LabError(f"not a ground truth: {path}: {err!r}") from err
    found = {step.name: step for step in steps}
    if not steps or len(found) != len(steps):
        raise LabError(f"a ground truth without steps, or with one twice: {path}")
    return found


def _step(row: dict[str, Any]) -> Step:
    if "error" in row:
        raise LabError(f"the workload failed at {row['id']}: {row['error']}")
    return Step(
        row["id"],
        row["action"],
        int(row["unmaps"]),
        row["empty_unmaps"],
        _by_level(row["leaves"]),
        _by_level(row["tables"]),
        int(row["begin_ns"]),
        int(row["end_ns"]),
    )


def _by_level(counts: dict[str, int] | None) -> dict[int, int] | None:
    return None if counts is None else {int(level): int(n) for level, n in counts.items()}
