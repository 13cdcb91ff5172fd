"""Steps from a TOML file, and sizes as people write them.

    [[step]]
    id = "w04"
    action = "dontneed"
    size = "2M"
    backing = "4k"
    repetitions = 100

An action sets other keys (workload.ACTIONS); what a step states itself wins.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

from traceview.errors import SettingError
from traceview.simulate.workload import ACTIONS, PATTERNS, TRIGGERS, Step

if TYPE_CHECKING:
    from pathlib import Path

UNITS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
SIZES: Final = {"size": "size_bytes", "backing": "backing_bytes", "chunk": "chunk_bytes"}
CHOICES: Final = {"action": tuple(ACTIONS), "pattern": PATTERNS, "trigger": TRIGGERS}
SHARES: Final = ("mapped", "blocks", "device")
WHOLE: Final = {"every": 1, "empty": 0, "repetitions": 1, "gpa": 0}
KEYS: Final = ("id", *SIZES, *CHOICES, *SHARES, *WHOLE)
MOST: Final = 1 << 52
ID: Final = re.compile(r"[A-Za-z0-9_.:/-]{1,64}")


def size_bytes(text: str) -> int:
    """Bytes of `64K`, `2M`, `1G` or a number. Raises SettingError."""
    found = re.fullmatch(r"(\d{1,16})([kmg]?)(?:i?b)?", text.strip().lower())
    if found is None or not 0 < int(found[1]) * UNITS[found[2]] <= MOST:
        raise SettingError(f"not a size: {text!r}\nvalid: 4096, 64K, 2M, 1G")
    return int(found[1]) * UNITS[found[2]]


def make_step(stated: dict[str, Any], where: str) -> Step:
    """The step that *stated* describes, by the keys of a file; *where* is named in errors."""
    for key in stated:
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS)
            hint = f"did you mean {near[0]}?" if near else f"valid: {', '.join(KEYS)}"
            raise SettingError(f"{key} is not known\n{hint}\nin {where}")
    action = stated.get("action", "dontneed")
    _choice("action", action, where)
    values: dict[str, Any] = {"id": "s01", "action": action, "size": "2M", "backing": "4k"}
    values |= ACTIONS[action] | stated
    made: dict[str, Any] = {
        SIZES.get(key, key): _value(key, value, where) for key, value in values.items()
    }
    if made.get("mapped", 1.0) < 1 and "pattern" not in stated:
        made["pattern"] = "random"
    return Step(**{one.name: made[one.name] for one in fields(Step) if one.name in made})


def read_steps(path: Path) -> tuple[Step, ...]:
    """The steps of a TOML file. Raises SettingError."""
    try:
        text = path.read_text("utf-8")
        document = tomllib.loads(text)
    except OSError as err:
        raise SettingError(f"steps that cannot be read: {err.strerror}\nin file: {path}") from err
    except UnicodeDecodeError as err:
        raise SettingError(f"steps that cannot be read: no text\nin file: {path}") from err
    except tomllib.TOMLDecodeError as err:
        # What a workload did is JSON lines, as of --steps of the other commands.
        kind = "\nthese are JSON lines, of what was done" if text.lstrip()[:1] == "{" else ""
        raise SettingError(
            f"steps that are no TOML: {err}{kind}\nvalid: [[step]]\nin file: {path}"
        ) from err
    other = sorted(set(document) - {"step"})
    if other:
        raise SettingError(f"{other[0]} is not known\nvalid: [[step]]\nin file: {path}")
    stated = document.get("step", [])
    if not isinstance(stated, list) or not stated or not all(isinstance(x, dict) for x in stated):
        raise SettingError(f"there are no steps\nvalid: one [[step]] or several\nin file: {path}")
    names = [f"s{number + 1:02}" for number in range(len(stated))]
    steps = tuple(
        make_step({"id": name, **one}, f"step {number + 1} of file: {path}")
        for number, (name, one) in enumerate(zip(names, stated, strict=True))
    )
    ids = [step.id for step in steps]
    twice = sorted({one for one in ids if ids.count(one) > 1})
    if twice:
        raise SettingError(f"id {twice[0]!r} is that of several steps\nin file: {path}")
    return steps


def _value(key: str, value: object, where: str) -> object:
    if key in SIZES or key == "gpa":
        if isinstance(value, str) and key != "gpa":
            return size_bytes(value)
        return _whole(key, value, 0 if key == "gpa" else 1, where)
    if key in CHOICES:
        return _choice(key, value, where)
    if key in WHOLE:
        return _whole(key, value, WHOLE[key], where)
    if key in SHARES:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise SettingError(f"{key} is {value!r}\nvalid: a number from 0 to 1\nin {where}")
        return float(value)
    if key == "id" and not (isinstance(value, str) and ID.fullmatch(value)):
        raise SettingError(
            f"id is {value!r}\nvalid: up to 64 letters, digits and . _ : / -\nin {where}"
        )
    return value


def _whole(key: str, value: object, least: int, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= MOST:
        raise SettingError(f"{key} is {value!r}\nvalid: a whole number from {least}\nin {where}")
    return value


def _choice(key: str, value: object, where: str) -> str:
    if not isinstance(value, str) or value not in CHOICES[key]:
        raise SettingError(f"{key} is {value!r}\nvalid: {', '.join(CHOICES[key])}\nin {where}")
    return value
