"""The sidecar `TRACE.host.json`: what the trace file itself cannot say about its host.

docs/sidecar.md describes every key. The most important is `origin`: emulation cannot be detected
from a trace, so it is `unknown` unless the sidecar or the user states it.
"""

from __future__ import annotations

import difflib
import json
import os
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from traceview.errors import SettingError
from traceview.schema import ORIGINS
from traceview.symbols import KERNEL_BEGINS, SymbolSources, parse_kprobe_events, read_kallsyms
from traceview.trace import Settings

SIDECAR_SUFFIX = ".host.json"

TEXT, WHOLE, BOOL, LINES = "a string", "a whole number", "true or false", "a string or strings"

SOURCE_KEYS = {
    "run": TEXT, "label": TEXT, "order": WHOLE, "recorded_at": TEXT, "origin": TEXT, "clock": TEXT,
}  # fmt: skip
HOST_KEYS = {
    "kernel": TEXT, "machine": TEXT, "cpus": WHOLE, "midr": TEXT, "fwb": BOOL, "tlbirange": BOOL,
    "lpa2": BOOL, "dic": BOOL, "idc": BOOL, "page_size_bytes": WHOLE, "errata": TEXT,
    "cntfrq_hz": WHOLE, "tracer": TEXT, "tracer_options": TEXT, "buffer_size_kb": WHOLE,
}  # fmt: skip
KEYS = {
    **SOURCE_KEYS,
    "host": "an object",
    "traced": "strings",
    "kprobe_events": LINES,
    "kallsyms": TEXT,
    "hypervisor": TEXT,
}


# arm64 has these page sizes (Documentation/arch/arm64/memory.rst).
VALID: dict[str, tuple[Any, ...]] = {
    "origin": ORIGINS,
    "page_size_bytes": (4096, 16384, 65536),
}


def sidecar_path(trace: str | os.PathLike[str]) -> Path:
    """Where the sidecar of *trace* lies: `TRACE.host.json` beside it, also for `DUMP/`."""
    path = Path(trace)  # without slashes at its end
    if path.name in ("", ".."):
        path = path.resolve()
    return Path(f"{path}{SIDECAR_SUFFIX}")


# An option must not make evidence of what somebody stated to be none.
NOT_HARDWARE = ("emulated", "synthetic")


def read_settings(
    trace: str | os.PathLike[str],
    *,
    sidecar: Path | None = None,
    stated: dict[str, Any] | None = None,
    kallsyms: Path | None = None,
) -> Settings:
    """The settings of *trace*: its sidecar's (*sidecar*, else the one beside it), then *stated*.

    *stated* holds columns of schema.SOURCES given on the command line; None values are ignored.
    Raises SettingError when the sidecar cannot be read or has an unknown key or a wrong type.
    """
    beside = sidecar_path(trace)
    path = sidecar or (beside if os.fspath(trace) != "-" and beside.is_file() else None)
    document = {} if path is None else _load(path)
    facts = {key: document[key] for key in SOURCE_KEYS if key in document}
    facts.update(document.get("host", {}))
    facts.update({key: value for key, value in (stated or {}).items() if value is not None})
    if facts.get("origin", "unknown") not in ORIGINS:
        raise SettingError(f"unknown origin {facts['origin']!r}\nvalid: {', '.join(ORIGINS)}")
    if facts.get("origin") == "hardware" and document.get("origin") in NOT_HARDWARE:
        raise SettingError(
            f"origin hardware is stated of a trace whose sidecar says {document['origin']}\n"
            f"in file: {path}\nif the sidecar is wrong, correct it there"
        )
    traced = frozenset(document["traced"]) if "traced" in document else None
    if kallsyms is None:
        kallsyms = _beside(path, document, "kallsyms", "symbol table")
    return Settings(
        facts=facts,
        traced=traced,
        symbols=_symbols(document, kallsyms),
        hypervisor=_beside(path, document, "hypervisor", "hypervisor's text"),
    )


def _beside(sidecar: Path | None, document: dict[str, Any], key: str, what: str) -> Path | None:
    """The file that the *sidecar* names under *key*, relative to itself."""
    if sidecar is None or key not in document:
        return None
    file: Path = sidecar.parent / document[key]
    if not file.is_file():
        raise SettingError(f"the {what} {file} is not there\nstated in file: {sidecar}")
    return file


def settings_of(content: bytes, where: str) -> Settings:
    """The settings that a sidecar inside a trace holds; *where* names it in messages.

    Raises SettingError as `read_settings`, and when it names a symbol table: there is none beside.
    """
    document = _document(content, where)
    for key in ("kallsyms", "hypervisor"):
        if key in document:
            raise SettingError(
                f"a sidecar inside a trace cannot name another file ({key})\nin file: {where}"
            )
    facts = {key: document[key] for key in SOURCE_KEYS if key in document}
    facts.update(document.get("host", {}))
    traced = frozenset(document["traced"]) if "traced" in document else None
    return Settings(facts=facts, traced=traced, symbols=_symbols(document, None))


def with_inside(settings: Settings, inside: Settings, path: str) -> Settings:
    """*settings*, and of the sidecar *inside* the trace what they leave open.

    Raises SettingError when they make hardware of a trace that says of itself that it is none.
    """
    origin = inside.facts.get("origin")
    if settings.facts.get("origin") == "hardware" and origin in NOT_HARDWARE:
        raise SettingError(
            f"origin hardware is stated of a trace whose own sidecar says {origin}\n"
            f"in file: {path}\nif that sidecar is wrong, state nothing and record again"
        )
    probes = settings.symbols.probes or inside.symbols.probes
    return Settings(
        facts={**inside.facts, **settings.facts},
        traced=inside.traced if settings.traced is None else settings.traced,
        symbols=replace(settings.symbols, probes=probes),
        hypervisor=settings.hypervisor,
    )


def _symbols(document: dict[str, Any], kallsyms: Path | None) -> SymbolSources:
    lines = document.get("kprobe_events", "")
    text = lines if isinstance(lines, str) else "\n".join(lines)
    table = None if kallsyms is None else read_kallsyms(kallsyms)
    probes = parse_kprobe_events(text)
    if text.strip() and not probes and not any(begin in text for begin in KERNEL_BEGINS):
        raise SettingError(
            f"kprobe_events of the sidecar defines no probe: {text.strip()[:80]!r}\n"
            "valid: the content of tracefs kprobe_events, lines such as"
            " p:GROUP/EVENT SYMBOL ARG=%x0:x64"
        )
    return SymbolSources(probes, table)


def _load(path: Path) -> dict[str, Any]:
    try:
        content = path.read_bytes()
    except OSError as err:
        raise SettingError(f"sidecar cannot be read: {path}: {err.strerror}") from err
    return _document(content, path)


def _document(content: bytes, path: Path | str) -> dict[str, Any]:
    try:
        document = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as err:
        raise SettingError(f"sidecar is not JSON: {err}\nin file: {path}") from err
    if not isinstance(document, dict):
        raise SettingError(f"a sidecar must be a JSON object\nin file: {path}")
    _check(document, KEYS, path)
    _check(document.get("host", {}), HOST_KEYS, path)
    return document


def _check(table: dict[str, Any], known: dict[str, str], path: Path | str) -> None:
    if not isinstance(table, dict):
        raise SettingError(f"{table!r} must be an object\nin file: {path}")
    for key, value in table.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            meant = f", did you mean {near[0]!r}?" if near else ""
            raise SettingError(
                f"unknown key {key!r}{meant}\nin file: {path}\nvalid: {', '.join(sorted(known))}"
            )
        if not _fits(value, known[key]):
            raise SettingError(f"{key!r} must be {known[key]}, not {value!r}\nin file: {path}")
        if known[key] == WHOLE and not 0 <= value < 2**31:
            raise SettingError(f"{key!r} is out of range: {value}\nin file: {path}")
        if key in VALID and value not in VALID[key]:
            valid = ", ".join(map(str, VALID[key]))
            raise SettingError(f"{key!r} is {value!r}\nin file: {path}\nvalid: {valid}")
        if key == "recorded_at":
            _check_date(value, path)


def _check_date(value: str, path: Path | str) -> None:
    try:
        datetime.fromisoformat(value)
    except ValueError as err:
        raise SettingError(
            f"'recorded_at' must be a date and time of ISO 8601, not {value!r}\nin file: {path}"
        ) from err


def _fits(value: object, expected: str) -> bool:
    strings = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return {
        TEXT: isinstance(value, str),
        WHOLE: isinstance(value, int) and not isinstance(value, bool),
        BOOL: isinstance(value, bool),
        LINES: isinstance(value, str) or strings,
        "strings": strings,
        "an object": isinstance(value, dict),
    }[expected]
