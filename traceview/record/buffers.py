"""How large the ring buffers are made: of each CPU, for all CPUs get the same.

The tracefs back end empties them while it records, so they need to hold what comes between two
readings, not the whole recording. A record of function_graph takes 42 bytes on 6.12.95 and 36 on
7.1.8, a call is two of them (docs/how-to.md section 4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from traceview.errors import SettingError

if TYPE_CHECKING:
    from traceview.record.host import Host

WANTED_KB: Final = 32 * 1024
LEAST_KB: Final = 1024
# trace-cmd, perf and perfetto are given the same buffers, and are not known to keep up.
UNREAD_KB: Final = 64 * 1024
# The hypervisor's, which the kernel looks at every 100 ms; an event takes about 20 bytes of it.
HYPERVISOR_KB: Final = 8 * 1024
SHARE: Final = 0.1  # of MemAvailable, for all CPUs together
MOST_SHARE: Final = 0.5  # what --buffer-kb may take
CALL_BYTES: Final = 84


@dataclass(frozen=True, slots=True)
class Buffers:
    """The size for one CPU, and the words that say how it was chosen."""

    per_cpu_kb: int
    text: str


def hypervisor_kb(per_cpu_kb: int, stated_kb: int | None) -> int:
    """The hypervisor's buffers beside such of the host; those stated are for both."""
    return stated_kb or min(HYPERVISOR_KB, per_cpu_kb)


def choose(
    host: Host, *, stated_kb: int | None, is_read: bool, hypervisor: bool = False
) -> Buffers:
    """The buffers of a recording; raises SettingError if what the user states does not fit.

    *hypervisor*: what is stated is needed twice.
    """
    cpus = max(1, len(host.cpus))
    available = host.memory_available_kb
    if stated_kb is not None:
        rings = cpus * (1 + hypervisor)
        if available is not None and stated_kb * rings > MOST_SHARE * available:
            raise SettingError(
                f"buffers of {stated_kb} KiB on {cpus} CPUs are {size(stated_kb * rings)}, more"
                f" than half of the available memory ({size(available)})"
                f"\nvalid: at most --buffer-kb {int(MOST_SHARE * available / rings)}"
            )
        return Buffers(stated_kb, _text(stated_kb, cpus, available, "as asked for"))
    wanted = WANTED_KB if is_read else UNREAD_KB
    if available is None:
        kb = LEAST_KB
        return Buffers(kb, _text(kb, cpus, None, "the available memory is not known"))
    most = int(SHARE * available / cpus)
    kb = max(LEAST_KB, min(wanted, most // 1024 * 1024))
    why = f"at most {SHARE:.0%} of it is used" if kb < wanted else ""
    return Buffers(kb, _text(kb, cpus, available, why))


def _text(kb: int, cpus: int, available: int | None, why: str) -> str:
    text = f"{size(kb)} on each of {cpus} CPUs, {size(kb * cpus)} in all"
    if cpus == 1:
        text = f"{size(kb)} on the only CPU"
    if available:
        text += f", {kb * cpus / available:.1%} of the available memory"
    if why:
        text += f" ({why})"
    return f"{text}; one CPU's holds about {kb * 1024 // CALL_BYTES:,} traced calls"


def size(kb: int) -> str:
    """A size as people read it."""
    if kb >= 1 << 20:
        return f"{kb / (1 << 20):.1f} GiB"
    return f"{kb / 1024:.0f} MiB" if kb >= 1024 else f"{kb} KiB"
