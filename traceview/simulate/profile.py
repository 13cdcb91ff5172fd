"""A simulated machine: a TOML file of facts and costs in which every number says where it is from.

A number is `{ value = 150.5, source = "measured", where = "..." }` or `source = "assumed"` with
`why`. Facts that are no numbers are plain. docs/simulate.md describes the keys.
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from traceview.errors import SettingError
from traceview.simulate.call_trees import SHAPES

if TYPE_CHECKING:
    from collections.abc import Iterable

SOURCES: Final = ("measured", "assumed")
MODES: Final = ("vhe", "nvhe")
TABLES: Final = ("eager", "deferred")
TABLE_LEVELS: Final = ("zero", "unknown", "own")

TEXTS: Final[dict[str, tuple[str, ...]]] = {
    "title": (), "what": (), "kernel.release": (), "kernel.shape": SHAPES,
    "kernel.tables": TABLES, "kernel.table_level": TABLE_LEVELS, "machine.mode": MODES,
}  # fmt: skip
SWITCHES: Final = ("machine.fwb", "machine.tlbirange", "machine.lpa2")
# Whole numbers: the valid ones, or the least and the most.
WHOLE: Final[dict[str, tuple[int, ...] | range]] = {
    "machine.page_size_bytes": (4096, 16384, 65536),
    "machine.ipa_bits": range(32, 53),
    "machine.cpus": range(1, 1025),
    "machine.cntfrq_hz": range(1_000_000, 1_000_000_001),
    "machine.cache_line_bytes": (16, 32, 64, 128, 256, 512, 1024, 2048),
}
# Own time of each thing, in nanoseconds, without a tracer.
COSTS: Final = (
    "stage2_apply_range", "unmap", "unmap_end", "walk", "walk_end", "table", "entry", "visit",
    "leaf", "freed_table", "put_pte", "trivial", "context", "invalidate_leaf", "invalidate_table",
    "invalidate_range", "range_frame", "range_operation", "per_cpu", "hypercall", "clean",
    "cache_line", "put", "free", "request", "trigger", "fault", "marker",
)  # fmt: skip
TRACING: Final = (
    "graph_before", "graph_entry", "graph_return", "graph_exit", "probe_before", "probe_entry",
    "probe_argument", "probe_return", "probe_exit", "marker_write",
)  # fmt: skip
NOISE: Final = ("jitter", "tracing_jitter", "run", "slow_share", "slow_factor")
INTERRUPTS: Final = ("per_second", "duration_ns", "spread")
AMOUNTS: Final = (
    *(f"costs_ns.{name}" for name in COSTS), *(f"tracing_ns.{name}" for name in TRACING),
    *(f"noise.{name}" for name in NOISE), *(f"interrupts.{name}" for name in INTERRUPTS),
)  # fmt: skip
KEYS: Final = (*TEXTS, *SWITCHES, *WHOLE, *AMOUNTS)
OPTIONAL: Final = ("what",)
MOST_NS: Final = 1e9
RELEASE: Final = re.compile(r"\d[\w.+~-]{0,40}")  # uname -r has 64 bytes


@dataclass(frozen=True, slots=True)
class Number:
    """A number of a profile and where it is from."""

    key: str
    value: float
    source: str
    where: str


@dataclass(frozen=True, slots=True)
class Profile:
    """A simulated machine. Keys are those of the file, with their table: `costs_ns.put`."""

    name: str
    texts: dict[str, str]
    switches: dict[str, bool]
    numbers: dict[str, Number]

    def number(self, key: str) -> float:
        """The value of a number."""
        return self.numbers[key].value

    def whole(self, key: str) -> int:
        """The value of a whole number."""
        return int(self.numbers[key].value)

    def cost(self, name: str) -> float:
        """Nanoseconds that something takes."""
        return self.numbers[f"costs_ns.{name}"].value


def profile_names() -> list[str]:
    """The profiles that come with the program."""
    folder = files("traceview.simulate") / "profiles"
    return sorted(
        one.name.removesuffix(".toml") for one in folder.iterdir() if one.name.endswith(".toml")
    )


def read_profile(name: str) -> Profile:
    """The profile of that name, or of the file of that path. Raises SettingError."""
    text = profile_text(name)
    if name in profile_names():
        return parse_profile(text, name, f"profile {name}")
    path = Path(name)
    return parse_profile(text, path.name.removesuffix(".toml"), str(path))


def profile_text(name: str) -> str:
    """What the file of a profile says. Raises SettingError."""
    if name in profile_names():
        return (files("traceview.simulate") / "profiles" / f"{name}.toml").read_text("utf-8")
    path = Path(name)
    if not path.exists():
        known = profile_names()
        near = difflib.get_close_matches(name, known) or known
        raise SettingError(
            f"no profile {name!r}, and no such file\nprofiles: {', '.join(near)}"
            "\ntraceview simulate --list shows them"
        )
    try:
        return path.read_text("utf-8")
    except OSError as err:
        raise SettingError(f"a profile that cannot be read: {path}: {err.strerror}") from err
    except UnicodeDecodeError as err:
        raise SettingError(f"a profile that is no text: {path}") from err


def parse_profile(text: str, name: str, path: str) -> Profile:
    """The profile that *text* describes; *path* is named in errors. Raises SettingError."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as err:
        raise SettingError(f"a profile that is no TOML: {err}\nin file: {path}") from err
    found = _flat(document, path)
    missing = [key for key in KEYS if key not in found and key not in OPTIONAL]
    if missing:
        raise _wrong(path, missing[0], "is missing", _valid(missing[0]))
    return Profile(
        name,
        {key: _text(found[key], key, path) for key in TEXTS if key in found},
        {key: _switch(found[key], key, path) for key in SWITCHES},
        {key: _number(found[key], key, path) for key in (*WHOLE, *AMOUNTS)},
    )


def changed(profile: Profile, settings: Iterable[str]) -> Profile:
    """*profile* with KEY=VALUE settings; numbers are then assumed. Raises SettingError."""
    texts, switches = dict(profile.texts), dict(profile.switches)
    numbers = dict(profile.numbers)
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or key not in KEYS:
            near = difflib.get_close_matches(key, KEYS) or ["costs_ns.invalidate_leaf"]
            raise SettingError(
                f"not a setting of a profile: {setting!r}\nvalid: KEY=VALUE, such as {near[0]}=..."
            )
        where = f"setting {setting}"
        if key in TEXTS:
            texts[key] = _text(text, key, where)
        elif key in SWITCHES:
            switches[key] = _switch({"true": True, "false": False}.get(text, text), key, where)
        else:
            value = _value(_parsed(text, key), key, where)
            numbers[key] = Number(key, value, "assumed", "set for this simulation")
    return Profile(profile.name, texts, switches, numbers)


def _parsed(text: str, key: str) -> object:
    try:
        return int(text) if key in WHOLE else float(text)
    except ValueError:
        return text


def _flat(document: dict[str, Any], path: str) -> dict[str, Any]:
    """Keys with their table; a key that is not known is refused."""
    found: dict[str, Any] = {}
    tables = sorted({key.partition(".")[0] for key in KEYS if "." in key})
    for name, value in document.items():
        if name in tables:
            if not isinstance(value, dict):
                raise _wrong(path, name, "is no table", f"[{name}]")
            found.update({f"{name}.{key}": one for key, one in value.items()})
        else:
            found[name] = value
    for key in found:
        if key not in KEYS:
            near = difflib.get_close_matches(key, (*tables, *KEYS), cutoff=0.5)
            raise _wrong(path, key, "is not known", f"did you mean {near[0]}?" if near else "")
    return found


def _text(value: object, key: str, path: str) -> str:
    valid = TEXTS[key]
    fits = isinstance(value, str) and (not valid or value in valid)
    if key == "kernel.release":
        fits = isinstance(value, str) and bool(RELEASE.fullmatch(value))
    if not isinstance(value, str) or not fits:
        raise _wrong(path, key, f"is {value!r}", _valid(key))
    return value


def _switch(value: object, key: str, path: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong(path, key, f"is {value!r}", _valid(key))
    return value


def _number(value: object, key: str, path: str) -> Number:
    if not isinstance(value, dict):
        raise _wrong(
            path, key, f"is {value!r}",
            'a number with its source: { value = 1.5, source = "assumed", why = "..." }',
        )  # fmt: skip
    extra = set(value) - {"value", "source", "where", "why"}
    if extra:
        raise _wrong(path, f"{key}.{min(extra)}", "is not known", "value, source, where, why")
    source = value.get("source")
    if source not in SOURCES:
        raise _wrong(path, f"{key}.source", f"is {source!r}", " or ".join(SOURCES))
    reason = "where" if source == "measured" else "why"
    said = value.get(reason, "" if source == "assumed" else None)
    if not isinstance(said, str):
        raise _wrong(path, f"{key}.{reason}", f"is {said!r}", "a text: where it was measured")
    return Number(key, _value(value.get("value"), key, path), source, said)


def _value(value: object, key: str, path: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _wrong(path, f"{key}.value", f"is {value!r}", _valid(key))
    if key in WHOLE:
        fits = isinstance(value, int) and value in WHOLE[key]
    else:
        fits = 0 <= value <= (1 if key == "noise.slow_share" else MOST_NS)
    if not fits:
        raise _wrong(path, f"{key}.value", f"is {value!r}", _valid(key))
    return float(value)


def _valid(key: str) -> str:
    if key in SWITCHES:
        return "true or false"
    if key == "kernel.release":
        return "as of uname -r, such as 6.12.0"
    if key in TEXTS:
        return ", ".join(TEXTS[key]) or "a text"
    if key in WHOLE:
        valid = WHOLE[key]
        if isinstance(valid, range):
            return f"a whole number from {valid.start} to {valid.stop - 1}"
        return ", ".join(map(str, valid))
    return f"a number from 0 to {1 if key == 'noise.slow_share' else '1e9'}"


def _wrong(path: str, key: str, what: str, valid: str) -> SettingError:
    lines = [f"{key} {what}", *([f"valid: {valid}"] if valid else []), f"in file: {path}"]
    return SettingError("\n".join(lines))
