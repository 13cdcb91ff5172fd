"""`traceview compare` as a user meets it, over the real captures: forms, options, golden output.

After a wanted change: `TRACEVIEW_GOLDEN=1 pytest tests/test_compare_cli.py` writes the golden
files; look at the difference.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.boots import KERNELS, names_of_boots, put_boots
from traceview.cli.app import run
from traceview.cli.several import written_out
from traceview.host import read_settings
from traceview.queries.recording_plan import RecordedRun, recording_plan

TRACES = Path(__file__).parent.parent.parent / "shared" / "traces"
GOLDEN = Path(__file__).parent / "golden"
DOCS = Path(__file__).parent.parent / "docs"
captures = [
    pytest.mark.captures,
    pytest.mark.skipif(not TRACES.exists(), reason=f"the captures are not there: {TRACES}"),
]
SEVERAL = {"--base", "--with"}
# Members of documents that other tests hold to what they should be.
ELSEWHERE = {"sources", "caveats", "verdicts", "diagnostics"}


@pytest.fixture(autouse=True)
def _width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture(scope="module")
def boots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The captures of `runs` with the sidecars that order.json gives them."""
    folder = tmp_path_factory.mktemp("runs")
    put_boots(folder)
    return folder


def of_boots(boots: Path) -> list[str]:
    base, with_ = ([str(boots / name) for name in names_of_boots(kernel)] for kernel in KERNELS)
    return ["--base", *base, "--with", *with_]


def of_observer(*details: str) -> list[str]:
    details = details or ("top.txt", "split.txt.zst")
    base, with_ = (
        [str(TRACES / "observer" / kernel / name) for name in details] for kernel in KERNELS
    )
    labels = [text for name in KERNELS for _ in details for text in ("--label", name)]
    return [
        "--base", *base, "--with", *with_, "--origin", "emulated", "--run", "boot", *labels
    ]  # fmt: skip


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> tuple[str, str]:
    assert run(["compare", *arguments]) == code
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    assert "Deprecat" not in err
    return out, err


def is_golden(name: str, text: str, *folders: Path) -> None:
    for folder in folders:
        text = text.replace(str(folder), "DIR")
    if name.endswith(".json"):
        read = json.loads(text)
        text = json.dumps({key: read[key] for key in read if key not in ELSEWHERE}, indent=1) + "\n"
    path = GOLDEN / name
    if os.environ.get("TRACEVIEW_GOLDEN") and not os.environ.get("CI"):
        path.write_text(text, encoding="utf-8")
    expected = path.read_text(encoding="utf-8")
    if name.endswith(".json"):
        nearly(json.loads(text), json.loads(expected), "")
    else:
        assert text == expected


def nearly(found: Any, expected: Any, where: str) -> None:
    """Equal but for the last digits of numbers, which a library may change."""
    if isinstance(expected, dict):
        assert list(found) == list(expected), where
        for key, value in expected.items():
            nearly(found[key], value, f"{where}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for at, value in enumerate(expected):
            nearly(found[at], value, f"{where}[{at}]")
    elif isinstance(expected, float) and isinstance(found, float):
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-9), where
    else:
        assert found == expected, where


class TestBoots:
    """6.1 against 6.12, six boots each, recorded in concurrent pairs."""

    pytestmark = captures

    def test_report_is_the_golden_one(
        self, boots: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out, err = said(capsys, *of_boots(boots), "--claim", "at least 3x")
        assert err == ""
        is_golden("compare-runs.txt", out, boots)

    def test_document_is_the_golden_one(
        self, boots: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out, _ = said(capsys, *of_boots(boots), "--claim", "at least 3x", "--json")
        is_golden("compare-runs.json", out, boots)
        read = json.loads(out)
        largest = max(read["sizes"], key=lambda one: one["leaves"])
        assert largest["base_counts"]["invalidate_leaf"] == 2048
        assert largest["with_counts"]["invalidate_range"] == 1
        assert read["plan"]["kind"] == "paired_concurrent"
        assert read["claims"][0]["verdict"] == "open"

    @pytest.mark.parametrize(("claim", "code"), [("at least 3x", 0), ("at least 50x", 1)])
    def test_a_claim_that_fails_is_an_exit_code(
        self, claim: str, code: int, boots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """As if they were of hardware: of emulated times no claim is judged."""
        for file in boots.iterdir():
            if file.name.endswith(".host.json"):
                stated = json.loads(file.read_text())
                (tmp_path / file.name).write_text(json.dumps({**stated, "origin": "hardware"}))
            else:
                (tmp_path / file.name).symlink_to(file)
        arguments = (*of_boots(tmp_path), "--claim", claim, "--quiet")
        assert said(capsys, *arguments, code=code) == ("", "")

    def test_runs_of_one_side_against_themselves(
        self, boots: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        arguments = of_boots(boots)
        traces = arguments[1 : arguments.index("--with")]
        out, _ = said(capsys, "--aa", *traces)
        is_golden("compare-aa.txt", out, boots)
        read = json.loads(said(capsys, "--aa", *traces, "--json")[0])
        assert len(read["runs"]) == 6

    def test_one_boot_on_both_sides_is_refused(
        self, boots: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        names = ("top.txt", "split.txt.zst")
        sides = [[str(path) for path in sorted(boots.glob(f"6.1-max-*{name}"))] for name in names]
        _, err = said(capsys, "--base", *sides[0], "--with", *sides[1], code=2)
        assert "the same runs are on both sides: run-01 of 6.1-max" in err
        assert "and 3 more" in err


class TestObserver:
    """One deterministic run a side."""

    pytestmark = captures

    def test_report_is_the_golden_one(self, capsys: pytest.CaptureFixture[str]) -> None:
        out, err = said(capsys, *of_observer())
        assert err == ""
        is_golden("compare-observer.txt", out, TRACES)

    def test_document_is_the_golden_one(self, capsys: pytest.CaptureFixture[str]) -> None:
        out, _ = said(capsys, *of_observer(), "--json")
        is_golden("compare-observer.json", out, TRACES)

    def test_every_member_of_the_documents_is_documented(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        text = (DOCS / "json.md").read_text(encoding="utf-8")
        section = text.partition("## traceview compare --json")[2].partition("\n## ")[0]
        read = json.loads(said(capsys, *of_observer(), "--json")[0])
        runs = json.loads(
            said(capsys, "--aa", str(TRACES / "observer/6.1-max/top.txt"), "--json")[0]
        )
        parts = read["decomposition"]
        of_one = [read[name][0] for name in ("sizes", "sides", "lines")]
        for members in (read, runs, read["headline"], parts, parts["parts"][0], *of_one):
            for member in (*members, *runs["sizes"][0]):
                assert f"`{member}`" in section, member

    def test_a_calibration_serves_in_place_of_captures_of_the_unmap_alone(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        arguments = of_observer("split.txt.zst")
        given = [
            "--base-calibration", str(TRACES / "observer/6.1-max/top.txt"),
            "--with-calibration", str(TRACES / "observer/6.12-max/top.txt"),
        ]  # fmt: skip
        raw, corrected = (
            json.loads(said(capsys, *arguments, *more, "--json")[0])["headline"]
            for more in ([], given)
        )
        assert raw["variant"] == "raw"
        assert corrected["variant"] == "corrected"
        # The captures of the unmap alone say 1.69.
        assert raw["value"] == pytest.approx(1.78, abs=0.01)
        assert corrected["value"] == pytest.approx(1.69, rel=0.03)

    def test_filters_keep_their_part_of_both_sides(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out, _ = said(capsys, *of_observer(), "--step", "w04*", "--json")
        read = json.loads(out)
        assert [one["stem"] for one in read["sizes"]] == ["w04"]
        assert read["filters"] == "step w04*"
        # What tracing cost is known from all steps.
        assert read["sides"][0]["tracing_costs"][0]["strata"] == 8

    def test_an_order_of_each_trace_is_a_recording_plan(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        orders = [text for one in "1122" for text in ("--order", one)]
        read = json.loads(said(capsys, *of_observer(), *orders, "--json")[0])
        assert [one["order"] for one in read["sources"]] == [1, 1, 2, 2]
        assert "order" in read["plan"]["text"]
        _, err = said(capsys, *of_observer(), "--order", "1", code=2)
        assert "--order is given 1 time for 4 traces" in err

    def test_one_file_on_both_sides_is_refused(self, capsys: pytest.CaptureFixture[str]) -> None:
        trace = str(TRACES / "observer/6.1-max/top.txt")
        _, err = said(capsys, "--base", trace, "--with", trace, code=2)
        assert "traceview: " in err

    def test_two_labels_are_those_of_the_sides_and_their_origin_and_symbols_too(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        arguments = [one for one in of_observer() if one not in {*KERNELS, "--label"}]
        given = [*arguments, "--label", "old", "--label", "new", "--origin", "emulated"]
        read = json.loads(said(capsys, *given, "--json")[0])
        assert [one["label"] for one in read["sources"]] == ["old", "old", "new", "new"]
        assert {one["origin"] for one in read["sources"]} == {"emulated"}

    def test_filters_that_leave_nothing_are_named(self, capsys: pytest.CaptureFixture[str]) -> None:
        _, err = said(capsys, *of_observer(), "--cpu", "77", code=2)
        assert "the filters (cpu 77) leave nothing of --base" in err

    def test_one_set_of_one_strategy_has_nothing_to_compare(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        trace = str(TRACES / "observer/6.1-max/split.txt.zst")
        _, err = said(capsys, "--group", "strategy", trace, code=2)
        assert "no unmap of strategy deferred_range" in err


@pytest.mark.parametrize(
    ("given", "expanded"),
    [
        (["--base", "a", "b", "--with", "c"], ["--base", "a", "--base", "b", "--with", "c"]),
        (["--base=a", "b", "-q", "--with", "-"], ["--base=a", "--base", "b", "-q", "--with", "-"]),
        (["x", "--base", "a", "--", "b"], ["x", "--base", "a", "--", "b"]),
    ],
)
def test_an_option_takes_all_files_behind_it(given: list[str], expanded: list[str]) -> None:
    assert written_out(given, SEVERAL) == expanded


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "nothing to compare"),
        (["--base", "a"], "--with is missing"),
        (["--with", "a"], "--base is missing"),
        (["x", "--base", "a", "--with", "b"], "neither of --base nor of --with: x"),
        (["--aa", "--group", "strategy", "x"], "--group and --aa exclude each other"),
        (["--group", "kernel", "x"], "unknown --group 'kernel'"),
        (["--aa"], "--aa wants the traces of one set"),
        (["--aa", "x", "--claim", "3x"], "--claim speaks of two sides"),
        (["--aa", "x", "--with-calibration", "y"], "--with-calibration has no side"),
        (["--base", "a", "--with", "b", "--claim", "faster"], "not a claim: 'faster'"),
    ],
)
def test_a_command_that_cannot_be_meant_is_refused(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, err = said(capsys, *arguments, code=2)
    assert why in " ".join(err.split())


@pytest.mark.parametrize("arguments", [["--base", "--with", "c"], ["--base", "a", "--with"]])
def test_an_option_without_a_file_is_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    _, err = said(capsys, *arguments, code=2)
    assert "it takes one or more files" in err


def test_the_help_shows_each_form(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = said(capsys, "--help")
    for form in ("--base TRACE... --with TRACE...", "--group strategy TRACE...", "--aa TRACE..."):
        assert f"compare {form} [OPTIONS]" in out


def test_the_recipe_of_the_document_writes_sidecars_that_are_a_plan(tmp_path: Path) -> None:
    text = (DOCS / "compare.md").read_text(encoding="utf-8")
    recipe = text[text.index("    order=0 last=") :].partition("\n\n")[0]
    shell = shutil.which("bash")
    if shell is None:
        pytest.skip("no bash")
    subprocess.run([shell, "-eu", "-c", recipe], cwd=tmp_path, check=True)
    sidecars = {file.name: json.loads(file.read_text()) for file in tmp_path.iterdir()}
    assert len(sidecars) == 8
    assert sidecars["b-2-split.dat.host.json"] == {
        "label": "b", "run": "b-2", "order": 3, "origin": "hardware",
    }  # fmt: skip
    for name in sidecars:
        read_settings(tmp_path / name.removesuffix(".host.json"))
    orders = {(one["label"], one["order"]) for one in sidecars.values()}
    runs = [RecordedRun("base" if label == "a" else "with", order) for label, order in orders]
    assert recording_plan(runs).kind == "interleaved"
