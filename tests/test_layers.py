"""Imports go one way: cli -> report -> queries -> the contract <- parsers."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CONTRACT = {
    "traceview",
    "traceview.byte_columns",
    "traceview.errors",
    "traceview.protobuf_columns",
    "traceview.schema",
    "traceview.scrub",
    "traceview.scrub_addresses",
    "traceview.scrub_arguments",
    "traceview.scrub_command",
    "traceview.scrub_names",
    "traceview.scrub_vocabulary",
    "traceview.scrub_words",
    "traceview.symbols",
    "traceview.synthetic",
    "traceview.trace",
    "traceview.vocabulary",
    "traceview.host",
}
ALLOWED = {
    "parsers": ("traceview.parsers",),
    "queries": ("traceview.queries",),
    "traceview/report": ("traceview.report", "traceview.queries"),
    "traceview/record": ("traceview.record",),
    "traceview/simulate": ("traceview.simulate",),
    "traceview/cli": (
        "traceview.cli",
        "traceview.record",
        "traceview.simulate",
        "traceview.report",
        "traceview.queries",
        "traceview.parsers",
    ),
}
BANNED = {
    "parsers": {"altair", "typer", "rich"},
    "queries": {"altair", "typer", "rich"},
    # It runs on the host that is measured.
    "traceview/record": {"altair", "typer", "rich", "polars", "pyarrow", "numpy"},
    "traceview/simulate": {"altair", "typer", "rich"},
}


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("folder", ALLOWED)
def test_a_layer_imports_only_what_lies_below_it(folder: str) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        for name in imports(path):
            if name.partition(".")[0] == "traceview":
                assert name in CONTRACT or name.startswith(ALLOWED[folder]), f"{path}: {name}"
            assert name.partition(".")[0] not in BANNED.get(folder, set()), f"{path}: {name}"


def test_the_contract_imports_no_layer() -> None:
    for name in CONTRACT - {"traceview"}:
        path = ROOT / (name.replace(".", "/") + ".py")
        ours = {used for used in imports(path) if used.partition(".")[0] == "traceview"}
        assert ours <= CONTRACT, path


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, traceview, traceview.cli;"
        "print(sorted({'polars', 'pyarrow', 'altair', 'numpy', 'perfetto'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
