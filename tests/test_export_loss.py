"""An exported trace has lost what the trace had lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from tests.exporting import (
    exported,
    read_back,
    unmap,
)
from tests.perfetto_tracks import timeline
from tests.writers.events import Recorder
from traceview.report.perfetto.intervals import united

if TYPE_CHECKING:
    from pathlib import Path


class TestLoss:
    """Loss stays loss."""

    def lossy(self, **loss: Any) -> Recorder:
        made = Recorder()
        unmap(made)
        unmap(made)
        made.losses.append({"kind": "lost_events", "cpu": 0, **loss})
        return made

    def test_a_hole_is_where_it_was(self, tmp_path: Path) -> None:
        made = self.lossy(from_seq=5, to_seq=6, from_ns=1060, to_ns=1070, count=9)
        content = exported(made.trace())
        back = read_back(content, made.trace(), tmp_path)
        assert back.unmaps["status"].to_list() == ["contaminated", "complete"]
        assert back.losses.select("kind", "cpu", "from_seq", "to_seq").rows() == [
            ("lost_events", 0, 5, 6)
        ]
        [track] = timeline(content).by_name("lost events, CPU 0")
        assert [(one.name, one.start, one.end) for one in track.slices] == [
            ("lost_events: 9 events", 1060, 1070)
        ]

    def test_of_an_unknown_cpu_it_is_of_every_cpu(self, tmp_path: Path) -> None:
        made = self.lossy(cpu=None, from_seq=5, to_seq=6)
        back = read_back(exported(made.trace()), made.trace(), tmp_path)
        assert back.unmaps["status"].to_list() == ["contaminated", "complete"]

    def test_at_the_end_it_is_at_the_end(self, tmp_path: Path) -> None:
        made = self.lossy(from_seq=23, from_ns=1240)
        back = read_back(exported(made.trace()), made.trace(), tmp_path)
        assert back.losses.select("cpu", "from_seq", "to_seq").rows() == [(0, 23, None)]

    def test_a_cpu_without_events_may_have_lost_all(self, tmp_path: Path) -> None:
        made = self.lossy(cpu=3, from_seq=5, to_seq=6)
        back = read_back(exported(made.trace()), made.trace(), tmp_path)
        assert back.losses["cpu"].to_list() == [3]

    def test_numbers_without_a_place_are_counters(self, tmp_path: Path) -> None:
        made = self.lossy(kind="dropped_events", cpu=1, count=12)
        content = exported(made.trace())
        back = read_back(content, made.trace(), tmp_path)
        assert back.losses.select("kind", "cpu", "count").rows() == [("dropped_events", 1, 12)]
        [track] = timeline(content).by_name("lost events, not placed")
        assert [one.name for one in track.instants] == [
            "dropped_events: 12 events, where is not known"
        ]

    def test_unknown_loss_is_not_no_loss(self, tmp_path: Path) -> None:
        made = Recorder(facts={"loss_known": False})
        unmap(made)
        back = read_back(exported(made.trace()), made.trace(), tmp_path)
        assert back.losses.select("kind", "from_seq", "to_seq").rows() == [("lost_events", None, 0)]
        assert back.unmaps["status"].to_list() == ["complete"]

    def test_of_several_buffers_it_is_drawn_where_any_of_them_lost(self) -> None:
        made = Recorder()
        for buffer, first, last, count in (("a", 1000, 1100, 9), ("b", 1010, 1020, None)):
            made.losses.append(
                {"kind": "lost_events", "cpu": 0, "buffer": buffer, "from_seq": 0, "to_seq": 1,
                 "from_ns": first, "to_ns": last, "count": count}
            )  # fmt: skip
        unmap(made)
        [track] = timeline(exported(made.trace())).by_name("lost events, CPU 0")
        assert [(one.name, one.start, one.end) for one in track.slices] == [
            ("2 that overlap: lost_events: 9 events; lost_events", 1000, 1100)
        ]

    def test_what_overlaps_is_one_and_what_follows_is_not(self) -> None:
        spans = [(50, 60), (0, 100), (100, 110), (105, 130), (200, 200), (200, 200), (300, 400)]
        rows = pl.DataFrame(spans, schema=["start_ns", "end_ns"], orient="row").with_columns(
            pl.Series("name", list("bacdefg")), pl.Series("count", range(7))
        )
        assert united(rows, "name").rows() == [
            (0, 100, "2 that overlap: a; b", None), (100, 130, "2 that overlap: c; d", None),
            (200, 200, "e", 4), (200, 200, "f", 5), (300, 400, "g", 6),
        ]  # fmt: skip
        many = pl.DataFrame({"start_ns": [0] * 9, "end_ns": [5] * 9, "name": list("abcdefghi")})
        assert united(many, "name").rows() == [(0, 5, "9 that overlap: a; b; c; d; ...")]
