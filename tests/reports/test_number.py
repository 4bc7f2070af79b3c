"""Laws of writing figures: no more digits than the interval supports, one unit throughout."""

from hypothesis import given
from hypothesis import strategies as st

from evaluation.measurement import Comparison, Gate, Measurement
from reports.number import read_comparison, read_gate, read_measurement, read_p_value

finite = st.floats(1e-3, 1e6)


def speedup(value, low=None, high=None):
    return Comparison(target="result", baseline="b", name="speedup", value=value, low=low, high=high)


def drop(value, low, high, metric="accuracy", count=None):
    conditions = {"metric": metric}
    return Comparison(
        target="result",
        baseline="b",
        name="quality_drop",
        value=value,
        low=low,
        high=high,
        count=count,
        conditions=conditions,
    )


@given(finite, finite, finite)
def test_the_written_value_lies_in_the_written_interval(first, second, third):
    low, value, high = sorted((first, second, third))
    reading = read_comparison(speedup(value, low, high))
    ends = [float(end.replace(",", "")) for end in reading.interval.split(" to ")]
    assert ends[0] <= float(reading.figure.removesuffix("x").replace(",", "")) <= ends[1]


def test_a_wider_interval_never_gives_more_digits():
    lengths = [len(read_comparison(speedup(5.8123, 5.8123 - half, 5.8123 + half)).figure) for half in (0.01, 0.1, 1.0)]
    assert lengths == sorted(lengths, reverse=True)


def test_the_forms_that_readers_know():
    accuracy = Measurement(
        target="result",
        name="accuracy",
        value=0.861,
        unit="ratio",
        low=0.84,
        high=0.881,
        count=1050,
        higher_is_better=True,
    )
    assert str(read_measurement(accuracy)) == "0.861 (0.840 to 0.881, n = 1,050)"
    assert str(read_comparison(speedup(9.8, 9.5, 10.1))) == "9.8x (9.5 to 10.1)"
    assert str(read_comparison(drop(0.008, -0.004, 0.021))) == "0.8 points (-0.4 to 2.1)"


def test_a_perplexity_drop_is_relative():
    assert str(read_comparison(drop(0.085, 0.08, 0.09, metric="perplexity"), unit="relative")).startswith("8.5 %")


def test_zero_has_no_sign():
    assert "-0.0" not in str(read_comparison(drop(-0.0000001, -0.01, 0.01)))


def test_counted_figures_have_no_interval():
    size = Measurement(target="result", name="bytes", value=22_713_216, unit="bytes", higher_is_better=False)
    assert str(read_measurement(size)) == "22.7 MB"


def test_a_gate_and_its_limit_are_in_one_unit():
    gate = Gate(name="max_quality_drop", limit=0.03, value=0.008, passed=True)
    assert read_gate(gate, unit="ratio") == ("0.8 points", "at most 3 points")


def test_a_tiny_p_value_is_not_zero():
    assert read_p_value(1e-9) == "< 0.001"
    assert read_p_value(None) == ""


def test_a_figure_whose_interval_leaves_out_zero_is_not_written_as_zero():
    slow = Measurement(
        target="r", name="latency_p95_ms", value=0.13, unit="ms", low=0.12, high=12.4, higher_is_better=False
    )
    assert str(read_measurement(slow)) == "0.1 ms (0.1 to 12.4)"


def test_a_correlation_has_no_unit_and_its_loss_no_points():
    spearman = Measurement(
        target="r", name="spearman", value=0.8612, unit="correlation", low=0.84, high=0.88, higher_is_better=True
    )
    assert str(read_measurement(spearman)) == "0.861 (0.840 to 0.880)"
    assert str(read_comparison(drop(0.0123, 0.001, 0.024, metric="spearman"), unit="correlation")).startswith("0.012 (")


def test_gates_of_stages_say_which_side_of_the_limit_is_right():
    parity = Gate(name="parity", limit=1e-4, value=7e-7, passed=True)
    agreement = Gate(name="quantized_agreement", limit=0.9, value=0.99, passed=True)
    assert read_gate(parity) == ("7e-07", "at most 0.0001")
    assert read_gate(agreement) == ("0.99", "at least 0.9")
