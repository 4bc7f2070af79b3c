"""Which criterion is called the best: the one that keeps most on rows of train that pruning does not read.

The model was trained on those rows, so that all that is left of it is right on more of them than on others; what is
asked is which criterion keeps most of it.
"""

from __future__ import annotations

from typing import Any

from bench.pruning.curves import BEST, FRACTIONS, name_of
from bench.pruning.sweep import Sweep
from evaluation.measurement import Gate

CANDIDATES = ("fisher", "taylor", "flap", "wanda", "magnitude", "random")
"""Each with the best's repair."""
_ROWS = {
    "data.train": "{table: phrases, split: 0.9}",
    "data.dev": "{table: phrases, split: 0.05}",
    "data.test": "{table: phrases, split: 0.05}",
}


def words(seed: int) -> list[str]:
    """Of a sweep over the candidates, judged on a share of train, at the hardest cut."""
    settings = {"seed": str(seed), **_ROWS, "stages.prune.target": f"{{flops: {min(FRACTIONS)}}}"}
    over = {
        "stages.prune.criterion": ",".join(f"{{use: {name}}}" for name in CANDIDATES),
        "stages.prune.repair": BEST.repair,
    }
    return [
        *(word for path, value in settings.items() for word in ("--set", f"{path}={value}")),
        *(word for path, values in over.items() for word in ("--over", f"{path}={values}")),
    ]


def rows(choice: Sweep) -> list[dict[str, Any]]:
    """The candidates, the best first."""
    found = [
        {
            "criterion": variant.method.criterion,
            "repair": variant.method.repair,
            "FLOPs asked": variant.asked,
            "accuracy": round(float(variant.right.mean()), 4),
            "n": len(variant.right),
            "uncut": round(float(choice.uncut.mean()), 4),
        }
        for variant in choice.variants
    ]
    return sorted(found, key=lambda row: -row["accuracy"])


def gate(choice: Sweep) -> Gate:
    """Whether what is called the best is what this says."""
    every = rows(choice)
    [mine] = (row["accuracy"] for row in every if row["criterion"] == BEST.criterion)
    told = ", ".join(f"{row['criterion']} {row['accuracy']:.4f}" for row in every)
    return Gate(
        name="best_by_choice",
        limit=every[0]["accuracy"],
        value=mine,
        passed=mine >= every[0]["accuracy"],
        target=name_of(BEST),
        detail=f"accuracy on {every[0]['n']:,} rows of train at {every[0]['FLOPs asked']:g} of the FLOPs: {told}",
    )
