"""What the options of `analyze` and `compare` write, and what they refuse to."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from traceview.cli.app import run

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "sample_traces" / "fgraph-6.12-neoverse-n1.perfetto"
PAIR = ROOT / "sample_traces" / "switch-6.12"


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    copy = tmp_path / "trace.perfetto"
    shutil.copy(DEMO, copy)
    shutil.copy(f"{DEMO}.host.json", f"{copy}.host.json")
    return copy


def test_every_output_is_written_at_once_and_nothing_else(
    trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    code = run(
        [
            "analyze", str(trace), "--json", "-o", str(out / "a.json"),
            "--html", str(out / "a.html"),
            "--svg", str(out / "svg"), "--evidence", str(out / "evidence"),
        ]
    )  # fmt: skip
    said = capsys.readouterr()
    assert (code, said.out) == (0, "")
    assert {path.name for path in out.iterdir()} == {"a.json", "a.html", "svg", "evidence"}
    assert json.loads((out / "a.json").read_text())["document"] == "analysis"
    assert (out / "a.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    for name in ("a.json", "a.html", "svg/", "evidence/"):
        assert f"{out}/{name}" in said.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--json", "--mail"], "--json and --mail exclude each other"),
        (["--parquet", "p", "--evidence", "e"], "--parquet and --evidence exclude each other"),
        (["--html", "-", "--mail"], "--html - and the mail both go to standard output"),
        (["--png", "-"], "--png - is refused: it takes a folder"),
        (["--evidence", "-"], "--evidence - is refused: it takes a folder"),
        (["-o", "no/such/folder"], "there is no folder no/such"),
        (["--html", "page", "-o", "page"], "--html and -o name the same file"),
        (["-o", "x" * 300], "cannot be written"),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_work(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(["analyze", "no-such-trace", *options]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["-o", "--html"])
def test_what_is_read_is_never_overwritten(
    option: str, trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    link = tmp_path / "link"
    link.symlink_to(trace)
    for name in (trace, link, Path(f"{trace}.host.json")):
        before = name.read_bytes()
        assert run(["analyze", str(trace), "--mail", option, str(name), "--force"]) == 2
        assert "is read, and would be overwritten" in capsys.readouterr().err
        assert name.read_bytes() == before


@pytest.mark.parametrize(
    "command",
    [
        ["audit", "{}", "-o", "{}"],
        ["info", "{}", "-o", "{}"],
        ["query", "{}", "SELECT 1 AS one", "--format", "csv", "-o", "{}"],
        ["export", "--perfetto", "{}.host.json", "{}"],
    ],
)
def test_no_command_overwrites_what_it_reads(
    command: list[str], trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = [path.read_bytes() for path in (trace, Path(f"{trace}.host.json"))]
    assert run([word.format(trace) for word in (*command, "--force")]) == 2
    assert "is read, and would be overwritten" in capsys.readouterr().err
    assert [path.read_bytes() for path in (trace, Path(f"{trace}.host.json"))] == before


def test_a_picture_that_is_there_is_refused_before_the_work(
    trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures, page = tmp_path / "pictures", tmp_path / "page.html"
    pictures.mkdir()
    (pictures / "split.svg").write_text("mine")
    assert run(["analyze", str(trace), "--svg", str(pictures), "--html", str(page)]) == 2
    assert "split.svg exists already" in capsys.readouterr().err
    assert not page.exists()


def test_devices_are_written_to_as_they_are(
    trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    null = os.devnull
    assert run(["analyze", str(trace), "--mail", "-o", null, "--html", null]) == 0
    assert Path(null).is_char_device()
    capsys.readouterr()


def test_the_page_alone_goes_to_standard_output(
    trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["analyze", str(trace), "--html", "-"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("<!DOCTYPE html>")
    assert said.out.endswith("</html>\n")


def test_a_mail_is_the_same_in_a_file_and_on_the_screen(
    trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["analyze", str(trace), "--mail"]) == 0
    shown = capsys.readouterr().out
    assert run(["analyze", str(trace), "--mail", "-o", str(tmp_path / "m")]) == 0
    written = (tmp_path / "m").read_text()
    assert shown.partition("== How to reproduce")[0] == written.partition("== How to reproduce")[0]


@pytest.mark.parametrize("command", [["analyze"], ["analyze", "--mail"], ["info"], ["audit"]])
def test_a_name_that_is_no_utf_8_is_refused_in_words(
    command: list[str], trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = os.fsdecode(os.fsencode(trace.parent) + b"/caf\xe9")
    trace.rename(odd)
    assert run([*command, odd]) == 2
    assert "no UTF-8" in capsys.readouterr().err


def test_charts_of_one_side_are_refused_before_the_work(
    capsys: pytest.CaptureFixture[str],
) -> None:
    traces = [str(path) for path in sorted(PAIR.glob("per-leaf-*-top.txt.xz"))]
    assert run(["compare", "--aa", *traces, "--html", "page.html"]) == 2
    assert "show two sides, and --aa has one" in capsys.readouterr().err
