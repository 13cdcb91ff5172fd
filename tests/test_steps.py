"""Steps label the unmaps of the task that wrote the markers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import traceview
from tests.writers.events import Recorder
from traceview.errors import SettingError
from traceview.queries.steps import read_steps

if TYPE_CHECKING:
    from pathlib import Path

UNMAP = "kvm_pgtable_stage2_unmap"


def steps_of(made: Recorder) -> list[str | None]:
    found: list[str | None] = traceview.unmaps(made.trace())["step"].to_list()
    return found


def test_an_unmap_belongs_to_the_step_of_its_own_task() -> None:
    made = Recorder()
    made.on(tid=1).marker("KVMLAB begin s19.1 dontneed")
    made.on(tid=2, cpu=1).marker("KVMLAB begin s20.1 dontneed")
    made.on(tid=1, cpu=0).call(UNMAP)
    made.on(tid=2, cpu=1).call(UNMAP)
    made.on(tid=3).call(UNMAP)
    made.on(tid=1, cpu=0).marker("KVMLAB end s19.1")
    made.on(tid=2, cpu=1).marker("KVMLAB end s20.1")
    made.on(tid=1).call(UNMAP)
    assert steps_of(made) == ["s19.1", "s20.1", None, None]


def test_overlapping_steps_of_one_task_are_ambiguous() -> None:
    made = Recorder()
    made.marker("begin a")
    made.call(UNMAP)
    made.marker("begin b")
    made.call(UNMAP)
    made.marker("end a")
    made.call(UNMAP)
    made.marker("end b")
    assert steps_of(made) == ["a", None, "b"]


def test_a_step_whose_end_was_lost_labels_nothing_and_spoils_no_other() -> None:
    made = Recorder()
    made.marker("begin a")
    made.call(UNMAP)
    made.marker("begin b")
    made.call(UNMAP)
    made.marker("end b")
    assert steps_of(made) == [None, "b"]


def test_the_pattern_is_the_user_s() -> None:
    made = Recorder()
    made.marker("phase start=fill")
    made.call(UNMAP)
    made.marker("phase end=fill")
    pattern = r"phase (?P<edge>start|end)=(?P<id>\w+)"
    found = traceview.analyze(made.trace(), step_pattern=pattern).unmaps
    assert found["step"].to_list() == ["fill"]


@pytest.mark.parametrize("pattern", ["(", "begin (?P<id>x)"])
def test_a_useless_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(SettingError):
        traceview.analyze(Recorder().trace(), step_pattern=pattern)


def test_steps_of_a_file_are_intervals_in_a_stated_clock(tmp_path: Path) -> None:
    made = Recorder()
    made.call(UNMAP)  # begins at 1010
    made.call(UNMAP)  # 1030
    made.on(tid=2).call(UNMAP)  # 1050
    step = {"id": "s1", "clock": "mono", "begin_ns": 1020, "end_ns": 1060, "tid": 100}
    file = tmp_path / "steps.jsonl"
    file.write_text(json.dumps(step) + "\n", encoding="utf-8")
    trace = made.trace()
    with pytest.raises(SettingError, match="clock"):
        traceview.analyze(trace, steps=read_steps(file))
    trace.settings.facts["clock"] = "mono"  # type: ignore[index]
    found = traceview.analyze(trace, steps=read_steps(file)).unmaps["step"].to_list()
    assert found == [None, "s1", None]


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        "{}",
        '{"id": "a", "clock": "mono", "begin_ns": 2, "end_ns": 1}',
        '{"id": 3, "clock": "mono", "begin_ns": 1, "end_ns": 2}',
        '{"id": "a", "clock": "mono", "begin_ns": 1.5, "end_ns": 2}',
        "",
    ],
)
def test_a_malformed_step_file_is_refused(tmp_path: Path, line: str) -> None:
    file = tmp_path / "steps.jsonl"
    file.write_text(line + "\n", encoding="utf-8")
    with pytest.raises(SettingError):
        read_steps(file)
