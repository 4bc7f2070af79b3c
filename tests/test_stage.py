"""The context of a stage, and of a part of one that does several times what others do once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from compress.stage import Context

Make = Callable[..., Context]


def test_parts_share_neither_folder_nor_seed_nor_names(make_context: Make):
    recorded: dict = {}
    whole = make_context(record=recorded.__setitem__)
    parts = [whole.within(f"step-{step}", start=0.0, end=1.0) for step in (1, 2)]
    for number, context in enumerate((whole, *parts)):
        (context.scratch / "file").write_text(str(number))
        context.record("loss", number)
    assert [(context.scratch / "file").read_text() for context in (whole, *parts)] == ["0", "1", "2"]
    assert recorded == {"loss": 0, "step-1.loss": 1, "step-2.loss": 2}
    assert len({context.seed for context in (whole, *parts)}) == 3


def test_a_part_finds_its_folder_and_its_seed_again(make_context: Make):
    whole = make_context()
    before = whole.within("step-1", start=0.0, end=0.5)
    (before.scratch / "file").write_text("left")
    after = whole.within("step-1", start=0.0, end=0.5)
    assert (after.scratch / "file").read_text() == "left"
    assert after.seed == before.seed


def test_parts_of_runs_with_neighbouring_seeds_draw_apart(make_context: Make):
    contexts = [make_context(seed=seed) for seed in range(20)]
    parts = [context.within(f"step-{step}", start=0.0, end=1.0) for context in contexts for step in range(1, 11)]
    assert len({context.seed for context in (*contexts, *parts)}) == 20 + 200


def test_a_part_sees_what_the_stage_sees(make_context: Make):
    whole = make_context()
    part = whole.within("step-1", start=0.0, end=1.0)
    own = ("scratch", "seed", "record", "progress")
    shared = [name for name in Context.__dataclass_fields__ if name not in own]
    assert [getattr(part, name) for name in shared] == [getattr(whole, name) for name in shared]


def test_progress_of_parts_goes_on_where_the_part_before_ended(make_context: Make):
    told: list[tuple[float, str]] = []
    whole = make_context(progress=lambda done, message: told.append((done, message)))
    for step in range(4):
        part = whole.within(f"step-{step + 1}", start=step / 4, end=(step + 1) / 4)
        inner = part.within("cut", start=0.5, end=1.0)
        part.progress(0.0, "begun")
        inner.progress(0.0, "half")
        inner.progress(1.0, "done")
    assert [done for done, _ in told] == pytest.approx(
        [0, 0.125, 0.25, 0.25, 0.375, 0.5, 0.5, 0.625, 0.75, 0.75, 0.875, 1]
    )
    assert [message for _, message in told[:2]] == ["step-1: begun", "step-1: cut: half"]
