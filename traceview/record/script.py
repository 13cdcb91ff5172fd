"""`traceview record --script`: the same plan as one POSIX sh script, for hosts without Python.

record.sh beside this file is the recorder; what it records, and every word that it says about it,
is generated from preset.py, names.py, planning.py, answers.py, buffers.py and settings.py. So the
script knows the names that a preset wants, and asks its host for them when it runs.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Final

import traceview
from traceview.errors import SettingError
from traceview.record import buffers, hypervisor, names, settings
from traceview.record.host import Host
from traceview.record.preset import (
    AT_EL2,
    EVERY,
    FLUSH_RANGE,
    OF_TABLES,
    PKVM_UNMAP,
    PRESETS,
    PROTECTED_ONLY,
    SINCE,
    Preset,
    Probe,
    Release,
)  # fmt: skip
from traceview.record.probes import GROUP
from traceview.record.script_answers import answers_function, quoted
from traceview.record.tracefs_files import Tracefs

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable, Sequence

TEMPLATE: Final = "record.sh"
ALWAYS: Final = "top"  # the preset of a script that is asked for none
UNKNOWN_NAME: Final = "a_name_without_releases"
KERNEL: Final = "KERNEL"  # in sentences that name the kernel of the host


def script(presets: Sequence[str] = ()) -> str:
    """The script with *presets*, the first of them its default; raises SettingError for others."""
    chosen = tuple(dict.fromkeys(presets)) or (ALWAYS,)
    for name in chosen:
        if name not in PRESETS:
            raise SettingError(f"no preset {name!r}\nvalid: {', '.join(PRESETS)}")
    template = (files("traceview.record") / TEMPLATE).read_text(encoding="ascii")
    found = template
    for mark, text in (
        ("#@ABOUT@", "\n".join(f"# {line}" for line in _about(chosen))),
        ("@PRESETS@", _choice(chosen)),
        ("#@OPERAND@\n", _operand_help(chosen)),
        ("@DATA@", "\n".join(_data([PRESETS[name] for name in chosen]))),
    ):
        found = found.replace(mark, text, 1)
    return found


def _about(presets: Sequence[str]) -> list[str]:
    command = "traceview record --script" + "".join(f" --preset {name}" for name in presets)
    return [
        "Records what kvm_pgtable_stage2_unmap() does, on an arm64 KVM host without traceview.",
        f"Made by traceview {traceview.__version__} ({command}): the presets of that version.",
    ]


def _choice(presets: Sequence[str]) -> str:
    others = f"; default: {presets[0]}" if len(presets) > 1 else ", the only one of this script"
    return f"{', '.join(presets)}{others}"


def _operand_help(presets: Sequence[str]) -> str:
    """The line of --operand, where a preset of the script takes it."""
    name = "--operand +OFFSET,REGISTER,INSTRUCTION"
    if not any(PRESETS[one].probes for one in presets):
        return ""
    return f"#   {name}       preset args: a probe within the range flush\n"


def _data(presets: Sequence[Preset]) -> list[str]:
    """The constants and functions that the recorder uses."""
    constants = {
        "ABOUT": _about([one.name for one in presets])[1],
        "PRESETS": " ".join(one.name for one in presets),
        "WITH_PROBES": " ".join(one.name for one in presets if one.probes),
        "GROUP": GROUP,
        "FLUSH_RANGE": FLUSH_RANGE,
        "PROTECTED_ONLY": " ".join(sorted(PROTECTED_ONLY)),
        "PKVM_UNMAP": PKVM_UNMAP,
        "AT_EL2": " ".join(sorted(AT_EL2)),
        "WHY_AT_EL2": names.WHY_AT_EL2,
        "OF_TABLES": " ".join(sorted(OF_TABLES)),
        "WHY_OF_TABLES": names.WHY_OF_TABLES,
        "REMOTE": hypervisor.FOLDER,
        "REMOTE_EVENTS": " ".join(hypervisor.WANTED),
        "HYPERVISOR_KB": str(buffers.HYPERVISOR_KB),
        "SUFFIX": _extended(names.SUFFIX),
        "NO_CALL": _extended(names.NO_CALL),
        "VALUES": " ".join(settings.VALUES),
        "LISTS": " ".join(settings.LISTS),
        "NEUTRAL": " ".join(f"{name}={value}" for name, value in _neutral().items()),
        "WANTED_KB": str(buffers.WANTED_KB),
        "LEAST_KB": str(buffers.LEAST_KB),
        "SHARE_PERCENT": f"{buffers.SHARE * 100:.0f}",
        "MOST_PERCENT": f"{buffers.MOST_SHARE * 100:.0f}",
        "WHY_NO_EVENT": _why_no_event(),
    }
    # Backslashes in an assignment of awk's -v are escapes.
    lines = [f"{name}={quoted(value)}" for name, value in constants.items()]
    lines += _why_missing([*_wanted_names(presets), FLUSH_RANGE])
    for one in presets:
        lines += ["", *_preset(one)]
    return lines


def _preset(preset: Preset) -> list[str]:
    lines = [
        f"wanted_{preset.name}() {{",
        f"\twanted={quoted(' '.join(_wanted_names([preset])))} what={quoted(preset.what)}",
        "}",
        f"plan_{preset.name}() {{",
        *(f"\tfunction_wanted {name}" for name in preset.graph),
        *(f"\tprobe_wanted {_probe(one)}" for one in preset.probes),
        *(f"\tevent_wanted {name}" for name in preset.events),
        "}",
    ]
    return [*lines, *answers_function(preset)]


def _probe(one: Probe) -> str:
    """The words EVENT SYMBOL FIRST LAST NEEDS RETURNS OFFSET ARGUMENTS."""
    first, last = one.on
    words = [
        one.event, one.symbol, _number(first), _number(last), quoted(one.needs),
        "r" if one.returns else "''", f"+{one.offset:#x}" if one.offset else "''",
        quoted(" ".join(one.arguments)),
    ]  # fmt: skip
    return " ".join(words)


def _number(release: Release | None) -> str:
    return "0" if release is None else str(release[0] * 1000 + release[1])


def _wanted_names(presets: Iterable[Preset]) -> list[str]:
    return list(
        dict.fromkeys(
            name
            for one in presets
            for name in (*one.graph, *(probe.symbol for probe in one.probes))
        )
    )


def _why_missing(wanted: Iterable[str]) -> list[str]:
    """The function that sets `why` to the reason for which the kernel lacks a name."""
    lines = ["why_missing() {", f"\twhy={quoted(_why(UNKNOWN_NAME, KERNEL))}"]
    lines.append("\tcase $1 in")
    for name in dict.fromkeys(wanted):
        first, last = SINCE.get(name, EVERY)
        if first is None and last is None:
            continue
        outside = (last[0] + 1, 0) if last is not None else (0, 0)
        kernel = f"{outside[0]}.{outside[1]}.{KERNEL}"
        why = _with_kernel(_why(name, kernel), kernel)
        test = f'[ "$release" = 0 ] || fits {_number(first)} {_number(last)}'
        lines.append(f"\t{name}) {test} || why={why} ;;")
    lines += [
        "\tesac",
        f'\t[ -n "$has_functions" ] || why={quoted(_why(UNKNOWN_NAME, KERNEL, known=False))}',
        "}",
        "why_arguments() {",
        f"\twhy={_with_kernel(_why_arguments(), KERNEL)}",
        "}",
    ]
    return lines


def _with_kernel(text: str, kernel: str) -> str:
    """A sentence that names the *kernel*, as a word in which the shell names its own."""
    return quoted(text).replace(kernel, "'\"$kernel\"'")


def _host(kernel: str, *functions: str) -> Host:
    return Host(
        tracefs=Path("tracefs"), kernel=kernel, machine="aarch64", kvm=True, mode="protected",
        functions=frozenset(functions),
    )  # fmt: skip


def _why(name: str, kernel: str, *, known: bool = True) -> str:
    """Why *kernel* lacks a function; *known*: which functions it has."""
    _, dropped = names.resolve((name,), _host(kernel, *(["another"] if known else [])), {})
    return dropped[0].why


def _why_arguments() -> str:
    probe = Probe("x", "x", on=((1, 0), (1, 0)))
    _, dropped = names.resolve_probes((probe,), _host(KERNEL, "x"), {})
    return dropped[0].why


def _why_no_event() -> str:
    _, dropped = names.resolve_events(("x:x",), _host(KERNEL))
    return dropped[0].why


def _extended(pattern: re.Pattern[str]) -> str:
    """A pattern of Python's as an extended regular expression, for awk's -v."""
    text = pattern.pattern.replace("(?:", "(").replace(r"\d", "[0-9]")
    return text.replace(r"\.", "[.]")


def _neutral() -> dict[str, str]:
    """The settings of the top level that limit every function_graph, as settings.py sets them."""
    written: dict[str, str] = {}

    class Heard(Tracefs):
        """It has every file, all of them empty, and takes down what is written."""

        def exists(self, name: str) -> bool:  # noqa: ARG002 - of the class
            return True

        def text(self, name: str) -> str:  # noqa: ARG002 - of the class
            return ""

        def set(self, name: str, text: str) -> None:
            written[name] = text

        def write(self, name: str, text: str) -> None:
            written[name] = text

    settings.neutral_graph(Heard(Path("tracefs")))
    return written
