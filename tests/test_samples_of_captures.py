"""Samples of real captures fall where an obvious walk over perf script's text says they fall."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import polars as pl
import pytest

import traceview
from tests.truth import TRACES
from traceview.parsers.source import open_source
from traceview.symbols import Kallsyms, SymbolSources
from traceview.trace import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.captures,
    pytest.mark.skipif(not TRACES.is_dir(), reason="no captures: ../shared/traces is not there"),
]

FOLDERS = ("6.1-max", "6.12-max", "6.12-neoverse-n1")
FRAME = re.compile(r"^\s+([0-9a-f]+) (\S+?)(?:\+0x[0-9a-f]+)? \(")
UNMAP = "kvm_pgtable_stage2_unmap"
CONTEXT = ("enter_vmid_context", "exit_vmid_context", "__tlb_switch_to_host",
           "__tlb_switch_to_guest")  # fmt: skip
DOES = {
    "__kvm_tlb_flush_vmid_ipa": "invalidate_ipa",
    "kvm_tlb_flush_vmid_range": "invalidate_range",
    "__kvm_tlb_flush_vmid_range": "invalidate_range",
    "clean_dcache_guest_page": "cmo",
    "__pi_dcache_clean_inval_poc": "cmo",
    "kvm_s2_put_page": "table_put",
    "el1_interrupt": "irq",
}


def chains(path: str) -> Iterator[list[tuple[int, str]]]:
    """The callchains of a perf script output, innermost first: (address, function)."""
    text = b"".join(open_source(TRACES / path).chunks()).decode("utf-8", "replace")
    for block in text.split("\n\n"):
        found = [FRAME.match(line) for line in block.splitlines()]
        yield [(int(match[1], 16), match[2]) for match in found if match]


def doing(chain: list[tuple[int, str]]) -> str | None:
    """What the unmap was doing, one frame after the other; None outside unmaps."""
    names = [name.partition(".")[0] for _, name in chain]
    if UNMAP not in names:
        return None
    below = names[: names.index(UNMAP)]
    if "el1_interrupt" in below:
        return "irq"
    for name in reversed(below):
        if name in DOES:
            return DOES[name]
    return "invalidate_ipa" if any(name in CONTEXT for name in below) else "walk"


def symbols(path: str) -> Kallsyms:
    """The kernel's functions as far as perf script names them: addresses of its frames."""
    seen = sorted({frame for chain in chains(path) for frame in chain if frame[0] >> 63})
    addresses = pl.Series([address for address, _ in seen], dtype=pl.UInt64).to_numpy()
    return Kallsyms(addresses, pl.Series([name for _, name in seen], dtype=pl.Object).to_numpy())


def operations(samples: pl.DataFrame) -> Counter[str]:
    walk = pl.col("operation").cast(pl.String).replace("unmap", "walk")
    return Counter(samples.select(walk)["operation"].to_list())


@pytest.mark.parametrize("folder", FOLDERS)
def test_samples_fall_where_the_callchains_of_perf_script_say(folder: str) -> None:
    """perf script leaves out samples with a guest's cpumode: so does this comparison."""
    script = f"{folder}/perf-cpuclock.script.txt.zst"
    settings = Settings(symbols=SymbolSources(kallsyms=symbols(script)))
    trace = traceview.open_trace(
        TRACES / f"{folder}/perf-cpuclock.perf.data.zst", settings=settings
    )
    samples = traceview.analyze(trace).samples
    shown = samples.filter(~pl.col("cpumode").cast(pl.String).str.starts_with("guest"))
    said = Counter(what for chain in chains(script) if (what := doing(chain)))
    assert operations(shown) == said
    assert said.total() > 0


@pytest.mark.parametrize("folder", FOLDERS)
def test_perf_script_text_gives_the_samples_of_its_perf_data(folder: str) -> None:
    script = f"{folder}/perf-cpuclock.script.txt.zst"
    samples = traceview.analyze(traceview.open_trace(TRACES / script)).samples
    assert operations(samples) == Counter(
        what for chain in chains(script) if (what := doing(chain))
    )


@pytest.mark.parametrize("folder", FOLDERS)
def test_samples_with_a_guests_cpumode_are_kept_and_counted(folder: str) -> None:
    trace = traceview.open_trace(TRACES / f"{folder}/perf-cpuclock.perf.data.zst")
    tables = trace.tables()
    shown = sum(1 for chain in chains(f"{folder}/perf-cpuclock.script.txt.zst") if chain)
    guest = tables.samples["cpumode"].cast(pl.String).str.starts_with("guest").sum()
    assert {d.code: d.count for d in tables.diagnostics}["guest-cpumode"] == guest
    assert len(tables.samples) - guest == shown
