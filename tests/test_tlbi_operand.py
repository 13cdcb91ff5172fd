"""TLBI operands decode as the architecture lays them out."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from traceview.parsers.tlbi_operand import decode

TG_4K, TG_16K, TG_64K = 1, 2, 3


def one(op: str, operand: int | None, lpa2: bool | None = None) -> dict[str, int | None]:  # noqa: FBT001
    rows = decode(
        pl.Series([op]),
        pl.Series([operand], dtype=pl.UInt64),
        pl.Series([lpa2], dtype=pl.Boolean),
    )
    return rows.row(0, named=True)


def by_range(base: int, *, tg: int, scale: int, num: int, ttl: int = 0) -> int:
    return tg << 46 | scale << 44 | num << 39 | ttl << 37 | base


def test_a_single_operation_names_an_address_and_a_level() -> None:
    assert one("ipas2e1is", 0x80000) == {
        "ipa": 0x80000000, "pages": None, "level": None, "num": None, "scale": None, "tg": None,
    }  # fmt: skip
    hinted = one("ipas2le1is", TG_4K << 46 | 3 << 44 | 0x80600)
    assert (hinted["ipa"], hinted["level"], hinted["pages"]) == (0x80600000, 3, 1)


@pytest.mark.parametrize(
    ("tg", "level", "pages"),
    [(TG_4K, 2, 512), (TG_4K, 1, 512 * 512), (TG_16K, 2, 2048), (TG_64K, 2, 8192), (TG_64K, 3, 1)],
)
def test_a_level_tells_how_many_pages_an_entry_covers(tg: int, level: int, pages: int) -> None:
    found = one("ipas2e1", tg << 46 | level << 44 | 0x1000)
    assert (found["level"], found["pages"]) == (level, pages)


def test_the_operand_of_the_512_mib_bug_covers_512_mib() -> None:
    # e3ba51ab24fd: 8 GiB were wanted.
    found = one("ripas2e1is", 0xFFFF708000040000, lpa2=False)
    assert (found["scale"], found["num"], found["tg"]) == (3, 1, TG_4K)
    assert found["pages"] == (512 << 20) // 4096
    assert found["ipa"] == 0x40000000


@pytest.mark.parametrize(
    ("operand", "pages"),
    [(0x438000008000, 16), (0x508000008000, 128), (0x518000008000, 256), (0x538000008000, 512),
     (0x600000008000, 2048), (0x608000008000, 4096)],
)  # fmt: skip
def test_recorded_ranges_cover_what_was_unmapped(operand: int, pages: int) -> None:
    found = one("ripas2e1is", operand, lpa2=True)
    assert (found["ipa"], found["pages"]) == (0x80000000, pages)


def test_the_base_of_a_range_needs_to_know_its_unit() -> None:
    operand = by_range(0x8000, tg=TG_4K, scale=0, num=0)
    assert one("ripas2e1is", operand)["ipa"] is None
    assert one("ripas2e1is", operand)["pages"] == 2
    assert one("ripas2e1is", operand, lpa2=False)["ipa"] == 0x8000 << 12
    assert one("ripas2e1is", operand, lpa2=True)["ipa"] == 0x8000 << 16
    wide = by_range(0x8000, tg=TG_64K, scale=0, num=0)
    assert one("ripas2e1is", wide)["ipa"] == 0x8000 << 16  # 64K either way


def test_operations_by_address_or_vmid_name_no_ipa() -> None:
    for op in ("vmalle1is", "vmalls12e1is", "vale2is", "alle1", "civac", ""):
        assert set(one(op, 0x80000).values()) == {None}
    assert one("rvae1is", by_range(5, tg=TG_4K, scale=1, num=3))["pages"] == 4 << 6
    assert one("rvae1is", by_range(5, tg=TG_4K, scale=1, num=3))["ipa"] is None
    assert set(one("ipas2e1is", None).values()) == {None}


@given(
    st.integers(0, (1 << 37) - 1),
    st.sampled_from([TG_4K, TG_16K, TG_64K]),
    st.integers(0, 3),
    st.integers(0, 31),
    st.integers(0, 3),
)
def test_every_field_comes_back(base: int, tg: int, scale: int, num: int, ttl: int) -> None:
    found = one("ripas2le1os", by_range(base, tg=tg, scale=scale, num=num, ttl=ttl), lpa2=False)
    assert found == {
        "ipa": base << {TG_4K: 12, TG_16K: 14, TG_64K: 16}[tg],
        "pages": (num + 1) << (5 * scale + 1),
        "level": ttl or None,
        "num": num,
        "scale": scale,
        "tg": tg,
    }


def test_no_rows_give_no_rows() -> None:
    assert len(decode(pl.Series([], dtype=pl.String), pl.Series([], dtype=pl.UInt64))) == 0
