"""The report says what unmaps cost other vCPUs, and beside it what these do anyway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.test_docs import doc
from tests.writers.analyses import analysis, source, unmap
from traceview.queries.bystander_groups import bystander_groups
from traceview.report.bystanders import bystanders
from traceview.report.contents import contents
from traceview.schema import TABLES

if TYPE_CHECKING:
    from traceview.queries.analysis import Analysis

BESIDE = {
    "source_id": 0, "vm": "process", "vcpus": 2, "vcpu_ns": 2_000_000, "stalls": 3,
    "stall_ns": 600_000, "off_cpu_ns": 0, "longest_stall_ns": 400_000, "stalled_ns": 500_000,
    "guest_faults": 2, "window_ns": 1_000_000, "window_vcpu_ns": 2_000_000,
    "guest_faults_after": 10, "refaults": 4,
}  # fmt: skip
VCPU = {
    "source_id": 0, "tid": 7, "unmaps": 2, "exits": 90, "guest_faults": 50, "stall_ns": 10**6,
    "outside_ns": 10**8, "outside_guest_faults": 40, "outside_stall_ns": 4 * 10**6,
}  # fmt: skip


def made(*beside: dict[str, Any], vcpu: dict[str, Any] | None = None, **facts: Any) -> Analysis:
    rows = [{"unmap_id": at, **BESIDE, **row} for at, row in enumerate(beside)]
    unmaps = [unmap(1_000_000) for _ in beside]
    return analysis(unmaps, [source(**facts)], bystanders=rows, vcpus=[{**VCPU, **(vcpu or {})}])


def text(found: Analysis, width: int = 120) -> str:
    return "\n".join(line.plain for line in bystanders(contents(found), width))


def test_stalls_and_faults_stand_beside_those_outside() -> None:
    said = text(made({}, {"stall_ns": 0, "stalls": 0, "stalled_ns": 0}))
    stalls = next(line for line in said.splitlines() if "per_pte" in line)
    assert " ".join(stalls.split()) == "per_pte 2 2 3 300.0 us 400.0 us 25.0% 100.0 us"
    rates = [line for line in said.splitlines() if "per_pte" in line][1]
    assert " ".join(rates.split()) == "per_pte 15.0% 4.0% 1,000 5,000 400 4.0"
    assert "upper bound" in said
    assert "any VM" not in said


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"vm": "any"}, "the VM is not known"),
        ({"vcpus": 0, "guest_faults": 0}, "1 unmap without a vCPU of another task"),
        ({"stalls": None, "guest_faults": None}, "1 unmap beside which events may be missing"),
        ({"off_cpu_ns": 70_000}, "not in the stalls: 70.0 us"),
        ({"off_cpu_ns": None}, "stalls contain time off the CPU"),
        ({"stall_ns": None, "off_cpu_ns": None}, "stalls: not known without kvm_exit"),
    ],
)
def test_what_limits_the_numbers_is_said(changes: dict[str, Any], sentence: str) -> None:
    assert sentence in text(made({}, changes))
    assert sentence not in text(made({}, {}))


def test_an_unknown_clock_and_an_unknown_outside_are_said() -> None:
    assert "does not state its clock" in text(made({}, clock=None))
    assert "does not state its clock" not in text(made({}))
    assert "events were lost" in text(made({}, vcpu=dict.fromkeys(
        ("outside_ns", "outside_guest_faults", "outside_stall_ns"))))  # fmt: skip


def test_nothing_is_shown_where_nothing_was_measured_and_the_caveat_says_why() -> None:
    for beside in ((), ({"vcpus": 0},)):
        found = made(*beside) if beside else analysis([unmap()])
        assert text(found) == ""
        said = {one.code: one.text for one in contents(found).caveats}
        assert said["bystanders-not-measured"].startswith("cost to bystanders: not measured (kvm_")
        assert "DVM" in said["elsewhere-not-measured"]
    said = {one.code: one.text for one in contents(made({})).caveats}
    assert "bystanders-not-measured" not in said
    assert "DVM" in said["elsewhere-not-measured"]


def test_the_section_fits_every_width() -> None:
    found = contents(made({}, {"vm": "any"}, {"stalls": None, "guest_faults": None}, clock=None))
    for width in range(40, 201):
        assert all(line.cell_len <= width for line in bystanders(found, width))


def test_every_column_of_a_bystander_group_is_documented() -> None:
    part = doc("json.md").partition("## Bystander groups")[2]
    for column in bystander_groups(made({})).columns:
        assert f"`{column}`" in part or column in TABLES["unmaps"], column
