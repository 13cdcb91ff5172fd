"""Sides that are not what a comparison takes them for are refused, or said to be so."""

from __future__ import annotations

from typing import Any

import pytest

from tests.writers.sides import relabeled, side
from traceview.cli.compare import by_side
from traceview.errors import QueryError
from traceview.queries.filters import Filters
from traceview.queries.like_sides import (
    kept,
    labels_of,
    refuse_same_runs,
)


def of(**facts: Any) -> Any:
    return side(100, runs=2, sizes=(16, 64, 256), **facts)


def test_one_run_on_both_sides_is_refused_by_label_and_run() -> None:
    with pytest.raises(QueryError, match="the same runs are on both sides: a0 of a, a1 of a"):
        refuse_same_runs(of(), of(orders=[5, 6]))
    refuse_same_runs(of(), of(label="b"))


def test_runs_of_one_name_are_the_same_without_labels_where_nothing_known_differs() -> None:
    base = relabeled(of(), label=None)
    with pytest.raises(QueryError, match="the same runs are on both sides: a0, a1"):
        refuse_same_runs(base, relabeled(of(), label=None))
    with pytest.raises(QueryError, match="--label BASE --label WITH"):
        refuse_same_runs(base, of())
    refuse_same_runs(relabeled(base, kernel="6.1"), relabeled(of(), label=None, kernel="6.12"))
    refuse_same_runs(base, relabeled(of(orders=[2, 3]), label=None))
    refuse_same_runs(relabeled(base, run=None), relabeled(base, run=None))


def test_runs_of_two_kernels_are_two_whatever_they_are_called() -> None:
    refuse_same_runs(relabeled(of(), kernel="6.1"), relabeled(of(), kernel="6.12"))


def test_filters_that_leave_nothing_are_named() -> None:
    whole = of()
    with pytest.raises(QueryError, match=r"the filters \(cpu 77\) leave nothing of --with"):
        kept(Filters(cpus=(77,)), whole, "--with")
    assert kept(Filters(), whole, "--with") is whole


def test_the_labels_of_a_side_are_all_of_them() -> None:
    assert labels_of(of()) == ["a"]


def test_two_values_for_two_sides_are_one_for_each() -> None:
    sides = {"base": ["x", "y", "z"], "with": ["u"]}
    assert by_side(["a", "b"], sides) == ["a", "a", "a", "b"]
    assert by_side(["a"], sides) == ["a"]
    assert by_side(None, sides) is None
    assert by_side(["a", "b"], {"all": ["x", "y", "z"]}) == ["a", "b"]
