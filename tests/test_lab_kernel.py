"""Kernels of the lab that are built from source: patches that fit, configuration, operands."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from sample_traces.lab.errors import LabError
from sample_traces.lab.folder import lab_folder
from sample_traces.lab.kernel.build import (
    CONFIGURATION,
    HERE,
    PATCHES,
    VARIANTS,
    arrange,
    build,
    operands,
    patched,
    refused,
)
from sample_traces.lab.programs import find

if TYPE_CHECKING:
    from pathlib import Path

needs_patch = pytest.mark.skipif(find("patch") is None, reason="there is no program patch")

DISASSEMBLY = """
Disassembly of section .text:

ffff80008006f830 <__kvm_tlb_flush_vmid_range>:
ffff80008006f884:\ttlbi\tipas2e1is, x0
ffff80008006f88c:\tcbz\tx1, ffff80008006f8a0 <__kvm_tlb_flush_vmid_range+0x70>
ffff80008006f914:\ttlbi\tripas2e1is, x4
ffff80008006f928:\ttlbi\tvmalle1is
"""


def test_operands_are_given_by_offset_register_and_instruction() -> None:
    assert operands(DISASSEMBLY) == ["+0x54,x0,ipas2e1is", "+0xe4,x4,ripas2e1is"]


def test_a_kernel_without_kvm_has_no_operands() -> None:
    with pytest.raises(LabError, match="built without KVM"):
        operands("vmlinux:     file format elf64-littleaarch64\n")


def test_options_that_the_kernel_refuses_are_named() -> None:
    asked = "# comment\nCONFIG_KVM=y\nCONFIG_FPROBE=y\n"
    assert refused(asked, "CONFIG_KVM=y\n# CONFIG_FPROBE is not set\n") == ["CONFIG_FPROBE=y"]


def test_the_configuration_asks_for_nothing_twice() -> None:
    lines = [line for line in CONFIGURATION.read_text("utf-8").splitlines() if line[:1] == "C"]
    assert len(lines) == len(set(lines))


def test_an_unknown_kernel_is_refused_before_anything_is_fetched() -> None:
    with pytest.raises(LabError, match="there are: switch, eager-tables-reverted"):
        build(lab_folder(), ["nothing"], "sid", 1)


@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "switch"])
def test_a_broken_kernel_says_so_in_its_patch_and_its_patch_is_whole(name: str) -> None:
    patch = VARIANTS[name][-1]
    text = patch.read_text("utf-8")
    assert patch == HERE / f"{name}.patch"
    assert "BROKEN ON PURPOSE" in text.splitlines()[0]
    assert "Made against 6.12.95." in text
    checked = subprocess.run(["git", "apply", "--numstat", str(patch)], check=True,
                             capture_output=True, text=True)  # fmt: skip
    assert len(checked.stdout.splitlines()) == 1


@needs_patch
def test_a_patch_that_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    target = tmp_path / "arch/arm64/kvm/hyp/pgtable.c"
    target.parent.mkdir(parents=True)
    target.write_text("nothing of it\n" * 20, "utf-8")
    with pytest.raises(LabError, match="patch failed"):
        patched(tmp_path, VARIANTS["eager-tables-reverted"][-1])
    assert [path.name for path in target.parent.iterdir()] == ["pgtable.c"]
    assert target.read_text("utf-8") == "nothing of it\n" * 20


def small_patch(folder: Path, name: str, before: str, after: str) -> Path:
    path = folder / f"{name}.patch"
    hunk = f"@@ -1,3 +1,3 @@\n one\n-{before}\n+{after}\n three\n"
    path.write_text(f"{name}\n---\n--- a/file\n+++ b/file\n{hunk}", encoding="utf-8")
    return path


@needs_patch
@pytest.mark.parametrize("left", ["two", "first", "second"])
def test_a_tree_gets_the_patches_of_its_kernel_whatever_was_left_in_it(
    tmp_path: Path, left: str
) -> None:
    first = small_patch(tmp_path, "1", "two", "first")
    second = small_patch(tmp_path, "2", "first", "second")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_text(f"one\n{left}\nthree\n", encoding="utf-8")
    arrange(tree, [first], [first, second])
    assert (tree / "file").read_text(encoding="utf-8") == "one\nfirst\nthree\n"


@needs_patch
def test_a_tree_that_has_its_patches_is_not_touched(tmp_path: Path) -> None:
    patch = small_patch(tmp_path, "1", "two", "first")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_text("one\nfirst\nthree\n", encoding="utf-8")
    before = (tree / "file").stat().st_mtime_ns
    arrange(tree, [patch], [patch])
    assert (tree / "file").stat().st_mtime_ns == before
    assert [path.name for path in tree.iterdir()] == ["file"]


def test_every_kernel_begins_with_the_switch() -> None:
    assert {patches[0] for patches in VARIANTS.values()} == {PATCHES[0]}
    assert set(PATCHES) == {patch for patches in VARIANTS.values() for patch in patches}
