"""The names that a preset wants, as this kernel has them; what it lacks, and why that may be."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from traceview.record.plan import Dropped
from traceview.record.preset import AT_EL2, OF_TABLES, PKVM_UNMAP, PROTECTED_ONLY, SINCE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from traceview.record.host import Host
    from traceview.record.preset import Probe, Releases

# As in traceview/vocabulary.py, which needs more than a measured host has.
SUFFIX: Final = re.compile(r"(?:\.(?:isra|part|constprop|cold|lto_priv|llvm)(?:\.\d+)*)+$")
# Parts of a function that the compiler moved elsewhere are no calls of it.
NO_CALL: Final = re.compile(r"\.(?:part|cold)(?:\.|$)")
WITHOUT_VHE: Final = frozenset({"nvhe", "protected"})
WHY_AT_EL2: Final = "there, but not called without VHE: EL2 has its own"
WHY_OF_TABLES: Final = "there, but not called on a pKVM host: EL2 has the page tables"


def base(name: str) -> str:
    """A name without the compiler's suffixes."""
    return SUFFIX.sub("", name)


def by_base(functions: Collection[str]) -> dict[str, list[str]]:
    """The kernel's names of each function that has suffixes, and none of the others."""
    found: dict[str, list[str]] = {}
    for name in [name for name in functions if "." in name]:
        found.setdefault(base(name), []).append(name)
    return {name: sorted(names) for name, names in found.items()}


def resolve(
    wanted: Iterable[str], host: Host, suffixed: Mapping[str, list[str]]
) -> tuple[tuple[str, ...], tuple[Dropped, ...]]:
    """The kernel's names of *wanted* in their order, and those that it lacks."""
    present: list[str] = []
    dropped: list[Dropped] = []
    for name in wanted:
        if name in PROTECTED_ONLY and host.mode != "protected":
            continue
        plain = [name] if name in host.functions else []
        names = plain + _calls(suffixed.get(name, []), beside=bool(plain))
        if not names:
            dropped.append(Dropped(name, _why(name, host)))
        elif elsewhere := _elsewhere(name, host, suffixed):
            dropped.append(Dropped(name, elsewhere))
        else:
            present += names
    return tuple(present), tuple(dropped)


def _elsewhere(name: str, host: Host, suffixed: Mapping[str, list[str]]) -> str | None:
    """Why a function that is there is never called on this host."""
    if name in AT_EL2 and host.mode in WITHOUT_VHE:
        return WHY_AT_EL2
    has_pkvm = PKVM_UNMAP in host.functions or PKVM_UNMAP in suffixed
    if name in OF_TABLES and host.mode == "protected" and has_pkvm:
        return WHY_OF_TABLES
    return None


def _calls(names: list[str], *, beside: bool) -> list[str]:
    """Those of a function's names that are calls of it: not `.part.0` *beside* the function."""
    whole = [name for name in names if not NO_CALL.search(name)]
    return whole if whole or beside else names


def _why(name: str, host: Host) -> str:
    if not host.functions:
        return "available_filter_functions cannot be read"
    on = SINCE.get(name)
    if on is not None and host.release is not None and not host.fits(on):
        return f"a name of {_range(on)}; this is {host.kernel}"
    return "not among the functions that this kernel can trace: inlined, or not built"


def _range(on: Releases) -> str:
    first, last = on
    if first is not None and last is None:
        return f"kernels from {first[0]}.{first[1]} on"
    if last is not None and first is None:
        return f"kernels up to {last[0]}.{last[1]}"
    return "other kernels"


def resolve_probes(
    wanted: Iterable[Probe], host: Host, suffixed: Mapping[str, list[str]]
) -> tuple[tuple[Probe, ...], tuple[Dropped, ...]]:
    """The probes that this kernel can have, one of each `event`, with the kernel's names."""
    wanted = list(wanted)
    found: dict[str, Probe] = {}
    missing: dict[str, Dropped] = {}
    for one in wanted:
        if one.event in found or (one.symbol in PROTECTED_ONLY and host.mode != "protected"):
            continue
        names, dropped = resolve((one.symbol,), host, suffixed)
        if dropped:
            missing[one.event] = dropped[0]
        elif not host.fits(one.on) or one.needs not in host.readme:
            missing.setdefault(
                one.event,
                Dropped(one.symbol, f"where its arguments lie in {host.kernel} is not known"),
            )
        else:
            found[one.event] = replace(one, symbol=names[0])
    return tuple(found.values()), tuple(why for event, why in missing.items() if event not in found)


def resolve_events(
    wanted: Iterable[str], host: Host
) -> tuple[tuple[str, ...], tuple[Dropped, ...]]:
    """The tracepoints that this kernel has."""
    wanted = tuple(wanted)
    return tuple(name for name in wanted if name in host.events), tuple(
        Dropped(name, "no event of this kernel") for name in wanted if name not in host.events
    )
