"""Real broken kernels, built and booted: the audit finds in each its bug, and no other.

Marker `lab` (`make lab`): building all three takes half an hour on two cores, once; a boot takes
half a minute. They skip, and say so, where the lab is not set up or a compiler is missing.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import TYPE_CHECKING

import pytest

import traceview
from sample_traces.lab.boot import Boot, boot, job_path
from sample_traces.lab.captures import captures, write_sidecars
from sample_traces.lab.errors import LabError
from sample_traces.lab.folder import Folder, lab_folder
from sample_traces.lab.kernel.build import SUITE, VARIANTS, build, compile_slot
from sample_traces.lab.kernels import known
from sample_traces.lab.machine import Machine
from sample_traces.lab.truth import read_truth
from tests.broken_kernels import OPERATIONS, TABLES, checks_that_found, tables_released
from traceview.queries.audit import audit

if TYPE_CHECKING:
    from pathlib import Path

    from traceview.queries.audit_results import Audit

pytestmark = [pytest.mark.lab, pytest.mark.timeout(7200)]


@pytest.fixture(scope="module")
def lab() -> Folder:
    """The lab with all three kernels."""
    folder = lab_folder()
    if not folder.root_image.exists():
        pytest.skip(f"no lab in {folder.path}: python3 -m sample_traces.lab setup")
    missing = [name for name in VARIANTS if name not in known(folder)]
    try:
        if missing:
            build(folder, missing, SUITE, 2)
    except LabError as err:
        if "programs are missing" not in str(err):
            raise
        pytest.skip(str(err))
    compile_slot(folder)
    return folder


@cache
def booted(lab: Folder, kernel: str, side: str, *, plugin: bool = False) -> Path:
    """What one kernel's boot recorded."""
    machine = Machine(cpus=1, deterministic=True)
    asked = Boot(
        job_path("kernel"), kernel, machine, ("executed" if plugin else side,),
        name=f"kernel-{kernel}-{'executed' if plugin else side}",
        files=(lab.workload.with_name("slot"), lab.kernels / kernel / "operands"),
    )  # fmt: skip
    out = boot(lab, dataclasses.replace(asked, plugin=plugin))
    write_sidecars(out)
    return out


def audits(out: Path) -> dict[str, Audit]:
    return {one.name: audit([traceview.open_trace(one.path)]) for one in captures(out)}


def test_the_fixed_order_is_clean_in_every_recording(lab: Folder) -> None:
    of = audits(booted(lab, "switch", "on"))
    assert [name for name, one in of.items() if not one.is_clean] == []
    for name in ("args", "args-trace-cmd", "args-perf"):
        assert of[name].outcome == "clean"


def test_tables_released_too_early_are_found_wherever_they_can_be_seen(lab: Folder) -> None:
    out = booted(lab, "eager-tables-reverted", "on")
    of = audits(out)
    seen = [*(set(of) - {"fgraph"})]
    assert {name: checks_that_found(of[name]) for name in seen} == {one: [TABLES] for one in seen}
    # References without addresses or visits: nothing is found, and nothing is passed.
    (tables,) = [one for one in of["fgraph"].checks if one.code == TABLES]
    assert (tables.checked, sum(tables.unchecked.values())) == (0, 5)
    truth = read_truth(out / "args.truth.jsonl")
    freed = [sum(step.tables.values()) for step in truth.values() if step.tables]
    for name in seen:
        assert [count for _, count in tables_released(of[name])] == freed


def test_the_same_kernel_that_does_not_defer_is_clean(lab: Folder) -> None:
    of = audits(booted(lab, "eager-tables-reverted", "off"))
    assert [name for name, one in of.items() if not one.is_clean] == []


def test_a_range_operation_that_covers_too_little_is_found_by_its_operand(lab: Folder) -> None:
    of = audits(booted(lab, "range-operand-reverted", "on"))
    for name in ("args", "args-trace-cmd", "args-perf"):
        assert checks_that_found(of[name]) == [OPERATIONS]
        assert all("0xffff708000040000" in text for text in of[name].findings["text"])
    for name in ("fgraph", "visits-fgraph"):
        assert checks_that_found(of[name]) == []
        assert of[name].outcome == "incomplete"


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        ("switch", []),
        ("eager-tables-reverted", ["entries-invalidated"]),
        ("range-operand-reverted", ["operands", OPERATIONS]),
    ],
)
def test_executed_instructions_show_both(lab: Folder, kernel: str, expected: list[str]) -> None:
    out = booted(lab, kernel, "on", plugin=True)
    assert checks_that_found(audit([traceview.open_trace(out / "insn.txt")])) == expected
