"""Functions of probes that `perf probe` named.

Unless it is told a name, perf probe names an event of the group `probe` after the function: leading
underscores and compiler suffixes go, `__return` is added to a return probe, `_1`, `_2` to what is
there already. perf.data and what perf script prints hold an address and no symbol table, so the
name is the only trace of the function in them. It is taken for the function of the vocabulary that
it fits, if

- one function fits, or several that mean the same to the vocabulary (then it is the one without
  underscores): `kvm_tlb_flush_vmid_range` may be that or `__kvm_tlb_flush_vmid_range`, which
  differ, so it stays unnamed;
- no other event has the same name with a number, which would be another function of that name, or
  another place in this one;
- the user gave nothing that names it with certainty (kprobe_events, kallsyms).

What this cannot see: a probe that somebody named like a function it is not on, and one inside a
function, which perf before 6.13 names like one on its entry. A diagnostic says what was assumed.
Source of truth: tools/perf/util/probe-event.c (get_new_event_name) of Linux 6.1 to 7.2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np

from traceview.parsers.record_kinds import PROBE_FIELDS
from traceview.trace import Diagnostic

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from traceview.parsers.classes import Class, Classes
    from traceview.parsers.event_format import EventFormat
    from traceview.trace import Want
    from traceview.vocabulary import Vocabulary

GROUP: Final = "probe"
RETURN: Final = "__return"
NUMBERED: Final = re.compile(r"_\d+$")
GLOB: Final = re.compile(r"[*?\[]")
MANY: Final = 8  # names in a message
HOW_TO_NAME: Final = (
    "give the lines of tracefs kprobe_events in TRACE.host.json ({'kprobe_events': [...]}), or"
    " --kallsyms"
)
# Base of a name -> functions that it may stand for, each with its entry in the vocabulary.
Functions = Mapping[str, Mapping[str, int]]


class AssumedFunctions:
    """The functions of events of the group `probe`, by their names: `symbols`."""

    def __init__(self, mine: set[str], others: set[str], want: Want) -> None:
        """Decide on the probes *mine*; *others* are the names of those of other groups."""
        self.symbols, self._unsure = _assumed(mine, want)
        for name in others & self.symbols.keys():
            del self.symbols[name]
            self._unsure.append(name)

    def traced(self) -> tuple[str, ...]:
        """The functions that were timed, hit or not: those with an entry and a return probe."""
        entered = {one for name, one in self.symbols.items() if not name.endswith(RETURN)}
        left = {one for name, one in self.symbols.items() if name.endswith(RETURN)}
        return tuple(sorted(entered & left))

    def diagnostics(self) -> list[Diagnostic]:
        """What was assumed, and what was not."""
        found = []
        if self.symbols:
            names = sorted(set(self.symbols.values()))
            message = (
                "functions known only by the names that perf probe gives to events, on the"
                f" assumption that these probes are on their entry and return: {listed(names)}; to"
                f" be certain, {HOW_TO_NAME}"
            )
            found.append(Diagnostic("assumed-functions", "info", message, len(names)))
        if self._unsure:
            message = (
                "probes whose function is unknown, because several functions or probes fit the"
                f" name: {listed(sorted(self._unsure))}; to name them, {HOW_TO_NAME}"
            )
            count = len(self._unsure)
            found.append(Diagnostic("ambiguous-probe-names", "warning", message, count))
        return found


class ProbeNames:
    """Gives the classes of events of the group `probe` their functions: those in `assumed`."""

    def __init__(self, formats: Iterable[EventFormat], want: Want, classes: Classes) -> None:
        """Decide on each event of *formats*."""
        events = [one for one in formats if any(one.field(name) for name in PROBE_FIELDS)]
        mine = {one.name for one in events if one.system == GROUP}
        others = {one.name for one in events if one.system != GROUP}
        self.assumed = AssumedFunctions(mine, others, want)
        self._classes = classes
        self._code_of = np.zeros(0, dtype=np.uint32)

    def named(self, what: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """The codes of classes *what*, those of nameless probes replaced where a name is known."""
        if not self.assumed.symbols:
            return what
        known = len(self._code_of)
        if known < len(self._classes.known):
            new = [self._named(code) for code in range(known, len(self._classes.known))]
            self._code_of = np.append(self._code_of, np.array(new, dtype=np.uint32))
        return self._code_of[what]

    def _named(self, code: int) -> int:
        one = self._classes.known[code]
        symbol = self.assumed.symbols.get(one.name) if _is_nameless_probe(one) else None
        return code if symbol is None else self._classes.code(one._replace(symbol=symbol))


def _is_nameless_probe(one: Class) -> bool:
    return one.symbol is None and one.evidence in ("kprobe", "fprobe")


def _assumed(names: set[str], want: Want) -> tuple[dict[str, str], list[str]]:
    """The functions of probes by event name, and the events for which several would do."""
    if want.symbols.kallsyms is not None:
        return {}, []
    functions = _functions(want.vocabulary)
    bases = {name: _base(name, functions) for name in names}
    numbered = {base for name, base in bases.items() if name.removesuffix(RETURN) != base}
    symbols: dict[str, str] = {}
    unsure: list[str] = []
    for name in sorted(names - want.symbols.probes.keys()):
        fitting = functions.get(bases[name], {})
        if len(set(fitting.values())) == 1 and bases[name] not in numbered:
            symbols[name] = min(fitting, key=len)
        elif fitting:
            unsure.append(name)
    return symbols, unsure


def _base(name: str, functions: Functions) -> str:
    """What the name of an event was made from."""
    whole = name.removesuffix(RETURN)
    return whole if whole in functions else NUMBERED.sub("", name).removesuffix(RETURN)


def _functions(vocabulary: Vocabulary) -> Functions:
    """The functions of the vocabulary by their names without leading underscores; no globs."""
    found: dict[str, dict[str, int]] = {}
    for entry, (patterns, _) in enumerate(vocabulary.functions):
        for name in patterns:
            if not GLOB.search(name):
                found.setdefault(name.lstrip("_"), {}).setdefault(name, entry)
    return found


def listed(names: list[str]) -> str:
    """The first of *names*, and how many more there are."""
    more = f" and {len(names) - MANY} more" if len(names) > MANY else ""
    return ", ".join(names[:MANY]) + more
