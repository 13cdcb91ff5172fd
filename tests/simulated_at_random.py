"""Simulated recordings of random machines, page tables, tracers and buffers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import assume
from hypothesis import strategies as st

from tests.simulating import Simulated, recording, step
from traceview.errors import SettingError
from traceview.simulate.call_trees import INTERRUPT
from traceview.simulate.page_table import Granule
from traceview.simulate.presets import PRESETS
from traceview.simulate.profile import changed, profile_names, read_profile
from traceview.simulate.ring import Buffer

if TYPE_CHECKING:
    from traceview.simulate.profile import Profile
    from traceview.simulate.workload import Step

ACTIONS = ("dontneed", "memslot", "munmap", "half", "vcpu_init", "dirtylog")
CLOCKS = ("local", "global", "mono", "mono_raw", "boot")


@st.composite
def machines(draw: st.DrawFn) -> Profile:
    """A profile whose facts and some of whose costs are others."""
    page = draw(st.sampled_from([4096, 4096, 16384, 65536]))
    lpa2 = page < 65536 and draw(st.booleans())
    widths = [40, 48, *([52] if lpa2 or page == 65536 else [])]
    yes = st.sampled_from(["true", "true", "false"])
    return changed(
        read_profile(draw(st.sampled_from(profile_names()))),
        [
            f"machine.page_size_bytes={page}", f"machine.lpa2={str(lpa2).lower()}",
            f"machine.ipa_bits={draw(st.sampled_from(widths))}",
            f"machine.fwb={draw(yes)}", f"machine.tlbirange={draw(yes)}",
            f"machine.mode={draw(st.sampled_from(['vhe', 'vhe', 'nvhe']))}",
            f"machine.cntfrq_hz={draw(st.sampled_from([24_000_000, 25_000_000, 10**9]))}",
            f"machine.cpus={draw(st.sampled_from([1, 2, 100]))}",
            f"noise.jitter={draw(st.sampled_from([0, 0.4]))}",
            f"costs_ns.invalidate_leaf={draw(st.integers(0, 3000))}",
            f"tracing_ns.graph_entry={draw(st.integers(1, 900))}",
            f"interrupts.per_second={draw(st.sampled_from([0, 20_000]))}",
            f"kernel.tables={draw(st.sampled_from(['eager', 'eager', 'deferred']))}",
            f"kernel.table_level={draw(st.sampled_from(['zero', 'unknown', 'own']))}",
        ],
    )  # fmt: skip


@st.composite
def steps(draw: st.DrawFn, profile: Profile, most_pages: int) -> list[Step]:
    """Steps whose memory is a few pages or blocks, mapped in any way, across tables or not."""
    granule = Granule(profile.whole("machine.page_size_bytes"), profile.whole("machine.ipa_bits"))
    page, block = granule.page_size_bytes, granule.size_bytes(2)
    largest = granule.size_bytes(1) if page == 4096 else block
    found = []
    for number in range(draw(st.integers(1, 3))):
        action = draw(st.sampled_from(ACTIONS))
        if action == "vcpu_init" and profile.switches["machine.fwb"]:
            action = "dontneed"
        unit = draw(st.sampled_from([page, page, page, block, largest]))
        count = draw(st.integers(1, most_pages if unit == page else 3))
        stated: dict[str, Any] = {"chunk": unit * draw(st.integers(1, most_pages)),
                                  "every": draw(st.integers(1, 2))}  # fmt: skip
        if unit > page and draw(st.booleans()):  # a part of a block takes all of it
            stated["chunk"] = unit // 8 * draw(st.sampled_from([1, 3, 5]))
        if action == "dirtylog":
            stated = {}
        # Memory around the end of a block, of pages: what maps it are several tables.
        before = draw(st.integers(0, count)) if unit == page else 0
        found.append(
            step(
                id=f"s{number}", action=action, size=unit * count, backing=unit,
                gpa=largest * draw(st.integers(1, 9)) - page * before,
                device=draw(st.sampled_from([0.0, 0.0, 0.3])),
                repetitions=draw(st.integers(1, 3)), **stated,
                **({} if action == "half" else {"mapped": draw(st.sampled_from([1.0, 0.5, 0.0]))}),
            )
        )  # fmt: skip
    return found


@st.composite
def simulations(draw: st.DrawFn, *, lossy: bool) -> Simulated:
    """A recording of a random machine."""
    profile = draw(machines())
    presets = ["split", "deep", "args"] if lossy else [*PRESETS, "split", "deep"]
    preset = draw(st.sampled_from(presets))
    seen = preset != "args" and draw(st.booleans())
    buffer = None
    if lossy:
        drain = draw(st.sampled_from([20_000, 100_000, 0, None]))  # None: one that discards
        kb = draw(st.sampled_from([4, 16]))
        buffer = Buffer(kb, overwrite=drain is not None, drain_kb_s=drain or 0)
    try:
        return recording(
            profile, draw(steps(profile, 200 if lossy else 60)), preset, buffer=buffer,
            tracer=draw(st.sampled_from([None, "kprobe"])),
            functions=INTERRUPT if seen else (), vms=draw(st.integers(1, 3)),
            strategy=draw(st.sampled_from(["auto", "auto", "per_pte"])),
            clock=draw(st.sampled_from(CLOCKS)), seed=draw(st.integers(0, 99)),
        )  # fmt: skip
    except SettingError:  # a chunk that does not fit
        assume(condition=False)
        raise
