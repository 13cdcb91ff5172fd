"""Bundled traces of real broken kernels: each bug is found wherever it can be seen, and only it."""

from __future__ import annotations

import hashlib
import json
import lzma
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import traceview
from tests.broken_kernels import OPERATIONS, TABLES, checks_that_found, tables_released
from traceview.queries.audit import audit
from traceview.queries.audit_unmaps import ALIKE

if TYPE_CHECKING:
    from traceview.queries.audit_results import Audit, Check

BROKEN = Path(__file__).parent.parent / "sample_traces" / "broken-6.12"
LIMIT_BYTES = 300_000
PROBES = ("args.txt", "args.perf.data")
KINDS = (*PROBES, "insn.txt", "visits-fgraph.txt", "fgraph.txt")
# What the workload freed (README.md), step by step.
FREED = {"u1.1": 2, "u2.1": 2, "u3.1": 1, "u4.1": 2, "u5.1": 2}
LARGE = {"slot.3", "slot.4"}


@cache
def audited(kernel: str, kind: str) -> Audit:
    return audit([traceview.open_trace(BROKEN / f"{kernel}-{kind}.xz")])


def check(found: Audit, code: str) -> Check:
    (one,) = [one for one in found.checks if one.code == code]
    return one


def test_the_traces_are_small_whole_emulated_and_described() -> None:
    sums = (BROKEN / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    stated = {name: digest for digest, name in (line.split("  ") for line in sums)}
    kernels = ("switch", "eager-tables", "range-operand")
    assert sorted(stated) == sorted(f"{name}-{kind}.xz" for name in kernels for kind in KINDS)
    assert sorted(path.name for path in BROKEN.glob("*.xz")) == sorted(stated)
    assert sum(path.stat().st_size for path in BROKEN.iterdir()) < LIMIT_BYTES
    readme = (BROKEN / "README.md").read_text(encoding="utf-8")
    assert all(f"`*-{kind}.xz`" in readme for kind in KINDS)
    for name, digest in stated.items():
        assert hashlib.sha256((BROKEN / name).read_bytes()).hexdigest() == digest
        sidecar = json.loads((BROKEN / f"{name}.host.json").read_text(encoding="utf-8"))
        assert sidecar["origin"] == "emulated"
        kernel = next(one for one in kernels if name.startswith(one))
        assert sidecar["host"]["kernel"].startswith(f"6.12.95-{kernel}")


@pytest.mark.parametrize("kind", KINDS)
def test_the_fixed_kernel_raises_no_alarm(kind: str) -> None:
    found = audited("switch", kind)
    assert found.is_clean
    assert check(found, TABLES).checked == len(FREED)
    assert found.outcome == ("incomplete" if "fgraph" in kind else "clean")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "fgraph.txt"])
def test_tables_that_a_real_kernel_released_too_early_are_found_and_counted(kind: str) -> None:
    found = audited("eager-tables", kind)
    # perf.data has no markers.
    steps = [None] * len(FREED) if kind == "args.perf.data" else [*FREED]
    assert tables_released(found) == [*zip(steps, FREED.values(), strict=True)]
    # Executed instructions show it a second way: the store, and no TLBI behind it.
    assert set(checks_that_found(found)) <= {TABLES, "entries-invalidated"}
    assert set(found.findings["severity"].to_list()) == {"finding"}


def test_without_visits_and_addresses_the_real_bug_is_neither_found_nor_passed() -> None:
    found = audited("eager-tables", "fgraph.txt")
    one = check(found, TABLES)
    assert found.is_clean
    assert not found.is_complete
    assert (one.checked, one.unchecked) == (0, {ALIKE: len(FREED)})


@pytest.mark.parametrize("kind", PROBES)
def test_the_operand_of_the_historical_bug_is_found_in_a_real_kernel(kind: str) -> None:
    found = audited("range-operand", kind)
    assert checks_that_found(found) == [OPERATIONS]
    assert found.findings["severity"].to_list() == ["finding"] * len(LARGE)
    assert found.findings["text"].to_list() == [
        "asked for 8 GiB from 0x400000000; the recorded operands (0xffff708000040000) cover 512 MiB"
    ] * len(LARGE)  # fmt: skip
    # Markers are in tracefs alone.
    steps = {step for step in found.findings["step"] if step is not None}
    assert steps == (LARGE if kind == "args.txt" else set())


def test_executed_operands_show_what_a_real_kernel_invalidated() -> None:
    found = audited("range-operand", "insn.txt")
    assert checks_that_found(found) == ["operands", OPERATIONS]
    rows = found.findings.filter(found.findings["check"] == OPERATIONS)
    assert set(rows["step"]) == LARGE
    whole, part = rows["text"].to_list()
    assert whole == "asked for 8 GiB, the executed operands (0xffff708000040000) cover 512 MiB"
    # Two calls: 8 GiB, and 4 GiB, which come out right.
    assert "asked for 12 GiB" in part
    assert "(0xffff708000040000, 0x778000060000) cover 4.5 GiB" in part


@pytest.mark.parametrize("kind", ["visits-fgraph.txt", "fgraph.txt"])
def test_what_was_asked_of_a_range_is_not_in_function_graph_and_nothing_is_passed(
    kind: str,
) -> None:
    one = check(audited("range-operand", kind), OPERATIONS)
    assert (one.checked, one.unchecked) == (0, {"start and length were not recorded": 35})


def test_without_operands_the_release_of_a_broken_kernel_passes_nothing_of_8_gib(
    tmp_path: Path,
) -> None:
    """As recorded without the probes on instructions: entries are right, and the release lies."""
    text = lzma.decompress((BROKEN / "range-operand-args.txt.xz").read_bytes()).decode()
    kept = [line for line in text.splitlines(keepends=True) if " operand" not in line]
    path = tmp_path / "args.txt"
    path.write_text("".join(kept), encoding="utf-8")
    sidecar = (BROKEN / "range-operand-args.txt.xz.host.json").read_text(encoding="utf-8")
    (tmp_path / "args.txt.host.json").write_text(sidecar, encoding="utf-8")
    one = check(audit([traceview.open_trace(path)]), OPERATIONS)
    assert (one.found, one.checked) == (0, 33)
    (why,) = one.unchecked
    assert "the operand was not recorded: by the formula of 6.12.95-range-operand-reverted" in why
