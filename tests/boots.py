"""Six boots of 6.1 against six of 6.12: the captures of `runs`, with sidecars from order.json."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

RUNS = Path(__file__).parent.parent.parent / "shared" / "traces" / "runs"
KERNELS = {"6.1-max": "6.1.176", "6.12-max": "6.12.95"}
KINDS = ("top.txt", "split.txt.zst")


def put_boots(folder: Path) -> None:
    """Link the captures into *folder*, each beside what order.json says of it."""
    for one in json.loads((RUNS / "order.json").read_text())["plan"]:
        kernel, boot = one["kernel"], one["run"]
        finished = datetime.strptime(
            one["finished"].replace("UTC", "+0000"), "%a %b %d %H:%M:%S %z %Y"
        )
        stated = {
            "label": kernel, "run": boot, "order": one["pair"], "origin": "emulated",
            "recorded_at": finished.isoformat(),
            "host": {
                "kernel": KERNELS[kernel], "machine": "aarch64", "fwb": True, "tlbirange": True,
                "page_size_bytes": 4096,
            },
        }  # fmt: skip
        for name in KINDS:
            file = folder / f"{kernel}-{boot}-{name}"
            file.symlink_to(RUNS / kernel / boot / name)
            Path(f"{file}.host.json").write_text(json.dumps(stated))


def names_of_boots(kernel: str) -> tuple[str, ...]:
    """The files of one side: the top-level-only captures of all boots, then the split ones."""
    return tuple(f"{kernel}-run-0{boot}-{name}" for name in KINDS for boot in range(1, 7))
