"""`traceview claims`: what a table posted in a cover letter supports."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer evaluates annotations
from typing import TYPE_CHECKING, Annotated

import typer

from traceview.cli import options as opt  # noqa: TC001 - typer evaluates annotations
from traceview.cli.exits import FINDING, Stop, answered
from traceview.cli.outputs import outputs_of

if TYPE_CHECKING:
    from traceview.parsers.posted_table import Posted
    from traceview.queries.claims import Cell, Span


def claims(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="A table: size, base, series (docs/claims.md); - for stdin."
        ),
    ],
    *,
    claim: Annotated[
        list[str] | None,
        typer.Option(
            "--claim",
            metavar="TEXT",
            help="Check this of every table: at least 3x, at most 2x, up to 4x, 4x, ~15%"
            " (repeatable). The file may hold claims of its own.",
        ),
    ] = None,
    json: opt.Json = False,
    output: opt.Output = None,
    force: opt.Force = False,
) -> None:
    """Check a table that was posted: ratios, constants, and which claims hold."""
    with answered():
        from traceview.parsers.posted_table import read_posting  # noqa: PLC0415
        from traceview.parsers.tlbi_operand import covered_bytes  # noqa: PLC0415
        from traceview.queries.claims import judge, parse_claim  # noqa: PLC0415
        from traceview.report.claims import Operand, claims_json, claims_report  # noqa: PLC0415

        outputs = outputs_of(json=json, output=output, force=force, quiet=False)
        outputs.spare([file])
        posting = read_posting(file)
        judged = [
            judge(
                table.title,
                [_cell(row.size_bytes, row.base, row.series) for row in table.rows],
                [parse_claim(text) for text in dict.fromkeys((*table.claims, *(claim or ())))],
            )
            for table in posting.tables
            if table.rows
        ]
        operands = [
            Operand(one.operand, covered_bytes(one.operand), one.said_bytes)
            for table in posting.tables
            for one in table.operands
        ]
        outputs.show(
            lambda: claims_json(posting.path, posting.facts, judged, operands),
            lambda width: claims_report(posting.path, posting.facts, judged, operands, width),
        )
        failed = any(v.overall == "fails" for one in judged for v in one.verdicts)
        if failed or any(one.is_wrong for one in operands):
            raise Stop(FINDING)


def _cell(size_bytes: int, base: Posted, series: Posted) -> Cell:
    from traceview.queries.claims import Cell  # noqa: PLC0415

    return Cell(size_bytes, _span(base), _span(series))


def _span(posted: Posted) -> Span:
    from traceview.queries.claims import Span  # noqa: PLC0415

    low, high = posted.value - posted.half_digit, posted.value + posted.half_digit
    return Span(float(posted.value), float(low), float(high))
