"""The page in a browser: no errors, and what pointers and keys do."""

import pytest

import infoflow as ifl
from tests.browser import MISSING, browser
from tests.reporting.conftest import FIRST

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

TAB, ENTER, RIGHT, ESCAPE = "\ue004", "\ue007", "\ue014", "\ue00c"


@pytest.fixture(scope="module")
def page(nasty, tmp_path_factory):
    path = ifl.report(nasty, tmp_path_factory.mktemp("report") / "report.html")
    with browser() as session:
        session.show(1200)
        session.open(path)
        yield session


def middle(page, selector):
    """Where an element is, scrolled into view."""
    script = """const e = document.querySelector(arguments[0]); e.scrollIntoView({block: "center",
        behavior: "instant"}); const b = e.getBoundingClientRect();
        return [b.x + b.width / 3, b.y + b.height / 3]"""
    return page.run(script, selector)


def text(page, selector):
    return page.run("return document.querySelector(arguments[0]).textContent", selector)


def test_all_pictures_are_drawn_and_nothing_is_logged(page):
    drawn = page.run("""return ["discs", "dots", "units", "layers", "tracking", "scatter"].map(
        (id) => document.querySelectorAll(`#${id} svg *`).length)""")
    assert min(drawn) > 5
    assert page.run("return document.querySelectorAll('script').length") == 3
    assert page.run("return document.images.length") == 0
    assert page.console() == []


def test_pointing_at_a_matrix_names_the_units_and_the_value(page):
    page.point(*middle(page, "#matrix"))
    said = text(page, "#matrix-read")
    assert "×" in said and ("a$" in said or "b'" in said)
    assert text(page, "#tip") == said
    matrix = "const {matrix, values, order, side} = shown; "
    unit = page.run(matrix + "return unitName(matrix.groups[order[0]][0])")
    page.run("document.getElementById('matrix').focus()")
    page.press("\ue011")  # Home
    value = page.run(matrix + "return values[order[0] * side + order[0]].toPrecision(4)")
    assert text(page, "#matrix-read") == f"{unit} × {unit}: {value}"
    page.press(RIGHT)
    assert text(page, "#matrix-read").startswith(f"{unit} × ") and unit + ":" not in text(
        page, "#matrix-read"
    )


def test_a_module_lights_up_its_units_everywhere_and_goes_out_again(page):
    page.run("document.querySelector('#chips button').focus()")
    page.press(ENTER)
    lit = page.run("return [...state.lit]")
    labels = page.run("return data.partitions[data.causal].labels")
    assert lit == [unit for unit, label in enumerate(labels) if label == 0]
    faded = page.run("""return [...document.querySelectorAll("#units [data-unit]")].filter(
        (r) => Number(r.getAttribute("opacity")) < 1).map((r) => Number(r.dataset.unit)).sort()""")
    assert faded == [unit for unit, label in enumerate(labels) if label != 0]
    assert page.run("return document.activeElement.getAttribute('aria-pressed')") == "true"
    page.press(ESCAPE)
    assert page.run("return state.lit") is None


def test_tables_sort_filter_fold_and_download(page):
    column = """return [...document.querySelectorAll("[data-table=partitions] tbody tr")].filter(
        (r) => !r.hidden).map((r) => Number(r.cells[3].dataset.v))"""
    before = page.run(column)
    assert len(before) == 12  # folded
    click = "document.querySelectorAll('[data-table=partitions] {}')[{}].click()"
    page.run(click.format("thead button", 3))
    known = [v for v in page.run(column) if v is not None]
    assert known == sorted(known, reverse=True)
    page.run(click.format(".bar button", 0))
    assert len(page.run(column)) == page.run("return Object.keys(data.partitions).length")
    page.run("""const f = document.querySelector('[data-table=partitions] input');
        f.value = 'random 2'; f.dispatchEvent(new Event('input'))""")
    assert len(page.run(column)) == 1
    made = page.run("""const t = document.querySelector("[data-table=partitions] table");
        return csv(t, [...t.tBodies[0].rows])""")
    assert made.startswith("source,n modules,") and '"mine ""quoted"", ' in made


def test_the_units_of_a_module_can_be_copied(page):
    page.run("copied = null; copy = (text) => { copied = text; }")
    page.run("document.querySelector('.card .copy').click()")
    inside = page.run("return JSON.parse(copied)")
    labels = page.run("return data.partitions[data.causal].labels")
    assert inside[FIRST] == [unit for unit in range(4) if labels[unit] == 0]


def test_the_keyboard_reaches_everything(page):
    wanted = "a, button, select, input, summary, #matrix, #units, .scroll"
    unreachable = """return [...document.querySelectorAll(arguments[0])].filter(
        (e) => e.tabIndex < 0).map((e) => e.outerHTML)"""
    assert page.run(unreachable, wanted) == []
    unnamed = """return [...document.querySelectorAll("button, select, input")].filter(
        (e) => !(e.textContent || e.getAttribute("aria-label") || e.labels?.length)).length"""
    assert page.run(unnamed) == 0
    page.run("document.querySelector('.skip').focus()")
    reached = []
    for _ in range(3):
        page.press(TAB)
        reached.append(page.run("return document.activeElement.textContent"))
    assert reached == ["Save this picture (SVG)", "Modules", "Flow"]


@pytest.mark.parametrize(("width", "dark"), [(1200, True), (360, False)])
def test_dark_and_narrow(page, width, dark):
    page.show(width, dark=dark)
    shown = page.run("""return [getComputedStyle(document.body).backgroundColor,
        getComputedStyle(document.querySelector("#dots text")).fill,
        document.documentElement.scrollWidth - innerWidth]""")
    paper, ink = ([int(v) for v in c[4:-1].split(",")] for c in shown[:2])
    assert (sum(paper) < 150) == dark and abs(sum(paper) - sum(ink)) > 200
    assert shown[2] <= 0  # nothing makes the page wider than the window
    page.show(1200)
    assert page.console() == []


def test_it_prints_in_ink_on_paper(page):
    page.show(1200, dark=True, media="print")
    assert (
        page.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    )
    assert page.run("return getComputedStyle(document.querySelector('nav')).display") == "none"
    page.show(1200)
    assert page.printed().startswith(b"%PDF")
