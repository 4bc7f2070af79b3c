"""Laws of tables: cells stay cells whatever is in them, every target is told."""

from sample import sample_run

from evaluation.measurement import Measurement, Run
from reports.number import Reading, read_comparison
from reports.table import results_table, table_of, to_markdown


def test_every_target_has_a_row():
    run = sample_run()
    lines = results_table(run).splitlines()
    assert all(any(target.name in line for line in lines) for target in run.targets)


def test_every_target_tells_what_it_lost_and_how_much_smaller_it_is():
    run = sample_run()
    heading, _, *lines = results_table(run).splitlines()
    lost = [cell.strip().partition(" (n =")[0] for cell in heading.split("|")].index("accuracy lost")
    for target, line in zip(run.targets, lines, strict=False):
        drop = run.compared(target.name, "torch-fp32", "quality_drop", metric="accuracy")
        ratio = run.compared(target.name, "torch-fp32", "compression_ratio")
        wanted = read_comparison(drop.model_copy(update={"count": None})) if drop else ""
        assert line.split("|")[lost].strip() == str(wanted)
        assert ratio is None or f" MB ({read_comparison(ratio).figure})" in line
    assert "Ratios (x) and lost quality: against torch-fp32." in results_table(run)


def test_a_table_of_one_model_speaks_of_no_ratios():
    alone = sample_run().model_copy(update={"comparisons": []})
    assert "lost" not in results_table(alone)
    assert "against" not in results_table(alone)


def test_a_cell_cannot_break_its_row():
    table = table_of("t", ["a", "b"], [("x | y\nz", "<script>")])
    line = to_markdown(table).splitlines()[2]
    assert line == r"| x \| y z | &lt;script&gt; |"


def test_empty_columns_are_left_out_and_a_shared_count_is_told_once():
    rows = [("a", "", Reading("1", "0 to 2", 7)), ("b", "", Reading("2", "1 to 3", 7))]
    table = table_of("t", ["name", "nothing", "figure"], rows)
    assert table.columns == ("name", "figure (n = 7)")
    assert [str(row[1]) for row in table.rows] == ["1 (0 to 2)", "2 (1 to 3)"]


def test_one_measurement_is_enough():
    only = Measurement(target="m", name="bytes", value=1e6, unit="bytes", higher_is_better=False)
    assert "1.00 MB" in results_table(Run(name="r", measurements=[only]))
