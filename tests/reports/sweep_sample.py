"""A made-up sweep for the tests of reports: two baselines, six variants measured, one that failed."""

from __future__ import annotations

from itertools import combinations

from sample import RECIPE, sample_run

from evaluation.measurement import Comparison, Gate, Measurement, Run, Target

SHAPES = ((1, 16), (1, 128))
# accuracy, bytes, p50 in ms at each shape
BASELINES = {"torch-fp32": (0.869, 90.9e6, (10.6, 28.7)), "onnx-fp32": (0.869, 91.2e6, (3.5, 17.6))}
VARIANTS = {
    (2, 0.5): (0.801, 13.2e6, (0.41, 1.62)),
    (2, 0.7): (0.832, 13.9e6, (0.47, 1.96)),
    (3, 0.5): (0.844, 14.8e6, (0.52, 2.25)),
    (3, 0.7): (0.861, 16.1e6, (0.62, 2.93)),
    (4, 0.5): (0.855, 16.4e6, (0.71, 3.08)),
    (4, 0.7): (0.866, 18.0e6, (0.78, 3.71)),
}
FAILED = "layers=9,encoder_parameters=0.7"
NOISE = 0.012
"""Half the width of the paired interval of a difference in accuracy."""


def name_of(layers: int, share: float) -> str:
    return f"layers={layers},encoder_parameters={share}"


def figures() -> dict[str, tuple[float, float, tuple[float, float]]]:
    return BASELINES | {name_of(*key): value for key, value in VARIANTS.items()}


def sample_sweep(*, metric: str = "accuracy") -> Run:
    """The sweep; with `perplexity` as its metric, less is better and what was right becomes wrong."""
    single = sample_run()
    targets = [Target(name=name, kind="baseline", title=name, runtime=name, form="torch") for name in BASELINES] + [
        Target(name=name_of(*key), kind="variant", title=name_of(*key), runtime="onnxruntime", form="onnx")
        for key in VARIANTS
    ]
    gate = {"name": "max_quality_drop", "limit": 0.03}
    return single.model_copy(
        update={
            "name": "reviews-sweep",
            "recipe": RECIPE,
            "targets": targets,
            "skipped": [],
            "measurements": [m for name in figures() for m in _measurements(name, metric)],
            "comparisons": [c for pair in combinations(figures(), 2) for c in _comparisons(*pair, metric)],
            "gates": [
                Gate(**gate, value=0.869 - value[0], passed=value[0] > 0.839, target=name_of(*key), detail=metric)
                for key, value in VARIANTS.items()
            ],
            "tables": {
                "variants": _rows(),
                "sweep": {"over": ["stages.distill.student.layers=2,3,4,9", "a.encoder_parameters=0.5,0.7"]},
                "data": single.tables["data"],
            },
        }
    )


def quality(name: str, metric: str) -> float:
    accuracy = figures()[name][0]
    return 40 * (1.2 - accuracy) if metric == "perplexity" else accuracy


def _measurements(name: str, metric: str) -> list[Measurement]:
    _, size, times = figures()[name]
    value, less = quality(name, metric), metric == "perplexity"
    found = [
        Measurement(
            target=name,
            name=metric,
            value=value,
            unit="perplexity" if less else "ratio",
            low=value * 0.975,
            high=value * 1.023,
            count=1050,
            higher_is_better=not less,
            conditions={"split": "test"},
        ),
        Measurement(target=name, name="bytes", value=size, unit="bytes", higher_is_better=False),
        Measurement(target=name, name="parameters", value=size, unit="parameters", higher_is_better=False),
    ]
    for shape, value in zip(SHAPES, times, strict=True):
        found.append(
            Measurement(
                target=name,
                name="latency_p50_ms",
                value=value,
                unit="ms",
                low=value * 0.98,
                high=value * 1.02,
                count=160,
                higher_is_better=False,
                conditions={"batch": shape[0], "tokens": shape[1]},
            )
        )
    return found


def _comparisons(baseline: str, target: str, metric: str) -> list[Comparison]:
    """As the suite has them: each target with each before it."""
    pair = {"target": target, "baseline": baseline}
    before, after = quality(baseline, metric), quality(target, metric)
    lost = (after - before) / before if metric == "perplexity" else before - after
    verdict = "worse" if lost > NOISE else "better" if lost < -NOISE else "tie"
    ends = {"low": lost - NOISE, "high": lost + NOISE, "count": 1050}
    found = [
        Comparison(
            **pair,
            name="quality_drop",
            value=lost,
            unit="relative" if metric == "perplexity" else "ratio",
            **ends,
            verdict=verdict,
            conditions={"metric": metric},
        ),
        Comparison(**pair, name="compression_ratio", value=figures()[baseline][1] / figures()[target][1]),
    ]
    for shape, first, second in zip(SHAPES, figures()[baseline][2], figures()[target][2], strict=True):
        ratio = first / second
        found.append(
            Comparison(
                **pair,
                name="speedup",
                value=ratio,
                low=ratio * 0.97,
                high=ratio * 1.03,
                verdict="better" if ratio > 1.03 else "worse" if ratio < 0.97 else "tie",
                conditions={"batch": shape[0], "tokens": shape[1]},
            )
        )
    return found


def _rows() -> list[dict[str, object]]:
    def row(key: tuple[int, float], status: str, reason: str = "") -> dict[str, object]:
        changes = {"stages.distill.student.layers": str(key[0]), "stages.prune.target.encoder_parameters": str(key[1])}
        done = {"stages": 5, "stages_reused": 2} if status != "failed" else {"stages": 0, "stages_reused": 0}
        return {"variant": name_of(*key), "changes": changes, "status": status, "reason": reason, **done}

    rows = [row(key, "gate failed" if value[0] <= 0.839 else "done") for key, value in VARIANTS.items()]
    return [*rows, row((9, 0.7), "failed", "distill: 9 layers wanted of a model that has 6")]
