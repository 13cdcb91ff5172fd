"""What the kernel's function and event names mean: operation, trigger kind, argument roles.

The knowledge is data: vocabulary.toml, which also documents its own form. A user's file extends
it and wins. Unknown functions are `other`; they keep their place in the call tree.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from traceview.errors import SettingError
from traceview.schema import OPERATIONS, TRIGGER_KINDS

ROLES = ("ipa", "length_bytes", "pages", "level", "mmu", "object_addr", "end_addr")

# GCC and Clang append these to the clones they make of a function.
SUFFIX = re.compile(r"(?:\.(?:isra|part|constprop|cold|lto_priv|llvm)(?:\.\d+)*)+$|\s*\[\w+\]$")
# Arguments that are named by their position: x1 and %x1 count from 0, arg2 and $arg2 from 1.
REGISTER = re.compile(r"^%?x([0-7])$")
ARG_N = re.compile(r"^\$?arg([1-8])$")


def strip_suffix(symbol: str) -> str:
    """*symbol* without compiler suffixes and without the `[module]` that kallsyms appends."""
    previous = None
    while previous != symbol:
        previous, symbol = symbol, SUFFIX.sub("", symbol)
    return symbol


@dataclass(frozen=True, slots=True)
class Meaning:
    """What one function does. `positions` holds the role of each argument, by position."""

    operation: str = "other"
    kind: str | None = None
    visit: bool = False
    wraps: str | None = None
    positions: tuple[str, ...] = ()
    names: dict[str, str] = field(default_factory=dict)

    def role(self, argument: str) -> str | None:
        """The role of an argument by its name or register, None where it has none."""
        if argument in self.names:
            return self.names[argument]
        for pattern, first in ((REGISTER, 0), (ARG_N, 1)):
            match = pattern.match(argument)
            if match is not None:
                at = int(match[1]) - first
                return self.positions[at] if at < len(self.positions) else None
        return None


@dataclass(frozen=True, slots=True)
class EventMeaning:
    """What a tracepoint is: `phase` entry or exit of the pair named `pair`, or instant.

    `arguments`: the names of its fields that queries look at.
    """

    operation: str
    phase: str
    pair: str
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Vocabulary:
    """Names -> meanings. Immutable; look-ups are cached."""

    functions: tuple[tuple[tuple[str, ...], Meaning], ...]
    events: dict[str, EventMeaning]

    @classmethod
    def builtin(cls) -> Vocabulary:
        """The vocabulary that ships with traceview."""
        return _builtin()

    def extended(self, path: Path) -> Vocabulary:
        """Put the entries of *path* before those of this vocabulary.

        Raises SettingError when the file cannot be read or has an unknown key or value.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as err:
            raise SettingError(f"vocabulary cannot be read: {path}: {err}") from err
        return self.extended_by(text, str(path))

    def extended_by(self, text: str, path: str) -> Vocabulary:
        """The same with the *text* of a file, which is called *path* where it is wrong."""
        added = _parse(text, path)
        return Vocabulary(added.functions + self.functions, {**self.events, **added.events})

    def meaning(self, symbol: str | None) -> Meaning:
        """What *symbol*, with or without compiler suffix, does."""
        if symbol is None:
            return Meaning()
        name = strip_suffix(symbol)
        for patterns, meaning in self.functions:
            if any(fnmatchcase(name, pattern) for pattern in patterns):
                return meaning
        return Meaning()

    def event(self, name: str) -> EventMeaning | None:
        """What the tracepoint *name* (with or without its group) is, None where unknown."""
        return self.events.get(name.rpartition(":")[2].rpartition("/")[2])

    def wants_event(self, name: str) -> bool:
        """Whether queries look at the tracepoint *name*."""
        return self.event(name) is not None

    def event_arguments(self, name: str) -> tuple[str, ...]:
        """The fields of the tracepoint *name* that queries look at."""
        event = self.event(name)
        return () if event is None else event.arguments


@cache
def _builtin() -> Vocabulary:
    path = Path(__file__).with_name("vocabulary.toml")
    return _parse(path.read_text(encoding="utf-8"), str(path))


def _parse(text: str, path: str) -> Vocabulary:
    try:
        tables = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as err:
        raise SettingError(f"vocabulary is not TOML: {err}\nin file: {path}") from err
    _only(tables, {"function", "event"}, path)
    functions, events = tables.get("function", []), tables.get("event", [])
    if not all(
        isinstance(t, list) and all(isinstance(e, dict) for e in t) for t in (functions, events)
    ):
        raise SettingError(f"[[function]] and [[event]] must be arrays of tables\nin file: {path}")
    found: dict[str, EventMeaning] = {}
    for entry in events:
        found.update(_event(entry, path))
    return Vocabulary(tuple(_function(entry, path) for entry in functions), found)


def _function(entry: dict[str, Any], path: str) -> tuple[tuple[str, ...], Meaning]:
    _only(
        entry,
        {"names", "operation", "kind", "visit", "wraps", "arguments", "named_arguments"},
        path,
    )
    patterns = _strings(entry.get("names"), "names", path)
    if not patterns:
        raise SettingError(
            f"names must hold a name: an empty list matches nothing\nin file: {path}"
        )
    arguments = entry.get("arguments", [])
    if not isinstance(arguments, list) or not all(arguments):
        raise SettingError(f"arguments must be a list of non-empty lists\nin file: {path}")
    arguments = [_strings(argument, "an argument", path) for argument in arguments]
    visit, named = entry.get("visit", False), entry.get("named_arguments", {})
    if not isinstance(visit, bool):
        raise SettingError(f"visit must be true or false, not {visit!r}\nin file: {path}")
    if not isinstance(named, dict) or not isinstance(entry.get("wraps", ""), str):
        raise SettingError(f"named_arguments must be a table, wraps a string\nin file: {path}")
    names = dict(named)
    for argument in arguments:
        names.update(dict.fromkeys(argument[1:], argument[0]))
    positions = tuple(argument[0] for argument in arguments)
    _one_of(entry.get("operation"), OPERATIONS, "operation", path)
    if "kind" in entry or entry["operation"] == "trigger":
        _one_of(entry.get("kind"), TRIGGER_KINDS, "kind", path)
    for role in (*positions, *names.values()):
        _one_of(role, ROLES, "argument role", path)
    meaning = Meaning(
        operation=entry["operation"],
        kind=entry.get("kind"),
        visit=visit,
        wraps=entry.get("wraps"),
        positions=positions,
        names=names,
    )
    return tuple(patterns), meaning


def _event(entry: dict[str, Any], path: str) -> dict[str, EventMeaning]:
    _only(entry, {"entry", "exit", "instant", "operation", "arguments"}, path)
    operation = entry.get("operation")
    _one_of(operation, OPERATIONS, "operation", path)
    arguments = tuple(_strings(entry.get("arguments", []), "arguments", path))
    if "instant" in entry:
        instants = _strings(entry["instant"], "instant", path)
        return {name: EventMeaning(str(operation), "instant", name, arguments) for name in instants}
    if not {"entry", "exit"} <= entry.keys():
        raise SettingError(f"an [[event]] needs entry and exit, or instant\nin file: {path}")
    begins, ends = _strings([entry["entry"], entry["exit"]], "entry and exit", path)
    return {
        begins: EventMeaning(str(operation), "entry", begins, arguments),
        ends: EventMeaning(str(operation), "exit", begins, arguments),
    }


def _strings(value: object, what: str, path: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise SettingError(f"{what} must be strings, not {value!r}\nin file: {path}")
    return value


def _only(table: dict[str, Any], known: set[str], path: str) -> None:
    unknown = sorted(set(table) - known)
    if unknown:
        raise SettingError(
            f"unknown key {unknown[0]!r} in a vocabulary\nin file: {path}\n"
            f"known keys: {', '.join(sorted(known))}"
        )


def _one_of(value: object, known: tuple[str, ...], what: str, path: str) -> None:
    if not isinstance(value, str) or value not in known:
        raise SettingError(
            f"unknown {what} {value!r}\nin file: {path}\nvalid: {', '.join(sorted(known))}"
        )
