"""What the operand register of a TLBI instruction says.

Source of truth: Arm Architecture Reference Manual (DDI 0487), "TLBI IPAS2E1IS" and
"TLBI RIPAS2E1IS", and their OS, nXS and last-level forms. In short, from the high bits down:

    by IPA     NS 63, TTL 47:44, IPA[51:12] 39:0
    by range   NS 63 (IPA) or ASID 63:48 (VA), TG 47:46, SCALE 45:44, NUM 43:39, TTL 38:37,
               BaseADDR 36:0

A range covers (NUM + 1) << (5*SCALE + 1) granules. BaseADDR counts granules of TG, except where
the translation regime uses 52-bit addresses with 4K or 16K granules (FEAT_LPA2, VTCR_EL2.DS):
there it counts 64K. The operand does not say which; without `lpa2` the address stays null.
Operations by VA or by VMID name no IPA: null.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

if TYPE_CHECKING:
    import numpy.typing as npt

    Mask = npt.NDArray[np.bool_]

BY_IPA: Final = r"^ipas2l?e1(?:is|os)?(?:nxs)?$"
BY_IPA_RANGE: Final = r"^ripas2l?e1(?:is|os)?(?:nxs)?$"
BY_RANGE: Final = r"^r(?:ipas2l?e1|vaa?l?e[123])(?:is|os)?(?:nxs)?$"

# log2 of the granule for TG, and for TTL[3:2]: 4K, 16K, 64K; 0 is reserved, or says nothing.
GRANULE_SHIFTS: Final = np.array([0, 12, 14, 16])
IPA_SHIFT: Final = 12
LPA2_SHIFT: Final = 16
LAST_LEVEL: Final = 3
ENTRY_SHIFT: Final = 3  # a table of 8-byte entries fills one granule

SCHEMA: Final[dict[str, pl.DataType]] = {
    "ipa": pl.UInt64(),
    "pages": pl.Int64(),
    "level": pl.Int32(),
    "num": pl.Int32(),
    "scale": pl.Int32(),
    "tg": pl.Int32(),
}


def decode(op: pl.Series, operand: pl.Series, lpa2: pl.Series | None = None) -> pl.DataFrame:
    """One row per instruction: SCHEMA.

    *op* names the operation in lower case, *operand* (UInt64) is the register, *lpa2* says
    whether ranges count 64K (null: unknown). `pages` counts granules: of a range those that it
    covers, of a single operation those below the entry that its level names; null where the
    operand tells no level. `num`, `scale` and `tg` are the fields of a range.
    """
    names = op.cast(pl.String)
    single, by_ipa_range, ranged = (
        names.str.contains(pattern).fill_null(value=False).to_numpy()
        for pattern in (BY_IPA, BY_IPA_RANGE, BY_RANGE)
    )
    known = operand.is_not_null().to_numpy()
    x = operand.fill_null(0).to_numpy()
    tg, scale, num = _field(x, 47, 46), _field(x, 45, 44), _field(x, 43, 39)
    granule = GRANULE_SHIFTS[tg]
    level = np.where(ranged, _field(x, 38, 37), _field(x, 45, 44))
    # A range's TTL 0 is "any level"; a single operation's counts once TTL[3:2] names a granule.
    has_level = known & ((ranged & (level > 0)) | (single & (tg > 0)))
    below = np.where(has_level, (LAST_LEVEL - level) * (granule - ENTRY_SHIFT), 0)
    pages = np.where(ranged, (num + 1) << (5 * scale + 1), np.int64(1) << below)
    shift, has_shift = _base_shift(tg, granule, lpa2)
    ipa = np.where(single, (x & _ones(40)) << IPA_SHIFT, (x & _ones(37)) << shift)
    columns = {
        "ipa": (ipa.astype(np.uint64), known & (single | (by_ipa_range & has_shift))),
        "pages": (pages, known & (ranged | (single & has_level))),
        "level": (level, has_level),
        "num": (num, known & ranged),
        "scale": (scale, known & ranged),
        "tg": (tg, known & ranged),
    }
    rows = pl.DataFrame({name: values for name, (values, _) in columns.items()}, strict=False)
    valid = pl.DataFrame({name: mask for name, (_, mask) in columns.items()})
    return pl.DataFrame(
        [rows[name].zip_with(valid[name], _nulls(rows[name])).cast(SCHEMA[name]) for name in SCHEMA]
    )


def covered_bytes(operand: int) -> int | None:
    """How many bytes the *operand* of a range operation covers; None if it names no granule."""
    row = decode(
        pl.Series(["ripas2e1is"]), pl.Series([operand], dtype=pl.UInt64)
    ).row(0, named=True)  # fmt: skip
    granule = int(GRANULE_SHIFTS[row["tg"]])
    return None if granule == 0 else int(row["pages"]) << granule


def _field(x: npt.NDArray[np.uint64], high: int, low: int) -> npt.NDArray[np.int64]:
    return ((x >> np.uint64(low)) & _ones(high - low + 1)).astype(np.int64)


def _ones(bits: int) -> np.uint64:
    return np.uint64((1 << bits) - 1)


def _base_shift(
    tg: npt.NDArray[np.int64], granule: npt.NDArray[np.int64], lpa2: pl.Series | None
) -> tuple[npt.NDArray[np.uint64], Mask]:
    """By how much BaseADDR is shifted, and where that is known."""
    if lpa2 is None:
        lpa2 = pl.Series([None], dtype=pl.Boolean).new_from_index(0, tg.size)
    told = lpa2.is_not_null().to_numpy()
    shift = np.where(lpa2.fill_null(value=False).to_numpy(), LPA2_SHIFT, granule)
    return shift.astype(np.uint64), (granule == LPA2_SHIFT) | (told & (granule > 0))


def _nulls(like: pl.Series) -> pl.Series:
    return like.clear(len(like))
