"""The documents that say what was found, by name, whatever the form of the report.

Modules are imported by the form that needs them: those of comparisons load slow packages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from traceview.report.contents import Contents

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.text import Text

    from traceview.report.blocks import Section
    from traceview.report.provenance import Provenance
    from traceview.report.recipe import Found


def json_of(found: Found) -> Iterator[str]:
    """The JSON document (docs/json.md), in pieces."""
    if isinstance(found, Contents):
        from traceview.report.json_document import analysis_json  # noqa: PLC0415

        return analysis_json(found)
    from traceview.report.compare_json import compare_json  # noqa: PLC0415
    from traceview.report.compared import Compared  # noqa: PLC0415
    from traceview.report.compared_runs import runs_json  # noqa: PLC0415

    return compare_json(found) if isinstance(found, Compared) else runs_json(found)


def sections_of(found: Found, provenance: Provenance) -> list[Section]:
    """The report in sections, which mail text and Markdown write."""
    if isinstance(found, Contents):
        from traceview.report.analysis_sections import analysis_sections  # noqa: PLC0415

        return analysis_sections(found, provenance)
    from traceview.report.compared import Compared  # noqa: PLC0415
    from traceview.report.comparison_sections import comparison_sections  # noqa: PLC0415
    from traceview.report.runs_sections import runs_sections  # noqa: PLC0415

    if isinstance(found, Compared):
        return comparison_sections(found, provenance)
    return runs_sections(found, provenance)


def mail_of(found: Found, provenance: Provenance) -> Iterator[str]:
    """The mail text (docs/mail.md), in lines."""
    from traceview.report.mail import mail  # noqa: PLC0415

    return mail(sections_of(found, provenance))


def markdown_of(found: Found, provenance: Provenance) -> Iterator[str]:
    """The same as Markdown, in lines."""
    from traceview.report.markdown import markdown  # noqa: PLC0415

    return markdown(sections_of(found, provenance))


def summary_of(found: Found, width: int, *, top: int, blocks: bool = False) -> list[Text]:
    """The summary in lines of at most *width*; of an analysis with the *top* slowest unmaps."""
    if isinstance(found, Contents):
        from traceview.report.terminal import summary  # noqa: PLC0415

        return summary(found, width, top=top, blocks=blocks)
    from traceview.report.compare import compare_report  # noqa: PLC0415
    from traceview.report.compared import Compared  # noqa: PLC0415
    from traceview.report.compared_runs import runs_report  # noqa: PLC0415

    return (
        compare_report(found, width) if isinstance(found, Compared) else runs_report(found, width)
    )
