"""The model makes the calls that real kernels made: per step of the suite `std`, by probe."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.simulating import recording, step

COUNTS = Path(__file__).parent.parent.parent / "shared" / "traces" / "step-counts.txt"
LINE = re.compile(r"(?P<id>s\d\d)\.(?P<number>\d+)\s+(?P<action>\S+)\s.*?(?P<counts>\{.*\})$")
PROFILES = ("6.1-max", "6.12-max", "6.12-neoverse-n1")
# What the probes of the captures are called, and what they sat on.
PROBES = {
    "s2_unmap": "kvm_pgtable_stage2_unmap", "walker": "stage2_unmap_walker",
    "tlbi_ipa": "__kvm_tlb_flush_vmid_ipa", "tlbi_range": "__kvm_tlb_flush_vmid_range",
    "tlbi_range_outer": "kvm_tlb_flush_vmid_range", "put_page": "kvm_s2_put_page",
    "cmo_page": "clean_dcache_guest_page", "unmap_gfn": "kvm_unmap_gfn_range",
    "flush_memslot": "kvm_arch_flush_shadow_memslot", "tlbi_vmid": "__kvm_tlb_flush_vmid",
}  # fmt: skip
# The steps that unmap, and dirty logging, which does not. It splits its huge page: 512 pages.
STEPS: dict[str, dict[str, Any]] = {
    "s01": {"size": "4k", "repetitions": 3}, "s02": {"size": "64k", "repetitions": 2},
    "s03": {"size": "2M", "repetitions": 2}, "s04": {"size": "2M", "backing": "2M"},
    "s05": {"size": "16M", "backing": "2M"}, "s06": {"size": "4M", "backing": "2M"},
    "s07": {"action": "chunks", "size": "1M", "chunk": "64k"},
    "s08": {"action": "sparse", "size": "1M", "chunk": "16k"},
    "s09": {"action": "half", "size": "1M"},
    "s10": {"action": "memslot", "size": "2M", "repetitions": 2},
    "s11": {"action": "memslot", "size": "8M", "backing": "2M"},
    "s12": {"action": "munmap", "size": "1M"}, "s13": {"action": "mprotect", "size": "1M"},
    "s14": {"action": "move", "size": "1M"},
    "s15": {"action": "dirtylog", "size": "2M", "backing": "2M"}, "split": {"size": "2M"},
    "s19": {"size": "512k"}, "s20": {"size": "512k"},
}  # fmt: skip


def captured(machine: str) -> dict[str, dict[str, int]]:
    """By step that unmaps, how often each probe was hit."""
    if not COUNTS.is_file():
        pytest.skip("the captures are not there: ../shared/traces/step-counts.txt")
    section = COUNTS.read_text("utf-8").partition(f"=== {machine}\n")[2].partition("\n===")[0]
    found = {}
    for line in section.splitlines():
        match = LINE.match(line)
        assert match, line
        counts = ast.literal_eval(match["counts"])
        if "s2_unmap" in counts or match["action"] == "dirtylog-on":
            name = f"{match['id']}.{match['number']}".replace("s15.3", "split.1")
            found[name] = {key: n for key, n in counts.items() if key in PROBES}
    return found


@pytest.mark.captures
@pytest.mark.parametrize("machine", PROFILES)
def test_every_probe_is_hit_as_often_as_in_the_capture_of_that_kernel(machine: str) -> None:
    expected = captured(machine)
    # MADV_DONTNEED of hugetlb makes two requests on 6.1, the second of which finds nothing.
    twice: dict[str, dict[str, Any]] = {"s06": {"empty": 1}} if machine == "6.1-max" else {}
    steps = [step(id=name, **how, **twice.get(name, {})) for name, how in STEPS.items()]
    made = recording(
        f"emulated-{machine}", steps, "split", tracer="kprobe", functions=PROBES.values()
        if machine != "6.1-max" else [f for f in PROBES.values() if "range" not in f or "gfn" in f],
    )  # fmt: skip
    names = {symbol: probe for probe, symbol in PROBES.items()}
    marked = made.records.with_columns(
        pl.col("text").str.extract(r"begin (\S+)").alias("begun"),
        (pl.col("text").str.contains("KVMLAB end") | pl.col("text").str.contains("touch"))
        .fill_null(value=False)
        .alias("ended"),
    ).with_columns(
        pl.when("ended").then(pl.lit("")).otherwise("begun").forward_fill().alias("step")
    )
    hits = marked.filter((pl.col("kind") == "kprobe") & (pl.col("step") != ""))
    found: dict[str, dict[str, int]] = {name: {} for name in expected}
    for name, symbol, n in hits.group_by("step", pl.col("symbol").cast(pl.String)).len().rows():
        found[name][names[symbol]] = n
    for name, counts in expected.items():
        # A probe that the capture did not set has no number there.
        known = {key: n for key, n in found[name].items() if key in counts}
        assert known == counts, name
        unset = {"walker", "put_page", "cmo_page", "tlbi_range_outer", "tlbi_vmid"}
        assert found[name].keys() - counts.keys() <= unset, name
    assert set(found) == set(expected)
