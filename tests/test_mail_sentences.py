"""What a mail must not leave open: what numbers are of, their unit, what is unknown."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.writers.analyses import analysis, source, unmap
from traceview.report.analysis_sections import analysis_sections
from traceview.report.blocks import Paragraph
from traceview.report.caveat import Caveat
from traceview.report.compare import caveat_texts
from traceview.report.compared import SideCaveat
from traceview.report.contents import contents
from traceview.report.information import information
from traceview.report.mail import mail
from traceview.report.provenance import Provenance
from traceview.report.recipe import Recipe
from traceview.report.reproduce import reproduce
from traceview.report.terminal import summary
from traceview.report.time_units import INSTRUCTIONS, NANOSECONDS, unit_of
from traceview.report.wording import step

if TYPE_CHECKING:
    from traceview.queries.analysis import Analysis

GOLDEN = Path(__file__).parent / "golden"
COMPARISONS = ("one-run", "six-runs", "strategies")
NAMELESS = {"source_id": 0, "name": "p", "phase": "entry", "evidence": "kprobe", "count": 3}


def mail_of(of: Analysis, *arguments: str, vocabularies: tuple[str, ...] = ()) -> str:
    provenance = Provenance(("analyze", *arguments), vocabularies=vocabularies)
    return "".join(mail(analysis_sections(contents(of), provenance)))


def words(text: str) -> str:
    return " ".join(text.split())


def golden(name: str) -> str:
    return (GOLDEN / f"mail-{name}.txt").read_text(encoding="ascii")


# ---- the first screen


@pytest.mark.parametrize("name", COMPARISONS)
def test_the_numbers_of_a_comparison_are_on_the_first_screen(name: str) -> None:
    first = golden(name).splitlines()[:12]
    assert sum(" -> " in line and line.startswith("  - ") for line in first) == 3
    summary = golden(name).partition("\n==")[0]
    assert "Welch" not in summary
    assert "quantum" not in summary


def test_events_of_a_comparison_are_those_of_both_sides() -> None:
    assert "events base 190,308, with 128,076; 318,384 in all" in words(golden("six-runs"))
    assert "events 106,128 in the traces of both sides" in words(golden("strategies"))


# ---- caveats


def test_a_caveat_of_both_sides_that_counts_unmaps_says_that_it_is_of_each() -> None:
    caveats = (
        SideCaveat(None, Caveat("trigger-unknown", "trigger unknown for 4 unmaps", counts=True)),
        SideCaveat(None, Caveat("elsewhere-not-measured", "not measured")),
        SideCaveat("base", Caveat("trigger-unknown", "trigger unknown for 5 unmaps", counts=True)),
    )
    found: Any = SimpleNamespace(caveats=caveats)
    assert [text for text, _ in caveat_texts(found)] == [
        "of each side: trigger unknown for 4 unmaps", "not measured",
        "base: trigger unknown for 5 unmaps",
    ]  # fmt: skip


def test_every_caveat_that_counts_unmaps_is_marked_as_one() -> None:
    unmaps = [
        unmap(leaves=None, trigger="unknown", strategy="unknown", irq_ns=None, irq=None),
        unmap(status="contaminated"), unmap(None, status="censored"), unmap(None, status="point"),
    ]  # fmt: skip
    found = contents(analysis(unmaps)).caveats
    counting = {one.code for one in found if one.counts}
    assert {
        "leaves-unknown", "trigger-unknown", "strategy-unknown", "excluded-censored",
        "excluded-contaminated", "entries-only",
    } <= counting  # fmt: skip
    assert all("unmap" in one.text for one in found if one.counts)
    assert {"one-run", "elsewhere-not-measured"}.isdisjoint(counting)


def test_the_medians_beside_a_coarse_clock_are_said_to_be_over_unmaps() -> None:
    timed = unmap(8000, evidence="kprobe", invalidate_leaf=8)
    text = words(mail_of(analysis([timed], [source(ts_resolution_ns=1000)])))
    assert "coarse beside medians over unmaps: 8.00 us per unmap, 1.00 us per leaf (mean" in text
    assert "600 ns per leaf invalidate call (mean of each unmap)" in text


# ---- what is counted, and what is not known


def test_unmaps_of_entries_alone_are_named_where_they_are_counted() -> None:
    of = analysis([unmap(None, None, status="point", evidence="function")])
    text = words(mail_of(of))
    assert "count: unmaps recorded by their entry alone, which have no times" in text
    both = analysis([unmap(None, status="point", evidence="function"), unmap()])
    said = "count: complete unmaps, and those recorded by their entry alone, which have no times"
    assert said in words(mail_of(both))
    assert said in words("\n".join(str(line) for line in summary(contents(both), 200)))
    assert "count:" not in mail_of(analysis([unmap()]))


@pytest.mark.parametrize("lost", [False, True])
def test_unmaps_of_which_nobody_knows_whether_they_happened_are_unknown(*, lost: bool) -> None:
    losses = [{"source_id": 0, "cpu": 0, "kind": "lost_events", "count": 7}] if lost else []
    text = mail_of(analysis([], event_counts=[NAMELESS], losses=losses))
    assert "  unmaps: unknown (what the probes are of is not known)\n" in text
    assert "began" not in text
    assert ("! unmaps: unknown (what the probes are of is not known); 7 events" in text) == lost


@pytest.mark.parametrize(
    ("events", "why"),
    [
        ([], "there is no event at all"),
        ([{**NAMELESS, "symbol": "f"}], "kvm_pgtable_stage2_unmap was not traced, or nothing"),
    ],
)
def test_no_ledger_of_zeros_stands_for_what_is_not_known(
    events: list[dict[str, Any]], why: str
) -> None:
    assert f"unmaps: unknown ({why}" in words(mail_of(analysis([], event_counts=events)))


def test_a_label_without_any_recorded_unmap_has_no_zeros_in_the_ledger() -> None:
    of = analysis([unmap()], [source(label="a"), source(source_id=1, label="b", path="b")])
    ledger = mail_of(of).partition("== What the numbers stand on ==")[2].splitlines()
    assert ["a", "1", "1"] in [line.split() for line in ledger]
    assert ["b", "-", "-"] in [line.split() for line in ledger]


# ---- executed instructions


def test_executed_instructions_are_not_written_as_times() -> None:
    unmaps = [unmap(70_000, 8, evidence="insn", probe_ns=0, probe_low_ns=0, probe_high_ns=0)] * 3
    unmaps += [unmap(300, 0, evidence="insn")]
    text = mail_of(analysis(unmaps, [source(origin="emulated")]))
    said = words(text)
    assert ": 8,750 instructions per leaf as recorded" in said
    assert "of the instructions of all unmaps" in said
    assert "insn/leaf" in said
    assert "ns/leaf" not in said
    assert "210,000 instructions in all" in said
    assert not any(f" {unit}" in said for unit in ("us", "ms"))
    assert not re.search("[0-9] ns\\b", said.replace("1 ns = 1 instruction", ""))


def test_what_is_partly_times_keeps_its_nanoseconds() -> None:
    one, other = analysis([unmap(evidence="insn")]), analysis([unmap()])
    assert unit_of(one) is INSTRUCTIONS
    assert unit_of(one, other) is NANOSECONDS
    assert unit_of(analysis([])) is NANOSECONDS
    assert INSTRUCTIONS.sentence("5 ns per leaf, 2 invalidations per leaf") == (
        "5 instructions per leaf, 2 invalidations per leaf"
    )
    assert INSTRUCTIONS.mean_named(2500.0) == "2,500 instructions"
    assert NANOSECONDS.mean_named(2500.0) == "2.50 us"
    assert INSTRUCTIONS.mean_named(None) == INSTRUCTIONS.named(None) == "-"


def test_steps_are_written_whole_where_they_are() -> None:
    assert [step(ns) for ns in (1000, 16.0, 1e9 / 24e6)] == ["1 us", "16 ns", "41.67 ns"]


# ---- order, provenance


def test_functions_of_equal_counts_stand_in_the_order_of_their_names() -> None:
    rows = [
        {"source_id": 0, "symbol": name, "status": "complete", "duration_ns": 5, "call_id": at}
        for at, name in enumerate(["kvm_b", "kvm_a", "kvm_c"])
    ]
    counts = [
        {"source_id": 0, "name": row["symbol"], "count": 2, "evidence": "kprobe"} for row in rows
    ]

    def shown(order: int) -> list[str]:
        of = analysis(
            [], destroys=rows[::order], flushes=rows[::order], event_counts=counts[::order]
        )
        lines = [*summary(contents(of), 100), *information(of, [], 100)]
        return [str(line) for line in lines]

    assert shown(1) == shown(-1)
    assert [line.split()[0] for line in shown(1) if line.startswith("  kvm_")][:3] == [
        "kvm_a", "kvm_b", "kvm_c",
    ]  # fmt: skip


def test_an_own_vocabulary_is_named() -> None:
    text = mail_of(analysis([unmap()]), "t", vocabularies=("my words.toml",))
    assert "own vocabulary  my words.toml\n" in text
    assert "own vocabulary" not in mail_of(analysis([unmap()]))
    recipe = Recipe("analysis", vocabularies=(("a.toml", "x = 1"), ("b.toml", "")))
    assert recipe.provenance.vocabularies == ("a.toml", "b.toml")


@pytest.mark.parametrize("arguments", [("-q", "--evidence", "DIR"), ("--evidence=DIR",)])
def test_a_command_that_writes_evidence_says_where_this_text_is(arguments: tuple[str, ...]) -> None:
    of = analysis([], [source(path="t")])
    said = [one.text for one in reproduce(Provenance(("analyze", "t", *arguments)), of).blocks
            if isinstance(one, Paragraph)]  # fmt: skip
    assert "it writes this report, as mail text, as DIR/report.txt" in said
    assert "report.txt" not in mail_of(of, "t")
    assert "report.txt" not in mail_of(of, "t", "--evidence")
