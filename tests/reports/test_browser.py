"""Laws of the page in a real browser: it draws, answers and fits, fetches nothing, and shuts nobody out."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from inspection_sample import inspected
from sample import sample_run

from reports.inspection import write_inspection
from reports.outline import charts_in
from reports.page import write_report
from reports.story import sections_of

playwright = pytest.importorskip(
    "playwright.sync_api", reason="the page was not tried in a browser: playwright is not installed"
)

# A browser under test asks nobody for anything of its own accord either.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = (320, 768, 1280)
HOSTILE = "</script><script>window.broken=1</script><img src=x onerror='window.broken=1'>\u2028'\"&"

DRAWN = """() => new Promise((done) => {
    const ready = () => [...document.querySelectorAll('figure.plot')]
        .filter((figure) => figure.querySelector('.chart').clientWidth)
        .every((figure) => figure.drawnAt);
    const look = () => (ready() ? done() : setTimeout(look, 50));
    look();
})"""
SIDEWAYS = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    with playwright.sync_playwright() as started:
        try:
            chromium = started.chromium.launch(executable_path=found, args=list(FLAGS))
        except playwright.Error as fault:
            looked = found or f"{', '.join(BROWSERS)} and playwright's own Chromium"
            pytest.skip(f"the page was not tried in a browser: none starts of {looked} ({str(fault).splitlines()[0]})")
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def report(sample_report: Path) -> Path:
    return sample_report


class Visit:
    """A page that is open, with all it asked for and all it complained of."""

    def __init__(self, browser: Any, file: Path, *, width: int = 1280, **options: Any) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type != "log" else None)
        self.page.on("pageerror", lambda fault: self.complaints.append(str(fault)))
        self.page.goto(file.as_uri())
        if options.get("java_script_enabled", True):
            self.page.evaluate(DRAWN)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def unfold(self) -> None:
        """Open every fold, and see every chart of every switch."""
        self.page.evaluate("() => document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")
        for button in self.page.locator(".choices button").all():
            button.click()
            self.page.evaluate(DRAWN)

    def colours(self) -> tuple[str, str]:
        """What the page is painted in, and the bars of the result."""
        paper = self.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        return paper, self.page.locator("#chart-latency .live .mark-rect path").last.get_attribute("fill")


@pytest.fixture(scope="module")
def visit(browser: Any, report: Path) -> Iterator[Visit]:
    """One visit that many tests look at: each leaves it as it was."""
    with Visit(browser, report) as opened:
        yield opened


def test_every_chart_is_drawn(browser, report):
    with Visit(browser, report) as seen:
        seen.unfold()
        wanted = {f"chart-{chart.name}" for chart in charts_in(sections_of(sample_run()))}
        drawn = seen.page.locator("figure.drawn:has(.live svg)").all()
        assert {figure.get_attribute("id") for figure in drawn} == wanted
        assert len(wanted) > 8
        marks = seen.page.locator("figure.drawn .live svg")
        assert all(marks.nth(place).locator("[class*='mark-']").count() > 5 for place in range(marks.count()))
        assert seen.complaints == []


def test_nothing_is_fetched_and_nothing_complained_of(visit, report):
    assert visit.requests == [report.as_uri()]
    assert visit.complaints == []


def test_the_page_s_policy_stops_a_script_that_is_not_its_own(browser, report):
    with Visit(browser, report) as seen:
        seen.page.evaluate(
            """() => { const s = document.createElement('script'); s.textContent = 'window.foreign = 1';
                       document.body.append(s); fetch('https://example.invalid/').catch(() => {}); }"""
        )
        assert seen.page.evaluate("() => window.foreign") is None
        assert any("Content Security Policy" in complaint for complaint in seen.complaints)


def test_text_from_data_stays_text(browser, tmp_path):
    run = sample_run(HOSTILE)
    renamed = {target.name: f"{target.name}{HOSTILE}" for target in run.targets}
    targets = [target.model_copy(update={"name": renamed[target.name]}) for target in run.targets]
    measured = [m.model_copy(update={"target": renamed[m.target]}) for m in run.measurements]
    compared = [
        c.model_copy(update={"target": renamed[c.target], "baseline": renamed[c.baseline]}) for c in run.comparisons
    ]
    changes = {"targets": targets, "measurements": measured, "comparisons": compared, "recipe": {"name": HOSTILE}}
    file = write_report([run.model_copy(update=changes)], tmp_path, formats=["html"])
    with Visit(browser, file) as seen:
        assert seen.page.evaluate("() => window.broken") is None
        assert seen.page.locator("img").count() == 0
        assert HOSTILE.partition("\u2028")[0] in seen.page.locator("h1").inner_text()
        assert seen.complaints == []


def test_pointing_at_a_mark_tells_figure_interval_count_and_conditions(visit):
    visit.page.locator("#chart-latency .live .mark-rect path").first.hover()
    told = visit.page.locator("#vg-tooltip-element.visible")
    told.wait_for()
    words = told.inner_text()
    for wanted in ("torch-fp32", "10.6 ms", "10.4 to 10.8", "160", "threads 2"):
        assert wanted in words


@pytest.mark.parametrize(
    ("chart", "marks"),
    [("tradeoff", ".mark-symbol.role-mark path"), ("latency", ".mark-rect path"), ("anatomy", ".mark-rect path")],
)
def test_the_legend_shows_one_alone_and_all_again(visit, chart, marks):
    live = visit.page.locator(f"#chart-{chart} .live")
    entry = live.locator(".role-legend-symbol path").first

    def faint() -> tuple[int, int]:
        found = live.locator(marks).evaluate_all(
            "(all) => all.map((mark) => Number(mark.getAttribute('opacity') ?? 1))"
        )
        return sum(opacity < 0.2 for opacity in found), len(found)

    assert faint()[0] == 0
    entry.click(timeout=3000)
    hidden, all_of_them = faint()
    assert 0 < hidden < all_of_them
    entry.click()
    assert faint()[0] == 0


def test_keys_work_the_legend_as_a_click_does_and_a_chart_drawn_anew_remembers(visit):
    chart = visit.page.locator("#chart-latency")
    buttons = chart.locator(".toggles button")
    series = chart.locator(".live .role-legend-label text").all_text_contents()

    def state() -> list[bool]:
        return [button.get_attribute("aria-pressed") == "true" for button in buttons.all()]

    def faint() -> int:
        opacities = chart.locator(".live .mark-rect path").evaluate_all(
            "(all) => all.map((mark) => Number(mark.getAttribute('opacity') ?? 1))"
        )
        return sum(opacity < 0.2 for opacity in opacities)

    def recolour() -> None:
        visit.page.locator("#theme").click()
        visit.page.evaluate("() => Promise.all([...document.querySelectorAll('figure')].map((each) => each.queue))")

    assert [chart.get_by_role("button", name=name, exact=True).count() for name in series] == [1] * len(series)
    first, others = buttons.first, [False] * (len(series) - 1)
    entry, frame = chart.locator(".live .role-legend-symbol path").first.bounding_box(), first.bounding_box()
    assert frame["x"] <= entry["x"] <= frame["x"] + frame["width"]
    assert frame["y"] <= entry["y"] <= frame["y"] + frame["height"]
    first.focus()
    for key in ("Enter", "Space"):
        assert (state(), faint()) == ([False, *others], 0)
        visit.page.keyboard.press(key)
        assert state() == [True, *others]
        assert faint() > 0
        assert first.evaluate("(one) => getComputedStyle(one).outlineStyle") == "solid"
        visit.page.keyboard.press(key)
    chart.locator(".live .role-legend-symbol path").first.click()
    recolour()
    assert state() == [True, *others]
    assert faint() > 0
    buttons.first.press("Enter")
    recolour()
    assert (state(), faint()) == ([False, *others], 0)


def test_the_wheel_zooms_with_ctrl_alone(browser, report):
    with Visit(browser, report) as seen:
        live = seen.page.locator("#chart-tradeoff .live")
        live.scroll_into_view_if_needed()
        labels = live.locator(".role-axis-label text")
        box = live.locator("svg").bounding_box()
        before = labels.all_text_contents()
        seen.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 3)
        seen.page.mouse.wheel(0, -60)
        seen.page.wait_for_timeout(150)
        assert labels.all_text_contents() == before
        live.scroll_into_view_if_needed()
        box = live.locator("svg").bounding_box()
        seen.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 3)
        seen.page.keyboard.down("Control")
        seen.page.mouse.wheel(0, -200)
        seen.page.wait_for_timeout(150)
        assert labels.all_text_contents() != before


def test_a_switch_shows_one_chart_at_a_time(visit):
    figures, buttons = (visit.page.locator(f".switch > {what}") for what in ("figure", ".choices > button"))
    for place in (figures.count() - 1, 0):
        buttons.nth(place).focus()
        visit.page.keyboard.press("Enter")
        assert [figure.is_visible() for figure in figures.all()] == [at == place for at in range(figures.count())]
        assert buttons.nth(place).get_attribute("aria-pressed") == "true"


def test_dark_follows_the_system_and_the_button(browser, report):
    with Visit(browser, report, color_scheme="dark") as dark, Visit(browser, report) as light:
        assert all(one != other for one, other in zip(dark.colours(), light.colours(), strict=True))
        in_light = light.colours()
        light.page.locator("#theme").click()
        light.page.wait_for_function("() => document.querySelector('#chart-latency').drawnDark === true")
        assert light.colours() == dark.colours()
        light.page.locator("#theme").click()
        light.page.wait_for_function("() => document.querySelector('#chart-latency').drawnDark === false")
        assert light.colours() == in_light


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_fits_every_width_and_axe_finds_nothing_serious(browser, report, width):
    _fits_and_shuts_nobody_out(browser, report, width)


@pytest.mark.parametrize("width", WIDTHS[:1])
def test_the_page_of_an_inspection_does_as_well(browser, tmp_path, width):
    _fits_and_shuts_nobody_out(browser, write_inspection(inspected(), tmp_path), width)


def _fits_and_shuts_nobody_out(browser, report, width):
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe was not run: axe-playwright-python is not installed"
    )
    scheme = "dark" if width == 768 else "light"
    with Visit(browser, report, width=width, color_scheme=scheme, reduced_motion="reduce") as seen:
        seen.unfold()
        assert seen.page.evaluate(SIDEWAYS) <= 0
        for live in seen.page.locator("figure.drawn .live:visible").all():
            drawing, room = live.locator("svg").bounding_box(), live.bounding_box()
            assert drawing["width"] <= room["width"] + 1, live.get_attribute("aria-label")[:60]
        # Axe passes over what is not seen: the whole page is, every fold open and every chart of a switch in view.
        seen.page.evaluate(
            "() => document.querySelectorAll('.behind').forEach((one) => one.classList.remove('behind'))"
        )
        assert seen.page.locator("figure.plot:visible").count() == seen.page.locator("figure.plot").count()
        found = axe.Axe().run(seen.page, options={"resultTypes": ["violations"]}).response["violations"]
        grave = [
            (each["id"], [node["target"] for node in each["nodes"]][:3])
            for each in found
            if each["impact"] in ("serious", "critical")
        ]
        assert grave == []
        assert (seen.requests, seen.complaints) == ([report.as_uri()], [])


def test_the_keyboard_reaches_the_content_first(browser, report):
    with Visit(browser, report) as seen:
        seen.page.keyboard.press("Tab")
        link = seen.page.locator(":focus")
        assert link.inner_text() == "Skip to the content"
        assert link.bounding_box()["x"] >= 0
        seen.page.keyboard.press("Enter")
        assert seen.page.evaluate("() => document.activeElement.id") == "content"


def test_a_figure_leads_to_its_conditions_even_in_a_fold(browser, report):
    with Visit(browser, report) as seen:
        link = seen.page.locator("a.figure").first
        link.click()
        row = seen.page.locator("tr:target")
        row.wait_for()
        assert row.is_visible()


def test_print_shows_the_still_charts_unfolded_and_no_controls(browser, report):
    with Visit(browser, report, color_scheme="dark") as seen:
        seen.page.emulate_media(media="print")
        seen.page.evaluate("() => dispatchEvent(new Event('beforeprint'))")
        stills = seen.page.locator(".still svg")
        assert all(stills.nth(place).is_visible() for place in range(stills.count()))
        assert seen.page.locator(".live:visible").count() == 0
        assert seen.page.locator("button:visible").count() == 0
        assert seen.page.locator("details:not([open])").count() == 0
        assert seen.page.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        seen.page.evaluate("() => dispatchEvent(new Event('afterprint'))")
        assert seen.page.locator("details[open]").count() == 0


def test_without_scripts_all_charts_stand_still(browser, report):
    with Visit(browser, report, java_script_enabled=False, width=320) as seen:
        stills = seen.page.locator(".still svg")
        folded = seen.page.locator("details .still svg").count()
        shown = sum(stills.nth(place).is_visible() for place in range(stills.count()))
        assert shown == stills.count() - folded
        assert seen.page.locator("button:visible").count() == 0
