"""What a posted table supports, for a person and as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from math import isclose, isfinite, log10
from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

from traceview.queries.claims import size_text
from traceview.report.json_document import document, header
from traceview.report.layout import Column, bullets, facts, heading, led, table, wrapped
from traceview.report.wording import UNKNOWN, clean, plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from traceview.queries.claims import Cell, Judgement, Line, Span, Verdict

STYLES: Final = {"holds": "green", "open": "yellow", "fails": "red"}
NO_SPREAD: Final = (
    "one number per cell: intervals of ratios are those of rounding, intervals of lines those of"
    " the fit; what another run would give is not known"
)
DIGITS, MOST_DIGITS = 2, 10  # decimals of ratios
NEAR: Final = 1e-9  # an end is on a bound, but for what floating point may be off
BINARY: Final = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


@dataclass(frozen=True, slots=True)
class Operand:
    """The operand of a range TLBI: what it covers, and what was said that it covers."""

    operand: int
    covers_bytes: int | None
    said_bytes: int | None

    @property
    def is_wrong(self) -> bool:
        """Whether something else was said."""
        return None not in (self.said_bytes, self.covers_bytes) and (
            self.said_bytes != self.covers_bytes
        )


def claims_report(
    path: str, said: Mapping[str, str], judged: Sequence[Judgement], operands: Sequence[Operand],
    width: int,
) -> list[Text]:  # fmt: skip
    """Everything about one file."""
    lines = wrapped(clean(path), width)
    lines += facts([(clean(key), clean(value)) for key, value in said.items()], width)
    for one in judged:
        lines += _table(one, width)
    if operands:
        lines += heading("Operands of range invalidations", width)
        lines += bullets([_operand(one) for one in operands], width)
    if judged:
        lines += heading("Caveats", width) + bullets([NO_SPREAD], width)
    return lines


def _table(one: Judgement, width: int) -> list[Text]:
    lines = heading(clean(one.title) or "Table", width)
    bounds = _ratio_bounds(one.verdicts)
    columns = (
        Column("size"), Column("base (s)", right=True), Column("series (s)", right=True),
        Column("ratio", right=True), Column("by rounding", right=True, drop=1),
        *(Column(clean(v.claim.text)) for v in one.verdicts),
    )  # fmt: skip
    values = [
        [
            size_text(cell), _posted(cell.base), _posted(cell.series),
            *_ratio(cell.ratio, bounds),
            *(v.by_size[at] for v in one.verdicts),
        ]
        for at, cell in enumerate(one.cells)
    ]  # fmt: skip
    lines += table(columns, values, width)
    lines += _lines(one, width)
    for verdict in one.verdicts:
        lead = Text(f"{verdict.overall:6}", STYLES[verdict.overall])
        lines += led(lead, _said(verdict, one.cells), width, indent=2)
    return lines + bullets(one.findings, width)


def _ratio_bounds(verdicts: Sequence[Verdict]) -> list[float]:
    """The ratios at which a claim begins or ceases to hold: 2 of 50% of the time saved."""
    found = []
    for claim in (one.claim for one in verdicts):
        ends = [end for end in (claim.low, claim.high) if isfinite(end)]
        found += ends if claim.unit == "x" else [1 / (1 - end / 100) for end in ends if end < 100]
    return found


def _ratio(ratio: Span, bounds: Sequence[float]) -> tuple[str, str]:
    """The ratio and its interval, which must not contradict the verdicts beside them.

    Rounded numbers lie inside the interval: an end on a bound is printed as `<3.00` or `>3.00`.
    """
    digits = max(_digits(end, bounds) for end in (ratio.low, ratio.high))
    low, high = (f"{end:.{digits}f}" for end in (ratio.low, ratio.high))
    if any(isclose(ratio.low, one, rel_tol=NEAR) for one in bounds):
        low = f">{low}"
    if any(isclose(ratio.high, one, rel_tol=NEAR) for one in bounds):
        high = f"<{high}"
    return f"{ratio.value:.{_digits(ratio.value, bounds)}f}", f"{low} .. {high}"


def _digits(number: float, bounds: Sequence[float]) -> int:
    """How many decimals show on which side of every bound it lies, but those that it lies on."""
    apart = [one for one in bounds if not isclose(number, one, rel_tol=NEAR)]

    def show_side(digits: int) -> bool:
        printed = round(number, digits)
        return all(printed < one if number < one else printed > one for one in apart)

    return next(filter(show_side, range(DIGITS, MOST_DIGITS + 1)), MOST_DIGITS)


def _lines(one: Judgement, width: int) -> list[Text]:
    """The line of each side."""
    if one.base is None or one.series is None:
        return bullets(["fewer than three sizes: no line is fitted"], width)
    columns = (
        Column("fitted line"), Column("constant (s)", right=True), Column("of the fit", drop=1),
        Column("s per GB", right=True), Column("of the fit", drop=1), Column("Theil-Sen", drop=2),
    )  # fmt: skip
    values = [
        [
            name, f"{line.constant_s.value:.4g}", _interval(line.constant_s),
            f"{line.s_per_gib.value:.4g}", _interval(line.s_per_gib),
            f"{line.robust_constant_s:.4g} + {line.robust_s_per_gib:.4g}",
        ]
        for name, line in (("base", one.base), ("series", one.series))
    ]  # fmt: skip
    ratio = UNKNOWN if one.slope_ratio is None else f"{one.slope_ratio:.2f}"
    values.append(["ratio", UNKNOWN, UNKNOWN, ratio, UNKNOWN, UNKNOWN])
    return [Text(), *table(columns, values, width), Text()]


def _interval(span: Span) -> str:
    return f"{span.low:.3g} .. {span.high:.3g}"


def _posted(span: Span) -> str:
    """A number with the digits that it was posted with."""
    return f"{span.value:.{max(0, round(-log10(span.high - span.low)))}f}"


def _said(verdict: Verdict, cells: Sequence[Cell]) -> str:
    text = f'"{clean(verdict.claim.text)}"'
    if verdict.claim.largest_only:
        return f"{text}, of the largest ratio"
    held = [cell for cell, said in zip(cells, verdict.by_size, strict=True) if said == "holds"]
    where = f" ({', '.join(size_text(cell) for cell in held)})" if 0 < len(held) < 4 else ""
    undecided = verdict.by_size.count("open")
    more = f"; {plural(undecided, 'size')} left open by rounding" if undecided else ""
    return f"{text} holds at {len(held)} of {plural(len(cells), 'size')}{where}{more}"


def _operand(one: Operand) -> str:
    if one.covers_bytes is None:
        return f"{one.operand:#x} is no operand of a range: its granule is not given"
    text = f"{one.operand:#x} covers {_bytes(one.covers_bytes)}"
    if one.said_bytes is None:
        return text
    return f"{text}: " + (
        f"not {_bytes(one.said_bytes)}, as was said" if one.is_wrong else "as was said"
    )


def _bytes(size: int) -> str:
    for unit, name in BINARY:
        if size >= unit:
            return f"{size / unit:g} {name}"
    return f"{size} bytes"


def claims_json(
    path: str, said: Mapping[str, str], judged: Sequence[Judgement], operands: Sequence[Operand]
) -> Iterator[str]:
    """The document of `traceview claims --json`, in pieces."""
    yield from document(
        {
            **header("claims"),
            "path": path,
            "facts": dict(said),
            "tables": [_table_json(one) for one in judged],
            "operands": [
                {
                    "operand": f"{one.operand:#x}",
                    "covers_bytes": one.covers_bytes,
                    "said_bytes": one.said_bytes,
                }
                for one in operands
            ],
        }
    )


def _table_json(one: Judgement) -> dict[str, Any]:
    return {
        "title": one.title,
        "rows": [
            {
                "size_bytes": cell.size_bytes,
                "base_s": cell.base.value,
                "series_s": cell.series.value,
                "ratio": cell.ratio.value,
                "ratio_low": cell.ratio.low,
                "ratio_high": cell.ratio.high,
            }
            for cell in one.cells
        ],
        "base": _line_json(one.base),
        "series": _line_json(one.series),
        "slope_ratio": one.slope_ratio,
        "claims": [
            {"text": v.claim.text, "verdict": v.overall, "by_size": list(v.by_size)}
            for v in one.verdicts
        ],
        "findings": list(one.findings),
    }


def _line_json(line: Line | None) -> dict[str, float] | None:
    if line is None:
        return None
    found: dict[str, float] = {}
    for name, span in (("constant_s", line.constant_s), ("s_per_gib", line.s_per_gib)):
        found |= {name: span.value, f"{name}_low": span.low, f"{name}_high": span.high}
    found["robust_constant_s"] = line.robust_constant_s
    found["robust_s_per_gib"] = line.robust_s_per_gib
    return found
