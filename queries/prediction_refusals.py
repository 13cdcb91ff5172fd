"""What a prediction is refused for, and in which words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from traceview.errors import QueryError
from traceview.queries.strategy_counts import STRATEGIES

if TYPE_CHECKING:
    from traceview.queries.analysis import Analysis
    from traceview.queries.prediction_cells import Measured
    from traceview.queries.strategy_counts import Strategy

# With fewer unmaps nothing can be held out.
MIN_UNMAPS: Final = 8
# What is left of a trace that lost more than this may be another kind of unmap than what is gone.
MOST_LOST: Final = 0.5
# Captures that differ in one of these are of several hosts; CPUs are what may be asked about.
OF_HOST: Final = {
    "kernel": "kernels", "machine": "machines", "midr": "MIDRs", "page_size_bytes": "page sizes",
    "fwb": "values of FWB", "tlbirange": "values of TLBIRANGE", "lpa2": "values of LPA2",
    "origin": "origins",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Host:
    """What is stated of the host; None where nobody stated it. `as_if`: it is not taken as is."""

    kernel: str | None
    fwb: bool | None
    tlbirange: bool | None
    lpa2: bool | None
    page_bytes: int
    origin: str
    cpus: tuple[int, ...]
    as_if: bool

    @property
    def may_defer_tables(self) -> bool:
        """Whether the kernel may leave freed tables to the range flush: 6.6 to 6.8, or unknown."""
        parts = (self.kernel or "").split(".")
        if len(parts) < 2 or not (parts[0].isdigit() and parts[1].isdigit()):
            return True
        return (6, 6) <= (int(parts[0]), int(parts[1])) < (6, 9)


def host_of(analysis: Analysis, as_if: bool) -> Host:  # noqa: FBT001 - a field of what it makes
    """The host of all traces; raises QueryError where they are of several."""
    found: dict[str, Any] = {}
    for fact, several in OF_HOST.items():
        values = analysis.sources[fact].drop_nulls().unique(maintain_order=True).to_list()
        stated = [value for value in values if value != "unknown"]
        if len(stated) > 1:
            said = ", ".join(str(value) for value in stated)
            raise QueryError(
                f"the traces are of {len(stated)} {several} ({said}): one model fits one host and"
                " kernel\nvalid: captures of one kernel on one machine; `compare` is for two"
            )
        found[fact] = stated[0] if stated else None
    cpus = analysis.sources["cpus"].drop_nulls().unique().sort().to_list()
    return Host(
        found["kernel"], found["fwb"], found["tlbirange"], found["lpa2"],
        int(found["page_size_bytes"] or 4096), found["origin"] or "unknown", tuple(cpus),
        as_if,
    )  # fmt: skip


def refuse(taken: Measured, host: Host, wanted: Strategy | None, *, several_cpus: bool) -> Strategy:
    """The strategy of the unmaps; raises QueryError where they bear no prediction."""
    _refuse_lost(taken)
    strategy = _strategy(taken)
    _refuse_few(taken)
    if len(host.cpus) > 1 and not several_cpus:
        raise QueryError(
            f"the traces are of hosts with {', '.join(map(str, host.cpus))} CPUs, and an"
            " invalidation waits for all of them\nvalid: --cpus N, or captures with as many CPUs"
        )
    if wanted == "deferred_range" and strategy == "per_pte":
        _refuse_host(taken, host)
    return strategy


def _refuse_lost(taken: Measured) -> None:
    lost = sum(one.unmaps for one in taken.left_out if "contaminated" in one.reason)
    total = lost + len(taken.detailed)
    if lost and lost > MOST_LOST * total:
        raise QueryError(
            f"{lost} of {total} unmaps are contaminated by loss, cut off or have no duration: what"
            " is left need not be like them\nvalid: a recording with larger buffers"
        )


def _strategy(taken: Measured) -> Strategy:
    seen = set(taken.timed["strategy"].cast(pl.String))
    found = [name for name in STRATEGIES if name in seen]
    if len(found) > 1:
        raise QueryError(
            "the traces hold unmaps of both strategies: what the other one gives was measured\n"
            "valid: `traceview compare --group strategy`; here, the captures of one"
        )
    if not found:
        why = "; ".join(f"{one.unmaps} {one.reason}" for one in taken.left_out)
        raise QueryError(
            "no unmap whose strategy and leaves are known\n"
            "it takes __kvm_tlb_flush_vmid_ipa, __kvm_tlb_flush_vmid_range and kvm_s2_put_page"
            " (or clean_dcache_guest_page) traced with durations (preset `split`), of a VHE host:"
            " under nVHE the flushes run at EL2, where no host traces them"
            + (f"\nleft out: {why}" if why else "")
        )
    return found[0]


def _refuse_few(taken: Measured) -> None:
    if len(taken.timed) < MIN_UNMAPS:
        why = "; ".join(f"{one.unmaps} {one.reason}" for one in taken.left_out)
        number = len(taken.timed)
        raise QueryError(
            f"{number} unmap{'s' * (number != 1)} can be used, fewer than the {MIN_UNMAPS} that it"
            f" takes to hold any out{f' (left out: {why})' if why else ''}"
        )


def cannot_defer(taken: Measured, host: Host) -> str | None:
    """Why no kernel defers on this host, as far as is known."""
    missing = [
        name for name, has in (("FWB", host.fwb), ("TLBIRANGE", host.tlbirange)) if has is False
    ]
    if missing:
        return f"it has no {' and no '.join(missing)}"
    maintained = int(taken.detailed["cmo"].fill_null(0).sum())
    if maintained and host.fwb is None:
        return f"its unmaps maintain the cache ({maintained:,} calls), so it has no FWB"
    return None


def _refuse_host(taken: Measured, host: Host) -> None:
    why = cannot_defer(taken, host)
    if why is not None and not host.as_if:
        raise QueryError(
            f"this host would not defer, whatever its kernel: {why}; a kernel defers where the"
            " machine has FWB and TLBIRANGE (both Armv8.4)\n"
            "valid: --as-if, for a machine that is this one with both and does not exist"
        )
