"""The sidecar states what a trace cannot say of its host."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from traceview.errors import SettingError
from traceview.host import read_settings, sidecar_path
from traceview.symbols import Probe

if TYPE_CHECKING:
    from pathlib import Path

SIDECAR: dict[str, Any] = {
    "run": "boot-3",
    "label": "6.12",
    "order": 5,
    "recorded_at": "2026-11-22T16:52:53Z",
    "origin": "emulated",
    "clock": "boot",
    "host": {"kernel": "6.12.95", "fwb": True, "cpus": 2, "page_size_bytes": 4096},
    "traced": ["kvm_pgtable_stage2_unmap"],
    "kprobe_events": ["p:kvmlab/s2_unmap kvm_pgtable_stage2_unmap"],
    "kallsyms": "kallsyms.txt",
}


def written(folder: Path, document: object) -> Path:
    trace = folder / "trace.pftrace"
    trace.touch()
    sidecar_path(trace).write_text(json.dumps(document), encoding="utf-8")
    (folder / "kallsyms.txt").write_text("ffff800080000000 T some_function\n", encoding="utf-8")
    return trace


def test_the_sidecar_beside_a_trace_is_read(tmp_path: Path) -> None:
    found = read_settings(written(tmp_path, SIDECAR))
    assert found.facts == {
        "run": "boot-3", "label": "6.12", "order": 5, "recorded_at": "2026-11-22T16:52:53Z",
        "origin": "emulated", "clock": "boot", "kernel": "6.12.95", "fwb": True, "cpus": 2,
        "page_size_bytes": 4096,
    }  # fmt: skip
    assert found.traced == frozenset({"kvm_pgtable_stage2_unmap"})
    assert found.symbols.probes["s2_unmap"] == Probe("kvm_pgtable_stage2_unmap", "entry", "kprobe")
    assert found.symbols.kallsyms is not None


@pytest.mark.parametrize("name", ["dump", "dump/", "dump//", "dump/.", "dump/cpu/.."])
def test_the_sidecar_of_a_directory_is_found_however_it_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "dump/cpu").mkdir(parents=True)
    sidecar_path(tmp_path / "dump").write_text('{"label": "6.12"}', encoding="utf-8")
    assert read_settings(f"{tmp_path}/{name}").facts == {"label": "6.12"}


def test_the_sidecar_of_the_working_directory_lies_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dump").mkdir()
    monkeypatch.chdir(tmp_path / "dump")
    sidecar_path(tmp_path / "dump").write_text('{"label": "6.12"}', encoding="utf-8")
    assert read_settings(".").facts == {"label": "6.12"}


def test_without_a_sidecar_nothing_is_stated(tmp_path: Path) -> None:
    found = read_settings(tmp_path / "trace")
    assert (found.facts, found.traced, found.symbols.kallsyms) == ({}, None, None)


def test_options_win_over_the_sidecar(tmp_path: Path) -> None:
    stated = {"origin": "synthetic", "run": "boot-4", "label": None}
    found = read_settings(written(tmp_path, SIDECAR), stated=stated)
    assert [found.facts[name] for name in ("origin", "run", "label")] == [
        "synthetic", "boot-4", "6.12"
    ]  # fmt: skip


def test_an_option_makes_no_evidence_of_what_a_sidecar_says_is_emulated(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="whose sidecar says emulated"):
        read_settings(written(tmp_path, SIDECAR), stated={"origin": "hardware"})


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"unknown": 1},
        {"origin": "mars"},
        {"order": "first"},
        {"order": True},
        {"host": {"fwb": "yes"}},
        {"host": {"speed": 3}},
        {"host": []},
        {"traced": "f"},
        {"traced": [1]},
        {"kprobe_events": 3},
        {"kallsyms": "not there"},
        {"host": {"page_size_bytes": 0}},
        {"host": {"page_size_bytes": 5000}},
        {"host": {"cpus": -1}},
        {"host": {"cntfrq_hz": -1}},
        {"order": 99999999999999999999},
        {"recorded_at": "yesterday"},
    ],
)
def test_a_malformed_sidecar_is_refused(tmp_path: Path, document: object) -> None:
    with pytest.raises(SettingError):
        read_settings(written(tmp_path, document))


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe{}", b""])
def test_a_sidecar_that_is_not_json_is_refused(tmp_path: Path, content: bytes) -> None:
    trace = written(tmp_path, {})
    sidecar_path(trace).write_bytes(content)
    with pytest.raises(SettingError):
        read_settings(trace)


@pytest.mark.parametrize("said", ["perf.kprobe_events", ["nonsense"]])
def test_definitions_of_which_none_is_one_are_refused(tmp_path: Path, said: object) -> None:
    with pytest.raises(SettingError, match="defines no probe"):
        read_settings(written(tmp_path, {"kprobe_events": said}))
