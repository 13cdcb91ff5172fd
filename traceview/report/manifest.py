"""manifest.json of an evidence folder: what is in it, what it was made from, and how.

It comes from somebody else: every member is checked for its type, and a file is named by its part
and table alone, so that no manifest points out of its folder. docs/evidence.md describes it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

import polars as pl

from traceview.errors import ParseError, SettingError, UnsupportedError
from traceview.queries.analysis import KEPT
from traceview.queries.breakdown import Traced
from traceview.queries.filters import Filters
from traceview.queries.steps import StepIntervals
from traceview.report.json_document import header
from traceview.report.recipe import FORMS, Recipe
from traceview.report.software import LONGEST, SOFTWARE, is_version
from traceview.schema import SCHEMA_VERSION, TABLES
from traceview.symbols import Kallsyms, Probe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

T = TypeVar("T")

MANIFEST: Final = "manifest.json"
REPORTS: Final = ("report.txt", "report.json")
DIAGNOSTICS: Final = "diagnostics"
# What a part of a report is, and the calls that its unmaps add up from.
TABLES_OF_PART: Final = (*KEPT, "tracing_costs", "calls", DIAGNOSTICS)
EVIDENCE_VERSION: Final = 1
LARGEST_BYTES: Final = 64 << 20
SHA256_DIGITS: Final = 64
# What can be stated of a recording, as JSON has it.
FACTS: Final = {
    name: int if kind.is_integer() else bool if kind == pl.Boolean else str
    for name, kind in TABLES["sources"].items()
}


@dataclass(frozen=True, slots=True)
class File:
    """A file of the folder."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Heard:
    """What was traced in a recording: queries/breakdown.py, Traced."""

    counted: tuple[str, ...] = ()
    timed: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    timed_functions: tuple[str, ...] = ()
    visits: bool = False

    @classmethod
    def of(cls, traced: Traced) -> Heard:
        """What a source heard, in order."""
        names = (traced.counted, traced.timed, traced.functions, traced.timed_functions)
        counted, timed, functions, timed_functions = (tuple(sorted(some)) for some in names)
        return cls(counted, timed, functions, timed_functions, traced.visits)

    @property
    def traced(self) -> Traced:
        """The same as queries want it."""
        return Traced(
            set(self.counted), set(self.timed), set(self.functions), set(self.timed_functions),
            self.visits,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Input:
    """A recording that was read: its file, and what was stated about it beside the file.

    `sha256` and `bytes` are None of standard input. `stated`, `traced`, `probes`: of the sidecar
    and options. `configured`: the functions that the file says its recorder timed, hit or not.
    `kallsyms`: the digest of the symbol table that named addresses; of its names where addresses
    were replaced.
    """

    path: str
    format: str
    sha256: str | None
    bytes: int | None
    page_bytes: int
    heard: Heard
    stated: dict[str, Any] = field(default_factory=dict)
    traced: tuple[str, ...] | None = None
    probes: dict[str, Probe] = field(default_factory=dict)
    kallsyms: str | None = None
    configured: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """`inputs`: of each part, in order of source_id. `files`: of each file its digest and size."""

    recipe: Recipe
    inputs: dict[str, tuple[Input, ...]]
    files: dict[str, File]
    software: dict[str, str] = field(default_factory=dict)


def table_file(part: str, table: str) -> str:
    """The name of a table in the folder."""
    return f"{part}/{table}.parquet"


def files_of(parts: Iterable[str]) -> tuple[str, ...]:
    """Every file of a folder with these parts, but for the manifest."""
    tables = (table_file(part, table) for part in parts for table in TABLES_OF_PART)
    return (*tables, *REPORTS)


def digest_of(table: Kallsyms | None) -> str | None:
    """What names a symbol table: its addresses and names, however its file was packed."""
    if table is None:
        return None
    found = hashlib.sha256(table.addresses.astype("<u8").tobytes())
    found.update("\n".join(table.names.tolist()).encode("utf-8", "surrogateescape"))
    return found.hexdigest()


def manifest_text(of: Manifest) -> str:
    """The manifest as a JSON document."""
    recipe = of.recipe
    document = {
        **header("evidence"), "traceview_version": recipe.version,
        "evidence_version": EVIDENCE_VERSION, "command": recipe.provenance.command,
        "arguments": recipe.arguments, "form": recipe.form, "filters": asdict(recipe.filters),
        "claims": recipe.claims,
        "vocabularies": [{"name": name, "text": text} for name, text in recipe.vocabularies],
        "steps": None if recipe.steps is None else asdict(recipe.steps),
        "step_pattern": recipe.step_pattern, "software": of.software,
        "inputs": {part: [asdict(one) for one in several] for part, several in of.inputs.items()},
        "files": {name: asdict(one) for name, one in of.files.items()},
    }  # fmt: skip
    return json.dumps(document, indent=1, ensure_ascii=True) + "\n"


def read_manifest(path: Path) -> Manifest:
    """The manifest in the file *path*; raises ParseError where it is none that traceview wrote."""
    try:
        if path.is_symlink() or not path.is_file():
            raise ParseError("no evidence: there is no manifest", path=str(path))
        if path.stat().st_size > LARGEST_BYTES:
            raise ParseError("larger than any manifest", path=str(path), reading="the manifest")
        text = path.read_bytes()
    except OSError as err:
        raise ParseError(f"cannot be read: {err.strerror or err}", path=str(path)) from err
    try:
        document = json.loads(text, parse_constant=_no_number, object_pairs_hook=_once_each)
    except (ValueError, RecursionError) as err:
        raise ParseError(f"not JSON: {err}", path=str(path), reading="the manifest") from err
    try:
        found = _manifest(document)
        _refuse_more(document, json.loads(manifest_text(found)), "manifest")
    except _WrongError as err:
        raise ParseError(str(err), path=str(path), reading="the manifest") from err
    except (SettingError, UnicodeError) as err:
        raise ParseError(f"{err}", path=str(path), reading="the manifest") from err
    except _NewerError as err:
        raise UnsupportedError(str(err), path=str(path), reading="the manifest") from err
    return found


class _WrongError(Exception):
    """A member is missing, or is not what it must be."""


class _NewerError(Exception):
    """A folder of another version of the layout."""


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; of a name that is there twice, readers take one or the other."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def _refuse_more(held: object, known: object, where: str) -> None:
    """Refuse what no manifest says, and what says otherwise what it says elsewhere (command)."""
    if isinstance(held, dict) and isinstance(known, dict):
        for name in held:
            if name not in known:
                raise _WrongError(f"no manifest that traceview wrote says {name!r} in {where}")
            _refuse_more(held[name], known[name], name)
    elif isinstance(held, list) and isinstance(known, list) and len(held) == len(known):
        for one, other in zip(held, known, strict=True):
            _refuse_more(one, other, where)
    elif held != known:
        raise _WrongError(f"{where} is {held!r}, and would be {known!r} of this manifest")


def _manifest(document: object) -> Manifest:
    top = _object(document, "it")
    if _text(top, "document") != "evidence":
        raise _WrongError(f"document is {top['document']!r}, not 'evidence'")
    layout, schema = _whole(top, "evidence_version"), _text(top, "schema_version")
    if layout != EVIDENCE_VERSION or schema != SCHEMA_VERSION:
        raise _NewerError(
            f"written by traceview {_version(top)}, of layout {layout} and schema"
            f" {schema}; this one knows layout {EVIDENCE_VERSION} and schema {SCHEMA_VERSION}"
        )
    recipe = _recipe(top)
    inputs = _each(top, "inputs", _inputs)
    form = FORMS[recipe.form]
    if not set(form) <= set(inputs) <= {*form, *form.values()}:
        raise _WrongError(f"inputs of a report of the form {recipe.form} are not {sorted(inputs)}")
    files = _each(top, "files", _file)
    wanted = set(files_of(inputs))
    for name in sorted(wanted ^ set(files))[:1]:
        what = "misses a file" if name in wanted else "names a file that evidence does not have"
        raise _WrongError(f"files {what}: {name!r}")
    programs = _each(top, "software", _program)
    return Manifest(recipe, inputs, files, programs)


def _recipe(top: dict[str, Any]) -> Recipe:
    form = _text(top, "form")
    if form not in FORMS:
        raise _WrongError(f"form is {form!r}, none of {', '.join(FORMS)}")
    vocabularies = [_object(one, "a vocabulary") for one in _list(top, "vocabularies")]
    steps = None if top.get("steps") is None else _object(top["steps"], "steps")
    return Recipe(
        form, _texts(top, "arguments"), _filters(_object(top.get("filters"), "filters")),
        _texts(top, "claims"),
        tuple((_text(one, "name"), _text(one, "text")) for one in vocabularies),
        None if steps is None else _steps(steps), _text(top, "step_pattern"),
        _version(top),
    )  # fmt: skip


def _filters(of: dict[str, Any]) -> Filters:
    return Filters(
        _texts(of, "steps"), _texts(of, "triggers"), _wholes(of, "cpus"), _wholes(of, "tids"),
        _whole_or_none(of, "from_ns"), _whole_or_none(of, "to_ns"),
    )  # fmt: skip


def _steps(of: dict[str, Any]) -> StepIntervals:
    tids = tuple(None if one is None else _int(one, "a tid") for one in _list(of, "tids"))
    found = StepIntervals(
        _text(of, "clock"), _texts(of, "ids"), _wholes(of, "begin_ns"), _wholes(of, "end_ns"), tids
    )
    if len({len(found.ids), len(found.begin_ns), len(found.end_ns), len(found.tids)}) != 1:
        raise _WrongError("steps are not as many as their times")
    return found


def _inputs(value: object, part: str) -> tuple[Input, ...]:
    if not isinstance(value, list) or not value:
        raise _WrongError(f"inputs of {part} are no list")
    return tuple(_input(_object(one, f"an input of {part}")) for one in value)


def _input(of: dict[str, Any]) -> Input:
    heard = _object(of.get("heard"), "heard")
    visits = heard.get("visits")
    if not isinstance(visits, bool):
        raise _WrongError("visits is neither true nor false")
    stated = _object(of.get("stated"), "stated")
    for name, value in stated.items():
        if type(value) is not FACTS.get(name) or not _fits(name, value):
            raise _WrongError(f"{name!r} is stated as {value!r}")
    return Input(
        _text(of, "path"), _text(of, "format"), _digest(of, "sha256"),
        _whole_or_none(of, "bytes"), _whole(of, "page_bytes"),
        Heard(
            _texts(heard, "counted"), _texts(heard, "timed"), _texts(heard, "functions"),
            _texts(heard, "timed_functions"), visits,
        ),
        stated, None if of.get("traced") is None else _texts(of, "traced"),
        _each(of, "probes", _probe), _digest(of, "kallsyms"), _texts(of, "configured"),
    )  # fmt: skip


def _fits(name: str, value: object) -> bool:
    """Whether a column of sources can hold *value*: an origin that there is, a number in range."""
    try:
        pl.Series([value], dtype=TABLES["sources"][name], strict=True)
    except (pl.exceptions.PolarsError, TypeError, OverflowError):
        return False
    return True


def _probe(value: object, name: str) -> Probe:
    of = _object(value, f"the probe {name!r}")
    return Probe(_text(of, "symbol"), _text(of, "phase"), _text(of, "evidence"))


def _file(value: object, name: str) -> File:
    of = _object(value, f"the file {name!r}")
    digest, size = _digest(of, "sha256"), _whole(of, "bytes")
    if digest is None:
        raise _WrongError(f"the file {name!r} has no sha256")
    return File(digest, size)


def _program(value: object, name: str) -> str:
    """The version of something that computed: no place for words either."""
    if name not in SOFTWARE:
        raise _WrongError(f"no software of ours: {name!r}")
    text = _plain_text(value, name)
    if len(text) > LONGEST or " " in text:
        raise _WrongError(f"{name!r} is no version: {text!r}")
    return text


def _plain_text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise _WrongError(f"{name!r} is no string: {value!r}")
    return value


def _each(of: dict[str, Any], key: str, read: Callable[[object, str], T]) -> dict[str, T]:
    return {name: read(value, name) for name, value in _object(of.get(key), key).items()}


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _WrongError(f"{what} is no JSON object")
    return value


def _list(of: dict[str, Any], key: str) -> list[Any]:
    value = of.get(key)
    if not isinstance(value, list):
        raise _WrongError(f"{key!r} is no list")
    return value


def _text(of: dict[str, Any], key: str) -> str:
    return _plain_text(of.get(key), key)


def _version(top: dict[str, Any]) -> str:
    """The version that wrote it: no place for words, because verify and the report repeat it."""
    text = _text(top, "traceview_version")
    if not is_version(text):
        raise _WrongError(f"'traceview_version' is no version: {text!r}")
    return text


def _texts(of: dict[str, Any], key: str) -> tuple[str, ...]:
    return tuple(_plain_text(one, key) for one in _list(of, key))


def _int(value: object, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        raise _WrongError(f"{what} is no whole number of 64 bits: {value!r}")
    return value


def _whole(of: dict[str, Any], key: str) -> int:
    return _int(of.get(key), repr(key))


def _whole_or_none(of: dict[str, Any], key: str) -> int | None:
    return None if of.get(key) is None else _whole(of, key)


def _wholes(of: dict[str, Any], key: str) -> tuple[int, ...]:
    return tuple(_int(one, repr(key)) for one in _list(of, key))


def _digest(of: dict[str, Any], key: str) -> str | None:
    value = of.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) != SHA256_DIGITS or not _is_hexadecimal(value):
        raise _WrongError(f"{key!r} is no SHA-256: {value!r}")
    return value


def _is_hexadecimal(text: str) -> bool:
    return all(letter in "0123456789abcdef" for letter in text)
