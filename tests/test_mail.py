"""Mail text: what it says, that it fits every mail, and that its command makes it again.

After a wanted change: `TRACEVIEW_GOLDEN=1 pytest tests/test_mail.py` writes the golden texts; look
at the difference.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import traceview
from tests.boots import names_of_boots, put_boots
from tests.hostile_names import with_hostile_names
from tests.test_samples_of_captures import chains
from tests.truth import TRACES
from tests.unpacking import unpack
from tests.writers.analyses import analysis, source, unmap
from traceview.cli.app import run
from traceview.report.analysis_sections import analysis_sections
from traceview.report.blocks import (
    Block,
    Bullets,
    Facts,
    Paragraph,
    Section,
    Table,
    TableColumn,
    Verbatim,
)
from traceview.report.contents import contents
from traceview.report.cpu_names import cpu_name
from traceview.report.documents import json_of, mail_of
from traceview.report.host_facts import host_facts
from traceview.report.mail import ascii_text, mail
from traceview.report.provenance import Provenance
from traceview.report.reproduce import reproduce
from traceview.report.shell_lines import shell_lines
from traceview.trace import Diagnostic

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from traceview.report.recipe import Found

ROOT = Path(__file__).parent.parent
GOLDEN = Path(__file__).parent / "golden"
DATA = Path(__file__).parent / "data"
SAMPLES = ROOT / "sample_traces"
PAIR = SAMPLES / "switch-6.12"
BASH = shutil.which("bash")
MISREAD = ("--", "From ", "From:", "Subject:", "Date:", "diff ", "Index: ", ">", "***")
BEGIN, PERF = "traceview ", "perf-cpuclock.perf.data.zst"


class Case(NamedTuple):
    """A golden text: the files it is of, and the command behind `traceview`."""

    files: tuple[Path, ...]
    arguments: tuple[str, ...]


def _names(pattern: str) -> tuple[str, ...]:
    return tuple(sorted(path.name for path in PAIR.glob(pattern)))


PAIR_FILES = tuple(sorted(PAIR.glob("*.xz*")))
BASE, WITH = _names("per-leaf-*.xz"), _names("deferred-*.xz")
LOST = TRACES / "6.12-neoverse-n1" / "kprobes-lost-pipe.txt.zst"
CASES = {
    "one-trace": Case(
        tuple(SAMPLES.glob("fgraph-6.12-neoverse-n1.perfetto*")),
        ("analyze", "--mail", "fgraph-6.12-neoverse-n1.perfetto"),
    ),
    "one-run": Case(
        PAIR_FILES,
        ("compare", "--mail", "--base", *_names("per-leaf-run-01-*.xz"), "--with",
         *_names("deferred-run-02-*.xz")),
    ),
    "six-runs": Case(PAIR_FILES, ("compare", "--mail", "--base", *BASE, "--with", *WITH)),
    "six-noisy-runs": Case(
        (),
        ("compare", "--mail", "--base", *names_of_boots("6.1-max"), "--with",
         *names_of_boots("6.12-max")),
    ),
    "aa": Case(PAIR_FILES, ("compare", "--mail", "--aa", *BASE)),
    "strategies": Case(
        PAIR_FILES, ("compare", "--mail", "--group", "strategy", *BASE[:4], *WITH[:4])
    ),
    "folder-with-loss": Case(
        (DATA / "raw-lost.tar.xz",), ("analyze", "--mail", "raw-lost", "--origin", "emulated")
    ),
    "heavy-loss": Case((LOST,), ("analyze", "--mail", LOST.name, "--origin", "emulated")),
    "samples": Case(
        (TRACES / "6.12-neoverse-n1" / PERF,),
        ("analyze", "--mail", PERF, "--origin", "emulated", "--kallsyms", "kallsyms"),
    ),
}  # fmt: skip
OF_CAPTURES = {"heavy-loss", "samples", "six-noisy-runs"}
ALL = [
    pytest.param(
        name,
        marks=[
            pytest.mark.captures,
            pytest.mark.skipif(not TRACES.is_dir(), reason=f"no captures: {TRACES}"),
        ] if name in OF_CAPTURES else [],
    )
    for name in CASES
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command runs: names are relative, and so the same everywhere."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[str, dict[str, Any]]:
    """What the command of a case prints, and the JSON document of what it found."""
    case, found = CASES[name], []

    def heard(of: Found, provenance: Provenance) -> Iterator[str]:
        found.append(of)
        return mail_of(of, provenance)

    monkeypatch.setattr("traceview.report.documents.mail_of", heard)
    for file in case.files:
        if file.name.endswith(".tar.xz"):
            unpack(file, folder)
        else:
            (folder / file.name).symlink_to(file)
    if name == "six-noisy-runs":
        put_boots(folder)
    if "kallsyms" in case.arguments:
        _kallsyms(folder / "kallsyms")
    assert run(list(case.arguments)) == 0
    out, err = capsys.readouterr()
    assert err == ""
    (only,) = found
    return out, json.loads("".join(json_of(only)))


def _kallsyms(path: Path) -> None:
    """The kernel's functions as far as perf script names them in the same recording."""
    script = "6.12-neoverse-n1/perf-cpuclock.script.txt.zst"
    seen = sorted({frame for chain in chains(script) for frame in chain if frame[0] >> 63})
    path.write_text("".join(f"{address:016x} t {name}\n" for address, name in seen))


# ---- the golden texts


@pytest.mark.parametrize("name", ALL)
def test_the_text_is_the_golden_one(
    name: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text, document = said(name, folder, capsys, monkeypatch)
    text = text.replace(f"{BEGIN}{traceview.__version__},", f"{BEGIN}VERSION,")
    path = GOLDEN / f"mail-{name}.txt"
    if os.environ.get("TRACEVIEW_GOLDEN") and not os.environ.get("CI"):
        path.write_text(text, encoding="ascii")
    assert text == path.read_text(encoding="ascii")
    if document["document"] == "analysis":
        groups_are_those_of_json(text, document)
    elif document["document"] == "comparison":
        sizes_are_those_of_json(text, document)
    else:
        runs_are_those_of_json(text, document)


@pytest.mark.parametrize("name", CASES)
def test_a_golden_text_fits_a_mail_and_its_quotations(name: str) -> None:
    text = (GOLDEN / f"mail-{name}.txt").read_text(encoding="ascii")
    fits(text)
    for line in text.splitlines():
        assert len(f"> > {line}") <= 76


@pytest.mark.parametrize("name", CASES)
def test_every_host_fact_is_stated_or_unknown(name: str) -> None:
    text = (GOLDEN / f"mail-{name}.txt").read_text(encoding="ascii")
    measured = " ".join(section_of(text, "What was measured, and how").split())
    for fact in (
        "CPU", "MIDR", "FWB", "TLBIRANGE", "LPA2", "DIC", "IDC", "errata", "CNTFRQ", "kernel",
        "machine", "page size", "origin", "trace clock", "steps of", "buffer", "tracer",
        "options", "format", "events lost", "evidence", "traced (hit)", "mode", "recorded",
        "runs (order)",
    ):  # fmt: skip
        if fact == "steps of" and fact not in measured:
            fact = "resolution unknown"  # noqa: PLW2901
        assert fact in measured
    assert re.search(r"[0-9]+ CPU|number of CPUs unknown", measured)


@pytest.mark.parametrize("name", CASES)
def test_what_is_no_hardware_is_said_in_the_first_sentence_and_beside_the_times(name: str) -> None:
    text = (GOLDEN / f"mail-{name}.txt").read_text(encoding="ascii")
    assert text.startswith("in emulated time, ")
    assert "! origin emulated: " in text.partition("\n==")[0]
    assert "in emulated time" in text.partition("\n==")[2] or name == "samples"


def fits(text: str) -> None:
    """What holds for every mail."""
    for line in text.splitlines():
        assert len(line) <= 72, line
        assert all(" " <= char <= "~" for char in line), line
        assert line == line.rstrip(), line
        assert not line.startswith(MISREAD), line
    assert text == "".join(f"{line}\n" for line in text.splitlines())


def section_of(text: str, title: str) -> str:
    return text.partition(f"== {title} ==\n\n")[2].partition("\n==")[0]


# ---- numbers against the JSON document


def rows_of(text: str, title: str, first: str) -> list[dict[str, str]]:
    """The rows of the table whose header begins with *first*, and of the band below it."""
    lines = section_of(text, title).splitlines()
    starts = [at for at, line in enumerate(lines) if line.split()[:1] == [first]]
    found: list[dict[str, str]] = []
    for start in starts[:2]:
        names = re.split(r" {2,}", lines[start].strip())
        block = []
        for line in lines[start + 1 :]:
            cells = re.split(r" {2,}", line.strip())
            if len(cells) != len(names) or line.startswith("    "):
                break
            block.append(dict(zip(names, cells, strict=True)))
        if not found:
            found = block
        elif len(block) == len(found):
            found = [{**one, **more} for one, more in zip(found, block, strict=True)]
    return found


UNITS = {"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9}


def agrees(cell: str, value: float | None) -> None:
    """A printed number is the value rounded to the digits that are printed."""
    if value is None:
        assert cell == "-"
        return
    number, _, unit = cell.replace(",", "").partition(" ")
    digits = len(number.partition(".")[2])
    scale = UNITS[unit] if unit else 1
    assert float(number) * scale == pytest.approx(value, abs=0.51 * scale / 10**digits)


def groups_are_those_of_json(text: str, document: dict[str, Any]) -> None:
    groups = [one for one in document["groups"] if one["leaf_level"] != "none"]
    rows = rows_of(text, "Unmaps, by strategy, leaf size and trigger", "strategy")
    assert len(rows) == len(groups)
    for row, group in zip(rows, groups, strict=True):
        assert row["strategy"] == group["strategy"]
        assert row["trigger"] == group["trigger"]
        for column, member in (
            ("count", "count"), ("leaves", "leaves"), ("median", "median_ns"), ("p95", "p95_ns"),
            ("ns/leaf", "ns_per_leaf"),
        ):  # fmt: skip
            agrees(row[column], group[member])
        low, _, high = row["untraced"].partition("..")
        agrees(low, group["corrected_low_ns_per_leaf"])
        agrees(high, group["corrected_high_ns_per_leaf"])
        share = 100 * group["probe_high_ns"] / group["duration_ns"]
        agrees(row["tracing"].removeprefix("<=").removesuffix("%"), min(100, share))
    for one in document["sample_groups"]:
        low, high = (f"{100 * one[end]:.1f}%" for end in ("share_low", "share_high"))
        found = rf" {one['samples']} +{100 * one['share']:.1f}% +{low} \.\. {high}\n"
        assert re.search(found, text)


def sizes_are_those_of_json(text: str, document: dict[str, Any]) -> None:
    rows = rows_of(text, "How long unmaps of each size took", "step")
    assert len(rows) == len(document["sizes"])
    runs = [len(side["runs"]) for side in document["sides"]]
    for row, size in zip(rows, document["sizes"], strict=True):
        ratio = size["ratio"]
        assert row["step"] == size["stem"]
        agrees(row["leaves"], size["leaves"])
        agrees(row["base"], ratio["base_ns"])
        agrees(row["with"], ratio["with_ns"])
        agrees(row["ratio"], ratio["value"])
        agrees(row.get("recorded", row["ratio"]), ratio["raw"])  # where both are the same
        ends = row.get("95% interval", row.get("interval", ""))
        if ratio["low"] is None:
            assert ends == "none"
            assert re.search("interval: none, (one run on a side|all runs of a side gave)", text)
        else:
            agrees(ends.partition(" .. ")[0], ratio["low"])
            agrees(ends.partition(" .. ")[2], ratio["high"])
        assert row["runs"] == "/".join(map(str, runs))
        assert row["n"] == f"{size['base_unmaps']}/{size['with_unmaps']}"


def runs_are_those_of_json(text: str, document: dict[str, Any]) -> None:
    rows = rows_of(text, "The runs against themselves (A/A)", "size")
    assert len(rows) == len(document["sizes"])
    for row, size in zip(rows, document["sizes"], strict=True):
        agrees(row["runs"], len(size["estimates_ns"]))
        agrees(row["unmaps"], size["unmaps"])
        agrees(row["shortest"], min(size["estimates_ns"]))
        agrees(row["longest"], max(size["estimates_ns"]))
        agrees(row["detectable"], size["detectable_ratio"])


# ---- made again


def bash(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    if BASH is None:
        pytest.skip("no bash")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [BASH, "-c", script], cwd=folder, env={**os.environ, "PATH": path}, check=False,
        capture_output=True, text=True,
    )  # fmt: skip


def test_the_command_makes_the_text_again_and_the_digests_are_those_of_the_files(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name with everything in it: blanks, quotes, a letter that is not ASCII; and a long one."""
    name = "it's a $HOME `trace` \\ né.perfetto"
    shutil.copyfile(SAMPLES / "fgraph-6.12-neoverse-n1.perfetto", folder / name)
    long = Path("d" * 100) / ("e" * 100) / "t.zst"
    (folder / long).parent.mkdir(parents=True)
    shutil.copyfile(SAMPLES / "fgraph-latency-6.12-neoverse-n1.txt.zst", folder / long)
    first = mail_text(capsys, str(long), name)
    fits(first)
    again = bash(first.partition("in bash:\n")[2].partition("\n\n")[0], folder)
    assert again.returncode == 0, again.stderr
    assert again.stdout == first
    plain = "plain" * 10 + ".perfetto"
    (folder / name).rename(folder / plain)
    script = mail_text(capsys, plain).partition("sidecars beside them):\n")[2]
    assert bash(script, folder).stdout == f"{plain}: OK\n"


def mail_text(capsys: pytest.CaptureFixture[str], *traces: str) -> str:
    assert run(["analyze", "--mail", *traces]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def test_digests_of_short_names_are_in_sha256sums_own_format(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    of = analysis([], [source(path="a", sha256=digest)])
    blocks = reproduce(Provenance(("analyze", "a")), of).blocks
    lines = [line for block in blocks if isinstance(block, Verbatim) for line in block.lines]
    assert lines == ["traceview analyze a", "sha256sum -c <<'END'", f"{digest}  a", "END"]
    assert bash("\n".join(lines[1:]), tmp_path).stdout == "a: OK\n"


def test_what_has_no_digest_is_said() -> None:
    of = analysis([], [source(path="<stdin>"), source(path="x", source_id=1)])
    said = "".join(mail([reproduce(Provenance(("analyze", "-")), of)]))
    assert "standard input has no digest" in said
    assert "sha256 unknown of 1 of 2 files" in said


WORDS = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=120))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(WORDS)
def test_bash_reads_the_words_that_were_written(words: list[str]) -> None:
    if BASH is None:
        pytest.skip("no bash")
    lines = shell_lines(["printf", "%s\\0", "", *words], 72)
    for line in lines:
        assert len(line) <= 72
        assert line.isascii()
        assert line == line.rstrip()
        assert not line.startswith(MISREAD)
    done = subprocess.run([BASH, "-c", "\n".join(lines)], check=True, stdout=subprocess.PIPE)
    assert done.stdout == b"".join(f"{word}\0".encode() for word in ["", *words])


# ---- anything else in sections

TEXT = st.text(max_size=200)
CELL = st.text(max_size=30) | st.integers().map(str) | st.just("x" * 90)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    columns = draw(
        st.lists(st.builds(TableColumn, CELL, st.booleans(), CELL), min_size=1, max_size=12)
    )
    row = st.tuples(*([CELL] * len(columns)))
    rows = draw(st.lists(row, max_size=4))
    keys = draw(st.integers(1, len(columns)))
    return Table(tuple(columns), tuple(rows), draw(CELL), keys, draw(CELL))


PARAGRAPH = st.builds(Paragraph, TEXT, st.booleans())
BLOCK: st.SearchStrategy[Block] = st.one_of(
    PARAGRAPH,
    st.builds(Bullets, st.lists(PARAGRAPH, max_size=3).map(tuple)),
    st.builds(Facts, st.lists(st.tuples(CELL, TEXT), max_size=3).map(tuple)),
    st.builds(Verbatim, st.lists(TEXT, max_size=3).map(tuple)),
    tables(),
)
SECTION = st.builds(
    Section, st.sampled_from(["summary", "table"]), TEXT,
    st.lists(BLOCK, min_size=1, max_size=4).map(tuple),
)  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(SECTION, min_size=1, max_size=3))
def test_whatever_the_sections_hold_the_text_fits_a_mail(sections: list[Section]) -> None:
    fits("".join(mail(sections)))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tables())
def test_no_cell_of_a_table_is_lost(table: Table) -> None:
    text = "".join("".join(mail([Section("table", "t", (table,))])).split())
    for row in table.rows:
        for cell in row:
            assert "".join(ascii_text(cell).split()) in text


@pytest.mark.parametrize(
    "line",
    ["-- ", "--", "---", "From here on", "diff --git a/x b/x", "> quoted", "Index: x", "From: me",
     "Signed-off-by: nobody"],
)  # fmt: skip
def test_no_line_is_taken_for_what_it_is_not(line: str) -> None:
    for block in (Paragraph(line), Verbatim((line,)), Paragraph(f"{'x' * 69} {line}")):
        text = "".join(mail([Section("summary", "", (block,))]))
        fits(text)
        assert " ".join(line.split()) in " ".join(text.split())


def test_names_that_try_to_be_something_else_stay_text() -> None:
    unmaps = [unmap(1000 * (i + 1), tid=i) for i in range(3)]
    unmaps += [unmap(None, status="censored"), unmap(300, 0, strategy="none", source_id=1)]
    of = analysis(
        unmaps,
        [source(label="a", tracer_options="x"), source(source_id=1, label="b", kernel="k")],
        ((0, Diagnostic("odd", "warning", "From \x1b[31m\nSubject: x", 1)),),
        event_counts=[{"source_id": 0, "name": "e", "count": 3, "evidence": "fgraph"}],
    )
    sections = analysis_sections(contents(with_hostile_names(of)), Provenance(("analyze", "né")))
    fits("".join(mail(sections)))


# ---- facts


@pytest.mark.parametrize(
    ("midr", "name"),
    [
        ("0x00000000413fd0c1", "Arm Neoverse-N1 r3p1"), ("0x410fd4f0", "Arm Neoverse-V2 r0p0"),
        ("0x00000000c00fac30", "Ampere AmpereOne r0p0"), ("0x611f0221", "Apple M1 (Icestorm) r1p1"),
        ("0x00000000000f0510", "no vendor's core (implementer 0x00)"), ("0x41000001", None),
        ("0", None), ("none", None), (None, None), ("0x1ffffffff", None), ("0x410fd4f0,1", None),
    ],
)  # fmt: skip
def test_a_cpu_is_named_where_its_midr_is_well_known(midr: str | None, name: str | None) -> None:
    assert cpu_name(midr) == name


def facts(*groups: tuple[str, list[dict[str, Any]]]) -> list[tuple[str, str]]:
    return list(host_facts([(name, analysis([], of)) for name, of in groups]))


def values(found: Iterable[tuple[str, str]], name: str) -> list[str]:
    return [value for of, value in found if of == name]


def test_a_fact_that_nobody_states_is_unknown() -> None:
    stated = ("kernel", "machine", "cpus", "fwb", "tlbirange", "page_size_bytes", "clock")
    nothing = dict.fromkeys((*stated, "loss_known"))
    found = facts(("", [source(**nothing, origin="unknown")]))
    assert dict(found) == {
        "origin": "unknown (hardware or not: nobody stated it)",
        "kernel": "unknown, machine unknown, page size unknown",
        "CPU": "unknown, MIDR unknown, number of CPUs unknown",
        "features": "FWB unknown, TLBIRANGE unknown, LPA2 unknown, DIC unknown, IDC unknown",
        "errata": "unknown",
        "CNTFRQ": "unknown",
        "evidence": "no function",
        "tracer": "unknown, options unknown",
        "buffer": "unknown",
        "trace clock": "unknown, time stamps: resolution unknown",
        "format": "perfetto",
        "events lost": "unknown (this format does not say here)",
        "traced (hit)": "no function",
        "mode": "unknown (VHE or nVHE)",
        "recorded": "unknown",
        "runs (order)": "unknown",
    }


def test_what_the_sides_share_is_said_once_and_what_differs_for_each() -> None:
    base = [source(kernel="6.1"), source(source_id=1, kernel="6.1")]
    found = facts(("base", base), ("with", [source(kernel="6.12")]))
    assert values(found, "kernel") == [
        "base: 6.1, machine aarch64, page size 4K", "with: 6.12, machine aarch64, page size 4K",
    ]  # fmt: skip
    assert len(values(found, "CPU")) == 1


def test_traces_of_one_side_that_differ_are_counted() -> None:
    rows = [source(source_id=at, buffer_size_kb=64 if at else 1408) for at in range(3)]
    assert values(facts(("", rows)), "buffer") == [
        "64 kB per CPU (2 of 3 traces); 1,408 kB per CPU (1 of 3 traces)"
    ]


def test_excluded_unmaps_and_losses_are_said_before_the_numbers() -> None:
    of = analysis(
        [unmap(), unmap(status="contaminated"), unmap(None, status="censored")],
        losses=[{"source_id": 0, "cpu": 1, "kind": "lost_events", "count": 7}],
    )
    text = "".join(mail(analysis_sections(contents(of), Provenance(("analyze", "t")))))
    first = " ".join(text.partition("\n==")[0].split())
    assert "! 3 unmaps began, 1 counted: 1 censored, 1 contaminated; 7 events lost in" in first


def test_times_of_hardware_need_no_aside() -> None:
    text = "".join(mail(analysis_sections(contents(analysis([unmap()])), Provenance(("a",)))))
    assert text.startswith("per_pte, 4K, notifier (1 unmap, 8 leaves): 125 ns per leaf")
    assert "no unmap that was asked for is excluded" in text


def test_times_of_one_label_are_not_called_what_those_of_another_are() -> None:
    of = analysis(
        [unmap(9000), unmap(1000, source_id=1, evidence="insn")],
        [
            source(label="a", origin="hardware"),
            source(source_id=1, label="b", origin="emulated", path="b.txt"),
        ],
    )
    text = "".join(mail(analysis_sections(contents(of), Provenance(("analyze",)))))
    assert text.startswith("a, per_pte, 4K, notifier (1 unmap, 8 leaves): 1,125 ns per leaf")
    table = section_of(text, "Unmaps, by strategy, leaf size and trigger")
    assert "\n  a:\n" in f"\n{table}"
    assert "b, in executed instructions:" in table
    assert "! b: origin emulated: " in text


def test_traces_of_one_label_and_of_several_kinds_are_called_so() -> None:
    of = analysis(
        [unmap(), unmap(source_id=1, evidence="insn")],
        [source(label="a"), source(source_id=1, label="a", origin="emulated")],
    )
    text = "".join(mail(analysis_sections(contents(of), Provenance(("analyze",)))))
    assert text.startswith("in times of several kinds, ")
    assert "! traces of different origin (hardware, emulated), evidence" in text
