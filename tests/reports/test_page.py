"""Laws of the report: complete, equal on page and in Markdown, escaped, offline, the same bytes each time."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from sample import sample_run

from compress.errors import DataError
from evaluation.measurement import Comparison, Gate, Measurement, Run
from reports.number import read_comparison, read_measurement
from reports.page import render_html, render_markdown, write_report

ONLY = Measurement(target="some-model", name="accuracy", value=0.9, unit="ratio", higher_is_better=True)


class Reader(HTMLParser):
    """Collects a page's words, attributes, ids and table headings."""

    def __init__(self, page):
        super().__init__()
        self.words, self.tags, self.rows, self._silent = [], [], [], False
        self.feed(page)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._silent = tag in ("style", "script")
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag):
        self._silent = self._silent and tag not in ("style", "script")

    def handle_data(self, data):
        if not self._silent:
            self.words.append(data)
            if self.rows and data.strip():
                self.rows[-1].append(data.strip())


def with_environment(**facts):
    run = sample_run()
    return run.model_copy(update={"environment": run.environment | facts})


def files_of(folder):
    return {path.name for path in folder.iterdir() if path.is_file()}


@pytest.fixture(scope="module")
def drawn(sample_report):
    return sample_report.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def undrawn():
    return render_html([sample_run()], drawn=False)


@pytest.fixture(scope="module")
def page(undrawn):
    return Reader(undrawn)


def test_every_measurement_is_on_the_page_with_unit_count_and_interval(page):
    for m in sample_run().measurements:
        reading = read_measurement(m)
        wanted = {m.target, m.name, reading.figure, m.unit} | ({reading.interval} - {""})
        wanted |= {f"{m.count:,}"} if m.count is not None else set()
        assert any(wanted <= set(row) for row in page.rows), m


def test_the_headline_compares_the_result_with_the_reference_and_gives_every_interval(page):
    headline = page.text[: page.text.index("What each step did")]
    for c in sample_run().comparisons:
        if (c.target, c.baseline) == ("result", "torch-fp32"):
            reading = read_comparison(c)
            assert reading.figure in headline
            assert reading.interval in headline


def test_page_and_markdown_show_the_same_numbers(page):
    markdown = re.sub(r"!\[.*?\]\(.*?\)", "", render_markdown([sample_run()])).replace("\\", "")
    told = set(re.findall(r"\d[\d,.]*\d", markdown))
    shown = set(re.findall(r"\d[\d,.]*\d", page.text))
    assert told <= shown


def test_text_of_the_run_is_escaped():
    evil = "<script>alert(1)</script>"
    run = sample_run()
    renamed = run.targets[0].model_copy(update={"title": evil})
    run = run.model_copy(
        update={
            "name": evil,
            "targets": [renamed, *run.targets[1:]],
            "tables": {**run.tables, "data": {evil: evil, "a": {evil: {evil: evil}}}, evil: [{evil: evil}]},
            "series": {f"{evil}.$x_{evil}$": {"x": [1, 2], "y": [1, 2], "x_unit": evil, "y_unit": "$\\bad$"}},
            "measurements": [*run.measurements, ONLY.model_copy(update={"target": evil})],
        }
    )
    page = render_html([run])
    assert evil not in page
    assert "&lt;script&gt;" in page
    assert "\\u003cscript\\u003e" in page  # in the data of a chart
    assert page.lower().count("<script") == page.lower().count("</script") == page.count("</figure") + 2
    assert "<script" not in render_markdown([run]).partition("```")[0]


def test_nothing_is_fetched(drawn):
    assert len(drawn.encode()) < 2_000_000
    for tag, attributes in Reader(drawn).tags:
        assert tag not in ("img", "iframe", "object")
        for name in ("src", "href", "xlink:href", "data", "action"):
            assert re.match(r"(#|data:,|$)", attributes.get(name) or ""), (tag, attributes)
    assert not re.search(r"@import|url\((?!#)", re.sub(r"<script.*?</script>", "", drawn, flags=re.DOTALL))


def test_the_policy_lets_the_page_s_own_script_run_and_nothing_else(drawn):
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', drawn)
    [script] = re.findall(r"<script>(.*?)</script>", drawn, flags=re.DOTALL)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def test_the_page_without_its_drawings_says_the_same(page, drawn):
    assert Reader(re.sub(r"<svg.*?</svg>", "", drawn, flags=re.DOTALL)).text == page.text


def test_the_same_run_gives_the_same_bytes(sample_report, tmp_path):
    assert write_report([sample_run()], tmp_path) == tmp_path / "index.html"
    assert {"index.html", "report.md", "summary.csv", "headline.svg"} <= files_of(tmp_path)
    same_bytes(sample_report.parent, tmp_path)


def test_the_same_runs_give_the_same_bytes(tmp_path):
    """What is drawn of several runs; what is drawn of each of them is the same as of one alone."""
    runs = [bare(sample_run()), bare(sample_run("other", faster=1.3))]
    for folder in ("a", "b"):
        assert write_report(runs, tmp_path / folder) == tmp_path / folder / "index.html"
    assert {"index.html", "report.md", "summary.csv", "runs-tradeoff.svg"} <= files_of(tmp_path / "a")
    same_bytes(tmp_path / "a", tmp_path / "b")


def bare(run):
    """A run that has little to draw: two targets' latency, accuracy and size, no comparison, curve or table."""
    names = ("latency_p50_ms", "accuracy", "bytes")
    kept = [m for m in run.measurements if m.name in names and m.target in ("torch-fp32", "result")]
    return run.model_copy(update={"measurements": kept, "comparisons": [], "series": {}, "tables": {}})


def same_bytes(one, other):
    assert files_of(one) == files_of(other)
    assert [name for name in files_of(one) if (one / name).read_bytes() != (other / name).read_bytes()] == []


def test_markdown_names_the_charts_that_are_written(sample_report):
    folder = sample_report.parent
    named = re.findall(r"\]\(([\w-]+\.svg)\)", sample_report.with_name("report.md").read_text(encoding="utf-8"))
    assert sorted(named) == sorted(path.name for path in folder.glob("*.svg"))
    for name in named:
        drawn = ElementTree.parse(folder / name).getroot()
        assert drawn.get("role") == "img"
        assert drawn.get("aria-label")


@pytest.mark.parametrize("runs", [[sample_run()], [sample_run(), sample_run()]], ids=["one", "two of a name"])
def test_ids_are_unique_and_links_lead_somewhere(runs, drawn):
    tags = Reader(drawn if len(runs) == 1 else render_html(runs, drawn=False)).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {value for _, attributes in tags for name, value in attributes.items() if name.endswith("href")}
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)


def test_headings_of_tables_have_a_scope(page):
    assert all(attributes.get("scope") in ("col", "row") for tag, attributes in page.tags if tag == "th")


SECTIONS = {
    "gates": ">Gates</h2>",
    "series": ">Training</h2>",
    "tables": ">Anatomy, layer by layer</h2>",
    "recipe": ">Recipe</h2>",
    "environment": ">Environment</h2>",
    "skipped": ">Not measured</h2>",
    "lineage": "Lineage",
    "comparisons": "speed-up over torch-fp32",
}


@pytest.mark.parametrize(("field", "title"), SECTIONS.items())
def test_what_is_absent_is_left_out(undrawn, field, title):
    run = sample_run()
    without = run.model_copy(update={field: type(getattr(run, field))()})
    assert title in undrawn
    assert title not in render_html([without], drawn=False)


@pytest.mark.parametrize(
    "run",
    [
        Run(name="empty"),
        Run(name="one", measurements=[ONLY]),
        Run(name="zero", measurements=[ONLY.model_copy(update={"name": "latency_p50_ms", "value": 0.0, "unit": "ms"})]),
        Run(name="odd", series={"s": 3, "t.u": {"x": [1], "y": []}}, tables={"anatomy": [{"layer": 1}], "n": 4}),
        sample_run().model_copy(update={"targets": [], "comparisons": []}),
    ],
    ids=lambda run: run.name,
)
def test_a_run_with_hardly_anything_renders(run, tmp_path):
    assert write_report([run], tmp_path).exists()
    assert run.name in render_markdown([run, sample_run()])


def test_a_failed_gate_is_told_first(page):
    text = Reader(render_html([sample_run(min_speedup=12)], drawn=False)).text
    assert "1 of 3 gates failed: min_speedup is 9.8x, wanted at least 12x." in text
    assert text.index("gates failed") < text.index("times smaller")
    assert "gates failed" not in page.text


def test_runs_of_different_machines_are_not_compared_silently():
    other = sample_run("other").model_copy(update={"environment": {"cpu": "another"}})
    assert "different machines" in render_markdown([sample_run(), other])
    assert "different machines" not in render_markdown([sample_run(), sample_run("other")])


def test_runs_of_different_thread_counts_are_not_compared_silently():
    other = with_environment(threads=1)
    assert "different numbers of threads" in render_markdown([sample_run(), other])
    assert "different numbers of threads" not in render_markdown([other, other])


def test_stages_found_done_are_told_beside_time_and_memory():
    for name in ("time taken", "peak memory"):
        [row] = [
            row for row in Reader(render_html([with_environment(stages_reused=2)], drawn=False)).rows if row[0] == name
        ]
        assert "2 stages were found done: this covers the rest only" in row[1]
    assert "found done" not in render_markdown([with_environment(stages_reused=0)])
    assert "1 stage was found done" in render_markdown([with_environment(stages_reused=1)])


def test_the_model_that_went_in_stands_with_the_data(page):
    data = page.text[page.text.index("Model that went in") : page.text.index("Tables, as they were read")]
    assert "pip:some-package==0.1.0!model" in data
    assert "sha256:77f0" in data


def test_every_split_is_a_row_of_the_data_card(page):
    headings = [row[0] for row in page.rows if row]
    assert {"train", "dev", "test"} <= set(headings)


def test_the_lineage_shows_what_each_stage_left(page):
    for step in sample_run().lineage:
        shown = step["digest_after"].removeprefix("sha256:")[:12]
        assert any(row[0] == step["stage"] and shown in row for row in page.rows if row)


def test_a_commit_is_named_only_where_it_is_known():
    assert "at commit 1f3a" in render_markdown([with_environment(commit="1f3a")])
    told = render_markdown([sample_run()])
    assert "commit" not in told
    assert "compress run recipe.yaml" in told


def test_a_percentile_that_was_not_measured_is_an_empty_cell():
    run = sample_run()
    missing = [
        m
        for m in run.measurements
        if (m.target, m.name, m.conditions.get("tokens")) == ("result", "latency_p95_ms", 16)
        or (m.name == "latency_p95_ms" and m.conditions.get("batch") == 32)
    ]
    thinned = run.model_copy(update={"measurements": [m for m in run.measurements if m not in missing]})
    tables = re.findall(r"\*\*([\d x]+) \(batch x tokens\)\*\*\n\n(.*?)\n\n", render_markdown([thinned]), re.DOTALL)
    shapes = {shape: text.splitlines() for shape, text in tables}
    [result] = [line for line in shapes["1 x 16"] if line.startswith("| **result")]
    assert [cell.strip() for cell in result.split("|")][4] == ""
    assert "p95" in shapes["1 x 16"][0]
    assert "p95" not in shapes["32 x 128"][0]
    assert "result" in Reader(render_html([thinned], drawn=False)).text


def test_a_gate_without_a_value_says_why():
    odd = Gate(name="fusion", limit=3, value=None, passed=False, target="03-export", detail="the graph has a loop")
    unseen = odd.model_copy(update={"detail": "not measured here"})
    told = render_markdown([sample_run().model_copy(update={"gates": [odd]})])
    assert "fusion is none (the graph has a loop), wanted 3" in told
    assert "fusion is not measured" not in told
    assert "fusion is not measured, wanted 3" in render_markdown([sample_run().model_copy(update={"gates": [unseen]})])


def test_an_earlier_report_goes_and_all_else_stays(tmp_path):
    for name in ("run.json", "recipe.yaml", "recipe.lock", "mine.svg"):
        (tmp_path / name).write_text("<svg>mine</svg>", encoding="utf-8")
    kept = files_of(tmp_path)
    series = {f"{stage}.loss": {"x": [1, 2], "y": [2, 1]} for stage in ("01-distill", "02-distill")}
    write_report([Run(name="r", series=series)], tmp_path)
    assert {"training-01-distill.svg", "training-02-distill.svg", "index.html"} <= files_of(tmp_path)
    series.pop("01-distill.loss")
    write_report([Run(name="r", series=series)], tmp_path, formats=["markdown"])
    assert files_of(tmp_path) == kept | {"training-02-distill.svg", "report.md", "summary.csv"}


def test_pages_of_others_are_left_alone(tmp_path):
    (tmp_path / "index.html").write_text("mine", encoding="utf-8")
    (tmp_path / "summary.csv").write_text("a,b\n", encoding="utf-8")
    write_report([Run(name="one", measurements=[ONLY])], tmp_path, formats=["markdown"])
    assert (tmp_path / "index.html").read_text(encoding="utf-8") == "mine"


def test_no_runs_are_refused(tmp_path):
    with pytest.raises(DataError, match="wanted at least one"):
        write_report([], tmp_path)


def test_a_run_without_targets_shows_its_gates_and_tables():
    gates = [
        Gate(name="malformed_recipes", limit=500, value=499, passed=False, target="recipes", detail="no traceback"),
        Gate(name="kills_resumed", limit=50, value=50, passed=True, target="small recipe", detail="byte by byte"),
    ]
    tables = {"kills": [{"moment": "01-distill", "after_s": 1.25, "identical": True}]}
    text = render_markdown([Run(name="faults", gates=gates, tables=tables)])
    assert "1 of 2 gates failed: malformed_recipes is 499, wanted 500." in text
    assert "| 01-distill | 1.25 | yes |" in text
    assert "<details>" not in text
    assert "Nothing was measured" not in text


@pytest.mark.parametrize(
    ("metric", "unit", "value", "lost", "told"),
    [
        ("spearman", "correlation", 0.8612, 0.0123, ("0.861", "0.012", "spearman lost")),
        ("pearson", "correlation", 0.8612, -0.0003, ("0.861", "0.000", "pearson lost")),
        ("perplexity", "perplexity", 21.15, 0.085, ("21.1", "8.5 %", "rise in perplexity")),
        ("entity_f1", "ratio", 0.9123, 0.021, ("0.912", "2.1 points", "entity_f1 lost")),
        ("span_f1", "ratio", 0.8, 0.0, ("0.800", "0.0 points", "span_f1 lost")),
        ("exact_match", "ratio", 0.75, 0.01, ("0.750", "1.0 points", "exact_match lost")),
    ],
)
def test_every_metric_reads_in_its_own_terms(metric, unit, value, lost, told):
    less = metric == "perplexity"
    quality = {"name": metric, "unit": unit, "low": value * 0.99, "high": value * 1.01, "higher_is_better": not less}
    quality["conditions"] = {"split": "test"}
    run = sample_run().model_copy(
        update={
            "recipe": {},
            "measurements": [Measurement(target=t, value=value, **quality) for t in ("torch-fp32", "result")],
            "comparisons": [
                Comparison(
                    target="result",
                    baseline="torch-fp32",
                    name="quality_drop",
                    value=lost,
                    low=lost - 0.01,
                    high=lost + 0.01,
                    conditions={"metric": metric},
                )
            ],
        }
    )
    text = render_markdown([run]).replace("\\", "")
    assert all(each in text for each in told), [each for each in told if each not in text]
    assert "correlation (" not in text
    assert not less or "perplexity lost" not in text
    headline = [tile for tile in text.splitlines() if tile.startswith(f"| {told[2]} |")]
    assert len(headline) == 1


def test_gates_of_stages_are_explained(page):
    [row] = [row for row in page.rows if row and row[0] == "parity"]
    assert "the graph gives what the torch model gives, however texts are padded" in row
    assert "at most 0.0001" in row
