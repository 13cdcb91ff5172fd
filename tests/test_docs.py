"""The documents say what the code does."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.writers.analyses import analysis, unmap
from traceview.host import HOST_KEYS, KEYS
from traceview.queries.correction import CORRECTED
from traceview.queries.groups import LEAF_LEVELS, groups
from traceview.queries.ledger import PLACES
from traceview.queries.steps import STEP_PATTERN
from traceview.queries.verdict import HYPOTHESES, PARTS, REASONS, STATUSES
from traceview.record.script import script as recording_script
from traceview.report.contents import contents
from traceview.report.json_document import analysis_json, info_json
from traceview.schema import OPERATIONS, TABLES, TRIGGER_KINDS
from traceview.vocabulary import ROLES, Vocabulary

DOCS = Path(__file__).parent.parent / "docs"
TYPES = {
    pl.Int64(): "int64",
    pl.Int32(): "int32",
    pl.UInt64(): "uint64",
    pl.Float64(): "float64",
    pl.Boolean(): "bool",
    pl.String(): "string",
}


def doc(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def type_name(dtype: Any) -> str:
    if isinstance(dtype, pl.List):
        return f"list of {type_name(dtype.inner)}"
    return TYPES.get(dtype, "dictionary")


@pytest.mark.parametrize("table", TABLES)
def test_every_column_is_documented_with_its_type(table: str) -> None:
    section = doc("schema.md").partition(f"\n## {table}\n")[2].partition("\n## ")[0]
    said = re.findall(r"^\| `(\w+)` \| ([\w ]+) \|", section, re.MULTILINE)
    assert said == [(name, type_name(dtype)) for name, dtype in TABLES[table].items()]


@pytest.mark.parametrize("key", [*KEYS, *HOST_KEYS])
def test_every_key_of_a_sidecar_is_documented(key: str) -> None:
    assert f"`{key}`" in doc("sidecar.md")


def test_every_member_of_the_documents_is_documented() -> None:
    text = doc("json.md")
    found = contents(analysis([unmap()]))
    members = json.loads("".join(analysis_json(found))).keys()
    members |= json.loads("".join(info_json(found.analysis, []))).keys()
    for member in members:
        assert f"`{member}`" in text


def test_every_column_of_a_group_is_documented() -> None:
    text = doc("json.md").partition("## Groups")[2]
    for column in groups(analysis([unmap()])).columns:
        # Of the components one stands for all.
        said = re.sub(f"^({'|'.join(CORRECTED)})_corrected", "cmo_corrected", column)
        assert f"`{said}`" in text or column in TABLES["unmaps"], column
    for level in LEAF_LEVELS:
        assert f"`{level}`" in text


def test_every_word_of_a_verdict_is_documented() -> None:
    text = doc("verdict.md")
    for word in (*STATUSES, *REASONS, *HYPOTHESES):
        assert f"`{word}`" in text, word
    for part in PARTS:
        assert f"`{part}`" in doc("json.md"), part
    for place in PLACES:
        assert f"`{place}`" in doc("json.md"), place


def test_the_default_step_pattern_is_documented() -> None:
    assert f"`{STEP_PATTERN}`" in doc("steps.md")


@pytest.mark.parametrize(
    ("what", "known"), [("operation", OPERATIONS), ("kind", TRIGGER_KINDS), ("role", ROLES)]
)
def test_every_word_of_a_vocabulary_is_documented(what: str, known: tuple[str, ...]) -> None:
    table = doc("vocabulary.md").partition(f"\n| {what} |")[2].partition("\n\n")[0]
    said = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert sorted(said) == sorted(known)


def test_the_example_of_a_vocabulary_is_one(tmp_path: Path) -> None:
    file = tmp_path / "example.toml"
    example = doc("vocabulary.md").partition("```toml\n")[2].partition("```")[0]
    file.write_text(example, encoding="utf-8")
    words = Vocabulary.builtin().extended(file)
    assert words.meaning("my_flush_all").role("addr") == "ipa"
    assert words.meaning("my_reclaim").kind == "notifier"


def test_every_link_leads_somewhere() -> None:
    root = DOCS.parent
    for path in (*root.glob("*.md"), *DOCS.glob("*.md"), *root.glob("sample_traces/*.md")):
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_the_recording_script_says_how_it_is_used(tmp_path: Path) -> None:
    script = tmp_path / "record.sh"
    script.write_text(recording_script(["top"]), encoding="ascii")
    done = subprocess.run(
        ["sh", str(script), "--help"], capture_output=True, check=False, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "sh record.sh [OPTION...] -- COMMAND..." in done.stdout
    assert "set -u" not in done.stdout
