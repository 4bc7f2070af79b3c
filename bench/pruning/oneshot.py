"""One shot, no training: what is left of the accuracy at each fraction of the FLOPs, by criterion and by repair, and
what speed comes of it.

Each seed is a sweep of its own: it draws the calibration examples, and what `random` keeps. The criterion with its
repair that is called the best was chosen on rows of train (`choosing`); here, on the test split, it is tested against
all others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.pruning import choosing, curves
from bench.pruning.curves import (
    BEST,
    FRACTIONS,
    KWON,
    METHODS,
    OF_ONE_RUN,
    SIGNIFICANT,
    UNCUT,
    Points,
    name_of,
)
from bench.pruning.part import Options, tell
from bench.pruning.processes import made
from bench.pruning.sweep import WHOLE, Sweep, read_sweep
from compress.errors import DataError
from evaluation.measurement import FILE_NAME, Comparison, Gate, Measurement, Run, read_run
from evaluation.statistics.intervals import Drop

FOLDER = "sst2-oneshot"
RECIPE = "sst2-oneshot"
SECONDS = 180.0
FASTER = 1.4
"""What the recipe's own cut, to 0.6 of the FLOPs, has to gain in onnxruntime."""
AT = "32x64"
_SHAPE = (
    *("--set", "deploy.shapes=[1x128]", "--set", "measure.rounds=6", "--set", "measure.footprint=false"),
    *("--set", "report=[]"),  # the curves have a page of their own
    *("--set", "deploy.threads=1", "--jobs", "2"),  # nothing is chosen by its speed
)
_TARGETS = f"stages.prune.target.flops={','.join(map(str, FRACTIONS))}"
_CRITERIA = [f"{{use: {name}}}" for name in dict.fromkeys(method.criterion for method in METHODS)]
_SWEEPS: Mapping[str, Sequence[str]] = {
    "oneshot": (
        f"stages.prune.criterion={','.join(_CRITERIA)}",
        f"stages.prune.repair={BEST.repair},none",
    ),
    "kwon": (
        "stages.prune.criterion={use: fisher},{use: fisher, interactions: false}",
        f"stages.prune.repair={KWON.repair}",
    ),
}


def found(options: Options) -> Run:
    """The curves over all seeds; sweeps that are not there yet are made first, an hour of them.

    Raises:
        RuntimeError: a sweep failed.
        DataError: sweeps of different models or data, or one that lacks a variant.
    """
    choice = read_sweep(_made("choice", ["sweep", RECIPE, *_SHAPE, *choosing.words(options.seeds[0])], options))
    sweeps = [read_sweep(_sweep(name, seed, options)) for seed in options.seeds for name in _SWEEPS]
    return as_run(choice, sweeps, read_run(_made("oneshot-run", ["run", RECIPE], options)), options.command)


def _sweep(name: str, seed: int, options: Options) -> Path:
    words = ["sweep", RECIPE, "--set", f"seed={seed}", *_SHAPE]
    for over in (_TARGETS, *_SWEEPS[name]):
        words += ["--over", over]
    return _made(f"{name}-{seed}", words, options)


def _made(folder: str, words: Sequence[str], options: Options) -> Path:
    if options.sweeps is not None and (options.sweeps / folder / FILE_NAME).exists():
        return options.sweeps / folder
    return made(options.work / folder, [*words, *options.settings, "--set", "gates={}"])


def as_run(choice: Sweep, sweeps: Sequence[Sweep], recipe: Run, command: str) -> Run:
    """What the sweeps say together, and what the recipe as it stands says of speed.

    Args:
        choice: what the best was chosen by.
    """
    points = curves.joined(sweeps)
    first, seeds = sweeps[0], sorted({sweep.seed for sweep in sweeps})
    uncut = [next(sweep.uncut for sweep in sweeps if sweep.seed == seed) for seed in seeds]
    shared = {"split": "test", "data": first.data, "runtime": "onnxruntime", "seeds": len(seeds)}
    tests, asked_twice = curves.tests(points, shared)
    lost = curves.losses(points, uncut, shared)
    measurements = [
        curves.accuracy(UNCUT, uncut, shared),
        *curves.curve(points, shared),
        *curves.prune_seconds(points),
    ]
    speedups = _speedups(recipe)
    rows = [_test_row(test, drop, p) for test, (drop, p) in zip(tests, asked_twice, strict=True)]
    return Run(
        name=FOLDER,
        recipe=first.run.recipe,
        environment={
            **{key: value for key, value in first.run.environment.items() if key not in OF_ONE_RUN},
            "command": command,
        },
        measurements=measurements,
        comparisons=[*lost, *tests, *speedups],
        gates=[choosing.gate(choice), *_beaten(tests), *_quick(measurements), _fast(speedups)],
        tables={
            "study": _study(lost, tests, speedups, seeds, len(first.uncut)),
            f"{name_of(BEST)} against each other method": rows,
            "choice, on rows of train that pruning does not read": choosing.rows(choice),
            "accuracy of each seed": _seed_rows(points, seeds),
            "sweeps": [_sweep_row(sweep) for sweep in sweeps],
        },
    )


def _speedups(recipe: Run) -> list[Comparison]:
    """Of the recipe's own cut over the uncut model, both exported alike, at every shape that the recipe times."""
    rows = [row for row in recipe.comparisons if (row.target, row.baseline, row.name) == ("result", WHOLE, "speedup")]
    fixed = [row for row in rows if "tokens" in row.conditions]
    if [_shape_of(row) for row in fixed].count(AT) != 1:
        raise DataError(f"the run of {RECIPE} has no one speed-up at {AT} over {WHOLE}; is it of another recipe?")
    names = {"target": name_of(BEST), "baseline": UNCUT}
    asked = {"flops_asked": _asked(recipe)}
    return [row.model_copy(update={**names, "conditions": {**asked, **row.conditions}}) for row in fixed]


def _asked(recipe: Run) -> float:
    [target] = (step["settings"]["target"] for step in recipe.lineage if step["stage"] == "prune")
    asked: float = target["flops"]
    return asked


def _fast(speedups: Sequence[Comparison]) -> Gate:
    [row] = (row for row in speedups if _shape_of(row) == AT)
    low, high = row.low or 0.0, row.high or 0.0
    return Gate(
        name=f"speedup_{AT}",
        limit=FASTER,
        value=row.value,
        passed=row.value >= FASTER,
        target=row.target,
        detail=f"{row.value:.2f}x ({low:.2f} to {high:.2f}) in onnxruntime at {row.conditions['flops_asked']:g} of the "
        f"FLOPs, n = {row.count} rounds",
    )


def _shape_of(row: Comparison) -> str:
    return f"{row.conditions['batch']}x{row.conditions['tokens']}"


def _beaten(tests: Sequence[Comparison]) -> list[Gate]:
    """For each rival: whether the best method is better at every fraction; the value is the largest p-value."""
    gates = []
    for method in METHODS:
        if method.criterion == BEST.criterion:
            continue
        against = [test for test in tests if test.baseline == name_of(method)]
        better = [test.conditions["flops_asked"] for test in against if test.verdict == "better"]
        told = ", ".join(f"{asked:g}" for asked in better) or "none"
        gates.append(
            Gate(
                name=f"beats_{method.criterion}" + ("_repaired_alike" if method.repair == BEST.repair else ""),
                limit=SIGNIFICANT,
                value=max(test.adjusted_p_value or 0.0 for test in against),
                passed=len(better) == len(against),
                target=name_of(BEST),
                detail=f"largest adjusted p-value of {len(against)}; better at {told} of the FLOPs",
            )
        )
    return gates


def _quick(measurements: Sequence[Measurement]) -> list[Gate]:
    took = [row for row in measurements if row.name == "prune_seconds_longest" and row.target == name_of(BEST)]
    return [
        Gate(
            name="whole_prune_seconds",
            limit=SECONDS,
            value=row.value,
            passed=row.value <= SECONDS,
            target=row.target,
            detail=f"the longest of {row.count}, by the log's time stamps: reading the model and up to 10 s are in it",
        )
        for row in took
    ]


def _study(
    lost: Sequence[Comparison],
    tests: Sequence[Comparison],
    speedups: Sequence[Comparison],
    seeds: Sequence[int],
    count: int,
) -> dict[str, Any]:
    """What the page opens with."""
    best = {one.conditions["flops_asked"]: one for one in lost if one.target == name_of(BEST)}
    told = [f"{-100 * (1 - asked):.0f} %: {_in_points(one)}" for asked, one in best.items()]
    verdicts = [test.verdict for test in tests]
    times = [f"{_shape_of(row)}: {row.value:.2f}x ({row.low:.2f} to {row.high:.2f})" for row in speedups]
    over = f"{len(seeds)} seeds ({', '.join(map(str, seeds))})"
    return {
        "told": [
            f"Heads and FFN channels are cut in one shot, without training. Accuracy lost with {name_of(BEST)}, by how "
            f"much the FLOPs change: {'; '.join(told)}. In brackets 95 % intervals, on {count:,} examples and {over}.",
            f"{name_of(BEST)} was chosen on rows of train that pruning does not read. On the test split it is tested "
            f"against each other method at each fraction: {verdicts.count('better')} of {len(tests)} times better, "
            f"{verdicts.count('tie')} ties, {verdicts.count('worse')} times worse.",
            f"The recipe as it stands cuts to {speedups[0].conditions['flops_asked']:g} of the FLOPs. In "
            "onnxruntime its graph is so much faster than the uncut model's, both in float32 and timed in turn: "
            f"{'; '.join(times)}.",
        ],
        "charts": [
            {
                "name": "accuracy",
                "caption": "Accuracy by the fraction of FLOPs that is left at 1x128, the mean over seeds. Dashed: "
                "nothing is repaired. Whiskers are 95 % intervals for other examples and other seeds; they overlap "
                "where paired tests still tell two apart, as all methods answer the same examples. Points are moved "
                "aside a little.",
                "measurement": "accuracy",
                "along": "flops_left",
                "x_title": "fraction of FLOPs left",
                "y_title": "accuracy",
                "ticks": list(FRACTIONS),
                "falling": True,
                "levels": [{"target": UNCUT}],
                "lines": [
                    {
                        "target": name_of(method),
                        "group": name_of(method) if method.repair == KWON.repair else method.criterion,
                        "dashed": method.repair == "none",
                    }
                    for method in METHODS
                ],
            }
        ],
        "notes": [
            "Tests are paired: examples are the sample, each with the mean over seeds of what is right; the p-values "
            "of the bootstrap are adjusted by Holm's method over all of them. The table also has what they are where "
            "seeds are taken for a sample too, of which three say little.",
            f'{name_of(KWON)} is our own plain rendering of Kwon et al. 2022, "A Fast Post-Training Pruning Framework '
            'for Transformers": the diagonal of the Fisher matrix of masks, an exact choice within the FLOPs, then '
            "masks that are scaled by least squares and folded into the weights. It is not their program, and leaves "
            "out their swapping of masks within a layer; fisher + scales has interactions within a layer instead.",
        ],
    }


def _in_points(comparison: Comparison) -> str:
    assert comparison.low is not None, "of a drop over seeds"
    assert comparison.high is not None, "likewise"
    return f"{100 * comparison.value:.1f} points ({100 * comparison.low:.1f} to {100 * comparison.high:.1f})"


def _test_row(test: Comparison, over_seeds: Drop, p_over_seeds: float) -> dict[str, Any]:
    """Points that the best method gains."""
    assert test.low is not None, "of a drop over seeds"
    assert test.high is not None, "likewise"
    return {
        "against": test.baseline,
        "FLOPs asked": test.conditions["flops_asked"],
        "points gained": round(-100 * test.value, 3),
        "low": round(-100 * test.high, 3),
        "high": round(-100 * test.low, 3),
        "n": test.count,
        "seeds": test.conditions["seeds"],
        "p-value": test.p_value,
        "adjusted p-value": test.adjusted_p_value,
        "verdict": test.verdict,
        "low, other seeds": round(-100 * over_seeds.high, 3),
        "high, other seeds": round(-100 * over_seeds.low, 3),
        "adjusted p-value, other seeds": p_over_seeds,
    }


def _seed_rows(points: Points, seeds: Sequence[int]) -> list[dict[str, Any]]:
    return [
        {
            "method": name_of(method),
            "FLOPs asked": asked,
            "seed": seed,
            "FLOPs left": round(variant.left, 5),
            "accuracy": float(variant.right.mean()),
            "pruned in seconds": variant.seconds,
        }
        for (method, asked), variants in points.items()
        for seed, variant in zip(seeds, variants, strict=True)
    ]


def _sweep_row(sweep: Sweep) -> dict[str, Any]:
    told = sweep.run.environment
    took = {key: told.get(key) for key in ("date", "cpu", "threads", "seconds", "seconds_measuring")}
    uncut = float(sweep.uncut.mean())
    tell(f"{sweep.name}: {len(sweep.variants)} variants, uncut {uncut:.4f}")
    return {"sweep": sweep.name, "seed": sweep.seed, "variants": len(sweep.variants), WHOLE: uncut, **took}
