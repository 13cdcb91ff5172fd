"""What `perf script` says beside events: the header of the file (`--header`), and its messages.

Header lines begin with `#` and state facts of the recorded host. Messages go to standard error,
but many a text was made with `2>&1`: they say what was lost or left out, and are no events.

Sources of truth: tools/perf/util/header.c (perf_header__fprintf_info, print_event_desc,
print_clock_data), tools/perf/util/session.c (perf_session__warn_about_errors),
tools/perf/builtin-script.c, 4.4 to 7.2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from traceview.parsers.perf_attr import CLOCKS, PERF_CLOCK
from traceview.trace import Diagnostic

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

    from traceview.parsers.ftrace_text_lines import Lines, Mask, Positions

KEYS: Final = r"(?P<key>hostname|os release|arch|nrcpus online|cpuid|cmdline|reference time|event)"
INTERESTING: Final = rf"^# {KEYS} ?:"
FACT: Final = re.compile(rf"# {KEYS} ?: (?P<value>.+)")
EVENT: Final = re.compile(
    r"# event : name = (?P<name>.+?),(?: ,)? (?:id = \{[^}]*\}, )?type = (?P<type>\d{1,10})\b"
)
CLOCKID: Final = re.compile(r", use_clockid = 1\b.*, clockid = (\d{1,3})\b")
WALL: Final = re.compile(r" = (\d{9,11})\.\d{6} \(TOD\)")
KNOWN_EVENTS: Final = 100_000
TRACEPOINT_TYPE: Final = 2  # PERF_TYPE_TRACEPOINT
MIDR: Final = re.compile(r"0x[0-9a-f]{16}")

# What perf prints to standard error. Nothing else is taken for a message.
MESSAGE: Final = (
    r"^(?:'[\w-]+' not valid for [\w-]+ events\. Ignoring\.|Warning:|Check IO/CPU overload!"
    r"|Processed \d+ (?:events|samples) and lost .*!|\d+ unprocessable samples recorded\."
    r"|Do you have a KVM guest running and not using 'perf kvm'\?"
    r"|Samples for '.*' event do not have \w+ attribute set\. Skipping '\w+' field\.)$"
)
LOST: Final = re.compile(r"Processed \d+ (?:events|samples) and lost (?:\d+ chunks|[\d.]+%)!")
GUEST: Final = re.compile(r"(\d{1,18}) unprocessable samples recorded\.")

# Counters and clocks: `cycles`, `cycles:ppp`, `armv8_pmuv3/cycles/u`, `mem:0xffff8000:w`.
SAMPLED: Final = re.compile(
    r"\[?[\w. -]+\]?(?::[ukhIGHpPSDWebRX]+)?|[\w.-]+/[!-~]*|mem:0x[0-9a-f]+[:/\w]*"
)
# An event may be called what its user likes, but not in other characters than these.
NAME_TEXT: Final = re.compile(r"[!-~]+")


@dataclass(slots=True)
class Notes:
    """What was said so far. `facts` are as in Batch."""

    facts: dict[str, Any] = field(default_factory=lambda: {"tracer": "perf"})
    clocks: list[str] = field(default_factory=list)
    types: dict[str, int] = field(default_factory=dict)  # of events, by name
    lost: list[str] = field(default_factory=list)
    guest_samples: int = 0

    def read_header(self, lines: Lines, index: Positions) -> None:
        """Take in those of the lines at *index*, which begin with `#`, that say something."""
        if index.size == 0:
            return
        texts = lines.text(lines.starts[index], lines.ends[index])
        for text in texts.filter(texts.str.contains(INTERESTING)):
            if (match := EVENT.match(text)) and len(self.types) < KNOWN_EVENTS:
                self.types[match["name"]] = int(match["type"])
                self._clock(text)
            elif match := FACT.fullmatch(text):
                self._fact(match["key"], match["value"].strip())

    def _fact(self, key: str, value: str) -> None:
        if key == "hostname":
            self.facts["hostnames"] = (value,)
        elif key == "os release":
            self.facts["kernel"] = value
        elif key == "arch":
            self.facts["machine"] = value
        elif key == "nrcpus online" and value.isdecimal() and len(value) < 6:
            self.facts["cpus"] = int(value)
        elif key == "cpuid" and MIDR.fullmatch(value):
            self.facts["midr"] = value
        elif key == "cmdline" and " " in value.strip():  # the program alone is no option
            self.facts["tracer_options"] = value
        elif key == "reference time" and (match := WALL.search(value)):
            at = datetime.fromtimestamp(int(match[1]), UTC)
            self.facts["recorded_at"] = at.isoformat(timespec="seconds")

    def _clock(self, event: str) -> None:
        match = CLOCKID.search(event)
        number = int(match[1]) if match else None
        clock = PERF_CLOCK if number is None else CLOCKS.get(number, f"clockid {number}")
        self.clocks = [*dict.fromkeys([*self.clocks, clock])]
        self.facts["clock"] = ", ".join(self.clocks)

    def read_messages(self, texts: pl.Series) -> Mask:
        """Which of *texts* are messages of perf; what they say is taken in."""
        found: Mask = texts.str.contains(MESSAGE).to_numpy()
        if found.any():
            for text in texts.filter(found).unique(maintain_order=True):
                if LOST.fullmatch(text):
                    self.lost = [*dict.fromkeys([*self.lost, text])]
                elif match := GUEST.fullmatch(text):
                    self.guest_samples = int(match[1])
        return found

    def is_sampled(self, name: str) -> bool:
        """Whether the event *name* is a counter or a clock that was sampled, and no tracepoint.

        The header says it; without one a tracepoint is `group:event`, where `event` is more than
        letters that modify (`cycles:ppp`).
        """
        if name in self.types:
            return self.types[name] != TRACEPOINT_TYPE
        return SAMPLED.fullmatch(name) is not None

    def diagnostics(self) -> Iterator[Diagnostic]:
        """What the messages say about losses and about samples that are not shown."""
        for text in self.lost:
            yield Diagnostic("perf-lost", "warning", f"perf says: {text}")
        if self.guest_samples:
            yield Diagnostic(
                "guest-samples-hidden",
                "warning",
                f"perf left {self.guest_samples} samples out of this text: they carry guest"
                " cpumode, as host code does while a vCPU is loaded; perf.data has them",
                self.guest_samples,
            )


def comments(lines: Lines) -> Positions:
    """The lines that begin with `#`."""
    return np.flatnonzero(lines.buffer[lines.starts] == ord("#"))
