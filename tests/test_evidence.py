"""Evidence folders as they are written: whole or not at all, and over nothing of the user's."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.writers.evidence import GRAPH, SAMPLES, evidence, opened, table
from traceview.errors import ParseError, SettingError, UnsupportedError
from traceview.queries.analysis import analyze
from traceview.queries.filters import Filters
from traceview.queries.steps import StepIntervals
from traceview.report.evidence import Evidence
from traceview.report.manifest import (
    MANIFEST,
    TABLES_OF_PART,
    File,
    Heard,
    Input,
    Manifest,
    files_of,
    manifest_text,
    read_manifest,
)
from traceview.report.recipe import FORMS, Recipe
from traceview.symbols import Probe

if TYPE_CHECKING:
    from pathlib import Path


def made(folder: Path, *, force: bool = False) -> Path:
    return evidence(folder, {"traces": opened([GRAPH])}, force=force)


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to be copied."""
    return made(tmp_path_factory.mktemp("once") / "out")


@pytest.fixture
def folder(once: Path, tmp_path: Path) -> Path:
    return shutil.copytree(once, tmp_path / "out")


def test_a_folder_has_every_table_both_reports_and_a_manifest_that_names_them(
    tmp_path: Path,
) -> None:
    folder = made(tmp_path / "out")
    there = {one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.is_file()}
    assert there == {*files_of(["traces"]), MANIFEST}
    assert set(read_manifest(folder / MANIFEST).files) == there - {MANIFEST}
    assert [one.name for one in tmp_path.iterdir()] == ["out"]


def test_the_calls_are_those_inside_unmaps_and_an_unmap_lies_whole_in_a_piece(
    tmp_path: Path,
) -> None:
    folder = evidence(tmp_path / "out", {"traces": opened([str(SAMPLES / "insn-6.12-max.txt.xz")])})
    calls = table(folder, "traces/calls")
    assert calls["unmap_id"].null_count() == 0
    assert set(calls["unmap_id"]) == set(table(folder, "traces/unmaps")["unmap_id"])
    file = pq.ParquetFile(folder / "traces" / "calls.parquet")
    groups = [file.read_row_group(n)["unmap_id"].to_pylist() for n in range(file.num_row_groups)]
    assert len({(n, one) for n, group in enumerate(groups) for one in group}) == len(
        set(calls["unmap_id"])
    )


def test_the_manifest_names_the_recording_and_what_was_stated_about_it(once: Path) -> None:
    (one,) = read_manifest(once / MANIFEST).inputs["traces"]
    assert one.path == GRAPH
    assert one.bytes == (SAMPLES / "fgraph-6.12-neoverse-n1.perfetto").stat().st_size
    assert one.stated["origin"] == "emulated"
    assert "kvm_pgtable_stage2_unmap" in one.heard.functions


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(SettingError, match="holds mine already\nnothing was written"):
        Evidence(tmp_path)
    with pytest.raises(SettingError, match="a file is where the folder should be"):
        Evidence(tmp_path / "mine", force=True)


def test_an_empty_folder_is_taken_and_parents_are_made(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "a" / "b" / "c"):
        made(folder)
        assert (folder / MANIFEST).is_file()
        assert not list(folder.parent.glob(".*"))


def test_force_replaces_older_evidence_and_leaves_what_is_the_users(folder: Path) -> None:
    one = SAMPLES / "switch-6.12" / "per-leaf-run-01-top.txt.xz"
    (folder / "notes.txt").write_text("precious")
    (folder / "traces" / "notes.txt").write_text("precious")
    evidence(folder, {"all": opened([str(one)])}, form="runs", force=True)
    assert set(read_manifest(folder / MANIFEST).inputs) == {"all"}
    there = {one.name for one in (folder / "traces").iterdir()}
    assert there == {"notes.txt"}
    assert (folder / "notes.txt").read_text() == "precious"
    assert (folder / "all" / "unmaps.parquet").is_file()


def test_force_replaces_no_file_that_no_manifest_names(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "report.txt").write_text("precious")
    with pytest.raises(SettingError, match="no manifest of evidence names it"):
        made(folder, force=True)
    assert {one.name: one.read_text() for one in folder.iterdir()} == {"report.txt": "precious"}
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("content", ["", "{}", "[[[", '{"document": "evidence"}'])
def test_a_manifest_that_is_none_entitles_to_nothing(tmp_path: Path, content: str) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / MANIFEST).write_text(content)
    with pytest.raises(SettingError, match="no manifest of evidence names it"):
        made(folder, force=True)
    assert (folder / MANIFEST).read_text() == content


def test_a_folder_behind_a_link_is_no_part_of_the_evidence(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (folder / "traces").rename(elsewhere)
    (folder / "traces").symlink_to(elsewhere)
    with pytest.raises(SettingError, match="is no folder of evidence"):
        made(folder, force=True)


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "out"

    def fail() -> None:
        with Evidence(folder) as writer:
            analyze(opened([GRAPH]), sink=writer.sink("traces"), hear=writer.hear("traces"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_older_evidence_as_it_was(folder: Path) -> None:
    before = {one: one.read_bytes() for one in folder.rglob("*") if one.is_file()}

    def fail() -> None:
        with Evidence(folder, force=True) as writer:
            analyze(opened([GRAPH]), sink=writer.sink("traces"), hear=writer.hear("traces"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert {one: one.read_bytes() for one in folder.rglob("*") if one.is_file()} == before


def test_what_came_into_being_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "out"

    def race() -> None:
        with Evidence(folder) as writer:
            whole = analyze(opened([GRAPH]), sink=writer.sink("traces"), hear=writer.hear("traces"))
            folder.mkdir()
            (folder / "mine").touch()
            reports = {"report.txt": ["a"], "report.json": ["b"]}
            writer.finish({"traces": whole}, Recipe("analysis"), reports)

    with pytest.raises(SettingError, match="holds mine already"):
        race()
    assert [one.name for one in folder.iterdir()] == ["mine"]


def test_a_place_that_cannot_be_written_is_the_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingError, match="evidence cannot be written"):
        Evidence(tmp_path / "file" / "out").__enter__()


# ---- the manifest

names = st.text(max_size=8)
texts = st.lists(names, max_size=3).map(tuple)
wholes = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3).map(tuple)
digests = st.text("0123456789abcdef", min_size=64, max_size=64)
heards = st.builds(Heard, texts, texts, texts, texts, st.booleans())
inputs = st.builds(
    Input, names, names, st.none() | digests, st.none() | st.integers(0, 2**62),
    st.sampled_from([4096, 65536]), heards,
    st.fixed_dictionaries({}, optional={"label": names, "order": st.integers(0, 9),
                                        "fwb": st.booleans()}),
    st.none() | texts, st.dictionaries(names, st.builds(Probe, names, names, names), max_size=2),
    st.none() | digests, texts,
)  # fmt: skip
filters = st.builds(Filters, steps=texts, cpus=wholes, tids=wholes)
steps = st.none() | st.builds(
    lambda clock, rows: StepIntervals(clock, *zip(*rows, strict=True)),
    names,
    st.lists(
        st.tuples(names, st.integers(0, 9), st.integers(0, 9), st.none() | st.integers(0, 9)),
        min_size=1, max_size=3,
    ),
)  # fmt: skip


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    form = draw(st.sampled_from(sorted(FORMS)))
    recipe = draw(
        st.builds(
            Recipe, st.just(form), texts, filters, texts,
            st.lists(st.tuples(names, names), max_size=2).map(tuple), steps, names,
            st.sampled_from(["0.1.0", "1.2rc1", "0.1.0.dev3+gabcdef1.d20260101", "2.0+deb12u1"]),
        )
    )  # fmt: skip
    parts = [*FORMS[form], *(FORMS[form].values() if draw(st.booleans()) else ())]
    of = {part: tuple(draw(st.lists(inputs, min_size=1, max_size=2))) for part in parts}
    files = {name: File(draw(digests), draw(st.integers(0, 9))) for name in files_of(of)}
    return Manifest(recipe, of, files, {"polars": draw(st.sampled_from(["2.1.0", ""]))})


@given(manifests())
@settings(max_examples=30, deadline=None)
def test_a_manifest_reads_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, manifest: Manifest
) -> None:
    path = tmp_path_factory.getbasetemp() / MANIFEST
    path.write_text(manifest_text(manifest), encoding="utf-8")
    assert read_manifest(path) == manifest


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=5,
)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_member_may_be_anything_and_what_is_read_is_written_as_it_was(
    once: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    document = json.loads((once / MANIFEST).read_text(encoding="utf-8"))
    at = document
    while True:
        keys = sorted(at) if isinstance(at, dict) else range(len(at))
        key = data.draw(st.sampled_from(keys))
        inner = at[key]
        if not inner or not isinstance(inner, (dict, list)) or data.draw(st.booleans()):
            break
        at = inner
    at[key] = data.draw(json_values)
    path = tmp_path_factory.getbasetemp() / "changed.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    try:
        read = read_manifest(path)
    except ParseError:
        return
    assert json.loads(manifest_text(read)) == document


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"[" * 100_000, b'{"a": NaN}', b'"text"', b"1" * 5000]
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(ParseError):
        read_manifest(tmp_path / MANIFEST)


@pytest.mark.parametrize(
    "version",
    [
        "", "0.1.0 (times checked on hardware by Arm)", "0.1.0+checked.by.arm", "0.1.0\n",
        "\u0661.0", "0.1.0+hardware1.ok", "1" * 50, 3,
    ],
)  # fmt: skip
def test_a_version_has_no_room_for_words(folder: Path, version: object) -> None:
    path = folder / MANIFEST
    document = json.loads(path.read_text(encoding="utf-8")) | {"traceview_version": version}
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(ParseError, match="traceview_version"):
        read_manifest(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"audited_by": "Arm"}, "no manifest that traceview wrote says 'audited_by' in manifest"),
        ({"software": {"polars": "2.1.0 on real hardware"}}, "'polars' is no version"),
        ({"software": {"host": "hardware"}}, "no software of ours: 'host'"),
        ({"command": "traceview analyze --strict trace"}, "command is 'traceview analyze --strict"),
    ],
)
def test_a_manifest_says_nothing_more_than_it_means(
    folder: Path, change: dict[str, str], words: str
) -> None:
    path = folder / MANIFEST
    document = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(document | change), encoding="utf-8")
    with pytest.raises(ParseError, match=words):
        read_manifest(path)


def test_a_member_that_is_there_twice_is_refused(folder: Path) -> None:
    path = folder / MANIFEST
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"document"', '"form": "runs", "document"'), encoding="utf-8")
    with pytest.raises(ParseError, match="twice"):
        read_manifest(path)


def test_a_newer_layout_is_named(folder: Path) -> None:
    document = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    document |= {"evidence_version": 2, "traceview_version": "9.9"}
    (folder / MANIFEST).write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(UnsupportedError, match=r"written by traceview 9\.9, of layout 2"):
        read_manifest(folder / MANIFEST)


def test_every_table_of_the_folder_has_a_schema_of_its_own(once: Path) -> None:
    for name in TABLES_OF_PART:
        assert table(once, f"traces/{name}").schema["source_id"] == pl.Int32
