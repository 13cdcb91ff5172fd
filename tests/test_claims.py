"""Posted tables: what they support, and what of the claims made with them holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from traceview.cli.app import app
from traceview.errors import ParseError, SettingError
from traceview.parsers.posted_table import read_posting
from traceview.parsers.tlbi_operand import covered_bytes
from traceview.queries.claims import Cell, Span, judge, parse_claim

SAMPLES = Path(__file__).parent.parent / "sample_traces" / "claims"
GOLDEN = Path(__file__).parent / "golden"
GIB = 1 << 30


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["claims", *arguments], env={"COLUMNS": "100"})
    return done.exit_code, done.stdout


def cells(*rows: tuple[int, float, float], half_digit: float = 0.0) -> list[Cell]:
    def span(value: float) -> Span:
        return Span(value, value - half_digit, value + half_digit)

    return [Cell(size * GIB, span(base), span(series)) for size, base, series in rows]


@pytest.mark.parametrize("name", ["tlbirange-v2", "tlbirange-v5", "e3ba51ab24fd"])
def test_the_report_of_a_bundled_table_is_the_golden_one(name: str) -> None:
    code, text = run(str(SAMPLES / f"{name}.csv"))
    assert text.replace(str(SAMPLES), "DIR") == (GOLDEN / f"claims-{name}.txt").read_text()
    assert code == (0 if name == "tlbirange-v2" else 1)


def test_the_constant_in_the_baseline_of_v2_is_found() -> None:
    _, text = run(str(SAMPLES / "tlbirange-v2.csv"), "--json")
    blocks = json.loads(text)["tables"][1]
    assert blocks["base"]["constant_s"] == pytest.approx(0.4993, abs=1e-4)
    assert blocks["slope_ratio"] == pytest.approx(1.75, abs=0.005)
    assert any("constant of 0.499 s that the series lacks" in said for said in blocks["findings"])


def test_at_least_3x_of_v5_fails_below_128_gb() -> None:
    code, text = run(str(SAMPLES / "tlbirange-v5.csv"), "--json")
    (claim,) = json.loads(text)["tables"][1]["claims"]
    assert claim["by_size"] == ["fails"] * 7 + ["holds"]
    assert claim["verdict"] == "fails"
    assert code == 1


def test_the_operand_of_e3ba51ab24fd_covers_512_mib() -> None:
    assert covered_bytes(0xFFFF708000040000) == 512 << 20
    code, text = run(str(SAMPLES / "e3ba51ab24fd.csv"), "--json")
    assert json.loads(text)["operands"] == [
        {"operand": "0xffff708000040000", "covers_bytes": 512 << 20, "said_bytes": 1 << 30}
    ]
    assert code == 1


@pytest.mark.parametrize("name", [path.name for path in sorted(SAMPLES.iterdir())])
def test_every_bundled_table_names_its_message(name: str) -> None:
    assert "Message-ID" in read_posting(SAMPLES / name).facts


@pytest.mark.parametrize(
    ("text", "ratio", "holds"),
    [
        ("at least 3x", 3.0, True), ("at least a 3x", 2.99, False), (">= 3x", 4.0, True),
        ("at most 2x", 2.0, True), ("at most 2x", 2.01, False), ("4x", 3.51, True),
        ("4x", 3.49, False), ("4.0x", 3.9, False), ("~4x", 4.49, True), ("about 40x", 43.9, True),
        ("about 40x", 44.1, False), ("50%", 2.0, True), ("at least 15% faster", 1.17, False),
        ("~15%", 1.18, True), ("up to 4x", 4.4, True), ("up to 4x", 2.0, False),
    ],
)  # fmt: skip
def test_a_claim_means_what_its_words_say(text: str, ratio: float, *, holds: bool) -> None:
    found = judge("", cells((1, ratio, 1.0)), [parse_claim(text)])
    assert found.verdicts[0].overall == ("holds" if holds else "fails")


def test_rounding_leaves_a_claim_open() -> None:
    found = judge("", cells((1, 3.0, 1.0), half_digit=0.05), [parse_claim("at least 3x")])
    assert found.verdicts[0].overall == "open"


def table_of(tmp_path: Path, row: str, claim: str) -> list[str]:
    """The words of the row of a table of one row."""
    file = tmp_path / "table"
    file.write_text(row, encoding="utf-8")
    _, text = run(str(file), "--claim", claim)
    return next(line for line in text.splitlines() if line.startswith("  1 GB")).split()


@pytest.mark.parametrize(
    ("row", "claim", "printed"),
    [
        ("1, .148, .050", "at least 3x", ["2.96", "2.92", "..", "<3.00"]),
        ("1, .148, .050", "at least 4x", ["2.96", "2.92", "..", "3.00"]),
        ("1, .001, .001", "at least 3x", ["1.00", "0.33", "..", "<3.00"]),
        ("1, .016, .006", "at least 3x", ["2.67", "2.38", "..", "<3.00"]),
        ("1, 2.9987, 1.0000", "at least 3x", ["2.999", "2.999", "..", "2.999"]),
        ("1, 2.00000, 1.00001", "at least 50%", ["1.99998", "1.999965", "..", "1.999995"]),
        ("1, 3.0, 1.0", "at least 3x", ["3.00", "2.81", "..", "3.21"]),
    ],
)
def test_printed_ratios_do_not_contradict_the_verdict(
    tmp_path: Path, row: str, claim: str, printed: list[str]
) -> None:
    assert table_of(tmp_path, row, claim)[4:8] == printed


def test_a_table_is_read_from_standard_input() -> None:
    table = "# claim: at least 4x\n1, 3.0, 1.0\n"
    done = CliRunner().invoke(app, ["claims", "-"], input=table, env={"COLUMNS": "100"})
    assert done.exit_code == 1
    assert done.stdout.startswith("<stdin>\n")
    done = CliRunner().invoke(app, ["claims", "-"], input="nothing\n")
    assert done.exit_code == 2


def test_a_constant_on_both_sides_is_said() -> None:
    rows = [(size, 1 + 0.04 * size, 1 + 0.01 * size) for size in (1, 2, 4, 8, 16)]
    found = judge("", cells(*rows), [])
    assert found.slope_ratio == pytest.approx(4)
    assert any(said.startswith("both sides have a constant") for said in found.findings)


def test_sides_that_only_grow_with_the_size_give_no_finding() -> None:
    found = judge("", cells(*((n, 0.5 * n, 0.125 * n) for n in (1, 2, 4, 8))), [])
    assert found.findings == ()


def test_a_quoted_table_with_rulers_is_read_as_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "mail.txt"
    file.write_text(
        "> +------+------+------+\n> | GB | base | series |\n> | 512 MB | 520 ms | .13s |\n"
        ">> | 1 | 1.03 | .25 |\n",
        encoding="utf-8",
    )
    rows = read_posting(file).tables[0].rows
    assert [row.size_bytes for row in rows] == [GIB // 2, GIB]
    assert [float(row.base.value) for row in rows] == [0.52, 1.03]
    assert [float(row.series.half_digit) for row in rows] == [0.005, 0.005]


@pytest.mark.parametrize(
    "text",
    ["", "no numbers\n", "1,2\n", "1,2,3,4\n", "1,x,3\n", "0,1,1\n", "1,0,1\n", "0x1z,1 GB\n",
     "9999999999999999999999999999,1,1\n", "1," + "9" * 5000 + ",1\n", "1,-1,1\n"],
)  # fmt: skip
def test_what_is_no_table_is_refused_with_the_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "table.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ParseError, match="a row is"):
        read_posting(file)


@pytest.mark.parametrize("text", ["", "3", "fast", "at least x", "0x", "3x 4x", "-3x"])
def test_what_is_no_claim_is_refused_with_the_forms_that_are(text: str) -> None:
    with pytest.raises(SettingError, match="at least 3x"):
        parse_claim(text)


def test_a_file_that_is_not_there_is_an_error_of_the_user(tmp_path: Path) -> None:
    assert run(str(tmp_path / "none"))[0] == 2
