"""Analyses in which every name that came out of a trace tries to be something else."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Final

import polars as pl

if TYPE_CHECKING:
    from traceview.queries import Analysis

NAMES: Final = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    '" onmouseover="alert(3)" x="',
    "'><svg/onload=alert(4)>",
    "&quot;&lt;b&gt;&#x3c;i&#x3e;",
    "${alert(5)} {{alert(6)}} `alert(7)`",
    "line\u2028separator\u2029paragraph",
    "]]><!-- --><![CDATA[",
    "<!--<script>",
    "javascript:alert(8)",
    "\u202egnp.exe\u202c \u2066hidden\u2069 \u200f",
    "nul\0 bell\a escape\x1b[31m new\nline",
    "\udcff byte that is no character",
    "x" * 10_000,
    "__proto__",
    "constructor",
    "' + alert(9) + '",
    "datum.x = (function() { return alert })()",
    "<a href=javascript:alert(10)>click</a><style>*{display:none}</style>",
)
# Columns whose values are the parsers' own words, which no trace can choose.
OURS: Final = frozenset({"format", "kind", "origin", "tracer", "clock"})


def of_file(name: str) -> str:
    """*name* as parsers decode it: they replace bytes that are no characters."""
    return name.replace("\udcff", "\ufffd")


def with_hostile_names(analysis: Analysis) -> Analysis:
    """*analysis* with each distinct name of each table replaced; what is null stays so."""
    frames: dict[str, Any] = {
        part.name: hostile(getattr(analysis, part.name))
        for part in fields(analysis)
        if part.name != "diagnostics"
    }
    return replace(analysis, **frames)


def hostile(rows: pl.DataFrame) -> pl.DataFrame:
    """*rows* with each distinct name replaced."""
    changed = []
    for at, (name, kind) in enumerate(rows.schema.items()):
        if kind not in {pl.String(), pl.Categorical()} or name in OURS:
            continue
        old = rows[name].cast(pl.String).drop_nulls().unique(maintain_order=True).to_list()
        new = {
            text: of_file(NAMES[(at + number) % len(NAMES)])
            + (f" {number}" if number >= len(NAMES) else "")
            for number, text in enumerate(old)
        }
        changed.append(pl.col(name).cast(pl.String).replace(new).cast(kind))
    return rows.with_columns(changed)
