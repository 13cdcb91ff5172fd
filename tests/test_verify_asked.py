"""`traceview verify`: what the command asks for and the sidecars say, against the manifest."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.writers.evidence import GRAPH, SAMPLES, edit, fit, forge
from traceview.cli.app import run
from traceview.queries.same_rows import first_differences

SWITCH = SAMPLES / "switch-6.12"
SWAPPED = """
[[function]]
names = ["stage2_clean_dcache", "clean_dcache_guest_page", "kvm_pgtable_stage2_flush"]
operation = "invalidate_ipa"
"""
BASE, WITH = (
    [str(SWITCH / f"{side}-run-0{n}-top.txt.xz") for n in runs]
    for side, runs in (("per-leaf", (1, 4)), ("deferred", (2, 3)))
)


def ran(*arguments: object, folder: Path) -> Path:
    assert run([*map(str, arguments), "-q", "--evidence", str(folder)]) == 0
    return folder


def said(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    capsys.readouterr()
    assert run(["verify", *map(str, arguments)]) == code
    out, err = capsys.readouterr()
    assert "defect" not in err
    return " ".join((out or err).split())


def without(folder: Path, *words: str) -> None:
    """Take words out of the command, in the manifest and in the report."""

    def fewer(document: dict[str, Any]) -> None:
        document["arguments"] = [one for one in document["arguments"] if one not in words]
        document["command"] = " ".join(["traceview", *document["arguments"]])

    edit(folder, fewer)
    remake(folder)


def remake(folder: Path) -> None:
    """Make the reports of the manifest, as a forger would."""
    from traceview.report.evidence import reports_of  # noqa: PLC0415
    from traceview.report.evidence_reading import EvidenceFolder  # noqa: PLC0415
    from traceview.report.recipe import found  # noqa: PLC0415

    held = EvidenceFolder(folder)
    recipe = held.manifest.recipe
    parts = {name: held.part(name) for name in held.manifest.inputs}
    for name, pieces in reports_of(found(recipe, parts), recipe).items():
        (folder / name).write_text("".join(pieces), encoding="utf-8")
    fit(folder)


@pytest.fixture
def words(tmp_path: Path) -> Path:
    path = tmp_path / "v.toml"
    path.write_text(SWAPPED, encoding="utf-8", newline="\r\n")
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ran("analyze", GRAPH, folder=tmp_path_factory.mktemp("made") / "graph")


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ran(
        "compare", "--base", *BASE, "--with", *WITH, folder=tmp_path_factory.mktemp("made") / "two"
    )


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "evidence")


# ---- the command


@pytest.mark.parametrize(
    "options",
    [
        ["--step", "t[12].*", "--cpu", "1", "--from", "0.5", "--trigger", "notifier",
         "--origin", "emulated", "--label", "a b", "--run", "r", "--top", "3", "--json"],
        ["--scrub", "--step", "t1.*", "--tid", "371"],
        ["--step-pattern", "(?P<edge>begin|end) (?P<id>.*)"],
    ],
)  # fmt: skip
def test_what_was_asked_for_was_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    of = ran("analyze", GRAPH, *options, folder=tmp_path / "out")
    assert "what the command asks for" in said(capsys, of, GRAPH)


def test_sides_that_nobody_labelled_match(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, with_ = (shutil.copy(side[0], tmp_path) for side in (BASE, WITH))
    split = [SWITCH / f"{name}-split.txt.xz" for name in ("per-leaf-run-01", "deferred-run-02")]
    for form in (
        ["compare", "--base", base, "--with", with_],
        ["compare", "--aa", base],
        ["compare", "--group", "strategy", *(shutil.copy(path, tmp_path) for path in split)],
    ):
        of = ran(*form, folder=tmp_path / form[1])
        assert "matches:" in said(capsys, of, form[-1])


def test_a_vocabulary_that_the_command_hides_is_told(
    tmp_path: Path, words: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of = ran("analyze", GRAPH, "--vocabulary", words, folder=tmp_path / "out")
    import hashlib  # noqa: PLC0415

    text = said(capsys, of, GRAPH)
    digest = hashlib.sha256(words.read_bytes()).hexdigest()
    assert digest in text.replace(" ", "")
    assert "that functions mean what the own vocabulary says" in text
    without(of, "--vocabulary", str(words))
    for traces in ((), (GRAPH,)):
        text = said(capsys, of, *traces, code=1)
        assert "--vocabulary: none is asked for by the command, and" in text


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (["analyze", GRAPH, "--strict", "--cpu", "1", "--label", "x", "--calibration", "f",
          "--kallsyms", "f"],
         ["filters: cpu 1 is asked", "--label: x is asked for", "traces of: calibration,",
          "--kallsyms: f is asked for"]),
        (["analyze", GRAPH, "more", "--steps", "f"],
         ["traces, files: 2 is asked for", "--steps: 1 file is asked for"]),
        (["analyze", GRAPH, "--help"], ["no command line of traceview analyze"]),
        (["analyze", GRAPH, "--nope"], ["no command line of traceview analyze"]),
        (["info", GRAPH], ["no command that writes evidence"]),
        ([], ["no command that writes evidence"]),
    ],
)  # fmt: skip
def test_a_command_that_asks_for_something_else_is_told(
    folder: Path, capsys: pytest.CaptureFixture[str], change: list[str], told: list[str]
) -> None:
    command = shlex.join(["traceview", *change])
    edit(folder, lambda document: document.update(arguments=change, command=command))
    text = said(capsys, folder, code=1)
    for words in told:
        assert words in text


def test_filters_that_nobody_asked_for_are_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(folder, lambda document: document["filters"].update(cpus=[0]))
    remake(folder)
    assert "filters: none is asked for by the command" in said(capsys, folder, code=1)


def test_strict_refuses_what_it_would_have_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def damaged(rows: pl.DataFrame) -> pl.DataFrame:
        row = [(0, "events-lost", "warning", "12 events were lost", 12)]
        return pl.concat([rows, pl.DataFrame(row, schema=rows.schema, orient="row")])

    forge(folder, "traces/diagnostics", damaged)
    remake(folder)
    assert "matches" in said(capsys, folder)
    edit(folder, lambda document: document["arguments"].append("--strict"))
    edit(folder, lambda document: document.update(command=document["command"] + " --strict"))
    remake(folder)
    assert "--strict refuses traces: 12 events were lost" in said(capsys, folder, code=1)


def test_sides_that_were_swapped_are_told(
    compared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of = shutil.copytree(compared, tmp_path / "swapped")
    (of / "base").rename(of / "x")
    (of / "with").rename(of / "base")
    (of / "x").rename(of / "with")

    def swap(document: dict[str, Any]) -> None:
        inputs = document["inputs"]
        inputs["base"], inputs["with"] = inputs["with"], inputs["base"]

    edit(of, swap)
    fit(of)
    remake(of)
    assert "base, source 0, path" in said(capsys, of, code=1)


def test_a_recording_that_counts_twice_is_told(
    compared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of = shutil.copytree(compared, tmp_path / "twice")

    def twice(document: dict[str, Any]) -> None:
        one, other = document["inputs"]["base"]
        other["sha256"] = one["sha256"]

    edit(of, twice)
    assert "base, source 1: the recording of base, source 0 again" in said(capsys, of, code=1)


# ---- the sidecar


def _beside(tmp_path: Path, **changed: object) -> str:
    trace = shutil.copy(GRAPH, tmp_path / "mine")
    document = json.loads(Path(f"{GRAPH}.host.json").read_text(encoding="utf-8"))
    host = document["host"] | changed.pop("host", {})
    Path(f"{trace}.host.json").write_text(json.dumps({**document, **changed, "host": host}))
    return str(trace)


def test_a_sidecar_that_contradicts_what_is_stated_is_told(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "sidecar beside it" in said(capsys, folder, _beside(tmp_path))
    changed = {
        "origin": "synthetic", "host": {"fwb": True}, "label": "other", "traced": ["f"],
        "kprobe_events": "p:k/e kvm_tlb_flush_vmid_range",
    }  # fmt: skip
    text = said(capsys, folder, _beside(tmp_path, **changed), code=1)
    for told in (
        "origin: emulated is stated, synthetic in the sidecar", "True in the sidecar",
        "other in the sidecar", "traced: ", "the probe e: nothing is stated",
    ):  # fmt: skip
        assert told in text


def test_where_a_recording_has_no_sidecar_nothing_is_said_of_one(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "sidecar beside" not in said(capsys, folder, shutil.copy(GRAPH, tmp_path / "mine"))


def test_options_win_over_the_sidecar_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of = ran("analyze", GRAPH, "--label", "mine", "--origin", "synthetic", folder=tmp_path / "out")
    assert "matches" in said(capsys, of, GRAPH)
    scrubbed = ran("analyze", GRAPH, "--label", "mine", "--scrub", folder=tmp_path / "scrubbed")
    assert "matches" in said(capsys, scrubbed, GRAPH)


def test_hardware_that_the_sidecar_denies_is_told_even_if_an_option_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = shutil.copy(GRAPH, tmp_path / "plain")
    of = ran("analyze", plain, "--origin", "hardware", folder=tmp_path / "out")
    assert "matches" in said(capsys, of, plain)
    assert "origin: hardware is stated, emulated in the sidecar" in said(capsys, of, GRAPH, code=1)


@pytest.mark.parametrize("command", ["analyze", "verify", "compare"])
def test_a_sidecar_is_no_trace(
    made: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    sidecars = [f"{path}.host.json" for path in BASE]
    before = {"analyze": [], "verify": [str(made)], "compare": ["--aa"]}[command]
    assert run([command, *before, *BASE, *sidecars]) == 2
    error = capsys.readouterr().err
    assert f"that is a sidecar: give the trace itself: {sidecars[0]}" in error


# ---- numbers


@pytest.mark.parametrize("other", ["1e999", "970.4e999", "NaN", "Infinity", "-0", "{0}00000001"])
def test_a_number_that_is_none_or_another_is_no_rounding(
    folder: Path, capsys: pytest.CaptureFixture[str], other: str
) -> None:
    path = folder / "report.json"
    document = path.read_text(encoding="utf-8")
    number = repr(json.loads(document)["tracing_costs"][0]["inside_high_ns"])
    path.write_text(document.replace(number, other.format(int(float(number)))), encoding="utf-8")
    fit(folder)
    assert "report.json" in said(capsys, folder, code=1)


def test_numbers_of_the_text_and_in_texts_are_compared_letter_by_letter(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from traceview.report.verification import _rounds_to  # noqa: PLC0415

    assert _rounds_to(b'{"a": 1.5, "b": "1.5"}', b'{"a": 1.5000000000001, "b": "1.5"}')
    assert not _rounds_to(b'{"a": 1.5, "b": "1.5"}', b'{"a": 1.5, "b": "1.5000000000001"}')
    assert not _rounds_to(b'{"a": 1500000000001}', b'{"a": 1500000000002}')
    assert not _rounds_to(b'{"a": "\xff"}', b'{"a": "\xef\xbf\xbd"}')
    path = folder / "report.txt"
    text = path.read_text(encoding="utf-8")
    at = text.index("0.1.0") if "0.1.0" in text else 0
    path.write_text(f"{text[:at]}1e999{text[at:]}", encoding="utf-8")
    fit(folder)
    assert "report.txt" in said(capsys, folder, code=1)


@pytest.mark.parametrize("other", [float("inf"), float("nan"), None])
def test_a_fraction_of_a_table_that_is_none_differs(other: float | None) -> None:
    stated, found = (pl.DataFrame({"a": [one, 2.0]}) for one in (other, 1.0))
    assert len(first_differences("t", stated, found)) == 1
    assert len(first_differences("t", found, stated)) == 1
    near = pl.DataFrame({"a": [1.0 + 1e-12, 2.0]})
    assert not first_differences("t", near, found)


# ---- the symbol table


def test_a_symbol_table_is_asked_for_by_name_and_known_by_its_digest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "symbols"
    table.write_text("ffff800080000000 T _text\nffff800080010000 T kvm_pgtable_stage2_unmap\n")
    other = tmp_path / "others"
    other.write_text("ffff800080000000 T _text\nffff800080010000 T kvm_other\n")
    for options in ([], ["--scrub"]):
        of = ran(
            "analyze", GRAPH, "--kallsyms", table, *options, folder=tmp_path / f"out{len(options)}"
        )
        assert "the symbol table which named addresses" in said(
            capsys, of, GRAPH, "--kallsyms", table
        )
        text = said(capsys, of, GRAPH, code=2)
        assert "named by a symbol table that is not in the folder, then called" in text
        assert "--kallsyms FILE" in text
        said(capsys, of, GRAPH, "--kallsyms", other, code=2)
