"""What `traceview audit` prints: terminal text and JSON, held by golden files.

Facts of the source and its caveats belong to every command and are left out. Run with
TRACEVIEW_GOLDEN=write to write them anew.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from typer.testing import CliRunner

from tests.writers import walks as w
from traceview.cli.app import app
from traceview.queries.range_operations import MAX_PAGES

GOLDEN = Path(__file__).parent / "golden"
SAMPLES = Path(__file__).parent.parent / "sample_traces"
SHARED = {"schema_version", "traceview_version", "caveats", "diagnostics", "sources"}
GIB = 1 << 30


def f62d4c3eb687(path: Path) -> Path:
    """Tables released before the flush of the range, beside an unmap in the fixed order."""
    unfixed, fixed = (w.unmap(4, deferred=True, eager=eager) for eager in (False, True))
    path.write_text(w.kprobe_text([w.flush(GIB, 3), unfixed, fixed]), encoding="utf-8")
    return path


def e3ba51ab24fd(path: Path) -> Path:
    """Write protection of 8 GiB by a kernel with the bug, and of 2 MiB."""
    flushes = [w.dirty_log(GIB, MAX_PAGES), w.dirty_log(GIB, 512)]
    path.write_text(w.kprobe_text(flushes), encoding="utf-8")
    host = {"origin": "synthetic", "host": {"kernel": "6.8.1", "page_size_bytes": 4096}}
    path.with_name(f"{path.name}.host.json").write_text(json.dumps(host), encoding="utf-8")
    return path


MADE = {"f62d4c3eb687": f62d4c3eb687, "e3ba51ab24fd": e3ba51ab24fd}
BUNDLED = {
    "kprobes-6.12-neoverse-n1": "kprobes-6.12-neoverse-n1.txt.zst",
    "insn-6.12-max": "insn-6.12-max.txt.xz",
    "fgraph-6.12-max": "fgraph-6.12-max.txt.zst",
}
NAMES = (*MADE, *BUNDLED)


def trace(name: str, folder: Path) -> Path:
    return MADE[name](folder / f"{name}.txt") if name in MADE else SAMPLES / BUNDLED[name]


def run(*arguments: str, width: int = 100) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["audit", *arguments], env={"COLUMNS": str(width)})
    return done.exit_code, done.stdout


def compare(text: str, file: Path) -> None:
    if os.environ.get("TRACEVIEW_GOLDEN") == "write" and not os.environ.get("CI"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_the_report_is_the_golden_one(name: str, tmp_path: Path) -> None:
    code, text = run(str(trace(name, tmp_path)))
    verdict = text.index("\n\n") + 2
    own = text[verdict:].partition("\nCaveats\n")[0]
    compare(own, GOLDEN / f"audit-{name}.txt")
    assert code == (name in MADE)


@pytest.mark.parametrize("name", NAMES)
def test_the_document_is_the_golden_one(name: str, tmp_path: Path) -> None:
    code, text = run("--json", str(trace(name, tmp_path)))
    members: dict[str, Any] = json.loads(text)
    own = {key: value for key, value in members.items() if key not in SHARED}
    for row in own["windows"]:
        row["label"] = Path(row["label"]).name
    assert members.keys() >= SHARED
    compare(f"{json.dumps(own, indent=1)}\n", GOLDEN / f"audit-{name}.json")
    assert code == (name in MADE)


def test_executed_instructions_contain_no_cost_of_tracing(tmp_path: Path) -> None:
    said = {
        name: " ".join(run(str(trace(name, tmp_path)))[1].split())
        for name in ("insn-6.12-max", "fgraph-6.12-max")
    }
    assert all("so it is at most so long" in text for text in said.values())
    assert "it contains what tracing cost" in said["fgraph-6.12-max"]
    assert "it contains what tracing cost" not in said["insn-6.12-max"]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 200])
@pytest.mark.parametrize("name", ["f62d4c3eb687", "e3ba51ab24fd", "insn-6.12-max"])
def test_no_line_is_wider_than_the_terminal(name: str, width: int, tmp_path: Path) -> None:
    _, text = run(str(trace(name, tmp_path)), width=width)
    # What names the file is the user's own.
    lines = [line for line in text.splitlines() if str(tmp_path) not in line]
    assert max(map(cell_len, lines)) <= width


def test_every_member_of_the_document_is_documented(tmp_path: Path) -> None:
    document = (SAMPLES.parent / "docs" / "json.md").read_text(encoding="utf-8")
    _, text = run("--json", str(trace("f62d4c3eb687", tmp_path)))
    members = json.loads(text)
    named = set(members)
    for name in ("checks", "findings", "windows", "guest_faults", "assumed"):
        named |= {key for row in members[name] for key in row}
    assert [name for name in sorted(named) if f"`{name}`" not in document] == []


def test_every_check_is_documented(tmp_path: Path) -> None:
    document = (SAMPLES.parent / "docs" / "audit.md").read_text(encoding="utf-8")
    _, text = run("--json", str(trace("insn-6.12-max", tmp_path)))
    for check in json.loads(text)["checks"]:
        assert f"`{check['check']}`" in document
