"""The audit finds both historical bugs, passes the fixed order, says what it cannot check."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import traceview
from tests.writers import walks as w
from tests.writers.events import Recorder
from tests.writers.ftrace_text import Events
from traceview.cli.app import app
from traceview.errors import QueryError
from traceview.queries.audit import audit
from traceview.queries.audit_source import LOSING
from traceview.queries.audit_unmaps import (
    ALIKE,
    BY_ADDRESSES,
    BY_COUNTS,
    BY_RANGE_ALONE,
    BY_VISITS,
    CENSORED,
    CONTAMINATED,
    FLUSH_UNPLACED,
    NO_RANGE_TRACED,
    NO_REFERENCES,
    NOT_SEEN,
    PUTS_NOT_TRACED,
    UNPLACED,
)
from traceview.queries.filters import Filters
from traceview.queries.range_operations import MAX_PAGES
from traceview.report.audit import audit_json, audit_report
from traceview.trace import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from traceview.queries.audit_results import Audit, Check
    from traceview.trace import Trace

FIXED = w.unmap(4, deferred=True)
UNFIXED = w.unmap(4, deferred=True, eager=False)
PER_PTE = w.unmap(4, deferred=False)
# Somewhere outside unmaps, so that the function is known to be traced: break-before-make.
ELSEWHERE = w.flush(0x4000_0000, 3)
GIB = 1 << 30
BEFORE_RETURN, BEFORE_RELEASE = "flushed-before-return", "table-before-release"
COVERED, OPERATIONS = "range-covered", "range-operations"


def audited(*traces: Trace, filters: Filters | None = None) -> Audit:
    return audit(traces, filters=filters)


def of(*calls: w.Call, only: tuple[str, ...] = w.EVERYTHING, **facts: Any) -> Audit:
    """The audit of what a tracer of *only* sees of *calls*."""
    made = w.recorded(w.visible(calls, only))
    return audited(made.trace(settings=Settings(facts=facts)))


def check(found: Audit, code: str) -> Check:
    (one,) = [one for one in found.checks if one.code == code]
    return one


def texts(found: Audit, code: str) -> list[str]:
    return found.findings.filter(found.findings["check"] == code)["text"].to_list()


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["audit", *arguments], env={"COLUMNS": "100"})
    return done.exit_code, done.stdout


# ---- f62d4c3eb687: tables released before their invalidation


def written(tmp_path: Path, form: str, *calls: w.Call) -> str:
    """A file of *calls* in the form that its name says."""
    path = tmp_path / f"trace.{form}"
    if form == "perfetto":
        path.write_bytes(w.perfetto_trace(calls))
    else:
        text = w.graph_text(calls) if form == "graph" else w.kprobe_text(calls)
        path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("form", ["graph", "kprobes", "perfetto"])
def test_tables_released_before_the_flush_of_the_range_are_found_in_every_format(
    tmp_path: Path, form: str
) -> None:
    code, text = run(written(tmp_path, form, ELSEWHERE, UNFIXED), "--json")
    found = json.loads(text)
    assert code == 1
    (one,) = found["findings"]
    assert (one["check"], one["severity"]) == (BEFORE_RELEASE, "finding")
    assert one["text"].startswith("2 page-table pages were released before")
    assert "f62d4c3eb687" in one["text"]


@pytest.mark.parametrize("form", ["graph", "kprobes", "perfetto"])
@pytest.mark.parametrize("calls", [FIXED, PER_PTE], ids=["deferred", "per-pte"])
def test_the_fixed_order_is_clean_in_every_format(tmp_path: Path, form: str, calls: w.Call) -> None:
    code, text = run(written(tmp_path, form, ELSEWHERE, calls), "--json")
    checks = {one["check"]: one for one in json.loads(text)["checks"]}
    assert code == 0
    assert checks[BEFORE_RETURN]["checked"] == checks[BEFORE_RELEASE]["checked"] == 1
    assert checks[BEFORE_RELEASE]["by"] == {BY_VISITS: 1}


NO_WALKER = tuple(name for name in w.EVERYTHING if name != w.WALKER)


@pytest.mark.parametrize(("calls", "bad"), [(FIXED, 0), (UNFIXED, 1), (PER_PTE, 0)])
def test_the_addresses_of_references_tell_tables_without_the_walker(
    calls: w.Call, bad: int
) -> None:
    one = check(of(ELSEWHERE, calls, only=NO_WALKER), BEFORE_RELEASE)
    assert (one.checked, one.found, one.by) == (1, bad, {BY_ADDRESSES: 1})


def counted(*calls: w.Call) -> Audit:
    """Without the walker and without arguments of references: numbers alone are left."""
    seen = w.without_arguments(w.visible(calls, NO_WALKER), {w.PUT})
    return audited(w.recorded(seen).trace())


def test_more_references_than_pages_prove_tables_without_walker_and_addresses() -> None:
    found = counted(ELSEWHERE, UNFIXED)
    assert texts(found, BEFORE_RELEASE)[0].startswith("at least 2 page-table pages")


def test_references_of_a_range_with_holes_prove_nothing() -> None:
    half = w.unmap(2, deferred=True, eager=False)
    wide = w.Call(w.UNMAP, {"addr": w.START, "size": 64 * w.PAGE},
                  (*half.inner[:-1], w.range_flush(w.START, 64)))  # fmt: skip
    found = counted(ELSEWHERE, wide)
    assert found.is_clean
    assert check(found, BEFORE_RELEASE).unchecked == {ALIKE: 1}


def test_by_counts_two_references_behind_an_invalidation_are_a_table() -> None:
    one = check(counted(ELSEWHERE, PER_PTE), BEFORE_RELEASE)
    assert (one.checked, one.found, one.by) == (1, 0, {BY_COUNTS: 1})


def test_an_early_release_is_no_finding_while_the_invalidation_may_be_invisible() -> None:
    found = of(UNFIXED)
    assert found.is_clean
    assert check(found, BEFORE_RELEASE).unchecked == {NOT_SEEN: 1}


def test_an_early_release_is_a_finding_once_it_is_stated_what_was_traced() -> None:
    stated = Settings(traced=frozenset(w.EVERYTHING))
    assert texts(audited(w.recorded([UNFIXED]).trace(settings=stated)), BEFORE_RELEASE)


def test_under_nvhe_a_stated_function_is_still_invisible() -> None:
    host = [name for name in w.EVERYTHING if name not in {w.FLUSH, w.RANGE}]
    made = w.recorded(w.visible([UNFIXED], host))
    found = audited(made.trace(settings=Settings(traced=frozenset(w.EVERYTHING))))
    assert found.is_clean
    assert check(found, BEFORE_RELEASE).unchecked == {NOT_SEEN: 1}


# ---- an invalidation completed before the unmap returned


def cut(call: w.Call, symbol: str) -> w.Call:
    """*call* by a kernel that forgot *symbol*."""
    kept = tuple(cut(one, symbol) for one in call.inner if one.symbol != symbol)
    return w.Call(call.symbol, call.args, kept)


@pytest.mark.parametrize("only", [w.EVERYTHING, NO_WALKER])
def test_an_unmap_that_forgets_its_invalidations_is_found(only: tuple[str, ...]) -> None:
    found = of(PER_PTE, cut(w.unmap(3, deferred=False, tables=0), w.FLUSH), only=only)
    assert texts(found, BEFORE_RETURN) == [
        "3 entries were cleared, and no invalidation follows before the unmap returns"
    ]


@pytest.mark.parametrize("only", [w.EVERYTHING, NO_WALKER])
def test_one_leaf_that_is_not_invalidated_is_found(only: tuple[str, ...]) -> None:
    found = of(one_leaf_not_invalidated(), only=only)
    assert texts(found, BEFORE_RETURN)[0].startswith("1 entry was cleared without")


def one_leaf_not_invalidated() -> w.Call:
    whole = w.unmap(4, deferred=False)
    visits = list(whole.inner)
    visits[2] = cut(visits[2], w.FLUSH)
    return w.Call(whole.symbol, whole.args, tuple(visits))


def test_by_counts_a_flush_of_a_page_speaks_for_one_reference() -> None:
    (text,) = texts(counted(one_leaf_not_invalidated()), BEFORE_RETURN)
    assert text.startswith("1 entry was cleared without")


def test_by_counts_alone_a_leaf_can_pass_for_a_table_and_that_is_said() -> None:
    seen = w.visible([one_leaf_not_invalidated()], NO_WALKER)
    found = audited(w.recorded(w.without_arguments(seen, {w.PUT, w.FLUSH})).trace())
    assert found.is_clean
    assert "can look like a part of a table" in str(check(found, BEFORE_RETURN).by)


def test_cache_maintenance_counts_leaves_where_references_do_not() -> None:
    visits = [w.Call(w.WALKER, {}, (w.flush(w.START, 3), w.Call(w.CMO))), w.Call(w.CMO)]
    unmap = w.Call(w.UNMAP, {"addr": w.START, "size": 2 * w.PAGE}, tuple(visits))
    assert len(texts(of(unmap, only=(w.UNMAP, w.FLUSH, w.CMO)), BEFORE_RETURN)) == 1


@pytest.mark.parametrize("only", [w.EVERYTHING, NO_WALKER])
def test_a_leaf_cleared_after_the_flush_of_the_range_is_found(only: tuple[str, ...]) -> None:
    late = w.unmap(3, deferred=True, tables=0)
    late = w.Call(late.symbol, late.args, (*late.inner[:2], late.inner[3], late.inner[2]))
    (text,) = texts(of(late, only=only), BEFORE_RETURN)
    assert text.startswith("1 entry was cleared after the last flush of the range had begun")


@pytest.mark.parametrize(
    ("calls", "only", "why"),
    [
        (PER_PTE, (w.UNMAP, w.FLUSH), NO_REFERENCES),
        (PER_PTE, (w.UNMAP, w.PUT), NOT_SEEN),
        (FIXED, (w.UNMAP, w.FLUSH, w.PUT), NO_RANGE_TRACED),
    ],
)
def test_what_was_not_traced_is_a_reason_and_no_pass(
    calls: w.Call, only: tuple[str, ...], why: str
) -> None:
    one = check(of(calls, only=only), BEFORE_RETURN)
    assert (one.checked, one.unchecked) == (0, {why: 1})


def test_without_references_releases_are_not_checked() -> None:
    one = check(of(FIXED, only=(w.UNMAP, w.FLUSH, w.RANGE)), BEFORE_RELEASE)
    assert (one.checked, one.unchecked) == (0, {PUTS_NOT_TRACED: 1})


def test_an_unmap_of_nothing_has_nothing_to_check() -> None:
    found = of(PER_PTE, w.Call(w.UNMAP, {"addr": 0, "size": w.PAGE}))
    assert [one.idle for one in found.checks[:3]] == [1, 1, 1]


EMPTY = w.unmap(0, deferred=True, tables=0)


def test_a_deferring_unmap_of_nothing_flushes_its_range_and_has_nothing_to_check() -> None:
    found = of(EMPTY, FIXED)
    one = check(found, BEFORE_RETURN)
    assert (one.checked, one.idle) == (1, 1)
    assert found.windows["unmaps"].to_list() == found.windows["windows"].to_list() == [1]
    assert found.windows["leaves_unknown"].to_list() == [0]


def test_where_references_were_not_traced_it_is_said_that_an_unmap_may_have_been_empty() -> None:
    found = of(EMPTY, FIXED, only=(w.UNMAP, w.FLUSH, w.OUTER, w.RANGE))
    one = check(found, BEFORE_RETURN)
    assert (one.checked, one.by) == (2, {BY_RANGE_ALONE: 2})
    assert found.windows["leaves_unknown"].to_list() == [2]
    text = " ".join(line.plain.strip() for line in audit_report(found, 100))
    assert "of 2 unmaps whether anything was mapped is not known" in text


def test_references_show_that_something_was_mapped_also_where_leaves_cannot_be_counted() -> None:
    found = counted(ELSEWHERE, UNFIXED)
    assert found.kept.unmaps["leaves"].to_list() == [None]
    assert found.windows["leaves_unknown"].to_list() == [0]


def test_cut_off_and_lossy_unmaps_are_counted_and_not_judged() -> None:
    made = w.recorded([ELSEWHERE])
    first = len(made.events)
    w.recorded([UNFIXED], made)
    made.losses.append({"cpu": 0, "kind": "lost_events", "from_seq": first + 3,
                        "to_seq": first + 4})  # fmt: skip
    made.enter(w.UNMAP)
    found = audited(made.trace())
    assert found.is_clean
    assert check(found, BEFORE_RELEASE).unchecked == {CONTAMINATED: 1, CENSORED: 1}


def test_where_losses_are_not_placed_what_is_missing_may_have_been_lost() -> None:
    made = w.recorded([ELSEWHERE, FIXED, UNFIXED, FIXED])
    for seq in range(len(made.events)):
        if made.events[seq]["name"] == f"{w.UNMAP}_ret":
            made.events[seq].update(symbol="lost", name="lost")
            break
    made.facts["loss_known"] = False
    found = audited(made.trace())
    assert found.is_clean
    assert check(found, BEFORE_RELEASE).unchecked[LOSING] == 1


@pytest.mark.parametrize("batch_events", [7, 50])
def test_the_result_does_not_depend_on_the_batches(batch_events: int) -> None:
    made = w.recorded([ELSEWHERE, UNFIXED, w.dirty_log(GIB, MAX_PAGES), FIXED, PER_PTE])
    settings = Settings(facts={"kernel": "6.8.1"})
    whole = audited(made.trace(settings=settings))
    parts = audited(made.trace(batch_events, settings=settings))
    assert parts.findings.equals(whole.findings)
    assert parts.windows.equals(whole.windows)
    assert [one.checked for one in parts.checks] == [one.checked for one in whole.checks]


@pytest.mark.parametrize("batch_events", [1, 2, 3])
def test_operands_wait_for_the_end_of_their_flush(batch_events: int) -> None:
    made = flush_with(0xFFFF_7080_0004_0000)
    found = audited(made.trace(batch_events, settings=Settings(facts={"kernel": "6.12.95"})))
    assert found.findings["severity"].to_list() == ["finding"]


VALUES = st.sampled_from(
    [
        0,
        1,
        3,
        7,
        w.PAGE,
        w.START,
        511,
        MAX_PAGES,
        1 << 40,
        1 << 52,
        1 << 31,
        (1 << 63) - 1,
        -1,
        -(1 << 63),
    ]
)
SYMBOLS = st.sampled_from([*w.EVERYTHING, w.VMID, "__kvm_tlb_flush_vmid_ipa_nsh"])
NAMES = st.sampled_from(["addr", "size", "ipa", "level", "start", "pages", "mmu", "ripas2e1is"])


@settings(max_examples=25, deadline=None)
@given(
    events=st.lists(
        st.tuples(
            st.sampled_from(["entry", "entry", "exit", "instant"]),
            SYMBOLS,
            st.dictionaries(NAMES, VALUES, max_size=3),
            st.sampled_from([100, 200]),
        ),
        max_size=60,
    ),
    cuts=st.integers(1, 20),
    kernel=st.sampled_from([None, "6.8.1", "6.6.3", "6.12.95"]),
    page_bytes=st.sampled_from([4096, 16384, 65536]),
)
def test_any_events_give_the_same_audit_in_any_batches(
    events: list[tuple[str, str, dict[str, int], int]],
    cuts: int,
    kernel: str | None,
    page_bytes: int,
) -> None:
    made = Recorder()
    for phase, symbol, args, tid in events:
        made.on(tid=tid, cpu=tid // 200).write(f"{phase}_{symbol}", phase, symbol=symbol, **args)
    facts = Settings(facts={"kernel": kernel, "page_size_bytes": page_bytes})
    whole = audited(made.trace(settings=facts))
    parts = audited(made.trace(cuts, settings=facts))
    assert "".join(audit_json(whole)).startswith("{")
    assert audit_report(whole, 60)
    unmap_checks = {BEFORE_RETURN, BEFORE_RELEASE, COVERED}
    for one, other in zip(whole.checks, parts.checks, strict=True):
        if one.code in unmap_checks:
            assert one == other


# ---- what was invalidated is what was unmapped


def test_the_flush_of_a_range_must_cover_what_was_unmapped() -> None:
    short = w.unmap(8, deferred=True, tables=0)
    short = w.Call(short.symbol, short.args, (*short.inner[:-1], w.range_flush(w.START, 7)))
    assert texts(of(short), COVERED) == ["the flush of the range covers 28672 of 32768 bytes"]


def test_a_range_flushed_in_parts_covers_what_the_parts_cover() -> None:
    whole = w.unmap(8, deferred=True, tables=0)
    parts = (w.range_flush(w.START, 3), w.range_flush(w.START + 3 * w.PAGE, 5))
    found = of(w.Call(whole.symbol, whole.args, (*whole.inner[:-1], *parts)))
    assert found.is_clean
    assert check(found, COVERED).checked == 1


def misplaced(ipa: int, level: int = 3) -> w.Call:
    """Three pages, the second of which is invalidated elsewhere."""
    whole = w.unmap(3, deferred=False, tables=0)
    visit = whole.inner[1]
    wrong = w.Call(visit.symbol, visit.args, (w.flush(ipa, level), *visit.inner[1:]))
    return w.Call(whole.symbol, whole.args, (whole.inner[0], wrong, whole.inner[2]))


@pytest.mark.parametrize(
    ("call", "only", "text"),
    [
        (misplaced(w.START + 64 * w.PAGE), NO_WALKER, "1 of the invalidations lie outside"),
        (misplaced(w.START), NO_WALKER, "1 of the leaves were invalidated twice"),
        (misplaced(w.START + 2 * w.PAGE), w.EVERYTHING, "1 of the entries were visited"),
        (misplaced(w.START + w.PAGE, 2), w.EVERYTHING, "with the hint of another level"),
    ],
)
def test_a_leaf_invalidated_elsewhere_is_found(
    call: w.Call, only: tuple[str, ...], text: str
) -> None:
    (said,) = texts(of(call, only=only), COVERED)
    assert text in said


def test_without_addresses_ranges_are_not_compared() -> None:
    for lacking, why in ((w.UNMAP, UNPLACED), (w.FLUSH, FLUSH_UNPLACED)):
        made = w.recorded(w.without_arguments([PER_PTE], {lacking}))
        assert check(audited(made.trace()), COVERED).unchecked == {why: 1}


# ---- e3ba51ab24fd: a range operation that covers too little


@pytest.mark.parametrize("kernel", ["6.8.6", "6.6.28", "6.7.2", "6.9.0-rc3"])
def test_8_gib_of_write_protection_are_predicted_short_by_the_buggy_releases(kernel: str) -> None:
    found = of(w.dirty_log(GIB, MAX_PAGES), kernel=kernel)
    one = check(found, OPERATIONS)
    assert (one.checked, one.found) == (1, 1)
    assert found.findings["severity"].to_list() == ["predicted"]


@pytest.mark.parametrize("kernel", ["6.8.7", "6.12.95", "6.6.29", "6.9.0-rc4"])
def test_a_release_that_has_the_fix_is_no_evidence_for_8_gib(kernel: str) -> None:
    found = of(w.dirty_log(GIB, MAX_PAGES), w.dirty_log(GIB, MAX_PAGES - 1), kernel=kernel)
    one = check(found, OPERATIONS)
    assert found.is_clean
    assert not found.is_complete
    assert one.checked == 1
    (why,) = one.unchecked
    assert why.startswith(f"the operand was not recorded: by the formula of {kernel}")


def test_the_prediction_names_the_operand_and_what_it_covers() -> None:
    (text,) = texts(of(w.dirty_log(GIB, MAX_PAGES), kernel="6.8.0"), OPERATIONS)
    for part in ("8 GiB from 0x40000000", "SCALE -9, NUM 1", "0xffff708000040000", "512 MiB",
                 "was not recorded"):  # fmt: skip
        assert part in text


def test_an_unknown_release_leaves_8_gib_open_and_smaller_ranges_not() -> None:
    found = of(w.dirty_log(GIB, MAX_PAGES), w.dirty_log(GIB, MAX_PAGES - 1))
    one = check(found, OPERATIONS)
    assert found.is_clean
    assert one.checked == 1
    assert [why.startswith("the kernel's release would decide") for why in one.unchecked] == [True]


def test_a_longer_range_is_cut_into_calls_of_8_gib() -> None:
    both = w.without_arguments([w.dirty_log(GIB, MAX_PAGES + 512)], {w.RANGE})
    found = audited(w.recorded(both).trace(settings=Settings(facts={"kernel": "6.8.1"})))
    assert len(texts(found, OPERATIONS)) == 1


@pytest.mark.parametrize(("page_bytes", "covers"), [(16384, "0 bytes"), (65536, "8 GiB")])
def test_the_prediction_holds_for_larger_pages(page_bytes: int, covers: str) -> None:
    made = w.recorded([w.dirty_log(0, MAX_PAGES, page_bytes)])
    facts = {"kernel": "6.8.0", "page_size_bytes": page_bytes}
    found = audited(made.trace(settings=Settings(facts=facts)))
    assert f"covers {covers};" in texts(found, OPERATIONS)[0]


def test_with_lpa2_unknown_a_range_off_64_kib_may_escape() -> None:
    off = w.dirty_log(GIB + w.PAGE, MAX_PAGES)
    assert check(of(off, kernel="6.8.1"), OPERATIONS).checked == 0
    assert check(of(off, kernel="6.8.1", lpa2=True), OPERATIONS).found == 0
    assert check(of(off, kernel="6.8.1", lpa2=False), OPERATIONS).found == 1


def test_without_arguments_the_operations_are_not_checked() -> None:
    made = w.recorded(w.without_arguments([w.dirty_log(GIB, 512)], {w.RANGE, w.OUTER}))
    one = check(audited(made.trace()), OPERATIONS)
    assert one.unchecked == {"start and length were not recorded": 1}


def test_without_range_operations_the_whole_vmid_is_invalidated() -> None:
    whole = w.Call(w.OUTER, {"addr": GIB, "size": 8 * GIB}, (w.Call(w.VMID, {"mmu": w.MMU}),))
    made = w.recorded([whole])
    one = check(audited(made.trace(settings=Settings(facts={"kernel": "6.8.1"}))), OPERATIONS)
    assert (one.checked, one.found) == (1, 0)
    assert one.by == {"the whole VMID was invalidated": 1}


def flush_with(*operands: int, pages: int = MAX_PAGES, name: str = "ripas2e1is") -> Recorder:
    """A range flush with a probe in its middle, which fires once per operand."""
    made = Recorder()
    made.enter(w.RANGE, start=GIB, pages=pages)
    for operand in operands:
        made.write("operand", "instant", symbol=w.RANGE, **{name: w.signed(operand)})
    made.leave(w.RANGE)
    return made


def probed(*operands: int, pages: int = MAX_PAGES, name: str = "ripas2e1is") -> Audit:
    made = flush_with(*operands, pages=pages, name=name)
    return audited(made.trace(settings=Settings(facts={"kernel": "6.12.95"})))


@pytest.mark.parametrize("name", ["ripas2e1is", "operand", "tlbi", "xt"])
def test_a_recorded_operand_that_covers_512_mib_of_8_gib_is_a_finding(name: str) -> None:
    found = probed(0xFFFF_7080_0004_0000, name=name)
    assert found.findings["severity"].to_list() == ["finding"]
    (text,) = texts(found, OPERATIONS)
    assert text == (
        "asked for 8 GiB from 0x40000000; the recorded operands (0xffff708000040000) cover 512 MiB"
    )


def test_a_recorded_operand_that_covers_all_is_clean_and_says_by_what() -> None:
    one = check(probed(0x0000_7F80_0004_0000), OPERATIONS)
    assert (one.checked, one.found, one.by) == (1, 0, {"recorded operands": 1})


def test_pages_that_are_invalidated_alone_are_not_missed_where_no_probe_has_them() -> None:
    operands = (0x5300_0004_0000, 0x4F00_0004_01C0)
    assert probed(*operands, pages=511).is_clean
    assert not probed(operands[0], pages=511).is_clean


def test_an_operand_in_the_text_of_tracefs_is_read(tmp_path: Path) -> None:
    made = Events()
    made.event(f"p: ({w.RANGE}+0x0/0x178) mmu={w.MMU:#x} start={GIB:#x} pages={MAX_PAGES}")
    made.event(f"op: ({w.RANGE}+0xa4/0x178) ripas2e1is=0xffff708000040000")
    made.event(f"r: (kvm_tlb_flush_vmid_range+0x50/0x80 <- {w.RANGE})")
    path = tmp_path / "trace.txt"
    path.write_text(made.text(), encoding="utf-8")
    code, text = run(str(path))
    assert code == 1
    assert "the recorded operands (0xffff708000040000) cover 512 MiB" in " ".join(text.split())


# ---- stale windows and bystanders


def test_a_deferred_window_reaches_from_the_first_leaf_to_the_return_of_the_flush() -> None:
    made = w.recorded([w.unmap(3, deferred=True, tables=0)])
    times = [event["ts_ns"] for event in made.events]
    names = [event["name"] for event in made.events]
    (row,) = audited(made.trace()).windows.to_dicts()
    expected = times[names.index(f"{w.OUTER}_ret")] - times[names.index(w.WALKER)]
    assert (row["windows"], row["max_ns"], row["leaves_max"]) == (1, expected, 3)


def test_every_leaf_of_a_per_pte_unmap_has_a_window_of_its_own() -> None:
    (row,) = of(w.unmap(5, deferred=False)).windows.to_dicts()
    # The visit, the flush and its return: two steps of the clock.
    assert (row["windows"], row["median_ns"], row["max_ns"], row["leaves_max"]) == (5, 20, 20, 1)


def test_without_the_walker_a_window_begins_with_what_came_before() -> None:
    (row,) = of(w.unmap(5, deferred=False, tables=0), only=NO_WALKER).windows.to_dicts()
    assert (row["windows"], row["max_ns"]) == (5, 20)


def test_a_guest_fault_inside_a_window_is_information() -> None:
    made = Recorder()
    whole = w.unmap(3, deferred=True, tables=0)
    made.enter(w.UNMAP, **whole.args)
    w.recorded(whole.inner[:-1], made)
    made.on(tid=200, cpu=1).tracepoint("kvm_guest_fault", ipa=w.START + w.PAGE)
    made.tracepoint("kvm_guest_fault", ipa=w.START + 99 * w.PAGE)
    made.on(tid=100, cpu=0)
    w.recorded(whole.inner[-1:], made)
    made.leave(w.UNMAP)
    made.on(tid=200, cpu=1).tracepoint("kvm_guest_fault", ipa=w.START)
    found = audited(made.trace())
    assert found.is_clean
    (one,) = found.bystanders
    assert (one.recorded, one.inside, one.unmaps) == (3, 1, 1)


# ---- the command


def test_filters_narrow_what_is_audited() -> None:
    made = w.recorded([ELSEWHERE, UNFIXED])
    made.on(tid=300)
    w.recorded([FIXED, w.dirty_log(GIB, MAX_PAGES)], made)
    trace = made.trace(settings=Settings(facts={"kernel": "6.8.1"}))
    checks = ["table-before-release", "range-operations"]
    assert audited(trace).findings["check"].to_list() == checks
    assert audited(trace, filters=Filters(tids=(100,))).findings["check"].to_list() == checks[:1]
    assert audited(trace, filters=Filters(tids=(300,))).findings["check"].to_list() == checks[1:]
    with pytest.raises(QueryError, match="step"):
        audited(trace, filters=Filters(steps=("s99",)))


def test_two_traces_are_told_apart() -> None:
    good, bad = (w.recorded([ELSEWHERE, one]).trace() for one in (FIXED, UNFIXED))
    found = audited(good, bad)
    assert found.findings["source_id"].to_list() == [1]
    assert [one.source_id for one in found.checks if one.code == BEFORE_RELEASE] == [0, 1]


def test_quiet_prints_nothing_and_still_exits_with_1(tmp_path: Path) -> None:
    assert run(written(tmp_path, "kprobes", ELSEWHERE, UNFIXED), "--quiet") == (1, "")


def test_strict_refuses_a_trace_with_cut_off_unmaps(tmp_path: Path) -> None:
    path = tmp_path / "cut.txt"
    whole = w.kprobe_text([ELSEWHERE, FIXED, FIXED])
    path.write_text("".join(whole.splitlines(keepends=True)[:-1]), encoding="utf-8")
    assert run(str(path))[0] == 0
    assert run(str(path), "--strict")[0] == 2


def test_a_trace_without_unmaps_says_that_nothing_was_checked(tmp_path: Path) -> None:
    code, text = run(written(tmp_path, "graph", w.Call("kvm_vcpu_ioctl")))
    assert code == 0
    assert text.startswith("NOTHING WAS CHECKED: that nothing was found is no pass")
    assert "Nothing could be checked" in text


@pytest.mark.parametrize(
    ("calls", "only", "outcome", "complete"),
    [
        ((ELSEWHERE, FIXED), w.EVERYTHING, "clean", True),
        ((ELSEWHERE, FIXED), (w.UNMAP, w.FLUSH, w.OUTER, w.RANGE), "incomplete", False),
        ((EMPTY,), (w.UNMAP, w.PUT), "nothing_checked", False),
        ((w.Call("kvm_vcpu_ioctl"),), ("kvm_vcpu_ioctl",), "nothing_checked", False),
        ((ELSEWHERE, UNFIXED), w.EVERYTHING, "findings", True),
        ((w.dirty_log(GIB, 512),), w.EVERYTHING, "incomplete", False),
    ],
)
def test_complete_makes_1_of_what_was_not_checked(
    tmp_path: Path,
    calls: tuple[w.Call, ...],
    only: tuple[str, ...],
    outcome: str,
    *,
    complete: bool,
) -> None:
    path = written(tmp_path, "kprobes", *w.visible(calls, only))
    found = outcome == "findings"
    code, text = run(path, "--json")
    assert (code, json.loads(text)["outcome"]) == (found, outcome)
    assert json.loads(text)["complete"] is complete
    assert run(path, "--complete", "--quiet") == (found or not complete, "")


def test_the_public_analysis_is_what_it_was() -> None:
    made = w.recorded([ELSEWHERE, FIXED])
    assert traceview.analyze(made.trace()).unmaps["strategy"].to_list() == ["deferred_range"]
