"""From what the user typed to opened traces, and whether they are good enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from traceview.queries import Analysis
    from traceview.trace import Trace


def open_traces(
    paths: Iterable[str],
    *,
    stated: dict[str, str | None],
    host: Path | None,
    kallsyms: Path | None,
    vocabularies: Iterable[Path],
    digest: bool = False,
) -> list[Trace]:
    """Open every path; *stated*, *host* and *kallsyms* hold for each of them.

    With *digest* the sha256 of each file is one of its facts, for documents that outlive it.
    """
    from traceview.host import read_settings  # noqa: PLC0415 - not needed by --help
    from traceview.parsers import open_trace  # noqa: PLC0415
    from traceview.vocabulary import Vocabulary  # noqa: PLC0415

    words = Vocabulary.builtin()
    for more in vocabularies:
        words = words.extended(more)
    opened = []
    for path in paths:
        facts = {**stated, "sha256": _sha256(path) if digest else None}
        settings = read_settings(path, sidecar=host, stated=facts, kallsyms=kallsyms)
        opened.append(open_trace(path, settings=settings, vocabulary=words))
    return opened


def _sha256(path: str) -> str | None:
    """The digest of a file; standard input can be read once only, and is not worth keeping."""
    from traceview.parsers.source import open_source  # noqa: PLC0415 - not needed by --help

    return None if path == "-" else open_source(path).sha256()


def refuse_damage(analysis: Analysis, *, strict: bool) -> None:
    """With *strict*, raise QueryError for every diagnostic that is more than information."""
    from traceview.errors import QueryError  # noqa: PLC0415

    grave = [what for _, what in analysis.diagnostics if what.severity != "info"]
    if strict and grave:
        said = "\n".join(f"{what.severity}: {what.message} [{what.code}]" for what in grave)
        raise QueryError(f"--strict refuses this input\n{said}")
