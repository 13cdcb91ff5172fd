"""`traceview verify`: evidence bears itself out, and nothing that was changed in it does."""

from __future__ import annotations

import json
import os
import shutil
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.writers.events import Recorder
from tests.writers.evidence import (
    GRAPH,
    SAMPLES,
    Changed,
    edit,
    evidence,
    fit,
    forge,
    opened,
    table,
)
from traceview.cli.app import run
from traceview.errors import ParseError
from traceview.report.evidence import schema_of
from traceview.report.evidence_reading import LONGEST_LINE, EvidenceFolder
from traceview.report.parquet_pages import _Header, inflated
from traceview.report.verification import (
    DIFFERS,
    Check,
    Verification,
    _inputs,
    _pricing,
    _reports,
    _unmaps,
    verification,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from traceview.queries.analysis import Analysis

BUNDLED = sorted(
    path.name for path in SAMPLES.iterdir()
    if path.is_file() and path.suffix not in {".json", ".md", ".py"}
)  # fmt: skip
SWITCH = SAMPLES / "switch-6.12"
OTHER = "kprobes-6.1-max.perfetto.xz"  # has requests, bystanders, flushes, destructions
# Values that a report may do without: of calls and instructions only what adds up, of samples and
# event counts only what is counted by; the argument that a shortest call fetched.
UNUSED = {
    "own_times": {"operation", "arguments", "calls"},
    "event_counts": {"name", "symbol", "phase"},
    "calls": {"depth"},
}


@pytest.fixture(scope="module")
def of_sample(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Evidence of a bundled trace, made once, to be copied or only read."""
    here = tmp_path_factory.mktemp("made")

    def once(name: str) -> Path:
        if not (here / name).is_dir():
            evidence(here / name, {"traces": opened([str(SAMPLES / name)])})
        return here / name

    return once


@pytest.fixture(scope="module")
def made(of_sample: Callable[[str], Path]) -> Path:
    """Of a small trace."""
    return of_sample(Path(GRAPH).name)


@pytest.fixture(scope="module")
def busy(of_sample: Callable[[str], Path]) -> Path:
    """Of a trace with more than unmaps."""
    return of_sample(OTHER)


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "evidence")


def verified(folder: Path) -> Verification:
    return verification(EvidenceFolder(folder))


def wrong(of: Verification) -> dict[str, str]:
    """The steps that differ, and what they say."""
    return {one.code: "\n".join(one.details) for one in of.checks if one.outcome == DIFFERS}


def said(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    assert run(["verify", *map(str, arguments)]) == code
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    assert "defect" not in err
    return " ".join((out or err).split())


# ---- what is true is said to be


@pytest.mark.parametrize("name", BUNDLED)
def test_evidence_of_every_kind_of_trace_matches_and_so_does_its_recording(
    of_sample: Callable[[str], Path], capsys: pytest.CaptureFixture[str], name: str
) -> None:
    text = said(capsys, of_sample(name), SAMPLES / name)
    assert "these from the 1 recording, read again" in text


@pytest.mark.parametrize(
    ("form", "sides"),
    [
        ("comparison", {"base": "per-leaf-run-01-top*", "with": "deferred-run-02-top*"}),
        ("runs", {"all": "per-leaf-run-0*-top*"}),
        ("strategies", {"all": "*-run-0[12]-split*"}),
    ],
)
def test_evidence_of_every_form_of_comparison_matches(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str, sides: dict[str, str]
) -> None:
    paths = {
        side: sorted(str(one) for one in SWITCH.glob(f"{pattern}.xz"))
        for side, pattern in sides.items()
    }
    claims = ("at least 2x",) if form == "comparison" else ()
    read = {side: opened(some) for side, some in paths.items()}
    folder = evidence(tmp_path / "out", read, form=form, claims=claims)
    last = next(reversed(paths.values()))[-1]
    text = said(capsys, folder, last)
    inputs = sum(map(len, paths.values()))
    assert text.endswith(
        f"{inputs - 1} of {inputs} recordings were not read; matches: the report follows from the"
        " tables, and 1 recording, read again, made the same rows"
    )


def test_evidence_of_a_calibrated_trace_matches(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split, top = (str(SWITCH / f"per-leaf-run-01-{kind}.txt.xz") for kind in ("split", "top"))
    folder = evidence(
        tmp_path / "out", {"traces": opened([split])}, calibrations={"traces": opened([top])}
    )
    assert "and these from the 2 recordings" in said(capsys, folder, top, split)


def test_a_recording_is_known_by_its_content_wherever_it_lies(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = shutil.copy(GRAPH, tmp_path / "renamed")
    assert "read again" in said(capsys, folder, elsewhere)
    assert "none of the recordings" in said(capsys, folder, SAMPLES / OTHER, code=1)


def test_what_was_stated_beside_a_trace_is_stated_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (trace,) = opened([GRAPH])
    facts = {**trace.settings.facts, "label": "patched", "run": "r7", "order": 3}
    trace = replace(
        trace,
        settings=replace(trace.settings, facts=facts, traced=frozenset({"kvm_s2_put_page", "f"})),
    )
    options = ("--label", "patched", "--run", "r7")
    folder = evidence(tmp_path / "out", {"traces": [trace]}, arguments=("analyze", GRAPH, *options))
    elsewhere = shutil.copy(GRAPH, tmp_path / "trace")  # without its sidecar
    assert "read again" in said(capsys, folder, elsewhere)


def test_a_loss_an_unmap_cut_off_and_one_off_the_cpu_add_up_again(tmp_path: Path) -> None:
    recorder = Recorder()
    for _ in range(3):
        recorder.enter("kvm_pgtable_stage2_unmap")
        recorder.enter("clean_dcache_guest_page")
        recorder.tracepoint("sched_switch", next_pid=200)
        recorder.on(tid=200).tracepoint("sched_switch", next_pid=100)
        recorder.on(tid=100).leave("clean_dcache_guest_page")
        recorder.leave("kvm_pgtable_stage2_unmap")
    recorder.enter("kvm_pgtable_stage2_unmap")
    recorder.losses.append({"kind": "lost_events", "from_seq": 7, "to_seq": 8, "cpu": 0})
    trace = recorder.trace()
    trace = replace(trace, settings=replace(trace.settings, facts={"sha256": "0" * 64}))
    of = verified(evidence(tmp_path / "out", {"traces": [trace]}))
    assert wrong(of) == {}
    assert "within that time" in next(one.text for one in of.checks if one.code == "unmaps")


def test_a_report_with_filters_and_words_of_the_users_own_matches(tmp_path: Path) -> None:
    from traceview.queries.filters import Filters  # noqa: PLC0415

    words = '[[function]]\nnames = ["stage2_has_fwb"]\noperation = "walk"\n'
    folder = evidence(
        tmp_path / "out", {"traces": opened([str(SAMPLES / OTHER)])},
        filters=Filters(triggers=("notifier",)), vocabularies=(("mine.toml", words),),
    )  # fmt: skip
    assert wrong(verified(folder)) == {}
    edit(folder, lambda document: document["filters"].update(triggers=["memslot"]))
    assert {"report-txt", "report-json"} <= wrong(verified(folder)).keys()


def test_scrubbed_evidence_is_compared_with_all_of_its_recordings_scrubbed_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(SWITCH / f"per-leaf-run-0{run}-top.txt.xz") for run in (1, 4)]
    folder = tmp_path / "out"
    assert run(["analyze", "-q", "--scrub", *paths, "--evidence", str(folder)]) == 0
    (one, _) = EvidenceFolder(folder).manifest.inputs["traces"]
    assert (one.path, one.bytes) == ("trace-1.txt.xz", None)
    assert "and these from the 2 recordings" in said(capsys, folder, *paths)
    assert "all of them, or none" in said(capsys, folder, paths[0], code=2)


# ---- what was changed is found, also where the manifest was made to fit


def test_each_byte_of_a_file_counts(folder: Path) -> None:
    for name in EvidenceFolder(folder).manifest.files:
        path = folder / name
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        states = EvidenceFolder(folder).states()
        assert states.changed == (name,)
        path.write_bytes(content)


class Forged(EvidenceFolder):
    """A folder whose tables are in memory and may be others, as if every digest fitted."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._part = super().part("traces")
        self._calls = table(directory, "traces/calls")

    def changed(self, name: str, rows: pl.DataFrame) -> Forged:
        """This folder with *rows* in the place of a table."""
        other = copy(self)
        if name == "calls":
            other._calls = rows
        else:
            changes: dict[str, Any] = {name: rows}
            other._part = replace(self._part, **changes)
        return other

    def rows(self, name: str) -> pl.DataFrame:
        found: pl.DataFrame = self._calls if name == "calls" else getattr(self._part, name)
        return found

    def part(self, part: str) -> Analysis:
        assert part == "traces"
        return self._part

    def calls(self, part: str) -> Iterator[tuple[int, pl.DataFrame]]:
        assert part == "traces"
        yield 0, self._calls.drop("source_id")


def is_told(folder: Forged) -> bool:
    """Whether a step of `verification` differs; those that cost most come last."""
    parts, manifest = {"traces": folder.part("traces")}, folder.manifest
    steps: tuple[Callable[[], list[Check]], ...] = (
        lambda: [_inputs(manifest, parts)],
        lambda: [_pricing(manifest, parts)],
        lambda: [_unmaps(folder, parts)],
        lambda: _reports(folder, parts),
    )
    return any(one.outcome == DIFFERS for step in steps for one in step())


@pytest.mark.parametrize("name", ["unmaps", "calls", "sources", "own_times", "traced_calls"])
def test_every_value_of_the_tables_that_figures_come_from_counts(made: Path, name: str) -> None:
    folder = Forged(made)
    assert not is_told(folder)
    rows = folder.rows(name)
    valued = [one for one in rows.columns[1:] if rows[one].null_count() < len(rows)]
    told = {one for one in valued if is_told(folder.changed(name, Changed(one)(rows)))}
    assert set(valued) - told == UNUSED.get(name, set())


def test_one_value_of_every_other_table_counts(busy: Path) -> None:
    folder = Forged(busy)
    assert not is_told(folder)
    others = {
        "triggers": "unmaps_ns", "bystanders": "stalls", "vcpus": "exits",
        "flushes": "duration_ns", "destroys": "duration_ns", "tracing_costs": "inside_from",
        "event_counts": "count",
    }  # fmt: skip
    for name, column in others.items():
        assert is_told(folder.changed(name, Changed(column)(folder.rows(name)))), name


@pytest.mark.parametrize(
    ("sample", "name", "column"),
    [
        ("cpuclock-6.12-neoverse-n1.script.txt.zst", "samples", "operation"),
        ("insn-6.12-max.txt.xz", "instructions", "insn"),
        ("insn-6.12-max.txt.xz", "calls", "duration_ns"),
    ],
)
def test_one_value_of_what_only_some_formats_record_counts(
    of_sample: Callable[[str], Path], sample: str, name: str, column: str
) -> None:
    folder = Forged(of_sample(sample))
    assert is_told(folder.changed(name, Changed(column)(folder.rows(name))))


def test_rows_that_were_taken_away_are_missed(made: Path) -> None:
    folder = Forged(made)
    for name in ("unmaps", "traced_calls", "calls", "triggers"):
        assert is_told(folder.changed(name, folder.rows(name)[1:])), name


def test_a_component_that_was_made_smaller_is_told_by_its_calls(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def faster(rows: pl.DataFrame) -> pl.DataFrame:
        return rows.with_columns(pl.col("cmo_ns") - 8, pl.col("rest_ns") + 8)  # the sum stays right

    forge(folder, "traces/unmaps", faster)
    text = said(capsys, folder, code=1)
    assert "cmo_ns of unmap" in text
    assert "is stated" in text


def test_a_word_of_the_report_that_was_changed_is_shown_with_its_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "report.txt"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    lines[3] = "all is well\n"
    path.write_text("".join(lines), encoding="utf-8")
    fit(folder)
    text = said(capsys, folder, code=1)
    assert "line 4 in the folder: all is well" in text
    assert "line 4 made again: " in text


def test_lines_that_were_added_or_taken_away_are_shown(folder: Path) -> None:
    path = folder / "report.txt"
    content = path.read_text(encoding="utf-8")
    path.write_text(content + "and it is four times faster\n", encoding="utf-8")
    fit(folder)
    assert "made again: (none)" in wrong(verified(folder))["report-txt"]
    path.write_text(content.rpartition("\n")[0].rpartition("\n")[0], encoding="utf-8")
    fit(folder)
    assert "in the folder: (none)" in wrong(verified(folder))["report-txt"]


def test_the_last_digits_of_a_fraction_may_be_another_processors(folder: Path) -> None:
    path = folder / "report.json"
    document = path.read_text(encoding="utf-8")
    number = json.loads(document)["tracing_costs"][0]["inside_high_ns"]
    for other, differs in ((number * (1 + 1e-12), False), (number * 1.001, True)):
        path.write_text(document.replace(repr(number), repr(other)), encoding="utf-8")
        fit(folder)
        assert bool(wrong(verified(folder))) is differs
    assert "another processor rounds otherwise" not in verified(folder).checks[-1].text


def test_tables_of_two_folders_do_not_mix(folder: Path, busy: Path) -> None:
    shutil.copy(busy / "traces" / "own_times.parquet", folder / "traces")
    assert "own_times.parquet: not the digest" in wrong(verified(folder))["files"]
    fit(folder)
    assert "tracing-costs" in wrong(verified(folder))


def test_a_table_in_the_place_of_another_is_no_such_table(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(folder / "traces" / "unmaps.parquet", folder / "traces" / "losses.parquet")
    fit(folder)
    assert "no column 'buffer'" in said(capsys, folder, code=2)


def test_a_file_that_is_missing_is_named_and_nothing_is_concluded(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "traces" / "unmaps.parquet").unlink()
    text = said(capsys, folder, code=1)
    assert "traces/unmaps.parquet: missing" in text
    assert "nothing was recomputed" in text


def test_what_the_manifest_does_not_name_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "notes.txt").touch()
    (folder / "traces" / "more.parquet").touch()
    assert "notes.txt, traces/more.parquet" in said(capsys, folder)


def test_a_forgery_that_fits_itself_is_told_by_the_recording_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who asked, and when, is not in the calls: only the report would tell, if it were left."""

    def later(rows: pl.DataFrame) -> pl.DataFrame:
        return rows.with_columns(step=pl.col("step") + "z")

    from traceview.report.evidence import reports_of  # noqa: PLC0415
    from traceview.report.recipe import found  # noqa: PLC0415

    forge(folder, "traces/unmaps", later)
    held = EvidenceFolder(folder)
    recipe = held.manifest.recipe
    for name, pieces in reports_of(found(recipe, {"traces": held.part("traces")}), recipe).items():
        (folder / name).write_text("".join(pieces), encoding="utf-8")
    fit(folder)
    text = said(capsys, folder)
    assert "made up to fit each other: only the recordings can tell" in text
    assert "step in row 0 of unmaps" in said(capsys, folder, GRAPH, code=1)


def test_calls_that_were_changed_are_told_by_the_recording(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = ["start_ns", "object_addr", "depth", "level"]

    def change(rows: pl.DataFrame) -> pl.DataFrame:
        return rows.with_columns(
            pl.when(pl.int_range(pl.len()) == 3).then(7).otherwise(pl.col(column))
            .cast(rows.schema[column]).alias(column) for column in columns
        )  # fmt: skip

    forge(folder, "traces/calls", change)
    text = said(capsys, folder, GRAPH, code=1)
    for column in columns:
        assert f"{column} in row 3 of calls" in text


def test_what_was_traced_cannot_be_made_up(folder: Path) -> None:
    def more(document: dict[str, Any]) -> None:
        document["inputs"]["traces"][0]["heard"]["functions"].append("kvm_tlb_flush_vmid_range")

    edit(folder, more)
    assert "kvm_tlb_flush_vmid_range in the manifest" in wrong(verified(folder))["unmaps"]


def test_the_size_of_a_recording_is_compared_with_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(folder, lambda of: of["inputs"]["traces"][0].update(bytes=5))
    assert "bytes of the manifest: 5 is stated" in said(capsys, folder, GRAPH, code=1)


def test_another_recording_cannot_be_named_by_the_manifest_alone(folder: Path) -> None:
    edit(folder, lambda of: of["inputs"]["traces"][0].update(sha256="0" * 64))
    assert "sha256 is" in wrong(verified(folder))["inputs"]


def test_another_version_is_named_and_its_report_compared_all_the_same(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "report.json"
    ours = json.loads(path.read_text(encoding="utf-8"))["traceview_version"]
    for name in ("report.json", "report.txt"):
        text = (folder / name).read_text(encoding="utf-8")
        (folder / name).write_text(text.replace(ours, "0.0.9"), encoding="utf-8")
    edit(folder, lambda document: document.update(traceview_version="0.0.9"))
    fit(folder)
    assert f"traceview 0.0.9 wrote it, this is {ours}" in said(capsys, folder)


# ---- what cannot be read


def _truncated(folder: Path) -> None:
    path = folder / "traces" / "unmaps.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    fit(folder)


def _link(folder: Path) -> None:
    path = folder / "traces" / "unmaps.parquet"
    path.rename(folder.parent / "elsewhere")
    path.symlink_to(folder.parent / "elsewhere")


def _linked_folder(folder: Path) -> None:
    (folder / "traces").rename(folder.parent / "elsewhere")
    (folder / "traces").symlink_to(folder.parent / "elsewhere")


def _pipe(folder: Path) -> None:
    (folder / "report.txt").unlink()
    os.mkfifo(folder / "report.txt")


def _without_a_column(folder: Path) -> None:
    path = folder / "traces" / "unmaps.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["cmo_ns"]), path)
    fit(folder)


def _of_another_type(folder: Path) -> None:
    path = folder / "traces" / "unmaps.parquet"
    rows = pq.read_table(path)
    at = rows.column_names.index("cmo_ns")
    pq.write_table(rows.set_column(at, "cmo_ns", rows["cmo_ns"].cast(pa.float64())), path)
    fit(folder)


def _of_an_unknown_word(folder: Path) -> None:
    path = folder / "traces" / "unmaps.parquet"
    rows = pq.read_table(path)
    words = pa.array(["broken"] * len(rows)).dictionary_encode()
    pq.write_table(rows.set_column(rows.column_names.index("status"), "status", words), path)
    fit(folder)


def _of_no_text(folder: Path) -> None:
    path = folder / "traces" / "unmaps.parquet"
    rows = pq.read_table(path)
    words = pa.array([b"\xff\xfe"] * len(rows)).view(pa.string())
    pq.write_table(rows.set_column(rows.column_names.index("step"), "step", words), path)
    fit(folder)


def _of_no_source(folder: Path) -> None:
    forge(folder, "traces/unmaps", lambda rows: rows.with_columns(source_id=pl.lit(7, pl.Int32)))


def _of_no_severity(folder: Path) -> None:
    rows = pl.DataFrame(
        [(0, "c", "verified by Arm", "m", 1)],
        schema=table(folder, "traces/diagnostics").schema, orient="row",
    )  # fmt: skip
    forge(folder, "traces/diagnostics", lambda _: rows)


def _of_an_origin_that_is_none(folder: Path) -> None:
    edit(folder, lambda of: of["inputs"]["traces"][0]["stated"].update(origin="checked"))


def _of_too_many_cpus(folder: Path) -> None:
    edit(folder, lambda of: of["inputs"]["traces"][0]["stated"].update(cpus=2**70))


def _of_nested_words(folder: Path) -> None:
    text = "a=" + "[" * 5000
    edit(folder, lambda of: of.update(vocabularies=[{"name": "v", "text": text}]))


def _of_no_end(folder: Path) -> None:
    schema = pq.read_schema(folder / "traces" / "losses.parquet").remove_metadata()
    names = list(schema.names)
    arrays = [pa.nulls(300_000, schema.field(name).type) for name in names]
    at = names.index("source_id")
    arrays[at] = pa.array([0] * 300_000, pa.int32())
    pq.write_table(pa.table(arrays, schema=schema), folder / "traces" / "losses.parquet")
    fit(folder)


def _elsewhere(folder: Path) -> None:
    edit(folder, lambda of: of["files"].update({"../../etc/passwd": of["files"]["report.txt"]}))


def _absolute(folder: Path) -> None:
    edit(folder, lambda of: of["files"].update({"/etc/passwd": of["files"].pop("report.txt")}))


def _of_another_part(folder: Path) -> None:
    edit(folder, lambda of: of["inputs"].update(base=of["inputs"].pop("traces")))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_truncated, "no Parquet that can be read"),
        (_link, "a link, where evidence has a file of its own"),
        (_linked_folder, "a link, where evidence has a file of its own"),
        (_pipe, "no regular file"),
        (_without_a_column, "no column 'cmo_ns'"),
        (_of_another_type, "column 'cmo_ns' is double, not int64"),
        (_of_an_unknown_word, "no Parquet that can be read"),
        (_of_no_text, "no Parquet that can be read"),
        (_of_no_source, "source_id is none of the 1 inputs"),
        (_of_no_end, "no table that traceview wrote"),
        (_of_no_severity, "no code, message or severity"),
        (_of_an_origin_that_is_none, "'origin' is stated as 'checked'"),
        (_of_too_many_cpus, "'cpus' is stated as"),
        (_of_nested_words, "vocabulary is not TOML"),
        (_elsewhere, "names a file that evidence does not have: '../../etc/passwd'"),
        (_absolute, "'/etc/passwd'"),
        (_of_another_part, "inputs of a report of the form analysis are not ['base']"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "not JSON"),
        (lambda folder: (folder / "manifest.json").unlink(), "there is no manifest"),
        (shutil.rmtree, "there is no manifest"),
    ],
)
def test_what_cannot_be_read_is_an_error_that_says_what_and_where(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], object],
    words: str,
) -> None:
    spoil(folder)
    text = said(capsys, folder, code=2)
    assert words in text
    assert "in file: " in text


def test_a_table_that_inflates_beyond_reason_is_refused_before_it_is_read(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "traces" / "diagnostics.parquet"
    rows = {"source_id": [0] * 20, "code": ["c"] * 20, "severity": ["info"] * 20,
            "message": ["x" * (1 << 17)] * 20, "count": [1] * 20}  # fmt: skip
    schema = pq.read_schema(path).remove_metadata()
    pq.write_table(pa.table(rows, schema=schema), path, use_dictionary=False, compression="zstd")
    metadata = pq.read_metadata(path)
    (pages,) = inflated(path, metadata)  # which no footer can belittle
    assert pages.bytes == pytest.approx(metadata.row_group(0).total_byte_size, rel=0.001)
    assert pages.bytes > 20 << 17
    assert pages.values == (20,) * 5
    fit(folder)
    said(capsys, folder, code=1)
    monkeypatch.setattr("traceview.report.evidence_reading.LEAST_BYTES", 1 << 20)
    assert "bytes of tables in" in said(capsys, folder, code=2)


def samples(rows: int, addresses: list[int], names: list[str]) -> pa.Table:
    """Samples that say nothing but their callchain, the same in every row."""
    schema = schema_of("samples")
    lists = {"callchain": [addresses] * rows, "frames": [names] * rows}
    return pa.table(
        {
            field.name: pa.array(lists[field.name], field.type) if field.name in lists
            else pa.array([0] * rows, field.type) if field.name == "source_id"
            else pa.nulls(rows, field.type) for field in schema
        },
        schema=schema.remove_metadata(),
    )  # fmt: skip


def test_lists_that_grow_beyond_reason_are_refused_before_they_are_read(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "traces" / "samples.parquet"
    pq.write_table(samples(2, [7] * 200_000, []), path, compression="zstd")
    assert path.stat().st_size < 20_000
    (pages,) = inflated(path, pq.read_metadata(path))
    assert max(pages.values) == 400_000
    assert pages.bytes < 20_000  # equal ones take no room
    fit(folder)
    assert EvidenceFolder(folder).part("traces").samples["callchain"].list.len().sum() == 400_000
    monkeypatch.setattr("traceview.report.evidence_reading.LEAST_BYTES", 2 << 20)
    assert "bytes of tables in" in said(capsys, folder, code=2)


def test_texts_in_lists_are_read_once_however_often_they_repeat(folder: Path) -> None:
    path = folder / "traces" / "samples.parquet"
    rows = samples(4, [1, 2], ["f" * 1000, "g"])
    pq.write_table(rows, path, row_group_size=2)  # each group has a dictionary of its own
    file, _ = EvidenceFolder(folder)._open("traces", "samples")
    assert pa.types.is_dictionary(file.read_row_group(0)["frames"].type.value_type)
    frames = EvidenceFolder(folder).part("traces").samples["frames"]
    assert frames.to_list() == [["f" * 1000, "g"]] * 4


def test_texts_that_are_stated_by_the_beginnings_of_others_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "traces" / "samples.parquet"
    pq.write_table(
        samples(4, [], ["f" * 1000, "f" * 1001]), path,
        use_dictionary=False, column_encoding={"frames.list.element": "DELTA_BYTE_ARRAY"},
    )  # fmt: skip
    fit(folder)
    assert "texts in an encoding that traceview does not write" in said(capsys, folder, code=2)


def test_a_page_header_with_a_list_of_no_end_is_refused() -> None:
    """Field 9, a list of bytes, more of them than any file has."""
    endless = bytes([0x99, 0xF3, *[0xFF] * 8, 0x01])
    with pytest.raises(ValueError, match="a list that goes on behind the end"):
        _Header(memoryview(endless), 0).sizes()  # type: ignore[arg-type] # of a file otherwise


def test_a_line_of_a_report_without_an_end_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (folder / "report.txt").open("r+b") as file:
        file.truncate(LONGEST_LINE + (1 << 16))  # of zeros, which take no room on the disk
    fit(folder)
    assert "a line of more than 1,048,576 bytes" in said(capsys, folder, code=2)


@given(st.data())
@settings(max_examples=15, deadline=None)
def test_any_damage_of_a_table_is_an_error_or_every_step_is_taken(
    made: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damaged") / "evidence"
    shutil.copytree(made, folder)
    tables = sorted(folder.glob("traces/*.parquet"))
    path = data.draw(st.sampled_from(tables))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    fit(folder)
    try:
        steps = [one.code for one in verified(folder).checks]
    except ParseError:
        return
    reports = ["report"] if "report" in steps else ["report-txt", "report-json"]
    assert steps == ["files", "inputs", "tracing-costs", "unmaps", *reports]


def test_tables_that_contradict_one_another_are_no_defect(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forge(folder, "traces/unmaps", lambda rows: pl.concat([rows, rows]))
    said(capsys, folder, code=1)
    forge(folder, "traces/calls", lambda rows: rows.with_columns(parent_id=pl.col("call_id")))
    said(capsys, folder, code=1)
    forge(folder, "traces/calls", lambda rows: rows.with_columns(call_id=pl.lit(2**63 - 1)))
    said(capsys, folder, code=1)
    forge(folder, "traces/sources", lambda rows: rows.with_columns(clock=pl.lit(None, pl.String)))
    said(capsys, folder, code=1)


def test_a_symbol_table_that_named_addresses_is_asked_for(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(folder, lambda of: of["inputs"]["traces"][0].update(kallsyms="0" * 64))
    assert "--kallsyms FILE" in said(capsys, folder, GRAPH, code=2)


# ---- as JSON


def test_the_document_says_the_same_as_the_text(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["verify", str(folder), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    text = said(capsys, folder)
    assert document["document"] == "verification"
    assert document["matches"] is True
    assert document["conclusion"] in text
    for one in document["checks"]:
        assert one["text"] in text
    assert [one["read"] for one in document["recordings"]] == [False]
    assert run(["verify", str(folder), GRAPH, "--json"]) == 0
    assert [one["read"] for one in json.loads(capsys.readouterr().out)["recordings"]] == [True]
