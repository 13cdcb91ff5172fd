"""Real captures are reported clean, and what each of them cannot show is said."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pytest

import traceview
from tests.test_captures import definitions
from tests.truth import TRACES
from traceview.queries.audit import audit
from traceview.queries.audit_unmaps import (
    BY_ADDRESSES,
    BY_COUNTS,
    BY_RANGE,
    BY_TABLES,
    BY_VISITS,
    CENSORED,
    CONTAMINATED,
    ENTRY_ONLY,
    NO_RANGE_TRACED,
    NO_REFERENCES,
    NOT_SEEN,
    PUTS_NOT_TRACED,
    UNPLACED,
)
from traceview.symbols import SymbolSources
from traceview.trace import Settings

if TYPE_CHECKING:
    from traceview.queries.audit_results import Audit, Check

BEFORE_RETURN, BEFORE_RELEASE = "flushed-before-return", "table-before-release"
COVERED, OPERATIONS = "range-covered", "range-operations"

captures = pytest.mark.captures
present = pytest.mark.skipif(
    not TRACES.is_dir(), reason="no captures: ../shared/traces is not there"
)


@cache
def audited(path: str) -> Audit:
    file = TRACES / path
    symbols = SymbolSources(definitions(file.with_name(file.name.partition(".")[0])))
    return audit([traceview.open_trace(file, settings=Settings(symbols=symbols))])


def check(found: Audit, code: str) -> Check:
    (one,) = [one for one in found.checks if one.code == code]
    return one


# Per capture and check: how many were decided, by what, and why others were not.
EXPECTED: list[tuple[str, str, int, str | None, dict[str, int]]] = [
    ("observer/6.12-max/deep.txt.zst", BEFORE_RELEASE, 42, BY_VISITS, {}),
    ("observer/6.12-max/deep.txt.zst", COVERED, 0, None, {UNPLACED: 42}),
    ("observer/6.12-max/split.txt.zst", BEFORE_RELEASE, 42, BY_TABLES, {}),
    ("observer/6.12-max/split.txt.zst", BEFORE_RETURN, 42, BY_RANGE, {}),
    ("observer/6.1-max/split.txt.zst", BEFORE_RELEASE, 42, BY_COUNTS, {}),
    ("observer/6.12-neoverse-n1/deep.txt.zst", BEFORE_RETURN, 42, BY_VISITS, {}),
    ("observer/6.12-max/top.txt", BEFORE_RETURN, 0, None, {NOT_SEEN: 42}),
    ("insn/6.1-max/insn.txt.zst", "operands", 14_832, "executed operands", {}),
    ("insn/6.1-max/insn.txt.zst", "instruction-order", 14_832, "executed instructions", {}),
    ("insn/6.12-max/insn.txt.zst", "operands", 132, "executed operands", {}),
    ("insn/6.12-max/insn.txt.zst", "instruction-order", 132, "executed instructions", {}),
    ("insn/6.12-max/insn.txt.zst", OPERATIONS, 42, "executed operands", {}),
    ("insn/6.12-max/insn.txt.zst", COVERED, 42, "the range of the flush", {}),
    ("insn/6.12-max/insn.txt.zst", BEFORE_RELEASE, 42, BY_VISITS, {}),
    ("insn/6.12-neoverse-n1/insn.txt.zst", "operands", 14_832, "executed operands", {}),
    ("insn/6.12-neoverse-n1/insn.txt.zst", "instruction-order", 14_832, "executed instructions",
     {}),
    ("insn/6.12-neoverse-n1/insn.txt.zst", BEFORE_RELEASE, 42, BY_VISITS, {}),
    ("6.12-max/fgraph-full.txt.zst", BEFORE_RELEASE, 21, BY_VISITS, {}),
    ("6.12-max/kprobes.txt.zst", BEFORE_RELEASE, 0, None, {PUTS_NOT_TRACED: 71}),
    ("6.12-max/kprobes.txt.zst", OPERATIONS, 72,
     "the kernel's formula, operands not recorded", {}),
    ("6.12-max/kprobes-lost-pipe.txt.zst", BEFORE_RETURN, 64, BY_RANGE, {CONTAMINATED: 4}),
    ("6.12-max/function.txt.zst", BEFORE_RETURN, 0, None, {ENTRY_ONLY: 71}),
    ("6.12-max/perf-probe.perf.data", COVERED, 0, None, {NO_RANGE_TRACED: 4}),
    ("6.1-max/perf-probe.perf.data", BEFORE_RETURN, 0, None, {NO_REFERENCES: 4}),
    ("6.1-max/pf-fgraph.pftrace.zst", BEFORE_RELEASE, 21, BY_VISITS, {}),
    ("6.1-max/storm-kprobes.txt.zst", BEFORE_RELEASE, 8, BY_ADDRESSES, {}),
    ("6.12-neoverse-n1/kprobes-local.txt.zst", COVERED, 68, "the address of each visit", {}),
    ("6.12-neoverse-n1/tc-kprobes-local.dat.zst", BEFORE_RELEASE, 4, BY_VISITS, {}),
]  # fmt: skip


@captures
@present
@pytest.mark.parametrize(("path", "code", "checked", "by", "unchecked"), EXPECTED)
def test_a_real_capture_is_clean_and_says_by_what(
    path: str, code: str, checked: int, by: str | None, unchecked: dict[str, int]
) -> None:
    found = audited(path)
    one = check(found, code)
    assert found.is_clean
    assert one.checked == checked
    assert one.unchecked == unchecked
    assert by is None or by in one.by


@captures
@present
def test_lost_and_cut_off_unmaps_are_not_judged() -> None:
    found = audited("6.12-neoverse-n1/fgraph-lost-overwrite.txt")
    assert found.is_clean
    assert set(check(found, BEFORE_RETURN).unchecked) <= {CENSORED, CONTAMINATED}


@captures
@present
def test_faults_of_the_vcpu_inside_windows_are_counted_in_a_storm() -> None:
    (one,) = audited("6.1-max/storm-kprobes.txt.zst").bystanders
    assert one.recorded == 2487
    assert one.inside == 2
