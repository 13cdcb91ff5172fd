"""Profiles: each number says where it is from, and what is wrong is named with what is right."""

from __future__ import annotations

import re
from importlib.resources import files

import numpy as np
import polars as pl
import pytest

from tests.simulating import QUIET, recording, step
from traceview.errors import SettingError
from traceview.simulate.probe_events import kprobe_definitions
from traceview.simulate.profile import (
    AMOUNTS,
    WHOLE,
    changed,
    parse_profile,
    profile_names,
    read_profile,
)
from traceview.simulate.ring import Buffer
from traceview.simulate.steps import make_step, read_steps, size_bytes

NAMES = profile_names()


def text(name: str) -> str:
    return (files("traceview.simulate") / "profiles" / f"{name}.toml").read_text("utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_every_number_of_a_profile_says_where_it_is_from(name: str) -> None:
    profile = read_profile(name)
    assert set(profile.numbers) == {*WHOLE, *AMOUNTS}
    for one in profile.numbers.values():
        assert one.source in ("measured", "assumed")
        assert one.where or one.source == "assumed"
    # No number of a host of which nobody posted any is called measured.
    if not name.startswith("emulated"):
        assert not any(one.source == "measured" for one in profile.numbers.values())


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('mode = "vhe"', 'mode = "el2"', ["machine.mode is 'el2'", "vhe, nvhe"]),
        ("fwb = false", 'fwb = "no"', ["machine.fwb is 'no'", "true or false"]),
        ("fwb = false", "", ["machine.fwb is missing", "true or false"]),
        ("fwb = false", "fwbb = false", ["machine.fwbb is not known", "machine.fwb?"]),
        ("[costs_ns]", "[costs]", ["costs is not known", "costs_ns"]),
        ("{ value = 4096,", "{ value = 8192,", ["page_size_bytes.value is 8192", "16384, 65536"]),
        ("{ value = 4096,", '{ value = "4k",', ["page_size_bytes.value is '4k'"]),
        ("{ value = 20, ", "{ value = -1, ", [".value is -1", "from 0 to 1e9"]),
        ("{ value = 20, ", "{ value = nan, ", [".value is nan"]),
        ('source = "assumed"', 'source = "said"', [".source is 'said'", "measured or assumed"]),
        ('source = "assumed"', 'source = "measured"', [".where is None", "where it was measured"]),
        ('source = "assumed"', 'source = "assumed", unit = "ns"', [".unit is not known"]),
        ("[noise]", "[noise]\njitter = 0.1\n[more]", ["more is not known"]),
        ("[noise]", "[noise", ["no TOML"]),
        ("title =", "title = 5\nwhat_ =", ["what_ is not known"]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_profile_is_named(old: str, new: str, words: list[str]) -> None:
    source = text("n1-like")
    assert old in source
    with pytest.raises(SettingError) as caught:
        parse_profile(source.replace(old, new, 1), "mine", "mine.toml")
    for word in [*words, "mine.toml"]:
        assert word in str(caught.value), str(caught.value)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("machine.cpus", "KEY=VALUE"), ("costs_ns.putt=3", "costs_ns.put="),
        ("machine.fwb=1", "true or false"), ("machine.cpus=1.5", "a whole number from 1"),
        ("costs_ns.put=x", "a number from 0"), ("noise.slow_share=2", "from 0 to 1"),
    ],
)  # fmt: skip
def test_a_setting_that_cannot_be_is_refused(setting: str, words: str) -> None:
    with pytest.raises(SettingError, match=re.escape(words)):
        changed(read_profile("n1-like"), [setting])


def test_a_number_that_was_set_is_assumed() -> None:
    profile = changed(read_profile("emulated-6.12-max"), ["costs_ns.put=5", "machine.fwb=false"])
    assert profile.number("costs_ns.put") == 5
    assert profile.numbers["costs_ns.put"].source == "assumed"
    assert profile.switches["machine.fwb"] is False


def test_an_unknown_profile_is_refused_with_those_that_come_close() -> None:
    with pytest.raises(SettingError, match="n1-like"):
        read_profile("n1-lik")


def test_the_posted_profile_takes_what_was_posted_per_leaf() -> None:
    """Derived from the table of the v5 posting: 1927 ns per PTE, 436 ns deferred."""
    steps = [step(id="a", size="2M"), step(id="b", size="4M")]
    for strategy, expected in (("per_pte", 1927), ("deferred_range", 436)):
        truth = recording("posted-like", steps, "top", settings=QUIET, strategy=strategy).truth
        cost = np.diff(truth["true_ns"].to_numpy()) / 512
        # A further 512 pages have a further table: what it takes is not in the slope.
        table = np.diff(truth["true_invalidate_table_ns"].to_numpy()) / 512
        assert cost[0] - table[0] == pytest.approx(expected, rel=0.005)


@pytest.mark.parametrize("name", ["emulated-6.1-max", "n1-like-nvhe", "posted-like"])
def test_what_a_profile_costs_more_takes_longer(name: str) -> None:
    """Every cost is part of some time: a model that forgot one would not change."""
    asked = [step(size="64k", action="half")]

    def total(*settings: str) -> int:
        made = recording(name, asked, "deep", settings=[*QUIET, *settings])
        return int(made.records["ts_ns"].max() or 0)  # type: ignore[arg-type]

    before = total()
    profile = read_profile(name)
    idle = _without_effect(name)
    for key in AMOUNTS:
        if key.startswith("costs_ns.") and key.removeprefix("costs_ns.") not in idle:
            assert total(f"{key}={profile.number(key) + 1000}") > before, key


def _without_effect(name: str) -> set[str]:
    """Costs of what such a machine does not do."""
    profile = read_profile(name)
    switches, old = profile.switches, profile.texts["kernel.shape"] == "6.1"
    found = {"per_cpu"} if profile.whole("machine.cpus") == 1 else set()
    if not (switches["machine.fwb"] and switches["machine.tlbirange"]) or old:
        found |= {"invalidate_range", "range_frame", "range_operation"}
    else:
        found |= {"invalidate_leaf"}
    if switches["machine.fwb"]:
        found |= {"clean", "cache_line"}
    if not old:
        found |= {"put_pte"}
    if profile.texts["machine.mode"] == "vhe":
        found |= {"hypercall"}
    return found


@pytest.mark.parametrize(
    ("said", "size"), [("4096", 4096), ("64K", 65536), ("2m", 2 << 20), ("1GiB", 1 << 30)]
)
def test_sizes_are_read_as_they_are_written(said: str, size: int) -> None:
    assert size_bytes(said) == size


@pytest.mark.parametrize("said", ["", "0", "-1", "2T", "4k4", "9" * 17, "1e6"])
def test_what_is_no_size_is_refused(said: str) -> None:
    with pytest.raises(SettingError, match="not a size"):
        size_bytes(said)


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({"actoin": "half"}, "did you mean action?"), ({"action": "fork"}, "dontneed"),
        ({"mapped": 2}, "from 0 to 1"), ({"every": 0}, "from 1"), ({"id": "a b"}, "id is"),
        ({"pattern": "odd"}, "alternate"), ({"size": 0}, "from 1"), ({"size": True}, "from 1"),
    ],
)  # fmt: skip
def test_a_step_that_cannot_be_is_refused(stated: dict[str, object], words: str) -> None:
    with pytest.raises(SettingError, match=re.escape(words)):
        make_step(stated, "a file")


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({"size": "2M", "backing": "1M"}, "no leaf of 1048576 bytes"),
        ({"size": "3M", "backing": "2M"}, "no multiple of 2097152"),
        ({"size": "64G"}, "more than 4194304 leaves"),
        ({"size": "2M", "gpa": 1 << 40}, "beyond the 40 bits"),
    ],
)  # fmt: skip
def test_a_step_that_the_machine_cannot_have_is_refused(
    stated: dict[str, object], words: str
) -> None:
    with pytest.raises(SettingError, match=re.escape(words)):
        recording("n1-like", [step(**stated)])


def test_steps_of_a_file_have_ids_of_their_own(tmp_path: object) -> None:
    from pathlib import Path  # noqa: PLC0415

    path = Path(str(tmp_path)) / "steps.toml"
    path.write_text('[[step]]\nsize = "4k"\n[[step]]\naction = "half"\nid = "x"\n')
    assert [(one.id, one.pattern) for one in read_steps(path)] == [
        ("s01", "all"),
        ("x", "alternate"),
    ]
    for wrong in ("", "[[step]]\nid='a'\n[[step]]\nid='a'\n", "[steps]\n", "step = 3\n", "[[step"):
        path.write_text(wrong)
        with pytest.raises(SettingError, match=re.escape(str(path))):
            read_steps(path)


def test_a_machine_that_cannot_defer_is_not_made_to() -> None:
    with pytest.raises(SettingError, match="cannot defer"):
        recording("n1-like", [step()], strategy="deferred_range")


def test_the_same_seed_gives_the_same_recording_and_another_one_another() -> None:
    asked = [step(size="64k", repetitions=20)]
    first, same, other = (
        recording("n1-like", asked, vms=2, seed=seed).records for seed in (1, 1, 2)
    )
    assert first.equals(same)
    assert not first.equals(other)


def test_records_are_in_order_of_time_and_batches_follow_each_other() -> None:
    made = recording("n1-like", [step(size="1M", repetitions=30)], vms=5)
    assert made.records["ts_ns"].is_sorted()
    by_cpu = made.records.group_by("cpu").agg(pl.col("tid").n_unique())
    assert by_cpu["tid"].to_list() == [1] * 5


def test_dirty_logging_flushes_ranges_of_2_to_the_21_pages_and_unmaps_nothing() -> None:
    made = recording("posted-like", [step(action="dirtylog", size="20G", backing="1G")], "args")
    assert made.truth.height == 0
    flushes = made.records.filter(
        (pl.col("kind") == "kprobe")
        & (pl.col("symbol").cast(pl.String) == "__kvm_tlb_flush_vmid_range")
    )
    assert flushes["arg2"].to_list() == [1 << 21, 1 << 21, 1 << 20]
    assert flushes["arg1"].to_list() == [(2 + 8 * number) << 30 for number in range(3)]


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ("emulated-6.1-max", "stage2_unmap_walker addr=%x0:x64 level=%x2:s8\n"),
        ("emulated-6.12-max", "stage2_unmap_walker addr=+40(%x0):x64 level=+56(%x0):s8\n"),
    ],
)
def test_the_walkers_arguments_are_where_the_kernel_has_them(profile: str, said: str) -> None:
    made = recording(profile, [step(size="4k")], "args")
    assert said in kprobe_definitions(made.recorded)


def test_a_function_with_a_suffix_of_the_compiler_is_probed_with_its_return() -> None:
    made = recording("emulated-6.1-max", [step(size="4k")], "deep", tracer="kprobe")
    kinds = made.records.filter(pl.col("symbol").cast(pl.String) == "__unmap_stage2_range.isra.0")
    assert kinds["kind"].to_list() == ["kprobe", "kretprobe"]
    assert "__unmap_stage2_range.isra.0" in made.recorded.returns


def test_what_begins_before_an_unmap_is_visited_where_the_unmap_begins() -> None:
    """As ctx->addr of the walker: the table of 2 MiB is freed by an unmap of its second half."""
    asked = [step(size="64k", gpa=(2 << 30) + (1 << 20))]
    made = recording("n1-like", asked, "args")
    flushes = made.records.filter(
        (pl.col("kind") == "kprobe")
        & (pl.col("symbol").cast(pl.String) == "__kvm_tlb_flush_vmid_ipa")
    )
    assert made.truth["tables_freed"].to_list() == [2]
    assert flushes["arg1"].to_list()[-2:] == [asked[0].gpa] * 2
    assert (flushes["arg1"] >= asked[0].gpa).all()


def test_a_reference_is_dropped_of_an_entry_and_at_last_of_the_table_itself() -> None:
    made = recording("n1-like", [step(size="16k", gpa=(2 << 30) + 8192)], "args")
    puts = made.records.filter(
        (pl.col("kind") == "kprobe") & (pl.col("symbol").cast(pl.String) == "kvm_s2_put_page")
    )["arg0"].to_list()
    *leaves, of_table, table, of_upper, upper = puts
    assert leaves == [table + 8 * entry for entry in (2, 3, 4, 5)]
    assert (of_table, of_upper % 4096) == (upper, 8 * 2)  # the first entry; the third GiB
    assert len({table, upper, of_upper // 4096 * 4096}) == 3


def test_each_task_of_a_cpu_has_its_own_calls() -> None:
    """Rounds that are made in parts: another VM's turn comes between two unmaps of a request."""
    made = recording(
        "n1-like", [step(size="2G", backing="2M")], "deep", vms=2, settings=["machine.cpus=1"]
    )
    depths = made.records.filter(pl.col("depth").is_not_null()).group_by("symbol", "kind").agg(
        pl.col("depth").min().alias("least"), pl.col("depth").max().alias("most")
    )  # fmt: skip
    unmaps = depths.filter(pl.col("symbol").cast(pl.String) == "kvm_pgtable_stage2_unmap")
    assert unmaps.select("least", "most").rows() == [(3, 3)] * 2
    exits = made.records.filter(
        (pl.col("kind") == "funcgraph_exit")
        & (pl.col("symbol").cast(pl.String) == "kvm_pgtable_stage2_unmap")
    ).sort("tid", "ts_ns")
    took = exits["rettime_ns"] - exits["calltime_ns"]
    truth = made.truth.sort("tid", "start_ns")
    assert took.to_list() == truth["duration_ns"].to_list()
    assert truth["tid"].to_list() == [1000, 1000, 1001, 1001]


def test_a_buffer_is_made_of_the_kernels_pages() -> None:
    """There are two at least, which hold more where a page is larger."""
    kept = [
        recording(
            "n1-like", [step(size=200 * page, backing=page, repetitions=9)],
            buffer=Buffer(4, overwrite=False),
            settings=[*QUIET, f"machine.page_size_bytes={page}"],
        ).records.height
        for page in (4096, 16384, 65536)
    ]  # fmt: skip
    assert kept[0] * 3 < kept[1]
    assert kept[1] * 3 < kept[2]
