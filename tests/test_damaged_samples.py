"""Every sample, cut anywhere and with bytes flipped: an answer, a diagnostic or a clear error.

Each sample is damaged in a process of its own, so that its peak memory can be compared with that
of reading the sound file, and a hang or a crash is a failure.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import traceview

SAMPLES = Path(__file__).parent.parent / "sample_traces"
NAMES = sorted(
    path.name
    for path in SAMPLES.iterdir()
    if path.is_file() and path.suffix not in {".json", ".md", ".py"}
)
CUTS = 3
FLIPS = 3

# Arguments: the sample, its packing ("packed" or "unpacked"), a folder, CUTS, FLIPS.
PROGRAM = """
import json, random, resource, sys
from pathlib import Path
import traceview
from traceview.host import read_settings
from traceview.parsers.source import open_source

sample, packing, folder, cuts, flips = sys.argv[1:]
source = open_source(sample)
raw = Path(sample).read_bytes() if packing == "packed" else b"".join(source.chunks())
settings = read_settings(sample)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def read(content):
    file = Path(folder) / "damaged"
    file.write_bytes(content)
    try:
        analysis = traceview.analyze(traceview.open_trace(file, settings=settings))
    except traceview.TraceviewError as err:
        assert str(err).strip()
        return "refused"
    known = analysis.unmaps["status"].is_in(["complete", "censored", "contaminated", "point"])
    assert known.all()
    return "read"


assert read(raw) == "read"
sound = peak()
chance = random.Random(7)
found = {"read": 0, "refused": 0}
for cut in range(int(cuts)):
    found[read(raw[: max(1, len(raw) * cut // int(cuts) + chance.randrange(97))])] += 1
for _ in range(int(flips)):
    content = bytearray(raw)
    for _ in range(chance.choice((1, 1, 8, 64))):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    found[read(bytes(content))] += 1
print(json.dumps({**found, "sound_kb": sound, "peak_kb": peak()}))
"""


@pytest.mark.parametrize("packing", ["packed", "unpacked"])
@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_sample_is_read_or_refused(name: str, packing: str, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", PROGRAM, str(SAMPLES / name), packing,
               str(tmp_path), str(CUTS), str(FLIPS)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["read"] + found["refused"] == CUTS + FLIPS
    # A trace.dat begins with its symbol table: of a packed one that is cut, nothing may be left.
    assert found["read"] > 0 or packing == "packed"
    assert found["peak_kb"] <= 2 * found["sound_kb"]


def test_what_a_file_that_ends_early_no_longer_has_is_a_loss(tmp_path: Path) -> None:
    cut = tmp_path / "cut.perfetto"
    cut.write_bytes((SAMPLES / "fgraph-6.12-neoverse-n1.perfetto").read_bytes()[:12_000])
    losses = traceview.analyze(traceview.open_trace(cut)).losses
    assert losses["kind"].to_list() == ["truncated"]
