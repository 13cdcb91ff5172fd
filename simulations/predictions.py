"""How often the intervals of `traceview predict` hold the truth, and how wide they are.

A trial makes captures of one strategy (synthetic_unmaps.py), predicts the other, and looks where
the true time of each step lies; or predicts one half of the unmaps by the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from simulations.synthetic_unmaps import STEPS, Machine, captures
from traceview.queries.prediction import Wish, predict
from traceview.queries.prediction_holdout import hold_out

if TYPE_CHECKING:
    from traceview.queries.strategy_counts import Strategy

SEED: Final = 20230606
SPLITS: Final = 10
MACHINES: Final[dict[str, tuple[Machine, int]]] = {
    "one run": (Machine(), 1),
    "five runs": (Machine(), 5),
    "noise of 15%, one run": (Machine(spread=0.15, interrupted=0.1), 1),
    "noise of 15%, six runs": (Machine(spread=0.15, interrupted=0.1), 6),
    "no noise": (Machine(spread=0.0, interrupted=0.0), 1),
    "a traced call costs 1.4 us": (Machine(inside=700.0, outside=700.0), 1),
    "a range call costs four calls": (Machine(range=4800.0), 1),
    "the empty function takes as long as a put": (Machine(shortest=40.0), 1),
    "a call for a leaf costs 5 us": (Machine(ipa=5000.0, range=6000.0), 1),
}
TRUE: Final = {step.name: step for step in STEPS}


@dataclass(frozen=True, slots=True)
class Covered:
    """Of `tried` predictions `held` the truth; `half_width`: their median, relative."""

    tried: int
    held: int
    half_width: float

    @property
    def share(self) -> float:
        """That held."""
        return self.held / self.tried


def other_strategy(name: str, of: Strategy, to: Strategy, trials: int) -> Covered:
    """Predictions of *to* from captures of *of*, all steps of all trials."""
    machine, runs = MACHINES[name]
    held, widths = 0, []
    for trial in range(trials):
        random = np.random.default_rng([SEED, trial])
        for cell in predict(captures(machine, of, random, runs=runs), Wish(to)).cells:
            true = machine.time(TRUE[cell.location.cell["stem"]], to) + machine.inside
            held += cell.then.low <= true <= cell.then.high
            widths.append(cell.then.half_width)
    return Covered(len(widths), held, float(np.median(widths)))


def held_out(name: str, of: Strategy, kind: str, trials: int) -> Covered | None:
    """What is held out of captures of *of*; None where nothing of that *kind* is."""
    machine, runs = MACHINES[name]
    tried, held, widths = 0, 0, []
    for trial in range(trials):
        random = np.random.default_rng([SEED, trial])
        found = hold_out(predict(captures(machine, of, random, runs=runs), Wish()), SPLITS)
        for one in (one for one in found if one.kind == kind):
            tried, held = tried + one.tried, held + one.covered
            widths.append(one.half_width)
    return Covered(tried, held, float(np.median(widths))) if tried else None
