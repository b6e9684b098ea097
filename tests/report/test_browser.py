"""Pages of reports, opened in a browser without a window; skipped where no Chromium or Chrome is installed."""

from __future__ import annotations

import shutil

import pytest

from lare_dassl.report.page import Options, write_report
from tests.report.browser import opened, started_browser, unfold
from tests.report.run_making import make_run_on_images, make_runs_on_embeddings

DRAWN = "elements => elements.map(element => [element.naturalWidth, element.getBoundingClientRect().width])"
COLOURS = "body => [getComputedStyle(body).color, getComputedStyle(body).backgroundColor]"
BOXES = "elements => elements.map(e => e.getBoundingClientRect()).map(box => [box.width, box.height])"


@pytest.fixture(scope="module")
def browser():
    with started_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def report(browser, tmp_path_factory):
    """A page of four runs on an embedding file with hostile names, and one run on images, which is looked into."""
    folder = tmp_path_factory.mktemp("report")
    runs = make_runs_on_embeddings(folder, hostile=True)
    made = make_run_on_images(folder / "pictures", classes=("<img src=x onerror=alert(1)>", "dog"))
    shutil.move(made / "LARE-0", runs / "LARE-images")
    return write_report(Options(runs, folder / "report.html", run=runs / "LARE-images"))


def cells(page, title, column):
    """The texts of one column of the table under a title."""
    table = page.get_by_role("table", name=title, exact=True)
    return table.locator(f"tbody td:nth-child({column})").all_text_contents()


def test_the_page_opens_without_a_complaint_and_all_is_drawn(report, browser):
    with opened(browser, report) as (page, complaints):
        page.wait_for_load_state("networkidle")
        unfold(page)
        assert page.title() == "Results of runs"
        assert page.get_by_role("heading", level=2).count() >= 6
        assert len(cells(page, "Runs", 1)) == 5
        assert len(cells(page, "embeddings: accuracy and calibration", 1)) == 2

        drawings = page.locator("figure.drawing svg")
        sizes = drawings.evaluate_all(BOXES)
        assert len(sizes) == page.locator("figure.drawing").count() >= 6
        assert all(width > 200 and height > 100 for width, height in sizes)
        assert all(drawings.evaluate_all("all => all.map(svg => svg.getAttribute('aria-label').length > 30)"))

        pictures = page.locator(".pictures img").evaluate_all(DRAWN)
        assert len(pictures) >= 2 * 3
        assert all(natural == 16 and shown > 50 for natural, shown in pictures)
        assert complaints == []


def test_a_click_on_a_heading_sorts(report, browser):
    with opened(browser, report) as (page, complaints):
        unfold(page)
        table = page.get_by_role("table", name="Runs", exact=True)
        heading = table.get_by_role("columnheader", name="out-of-domain")
        before = [float(text) for text in cells(page, "Runs", 8)]
        heading.get_by_role("button").click()
        assert [float(text) for text in cells(page, "Runs", 8)] == sorted(before) != before
        assert heading.get_attribute("aria-sort") == "ascending"
        assert sorted(cells(page, "Runs", 1))[2:] == ["LARE-0", "LARE-1", "LARE-images"]
        heading.get_by_role("button").press("Enter")
        assert [float(text) for text in cells(page, "Runs", 8)] == sorted(before, reverse=True)
        assert heading.get_attribute("aria-sort") == "descending"

        method = table.get_by_role("columnheader", name="method")
        method.get_by_role("button").click()
        assert cells(page, "Runs", 3)[:2] == ["FineTune", "FineTune"]
        assert heading.get_attribute("aria-sort") is None
        assert complaints == []


def test_numbers_sort_as_numbers_and_missing_ones_come_last(report, browser):
    texts = ["10.0 ± 0.1", "–", "−2.5 [−3.0, −2.0]", "all", "9.5 †", "+3", "missing"]
    with opened(browser, report) as (page, _):
        unfold(page)
        body = page.get_by_role("table", name="Runs").locator("tbody")
        rows = "".join(f"<tr>{'<td></td>' * 5}<td>{text}</td></tr>" for text in texts)
        body.evaluate("(body, rows) => { body.innerHTML = rows }", rows)
        button = page.get_by_role("table", name="Runs").get_by_role("button", name="seed")
        button.click()
        assert cells(page, "Runs", 6) == ["−2.5 [−3.0, −2.0]", "+3", "9.5 †", "10.0 ± 0.1", "all", "–", "missing"]
        button.click()
        assert cells(page, "Runs", 6) == ["all", "10.0 ± 0.1", "9.5 †", "+3", "−2.5 [−3.0, −2.0]", "–", "missing"]


def test_hostile_names_are_shown_and_do_nothing(report, browser):
    with opened(browser, report) as (page, complaints):
        assert page.get_by_role("heading", name="<img src=x onerror=alert(1)>: photo/").count() == 1
        assert page.locator("img:not([src^='data:'])").count() == 0
        assert page.evaluate("document.querySelectorAll('script').length") == 1
        assert complaints == []


@pytest.mark.parametrize("width", [320, 390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_its_window_and_can_be_read(report, browser, width, scheme):
    with opened(browser, report, viewport={"width": width, "height": 800}, color_scheme=scheme) as (page, complaints):
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        unfold(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        colours = page.locator("body").evaluate(COLOURS)
        text, ground = (sum(map(int, colour[4:-1].split(","))) for colour in colours)
        assert abs(text - ground) > 500 and (text > ground) == (scheme == "dark")
        assert complaints == []


SCROLLING = "areas => areas.filter(area => area.scrollWidth > area.clientWidth + 1).length"


@pytest.mark.parametrize("width", [420, 500])
def test_a_table_that_does_not_fit_says_that_it_scrolls_and_keeps_its_methods(report, browser, width):
    with opened(browser, report, viewport={"width": width, "height": 800}) as (page, complaints):
        unfold(page)
        hints = page.get_by_text("scroll →")
        shown = hints.evaluate_all("all => all.filter(hint => hint.offsetWidth > 0).length")
        assert shown == page.locator(".wide").evaluate_all(SCROLLING) >= 2
        table = page.get_by_role("table", name="Runs", exact=True)
        area, method = table.locator(".."), table.locator("tbody td.key").first
        assert method.text_content() == "FineTune"
        area.evaluate("area => { area.scrollLeft = area.scrollWidth }")
        assert method.bounding_box()["x"] == pytest.approx(area.bounding_box()["x"], abs=1)
        page.wait_for_function("area => area.parentElement.classList.contains('ended')", arg=area.element_handle())
        assert complaints == []


def test_a_table_that_fits_says_nothing_of_scrolling(report, browser):
    with opened(browser, report, viewport={"width": 1400, "height": 800}) as (page, _):
        hint = page.get_by_role("table", name="embeddings: accuracy and calibration").locator("../..").locator(".hint")
        assert not hint.is_visible()


def test_on_paper_all_is_open(report, browser):
    with opened(browser, report) as (page, _):
        closed = page.locator("details:not([open])").count()
        assert closed >= 2
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.locator("details:not([open])").count() == 0
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.locator("details:not([open])").count() == closed
