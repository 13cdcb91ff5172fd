"""What will be recorded on this host: the names that it has, the buffers, what can be answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from traceview.record.preset import Probe


@dataclass(frozen=True, slots=True)
class Dropped:
    """A name that the preset wants and this host does not have, or refuses."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether a capture of this plan can answer a question, and why (not)."""

    question: str
    can: bool
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """One capture. Names are those of this kernel, with their suffixes.

    `backend`: tracefs, trace-cmd, perf or perfetto. `instance`: the name below tracefs instances/,
    None for the top level. `hypervisor`: remotes/hypervisor is recorded beside the host's buffers.
    `traced`: functions recorded with their durations (the sidecar's `traced`), without suffixes.
    """

    preset: str
    backend: str
    graph: tuple[str, ...]
    probes: tuple[Probe, ...]  # `symbol` with its suffix
    events: tuple[str, ...]
    clock: str
    buffer_kb: int  # per CPU
    instance: str | None
    hypervisor: bool
    traced: tuple[str, ...]
    dropped: tuple[Dropped, ...]
    answers: tuple[Answer, ...]
    hypervisor_kb: int = 0  # its buffers, per CPU
    notes: tuple[str, ...] = ()  # how the buffers were sized, where markers go, ...
