"""From what the user typed to opened traces, and whether they are good enough."""

from __future__ import annotations

import os
import stat
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

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
    Raises SettingError when two of them are the same trace: it would be counted twice.
    """
    from traceview.host import read_settings  # noqa: PLC0415 - not needed by --help
    from traceview.parsers import open_trace  # noqa: PLC0415
    from traceview.vocabulary import Vocabulary  # noqa: PLC0415

    words = Vocabulary.builtin()
    for more in vocabularies:
        words = words.extended(more)
    paths = list(paths)
    _refuse_twins(paths)
    opened = []
    for path in paths:
        facts = {**stated, "sha256": _sha256(path) if digest else None}
        settings = read_settings(path, sidecar=host, stated=facts, kallsyms=kallsyms)
        opened.append(open_trace(path, settings=settings, vocabulary=words))
    return opened


def _refuse_twins(paths: list[str]) -> None:
    from traceview.errors import SettingError  # noqa: PLC0415 - not needed by --help

    digest = cache(_sha256)  # traces of one full buffer are often of one size
    for one, other in combinations(paths, 2):
        if _same_trace(one, other, digest):
            raise SettingError(
                "the same trace is given twice, and would be counted twice\n"
                f"one: {one}\nthe other: {other}"
            )


def _same_trace(one: str, other: str, digest: Callable[[str], str | None]) -> bool:
    """Whether both are one file, or copies; what cannot be looked at is refused when opened."""
    if "-" in (one, other):
        return one == other
    try:
        first, second = Path(one).stat(), Path(other).stat()
    except (OSError, ValueError):
        return False
    if os.path.samestat(first, second):
        return True
    # A pipe can be read once only, and an empty file is refused for what it is.
    regular = stat.S_ISREG(first.st_mode) and stat.S_ISREG(second.st_mode)
    if not regular or not first.st_size or first.st_size != second.st_size:
        return False
    return digest(one) == digest(other)


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
