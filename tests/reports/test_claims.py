"""The literature's figures are data that holds together, and a faulty entry is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from compress.errors import DataError
from reports.claims import SEEN_WORDS, claims, claims_about, claims_for, read_claims

SOUND = {
    "what": "pruning",
    "title": "half the heads",
    "source": "somebody 2020",
    "seen": "read",
    "conditions": "BERT-base",
    "speedup": 2.0,
}


def written(folder: Path, **changes: Any) -> Path:
    file = folder / "claims.yaml"
    entry = {key: value for key, value in {**SOUND, **changes}.items() if value is not None}
    file.write_text(yaml.safe_dump([entry]), encoding="utf-8")
    return file


def test_every_claim_has_a_source_and_says_how_it_is_known():
    assert len(claims()) >= 30
    assert {claim.seen for claim in claims()} <= SEEN_WORDS.keys()
    assert {claim.what for claim in claims()} == {
        "distillation",
        "pruning",
        "quantization",
        "export",
        "attention",
        "all",
    }
    named = [(claim.what, claim.title, claim.source) for claim in claims()]
    assert len(set(named)) == len(named)


def test_claims_of_all_kinds_are_all_claims():
    kinds = dict.fromkeys(claim.what for claim in claims())
    assert sorted(map(str, [c for kind in kinds for c in claims_about(kind)])) == sorted(map(str, claims()))


@pytest.mark.parametrize("stage", ["distill", "prune", "quantize", "export"])
def test_stages_that_compress_have_claims_to_be_seen_beside(stage: str):
    assert claims_for(stage)
    assert claims_for("finetune") == ()


def test_one_figure_is_a_range_whose_ends_meet(tmp_path: Path):
    [one] = read_claims(written(tmp_path, drop=[0.5, 1], drop_unit="points"))
    assert (one.speedup, one.drop) == ((2.0, 2.0), (0.5, 1.0))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"sourc": "misspelt"}, "entry 0.sourc"),
        ({"source": None}, "entry 0.source"),
        ({"seen": "guessed"}, "entry 0.seen"),
        ({"speedup": None}, "wanted a figure or a note"),
        ({"speedup": [3, 2]}, "the low end comes first"),
        ({"size_ratio": 0}, "a ratio is above 0"),
        ({"drop": 1.0}, "drop and drop_unit come together"),
        ({"drop": 1.0, "drop_unit": "points", "before": 90.0, "after": 88.0}, "90.0 to 88.0 is 2"),
        ({"drop": 0.5, "drop_unit": "relative", "before": 10.0, "after": 12.0}, "10.0 to 12.0 is 0.2"),
        ({"drop": float("nan"), "drop_unit": "points"}, "entry 0.drop"),
    ],
)
def test_a_faulty_entry_is_named(tmp_path: Path, changes: dict[str, Any], fault: str):
    with pytest.raises(DataError, match=fault):
        read_claims(written(tmp_path, **changes))


def test_a_file_that_is_no_list_of_claims_is_refused(tmp_path: Path):
    file = tmp_path / "claims.yaml"
    for text in ("{", "12", "- 3", "what: pruning"):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=r"claims\.yaml"):
            read_claims(file)
    with pytest.raises(DataError, match="not readable"):
        read_claims(tmp_path / "absent.yaml")
