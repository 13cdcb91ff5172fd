"""What is unmapped, how often and by whom: steps, their rounds, and the unmaps of a round.

A round maps memory (stage-2 faults), writes the marker `begin`, makes its requests and writes the
marker `end`. A request becomes unmaps of at most one block of KVM_PGTABLE_MIN_BLOCK_LEVEL
(stage2_apply_range).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from traceview.errors import SettingError
from traceview.simulate.page_table import NEVER, Leaves, owners

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from traceview.simulate.page_table import Granule

    Ints = NDArray[np.int64]

PATTERNS: Final = ("all", "alternate", "random")
TRIGGERS: Final = ("notifier", "memslot", "vcpu_init")
MOST_LEAVES: Final = 1 << 22  # of one round: 16 GiB of 4K pages


@dataclass(frozen=True, slots=True)
class Step:
    """One way to unmap memory, `repetitions` times by each VM.

    `chunk_bytes`: a request takes that much, all of it if None; `every`: of so many chunks one is
    unmapped. `pattern` and `mapped`: which units are mapped before. `blocks`: share of the blocks
    of level 2 that are mapped as blocks where the backing is pages. `device`: share of leaves that
    are not cacheable. `empty`: further requests, which find nothing.
    """

    id: str
    action: str
    size_bytes: int
    backing_bytes: int
    trigger: str = "notifier"
    chunk_bytes: int | None = None
    every: int = 1
    pattern: str = "all"
    mapped: float = 1.0
    blocks: float = 0.0
    device: float = 0.0
    empty: int = 0
    repetitions: int = 1
    gpa: int = 0x8000_0000

    @property
    def protects(self) -> bool:
        """Whether it begins dirty logging in place of unmapping: a range flush without unmap."""
        return self.action == "dirtylog"


# By action, the keys of steps.py that it sets: as the workload program of the captures does it.
ACTIONS: Final[dict[str, dict[str, object]]] = {
    "dontneed": {},
    "chunks": {"chunk": 65536},
    "sparse": {"chunk": 16384, "every": 2},
    "half": {"pattern": "alternate"},
    "memslot": {"trigger": "memslot"},
    "munmap": {"empty": 1},
    "mprotect": {"empty": 1},
    "move": {},
    "vcpu_init": {"trigger": "vcpu_init"},
    "dirtylog": {},
}


@dataclass(frozen=True, slots=True)
class Round:
    """What is alike in every round of a step: its unmaps in order, and by request how many."""

    step: Step
    start: Ints  # pages
    end: Ints
    requests: tuple[int, ...]
    units: Ints  # first page of each unit that may be mapped
    unit_owner: Ints
    blocks: Ints  # first page of each block that may take the place of its units
    block_owner: Ints
    level: int

    @property
    def unmaps(self) -> int:
        """Of one round."""
        return self.start.size


def plan_round(step: Step, granule: Granule) -> Round:
    """The unmaps of one round. Raises SettingError where the granule has no such leaves."""
    level = leaf_level(granule, step.backing_bytes)
    page = granule.page_size_bytes
    unit = 1 << granule.shift(level)
    _check(step, granule, unit * page)
    first, count = step.gpa // page, step.size_bytes // page
    start, end, requests = _requests(step, granule, first, count)
    units = np.arange(first, first + count, unit, dtype=np.int64)
    block = 1 << granule.shift(2)
    inside = step.blocks > 0
    blocks = (
        np.arange(-(-first // block) * block, (first + count) // block * block, block)
        if inside
        else np.empty(0, dtype=np.int64)
    )
    return Round(
        step, start, end, requests,
        units, owners(start, end, units, units + unit),
        blocks, owners(start, end, blocks, blocks + block), level,
    )  # fmt: skip


def leaf_level(granule: Granule, size_bytes: int) -> int:
    """The level whose leaves have that size. Raises SettingError."""
    lowest = 1 if granule.page_size_bytes == 4096 else 2
    sizes = {granule.size_bytes(level): level for level in range(lowest, 4)}
    if size_bytes not in sizes:
        valid = ", ".join(f"{size >> 10} KiB" for size in sorted(sizes))
        raise SettingError(
            f"no leaf of {size_bytes} bytes with pages of {granule.page_size_bytes}"
            f"\nleaves: {valid}"
        )
    return sizes[size_bytes]


def map_rounds(plan: Round, granule: Granule, rounds: int, rng: np.random.Generator) -> Leaves:
    """What *rounds* rounds find mapped, round *n* being space *n*."""
    step, units = plan.step, plan.units.size
    mapped = np.ones((rounds, units), dtype=bool)
    if step.pattern == "alternate":
        mapped[:, 1::2] = False
    elif step.pattern == "random":
        mapped = rng.random((rounds, units)) < step.mapped
    as_block = rng.random((rounds, plan.blocks.size)) < step.blocks
    if plan.blocks.size:
        per_block = 1 << granule.shift(2)
        first = int(plan.blocks[0] - plan.units[0])
        covered = np.repeat(as_block, per_block, axis=1)
        mapped[:, first : first + covered.shape[1]] &= ~covered
    space, at = np.nonzero(mapped)
    page, owner = plan.units[at], plan.unit_owner[at]
    level = np.full(space.size, plan.level, dtype=np.int64)
    if plan.blocks.size:
        block_space, block_at = np.nonzero(as_block)
        space, page = np.r_[space, block_space], np.r_[page, plan.blocks[block_at]]
        owner = np.r_[owner, plan.block_owner[block_at]]
        level = np.r_[level, np.full(block_space.size, 2)]
        order = np.lexsort((page, space))
        space, page, owner, level = space[order], page[order], owner[order], level[order]
    owner = np.where(owner == NEVER, NEVER, owner + space * plan.unmaps)
    cacheable = (
        rng.random(space.size) >= step.device if step.device else np.ones(space.size, dtype=bool)
    )
    return Leaves(space.astype(np.int64), page, level, owner, cacheable)


def repeated(steps: tuple[Step, ...], unmaps: int, granule: Granule, vms: int) -> tuple[Step, ...]:
    """The steps with repetitions so that all VMs together make at least *unmaps* unmaps."""
    per_round = sum(plan_round(step, granule).unmaps for step in steps) * vms
    times = max(1, -(-unmaps // max(1, per_round)))
    return tuple(replace(step, repetitions=times) for step in steps)


def _requests(
    step: Step, granule: Granule, first: int, count: int
) -> tuple[Ints, Ints, tuple[int, ...]]:
    if step.protects:
        none = np.zeros(0, dtype=np.int64)
        return none, none, ()
    chunk = (step.chunk_bytes or step.size_bytes) // granule.page_size_bytes
    begins = np.arange(first, first + count, chunk * step.every)
    asked = [(int(a), min(int(a) + chunk, first + count)) for a in begins]
    asked += [(first, first + count)] * step.empty
    start, end, requests = [], [], []
    for low, high in asked:
        cuts = np.arange(low // granule.chunk_pages + 1, -(-high // granule.chunk_pages))
        bounds = np.r_[low, cuts * granule.chunk_pages, high]
        start.append(bounds[:-1])
        end.append(bounds[1:])
        requests.append(bounds.size - 1)
    return np.concatenate(start), np.concatenate(end), tuple(requests)


def _check(step: Step, granule: Granule, unit_bytes: int) -> None:
    for name, size in (("size", step.size_bytes), ("gpa", step.gpa), ("chunk", step.chunk_bytes)):
        whole = granule.page_size_bytes if name == "chunk" else unit_bytes
        if size is not None and (size % whole or (size <= 0 and name != "gpa")):
            raise SettingError(
                f"step {step.id}: its {name} of {size} bytes is no multiple of {whole}"
            )
    if step.protects and (step.chunk_bytes or step.empty or step.every > 1):
        raise SettingError(f"step {step.id}: dirty logging takes all memory at once")
    if step.size_bytes // unit_bytes > MOST_LEAVES:
        raise SettingError(
            f"step {step.id}: more than {MOST_LEAVES} leaves in one round\ntake a smaller size"
        )
    if step.gpa + step.size_bytes > 1 << granule.ipa_bits:
        raise SettingError(
            f"step {step.id}: it ends beyond the {granule.ipa_bits} bits of guest addresses"
        )
