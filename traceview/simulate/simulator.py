"""A profile and a workload -> one recording, and the truth about every unmap in it."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.errors import SettingError
from traceview.simulate.call_trees import Machine, interrupt, templates
from traceview.simulate.events import Cpu, Noise, events_of, pieces
from traceview.simulate.items import Turn, Vm, notice
from traceview.simulate.page_table import Granule
from traceview.simulate.recording import RECORDS, Argument, Recorded, Task
from traceview.simulate.records import Recorder, addresses
from traceview.simulate.ring import Ring
from traceview.simulate.rows import ARGUMENTS, PICOSECONDS, PLACES, flatten
from traceview.simulate.truth import TRUTH, Bookkeeper, with_losses
from traceview.simulate.workload import plan_round
from traceview.synthetic import NOTICE, RELEASE_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from traceview.simulate.items import Items
    from traceview.simulate.presets import Tracer
    from traceview.simulate.profile import Profile
    from traceview.simulate.ring import Buffer
    from traceview.simulate.rows import Rows
    from traceview.simulate.workload import Step

    Ints = NDArray[np.int64]

STRATEGIES: Final = ("auto", "per_pte", "deferred_range")
# Other clocks than the local one began at another time.
CLOCK_OFFSETS_NS: Final = {
    "local": 0, "global": 0, "mono": 1_204_117_000, "mono_raw": 1_203_998_000,
    "boot": 1_204_117_000,
}  # fmt: skip
FIRST_NS: Final = 3_000_000_000
FIRST_TID: Final = 1000
ROWS_AT_ONCE: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class Options:
    """How one recording is made. `strategy` auto: as the kernel decides on such a machine."""

    steps: tuple[Step, ...]
    tracer: Tracer
    vms: int = 1
    strategy: str = "auto"
    clock: str = "local"
    seed: int = 1
    buffer: Buffer | None = None  # None: large enough for everything


@dataclass(slots=True)
class Truth:
    """What happened, growing while the records are taken: frames of truth.TRUTH."""

    frames: list[pl.DataFrame] = field(default_factory=list)

    def take(self) -> pl.DataFrame:
        """What is known and was not taken before."""
        found = pl.concat([pl.DataFrame(schema=TRUTH), *self.frames])
        self.frames.clear()
        return found


def simulate(profile: Profile, options: Options) -> tuple[Recorded, Truth]:
    """One recording. The truth is complete once all batches were taken. Raises SettingError."""
    if profile.switches["machine.fwb"] and any(s.trigger == "vcpu_init" for s in options.steps):
        raise SettingError(
            "KVM_ARM_VCPU_INIT unmaps nothing on a machine with FEAT_S2FWB (arch/arm64/kvm/arm.c)"
            "\ntake another action, or --set machine.fwb=false"
        )
    model = _Model.of(profile, options)
    truth = Truth()
    rows = model.rows
    probed = {name for name in rows.symbols if name.partition(".")[0] in model.tracer.probes}
    recorded = Recorded(
        batches=model.batches(truth),
        tasks=tuple(Task(vm.tid, vm.tid, "kvmunmap") for vm in model.vms),
        cpus=profile.whole("machine.cpus"),
        clock=options.clock,
        probes={
            name: _arguments(name.partition(".")[0], model.machine.shape) for name in sorted(probed)
        },
        returns=frozenset(
            name for name in probed if name.partition(".")[0] in model.tracer.returns
        ),
        addresses=addresses(rows),
        lost_at_end=model.lost_at_end,
        overwrite=options.buffer is None or options.buffer.overwrite,
        kernel=_kernel(profile),
        page_size_bytes=profile.whole("machine.page_size_bytes"),
        facts=_facts(profile, options),
        graph=bool(options.tracer.graph),
    )
    return recorded, truth


def _arguments(function: str, shape: str) -> tuple[Argument, ...]:
    """What a probe of the function reads, and where."""
    wanted = ARGUMENTS.get(function, ())
    places = PLACES[shape].get(function, (None,) * len(wanted))
    return tuple(Argument(*one, place) for one, place in zip(wanted, places, strict=True))


@dataclass(slots=True)
class _Waiting:
    """Unmaps of which it is not known yet what the buffer loses."""

    truth: Truth
    frames: deque[pl.DataFrame] = field(default_factory=deque)

    def add(self, frame: pl.DataFrame) -> None:
        """Unmaps whose events were made."""
        if frame.height:
            self.frames.append(frame)

    def hand_on(self, ring: Ring) -> None:
        """Those whose records are all decided about become known."""
        while self.frames and int(self.frames[0]["last_record"][-1]) < ring.decided:
            self.truth.frames.append(with_losses(self.frames.popleft(), ring))


def run_name(profile: Profile, options: Options) -> str:
    """Of what is recorded: the same only where everything is, whatever the format."""
    stated = (asdict(profile), asdict(options))
    said = json.dumps(stated, sort_keys=True, default=sorted)
    return f"synthetic-{profile.name}-{hashlib.sha256(said.encode()).hexdigest()[:8]}"


def machine_of(profile: Profile, strategy: str) -> Machine:
    """What the kernel does on such a machine. Raises SettingError where a strategy is no choice."""
    fwb, tlbirange = profile.switches["machine.fwb"], profile.switches["machine.tlbirange"]
    shape = profile.texts["kernel.shape"]
    can = fwb and tlbirange and shape != "6.1"
    if strategy == "deferred_range" and not can:
        raise SettingError(
            f"profile {profile.name} cannot defer: that takes FEAT_S2FWB and FEAT_TLBIRANGE and a"
            " kernel of shape 6.12\ntake another profile, or --strategy per_pte"
        )
    deferred = can and strategy != "per_pte"
    return Machine(
        shape, fwb, tlbirange, profile.texts["machine.mode"] == "vhe", deferred,
        deferred and profile.texts["kernel.tables"] == "deferred",
    )  # fmt: skip


def range_operations(start: Ints, pages: Ints, page_bytes: int, *, lpa2: bool) -> Ints:
    """How many TLBIs __kvm_tlb_flush_vmid_range makes of each range of at most 2^21 pages.

    Single pages up to a multiple of 64 KiB with LPA2, then one for each SCALE whose five bits are
    not zero, and one for an odd page (asm/tlbflush.h, __flush_tlb_range_op): the same number in all
    forms of that loop.
    """
    left = pages.copy()
    single = np.zeros_like(pages)
    if lpa2 and page_bytes < 1 << 16:
        single = np.minimum(-start % ((1 << 16) // page_bytes), pages)
        left = left - single
    found = single + (left & 1)
    for scale in range(4):
        found += ((left >> (5 * scale + 1)) & 31) > 0
    every: Ints = found + (left >> 21)
    return every


@dataclass(slots=True)
class _Model:
    """Everything of a recording that does not change while it is made."""

    profile: Profile
    options: Options
    machine: Machine
    granule: Granule
    rows: Rows
    tracer: Tracer
    noise: Noise
    recorder: Recorder
    vms: tuple[Vm, ...]
    seeds: np.random.SeedSequence
    lost_at_end: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, profile: Profile, options: Options) -> _Model:
        """Put the parts together."""
        machine = machine_of(profile, options.strategy)
        granule = Granule(
            profile.whole("machine.page_size_bytes"), profile.whole("machine.ipa_bits")
        )
        seeds = np.random.SeedSequence(options.seed)
        run_rng = np.random.default_rng(seeds.spawn(1)[0])
        run = float(np.exp(profile.number("noise.run") * run_rng.standard_normal()))
        tracer = options.tracer.visible(machine)
        trees = {
            **templates(machine),
            "interrupt": interrupt(("trivial", "trivial", "trivial")),
        }
        rows = flatten(
            trees, tracer, lambda name: run * _cost(profile, machine, granule, name),
            lambda name: profile.number(f"tracing_ns.{name}"),
        )  # fmt: skip
        cpus = min(options.vms, profile.whole("machine.cpus"))
        recorder = Recorder(
            rows, granule, CLOCK_OFFSETS_NS[options.clock], profile.texts["kernel.table_level"]
        )
        vms = tuple(Vm(n, FIRST_TID + n, n % cpus) for n in range(options.vms))
        return cls(
            profile, options, machine, granule, rows, tracer, _noise(profile), recorder, vms, seeds
        )

    def batches(self, truth: Truth) -> Iterator[pl.DataFrame]:
        """The records of all CPUs, in order of time."""
        streams = {vm.cpu: self._stream(vm.cpu, truth) for vm in self.vms}
        yield from _merged(streams)

    def _stream(self, number: int, truth: Truth) -> Iterator[pl.DataFrame]:
        seed = np.random.SeedSequence([self.options.seed, number])
        cpu = Cpu(
            number, self.profile.whole("machine.cntfrq_hz"), np.random.default_rng(seed),
            now_ps=(FIRST_NS + 1_000 * number) * PICOSECONDS,
        )  # fmt: skip
        buffer = self.options.buffer
        if buffer is not None:
            buffer = replace(buffer, page_bytes=self.granule.page_size_bytes)
        ring, waiting = Ring(buffer), _Waiting(truth)
        if number == self.vms[0].cpu:
            yield from ring.feed(self._notice(cpu))
        at_once = max(1 << 13, ROWS_AT_ONCE // len({vm.cpu for vm in self.vms}))
        for items in self._items(number, cpu):
            books = self._books(items)
            operations = range_operations(
                items.page, items.pages, self.granule.page_size_bytes,
                lpa2=self.profile.switches["machine.lpa2"],
            )  # fmt: skip
            each_ps = self.profile.cost("range_operation") * PICOSECONDS
            operations_ps = np.rint(operations * each_ps).astype(np.int64)
            for span in pieces(items, self.rows, at_once):
                events = events_of(items, span, self.rows, cpu, self.noise, operations_ps)
                frame = self.recorder.records(items, events, cpu)
                books.add(events, cpu, cpu.records)
                cpu.records += frame.height
                yield from ring.feed(frame)
            waiting.add(books.truth())
            waiting.hand_on(ring)
        yield from ring.end()
        waiting.hand_on(ring)
        if ring.lost_at_end:
            self.lost_at_end[number] = ring.lost_at_end

    def _notice(self, cpu: Cpu) -> pl.DataFrame:
        """A marker that says what the file is."""
        items = notice(self.vms[0], self.rows, NOTICE)
        nothing = np.zeros(0, dtype=np.int64)
        events = events_of(items, (0, 1), self.rows, cpu, self.noise, nothing)
        frame = self.recorder.records(items, events, cpu)
        cpu.records += frame.height
        return frame

    def _items(self, number: int, cpu: Cpu) -> Iterator[Items]:
        mine = [vm for vm in self.vms if vm.cpu == number]
        for step in self.options.steps:
            plan = plan_round(step, self.granule)
            prefixes = {vm: f"vm{vm.number}-" if len(self.vms) > 1 else "" for vm in mine}
            turns = [
                Turn(plan, self.granule, vm, self.rows, prefix).items(cpu.rng)
                for vm, prefix in prefixes.items()
            ]
            while turns:
                for turn in tuple(turns):
                    items = next(turn, None)
                    if items is None:
                        turns.remove(turn)
                    else:
                        yield items

    def _books(self, items: Items) -> Bookkeeper:
        lpa2 = self.profile.switches["machine.lpa2"]
        return Bookkeeper(
            self.machine, self.granule, self.rows, self.tracer, self.recorder.clock_offset_ns,
            self.profile.whole("machine.cache_line_bytes"), items,
            range_operations(
                items.start, items.end - items.start, self.granule.page_size_bytes, lpa2=lpa2
            ),
        )  # fmt: skip


def _cost(profile: Profile, machine: Machine, granule: Granule, name: str) -> float:
    """Nanoseconds of a cost that a call tree names."""
    if name.startswith("clean_l"):
        lines = granule.size_bytes(int(name[-1])) // profile.whole("machine.cache_line_bytes")
        return profile.cost("clean") + lines * profile.cost("cache_line")
    if name in ("invalidate_leaf", "invalidate_table", "invalidate_range"):
        others = profile.whole("machine.cpus") - 1
        call = 0.0 if machine.vhe else profile.cost("hypercall")
        return profile.cost(name) + others * profile.cost("per_cpu") + call
    return profile.cost(name)


def _noise(profile: Profile) -> Noise:
    return Noise(
        profile.number("noise.jitter"), profile.number("noise.tracing_jitter"),
        profile.number("noise.slow_share"), profile.number("noise.slow_factor"),
        profile.number("interrupts.per_second"), profile.number("interrupts.duration_ns"),
        profile.number("interrupts.spread"),
    )  # fmt: skip


def _kernel(profile: Profile) -> str:
    """Of `uname -r`: no real kernel's, so that a file without its sidecar says what it is too."""
    return f"{profile.texts['kernel.release']}{RELEASE_SUFFIX}"


def _facts(profile: Profile, options: Options) -> dict[str, object]:
    facts: dict[str, object] = {
        "kernel": _kernel(profile), "machine": "aarch64",
        "cpus": profile.whole("machine.cpus"), "fwb": profile.switches["machine.fwb"],
        "tlbirange": profile.switches["machine.tlbirange"],
        "lpa2": profile.switches["machine.lpa2"],
        "page_size_bytes": profile.whole("machine.page_size_bytes"),
        "cntfrq_hz": profile.whole("machine.cntfrq_hz"),
        "tracer": "function_graph" if options.tracer.graph else "nop",
    }  # fmt: skip
    if options.buffer is not None:
        facts["buffer_size_kb"] = options.buffer.kb
    return facts


def _merged(streams: dict[int, Iterator[pl.DataFrame]]) -> Iterator[pl.DataFrame]:
    """The frames of all CPUs as batches, each later than the one before it.

    What is earlier than the last record of every CPU that goes on can be handed on.
    """
    waiting = {cpu: pl.DataFrame(schema=RECORDS) for cpu in streams}
    reached = dict.fromkeys(streams, -1)
    open_streams = dict(streams)
    while open_streams:
        cpu = min(open_streams, key=lambda one: (reached[one], one))
        frame = next(open_streams[cpu], None)
        if frame is None:
            del open_streams[cpu]
        elif frame.height:
            waiting[cpu] = frame if waiting[cpu].is_empty() else pl.concat([waiting[cpu], frame])
            reached[cpu] = int(frame["ts_ns"][-1])
        until = min((reached[one] for one in open_streams), default=None)
        ready = []
        for one, held in waiting.items():
            cut = held.height if until is None else held["ts_ns"].search_sorted(until, side="left")
            if cut:
                ready.append(held[:cut])
                waiting[one] = held[cut:]
        if ready:
            yield (
                ready[0] if len(ready) == 1 else pl.concat(ready).sort("ts_ns", maintain_order=True)
            )
