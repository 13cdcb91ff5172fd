"""Names of functions mean operations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from traceview.errors import SettingError
from traceview.vocabulary import Vocabulary, strip_suffix

if TYPE_CHECKING:
    from pathlib import Path

KNOWN = Vocabulary.builtin()


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        ("__unmap_stage2_range.isra.0", "__unmap_stage2_range"),
        ("stage2_put_pte.constprop.0.isra.0", "stage2_put_pte"),
        ("f.part.12.cold", "f"),
        ("kvm_age_gfn [kvm]", "kvm_age_gfn"),
        ("f.llvm.1234567890", "f"),
        ("plain", "plain"),
        ("dotted.name", "dotted.name"),
    ],
)
def test_compiler_suffixes_are_stripped(symbol: str, name: str) -> None:
    assert strip_suffix(symbol) == name


@pytest.mark.parametrize(
    ("symbol", "operation", "kind"),
    [
        ("kvm_pgtable_stage2_unmap", "unmap", None),
        ("stage2_unmap_walker.isra.0", "walk", None),
        ("__kvm_tlb_flush_vmid_ipa", "invalidate_ipa", None),
        ("kvm_tlb_flush_vmid_range", "invalidate_range", None),
        ("__kvm_tlb_flush_vmid", "invalidate_vmid", None),
        ("__flush_dcache_area", "cmo", None),
        ("kvm_s2_put_page", "table_put", None),
        ("kvm_unmap_hva_range", "trigger", "notifier"),
        ("kvm_nested_s2_unmap", "trigger", "nested"),
        ("kvm_gmem_punch_hole", "trigger", "guest_memfd"),
        ("kvm_pgtable_stage2_destroy_range", "destroy", None),
        ("handle_softirqs", "irq", None),
        ("copy_page", "other", None),
    ],
)
def test_functions_of_all_kernels_are_known(symbol: str, operation: str, kind: str | None) -> None:
    meaning = KNOWN.meaning(symbol)
    assert (meaning.operation, meaning.kind) == (operation, kind)


def test_arguments_have_roles_by_position_and_by_name() -> None:
    flush = KNOWN.meaning("__kvm_tlb_flush_vmid_ipa")
    roles = [flush.role(name) for name in ("x1", "%x2", "arg1", "$arg3", "ipa", "x7", "pc")]
    assert roles == ["ipa", "level", "mmu", "level", "ipa", None, None]
    assert KNOWN.meaning("kvm_s2_put_page").role("addr") == "object_addr"


def test_a_user_s_file_wins_and_extends(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        '[[function]]\nnames = ["my_unmap", "kvm_s2_put_*"]\noperation = "unmap"\n'
        '[[event]]\nentry = "my_begin"\nexit = "my_end"\noperation = "irq"\n',
        encoding="utf-8",
    )
    extended = KNOWN.extended(file)
    assert extended.meaning("kvm_s2_put_page").operation == "unmap"
    assert extended.meaning("my_unmap").operation == "unmap"
    assert extended.meaning("clean_dcache_guest_page").operation == "cmo"
    found = extended.event("group:my_end")
    assert found is not None
    assert (found.phase, found.pair) == ("exit", "my_begin")
    assert KNOWN.event("my_end") is None


@pytest.mark.parametrize(
    "text",
    [
        "not toml",
        "unknown = 1",
        '[[function]]\noperation = "unmap"',
        '[[function]]\nnames = ["f"]\noperation = "nothing"',
        '[[function]]\nnames = ["f"]\noperation = "trigger"\nkind = "nobody"',
        '[[function]]\nnames = ["f"]\noperation = "cmo"\narguments = [["bad_role"]]',
        '[[function]]\nnames = ["f"]\noperation = "cmo"\narguments = 3',
        '[[function]]\nnames = ["f"]\noperation = "cmo"\narguments = [[]]',
        '[[function]]\nnames = ["f"]\noperation = "cmo"\nnamed_arguments = 4',
        '[[function]]\nnames = ["f"]\nwraps = 4\noperation = "cmo"',
        '[[event]]\nentry = "a"\noperation = "irq"',
        '[[event]]\ninstant = 3\noperation = "irq"',
        '[[event]]\nentry = 1\nexit = 2\noperation = "irq"',
        "function = 3",
        '[[function]]\nnames = []\noperation = "cmo"',
        '[[function]]\nnames = ["f"]\noperation = "walk"\nvisit = "yes"',
        '[[function]]\nnames = ["f"]\noperation = "walk"\nvisit = 1',
        '[[function]]\nnames = ["f"]\noperation = "trigger"',
    ],
)
def test_a_malformed_vocabulary_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SettingError):
        KNOWN.extended(file)


def test_a_missing_vocabulary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="cannot be read"):
        KNOWN.extended(tmp_path / "none")


def test_fields_of_events_are_read_only_where_they_are_asked_for(tmp_path: Path) -> None:
    assert KNOWN.event_arguments("kvm:kvm_guest_fault") == ("ipa", "hsr")
    assert KNOWN.event_arguments("kvm_exit") == ()
    assert KNOWN.event_arguments("unheard_of") == ()
    path = tmp_path / "mine.toml"
    path.write_text('[[event]]\ninstant = ["kvm_exit"]\noperation = "other"\narguments = ["ret"]\n')
    assert KNOWN.extended(path).event_arguments("kvm_exit") == ("ret",)
