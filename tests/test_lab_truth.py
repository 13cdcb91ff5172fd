"""The lab's captures: their sidecars, the ground truth, and traces compared with it."""

from __future__ import annotations

import json
import lzma
import re
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
import zstandard

from sample_traces.lab.captures import captures, read_setup, write_sidecars
from sample_traces.lab.check import check, differences, strategy
from sample_traces.lab.errors import LabError
from sample_traces.lab.folder import HERE
from sample_traces.lab.samples import SAMPLES, pack
from sample_traces.lab.truth import Step, read_truth
from traceview.host import KEYS, SIDECAR_SUFFIX

if TYPE_CHECKING:
    from pathlib import Path


def a_boot(folder: Path, **setups: str) -> Path:
    kernel = {"name": "6.12", "release": "6.12.95", "origin": "x"}
    row = {"kernel": kernel, "machine": {"cpu": "max"}}
    (folder / "boot.json").write_text(json.dumps(row))
    (folder / "guest.setup").write_text("kernel 6.12.95\nmachine aarch64\ncpus 2\n")
    log = (
        "[0.0] Booting Linux on physical CPU 0x0\n"
        "[0.1] CPU features: detected: Stage-2 Force Write-Back\n"
    )
    (folder / "dmesg.txt").write_text(log)
    for name, text in setups.items():
        (folder / f"{name}.setup").write_text(text)
    return folder


def test_a_capture_gets_a_sidecar_of_what_it_cannot_say(tmp_path: Path) -> None:
    setup = "recorder tracefs\nclock local\nbuffer_size_kb 64\ntraced a\ntraced b\n"
    out = a_boot(tmp_path, one=setup)
    (out / "one.txt").touch()
    (out / "one.truth.jsonl").touch()
    (found,) = write_sidecars(out)
    assert found.truth == out / "one.truth.jsonl"
    row = json.loads((out / f"one.txt{SIDECAR_SUFFIX}").read_text())
    assert row["origin"] == "emulated"
    assert row["label"] == "6.12 max"
    assert row["clock"] == "local"
    assert row["traced"] == ["a", "b"]
    assert row["host"]["fwb"] is True
    assert row["host"]["tlbirange"] is False
    assert row["host"]["buffer_size_kb"] == 64
    assert set(row) <= set(KEYS)


def test_a_capture_that_is_missing_or_twice_is_an_error(tmp_path: Path) -> None:
    out = a_boot(tmp_path, one="recorder x\nclock local\nbuffer_size_kb 64\n")
    with pytest.raises(LabError, match="there are 0 files"):
        captures(out)
    (out / "one.txt").touch()
    (out / "one.dat").touch()
    with pytest.raises(LabError, match="there are 2 files"):
        captures(out)


def test_a_setup_has_lists_numbers_and_words() -> None:
    found = read_setup("clock mono\ncpus 2\nkprobe_events p:a/b c\nkprobe_events r:a/d c\n\n")
    assert found == {"clock": "mono", "cpus": 2, "kprobe_events": ["p:a/b c", "r:a/d c"]}


LINE: dict[str, Any] = {
    "id": "s1.1", "clock": "mono", "begin_ns": 1, "end_ns": 2, "tid": 3, "action": "dontneed",
    "unmaps": 1, "empty_unmaps": 0, "leaves": {"3": 16}, "tables": {"2": 1, "3": 1},
}  # fmt: skip


def a_truth(tmp_path: Path, *rows: dict[str, Any]) -> Path:
    path = tmp_path / "x.truth.jsonl"
    path.write_text("".join(json.dumps({**LINE, **row}) + "\n" for row in rows))
    return path


def test_the_truth_is_read_by_step(tmp_path: Path) -> None:
    path = a_truth(tmp_path, {}, {"id": "s1.2", "empty_unmaps": None, "leaves": None})
    steps = read_truth(path)
    assert steps["s1.1"].leaves == {3: 16}
    assert steps["s1.1"].all_unmaps == 1
    assert steps["s1.2"].all_unmaps is None
    assert steps["s1.2"].leaves is None


def test_a_workload_that_failed_is_no_truth(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="failed at s1: /dev/kvm: No such file"):
        read_truth(a_truth(tmp_path, {"id": "s1", "error": "/dev/kvm: No such file"}))
    with pytest.raises(LabError, match="without steps"):
        read_truth(a_truth(tmp_path))
    with pytest.raises(LabError, match="one twice"):
        read_truth(a_truth(tmp_path, {}, {}))
    (tmp_path / "x.truth.jsonl").write_text("nothing\n")
    with pytest.raises(LabError, match="not a ground truth"):
        read_truth(tmp_path / "x.truth.jsonl")


COLUMNS = {
    "leaves": 16, "leaves_l1": 0, "leaves_l2": 0, "leaves_l3": 16, "invalidate_leaf": 16,
    "invalidate_table": 2, "invalidate_range": 0, "cmo": 0, "table_put": 2, "strategy": "per_pte",
}  # fmt: skip


def unmaps(*rows: dict[str, Any]) -> pl.DataFrame:
    schema = {name: pl.String if name == "strategy" else pl.Int64 for name in COLUMNS}
    return pl.DataFrame([{**COLUMNS, **row} for row in rows], schema=schema)


STEP = Step("s", "dontneed", 1, 0, {3: 16}, {2: 1, 3: 1}, 0, 1)


def test_a_trace_that_agrees_with_the_truth_has_nothing_wrong() -> None:
    found = check({"s": unmaps({})}, {"s": STEP}, "per_pte")
    assert found.wrong == []
    assert found.held == {"unmaps": 1, "leaves by level": 1, "freed tables": 1, "strategy": 1}
    assert found.untold == {}


@pytest.mark.parametrize(
    ("rows", "word"),
    [
        ([{}, {}], "unmaps: 2, in truth 1"),
        ([{"leaves_l3": 15, "leaves_l2": 1}], "leaves by level"),
        ([{"invalidate_table": 0}], "freed tables: 0, in truth 2"),
        ([{"strategy": "deferred_range"}], "strategy: .*deferred_range.*per_pte"),
    ],
)
def test_what_differs_from_the_truth_is_said_with_both(
    rows: list[dict[str, Any]], word: str
) -> None:
    found = check({"s": unmaps(*rows)}, {"s": STEP}, "per_pte")
    assert found.wrong
    assert any(re.search(word, line) for line in found.wrong)
    assert "WRONG" in found.line()


def test_what_a_trace_cannot_tell_is_not_taken_for_right() -> None:
    nothing = {name: None for name in COLUMNS if name != "strategy"}
    found = check({"s": unmaps({**nothing, "strategy": "unknown"})}, {"s": STEP}, "per_pte")
    assert found.wrong == []
    assert found.held == {"unmaps": 1}
    assert found.untold == {"leaves": 1, "freed tables": 1, "strategy": 1}


def test_a_step_that_the_trace_lacks_is_wrong_and_one_that_it_adds_too() -> None:
    found = check({"t": unmaps({})}, {"s": STEP}, "per_pte")
    assert found.wrong == ["s: unmaps: 0, in truth 1", "t: in the trace, not in the truth"]


def test_an_unknown_number_of_empty_unmaps_still_has_a_least() -> None:
    step = Step("s", "dontneed", 2, None, None, None, 0, 1)
    assert check({"s": unmaps({}, {}, {})}, {"s": step}, "per_pte").wrong == []
    assert check({"s": unmaps({})}, {"s": step}, "per_pte").wrong


@pytest.mark.parametrize(
    ("release", "facts", "expected"),
    [
        ("6.12.95+deb12-arm64", {"fwb": True, "tlbirange": True}, "deferred_range"),
        ("6.12.95+deb12-arm64", {"fwb": True, "tlbirange": False}, "per_pte"),
        ("6.12.95+deb12-arm64", {}, "per_pte"),
        ("6.1.0-50-arm64", {"fwb": True, "tlbirange": True}, "per_pte"),
        ("7.2.12", {"fwb": True, "tlbirange": True}, "deferred_range"),
    ],
)
def test_the_strategy_is_that_of_kernel_and_features(
    release: str, facts: dict[str, bool], expected: str
) -> None:
    assert strategy(release, facts) == expected


def test_two_captures_of_one_workload_differ_where_a_count_does() -> None:
    one = {"s": unmaps({}), "t": unmaps({})}
    assert differences(one, {"s": unmaps({}), "t": unmaps({})}) == []
    assert differences(one, {"s": unmaps({"cmo": 3}), "u": unmaps({})}) == [
        "s: cmo 0 and 3",
        "t: only in the first",
        "u: only in the second",
    ]


def test_every_bundled_sample_is_made_by_the_lab() -> None:
    folder = HERE.parent
    bundled = {
        path.name
        for path in folder.iterdir()
        if path.is_file() and path.suffix not in {".md", ".json", ".py"}
    }
    assert {one.file for one in SAMPLES} == {
        name for name in bundled if not name.startswith("insn")
    }


def test_a_sample_is_packed_by_its_suffix(tmp_path: Path) -> None:
    content = b"abc" * 100
    (tmp_path / "x").write_bytes(content)
    for suffix, opened in ((".xz", lzma.decompress), (".dat", bytes)):
        pack(tmp_path / "x", tmp_path / f"y{suffix}")
        assert opened((tmp_path / f"y{suffix}").read_bytes()) == content
    pack(tmp_path / "x", tmp_path / "y.zst")
    packed = (tmp_path / "y.zst").read_bytes()
    assert zstandard.ZstdDecompressor().decompress(packed) == content
