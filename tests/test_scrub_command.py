"""What a report repeats of a scrubbed command, and what it keeps of the files of the command."""

from __future__ import annotations

import json
import shutil
import tomllib
from typing import TYPE_CHECKING

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.writers.events import Recorder
from tests.writers.evidence import GRAPH
from traceview.cli.app import app, run
from traceview.queries.steps import STEP_PATTERN
from traceview.schema import OPERATIONS
from traceview.scrub import Scrubber
from traceview.scrub_command import MANY, OTHERS, PATHS, scrubbed_words
from traceview.vocabulary import Vocabulary

if TYPE_CHECKING:
    from pathlib import Path


def divided(*words: str) -> list[str]:
    return list(scrubbed_words(["analyze", *words], lambda option, value: f"<{option}:{value}>"))[
        1:
    ]


def test_values_of_options_are_told_by_the_option() -> None:
    assert divided("acme", "--evidence", "acme", "--html=acme", "-oacme", "-o", "acme", "-q") == [
        "<:acme>", "--evidence", "<--evidence:acme>", "--html=<--html:acme>", "-o<-o:acme>",
        "-o", "<-o:acme>", "-q",
    ]  # fmt: skip
    assert divided("-qoacme", "-qo", "acme", "acme") == [
        "-qo<-qo:acme>", "-qo", "<-o:acme>", "<:acme>",
    ]  # fmt: skip
    assert divided("--label", "-x", "--label=a=b", "--tid", "7") == [
        "--label", "<--label:-x>", "--label=<--label:a=b>", "--tid", "<--tid:7>",
    ]  # fmt: skip


def test_an_option_may_have_several_values() -> None:
    assert divided("--base", "a", "b", "--with=c", "d", "--scrub", "e", "--", "--f") == [
        "--base", "<--base:a>", "<--base:b>", "--with=<--with:c>", "<--with:d>", "--scrub", "<:e>",
        "--", "<:--f>",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["analyze", "compare"])
def test_every_option_of_a_command_is_known(name: str) -> None:
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    for param in command.params:
        if getattr(param, "is_flag", False) or not param.opts[0].startswith("-"):
            continue
        files = str(param.metavar).rstrip(".") in {"FILE", "DIR", "TRACE"}
        assert set(param.opts) <= (PATHS if files else OTHERS), param.opts
        if str(param.metavar).endswith("..."):
            assert set(param.opts) <= MANY


def scrubber(*hosts: str) -> Scrubber:
    return Scrubber([Recorder().trace()], step_pattern=STEP_PATTERN, hosts=hosts)


def test_paths_become_neutral_whatever_they_look_like() -> None:
    words = scrubber().words(
        ["analyze", "made.trace", "--evidence", "acme", "--html", "dash", "-omail",
         "--png=acme_pics", "--host", "/home/acme/x.json", "-o", "-", "--label", "acme",
         "--step-pattern", "a/(b)"]
    )  # fmt: skip
    assert words == (
        "analyze", "trace-1.trace", "--evidence", "file-1", "--html", "file-2", "-ofile-3",
        "--png=file-4", "--host", "file-5.json", "-o", "-", "--label", "acme",
        "--step-pattern", "a/(b)",
    )  # fmt: skip


OWN = """# made by alice at acme-corp, /home/alice/words
[[function]] # alice
names = ["my_unmap", "my # \\"unmap\\"\\u007f", "/home/alice/x", "acme7.corp"] # acme-corp
operation = "unmap"
arguments = [["object_addr", "pgt"], ["ipa"]]
named_arguments = { "a b" = "ipa" }
visit = true

[[event]]
entry = "alice_entry"
exit = "alice_exit"
operation = "irq"
arguments = ["vec"]
"""


def test_of_a_vocabulary_is_kept_what_it_means() -> None:
    new = scrubber("acme7.corp", "irq").vocabulary(OWN)
    assert not any(word in new for word in ("#  ", "made by", "acme", "/home"))
    before, after = (Vocabulary.builtin().extended_by(text, "x") for text in (OWN, new))
    assert after.events == before.events
    (names, meaning), (old, was) = after.functions[0], before.functions[0]
    assert meaning == was
    assert names[:2] == old[:2]
    assert names[2:] == ("file-1", "host-2")


@given(st.lists(st.text(min_size=1), min_size=1), st.dictionaries(st.text(), st.just("ipa")))
@settings(max_examples=40, deadline=None)
def test_any_vocabulary_is_written_anew_as_it_was(names: list[str], named: dict[str, str]) -> None:
    def text(value: object) -> str:
        return json.dumps(value).replace("\\ud", "\\u0")  # half of a pair is no character

    pairs = ", ".join(f"{text(key)} = {text(value)}" for key, value in named.items())
    toml = f'[[function]]\nnames = [{", ".join(map(text, names))}]\noperation = "cmo"\n'
    toml += f"named_arguments = {{ {pairs} }}\n"
    try:
        meant = tomllib.loads(toml)
    except tomllib.TOMLDecodeError:  # two keys that became the same
        return
    quiet = Scrubber([], step_pattern=STEP_PATTERN)
    quiet.text.named = str  # type: ignore[method-assign, assignment]
    assert tomllib.loads(quiet.vocabulary(toml)) == meant
    assert "cmo" in OPERATIONS


def test_no_name_of_the_command_is_in_what_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(GRAPH, "acme-trace")
    (tmp_path / "acme-words").write_text(OWN.replace("alice_", "other_").replace("acme7.", "x."))
    outputs = ["--evidence", "acme-evidence", "--html", "acme-dash", "-o", "acme-mail"]
    command = ["analyze", "acme-trace", "--mail", *outputs, "--vocabulary", "acme-words", "--scrub"]
    assert run(command) == 0
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.stem not in
               {"acme-trace", "acme-words"}]  # fmt: skip
    assert len(written) > 5
    for path in written:
        content = path.read_bytes().lower()
        assert b"acme" not in content, path
        assert b"alice at" not in content, path
        assert b"/alice" not in content, path
    assert b"file-" in (tmp_path / "acme-mail").read_bytes()
    capsys.readouterr()
    assert run(["verify", "acme-evidence", "acme-trace"]) == 0
