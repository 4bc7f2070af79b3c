"""Static int8: what is calibrated, on which grids numbers are rounded, and that onnxruntime multiplies integers."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper
from tiny import tiny_split

from compress.bundle import Bundle, OnnxGraph
from compress.errors import DataError, ExportError
from compress.graph.calibration import ROWS, Drawn, RangeMethod, Seen, calibration_inputs, observe, range_of
from compress.graph.grid import COLUMNS_AT_A_TIME, MOST_COLUMNS, grid_of, outliers
from compress.graph.inspect import operators, products, read_proto
from compress.graph.quantize import dynamic_int8
from compress.graph.sensitivity import judge_of
from compress.graph.static import IntegerForm, product_inputs, static_int8
from compress.graph.tables import block_of, four_bits, packed
from compress.graph.verify import quantized
from compress.stages.quantize import Quantize

Exported = dict[str, tuple[Bundle, Bundle]]
WIDE = 14.0
FORMS: tuple[IntegerForm, ...] = ("integer", "qdq")
in_seven_bits = partial(static_int8, reduce_range=True)
"""So that what integers cost does not depend on the CPU."""
METHODS: tuple[RangeMethod, ...] = ("minmax", "percentile", "entropy")


@pytest.fixture(scope="module", params=["even-fused", "uneven-plain"])
def made(request: pytest.FixtureRequest, exported: Exported) -> Bundle:
    return exported[request.param][1]


@pytest.fixture(scope="module")
def widened(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The same function, but that every product's input has one channel fourteen times as wide, whose weights are as
    many times smaller."""
    bundle = exported["even-fused"][1]
    proto = onnx.load(bundle.graph.path)
    weights = {tensor.name: tensor for tensor in proto.graph.initializer}
    for place, node in reversed(list(enumerate(proto.graph.node))):
        if node.op_type != "MatMul" or node.input[1] not in weights:
            continue
        value = numpy_helper.to_array(weights[node.input[1]]).copy()
        factor = np.ones(len(value), np.float32)
        factor[3] = WIDE
        weights[node.input[1]].CopyFrom(numpy_helper.from_array(value / factor[:, None], node.input[1]))
        proto.graph.initializer.append(numpy_helper.from_array(factor, f"{node.name}_factor"))
        names = [node.input[0], f"{node.name}_factor"]
        proto.graph.node.insert(place, onnx.helper.make_node("Mul", names, [f"{node.name}_wide"], f"{node.name}_Mul"))
        node.input[0] = f"{node.name}_wide"
    path = tmp_path_factory.mktemp("widened") / "model.onnx"
    onnx.save(proto, path)
    return replace(bundle, model=OnnxGraph(path))


def seen_in(bundle: Bundle, rows: int = 32) -> dict[str, Seen]:
    inputs = calibration_inputs(bundle, tiny_split("calibration", rows, seed=9))
    return observe(bundle.graph, set(product_inputs(bundle.graph).values()), inputs, seed=0)


# Calibration


def test_what_is_seen_is_what_flowed_without_padding(made: Bundle):
    [first, *_] = product_inputs(made.graph).values()
    tokens = np.array([[3, 4, 5, 6, 7]])
    fed = dict.fromkeys(made.processor.model_input_names, np.zeros_like(tokens)) | {"input_ids": tokens}
    alone = {**fed, "attention_mask": np.ones_like(tokens)}
    padded = {name: np.pad(value, ((0, 0), (0, 9))) for name, value in alone.items()}
    one, other = (observe(made.graph, [first], [inputs], seed=0)[first] for inputs in (alone, padded))
    assert one.lowest == pytest.approx(other.lowest, abs=1e-5)
    assert one.highest == pytest.approx(other.highest, abs=1e-5)
    assert len(one.sample) == len(other.sample) == tokens.size
    assert (one.sample >= one.lowest).all()
    assert (one.sample <= one.highest).all()


def test_more_texts_never_make_a_range_narrower(made: Bundle):
    some, more = seen_in(made, 8), seen_in(made, 64)
    assert some.keys() == more.keys() == set(product_inputs(made.graph).values())
    first = list(calibration_inputs(made, tiny_split("calibration", 8, seed=9)))
    both = observe(made.graph, set(some), [*first, *calibration_inputs(made, tiny_split("more", 16, seed=1))], seed=0)
    for name, seen in some.items():
        assert (both[name].lowest <= seen.lowest).all()
        assert (both[name].highest >= seen.highest).all()


def test_every_token_is_as_likely_to_be_kept_as_any_other():
    """Whenever it came, and whatever was in its batch."""
    shown, kept = 3 * ROWS, np.zeros(3 * ROWS)
    for seed in range(40):
        drawn, generator = Drawn(1), np.random.default_rng(seed)
        for batch in np.split(np.arange(shown, dtype=np.float32)[:, None], [1, 500, ROWS - 1, ROWS + 7, 2 * ROWS]):
            drawn.show(batch, generator)
        assert len(np.unique(drawn.rows())) == ROWS
        kept[drawn.rows()[:, 0].astype(int)] += 1
    by_third = kept.reshape(3, -1).mean(axis=1)
    assert by_third == pytest.approx(40 / 3, rel=0.02)  # five standard deviations of a third's mean


def test_without_texts_nothing_is_known(made: Bundle):
    with pytest.raises(DataError, match="no calibration texts"):
        observe(made.graph, list(product_inputs(made.graph).values()), [], seed=0)


def test_what_is_not_finite_has_no_range(made: Bundle, tmp_path: Path):
    proto = onnx.load(made.graph.path)
    [*_, name, _] = product_inputs(made.graph)
    [node] = [each for each in proto.graph.node if each.name == name]
    [weight] = [tensor for tensor in proto.graph.initializer if tensor.name == node.input[1]]
    weight.CopyFrom(numpy_helper.from_array(np.full(list(weight.dims), np.nan, np.float32), weight.name))
    onnx.save(proto, tmp_path / "model.onnx")
    with pytest.raises(ExportError, match="is not finite on a calibration text"):
        seen_in(replace(made, model=OnnxGraph(tmp_path / "model.onnx")))


@pytest.mark.parametrize("method", METHODS)
def test_a_range_lies_within_what_was_seen_and_holds_zero(method: RangeMethod):
    rows = np.random.default_rng(0).standard_normal((500, 12)).astype(np.float32) + 2
    seen = Seen(rows.min(axis=0), rows.max(axis=0), rows)
    low, high = range_of(seen, np.ones(12, dtype=bool), method)
    assert rows.min() - 0.1 <= low <= 0 < high <= rows.max() + 0.1
    wide = rows.copy()
    wide[0, 0] = 90
    far = range_of(Seen(wide.min(axis=0), wide.max(axis=0), wide), np.ones(12, dtype=bool), method)[1]
    assert far == 90 if method == "minmax" else far < 90, "one number in six thousand is clipped, unless all counts"


# Grids


def arrays(columns: int) -> st.SearchStrategy[Seen]:
    number = st.floats(0.0078125, 100, width=32)
    return st.builds(
        lambda low, high: Seen(
            -np.array(low, np.float32), np.array(high, np.float32), np.zeros((1, columns), np.float32)
        ),
        st.lists(number, min_size=columns, max_size=columns),
        st.lists(number, min_size=columns, max_size=columns),
    )


@given(arrays(24), st.integers(0, 2**31))
def test_channels_and_appended_columns_together_give_the_same_product(seen: Seen, seed: int):
    generator = np.random.default_rng(seed)
    weight, rows = generator.standard_normal((24, 5)), generator.standard_normal((7, 24))
    grid = grid_of(seen, np.square(weight).sum(axis=1), "minmax", split_outliers=True)
    assert len(grid.columns) <= MOST_COLUMNS
    assert len(grid.columns) % COLUMNS_AT_A_TIME == 0
    columns = rows[:, grid.columns] * (grid.scale / grid.column_scale)
    assert np.concatenate([rows, columns], axis=1) @ grid.weights(weight) == pytest.approx(rows @ weight)
    assert np.abs(grid.weights(weight)).max() <= np.abs(weight).max() * (1 + 1e-6), "no weight gets coarser"


@given(arrays(24), st.integers(0, 2**31))
def test_a_weight_is_rounded_once_however_often_its_channel_is_repeated(seen: Seen, seed: int):
    weight = np.random.default_rng(seed).standard_normal((24, 5)).astype(np.float32)
    grid = grid_of(seen, np.square(weight).sum(axis=1), "minmax", split_outliers=True)
    integers, steps = grid.integers(weight)
    whole = integers[:24] * steps
    for channel in np.unique(grid.columns):
        rows = 24 + np.flatnonzero(grid.columns == channel)
        whole[channel] = integers[rows].sum(axis=0) * steps * (grid.scale / grid.column_scale)
    wide = np.where(np.isin(np.arange(24), grid.columns), grid.scale / grid.column_scale, 1)[:, None]
    assert (np.abs(whole - weight) <= (0.5 + 1e-3) * steps * wide).all()


@given(arrays(24))
def test_every_number_that_was_seen_fits(seen: Seen):
    grid = grid_of(seen, np.ones(24), "minmax", split_outliers=True)
    apart = np.isin(np.arange(24), grid.columns)
    for low, high, scale in (
        (seen.lowest[~apart], seen.highest[~apart], grid.scale),
        (seen.lowest[apart], seen.highest[apart], grid.column_scale),
    ):
        if len(low):
            assert low.min() >= (-grid.zero - 0.51) * scale
            assert high.max() <= (255 - grid.zero + 0.51) * scale


def test_a_channel_that_is_far_wider_gets_columns_and_one_like_the_others_does_not():
    high = np.ones(32, np.float32)
    level = Seen(-high, high, np.zeros((1, 32), np.float32))
    assert not outliers(level, np.ones(32))[0].any()
    wide = high.copy()
    wide[[5, 9]] = 7.5
    found, times = outliers(Seen(-wide, wide, np.zeros((1, 32), np.float32)), np.ones(32))
    assert list(np.flatnonzero(found)) == [5, 9]
    assert times == 8
    wide[5] = wide[9] = 400.0
    grid = grid_of(Seen(-wide, wide, np.zeros((1, 32), np.float32)), np.ones(32), "minmax", split_outliers=True)
    assert len(grid.columns) <= MOST_COLUMNS, "a channel that is wider still gets as many as there are"
    assert grid.scale < wide.max() / 128 / 7


# Graphs


@pytest.mark.parametrize("form", FORMS)
def test_every_product_and_table_is_quantized_and_the_graph_says_much_the_same(
    made: Bundle, form: IntegerForm, tmp_path: Path
):
    judge = judge_of(made, made.graph, tiny_split("dev", 48, seed=5))
    graph = in_seven_bits(made.graph, tmp_path / "model_int8.onnx", seen_in(made), form=form)
    found, before = products(read_proto(graph.path)), products(read_proto(made.graph.path))
    assert (found.float_products, found.float_tables) == ((), ())
    assert len(found.quantized_products) == len(before.float_products)
    assert len(found.quantized_tables) == len(before.float_tables)
    assert quantized(made.graph, graph, at_least=len(before.float_products)).passed
    assert judge(graph) < 1.5 * judge(dynamic_int8(made.graph, tmp_path / "dynamic.onnx", reduce_range=True))
    assert graph.path.stat().st_size < 0.6 * made.graph.path.stat().st_size
    given = [name for node in read_proto(graph.path).graph.node for name in node.output]
    assert len(given) == len(set(given))
    again = in_seven_bits(made.graph, tmp_path / "again.onnx", seen_in(made), form=form)
    assert again.path.read_bytes() == graph.path.read_bytes()


def test_outlier_channels_cost_nothing_once_they_have_columns(widened: Bundle, tmp_path: Path):
    judge = judge_of(widened, widened.graph, tiny_split("dev", 48, seed=5))
    seen = seen_in(widened)
    split, left = (
        judge(in_seven_bits(widened.graph, tmp_path / "x.onnx", seen, split_outliers=split)) for split in (True, False)
    )
    assert split < left / 2


def test_both_forms_say_the_same(made: Bundle, tmp_path: Path):
    seen, split = seen_in(made), tiny_split("dev", 24, seed=5)
    one, other = (in_seven_bits(made.graph, tmp_path / f"{form}.onnx", seen, form=form) for form in FORMS)
    assert judge_of(made, one, split)(other) < 1e-4


def test_the_bias_of_a_product_is_in_its_node(made: Bundle, tmp_path: Path):
    graph = in_seven_bits(made.graph, tmp_path / "model_int8.onnx", seen_in(made))
    nodes = [node for node in read_proto(graph.path).graph.node if node.op_type == "MatMulIntegerToFloat"]
    assert len(nodes) == len(product_inputs(made.graph))
    assert all(len(node.input) == 7 and node.input[6] for node in nodes), "BERT has no product without"


@pytest.mark.parametrize("form", FORMS)
def test_onnxruntime_multiplies_integers(made: Bundle, form: IntegerForm, tmp_path: Path):
    import onnxruntime

    graph = in_seven_bits(made.graph, tmp_path / "model_int8.onnx", seen_in(made), form=form)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(graph.path, options, providers=["CPUExecutionProvider"])
    counted = operators(read_proto(tmp_path / "optimized.onnx"))
    heads = 2 if form == "qdq" else 0  # of products that read one row a text onnxruntime makes a Gemm of floats
    assert counted["MatMulIntegerToFloat"] >= len(product_inputs(made.graph)) - heads


def test_what_is_to_stay_in_float_does(made: Bundle, tmp_path: Path):
    [first, second, *_] = product_inputs(made.graph)
    seen = seen_in(made)
    graph = in_seven_bits(made.graph, tmp_path / "keep.onnx", seen, keep=[first])
    assert products(read_proto(graph.path)).float_products == (first,)
    graph = in_seven_bits(made.graph, tmp_path / "only.onnx", seen, only=[second])
    assert products(read_proto(graph.path)).quantized_products == (second,)
    assert products(read_proto(graph.path)).quantized_tables == ()


def test_a_product_that_nothing_was_seen_of_is_named(made: Bundle, tmp_path: Path):
    with pytest.raises(ExportError, match="nothing is known of"):
        in_seven_bits(made.graph, tmp_path / "x.onnx", {})


def test_integers_are_not_made_of_integers(made: Bundle, tmp_path: Path):
    seen = seen_in(made)
    graph = in_seven_bits(made.graph, tmp_path / "model_int8.onnx", seen)
    with pytest.raises(ExportError, match="its weights are int8 already"):
        in_seven_bits(graph, tmp_path / "twice.onnx", seen)


def test_a_product_whose_input_is_left_in_float_is_counted_as_float(made: Bundle, tmp_path: Path):
    graph = in_seven_bits(made.graph, tmp_path / "model_int8.onnx", seen_in(made), form="qdq")
    proto = onnx.load(graph.path)
    node = next(node for node in proto.graph.node if node.op_type == "MatMul" and "/rounded" in node.input[0])
    node.input[0] = node.input[0].removesuffix("/rounded")
    onnx.save(proto, tmp_path / "model_int8.onnx")
    finding = quantized(made.graph, graph, at_least=1)
    assert not finding.passed
    assert node.name in finding.detail


# Tables


@pytest.mark.parametrize("columns", [384, 96, 48])
def test_four_bits_lose_no_more_than_a_step_and_pack_two_to_a_byte(columns: int):
    table = np.random.default_rng(0).standard_normal((9, columns)).astype(np.float32)
    block = block_of(columns)
    integers, scales = four_bits(table, block)
    assert scales.shape == (9, columns // block)
    wide = np.repeat(scales, block, axis=1)
    inside = np.abs(table) <= 7 * wide
    assert (np.abs(integers * wide - table)[inside] <= 0.5001 * wide[inside]).all()
    plain = np.abs(table.reshape(9, -1, block)).max(axis=-1, keepdims=True) / 7
    whole = np.rint(table.reshape(9, -1, block) / plain) * plain
    assert np.square(integers * wide - table).sum() <= np.square(whole.reshape(table.shape) - table).sum()
    tensor = packed("table", integers)
    assert len(tensor.raw_data) == integers.size // 2
    assert np.array_equal(numpy_helper.to_array(tensor).astype(np.int8), integers)


def test_rows_that_cannot_be_divided_have_no_blocks():
    assert [block_of(columns) for columns in (384, 64, 80, 40, 17)] == [128, 64, 16, 0, 0]


def test_a_large_table_of_four_bits_is_read_as_one_of_eight(
    made: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("compress.graph.static.LARGE_TABLE", 64)
    seen, judge = seen_in(made), judge_of(made, made.graph, tiny_split("dev", 48, seed=5))
    eight, four = (in_seven_bits(made.graph, tmp_path / f"{bits}.onnx", seen, tables=bits) for bits in (8, 4))
    assert operators(read_proto(four.path))["GatherBlockQuantized"] >= 1
    assert quantized(made.graph, four, at_least=1).passed
    assert four.path.stat().st_size < eight.path.stat().st_size
    assert judge(eight) < judge(four) < 1


@pytest.mark.parametrize("option", [{"ranges": "entropy"}, {"embedding": "int4"}, {"outliers": "leave"}])
def test_an_option_of_the_other_method_is_refused(option):
    with pytest.raises(ValueError, match=r"is of .*static_int8.*, and the method is dynamic_int8"):
        Quantize(method="dynamic_int8", **option)
    assert Quantize(method="static_int8", **option).sees == ("calibration", "deploy")
