"""Every capture of a boot that has a ground truth, checked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sample_traces.lab.captures import captures, host_facts, recordings
from sample_traces.lab.check import check, has_unmaps, strategy, unmaps_by_step
from sample_traces.lab.errors import LabError
from sample_traces.lab.truth import read_truth

if TYPE_CHECKING:
    from pathlib import Path

    from sample_traces.lab.check import Checked


def check_boot(out: Path) -> dict[str, Checked]:
    """The captures by name."""
    try:
        booted = json.loads((out / "boot.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise LabError(f"not the folder of a boot: {out}: {err!r}") from err
    expected = strategy(booted["kernel"]["release"], host_facts(out))
    found = {}
    for one in [*captures(out), *recordings(out)]:
        if one.truth is not None and has_unmaps(one.path):
            marked = unmaps_by_step(one.path) or unmaps_by_step(one.path, one.truth)
            found[one.name] = check(marked, read_truth(one.truth), expected)
    return found
