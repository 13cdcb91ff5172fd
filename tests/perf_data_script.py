"""What `perf script` printed of a perf.data, line by line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LINE = re.compile(
    r"^ *(?P<comm>\S.*?)? +(?:(?P<pid>-?\d+)/)? *(?P<tid>-?\d+) +(?:\[(?P<cpu>\d+)\] +)?"
    r"(?P<sec>\d+)\.(?P<fraction>\d{6}|\d{9}): +(?P<rest>\S.*)$"
)
EVENT = re.compile(r"^(?:(?P<period>\d+) +)?(?P<event>[\w:.-]+): ?(?P<fields>.*)$")
FRAME = re.compile(r"^\s+(?P<ip>[0-9a-f]+) ")
ARGUMENT = re.compile(r"\b(\w+)=(0x[0-9a-f]+|-?\d+)(?=[ ,)]|$)")


@dataclass
class Printed:
    """One event as it was printed; `unit_ns` is how fine its time is."""

    ts_ns: int
    unit_ns: int
    cpu: int | None
    tid: int
    comm: str
    name: str
    fields: str
    frames: list[int]

    def arguments(self) -> dict[str, int]:
        """The numbers among its fields, of 64 bits."""
        found = ARGUMENT.findall(self.fields)
        return {name: int(value, 16 if value.startswith("0x") else 10) for name, value in found}


def parse(text: str) -> Iterator[Printed]:
    """The events of *text*; records that are no samples are left out."""
    current: Printed | None = None
    for line in text.splitlines():
        match = LINE.match(line)
        if match is None:
            frame = FRAME.match(line)
            if frame and current:
                current.frames.append(int(frame["ip"], 16))
            continue
        if current:
            yield current
            current = None
        event = EVENT.match(match["rest"])
        if match["rest"].startswith("PERF_RECORD_") or event is None:
            continue
        unit = 10 ** (9 - len(match["fraction"]))
        current = Printed(
            int(match["sec"]) * 10**9 + int(match["fraction"]) * unit, unit,
            int(match["cpu"]) if match["cpu"] else None, int(match["tid"]), match["comm"] or "",
            event["event"].rpartition(":")[2], event["fields"], [],
        )  # fmt: skip
    if current:
        yield current
