"""Entries and exits of one task -> calls: which exit belongs to which entry.

Calls of a task nest, so the level of the stack pairs an entry with the next exit at its level.
That is vectorised and right wherever every exit follows its entry. Where names or recorded
depths contradict it (a missed return probe, lost events), the stretch that contains the
contradiction is walked again with an explicit stack, which gives up the calls that it cannot
vouch for and pairs the others.

An entry without an exit is *censored* when something proves that its frame is gone, *open*
otherwise. Nothing here knows of time, CPUs or KVM.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

NONE: Final = -1
# Farther apart than any stack level; keeps the groups of one running minimum apart.
GROUP_STRIDE: Final = 1 << 40


@dataclass(frozen=True, slots=True)
class Pairs:
    """For each row: `partner` is the row of its exit or entry, NONE without one.

    `closed_at`: for an entry without exit, the row that proves that its frame is gone, or NONE.
    """

    partner: Ints
    closed_at: Ints


def pair(group: Ints, is_entry: NDArray[np.bool_], function: Ints, depth: Ints) -> Pairs:
    """Pair the rows of every group; rows are sorted by group, then by time.

    `function` -1 and `depth` -1 mean unknown and agree with everything.
    """
    rows = group.size
    partner = np.full(rows, NONE, dtype=np.int64)
    closed_at = np.full(rows, NONE, dtype=np.int64)
    if rows == 0:
        return Pairs(partner, closed_at)
    level = stack_levels(group, is_entry)
    order = stable_order(group * (int(level.max()) + 1) + level)
    before, after = order[:-1], order[1:]
    match = (
        (group[before] == group[after])
        & (level[before] == level[after])
        & is_entry[before]
        & ~is_entry[after]
    )
    entries, exits = before[match], after[match]
    partner[entries], partner[exits] = exits, entries
    wrong = _contradictions(entries, exits, function, depth)
    for low, high in _stretches(group, level, is_entry, exits[wrong]):
        partner[low:high] = closed_at[low:high] = NONE
        _walk(range(low, high), is_entry, function, depth, partner, closed_at)
    return Pairs(partner, closed_at)


def stack_levels(group: Ints, is_entry: NDArray[np.bool_]) -> Ints:
    """The level of the stack that each row opens or closes: 1 is the bottom, 0 an exit too many."""
    delta = np.where(is_entry, 1, -1)
    total = np.cumsum(delta)
    first = np.r_[True, group[1:] != group[:-1]]
    start = np.flatnonzero(first)
    sizes = np.diff(np.r_[start, group.size])
    total -= np.repeat(total[start] - delta[start], sizes)
    stride = np.repeat(np.arange(start.size, dtype=np.int64) * GROUP_STRIDE, sizes)
    lowest = np.minimum.accumulate(np.minimum(total, 0) - stride) + stride
    lowest_before = np.where(first, 0, np.r_[0, lowest[:-1]])
    return np.where(is_entry, total - lowest, total + 1 - lowest_before)


def stable_order(keys: Ints) -> Ints:
    """Stable argsort of non-negative keys, by radix where they fit 16 bits."""
    if keys.size and int(keys.max()) < 1 << 16:
        return np.argsort(keys.astype(np.uint16), kind="stable")
    return np.argsort(keys, kind="stable")


def _contradictions(entries: Ints, exits: Ints, function: Ints, depth: Ints) -> NDArray[np.bool_]:
    names = (
        (function[entries] != function[exits]) & (function[entries] >= 0) & (function[exits] >= 0)
    )
    depths = (depth[entries] != depth[exits]) & (depth[entries] >= 0) & (depth[exits] >= 0)
    wrong: NDArray[np.bool_] = names | depths
    return wrong


def _stretches(
    group: Ints, level: Ints, is_entry: NDArray[np.bool_], wrong: Ints
) -> list[tuple[int, int]]:
    """From the last empty stack before each contradiction to the end of its group, merged."""
    stretches: list[tuple[int, int]] = []
    if wrong.size == 0:
        return stretches
    bottom = np.flatnonzero(is_entry & (level == 1))
    for at in np.sort(wrong).tolist():
        if stretches and at < stretches[-1][1]:
            continue
        low = int(bottom[np.searchsorted(bottom, at, side="right") - 1])
        high = int(np.searchsorted(group, group[at], side="right"))
        stretches.append((low, high))
    return stretches


def _walk(
    rows: range,
    is_entry: NDArray[np.bool_],
    function: Ints,
    depth: Ints,
    partner: Ints,
    closed_at: Ints,
) -> None:
    """Pair *rows* with an explicit stack; frames above a match are given up."""
    stack: list[int] = []
    entry_list = is_entry[rows.start : rows.stop].tolist()
    names = function[rows.start : rows.stop].tolist()
    depths = depth[rows.start : rows.stop].tolist()
    base = rows.start
    for at, (opens, name, deep) in enumerate(zip(entry_list, names, depths, strict=True)):
        if deep >= 0:
            limit = deep if opens else deep + 1
            while stack and depths[stack[-1]] >= limit:
                closed_at[base + stack.pop()] = base + at
        if opens:
            stack.append(at)
            continue
        found = _top_match(stack, names, depths, name, deep)
        if found < 0:
            continue
        for given_up in stack[found + 1 :]:
            closed_at[base + given_up] = base + at
        entry = stack[found]
        partner[base + entry], partner[base + at] = base + at, base + entry
        del stack[found:]


def _top_match(stack: list[int], names: list[int], depths: list[int], name: int, deep: int) -> int:
    """Where on the stack the entry of an exit lies, -1 if it does not."""
    if deep >= 0 and stack and depths[stack[-1]] >= 0:
        top = stack[-1]
        agree = depths[top] == deep and (names[top] == name or min(names[top], name) < 0)
        return len(stack) - 1 if agree else -1
    for at in range(len(stack) - 1, -1, -1):
        if names[stack[at]] == name or name < 0 or names[stack[at]] < 0:
            return at
    return -1
