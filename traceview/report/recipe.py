"""What a report is made of besides tables, and how it is made: from both, nothing else.

A report is a function of `Analysis` objects (the parts) and of a recipe: what was asked of them.
The command line makes a report by it, and `traceview verify` makes the same one from an evidence
folder. The parts of an analysis are `traces` and `calibration`; of two sides `base`, `with` and
`base-calibration`, `with-calibration`; of one set (strategies, runs) `all` and `all-calibration`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

import traceview
from traceview.queries.filters import Filters
from traceview.queries.steps import STEP_PATTERN
from traceview.report.provenance import Provenance
from traceview.vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Mapping

    from traceview.queries.analysis import Analysis
    from traceview.queries.steps import StepIntervals
    from traceview.report.compared import Compared
    from traceview.report.compared_runs import ComparedRuns
    from traceview.report.contents import Contents

# Of each form of a report: the parts that it is made of, each with what it may be calibrated by.
FORMS: Final[dict[str, dict[str, str]]] = {
    "analysis": {"traces": "calibration"},
    "comparison": {"base": "base-calibration", "with": "with-calibration"},
    "strategies": {"all": "all-calibration"},
    "runs": {"all": "all-calibration"},
}

Found: TypeAlias = "Contents | Compared | ComparedRuns"


@dataclass(frozen=True, slots=True)
class Recipe:
    """`form`: one of FORMS. `arguments`: what stood behind `traceview` on the command line.

    `vocabularies`: name and text of each --vocabulary file, in order. `steps` and `step_pattern`
    say what a step was while the traces were read. `version`: the traceview that did it.
    """

    form: str
    arguments: tuple[str, ...] = ()
    filters: Filters = field(default_factory=Filters)
    claims: tuple[str, ...] = ()
    vocabularies: tuple[tuple[str, str], ...] = ()
    steps: StepIntervals | None = None
    step_pattern: str = STEP_PATTERN
    version: str = traceview.__version__

    @property
    def provenance(self) -> Provenance:
        """The command, for a report to repeat."""
        names = tuple(name for name, _ in self.vocabularies)
        return Provenance(self.arguments, self.version, names)

    @property
    def scrubbed(self) -> bool:
        """Whether names, PIDs and addresses were replaced before anything else."""
        return "--scrub" in self.arguments

    def vocabulary(self) -> Vocabulary:
        """The built-in words and those of the files; raises SettingError where one is none."""
        words = Vocabulary.builtin()
        for name, text in self.vocabularies:
            words = words.extended_by(text, name)
        return words


def parts_of(
    form: str, read: Mapping[str, Analysis], calibrations: Mapping[str, Analysis]
) -> dict[str, Analysis]:
    """The parts by name, of analyses and what each was calibrated by under the same name."""
    names = FORMS[form]
    return dict(read) | {names[name]: analysis for name, analysis in calibrations.items()}


def found(recipe: Recipe, parts: Mapping[str, Analysis]) -> Found:
    """What the report of *recipe* is made of; the analyses are priced already.

    Raises QueryError and SettingError, as the command did that asked for it.
    """
    names = FORMS[recipe.form]
    read = {name: parts[name] for name in names}
    known = {name: parts[fewer] for name, fewer in names.items() if fewer in parts}
    words = recipe.vocabulary()
    # Only a comparison pays for its statistics: their packages take longer to load than a trace.
    if recipe.form == "analysis":
        from traceview.report.contents import contents  # noqa: PLC0415

        return contents(read["traces"], recipe.filters, words, known.get("traces"))
    if recipe.form == "runs":
        from traceview.report.compared_runs import runs_of_one_side  # noqa: PLC0415

        return runs_of_one_side(read["all"], known.get("all"), recipe.filters, words)
    from traceview.queries.claims import parse_claim  # noqa: PLC0415
    from traceview.report.compared import compared_sides  # noqa: PLC0415

    claims = [parse_claim(text) for text in recipe.claims]
    return compared_sides(read, known, recipe.filters, claims, words)
