"""The command line that a report repeats, divided as the program divides it.

What is a path must be known of the option, not of how the value looks: `--evidence acme` names
somebody as much as `/home/acme/x` does. tests/test_scrub_command.py holds the options of the
commands against these.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

# Options that take the path of a file or folder.
PATHS: Final = frozenset({
    "-o", "--output", "--html", "--png", "--svg", "--parquet", "--evidence", "--perfetto",
    "--host", "--kallsyms", "--vocabulary", "--steps", "--calibration", "--base-calibration",
    "--with-calibration", "--base", "--with",
})  # fmt: skip
# Those that take several of them, up to the next option (cli/several.py).
MANY: Final = frozenset({"--base", "--with", "--base-calibration", "--with-calibration"})
# Options that take anything else.
OTHERS: Final = frozenset({
    "--step", "--trigger", "--cpu", "--tid", "--from", "--to", "--top", "--origin", "--label",
    "--run", "--order", "--group", "--claim", "--step-pattern",
})  # fmt: skip
TRACE: Final = ""  # what stands alone is a trace
SHORT: Final = re.compile(r"(?P<name>-[^-o]*o)(?P<value>.+)", re.DOTALL)  # -oFILE, -qoFILE


def is_path(option: str) -> bool:
    """Whether the value of *option* is a path; TRACE: what belongs to none."""
    return option == TRACE or option in PATHS


def scrubbed_words(arguments: Iterable[str], change: Callable[[str, str], str]) -> Iterator[str]:
    """*arguments*, of which the first is the command; *change* an option's value."""
    words = iter(arguments)
    yield from (word for word in [next(words, None)] if word is not None)
    option, only_traces, many = TRACE, False, TRACE
    for word in words:
        if option:  # whatever it looks like, it is its value
            yield change(option, word)
            option, many = TRACE, option if option in MANY else TRACE
        elif only_traces or word == "-" or not word.startswith("-"):
            yield change(many, word)
        elif word == "--":
            only_traces, many = True, TRACE
            yield word
        else:
            name, between, value = _divided(word)
            yield f"{name}{between}{change(name, value)}" if value is not None else word
            takes = value is None and (name in PATHS or name in OTHERS)
            option, many = name if takes else TRACE, name if between and name in MANY else TRACE


def _divided(word: str) -> tuple[str, str, str | None]:
    """The name of an option and what stands with it, None where nothing does."""
    if word.startswith("--"):
        name, equals, value = word.partition("=")
        return name, equals, value if equals else None
    if match := SHORT.fullmatch(word):
        return match["name"], "", match["value"]
    return ("-o" if word.endswith("o") else word), "", None
