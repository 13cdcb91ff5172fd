"""Which unmaps a filter keeps."""

from __future__ import annotations

import pytest

from tests.writers.analyses import analysis, source, unmap
from traceview.errors import QueryError, SettingError
from traceview.queries.filters import Filters, apply, parse_time, seconds, there, undecided


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("30.155", 30_155_000_000),
        ("30.155s", 30_155_000_000),
        (" 1.5 ms", 1_500_000),
        ("7us", 7_000),
        ("7ns", 7),
        ("0", 0),
        (".5", 500_000_000),
        ("30.155123456", 30_155_123_456),
    ],
)
def test_times_are_read_exactly(text: str, ns: int) -> None:
    assert parse_time(text) == ns


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "1e3", "1.5ns", "1 h", "1.2.3", "99999999999", "nan"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match="not a time"):
        parse_time(text)


def test_seconds_are_written_as_they_are_read() -> None:
    for ns in (0, 7, 30_155_000_000, 10**9):
        assert parse_time(seconds(ns)) == ns


def kept(filters: Filters) -> list[int]:
    found = analysis(
        [
            unmap(step="s01.1", cpu=0, tid=5, start_ns=100),
            unmap(step="s01.2", cpu=1, tid=5, start_ns=200, trigger="memslot"),
            unmap(step=None, cpu=None, tid=6, start_ns=None),
        ],
        instructions=[
            {"source_id": 0, "unmap_id": 0, "insn": "tlbi"},
            {"source_id": 0, "unmap_id": 1, "insn": "tlbi"},
            {"source_id": 0, "unmap_id": None, "insn": "dsb"},
        ],
    )
    left = apply(filters, found)
    ids: list[int] = left.unmaps["unmap_id"].to_list()
    if filters:
        assert set(left.instructions["unmap_id"].to_list()) <= set(ids)
    return ids


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        (Filters(), [0, 1, 2]),
        (Filters(steps=("s01.1",)), [0]),
        (Filters(steps=("s01.*",)), [0, 1]),
        (Filters(triggers=("memslot",)), [1]),
        (Filters(cpus=(1,)), [1]),
        (Filters(cpus=(0, 1)), [0, 1]),
        (Filters(tids=(6,)), [2]),
        (Filters(from_ns=200), [1]),
        (Filters(to_ns=199), [0]),
        (Filters(from_ns=100, to_ns=200, tids=(5,), cpus=(0,)), [0]),
        (Filters(cpus=(7,)), []),
    ],
)
def test_a_filter_keeps_what_matches_and_nothing_that_cannot_say(
    filters: Filters, ids: list[int]
) -> None:
    assert kept(filters) == ids


CUT_OFF = unmap(None, status="censored", start_ns=None, step=None, trigger="unknown", cpu=1)


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        (Filters(), {}),
        (Filters(from_ns=100), {"start": 1}),
        (Filters(to_ns=100), {"start": 1}),
        (Filters(steps=("s01",)), {"step": 1}),
        (Filters(triggers=("memslot",)), {"trigger": 1}),
        (Filters(triggers=("memslot",), steps=("s01",)), {"step": 1}),
        (Filters(cpus=(1,)), {"CPU": 1}),
        (Filters(tids=(5,)), {}),
        (Filters(from_ns=100, cpus=(0,)), {"CPU": 1}),  # the cut-off one was on CPU 1 for certain
    ],
)
def test_unmaps_that_cannot_say_are_counted_and_not_forgotten(
    filters: Filters, said: dict[str, int]
) -> None:
    outside = unmap(step=None, cpu=None, trigger="unknown")
    assert undecided(filters, analysis([CUT_OFF, unmap(), outside])) == said


def test_a_step_that_no_unmap_has_is_refused_with_those_it_has() -> None:
    with pytest.raises(QueryError, match=r"no step 's99'\nthe trace has: s01"):
        apply(Filters(steps=("s99",)), analysis([unmap()]))


def test_an_unknown_trigger_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SettingError, match=r"unknown trigger 'ballon'\nvalid: guest_memfd"):
        Filters(triggers=("ballon",))


def test_times_are_refused_where_the_trace_has_none() -> None:
    with pytest.raises(QueryError, match="no times"):
        apply(Filters(from_ns=1), analysis([unmap(start_ns=None)]))


def test_destructions_and_flushes_have_no_trigger_and_leave_with_one() -> None:
    found = analysis(
        [unmap()],
        destroys=[{"source_id": 0, "cpu": 1, "symbol": "f"}],
        flushes=[{"source_id": 0, "cpu": 2, "symbol": "g"}],
    )
    asked = apply(Filters(triggers=("notifier",)), found)
    assert (len(asked.destroys), len(asked.flushes)) == (0, 0)
    asked = apply(Filters(cpus=(1,)), found)
    assert (len(asked.destroys), len(asked.flushes)) == (1, 0)


def test_a_filter_says_what_it_asks_for() -> None:
    said = str(Filters(steps=("s*",), triggers=("notifier",), cpus=(1,), tids=(9,), from_ns=10**9))
    assert said == "step s*, trigger notifier, cpu 1, tid 9, from 1 s"


def test_what_could_have_been_asked_for_is_known_where_a_filter_keeps_nothing() -> None:
    found = analysis(
        [unmap(cpu=cpu, tid=7, start_ns=10**9 + cpu) for cpu in (10, 2, 3)], [source()]
    )
    assert there(Filters(cpus=(99,)), found) == ["CPUs 2, 3, 10"]
    assert there(Filters(tids=(1,), triggers=("memslot",)), found) == [
        "triggers notifier",
        "tids 7",
    ]
    assert there(Filters(from_ns=5), found) == ["times from 1.000000002 s to 1.00000001 s"]
    assert there(Filters(cpus=(9,)), analysis([unmap(cpu=None)])) == ["CPUs not known"]
