"""The program as a user meets it: output, options, files."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from traceview.cli.app import run
from traceview.schema import TABLES

ROOT = Path(__file__).parent.parent
DEMO = str(ROOT / "sample_traces" / "fgraph-6.12-neoverse-n1.perfetto")
TEXT = str(ROOT / "sample_traces" / "fgraph-6.12-max.txt.zst")
PROGRAM = [sys.executable, "-c", "from traceview.cli import main; main()"]


@pytest.fixture(autouse=True)
def _no_stated_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> tuple[str, str]:
    """Standard output and standard error of a run in this process."""
    assert run(list(arguments)) == code
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return out, err


def on_terminal(columns: int, *arguments: str, **variables: str) -> str:
    """What the program writes on a terminal of that width."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {name: text for name, text in os.environ.items() if name != "NO_COLOR"}
    environment |= {"TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", **variables}
    child = subprocess.Popen([*PROGRAM, *arguments], stdout=follower, env=environment)
    os.close(follower)
    written = io.BytesIO()
    while True:
        try:
            chunk = os.read(leader, 65536)
        except OSError:  # Linux: the other side is closed
            break
        if not chunk:
            break
        written.write(chunk)
    os.close(leader)
    assert child.wait() == 0
    return written.getvalue().decode()


@pytest.mark.parametrize("arguments", [["--help"], ["analyze", "--help"], ["info", "-h"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from traceview.cli.app import run; code = run(sys.argv[1:]);"
        "heavy = {'polars', 'pyarrow', 'altair', 'numpy', 'perfetto', 'ptars', 'zstandard'};"
        "print(code, sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True
    )
    assert done.stderr == "0 []\n"
    assert "Usage: " in done.stdout


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "--version")[0] == "traceview 0.1.0\n"


def test_a_summary_in_a_pipe_is_plain(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = said(capsys, "analyze", DEMO)
    assert out.isascii()
    assert "\x1b" not in out
    assert "origin emulated" in out
    assert "Where the time went" in out
    assert err == ""
    assert max(len(line) for line in out.splitlines()) <= 100


def test_a_pipe_is_as_wide_as_columns_says(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    out, _ = said(capsys, "analyze", DEMO)
    assert 40 < max(len(line) for line in out.splitlines()) <= 60


def test_a_terminal_gets_colours_and_lines_that_fit() -> None:
    shown = on_terminal(72, "info", DEMO, COLUMNS="200")
    assert "\x1b[" in shown
    plain = on_terminal(72, "info", DEMO, COLUMNS="200", NO_COLOR="1")
    assert "\x1b" not in plain
    assert max(len(line) for line in plain.splitlines()) <= 72


def test_json_is_one_object_and_all_of_the_output(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = said(capsys, "analyze", DEMO, "--json", "--quiet")
    read = json.loads(out)
    assert err == ""
    assert read["sources"][0]["origin"] == "emulated"
    assert "origin-emulated" in [caveat["code"] for caveat in read["caveats"]]
    assert read["sources"][0]["sha256"] == hashlib.sha256(Path(DEMO).read_bytes()).hexdigest()
    assert read["sources"][0]["unmaps"] == len(read["unmaps"]) > 0


def test_info_has_a_document_too(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = said(capsys, "info", DEMO, "--json")
    answers = {answer["code"]: answer["answer"] for answer in json.loads(out)["questions"]}
    assert answers["duration"] == "yes"
    assert answers["tlbi-dsb"] == "no"


def test_info_says_why_a_question_has_no_answer(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = said(capsys, "info", TEXT)
    assert "no      whether events were lost" in out
    out, _ = said(capsys, "info", DEMO, "--step-pattern", "(?P<edge>nothing)(?P<id>!)")
    assert "`traceview analyze --steps FILE`" in " ".join(out.split())


def test_every_table_is_written_and_no_other_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out, err = said(capsys, "analyze", DEMO, "--parquet", str(tmp_path / "out"), "--quiet")
    assert (out, err) == ("", "")
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == sorted(f"{name}.parquet" for name in TABLES)
    for name in ("events", "calls", "unmaps", "sources"):
        assert pq.read_metadata(tmp_path / "out" / f"{name}.parquet").num_rows > 0, name


def test_tables_are_only_overwritten_by_force(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = ["analyze", DEMO, "--parquet", str(tmp_path)]
    assert f"wrote {len(TABLES)} tables" in said(capsys, *arguments)[1]
    assert "--force" in said(capsys, *arguments, code=2)[1]
    said(capsys, *arguments, "--force")


def test_filters_keep_what_they_name(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = said(capsys, "analyze", TEXT, "--step", "w04.*", "--json")
    assert {row["step"] for row in json.loads(out)["unmaps"]} == {f"w04.{n}" for n in range(1, 7)}
    out, _ = said(capsys, "analyze", TEXT, "--step", "w04.1")
    assert "Only step w04.1" in out


def test_a_time_is_one_of_the_traces_clock(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = said(capsys, "analyze", TEXT, "--to", "4.7694", "--json")
    assert [row["step"] for row in json.loads(out)["unmaps"]] == ["w01.1"]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--step", "nosuch"], "no step 'nosuch'"),
        (["--trigger", "nosuch"], "unknown trigger"),
        (["--from", "noon"], "not a time"),
        (["--origin", "mars"], "unknown origin"),
        (["--step-pattern", "("], "pattern"),
        (["--host", "/nonexistent"], "sidecar cannot be read"),
        (["--kallsyms", "/nonexistent"], "cannot be read"),
        (["--vocabulary", "/nonexistent"], "cannot be read"),
        (["--steps", "/nonexistent"], "cannot be read"),
        (["--from", "4.8", "--to", "4.7"], "ends before it begins"),
        (["--parquet", "-"], "takes a folder"),
        (["--parquet", "/dev/null/x"], "tables cannot be written"),
        (["--cpu", "x"], "--cpu"),
        (["--top", "-1"], "--top"),
        (["--nosuch"], "--nosuch"),
    ],
)
def test_a_wrong_option_is_the_users_error(
    capsys: pytest.CaptureFixture[str], option: list[str], message: str
) -> None:
    out, err = said(capsys, "analyze", TEXT, *option, code=2)
    assert out == ""
    assert message in err


def test_a_trace_can_come_from_standard_input() -> None:
    with Path(DEMO).open("rb") as trace:
        done = subprocess.run(
            [*PROGRAM, "analyze", "-", "--origin", "emulated"],
            stdin=trace, check=True, capture_output=True, text=True,
        )  # fmt: skip
    assert done.stdout.startswith("<stdin>\n")
    assert "origin emulated" in done.stdout


def test_options_win_over_the_sidecar(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = said(capsys, "analyze", DEMO, "--label", "mine", "--run", "7", "--json")
    source = json.loads(out)["sources"][0]
    assert (source["label"], source["run"], source["origin"]) == ("mine", "7", "emulated")


def test_an_option_given_once_for_each_trace_is_that_of_the_trace(
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = DEMO.replace("fgraph-6.12-neoverse-n1.perfetto", "function-6.12-max.txt.zst")
    out, _ = said(capsys, "analyze", DEMO, other, "--label", "a", "--label", "b", "--json")
    assert [source["label"] for source in json.loads(out)["sources"]] == ["a", "b"]


@pytest.mark.parametrize("option", ["--label", "--run", "--origin", "--host", "--kallsyms"])
def test_an_option_given_otherwise_than_once_or_once_for_each_trace_is_refused(
    capsys: pytest.CaptureFixture[str], option: str
) -> None:
    times = 1 if option == "--host" else 3
    other = DEMO.replace("fgraph-6.12-neoverse-n1.perfetto", "function-6.12-max.txt.zst")
    _, err = said(capsys, "analyze", DEMO, other, *[option, "x"] * times, code=2)
    assert f"{option} is given" in err
    assert "TRACE.host.json" in err


def test_several_traces_are_grouped_by_label(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = said(capsys, "analyze", DEMO, TEXT)
    assert "\n  6.12 max\n" in out
    assert "\n  6.12 neoverse-n1\n" in out


def test_a_trace_given_twice_is_refused_and_both_names_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    copy, link = tmp_path / "copy.perfetto", tmp_path / "link.perfetto"
    copy.write_bytes(Path(DEMO).read_bytes())
    link.symlink_to(DEMO)
    for other in (DEMO, str(copy), str(link)):
        out, err = said(capsys, "analyze", DEMO, TEXT, other, code=2)
        assert out == ""
        assert f"one: {DEMO}\nthe other: {other}\n" in err
    assert "given twice" in said(capsys, "analyze", "-", "-", code=2)[1]


def test_traces_of_one_size_are_not_one_trace(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = "# tracer: nop\n vm-1 [000] ..... 1.000001: tracing_mark_write: {}\n"
    for name in "ab":
        (tmp_path / name).write_text(text.format(name), encoding="utf-8")
    said(capsys, "analyze", str(tmp_path / "a"), str(tmp_path / "b"))


def test_a_locale_without_unicode_is_no_obstacle() -> None:
    environment = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [*PROGRAM, "analyze", DEMO], env=environment, check=True, capture_output=True
    )
    assert b"Where the time went" in done.stdout
