"""What a capture can answer, as a shell function that decides it on the host.

answers.py is asked for every host that could make a difference, and what it says becomes a tree of
conditions: so the script says word for word what `traceview record` says, and nothing is written
down twice. Where more than three conditions at once decide, they must be seen to: each of the names
that answers.py knows is a condition of its own, all others count together.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import TYPE_CHECKING, Final

from traceview.record.answers import CALLERS
from traceview.record.host import Host
from traceview.record.planning import Wish, make_plan
from traceview.record.preset import (
    CMO,
    FLUSH_IPA,
    FLUSH_RANGE,
    PKVM_UNMAP,
    PUT_PAGE,
    UNMAP,
    WALKER,
)  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from traceview.record.plan import Answer
    from traceview.record.preset import Preset

KNOWN: Final = frozenset({
    UNMAP, PKVM_UNMAP, FLUSH_IPA, FLUSH_RANGE, PUT_PAGE, CMO, WALKER, *CALLERS
})  # fmt: skip
MODES: Final = ("vhe", "nvhe", "protected", "")
KERNEL: Final = "6.12.0"  # the probes of all events fit it
OPERAND: Final = "+0x4,x0,ripas2e1is"


@dataclass(frozen=True, slots=True)
class Condition:
    """Something of a host that answers may depend on. `test`: the shell's way to ask for it."""

    name: str
    test: str
    values: tuple[str, ...] = ("yes", "no")
    functions: tuple[str, ...] = ()  # that the kernel has where it is `yes`
    events: tuple[str, ...] = ()


Hosts = tuple[str, ...]  # a value for each condition
Said = tuple[bool, str]


def quoted(text: str) -> str:
    """*text* as one word of the shell."""
    return "'" + text.replace("'", "'\"'\"'") + "'"


def answers_function(preset: Preset) -> list[str]:
    """The lines of the shell function that says what a capture of *preset* can answer."""
    asked = _Asked(preset)
    lines = [f"answers_{preset.name}() {{"]
    for number, question in enumerate(asked.questions):
        rows = asked.rows(number)
        lines += _tree(question, asked.conditions, rows, 1)
    return [*lines, "}"]


class _Asked:
    """answers.py, asked about hosts; each of them once."""

    def __init__(self, preset: Preset) -> None:
        self.preset = preset
        self.conditions = _conditions(preset)
        self._found: dict[Hosts, tuple[Answer, ...]] = {}
        self._sample = list(dict.fromkeys(_sample(self.conditions)))
        self.questions = [one.question for one in self.said(self._sample[0])]

    def said(self, hosts: Hosts) -> tuple[Answer, ...]:
        """All answers for such hosts."""
        if hosts not in self._found:
            self._found[hosts] = _answers(
                self.preset, dict(zip(self.conditions, hosts, strict=True))
            )
        return self._found[hosts]

    def rows(self, question: int) -> dict[Hosts, Said]:
        """The answers to a question for all hosts that differ in what it depends on."""

        def of(hosts: Hosts) -> Said:
            one = self.said(hosts)[question]
            return one.can, one.why

        first = self._sample[0]
        choices = [
            one.values if self._matters(at, of) else (first[at],)
            for at, one in enumerate(self.conditions)
        ]
        return {hosts: of(hosts) for hosts in product(*choices)}

    def _matters(self, at: int, of: Callable[[Hosts], Said]) -> bool:
        """Whether hosts of the sample that differ in one condition are told different things."""
        seen: dict[Hosts, Said] = {}
        for hosts in self._sample:
            others = (*hosts[:at], *hosts[at + 1 :])
            if seen.setdefault(others, of(hosts)) != of(hosts):
                return True
        return False


def _conditions(preset: Preset) -> list[Condition]:
    names = dict.fromkeys((*preset.graph, *(one.symbol for one in preset.probes)))
    found = [
        Condition("mode", "mode", MODES),
        Condition("fwb", '[ "$fwb" = true ]'),
        Condition("hypervisor", '[ -n "$hypervisor" ]'),
        Condition("remote", '[ -e "$T/$REMOTE" ]'),
    ]
    if FLUSH_RANGE not in names:
        found.append(Condition("host", f"names_of {FLUSH_RANGE}", functions=(FLUSH_RANGE,)))
    found += [Condition(one, f"is_kept {one}", functions=(one,)) for one in names if one in KNOWN]
    others = tuple(one for one in names if one not in KNOWN)
    if others:
        found.append(Condition("others", f"any_kept {' '.join(others)}", functions=others))
    found += [Condition(one, f"is_kept {one}", events=(one,)) for one in preset.events]
    if preset.probes:
        found.append(Condition("operands", '[ -n "$operands" ]'))
    return found


def _answers(preset: Preset, values: Mapping[Condition, str]) -> tuple[Answer, ...]:
    by_name = {one.name: value for one, value in values.items()}
    there = [one for one, value in values.items() if value == "yes"]
    host = Host(
        tracefs=Path("tracefs"), kernel=KERNEL, machine="aarch64", kvm=True,
        mode=by_name["mode"] or None,
        functions=frozenset(name for one in there for name in one.functions),
        events=frozenset(name for one in there for name in one.events),
        facts={"fwb": True} if by_name["fwb"] == "yes" else {},
        hypervisor=by_name["remote"] == "yes",
    )  # fmt: skip
    operands = (OPERAND,) if by_name.get("operands") == "yes" else ()
    wish = Wish(preset.name, operands=operands, hypervisor=by_name["hypervisor"] == "yes")
    return make_plan(host, wish).answers


def _sample(conditions: Sequence[Condition]) -> Iterable[Hosts]:
    """Hosts with everything, with nothing, and those that differ from them in up to two things."""
    free = range(1, len(conditions))
    for mode, start in product(MODES, ("yes", "no")):
        other = "no" if start == "yes" else "yes"
        for size in range(3):
            for changed in combinations(free, size):
                yield (mode, *(other if at in changed else start for at in free))


def _tree(
    question: str, conditions: Sequence[Condition], rows: Mapping[Hosts, Said], depth: int
) -> list[str]:
    """The lines that decide a question."""
    tabs = "\t" * depth
    said = set(rows.values())
    if len(said) == 1:
        can, why = said.pop()
        return [f"{tabs}answer {'yes' if can else 'no'} {quoted(question)} {quoted(why)}"]
    at = min(
        (at for at in range(len(conditions)) if len({hosts[at] for hosts in rows}) > 1),
        key=lambda at: sum(len(set(part.values())) for part in _parts(rows, at).values()),
    )
    parts = _parts(rows, at)
    under = {value: _tree(question, conditions, part, depth + 1) for value, part in parts.items()}
    if conditions[at].name != "mode":
        yes, no = under["yes"], under["no"]
        return [f"{tabs}if {conditions[at].test}; then", *yes, f"{tabs}else", *no, f"{tabs}fi"]
    lines = [f"{tabs}case $mode in"]
    for value, branch in under.items():
        same = [one for one, other in under.items() if other == branch]
        if value == same[0]:
            names = " | ".join(one or "''" for one in same)
            lines += [f"{tabs}{names})", *branch, f"{tabs}\t;;"]
    return [*lines, f"{tabs}esac"]


def _parts(rows: Mapping[Hosts, Said], at: int) -> dict[str, dict[Hosts, Said]]:
    parts: dict[str, dict[Hosts, Said]] = {}
    for hosts, said in rows.items():
        parts.setdefault(hosts[at], {})[hosts] = said
    return parts
