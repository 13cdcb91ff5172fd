"""From what the user typed to opened traces, and whether they are good enough."""

from __future__ import annotations

import os
import stat
from functools import cache
from itertools import combinations, product
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from traceview.queries import Analysis
    from traceview.trace import Trace
    from traceview.vocabulary import Vocabulary


T = TypeVar("T")


def open_traces(
    paths: Iterable[str],
    *,
    stated: Mapping[str, Sequence[Any] | None],
    host: Sequence[Path] | None,
    kallsyms: Sequence[Path] | None,
    vocabularies: Iterable[Path],
    digest: bool = False,
) -> list[Trace]:
    """Open every path; what is given once holds for all of them, else the n-th for the n-th.

    With *digest* the sha256 of each file is one of its facts, for documents that outlive it.
    Raises SettingError when two of them are the same trace, which would be counted twice, and
    when an option is given neither once nor once for each.
    """
    from traceview.host import read_settings  # noqa: PLC0415 - not needed by --help
    from traceview.parsers import open_trace  # noqa: PLC0415
    from traceview.vocabulary import Vocabulary  # noqa: PLC0415

    words = Vocabulary.builtin()
    for more in vocabularies:
        words = words.extended(more)
    paths = list(paths)
    _refuse_undecodable(paths)
    refuse_sidecars(paths)
    _refuse_twins(paths)
    opened = []
    by_trace = stated_of(stated, paths)
    _refuse_undecodable(
        value for facts in by_trace for value in facts.values() if isinstance(value, str)
    )
    hosts = for_each("--host", host, paths, one_for_all=False)
    tables = for_each("--kallsyms", kallsyms, paths)
    for at, path in enumerate(paths):
        facts = {**by_trace[at], "sha256": _sha256(path) if digest else None}
        settings = read_settings(path, sidecar=hosts[at], stated=facts, kallsyms=tables[at])
        opened.append(open_trace(path, settings=settings, vocabulary=words))
    return opened


def open_calibration(
    paths: Iterable[str],
    traces: Sequence[str],
    *,
    kallsyms: Sequence[Path] | None,
    vocabulary: Vocabulary,
    digest: bool = False,
) -> list[Trace]:
    """Open the captures that say what tracing *traces* cost; their facts are those of sidecars.

    A table of symbols that is given once holds for them too. Raises SettingError when one of them
    is one of *traces*: it cannot say what it cost itself.
    """
    from traceview.errors import SettingError  # noqa: PLC0415 - not needed by --help
    from traceview.host import read_settings  # noqa: PLC0415
    from traceview.parsers import open_trace  # noqa: PLC0415

    paths = list(paths)
    _refuse_undecodable(paths)
    refuse_sidecars(paths)
    digests = cache(_sha256)
    for one, other in product(paths, traces):
        if _same_trace(one, other, digests):
            raise SettingError(
                f"a calibration is one of the traces, and cannot calibrate itself: {one}\n"
                "valid: another capture of the same workload, in which fewer calls were traced"
            )
    _refuse_twins(paths)
    table = kallsyms[0] if kallsyms and len(kallsyms) == 1 else None
    opened = []
    for path in paths:
        facts = {"sha256": _sha256(path) if digest else None}
        settings = read_settings(path, stated=facts, kallsyms=table)
        opened.append(open_trace(path, settings=settings, vocabulary=vocabulary))
    return opened


def _refuse_undecodable(texts: Iterable[str]) -> None:
    """Raise SettingError for a name that is no UTF-8: tables and reports could not hold it."""
    from traceview.errors import SettingError  # noqa: PLC0415 - not needed by --help

    for text in texts:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as err:
            said = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
            raise SettingError(
                f"a name that is no UTF-8 cannot stand in a report: {said}\n"
                "valid: another name, or a link to the file"
            ) from err


def stated_of(
    stated: Mapping[str, Sequence[Any] | None], paths: Sequence[str]
) -> list[dict[str, Any]]:
    """What the options *stated* say of each trace; raises SettingError as `for_each`."""
    by_name = {
        # One position for all would say that they were recorded at once.
        name: for_each(f"--{name}", values, paths, one_for_all=name != "order")
        for name, values in stated.items()
    }
    return [{name: values[at] for name, values in by_name.items()} for at in range(len(paths))]


def for_each(
    option: str, values: Sequence[T] | None, paths: Sequence[str], *, one_for_all: bool = True
) -> Sequence[T | None]:
    """The value of *option* for each trace."""
    from traceview.errors import SettingError  # noqa: PLC0415 - not needed by --help
    from traceview.report.wording import plural  # noqa: PLC0415 - not needed by --help

    if not values:
        return [None] * len(paths)
    if len(values) == len(paths):
        return values
    if len(values) == 1 and one_for_all:
        return [values[0]] * len(paths)
    wanted = "once, or once for each trace in order" if one_for_all else "once for each in order"
    raise SettingError(
        f"{option} is given {plural(len(values), 'time')} for {plural(len(paths), 'trace')}\n"
        f"valid: {wanted}; or a sidecar TRACE.host.json beside each (docs/sidecar.md)"
    )


def refuse_sidecars(paths: Iterable[str]) -> None:
    """Raise SettingError where a sidecar is given as a trace, as globs do that catch both."""
    from traceview.errors import SettingError  # noqa: PLC0415 - not needed by --help
    from traceview.host import SIDECAR_SUFFIX  # noqa: PLC0415

    for path in paths:
        if path.endswith(SIDECAR_SUFFIX):
            raise SettingError(
                f"that is a sidecar: give the trace itself: {path}\n"
                f"valid: {path.removesuffix(SIDECAR_SUFFIX)}, whose sidecar is read with it"
            )


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


def refuse_damage(analysis: Analysis, *, strict: bool, quiet: bool = False) -> None:
    """With *strict*, raise QueryError for every diagnostic that is more than information.

    A format that cannot say whether it lost events passes: that is noted, unless *quiet*.
    """
    from traceview.cli.screen import note  # noqa: PLC0415 - not needed by --help
    from traceview.errors import QueryError  # noqa: PLC0415
    from traceview.report.wording import paragraph  # noqa: PLC0415

    if not strict:
        return
    unknown = _loss_unknown(analysis)
    grave = [what for _, what in analysis.diagnostics if what.severity != "info"]
    if grave:
        said = [f"{what.severity}: {what.message} [{what.code}]" for what in grave]
        raise QueryError("\n".join(["--strict refuses this input", *said, *unknown]))
    if not quiet:
        for text in unknown:
            note(paragraph(text))


def _loss_unknown(analysis: Analysis) -> list[str]:
    """Per format of which the traces do not say whether events were lost."""
    traces = analysis.sources.filter(~analysis.sources["loss_known"].fill_null(value=False))
    found = []
    for (kind,), of in traces.group_by("format", maintain_order=True):
        which = of["path"][0] if len(of) == 1 else f"{len(of)} traces"
        found.append(
            f"note: --strict cannot know whether events of {which} were lost: {kind} does not say"
            " here"
        )
    return found
