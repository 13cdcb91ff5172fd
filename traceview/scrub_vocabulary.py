"""A vocabulary file without its comments and other words of who wrote it.

Written anew from what it means (docs/vocabulary.md), so that nothing else of the file is kept:
the same functions and events in the same order.
"""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING, Any, Final

from traceview.schema import OPERATIONS, TRIGGER_KINDS
from traceview.vocabulary import ROLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Words of the form itself; a host may be the namesake of one.
FIXED: Final = frozenset({*OPERATIONS, *TRIGGER_KINDS, *ROLES})


def scrubbed_vocabulary(text: str, change: Callable[[str], str]) -> str:
    """*text*, which is a vocabulary, with all that is no word of the form changed."""

    def changed(value: Any) -> Any:
        if isinstance(value, str):
            return value if value in FIXED else change(value)
        if isinstance(value, list):
            return [changed(one) for one in value]
        if isinstance(value, dict):
            return {changed(name): changed(one) for name, one in value.items()}
        return value

    return "".join(
        line
        for kind, entries in tomllib.loads(text).items()
        for entry in entries
        for line in _entry(kind, {key: changed(value) for key, value in entry.items()})
    )


def _entry(kind: str, entry: dict[str, Any]) -> Iterator[str]:
    yield f"[[{kind}]]\n"
    for key, value in entry.items():
        yield f"{key} = {_value(value)}\n"
    yield "\n"


def _value(value: Any) -> str:
    """*value* as TOML: whose strings are those of JSON, but for DEL."""
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        pairs = (f"{_value(key)} = {_value(one)}" for key, one in value.items())
        return f"{{{', '.join(pairs)}}}"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
