"""The bundled traces are what their README says."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from traceview.parsers import open_trace
from traceview.queries import analyze

SAMPLES = Path(__file__).parent.parent / "sample_traces"
LIMIT_BYTES = 400_000

README = (SAMPLES / "README.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL))
FILES = sorted(
    path.name
    for path in SAMPLES.iterdir()
    if path.is_file() and path.suffix not in {".md", ".json", ".py"}
)


PAIR = SAMPLES / "switch-6.12"


def test_every_sample_is_described_and_every_description_has_its_sample() -> None:
    assert sorted(SECTIONS) == sorted([*FILES, PAIR.name])


def test_the_two_sides_are_whole_emulated_and_as_large_as_one_sample_may_be() -> None:
    sums = (PAIR / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    stated = {name: digest for digest, name in (line.split("  ") for line in sums)}
    traces = sorted(PAIR.glob("*.txt.xz"))
    assert [path.name for path in traces] == sorted(stated)
    assert len(traces) == 2 * 6 * 2
    assert sum(path.stat().st_size for path in traces) < LIMIT_BYTES
    orders: dict[int, set[str]] = {}
    for path in traces:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == stated[path.name]
        sidecar = json.loads(Path(f"{path}.host.json").read_text(encoding="utf-8"))
        assert sidecar["origin"] == "emulated"
        assert path.name.startswith(f"{sidecar['label']}-{sidecar['run']}-")
        orders.setdefault(sidecar["order"], set()).add(sidecar["label"])
    assert sorted(orders) == list(range(1, 13))
    assert all(len(labels) == 1 for labels in orders.values())


@pytest.mark.parametrize("name", FILES)
def test_a_sample_has_the_size_and_digest_that_are_stated(name: str) -> None:
    content = (SAMPLES / name).read_bytes()
    assert len(content) < LIMIT_BYTES
    assert f"| {len(content)} bytes |" in SECTIONS[name]
    assert f"`{hashlib.sha256(content).hexdigest()}`" in SECTIONS[name]


@pytest.mark.parametrize("name", FILES)
def test_a_sample_says_that_it_is_emulated_and_how_it_was_made(name: str) -> None:
    sidecar = json.loads((SAMPLES / f"{name}.host.json").read_text(encoding="utf-8"))
    assert sidecar["origin"] == "emulated"
    assert sidecar["host"]["kernel"] in README
    assert re.search(r"^\| how \| .{20}", SECTIONS[name], re.MULTILINE)
    cpu = re.search(r"^\| CPU model \| `(.+)` \|", SECTIONS[name], re.MULTILINE)
    assert cpu is not None
    assert cpu[1] in name


@pytest.mark.parametrize("name", FILES)
def test_a_sample_can_be_analysed(name: str) -> None:
    found = analyze(open_trace(SAMPLES / name))
    assert len(found.unmaps) + len(found.samples) > 0
    assert [what.code for _, what in found.diagnostics if what.severity != "info"] == []
    assert found.sources["origin"].to_list() == ["emulated"]
