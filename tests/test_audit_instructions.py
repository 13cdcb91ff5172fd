"""With executed instructions the audit checks every operand, and where every DSB stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import traceview
from tests.writers import walks as w
from traceview.queries.audit import audit
from traceview.queries.audit_flushes import NO_INSTRUCTION
from traceview.queries.range_operations import DESCENDING_30, DESCENDING_31, MAX_PAGES, sequence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from traceview.queries.audit_results import Audit

GIB = 1 << 30
PER_PTE = w.unmap(3, deferred=False)


def executed(
    tmp_path: Path,
    *calls: w.Call,
    code: Sequence[str] = w.FLUSH_CODE,
    operands: Sequence[int] = (),
) -> Audit:
    path = tmp_path / "insn.txt"
    path.write_text(w.executed_text(calls, code, operands), encoding="utf-8")
    return audit([traceview.open_trace(path)])


def texts(found: Audit, code: str) -> list[str]:
    return found.findings.filter(found.findings["check"] == code)["text"].to_list()


def counts(found: Audit) -> dict[str, tuple[int, int]]:
    return {one.code: (one.checked, one.found) for one in found.checks}


def without(*places: int) -> tuple[str, ...]:
    """The code of a flush with instructions left out."""
    return tuple(line for at, line in enumerate(w.FLUSH_CODE) if at not in places)


def test_the_code_of_the_kernel_is_clean(tmp_path: Path) -> None:
    found = executed(tmp_path, PER_PTE)
    assert found.is_clean
    assert counts(found)["instruction-order"] == counts(found)["operands"] == (5, 0)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (without(0), "that no DSB precedes"),
        (without(3), "dropped stage 1 before a DSB had waited"),
        (without(5), "returned with a TLBI that no DSB ISH had waited for"),
        (without(2, 4), "executed no TLBI"),
        (("dsb: option=nshst", *w.FLUSH_CODE[1:]), "that no DSB precedes"),
        ((*w.FLUSH_CODE[:5], "dsb: option=nsh"), "returned with a TLBI that no DSB ISH"),
        ((*w.FLUSH_CODE[2:3], *w.FLUSH_CODE), "that no DSB precedes"),
    ],
)  # fmt: skip
def test_a_barrier_that_is_missing_or_too_weak_is_found(
    tmp_path: Path, code: tuple[str, ...], said: str
) -> None:
    found = texts(executed(tmp_path, PER_PTE, code=code), "instruction-order")
    assert len(found) == 5
    assert all(said in text for text in found)


def test_a_tlbi_of_another_page_than_was_asked_for_is_found(tmp_path: Path) -> None:
    code = tuple(line.replace("{ipa:#x}", "0x80000") for line in w.FLUSH_CODE)
    found = executed(tmp_path, PER_PTE, code=code)
    # The first leaf and both tables are at that page.
    assert counts(found)["operands"] == (5, 2)
    assert texts(found, "operands")[0].endswith("executed the operand 524288")


@pytest.mark.parametrize(("level", "bad"), [(3, 0), (2, 3)])
def test_the_level_of_an_operand_must_be_that_of_its_call(
    tmp_path: Path, level: int, bad: int
) -> None:
    hint = (4 | level) << 44  # TTL: 4K pages, and the level; above the five digits of the page
    single = f"tlbi: op=ipas2e1is xt={hint >> 20:#x}" + "{ipa:05x}"
    leaves = w.unmap(3, deferred=False, tables=0)
    found = executed(tmp_path, leaves, code=(*w.BEFORE, single, *w.AFTER))
    assert counts(found)["operands"] == (3, bad)


def operands(start: int, pages: int) -> list[int]:
    found = sequence(DESCENDING_31, start, pages, w.PAGE)
    return [one.operand for one in found if one.operand is not None]


def test_the_ranges_that_were_executed_cover_what_was_unmapped(tmp_path: Path) -> None:
    unmap = w.visible([w.unmap(64, deferred=True)], {*w.EVERYTHING} - {w.OUTER})[0]
    found = executed(tmp_path, unmap, operands=operands(w.START, 64))
    assert found.is_clean
    assert counts(found)["range-operations"] == (1, 0)
    (one,) = [one for one in found.checks if one.code == "range-operations"]
    assert one.by == {"executed operands": 1}


def test_a_range_that_was_executed_too_short_is_found(tmp_path: Path) -> None:
    unmap = w.visible([w.unmap(64, deferred=True)], {*w.EVERYTHING} - {w.OUTER})[0]
    found = executed(tmp_path, unmap, operands=operands(w.START, 32))
    shown = ", ".join(f"{one:#x}" for one in operands(w.START, 32))
    said = f"asked for 256 KiB, the executed operands ({shown}) cover 128 KiB"
    assert texts(found, "range-operations") == texts(found, "operands") == [said]


def test_512_mib_of_8_gib_executed_outside_an_unmap_are_found(tmp_path: Path) -> None:
    (buggy,) = sequence(DESCENDING_30, GIB, MAX_PAGES, w.PAGE)
    assert buggy.operand is not None
    flush = w.visible([w.dirty_log(GIB, MAX_PAGES)], {w.RANGE})[0]
    found = executed(tmp_path, PER_PTE, flush, operands=[buggy.operand])
    assert found.findings["severity"].to_list() == ["finding", "finding"]
    assert found.findings["start_ns"].n_unique() == 1
    said = "asked for 8 GiB, the executed operands (0xffff708000040000) cover 512 MiB"
    assert texts(found, "range-operations") == texts(found, "operands") == [said]
    # Five flushes of the unmap, and the one that no unmap asked for.
    assert counts(found)["operands"] == (6, 1)
    assert counts(found)["instruction-order"] == (6, 0)


def test_a_flush_outside_an_unmap_is_judged_like_one_inside(tmp_path: Path) -> None:
    found = executed(tmp_path, w.flush(w.START, 3), code=without(5))
    (text,) = texts(found, "instruction-order")
    assert "returned with a TLBI that no DSB ISH had waited for" in text


@pytest.mark.parametrize("flush", [w.flush(GIB, 3), w.Call(w.RANGE, {"start": GIB, "pages": 8})])
def test_a_flush_of_which_only_entry_and_return_were_recorded_is_not_judged(
    tmp_path: Path, flush: w.Call
) -> None:
    path = tmp_path / "insn.txt"
    bare = w.executed_text([flush], (), ())
    other = w.executed_text([PER_PTE])
    path.write_text(other + "".join(bare.splitlines(keepends=True)[-2:]), encoding="utf-8")
    found = audit([traceview.open_trace(path)])
    checks = {one.code: one for one in found.checks}
    assert found.is_clean
    for code in ("operands", "instruction-order"):
        assert checks[code].checked == 5
        assert checks[code].unchecked == {NO_INSTRUCTION: 1}


RECORDED = Path(__file__).parent / "data" / "range-operands-6.12-max.txt"


def test_operands_that_a_real_kernel_was_seen_to_use_are_those_of_the_formula() -> None:
    text = RECORDED.read_text(encoding="utf-8")
    used = [int(one, 16) for one in re.findall(r" r?ipas2e1is=(\w+)", text)]
    expected = [
        one.start >> 12 if one.operand is None else one.operand
        for start, pages in re.findall(r" start=(\w+) pages=(\d+)", text)
        for one in sequence(DESCENDING_31, int(start, 16), int(pages), w.PAGE, lpa2=True)
    ]
    assert used == expected
    assert len(used) == 3


def test_a_real_recording_of_operands_is_clean_by_them() -> None:
    found = audit([traceview.open_trace(RECORDED)])
    (one,) = [one for one in found.checks if one.code == "range-operations"]
    assert found.is_clean
    assert (one.checked, one.by) == (2, {"recorded operands": 2})
