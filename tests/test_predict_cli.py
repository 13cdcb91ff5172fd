"""`traceview predict`: what it prints, refuses and exits with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from traceview.cli.app import app

SWITCH = Path(__file__).parent.parent / "sample_traces" / "switch-6.12"
SAMPLES = SWITCH.parent
GOLDEN = Path(__file__).parent / "golden"
BASE = [str(path) for path in sorted(SWITCH.glob("per-leaf-run-0[146]-*.xz"))]
OTHER = [str(path) for path in sorted(SWITCH.glob("deferred-run-0[235]-*.xz"))]
DEFERRED = ("--strategy", "deferred_range")


def run(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["predict", *arguments], env={"COLUMNS": "120"})
    return done.exit_code, done.stdout, done.stderr


def against(paths: list[str]) -> list[str]:
    return ["--against", *paths]


def test_the_report_of_the_bundled_pair_is_the_golden_one() -> None:
    code, text, _ = run(*BASE, *DEFERRED, "--sizes", "768,2048,16M,100000", *against(OTHER))
    assert text == (GOLDEN / "predict-switch.txt").read_text(encoding="utf-8")
    assert code == 0


def test_mail_and_markdown_say_the_same() -> None:
    _, mail, _ = run(*BASE, *DEFERRED, "--mail")
    assert mail == (GOLDEN / "predict-switch-mail.txt").read_text(encoding="utf-8")
    assert max(map(len, mail.splitlines())) <= 72
    _, marked, _ = run(*BASE[:2], *DEFERRED, "--markdown")
    assert "## Held out and predicted" in marked
    assert "the times are no evidence about hardware" in marked


def test_an_interval_that_is_too_wide_is_said_to_be_of_no_use() -> None:
    _, text, _ = run(*BASE[:2], *DEFERRED)
    assert "TOO WIDE TO BE USED: the intervals of 2 of 5 predicted times are wider than 15%" in text
    _, text, _ = run(*BASE[:2], *DEFERRED, "--step", "4k-64K*")
    assert "to each side, too wide to be used as a number" in text
    assert "as fast" not in text


def test_the_document_holds_counts_times_and_what_was_held_out() -> None:
    code, text, _ = run(*BASE, *DEFERRED, "--json", *against(OTHER[:2]))
    found = json.loads(text)
    assert code == 0
    assert (found["strategy"], found["predicted_strategy"]) == ("per_pte", "deferred_range")
    assert found["host"]["origin"] == "emulated"
    cell = max(found["cells"], key=lambda one: one["leaves"])
    assert cell["after"]["invalidate_range"] == 1
    assert cell["low_ns"] <= cell["predicted_ns"] <= cell["high_ns"]
    assert all(one["in_interval"] for one in found["against_times"])
    assert {one["kind"] for one in found["held_out"]} == {"halves", "costs", "sizes", "runs"}


def test_a_count_that_is_not_as_predicted_is_a_finding() -> None:
    code, text, _ = run(*BASE[:2], *DEFERRED, "--tables", "deferred", *against(OTHER[:2]))
    assert code == 1
    assert "for tables: as predicted in 0 of 34 unmaps; first in" in text


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--strategy", "none"), "no strategy: 'none'"),
        (("--sizes", "big"), "not a size: 'big'"),
        (("--level", "4"), "no level of leaves: '4'"),
        (("--tables", "never"), "--tables 'never'"),
        (("--cpus", "8"), "at least 3 different numbers of CPUs"),
        (("--step", "none"), "none"),
    ],
)  # fmt: skip
def test_what_cannot_be_predicted_is_refused_in_words(arguments: tuple[str, ...], why: str) -> None:
    code, _, said = run(*BASE[:2], *arguments)
    assert code == 2
    assert why in said


def test_deferred_tables_of_a_kernel_that_does_not_defer_them_are_remarked() -> None:
    _, text, _ = run(*BASE[:2], *DEFERRED, "--tables", "deferred")
    assert "kernels 6.6 to 6.8 do that; this one is 6.12.95" in text


def test_detailed_captures_alone_are_held_by_counts_and_not_by_times() -> None:
    split = [path for path in OTHER if "split" in path][:1]
    code, text, _ = run(*BASE[:2], *DEFERRED, *against(split))
    assert code == 0
    text = " ".join(text.split())
    assert "as predicted in each of 34 unmaps" in text
    assert "Times are not compared: the times here are of captures of the unmap alone" in text


def test_a_narrow_terminal_keeps_the_interval_before_the_value() -> None:
    done = CliRunner().invoke(app, ["predict", *BASE[:2], *DEFERRED], env={"COLUMNS": "60"})
    assert "interval" in done.stdout.split("Unmaps like those measured")[1].splitlines()[1]


def test_a_capture_of_the_unmap_alone_is_refused_by_itself() -> None:
    code, _, said = run(next(path for path in BASE if "top" in path), *DEFERRED)
    assert code == 2
    assert "no unmap whose strategy and leaves are known" in said


def test_both_sides_at_once_are_refused() -> None:
    code, _, said = run(*BASE[:2], *OTHER[:2], *DEFERRED)
    assert code == 2
    assert "compare --group strategy" in said


def test_a_host_without_fwb_is_told_that_it_would_not_defer() -> None:
    sample = str(SAMPLES / "fgraph-6.12-neoverse-n1.perfetto")
    code, _, said = run(sample, *DEFERRED)
    assert code == 2
    assert "predict" not in said
    assert said


def test_captures_of_other_work_cannot_hold_a_prediction() -> None:
    code, _, said = run(*BASE[:2], *DEFERRED, "--against", str(SAMPLES / "fgraph-6.12-max.txt.zst"))
    assert code == 2
    assert "same workload" in said
