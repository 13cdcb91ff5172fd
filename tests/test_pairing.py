"""The vectorised pairing does what a stack does."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from traceview.queries.pairing import NONE, pair, stack_levels

ROW = st.tuples(st.booleans(), st.integers(0, 3))


def paired(rows: list[tuple[int, bool, int]]) -> tuple[list[int], list[int]]:
    group, entry, function = (np.array(column) for column in zip(*rows, strict=True))
    found = pair(
        group.astype(np.int64),
        entry.astype(bool),
        function.astype(np.int64),
        np.full(len(rows), -1, dtype=np.int64),
    )
    return found.partner.tolist(), found.closed_at.tolist()


def by_stack(rows: list[tuple[int, bool, int]]) -> list[int]:
    """The obvious way, one row after the other."""
    partner = [NONE] * len(rows)
    stacks: dict[int, list[int]] = {}
    for at, (group, entry, function) in enumerate(rows):
        stack = stacks.setdefault(group, [])
        if entry:
            stack.append(at)
            continue
        found = [n for n, frame in enumerate(stack) if rows[frame][2] == function]
        if found:
            partner[at], partner[stack[found[-1]]] = stack[found[-1]], at
            del stack[found[-1] :]
    return partner


@given(st.lists(st.lists(ROW, min_size=1, max_size=30), min_size=1, max_size=4))
@settings(max_examples=300)
def test_any_sequence_pairs_as_a_stack_would(groups: list[list[tuple[bool, int]]]) -> None:
    rows = [(number, *row) for number, group in enumerate(groups) for row in group]
    assert paired(rows)[0] == by_stack(rows)


def test_an_exit_of_an_outer_call_closes_the_inner_one_without_pairing_it() -> None:
    partner, closed_at = paired([(0, True, 1), (0, True, 2), (0, False, 1)])
    assert partner == [2, NONE, 0]
    assert closed_at == [NONE, 2, NONE]


def test_levels_start_again_in_every_group() -> None:
    group = np.array([0, 0, 1, 1, 1])
    entry = np.array([False, True, True, True, False])
    assert stack_levels(group, entry).tolist() == [0, 1, 1, 2, 2]


def test_recorded_depth_overrules_names() -> None:
    # Entry at depth 1 lost its exit; the next entry at depth 1 is of the same function.
    found = pair(
        np.zeros(5, dtype=np.int64),
        np.array([True, True, True, False, False]),
        np.array([0, 1, 1, 1, 0]),
        np.array([0, 1, 1, 1, 0]),
    )
    assert found.partner.tolist() == [4, NONE, 3, 2, 0]
    assert found.closed_at.tolist() == [NONE, 2, NONE, NONE, NONE]
