"""Exit codes, and what the user sees when something goes wrong (docs/exit-codes.md)."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from traceview.cli import analyze
from traceview.cli.app import run

ROOT = Path(__file__).parent.parent
DEMO = str(ROOT / "sample_traces" / "fgraph-6.12-neoverse-n1.perfetto")
PROGRAM = [sys.executable, "-c", "from traceview.cli import main; main()"]
PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452")


def failing(error: BaseException) -> object:
    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    return fail


@pytest.mark.parametrize("command", ["analyze", "info"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (PNG, "not a trace that traceview knows"),
        (b"hello\n" * 100, "not a trace that traceview knows"),
        (gzip.compress(PNG, mtime=0), "not a trace that traceview knows"),
        (b"\x1f\x8b\x08nonsense", ""),
        (b"\x28\xb5\x2f\xfdnonsense", ""),
        (b"PK\x03\x04nonsense", "zip"),
    ],
    ids=["empty", "PNG", "text", "packed PNG", "no gzip", "no zstd", "no zip"],
)
def test_what_is_no_trace_is_refused_in_words(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str, content: bytes, message: str
) -> None:
    path = tmp_path / "trace"
    path.write_bytes(content)
    assert run([command, str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("traceview: ")
    assert message in err
    assert str(path) in err
    assert "Traceback" not in err


@pytest.mark.parametrize("name", ["nosuch", ".", "a\nb\x1b[31m", ""])
def test_a_file_that_cannot_be_read_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    assert run(["analyze", str(tmp_path / name)]) == 2
    err = capsys.readouterr().err
    assert str(tmp_path) in err
    assert "\x1b" not in err


def test_strict_refuses_damage_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.perfetto"
    damaged.write_bytes(Path(DEMO).read_bytes()[:-3])
    arguments = ["analyze", str(damaged), "--strict", "--parquet", str(tmp_path / "out")]
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "--strict refuses this input" in err
    assert not (tmp_path / "out").exists()
    assert run([*arguments[:2], "--quiet"]) == 0


UNKNOWN_LOSS = str(ROOT / "sample_traces" / "fgraph-6.12-max.txt.zst")


@pytest.mark.parametrize("command", ["analyze", "info", "audit"])
def test_strict_notes_where_it_cannot_know_of_loss(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    words = "note: --strict cannot know whether events of "
    assert run([command, UNKNOWN_LOSS, "--strict"]) in {0, 1}
    assert (
        capsys.readouterr().err
        == f"{words}{UNKNOWN_LOSS} were lost: ftrace text does not say here\n"
    )
    assert run([command, DEMO, "--strict"]) in {0, 1}
    assert words not in capsys.readouterr().err
    if command != "info":
        assert run([command, UNKNOWN_LOSS, "--strict", "--quiet"]) in {0, 1}
        assert capsys.readouterr().err == ""


def test_a_defect_of_ours_is_one_line_and_says_how_to_report_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRACEVIEW_DEBUG", raising=False)
    monkeypatch.setattr(analyze, "open_traces", failing(RuntimeError("two\nlines")))
    assert run(["analyze", DEMO]) == 3
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "RuntimeError: two lines" in err
    assert "please report" in err


def test_a_defect_of_ours_shows_where_it_happened_when_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACEVIEW_DEBUG", "1")
    monkeypatch.setattr(analyze, "open_traces", failing(RuntimeError("oops")))
    assert run(["analyze", DEMO]) == 3
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_is_130_and_leaves_no_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(analyze, "refuse_damage", failing(KeyboardInterrupt()))
    assert run(["analyze", DEMO, "--parquet", str(tmp_path / "out")]) == 130
    assert capsys.readouterr().err == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
def test_a_signal_ends_the_program_and_leaves_nothing(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    # The step file is a pipe: the program waits for it with its tables open.
    pipe, out = tmp_path / "steps", tmp_path / "out"
    os.mkfifo(pipe)
    child = subprocess.Popen(
        [*PROGRAM, "analyze", DEMO, "--steps", str(pipe), "--parquet", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A shell starts its background jobs, and so this test perhaps, with SIGINT ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    with pipe.open("w"):  # returns once the program reads
        assert len(list(out.iterdir())) > 0
        child.send_signal(number)
    printed = child.communicate(timeout=60)
    assert (child.returncode, *printed) == (code, b"", b"")
    assert not out.exists()


def test_a_closed_pipe_is_silent() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*PROGRAM, "analyze", DEMO], stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


@pytest.mark.parametrize("arguments", [["analyze", DEMO], ["info", DEMO, "--json"], ["--help"]])
def test_a_full_disk_is_no_defect_of_ours(arguments: list[str]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*PROGRAM, *arguments], stdout=full, stderr=subprocess.PIPE, check=False, text=True
        )
    assert done.returncode == 2
    assert done.stderr == "traceview: standard output cannot be written: No space left on device\n"


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["info", DEMO], 0), (["--version"], 0), (["--help"], 0), (["info", "nosuch"], 2)],
    ids=["info", "version", "help", "error"],
)
def test_a_closed_standard_stream_changes_no_exit_code(
    closed: str, arguments: list[str], code: int
) -> None:
    done = shell(f'exec "$@" {closed}', *PROGRAM, *arguments)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert ">&-" not in closed.split() or done.stdout == ""


@pytest.mark.parametrize("command", ["analyze", "info", "claims"])
def test_reading_from_a_closed_standard_input_is_refused_in_words(command: str) -> None:
    done = shell('exec "$@" <&-', *PROGRAM, command, "-")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "traceview: standard input is closed\nin file: <stdin>\n"


def test_tables_are_not_written_into_a_closed_stream(tmp_path: Path) -> None:
    """A file that is opened gets the lowest free number, which is that of standard output."""
    arguments = ["analyze", DEMO, "--parquet", str(tmp_path / "out")]
    assert shell('exec "$@" >&- 2>&-', *PROGRAM, *arguments).returncode == 0
    assert all(
        path.read_bytes()[:4] == b"PAR1" == path.read_bytes()[-4:]
        for path in (tmp_path / "out").glob("*.parquet")
    )


def shell(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", script, "sh", *arguments], capture_output=True, check=False, text=True
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["analyze", DEMO, "--top", "x"], "'--top': not a whole number: 'x'"),
        (["analyze", DEMO, "--top", "-1"], "'--top': less than 0: -1"),
        (["analyze", DEMO, "--cpu", "1.5"], "'--cpu': not a whole number: '1.5'"),
        (["audit", DEMO, "--tid", "x"], "'--tid': not a whole number: 'x'"),
        (["compare", "--aa", DEMO, "--order", "x"], "'--order': not a whole number: 'x'"),
        (["compare", "--aa", DEMO, "--order", str(2**31)], "'--order': more than 2147483647"),
    ],
)
def test_what_is_no_number_is_repeated(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert run(arguments) == 2
    assert said in capsys.readouterr().err


def test_two_traces_are_too_many_for_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["info", "a", "b"]) == 2
    assert "info takes one trace, and 2 are given: a, b" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["*.dat", "run-?.dat"])
def test_a_pattern_that_matches_nothing_is_called_so(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    assert run(["analyze", str(tmp_path / name)]) == 2
    assert "(no file matches the pattern)" in capsys.readouterr().err
    assert run(["analyze", str(tmp_path / "nosuch")]) == 2
    assert "no file matches" not in capsys.readouterr().err
