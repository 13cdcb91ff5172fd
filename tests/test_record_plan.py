"""What a recorder sees of a host, and what it plans there."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Any

import pytest

from tests.writers import host_tree
from traceview.errors import SettingError
from traceview.host import HOST_KEYS, sidecar_path
from traceview.record import names, sidecar
from traceview.record.boot_log import features, kvm_mode
from traceview.record.buffers import choose
from traceview.record.planning import Wish, make_plan, problems
from traceview.record.preset import OPERATIONS, PRESETS, TOP
from traceview.record.probes import lines
from traceview.record.probing import look
from traceview.record.virtual import virtual_hint
from traceview.vocabulary import strip_suffix

if TYPE_CHECKING:
    from pathlib import Path

    from traceview.record.host import Host
    from traceview.record.plan import Plan

NVHE = host_tree.BOOT_LOG.replace("VHE mode", "Hyp nVHE mode")
PROTECTED = host_tree.BOOT_LOG.replace("VHE mode", "Protected nVHE mode")


def host(root: Path, **settings: Any) -> Host:
    host_tree.make_host(root, **settings)
    return look(root)


def plan(root: Path, preset: str, **settings: Any) -> Plan:
    return make_plan(host(root, **settings), Wish(preset))


def answer(found: Plan, question: str) -> tuple[bool, str]:
    (one,) = [one for one in found.answers if question in one.question]
    return one.can, one.why


# ---- the host


def test_everything_about_a_host_is_read_from_its_files(tmp_path: Path) -> None:
    host_tree.program(tmp_path, "trace-cmd", "echo; echo 'trace-cmd version 3.4.0 (x)'; exit 255")
    found = host(tmp_path)
    assert found.kernel == host_tree.KERNEL
    assert (found.machine, found.release, found.kvm, found.mode) == (
        "aarch64",
        (6, 12),
        True,
        "vhe",
    )
    assert found.tracefs == tmp_path / host_tree.TRACEFS
    assert found.cpus == (0, 1)
    assert found.events == set(host_tree.EVENTS)
    assert (found.kprobes, found.fprobes, found.graph_in_instances) == (True, True, True)
    assert found.programs == {"trace-cmd": "3.4.0"}
    assert found.unknowns == ()
    assert found.facts == {
        "fwb": True, "tlbirange": True, "lpa2": False, "dic": False, "idc": False,
        "cntfrq_hz": 25_000_000, "errata": "ARM erratum 1418040,REPEAT_TLBI", "cpus": 2,
        "kernel": host_tree.KERNEL, "machine": "aarch64", "midr": "0x00000000410fd0c0",
        "page_size_bytes": 4096,
    }  # fmt: skip
    assert set(found.facts) <= set(HOST_KEYS)


def test_a_boot_log_without_its_beginning_says_yes_but_never_no(tmp_path: Path) -> None:
    found = host(tmp_path, log=host_tree.BOOT_LOG.split("\n", 1)[1])
    assert found.facts["fwb"] is True
    assert not {"lpa2", "dic", "errata"} & set(found.facts)
    assert found.unknowns == ("features of the CPU: the boot log has lost its beginning",)


def test_a_host_without_a_boot_log_has_no_features_and_no_mode(tmp_path: Path) -> None:
    found = host(tmp_path, log="")
    assert found.mode is None
    assert [one.partition(":")[0] for one in found.unknowns] == [
        "features of the CPU",
        "KVM's mode",
    ]


@pytest.mark.parametrize(
    ("message", "mode"),
    [
        ("kvm [1]: VHE mode initialized successfully", "vhe"),
        ("kvm [1]: VHE+NV2 mode initialized successfully", "vhe"),
        ("kvm [1]: Hyp mode initialized successfully", "nvhe"),
        ("kvm [1]: Hyp nVHE mode initialized successfully", "nvhe"),
        ("kvm [1]: Hyp hVHE mode initialized successfully", "nvhe"),
        ("kvm [1]: Protected nVHE mode initialized successfully", "protected"),
        ("kvm [1]: Protected hVHE mode initialized successfully", "protected"),
        ("kvm [1]: HYP mode not available", None),
        ("", None),
    ],
)
def test_the_mode_of_kvm_is_that_of_its_message(message: str, mode: str | None) -> None:
    assert kvm_mode(message) == mode


def test_a_feature_is_its_whole_message() -> None:
    log = "Booting Linux on physical CPU 0\nCPU features: detected: Stage-2 Force Write-Back 2\n"
    assert features(log)["fwb"] is False


@pytest.mark.parametrize(
    ("file", "text", "hint"),
    [
        ("proc/device-tree/compatible", "linux,dummy-virt\0", "QEMU's machine virt"),
        ("sys/class/dmi/id/sys_vendor", "QEMU\n", "DMI says 'QEMU'"),
        ("sys/class/dmi/id/sys_vendor", "Amazon EC2\n", "Amazon EC2"),
        ("sys/hypervisor/type", "xen\n", "xen"),
        ("sys/class/dmi/id/sys_vendor", "Ampere\n", None),
    ],
)
def test_signs_of_a_virtual_machine_are_told(
    tmp_path: Path, file: str, text: str, hint: str | None
) -> None:
    host_tree.write(tmp_path / file, text)
    found = virtual_hint(tmp_path)
    assert found is None if hint is None else hint in str(found)


def test_bare_metal_of_a_cloud_is_no_virtual_machine(tmp_path: Path) -> None:
    host_tree.write(tmp_path / "sys/class/dmi/id/sys_vendor", "Amazon EC2\n")
    host_tree.write(tmp_path / "sys/class/dmi/id/product_name", "c7g.metal\n")
    assert virtual_hint(tmp_path) is None


# ---- names


@pytest.mark.parametrize("suffix", ["", ".isra.0", ".part.0", ".constprop.0.isra.0", ".cold"])
def test_suffixes_are_those_of_the_vocabulary(suffix: str) -> None:
    assert names.base(f"f{suffix}") == strip_suffix(f"f{suffix}") == "f"


def test_names_are_resolved_with_their_suffixes_and_parts_are_no_calls(tmp_path: Path) -> None:
    here = host(tmp_path, functions=("a.isra.0", "b", "b.part.0", "c.cold", "d.constprop.1"))
    present, dropped = names.resolve(("a", "b", "c", "d", "e"), here, names.by_base(here.functions))
    assert present == ("a.isra.0", "b", "c.cold", "d.constprop.1")
    assert [one.name for one in dropped] == ["e"]


def test_a_name_of_other_kernels_is_told_from_one_that_was_inlined(tmp_path: Path) -> None:
    why = {one.name: one.why for one in plan(tmp_path, "deep").dropped}
    assert "kernels up to 6.5" in why["stage2_put_pte"]
    assert "inlined" in why["stage2_unmap_put_pte"]
    assert "pkvm_pgtable_stage2_unmap" not in why  # no pKVM host: nobody misses it


@pytest.mark.parametrize(
    ("kernel", "walker"),
    [
        ("5.10.0-1", "addr=%x0:x64 level=%x2:s8"),
        ("6.1.0-43-arm64", "addr=%x0:x64 level=%x2:s8"),
        ("6.2.1", "addr=+32(%x0):x64 level=+48(%x0):s8"),
        ("6.3.9", None),
        ("6.6.1", "addr=+40(%x0):x64 level=+56(%x0):s8"),
        ("7.1.8", "addr=+40(%x0):x64 level=+56(%x0):s8"),
        ("9.0.0", None),
        ("unreleased", None),
    ],
)
def test_the_walkers_arguments_are_read_where_this_kernel_has_them(
    tmp_path: Path, kernel: str, walker: str | None
) -> None:
    found = plan(tmp_path, "args", kernel=kernel)
    line = [one for one in lines(found.probes) if "stage2_unmap_walker" in one]
    assert line == ([] if walker is None else [f"p:traceview/walker stage2_unmap_walker {walker}"])
    why = {one.name: one.why for one in found.dropped}
    assert ("is not known" in why.get("stage2_unmap_walker", "")) == (walker is None)
    assert answer(found, "levels of leaves")[0] == (walker is not None)


def test_a_later_kernel_that_knows_its_own_types_is_asked_by_name(tmp_path: Path) -> None:
    tracefs = host_tree.make_host(tmp_path, kernel="8.0.0")
    host_tree.write(tracefs / "README", "\t <argname>[->field[->field|.field...]],\n")
    found = make_plan(look(tmp_path), Wish("args"))
    assert "p:traceview/walker stage2_unmap_walker addr=ctx->addr:x64 level=ctx->level:s8" in lines(
        found.probes
    )


def test_an_operand_is_a_probe_inside_the_range_flush(tmp_path: Path) -> None:
    found = make_plan(host(tmp_path), Wish("args", operands=("+0x54,x0,ipas2e1is",)))
    assert lines(found.probes)[-1] == (
        "p:traceview/operand1 __kvm_tlb_flush_vmid_range+0x54 ipas2e1is=%x0:x64"
    )
    assert answer(found, "really covers")[0]
    for wrong in ("0x54,x0,a", "+54,x0,a", "+0x54,x0", "+0x54,y0,a", "+0x54,x0,a b"):
        with pytest.raises(SettingError, match="no operand"):
            make_plan(look(tmp_path), Wish("args", operands=(wrong,)))
    with pytest.raises(SettingError, match="adds a kprobe"):
        make_plan(look(tmp_path), Wish("top", operands=("+0x54,x0,a",)))


# ---- answers


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_answers_how_long_and_none_tells_tlbi_from_dsb(
    tmp_path: Path, preset: str
) -> None:
    found = plan(tmp_path, preset)
    assert answer(found, "how long an unmap takes")[0]
    assert not answer(found, "TLBI apart from DSB")[0]
    assert found.clock == "mono"


@pytest.mark.parametrize("log", [NVHE, PROTECTED])
def test_the_hypervisor_is_recorded_where_it_records_and_unmaps_go_to_it(
    tmp_path: Path, log: str
) -> None:
    functions = (*host_tree.FUNCTIONS, "pkvm_pgtable_stage2_unmap")
    host_tree.make_hypervisor(host_tree.make_host(tmp_path, log=log, functions=functions))
    here = look(tmp_path)
    found = make_plan(here, Wish())
    assert (found.hypervisor, found.hypervisor_kb, found.clock) == (True, 8192, "boot")
    assert answer(found, "at EL2")[0]
    assert problems(here, found) == []
    assert not any("--preset top" in note for note in found.notes)
    assert any("--preset top" in note for note in make_plan(here, Wish("split")).notes) == (
        log == NVHE  # nothing else is called of split on a pKVM host
    )
    assert make_plan(here, Wish(buffer_kb=512)).hypervisor_kb == 512
    for wish in (Wish(hypervisor=False), Wish(backend="trace-cmd")):
        other = make_plan(here, wish)
        assert (other.hypervisor, other.hypervisor_kb, other.clock) == (False, 0, "mono")
        assert answer(other, "at EL2") == (False, "remotes/hypervisor is not recorded")


def test_a_hypervisor_that_is_not_there_or_in_use_is_a_problem(tmp_path: Path) -> None:
    tracefs = host_tree.make_host(tmp_path, log=NVHE)
    asked = Wish(hypervisor=True)
    assert "no remotes/hypervisor" in problems(look(tmp_path), make_plan(look(tmp_path), asked))[0]
    folder = host_tree.make_hypervisor(tracefs)
    for name, text, said in (
        ("buffer_size_kb", "7 (loaded)", "read by somebody else"),
        ("tracing_on", "1", "recorded by somebody else"),
    ):
        host_tree.write(folder / name, f"{text}\n")
        here = look(tmp_path)
        (why,) = problems(here, make_plan(here, Wish()))
        assert said in why
        assert "--no-hypervisor" in why
        assert problems(here, make_plan(here, Wish(hypervisor=False))) == []


def test_a_preset_that_counts_answers_the_strategy_and_top_does_not(tmp_path: Path) -> None:
    assert not answer(plan(tmp_path / "t", "top"), "invalidates")[0]
    assert answer(plan(tmp_path / "s", "split"), "invalidates")[0]
    assert answer(plan(tmp_path / "k", "args"), "invalidates")[0]
    assert answer(plan(tmp_path / "a", "args"), "addresses")[0]
    assert answer(plan(tmp_path / "b", "bystanders"), "vCPUs")[0]
    assert answer(plan(tmp_path / "d", "deep"), "who asked")[0]


@pytest.mark.parametrize("log", [NVHE, PROTECTED, ""])
def test_without_vhe_nothing_of_el2_is_promised_or_stated_as_traced(
    tmp_path: Path, log: str
) -> None:
    functions = (*host_tree.FUNCTIONS, *TOP)
    found = plan(tmp_path, "split", log=log, functions=functions)
    for question in ("invalidates", "divides", "every invalidation", "addresses", "covers", "EL2"):
        assert not answer(found, question)[0], question
    assert answer(found, "how long an unmap takes")[0]
    assert not any("flush" in name for name in found.traced)
    if log == PROTECTED:  # EL2 has the page tables
        assert found.traced == ("pkvm_pgtable_stage2_unmap",)
        assert not answer(found, "how many leaves")[0]
    else:
        expected = ("clean_dcache_guest_page", "kvm_pgtable_stage2_unmap", "kvm_s2_put_page")
        assert found.traced == expected


@pytest.mark.parametrize("preset", ["split", "args", "deep"])
def test_what_is_there_and_never_called_is_left_out_with_the_reason(
    tmp_path: Path, preset: str
) -> None:
    functions = (*host_tree.FUNCTIONS, "pkvm_pgtable_stage2_unmap")
    for name, log, gone, kept in (
        ("n", NVHE, "__kvm_tlb_flush_vmid_ipa", "kvm_pgtable_stage2_unmap"),
        ("p", PROTECTED, "kvm_s2_put_page", "pkvm_pgtable_stage2_unmap"),
    ):
        found = plan(tmp_path / name, preset, log=log, functions=functions)
        why = {one.name: one.why for one in found.dropped}
        assert "there, but not called" in why[gone]
        assert kept in found.traced
        assert gone not in [*found.graph, *(one.symbol for one in found.probes)]


def test_a_kernel_before_pkvms_own_unmap_unmaps_on_the_host_also_in_protected_mode(
    tmp_path: Path,
) -> None:
    found = plan(tmp_path, "split", log=PROTECTED)
    assert "kvm_pgtable_stage2_unmap" in found.traced
    assert answer(found, "how many leaves")[0]


def test_an_old_kernel_without_range_functions_still_answers_the_strategy(tmp_path: Path) -> None:
    functions = [one for one in host_tree.FUNCTIONS if "range" not in one]
    found = plan(tmp_path, "split", kernel="6.1.0-43-arm64", functions=functions)
    assert answer(found, "invalidates")[0]
    assert found.instance is None  # function_graph works in instances from 6.12 on
    assert set(found.traced) == set(OPERATIONS) - {
        "__kvm_tlb_flush_vmid_range", "pkvm_pgtable_stage2_unmap",
    }  # fmt: skip


# ---- buffers and problems


def test_buffers_are_a_share_of_the_memory_that_is_free(tmp_path: Path) -> None:
    roomy = choose(host(tmp_path / "a"), stated_kb=None, is_read=True)
    assert roomy.per_cpu_kb == 32 * 1024
    small = choose(host(tmp_path / "b", available_kb=100 * 1024), stated_kb=None, is_read=True)
    assert small.per_cpu_kb == 5 * 1024
    assert "10% of it" in small.text
    many = host(tmp_path / "c", cpus=128, available_kb=4 << 20)
    assert choose(many, stated_kb=None, is_read=True).per_cpu_kb == 3 * 1024
    with pytest.raises(SettingError, match="more than half of the available memory"):
        choose(many, stated_kb=1 << 20, is_read=True)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"machine": "x86_64"}, "this host is x86_64"),
        ({"tracers": ""}, "tracefs is not mounted"),
        ({"kvm": False}, "no /dev/kvm"),
        ({"tracers": "function nop"}, "no tracer function_graph"),
        ({"functions": ("schedule",)}, "none of the functions of preset top"),
    ],
)
def test_a_host_that_cannot_record_is_told_why(
    tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    found = host(tmp_path, **settings)
    assert said in problems(found, make_plan(found, Wish()))[0]


def test_a_top_level_that_somebody_uses_is_left_alone(tmp_path: Path) -> None:
    tracefs = host_tree.make_host(tmp_path, kernel="6.1.0")
    host_tree.write(tracefs / "current_tracer", "function\n")
    host_tree.write(tracefs / "set_event", "sched:sched_switch\nkvm:kvm_exit\n")
    found = look(tmp_path)
    (why,) = problems(found, make_plan(found, Wish()))
    assert "in use: its tracer is function; sched:sched_switch and 1 more" in why
    assert problems(found, make_plan(found, Wish("args"))) == []  # kprobes: in an instance


def test_a_sidecar_is_where_it_is_looked_for(tmp_path: Path) -> None:
    trace = tmp_path / "run1/trace"
    trace.mkdir(parents=True)
    here = host(tmp_path)
    written = sidecar.write(
        trace, sidecar.document(here, make_plan(here, Wish()), sidecar.Said(), "2026-01-01", {})
    )
    assert written == sidecar_path(trace)
    assert stat.S_ISREG(written.stat().st_mode)
