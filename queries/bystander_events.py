"""What vCPU threads do, from KVM's tracepoints: rows of one batch as plain arrays.

`kvm_exit` comes after the guest was left and pending interrupts were taken, `kvm_entry` right
before it is entered again, both on the vCPU's thread; between them the host works for it. A
stage-2 fault is a `kvm_guest_fault` there; if `kvm_mmio` follows it was an access to a device.
`kvm_userspace_exit` ends what KVM itself does. (Linux 6.12: arch/arm64/kvm/arm.c
kvm_arch_vcpu_ioctl_run(), mmu.c kvm_handle_guest_abort(), mmio.c, virt/kvm/kvm_main.c.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.queries.rows import IDLE_BASE, NIL, task_keys, whole

if TYPE_CHECKING:
    from collections.abc import Collection

    from traceview.queries.rows import Ints, Rows
    from traceview.trace import Batch

EXIT, ENTRY, FAULT, MMIO, USER, OUT, IN = range(7)
KINDS_OF_ROWS: Final = 7
KINDS: Final = {
    "kvm_exit": EXIT, "kvm_entry": ENTRY, "kvm_guest_fault": FAULT, "kvm_mmio": MMIO,
    "kvm_userspace_exit": USER,
}  # fmt: skip
SWITCH: Final = "sched_switch"
COLUMNS: Final = ("task", "seq", "ts_ns", "tgid", "comm", "kind", "ipa", "hsr")


def no_events() -> Rows:
    """No rows, with the columns that all have."""
    return {name: np.empty(0, dtype=np.int64) for name in COLUMNS}


def vcpu_events(batch: Batch, vcpus: Collection[int]) -> Rows:
    """The rows of *batch* in order of seq, those of the scheduler for vCPUs only.

    *vcpus*: tasks that are known to be some. Rows without a time or a task are left out.
    """
    tracepoint = pl.col("evidence") == "tracepoint"
    found = batch.events.filter(tracepoint & pl.col("name").is_in([*KINDS]))
    rows = _rows(found, found["name"].cast(pl.String).replace_strict(KINDS, return_dtype=pl.Int64))
    faults = rows["seq"][rows["kind"] == FAULT]
    for name in ("ipa", "hsr"):
        rows[name] = _arguments(batch, name, rows["seq"], faults)
    rows = _select(rows, (rows["task"] < IDLE_BASE) & (rows["ts_ns"] != NIL))
    return _joined(rows, _switches(batch, {*vcpus, *np.unique(rows["task"]).tolist()}))


def _rows(events: pl.DataFrame, kind: pl.Series) -> Rows:
    rows = {name: whole(events[name]) for name in ("seq", "ts_ns", "tgid")}
    rows["task"] = task_keys(whole(events["tid"]), whole(events["cpu"]))
    rows["comm"] = events["comm"].to_physical().cast(pl.Int64).fill_null(-1).to_numpy()
    rows["kind"] = kind.to_numpy()
    nothing = np.full(len(events), NIL, dtype=np.int64)
    return {**rows, "ipa": nothing, "hsr": nothing}


def _arguments(batch: Batch, name: str, seq: Ints, of: Ints) -> Ints:
    """The argument *name* of the events *of* among *seq*, both in order; NIL for none."""
    values = np.full(seq.size, NIL, dtype=np.int64)
    if of.size == 0:
        return values
    args = batch.args.filter((pl.col("name") == name) & pl.col("value").is_not_null())
    found = args["seq"].to_numpy()
    at = np.minimum(np.searchsorted(of, found), of.size - 1)
    mine = of[at] == found
    values[np.searchsorted(seq, found[mine])] = args["value"].to_numpy()[mine]
    return values


def _switches(batch: Batch, vcpus: Collection[int]) -> Rows:
    """Where vCPUs are switched out and in."""
    if not vcpus:
        return no_events()
    events = batch.events.filter(
        (pl.col("name") == SWITCH) & (pl.col("evidence") == "tracepoint")
    )  # fmt: skip
    out = _rows(events, pl.Series(np.full(len(events), OUT, dtype=np.int64)))
    following = _arguments(batch, "next_pid", out["seq"], out["seq"])
    came = {**out, "task": following, "kind": np.full(len(events), IN, dtype=np.int64)}
    both = _joined(out, _select(came, following > 0))
    return _select(both, np.isin(both["task"], [*vcpus]) & (both["ts_ns"] != NIL))


def _joined(first: Rows, second: Rows) -> Rows:
    rows = {name: np.concatenate([first[name], second[name]]) for name in COLUMNS}
    return _select(rows, np.argsort(rows["seq"], kind="stable"))


def _select(rows: Rows, at: np.ndarray) -> Rows:
    return {name: column[at] for name, column in rows.items()}
