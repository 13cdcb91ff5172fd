"""Free text without the names in it: markers, messages, command lines.

What a tracer or a person wrote cannot be understood, so every word counts that is known to be the
name of a task or a host, a path, a kernel address, or the number of a task.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import polars as pl

    from traceview.scrub_addresses import Regions

# Nothing that identifies anybody: what the kernel and its tracers write for no name.
KEPT_COMMS: Final = re.compile(r"|<idle>|<\.\.\.>|swapper(?:/\d+)?")
GENERIC_HOSTS: Final = frozenset({"localhost", "(none)", "localdomain", "none", "unknown"})
LETTER: Final = re.compile(r"[^\W\d_]")
# A path of somebody's machine, not of the kernel's own file systems.
PATH: Final = r"(?:~|\.{1,2})?/(?:[\w.@%+~:-]+/)*[\w.@%+~:-]+"
WHOLE_PATH: Final = rf"(?<![\w.:/~-])(?!/(?:proc|sys|dev)/){PATH}"
# The same, as the regular expressions of polars can say it: with the character before.
PATH_AFTER: Final = rf"(?:^|[^\w.:/~-]){PATH}"
KERNEL_PATH: Final = ("/proc/", "/sys/", "/dev/")
PID_KEY: Final = r"\b(?:[a-z]+_)?(?:pid|tid|tgid|ppid|pgid)"
# A line of a file that was not understood, as messages quote it (parsers/text_batch.py).
QUOTED_LINE: Final = re.compile(r"(line \d+: )(['\"]).*\2(?:\.\.\.)?", re.DOTALL)
LEFT_OUT: Final = "(left out)"

# perf record's options (tools/perf/builtin-record.c): those whose values say what was recorded
# and of no more, and those whose values are left out.
TOLD: Final = frozenset({
    "-e", "--event", "-F", "--freq", "-c", "--count", "-m", "--mmap-pages", "-k", "--clockid",
    "-C", "--cpu", "--call-graph", "-j", "--branch-filter", "-D", "--delay", "-r", "--realtime",
    "--max-size", "--aio", "--affinity", "--comp-level", "--threads",
})  # fmt: skip
UNTOLD: Final = frozenset({"-u", "--uid", "-G", "--cgroup", "--filter", "-o", "--output"})
TASKS: Final = frozenset({"-p", "--pid", "-t", "--tid"})
VALUED: Final = TOLD | UNTOLD | TASKS


class Words:
    """Replaces names in text. The mappings say what each name becomes."""

    def __init__(
        self,
        comms: Mapping[str, str],
        hosts: Mapping[str, str],
        traces: Iterable[str],
        path: Callable[[str], str],
        tid: Callable[[int], int | None],
        regions: Regions,
    ) -> None:
        """*traces* are paths, even such as do not look like one; *tid* is None of no PID."""
        told = {comm: new for comm, new in comms.items() if LETTER.search(comm)}
        self._comms, self._path, self._tid, self._regions = told, path, tid, regions
        self._lower = {host.lower(): new for host, new in hosts.items()}
        one_host, one_comm = _any_of(hosts), _any_of(told)
        self._host = re.compile(one_host, re.IGNORECASE)
        plain = rf"(?P<path>{_any_of(traces)}|{WHOLE_PATH})|(?P<host>(?i:{one_host}))"
        self._plain = re.compile(plain)
        shared = (
            rf"{plain}|(?P<key>{PID_KEY}[=: ]+)(?P<id>\d{{1,10}})(?!\w)"
            rf"|(?P<comm>{one_comm})(?:-(?P<of>\d{{1,10}})(?!\w))?"
        )
        self._task = re.compile(shared)
        self._numbered = re.compile(rf"{shared}|(?<![\w.])(?P<number>\d{{1,10}})(?!\w|\.\d)")

    def hosts(self, text: str) -> str:
        """*text* without names of hosts, for words of the user's own."""
        return self._host.sub(lambda match: self._lower[match[0].lower()], text)

    def named(self, text: str) -> str:
        """*text* without names of hosts and paths."""
        return self._plain.sub(self._replaced, text)

    def addresses(self, text: str) -> str:
        """*text* with the kernel addresses in it moved."""
        return self._regions.text(text)

    def message(self, text: str) -> str:
        """A sentence of traceview's: words in it that a task has for a name mean no task."""
        cut = QUOTED_LINE.sub(rf"\g<1>{LEFT_OUT}", text)
        return self.named(self._regions.text(cut))

    def free(self, text: str, *, numbers: bool = False) -> str:
        """*text* of anybody's; with *numbers* also those that could be tasks'."""
        pattern = self._numbered if numbers else self._task
        return pattern.sub(self._replaced, self._regions.text(text))

    def marker(self, text: str, step: re.Pattern[str]) -> str:
        """A marker; what *step* matches in it stays, but for names in its `id`."""
        match = step.search(text)
        if match is None:
            new = self.free(text, numbers=True)
            return new if step.search(new) is None else LEFT_OUT
        begin, end = match.span("id")
        first, last = match.span()
        before = self.free(text[:first], numbers=True) + text[first:begin]
        after = text[end:last] + self.free(text[last:], numbers=True)
        for name in (self.free(match["id"]), match["id"]):
            new = f"{before}{name}{after}"
            again = step.search(new)
            if again is not None and (again["edge"], again["id"]) == (match["edge"], name):
                return new
        return text[first:last]

    def command(self, text: str) -> str:
        """The command line of a recorder: of perf without the workload and what it was told."""
        words = text.split(" ")
        if not words[0].rpartition("/")[2].startswith("perf"):
            return self.free(text, numbers=True)
        return " ".join(["perf", *self._perf(words[1:])])

    def _perf(self, words: list[str]) -> Iterator[str]:
        value_of = ""
        for at, word in enumerate(words):
            name, equals, value = word.partition("=")
            if value_of:
                yield self._value(value_of, word)
                value_of = ""
            elif name in VALUED:
                yield f"{name}={self._value(name, value)}" if equals else name
                value_of = "" if equals else name
            elif word.startswith("--") and word != "--":
                yield word if not equals else f"{name}={LEFT_OUT}"
            elif word.startswith("-") and word != "--":
                yield word[:2] + self._value(word[:2], word[2:]) if word[:2] in VALUED else word
            elif at == 0:  # record, kvm
                yield word
            else:
                yield LEFT_OUT
                return

    def _value(self, option: str, value: str) -> str:
        if option in TOLD:
            return self.free(value)
        if option in TASKS:
            return re.sub(r"\d+", lambda match: self._pid(match[0], LEFT_OUT), value)
        return LEFT_OUT

    def _replaced(self, match: re.Match[str]) -> str:
        found = match.groupdict()
        if found["path"] is not None:
            return self._path(found["path"])
        if found["host"] is not None:
            return self._lower[found["host"].lower()]
        if found.get("key") is not None:
            return found["key"] + self._pid(found["id"], LEFT_OUT)
        if found.get("comm") is not None:
            of = "" if found["of"] is None else f"-{self._pid(found['of'], LEFT_OUT)}"
            return self._comms[found["comm"]] + of
        return self._pid(found["number"], found["number"])

    def _pid(self, number: str, unknown: str) -> str:
        """What a *number* in a text becomes, *unknown* where no task has it."""
        new = self._tid(int(number))
        return unknown if new is None else str(new)


def _any_of(names: Iterable[str]) -> str:
    """A pattern of whole words; of none where there are no *names*."""
    longest_first = sorted(names, key=lambda name: (-len(name), name))
    said = [
        ("(?<!\\w)" if name[0].isalnum() or name[0] == "_" else "")
        + re.escape(name)
        + ("(?!\\w)" if name[-1].isalnum() or name[-1] == "_" else "")
        for name in longest_first
        if name
    ]
    return "|".join(said) or "(?!)"


def paths_of(texts: pl.Series) -> set[str]:
    """The paths in *texts* that are of somebody's machine."""
    found = texts.str.extract_all(PATH_AFTER).explode(empty_as_null=False).drop_nulls().unique()
    paths = {path if path[0] in "~./" else path[1:] for path in found}
    return {path for path in paths if not path.startswith(KERNEL_PATH)}


def host_names(names: Iterable[str]) -> set[str]:
    """*names* of hosts, whole and without their domains, but those that every host may have."""
    found = set()
    for name in names:
        for one in (name, name.partition(".")[0]):
            if LETTER.search(one) and one.lower() not in GENERIC_HOSTS:
                found.add(one)
    return found
