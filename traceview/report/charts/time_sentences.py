"""What the times of a chart are, so that no picture can be quoted without it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from traceview.queries.analysis import Analysis

ORIGIN_WORDS: Final = {
    "emulated": "Emulated time: no evidence about hardware",
    "synthetic": "Simulated time: no evidence about hardware",
    "unknown": "Origin unknown: not to be quoted as hardware latencies",
}
INSTRUCTIONS: Final = "Time is a count of executed instructions, 1 ns = 1 instruction"


def time_sentences(*sides: Analysis) -> list[str]:
    """Sentences without their full stops; none where all times are stated to be of hardware."""
    found = [INSTRUCTIONS] if any(_of_instructions(side) for side in sides) else []
    origins = {
        str(origin)
        for side in sides
        for origin in side.sources["origin"].cast(pl.String).fill_null("unknown")
    }
    return [*found, *(text for origin, text in ORIGIN_WORDS.items() if origin in origins)]


def tracing_sentences(rows: pl.DataFrame) -> Iterator[str]:
    """That recorded times have what tracing cost in them; *rows* of groups or of unmaps."""
    most = rows["probe_high_ns"]
    if most.null_count() or (most > 0).any():
        yield "times are as recorded, what tracing cost included"


def _of_instructions(side: Analysis) -> bool:
    return bool((side.unmaps["evidence"] == "insn").any())


def sentences(parts: Iterable[str]) -> str:
    """*parts* as sentences, those that are empty left out."""
    return " ".join(_ended(parts))


def headline_and_basis(text: str) -> tuple[str, str]:
    """A sentence as a title, and what it stands on, which it may end with in brackets."""
    text = text[:1].upper() + text[1:]
    depth = 0
    for at in range(len(text) - 1, 0, -1) if text.endswith(")") else ():
        depth += {")": 1, "(": -1}.get(text[at], 0)
        if not depth:
            return text[:at].rstrip(), text[at + 1 : -1]
    return text, ""


def _ended(parts: Iterable[str]) -> Iterator[str]:
    for part in parts:
        if part:
            text = part[0].upper() + part[1:]
            yield text if text.endswith((".", "!", "?")) else f"{text}."
