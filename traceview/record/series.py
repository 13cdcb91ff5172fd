"""Runs of two sides in an order that permits inference: blocks ABBA or BAAB, drawn at random.

FOLDER/plan.json holds the order and what each run records; FOLDER/plan.txt is the same to read.
Run 3 of side `deferred` is FOLDER/03-deferred (03-deferred-top, ... where each run is recorded with
several presets). A run is done when all its folders have a result.json. What makes an order good
is in queries/recording_plan.py.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from traceview.errors import SettingError
from traceview.record.plan_file import write_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PLAN: Final = "plan.json"
PLAN_TEXT: Final = "plan.txt"
LABEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,60}")
SWITCH: Final = "/sys/module/kvm/parameters/unmap_defer"  # docs/how-to.md
SWITCHED: Final = {"deferred": "Y", "per-leaf": "N"}
FEWEST: Final = 5  # runs a side below which intervals only describe (queries/recording_plan.py)


@dataclass(frozen=True, slots=True)
class Side:
    """One side. `kernel`: its uname -r, None until its first run. `switch`: makes this host it."""

    label: str
    kernel: str | None = None
    switch: str | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """The plan of all runs. `order`: labels, first run first. `unmap_defer`: the switch is used."""

    seed: int
    sides: tuple[Side, Side]
    order: tuple[str, ...]
    presets: tuple[str, ...]
    backend: str
    words: tuple[str, ...]
    seconds: float | None
    origin: str | None
    buffer_kb: int | None
    top_level: bool
    unmap_defer: bool
    hypervisor: bool | None = None

    def side(self, label: str) -> Side:
        """The side of that label."""
        return next(one for one in self.sides if one.label == label)

    @property
    def switched(self) -> bool:
        """Whether this host can be either side without another boot."""
        return self.unmap_defer or all(one.switch is not None for one in self.sides)

    def folders(self, order: int) -> list[str]:
        """The folders of a run, by its order (the first is 1)."""
        digits = max(2, len(str(len(self.order))))
        name = f"{order:0{digits}}-{self.order[order - 1]}"
        return [name] if len(self.presets) == 1 else [f"{name}-{one}" for one in self.presets]


def draw(runs: int, labels: tuple[str, str], seed: int) -> tuple[str, ...]:
    """*runs* runs of each label: blocks ABBA or BAAB, and a pair where *runs* is odd."""
    first, second = labels
    generator = random.Random(seed)  # noqa: S311 - an order, no secret
    order: list[str] = []
    for _ in range(runs // 2):
        a, b = generator.choice(((first, second), (second, first)))
        order += (a, b, b, a)
    if runs % 2:
        order += generator.choice(((first, second), (second, first)))
    return tuple(order)


def check_labels(labels: Sequence[str]) -> None:
    """Raise SettingError where labels are the same, or cannot be names of folders."""
    for one in labels:
        if LABEL.fullmatch(one) is None:
            raise SettingError(f"no label for a folder: {one!r}\nvalid: letters, digits, . _ + -")
    if len(set(labels)) != 2:
        raise SettingError(f"both sides are called {labels[0]}\nvalid: two labels")


def write(folder: Path, series: Series) -> None:
    """Write the plan of a new folder."""
    try:
        folder.mkdir()
    except FileExistsError as err:
        raise SettingError(f"{folder} is there already\nvalid: another name") from err
    except OSError as err:
        raise SettingError(f"{folder} cannot be made: {err.strerror}") from err
    _write_plan(folder, series)
    (folder / PLAN_TEXT).write_text("\n".join(text(series)) + "\n", encoding="utf-8")


def discard(folder: Path) -> None:
    """Remove the folder of a plan of which nothing was recorded; one with anything else stays."""
    if {one.name for one in folder.iterdir()} <= {PLAN, PLAN_TEXT}:
        for name in (PLAN, PLAN_TEXT):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


def _write_plan(folder: Path, series: Series) -> None:
    draft = folder / f"{PLAN}.new"
    write_json(draft, {"document": "recording_series", **asdict(series)})
    draft.replace(folder / PLAN)


def text(series: Series) -> list[str]:
    """The plan to read."""
    first, second = series.sides
    lines = [
        (
            f"{len(series.order)} runs, {len(series.order) // 2} of {first.label} and as many of"
            f" {second.label}, in blocks ABBA or BAAB; seed {series.seed}"
        )
    ]
    if len(series.order) // 2 < FEWEST:
        lines.append(f"fewer than {FEWEST} runs a side: intervals will only describe")
    for one in series.sides:
        how = one.switch or (one.kernel and f"kernel {one.kernel}") or "kernel as of its first run"
        if series.unmap_defer:
            how = f"unmap_defer {SWITCHED[one.label]}"
        lines.append(f"{one.label}: {how}")
    orders = range(1, len(series.order) + 1)
    return lines + [f"  {order:3}  {' '.join(series.folders(order))}" for order in orders]


def read(folder: Path) -> Series:
    """The plan in a folder; raises SettingError where there is none."""
    path = folder / PLAN
    try:
        series = _series(json.loads(path.read_text(encoding="utf-8")))
    except OSError as err:
        raise SettingError(f"no plan: {path}: {err.strerror}") from err
    except (ValueError, TypeError, KeyError, AttributeError) as err:
        raise SettingError(f"no plan of several runs: {path}: {err}") from err
    check_labels([one.label for one in series.sides])
    return series


def _series(document: dict[str, Any]) -> Series:
    if document.pop("document") != "recording_series":
        raise ValueError("a plan of one recording")
    first, second = (Side(**one) for one in document.pop("sides"))
    for name in ("order", "presets", "words"):
        document[name] = tuple(document[name])
    return Series(sides=(first, second), **document)


def next_run(folder: Path, series: Series) -> int | None:
    """The order of the first run that is not done; None if all are.

    Raises SettingError where one was begun and not finished.
    """
    for order in range(1, len(series.order) + 1):
        paths = [folder / name for name in series.folders(order)]
        done = [(path / "result.json").is_file() for path in paths]
        if all(done):
            continue
        begun = [path for path in paths if path.exists()]
        if begun:
            raise SettingError(
                f"run {order} was begun and is not complete\nremove: {' '.join(map(str, begun))}"
            )
        return order
    return None


def on_this_kernel(folder: Path, series: Series, order: int, kernel: str) -> Series:
    """The plan with the kernel of a side that now has its first run.

    Raises SettingError if the run is of the other side's kernel, or of a third.
    """
    if series.switched:
        return series
    label = series.order[order - 1]
    own = series.side(label)
    other = next(one for one in series.sides if one.label != label)
    if own.kernel == kernel:
        return series
    if own.kernel is not None or other.kernel == kernel:
        wanted = own.kernel or f"another than {kernel}"
        raise SettingError(
            f"run {order} of {len(series.order)} is of {label}, kernel {wanted}; this is {kernel}"
            f"\nvalid: boot it, then traceview record --next {folder}"
        )
    sides = tuple(replace(one, kernel=kernel) if one is own else one for one in series.sides)
    known = replace(series, sides=(sides[0], sides[1]))
    _write_plan(folder, known)
    return known
