"""Unmaps over time: bins, the slowest, bands in which events were lost."""

from __future__ import annotations

from typing import Any

import polars as pl

from tests.writers.analyses import analysis, source, unmap
from traceview.queries.unmap_timeline import (
    FARTHEST,
    NEAR,
    LossBands,
    bins,
    loss_bands,
    placed,
    slowest,
    spans,
)

S = 10**9


def loss(**columns: Any) -> dict[str, Any]:
    return {"source_id": 0, "kind": "lost_events", "cpu": 0, **columns}


def bands(*losses: dict[str, Any]) -> list[tuple[Any, ...]]:
    return lost(*losses).bands.select("from_ns", "to_ns", "losses", "lost").rows()


def lost(*losses: dict[str, Any], sources: int = 1) -> LossBands:
    ids = range(sources)
    of = analysis(
        [unmap(source_id=at) for at in ids], [source(source_id=at) for at in ids],
        losses=[one | {"source_id": at} for at in ids for one in losses],
    )  # fmt: skip
    return loss_bands(of.losses, spans(of))


def holes(number: int, part: float) -> list[dict[str, Any]]:
    """As many at even distances, each *part* of the distance long."""
    step = 2 * S // number
    return [
        loss(from_ns=S + at * step, to_ns=S + at * step + round(part * step))
        for at in range(number)
    ]


def test_a_span_is_from_the_first_event_to_the_last_also_where_only_unmaps_have_times() -> None:
    of = analysis(
        [unmap(), unmap(source_id=1, start_ns=7 * S, duration_ns=5)],
        [source(), source(source_id=1, first_ns=None, last_ns=None), source(source_id=2)],
    )
    assert spans(of).rows() == [(0, S, 3 * S), (1, 7 * S, 7 * S + 5)]


def test_unmaps_without_a_time_are_not_placed() -> None:
    of = analysis([unmap(), unmap(start_ns=None)])
    assert placed(of.unmaps, spans(of))["at_ns"].to_list() == [S]


def test_the_slowest_come_first_and_of_equal_ones_the_earlier() -> None:
    of = analysis([unmap(5), unmap(9), unmap(9), unmap(7)])
    assert slowest(of.unmaps, 3)["unmap_id"].to_list() == [1, 2, 3]


def test_bins_keep_every_unmap_and_the_longest_of_a_stretch() -> None:
    of = analysis([unmap(at + 1, start_ns=S + at) for at in range(1000)], [source(last_ns=S + 999)])
    rows = placed(of.unmaps, spans(of)).with_columns(pl.lit("g").alias("group"))
    found = bins(rows, spans(of), 20)  # the last one ends after 2000 ns
    assert found["unmaps"].to_list() == [100] * 10
    assert found["max_ns"].to_list() == list(range(100, 1001, 100))
    assert found["median_ns"].to_list() == list(range(50, 1000, 100))


def test_an_end_that_is_not_known_is_that_of_the_trace() -> None:
    assert bands(loss(to_ns=S + 100)) == [(0, 100, 1, None)]
    assert bands(loss(from_ns=3 * S - 100, count=7)) == [(2 * S - 100, 2 * S, 1, 7)]


def test_losses_without_any_time_are_in_no_band() -> None:
    assert bands(loss(count=5)) == []


def test_losses_that_overlap_or_nearly_touch_are_one_band() -> None:
    found = bands(
        loss(from_ns=S + 10, to_ns=S + 30, count=1), loss(from_ns=S + 20, to_ns=S + 40, count=2),
        loss(from_ns=S + 50, to_ns=S + 60, count=3),
        loss(from_ns=2 * S, to_ns=2 * S + 5, count=4),
    )  # fmt: skip
    assert found == [(10, 60, 3, 6), (S, S + 5, 1, 4)]


def test_holes_that_can_be_told_apart_are_bands_of_their_own() -> None:
    found = lost(*holes(400, 0.1))
    assert len(found.bands) == 400
    assert found.nearer == 0


def test_what_is_drawn_as_one_band_is_not_counted_as_lost() -> None:
    found = lost(*holes(5000, 0.25))
    assert found.bands.select("from_ns", "losses").rows() == [(0, 5000)]
    assert found.nearer == NEAR
    assert found.lost_ns == S // 2


def test_holes_of_several_cpus_at_once_are_counted_once() -> None:
    one, other = loss(from_ns=S, to_ns=S + 100), loss(from_ns=S + 50, to_ns=S + 150, cpu=1)
    found = lost(one, other, one)
    assert (found.lost_ns, found.nearer) == (150, 0)


def test_the_holes_of_many_traces_stay_few_and_end_where_they_end() -> None:
    found = lost(*holes(200, 0.1), sources=24)
    assert len(found.bands) <= 24 / FARTHEST
    assert found.nearer == FARTHEST
    assert found.bands["losses"].sum() == 24 * 200
    assert found.lost_ns == 24 * 200 * round(0.1 * (2 * S // 200))


def test_a_loss_outside_the_trace_ends_with_it() -> None:
    assert bands(loss(from_ns=5, to_ns=9 * S)) == [(0, 2 * S, 1, None)]
