"""The files of a raw dump beside its rings (docs/formats.md): layouts, names, settings."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from traceview.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from traceview.record.tracefs_files import Tracefs

# Of the buffers that were recorded, and of the host whose names they hold.
OF_BUFFERS: Final = ("trace_clock", "current_tracer", "buffer_size_kb", "trace_options")
OF_HOST: Final = (
    "saved_cmdlines", "saved_tgids", "printk_formats", "kprobe_events", "dynamic_events",
    "kprobe_profile",
)  # fmt: skip
DATA: Final = re.compile(r"\bdata;\s+offset:(\d+);\s+size:(\d+);")
FTRACE: Final = "ftrace"  # events/ftrace: what tracers and trace_marker write


def page_bytes(tracefs: Tracefs, buffers: Tracefs) -> int:
    """How large a page of the ring is, as events/header_page says."""
    for place in (buffers, tracefs):
        found = DATA.search(place.text("events/header_page"))
        if found is not None:
            return int(found[1]) + int(found[2])
    raise SettingError("tracefs has no events/header_page: the rings cannot be read")


def copy_settings(tracefs: Tracefs, buffers: Tracefs, folder: Path) -> None:
    """While the tracer is set: what says how it was recorded, and the losses of each CPU."""
    for name in OF_BUFFERS:
        place = buffers if buffers.exists(name) else tracefs
        if place.exists(name):
            _copy(place, name, folder)
    for name in OF_HOST:
        if tracefs.exists(name):
            _copy(tracefs, name, folder)
    for cpu in buffers.names("per_cpu"):
        if buffers.exists(f"per_cpu/{cpu}/stats"):
            _copy(buffers, f"per_cpu/{cpu}/stats", folder)


def copy_formats(tracefs: Tracefs, buffers: Tracefs, systems: Iterable[str], folder: Path) -> None:
    """The layouts of pages and of the events of *systems*, while their probes are defined."""
    for name in ("events/header_page", "events/header_event"):
        place = buffers if buffers.exists(name) else tracefs
        _copy(place, name, folder)
    for system in sorted({FTRACE, *systems}):
        for event in tracefs.names(f"events/{system}"):
            if tracefs.exists(f"events/{system}/{event}/format"):
                _copy(tracefs, f"events/{system}/{event}/format", folder)


def copy_host(root: Path, folder: Path) -> None:
    """The symbol table, and what `uname -a` prints."""
    with (root / "proc/kallsyms").open("rb") as raw, (folder / "kallsyms").open("wb") as file:
        shutil.copyfileobj(raw, file)
    if root == Path("/"):
        words = tuple(os.uname())
    else:
        names = ("ostype", "hostname", "osrelease", "version", "arch")
        words = tuple(
            (root / "proc/sys/kernel" / name).read_text("utf-8").strip() for name in names
        )
    (folder / "uname").write_text(f"{' '.join(words)} GNU/Linux\n", encoding="utf-8")


def _copy(place: Tracefs, name: str, folder: Path) -> None:
    to = folder / name
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(place.read(name), encoding="utf-8")
