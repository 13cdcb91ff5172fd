"""Files -> traces. `open_trace` detects the format and binds its parser; nothing is read yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from traceview.host import read_settings, with_inside
from traceview.parsers.formats import RAW_DUMP, detect
from traceview.parsers.hypervisor import beside_host
from traceview.parsers.source import open_source
from traceview.trace import Settings, Trace
from traceview.vocabulary import Vocabulary

if TYPE_CHECKING:
    import os

__all__ = ("open_trace",)


def open_trace(
    path: str | os.PathLike[str],
    *,
    settings: Settings | None = None,
    vocabulary: Vocabulary | None = None,
) -> Trace:
    """Open *path* ("-": standard input; a directory: raw ring buffers), whatever its format.

    Without *settings* the sidecar `PATH.host.json` beside it is used, if there is one. A sidecar
    inside the file says what they leave open. Raises ParseError when the file cannot be opened,
    UnknownFormatError when no parser claims it, SettingError when a sidecar is malformed.
    """
    source = open_source(path)
    found = RAW_DUMP if source.is_folder() else detect(source.head(), source.path)
    given = settings if settings is not None else read_settings(path)
    inside = found.settings_inside(source)
    read = found.bind(source)
    if given.hypervisor is not None:
        read = beside_host(read, source.path, given.hypervisor, given.facts.get("clock"))
    return Trace(
        path=source.path,
        format=found.name,
        read=read,
        vocabulary=vocabulary or Vocabulary.builtin(),
        settings=given if inside is None else with_inside(given, inside, source.path),
    )
