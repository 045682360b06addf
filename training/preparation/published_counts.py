# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""How many pictures, references and sentences the benchmarks have by their authors' publications."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TOTAL = "total"  # stands for all splits together


@dataclass(frozen=True)
class PublishedCount:
    """One published number."""

    split: str  # a split, or `TOTAL`
    what: str  # `images`, `references`, `expressions`, `no_target_expressions` or `multi_target_expressions`
    lowest: int  # the number
    highest: int  # the highest number where publications differ, otherwise the same
    certain: bool = True  # whether a deviation is an error; otherwise it is a warning

    def deviation(self, counted: int) -> str | None:
        """Returns both numbers in words if they differ, otherwise None."""
        if self.lowest <= counted <= self.highest:
            return None
        published = f"{self.lowest:,}" if self.lowest == self.highest else f"{self.lowest:,} to {self.highest:,}"
        return f"{self.split}: {counted:,} {self.what.replace('_', ' ')}, published {published}"


def _row(what: str, certain: bool = True, **splits: int | tuple[int, int]) -> list[PublishedCount]:
    counts = []
    for split, number in splits.items():
        lowest, highest = number if isinstance(number, tuple) else (number, number)
        counts.append(PublishedCount(split, what, lowest, highest, certain))
    return counts


PUBLISHED: dict[str, list[PublishedCount]] = {
    "refcoco_unc": [
        *_row("images", total=19_994, val=1_500, testA=750, testB=750),
        *_row("references", train=42_404, val=3_811, testA=1_975, testB=1_810),
        *_row("expressions", total=142_210, train=120_624, val=10_834, testA=5_657, testB=5_095),
    ],
    "refcoco_google": [
        *_row("references", certain=False, train=40_000, val=5_000, test=5_000),
        *_row("images", certain=False, train=19_213, val=4_559, test=4_527),
    ],
    "refcoco+_unc": [
        *_row("images", total=19_992),
        *_row("references", total=49_856),
        *_row("expressions", total=141_564),
        *_row("expressions", certain=False, train=120_191, val=10_758, testA=5_726, testB=4_889),
    ],
    "refcocog_umd": [
        *_row("images", val=1_300, test=2_600),
        *_row("references", train=42_226, val=2_573, test=5_023),
        *_row("expressions", certain=False, train=80_512, val=4_896, test=9_602),
    ],
    "refcocog_google": [
        *_row("images", val=4_650),
        *_row("references", val=5_000),
        *_row("references", certain=False, train=44_822),
        *_row("expressions", certain=False, train=85_474),
    ],
    "refclef_berkeley": [
        *_row("images", total=(19_894, 19_997)),
        *_row("references", total=96_654),
        *_row("expressions", train=54_127, val=5_842, test=60_103),
    ],
    "grefcoco_unc": [
        *_row("images", val=1_500, testA=750, testB=750),
        *_row("expressions", certain=False, total=278_232),
        *_row("multi_target_expressions", certain=False, total=80_022),
        *_row("no_target_expressions", certain=False, total=32_202),
    ],
    "phrasecut": [
        *_row("images", train=71_746, val=2_971, test=2_545, miniv=100),
        *_row("expressions", train=310_816, val=20_316, test=14_354, miniv=821),
    ],
    "moondream/refcoco-m": _row("images", val=1_190) + _row("references", val=2_080) + _row("expressions", val=5_598),
    "lmms-lab/RefCOCOg": _row("references", certain=False, val=7_573, test=5_023),
    "lmms-lab/RefCOCO": _row("references", certain=False, val=8_811, test=5_000, testA=1_975, testB=1_810),
    "lmms-lab/RefCOCOplus": _row("references", certain=False, val=3_805, testA=1_975, testB=1_798),
}
# The same benchmarks in other files.
PUBLISHED |= {
    "original_refcoco": PUBLISHED["refcoco_unc"],
    "original_refcoco+": PUBLISHED["refcoco+_unc"],
    "original_refcocog_umd": PUBLISHED["refcocog_umd"],
    "original_refcocog_google": PUBLISHED["refcocog_google"],
    "original_grefcoco": PUBLISHED["grefcoco_unc"],
    "jxu124/refcoco": PUBLISHED["refcoco_unc"],
    "jxu124/refcocoplus": PUBLISHED["refcoco+_unc"],
    "jxu124/refcocog": PUBLISHED["refcocog_umd"],
}


def compare(name: str, counts: Mapping[str, Mapping[str, int]], complete: bool) -> list[dict[str, Any]]:
    """
    Compares counts by split, and under `TOTAL`, with the published ones; totals only where all splits were asked for.

    Returns:
        Per published number of the splits at hand: `split`, `what`, `published`, `counted`, `certain`, and `deviation`,
        both numbers in words or None. A split that is missing from the files counts as 0 if all were asked for.
    """
    results = []
    for published in PUBLISHED.get(name, []):
        if published.split not in counts and not complete or published.split == TOTAL and not complete:
            continue
        counted = counts.get(published.split, {}).get(published.what, 0)
        results.append(
            {
                "split": published.split,
                "what": published.what,
                "published": [published.lowest, published.highest],
                "counted": counted,
                "certain": published.certain,
                "deviation": published.deviation(counted),
            }
        )
    return results
