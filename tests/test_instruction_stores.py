"""Stores to page-table entries that an emulator saw executed, and what an audit makes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pytest

import traceview
from tests.writers.ftrace_text import Events, Task, insn_header
from tests.writers.walks import PUT, RANGE, START, UNMAP, WALKER
from traceview.queries.audit import audit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from traceview.queries.audit_results import Audit, Check

CODE = "entries-invalidated"
LINEAR = 0xFFFF_0000_0000_0000
ROOT, MIDDLE, LAST = 0x4300_0000, 0x4310_0000, 0x4320_0000  # physical, of pages of tables
LEAF = 0x4567_87DF
FLUSH = (
    "dsb: option=ishst", "tlbi: op=ipas2e1is xt={page:#x}", "dsb: option=ish",
    "tlbi: op=vmalle1is xt=0x0", "dsb: option=ish", "isb: option=sy",
)  # fmt: skip
HINT = 1 << 46  # TTL: 4K pages
ONE, OTHER = Task("vm-1", 41), Task("vm-2", 42)


class Guest:
    """A text of executed instructions under construction."""

    def __init__(self, task: Task = ONE, cpu: int = 0, made: Events | None = None) -> None:
        self.task, self.cpu = task, cpu
        self.made = made or Events(style="ns", lines=[insn_header()])

    def say(self, *bodies: str) -> Guest:
        for body in bodies:
            self.made.event(body, cpu=self.cpu, task=self.task)
        return self

    def enter(self, name: str, *registers: int, more: str = "") -> Guest:
        args = "".join(f" x{at}={value:#x}" for at, value in enumerate(registers))
        return self.say(f"{name}: ({name}+0x0/0x100){args}{more}")

    def leave(self, name: str) -> Guest:
        return self.say(f"{name}_ret: (0xffff800080060d88 <- {name}) ret=0x0")

    def put(self, address: int) -> Guest:
        return self.enter(PUT, address).leave(PUT)

    def flush(self, ipa: int, *, code: Sequence[str] = FLUSH, hint: int = 0) -> Guest:
        name = "__kvm_tlb_flush_vmid_ipa"
        self.enter(name, 0xFFFF_8000_0000_1000, ipa, 0x7FFF_FFFF)
        return self.say(*(one.format(page=ipa >> 12 | hint) for one in code)).leave(name)

    def range(self, operands: Sequence[str], ipa: int = START, pages: int = 512) -> Guest:
        self.enter(RANGE, 0xFFFF_8000_0000_1000, ipa, pages).say(FLUSH[0])
        return self.say(*operands, *FLUSH[2:]).leave(RANGE)

    def clear(self, pa: int, old: int, ipa: int, level: int, *, new: int = 0) -> Guest:
        return self.say(
            f"pte: va={LINEAR + pa:#x} pa={pa:#x} old={old:#x} new={new:#x}"
            f" addr={ipa:#x} level={level} pc=0xffff80008009dca8"
        )

    def text(self) -> str:
        return "".join(self.made.lines)


def visit(guest: Guest, pa: int, old: int, level: int, ipa: int = START) -> Guest:
    return guest.enter(WALKER, 1, 2, more=f" addr={ipa:#x} level={level}").clear(
        pa, old, ipa, level
    )


def begun(guest: Guest, pages: int = 1) -> Guest:
    return guest.enter(UNMAP, 0xFFFF_0000_0123_4000, START, pages << 12)


def per_pte(guest: Guest, *, table_hint: int = 0) -> Guest:
    """One page and the two tables that become empty, as 6.12 does without deferral."""
    begun(guest)
    visit(guest, LAST, LEAF, 3).flush(START, hint=HINT | 3 << 44).put(LINEAR + LAST).leave(WALKER)
    for level, (entry, child) in ((2, (MIDDLE, LAST)), (1, (ROOT, MIDDLE))):
        hint = (HINT | level << 44) if table_hint else 0
        visit(guest, entry, child | 3, level).flush(START, hint=hint)
        guest.put(LINEAR + entry).put(LINEAR + child).leave(WALKER)
    return guest.leave(UNMAP)


def deferred(guest: Guest, *, eager: bool, operands: Sequence[str]) -> Guest:
    begun(guest, 512)
    for page in range(2):
        ipa = START + page * 4096
        visit(guest, LAST + page * 8, LEAF + page * 4096, 3, ipa)
        guest.put(LINEAR + LAST + page * 8).leave(WALKER)
    visit(guest, MIDDLE, LAST | 3, 2)
    if eager:
        guest.flush(START)
    guest.put(LINEAR + MIDDLE).put(LINEAR + LAST).leave(WALKER)
    return guest.range(operands).leave(UNMAP)


def operand(pages: int, ipa: int = START) -> str:
    """One range operation over 64 (NUM 0, SCALE 1) or 1024 pages."""
    num, scale = {64: (0, 1), 512: (7, 1)}[pages]
    return f"tlbi: op=ripas2e1is xt={1 << 46 | scale << 44 | num << 39 | ipa >> 12:#x}"


def audited(tmp_path: Path, guest: Guest) -> tuple[Audit, Check | None, list[str]]:
    path = tmp_path / "insn.txt"
    path.write_text(guest.text(), encoding="utf-8")
    found = audit([traceview.open_trace(path)])
    check = next((one for one in found.checks if one.code == CODE), None)
    texts = found.findings.filter(found.findings["check"] == CODE)["text"].to_list()
    return found, check, texts


def test_a_page_and_its_tables_invalidated_one_by_one_are_clean(tmp_path: Path) -> None:
    found, check, _ = audited(tmp_path, per_pte(Guest()))
    assert check is not None
    assert (check.unit, check.checked, check.found) == ("unmap", 1, 0)
    assert found.is_clean


def test_a_range_that_covers_all_entries_is_clean(tmp_path: Path) -> None:
    guest = deferred(Guest(), eager=True, operands=[operand(512)])
    found, check, _ = audited(tmp_path, guest)
    assert found.is_clean
    assert check is not None
    assert check.checked == 1


def test_a_table_that_waits_for_the_range_is_released_too_early(tmp_path: Path) -> None:
    guest = deferred(Guest(), eager=False, operands=[operand(512)])
    _, _, texts = audited(tmp_path, guest)
    assert texts == [
        (
            "1 page-table page was released before the invalidation of the entry that led there was"
            " complete (the first: 0x80000000, level 2)"
        )
    ]


def test_an_entry_beyond_the_range_that_was_executed_is_found(tmp_path: Path) -> None:
    guest = begun(Guest(), 512)
    for page in (0, 64):
        ipa = START + page * 4096
        visit(guest, LAST + page * 8, LEAF, 3, ipa).put(LINEAR + LAST + page * 8).leave(WALKER)
    guest.range([operand(64)]).leave(UNMAP)
    _, _, texts = audited(tmp_path, guest)
    assert texts == [
        (
            "1 of 2 cleared entries was not invalidated before it returned (the first: 0x80040000,"
            " level 3)"
        )
    ]


@pytest.mark.parametrize(
    ("code", "clean"),
    [
        (FLUSH, True),
        (FLUSH[1:], False),  # nothing shows the store
        (("dsb: option=nshst", *FLUSH[1:]), False),
        (FLUSH[:2], False),  # nothing waits
        ((*FLUSH[:2], "dsb: option=nsh"), False),
        ((FLUSH[0], "tlbi: op=ipas2e1 xt={page:#x}", *FLUSH[2:]), False),  # of this CPU alone
        ((FLUSH[0], "tlbi: op=vmalle1is xt=0x0", *FLUSH[2:]), False),  # of stage 1 alone
        ((FLUSH[0], "tlbi: op=ipas2e1is xt=0x99", *FLUSH[2:]), False),
        ((FLUSH[0], "tlbi: op=vmalls12e1is xt=0x0", *FLUSH[2:]), True),
        ((FLUSH[0], "tlbi: op=ipas2le1is xt={page:#x}", *FLUSH[2:]), True),
    ],
)
def test_a_leaf_needs_a_barrier_a_tlbi_for_all_cpus_and_a_barrier(
    tmp_path: Path, code: Sequence[str], *, clean: bool
) -> None:
    guest = visit(begun(Guest()), LAST, LEAF, 3).flush(START, code=code)
    guest.put(LINEAR + LAST).leave(WALKER).leave(UNMAP)
    _, _, texts = audited(tmp_path, guest)
    assert (not texts) == clean
    assert all(one.startswith("1 cleared entry was not invalidated before") for one in texts)


def test_an_operation_on_the_last_level_alone_leaves_a_table_in_the_walk_caches(
    tmp_path: Path,
) -> None:
    guest = visit(begun(Guest()), MIDDLE, LAST | 3, 2)
    guest.flush(START, code=(FLUSH[0], "tlbi: op=ipas2le1is xt={page:#x}", *FLUSH[2:]))
    guest.put(LINEAR + MIDDLE).put(LINEAR + LAST).leave(WALKER).leave(UNMAP)
    _, _, texts = audited(tmp_path, guest)
    (text,) = texts
    assert text.startswith("1 cleared entry was not invalidated before it returned")
    assert "1 page-table page was released before" in text


def test_a_level_is_no_hint_for_an_entry_that_led_to_a_table(tmp_path: Path) -> None:
    _, _, texts = audited(tmp_path, per_pte(Guest(), table_hint=1))
    assert texts == [
        (
            "2 table entries were invalidated with the hint of a level, which speaks of leaves"
            " alone (36e008323926)"
        )
    ]


def test_what_one_task_invalidates_is_no_invalidation_of_another(tmp_path: Path) -> None:
    made = Events(style="ns", lines=[insn_header()])
    one, other = Guest(ONE, 0, made), Guest(OTHER, 1, made)
    visit(begun(one), LAST, LEAF, 3)
    visit(begun(other), LAST + 0x1000, LEAF, 3)
    one.flush(START).put(LINEAR + LAST).leave(WALKER).leave(UNMAP)
    other.put(LINEAR + LAST + 0x1000).leave(WALKER).leave(UNMAP)
    found, _, texts = audited(tmp_path, one)
    assert texts == [
        "1 cleared entry was not invalidated before it returned (the first: 0x80000000, level 3)"
    ]
    mine = found.findings.filter(found.findings["check"] == CODE)
    assert mine["tid"].to_list() == [OTHER.tid]


def test_an_entry_that_was_not_read_is_no_pass(tmp_path: Path) -> None:
    guest = begun(Guest()).enter(WALKER, 1, 2).say(f"pte: va={LINEAR + LAST:#x} new=0x0 pc=0x1")
    guest.flush(START).put(LINEAR + LAST).leave(WALKER).leave(UNMAP)
    _, check, _ = audited(tmp_path, guest)
    assert check is not None
    assert check.checked == 0
    assert sum(check.unchecked.values()) == 1


def test_stores_that_clear_nothing_have_nothing_to_check(tmp_path: Path) -> None:
    guest = begun(Guest()).clear(LAST, 0x5A00, START, 3).leave(UNMAP)
    guest.say("tracing_mark_write: done")
    _, check, _ = audited(tmp_path, guest)
    assert check is not None
    assert (check.checked, check.idle) == (0, 1)


def test_without_stores_the_question_is_not_asked(tmp_path: Path) -> None:
    guest = begun(Guest()).enter(WALKER, 1, 2).flush(START).leave(WALKER).leave(UNMAP)
    assert audited(tmp_path, guest)[1] is None


def test_stores_are_counted_and_their_fields_read_when_all_is_wanted(tmp_path: Path) -> None:
    path = tmp_path / "insn.txt"
    path.write_text(per_pte(Guest()).text(), encoding="utf-8")
    analysis = traceview.analyze(traceview.open_trace(path))
    counted = analysis.event_counts.filter(pl.col("name").cast(pl.String) == "pte")
    assert counted["count"].to_list() == [3]
    assert analysis.unmaps.select("leaves", "tlbi_insns", "dsb_insns").row(0) == (1, 6, 9)
    read: dict[str, list[int]] = {}

    def hear(_source: int, table: str, rows: pl.DataFrame) -> None:
        if table == "args":
            for name, value in rows.select(pl.col("name").cast(pl.String), "value").iter_rows():
                read.setdefault(name, []).append(value)

    traceview.analyze(traceview.open_trace(path), sink=hear, all_events=True)
    assert read["old"] == [LEAF, LAST | 3, MIDDLE | 3]
    assert read["new"] == [0, 0, 0]
    assert read["pa"] == [LAST, MIDDLE, ROOT]
    assert read["va"] == [LINEAR + pa - (1 << 64) for pa in (LAST, MIDDLE, ROOT)]
