"""What the workload did, from the ground truth beside each capture.

`step-counts.txt` has, for the suite `std`, how often each probe hit between the markers of each
step; `NAME.truth.jsonl` what each step mapped and unmapped. Where a suite has no counts of its
own they follow from page-table geometry: unmapping everything that a VM has mapped frees one
level-3 table per 2 MiB of 4K pages and the level-2 table above them.
"""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TRACES = Path(__file__).parent.parent.parent / "shared" / "traces"
COUNTS_LINE = re.compile(r"^(?P<step>\S+)\s+(?P<action>\S+).*?(?P<counts>\{.*\})$")
UNMAPPING = ("dontneed", "memslot", "half", "dirtylog-dontneed", "chunks", "sparse", "munmap",
             "mprotect", "move")  # fmt: skip
TABLE_BYTES = 2 << 20


@dataclass(frozen=True)
class Step:
    """What one step must show, summed over its unmaps; None where the truth does not say."""

    unmaps: int
    leaves: int
    block_bytes: int
    tables: int
    pte_visits: int | None
    trigger: str
    tid: int
    begin_ns: int  # in the clock `mono`
    end_ns: int


def steps(folder: str, truth: Path) -> dict[str, Step]:
    """The steps of a capture that unmap, by id."""
    counts = step_counts(Path(folder).name)
    found = {}
    for line in truth.read_text(encoding="utf-8").splitlines():
        if not line.startswith("{"):
            continue
        row = json.loads(line)
        if row["action"] not in UNMAPPING:
            continue
        name = f"{row['id']}.{row['step']}"
        # Dirty logging had split the blocks (traces/README.md).
        block = 4096 if row["action"] == "dirtylog-dontneed" else row["block_bytes"]
        leaves = row["pages_4k"] * 4096 // block
        trigger = "memslot" if row["action"] == "memslot" else "notifier"
        where = (trigger, row["pid"], row["mono_begin_ns"], row["mono_end_ns"])
        if row["id"].startswith("s"):
            seen = counts[name]
            tables = (seen["put_page"] - leaves) // 2
            visits = seen.get("walker")
            found[name] = Step(seen["s2_unmap"], leaves, block, tables, visits, *where)
        else:
            below = -(-row["range_bytes"] // TABLE_BYTES) if block == 4096 else 0
            found[name] = Step(1, leaves, block, below + 1, None, *where)
    return found


@cache
def step_counts(kernel: str) -> dict[str, dict[str, int]]:
    """Probe hits per step of the suite `std`, by step, for one of the three machines."""
    found: dict[str, dict[str, int]] = {}
    section = ""
    for line in (TRACES / "step-counts.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("==="):
            section = line.removeprefix("===").strip()
            continue
        match = COUNTS_LINE.match(line)
        if match and section == kernel:
            found[match["step"]] = ast.literal_eval(match["counts"])
    return found
