"""The page in a real headless Chromium: tabs, sorting, filters, deep links, keys, and not one error."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from results import leaderboard, publish
from results.page import _slug, html
from results.store import Store
from tests.results.test_assumptions import with_labels
from tests.results.test_page import HOSTILE, hostile

PUBLISHED = Path(__file__).parents[2] / "results" / "published"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("CI needs Chromium: apt-get install chromium")
        pytest.skip("Chromium is not installed")
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of published records, of both tracks."""
    out = tmp_path_factory.mktemp("page")
    publish.write(leaderboard.build(Store(PUBLISHED / "axbench").records()), out)
    return out / "leaderboard.html"


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1300, "height": 900})
    context.set_offline(True)  # a page that asked for anything would say so
    opened = context.new_page()
    wrong: list[str] = []
    opened.on("console", lambda message: wrong.append(message.text))
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("requestfailed", lambda request: wrong.append(request.url))
    opened.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    yield opened
    context.close()
    assert wrong == []


def names(page: Page, table: str = ".board.shown .ranking") -> list[str]:
    found: list[str] = page.eval_on_selector_all(
        f"{table} tbody tr", "rows => rows.filter(r => !r.hidden).map(r => r.querySelector('th').innerText)"
    )
    return found


def methods(page: Page) -> list[str]:
    found: list[str] = page.eval_on_selector_all(
        ".board.shown .ranking tbody tr[data-side=method]", "rows => rows.map(r => r.dataset.name)"
    )
    return found


def column(page: Page, number: int) -> list[float | None]:
    """What a column's cells sort by; None: not known."""
    found: list[float | None] = page.eval_on_selector_all(
        ".board.shown .ranking tbody tr",
        f"rows => rows.map(r => r.cells[{number}].dataset.v).map(v => v === '' ? null : Number(v))",
    )
    return found


def test_the_first_board_is_shown_and_tabs_show_the_others(page: Page, written: Path) -> None:
    page.goto(written.as_uri())
    assert page.locator(".board.shown").count() == 1
    assert page.locator(".board.shown h2").inner_text().startswith("detect")
    page.get_by_role("tab", name="steer").click()
    assert page.locator(".board.shown h2").inner_text().startswith("steer")
    assert page.get_by_role("tab", selected=True).inner_text().startswith("steer")
    assert page.evaluate("scrollY") == 0  # the tabs stay in sight
    assert page.locator(".board.shown h3", has_text="What the judge makes").count() == 1
    assert page.locator(".board.shown th", has_text="salad as answer").is_visible()


def test_tabs_answer_to_the_arrow_keys(page: Page, written: Path) -> None:
    page.goto(written.as_uri())
    page.get_by_role("tab", selected=True).focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("tab", selected=True).inner_text().startswith("steer")
    page.keyboard.press("End")
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("tab", selected=True).inner_text().startswith("detect")


def test_what_several_boards_say_has_a_tab_of_its_own(page: Page, tmp_path: Path) -> None:
    few, many = (with_labels(n, {"linear_probe": 2.0, "bag_of_words": w}) for n, w in ((16, 0.1), (512, 1.8)))
    (tmp_path / "page.html").write_text(html([many, few]))
    page.goto((tmp_path / "page.html").as_uri())
    page.get_by_role("tab", name="across").click()
    page.wait_for_selector("#across.shown")  # a change of the hash comes after the click
    assert page.locator(".board.shown h2").inner_text() == "Across the boards"
    page.locator(".board.shown th button").first.click()
    assert page.locator(".board.shown tbody tr").count() == 1
    page.goto((tmp_path / "page.html").as_uri() + "#across")
    assert page.locator(".board.shown").count() == 1


def test_a_click_sorts_and_another_turns_it_round(page: Page, written: Path) -> None:
    page.goto(written.as_uri())
    ranked = names(page)
    tokens = page.locator(".board.shown .ranking thead th", has_text="LM tokens")
    number = tokens.evaluate("head => head.cellIndex")
    tokens.get_by_role("button").click()
    assert tokens.get_attribute("aria-sort") == "ascending"  # the cheapest first
    known = [each for each in column(page, number) if each is not None]
    unknown = [None] * (len(ranked) - len(known))
    assert column(page, number) == [*sorted(known), *unknown]
    assert names(page) != ranked
    tokens.get_by_role("button").press("Enter")
    assert tokens.get_attribute("aria-sort") == "descending"
    assert column(page, number) == [*sorted(known, reverse=True), *unknown]
    page.locator(".board.shown .ranking thead th", has_text="contender").get_by_role("button").click()
    assert names(page) == sorted(names(page))


def test_what_is_not_known_is_last_either_way(page: Page, tmp_path: Path) -> None:
    publish.write(leaderboard.build(hostile()), tmp_path)
    page.goto((tmp_path / "leaderboard.html").as_uri())
    tokens = page.locator(".board.shown .ranking thead th", has_text="LM tokens")
    number = tokens.evaluate("head => head.cellIndex")
    for _ in range(2):
        tokens.get_by_role("button").click()
        told = column(page, number)
        assert told[-1] is None and None not in told[:-1] and len(told) == 3


def test_filters_by_name_and_by_side(page: Page, written: Path) -> None:
    page.goto(written.as_uri())
    every = names(page)
    page.locator(".board.shown .find").fill("SAE")
    assert names(page) == [name for name in every if "sae" in name]
    assert names(page, ".board.shown .heat:not(.parts)") == names(page)
    assert sorted(names(page, ".board.shown .heat.parts")) == sorted(names(page))
    for table in ("verdicts", "toolbox", "standings", "tuned", "equals"):
        kept = page.locator(f".board.shown .{table} tbody tr:not([hidden])").all()
        assert all("sae" in str(row.get_attribute("data-name")) for row in kept), table
        assert (len(kept) > 0) == (table not in ("standings", "equals")), table  # of one task there are none
    marks = page.locator(".board.shown .chart a[data-name]")
    hidden = page.locator(".board.shown .chart a[data-name][hidden]")
    assert marks.count() > hidden.count() > 0
    assert all("sae" in str(mark.get_attribute("data-name")) for mark in marks.all() if mark.is_visible())
    assert page.locator(".board.shown .plainly li:visible").count() == sum("sae" in name for name in methods(page))
    page.locator(".board.shown").get_by_label("controls").uncheck()
    assert names(page) == [name for name in every if "sae" in name and not name.startswith("random")]
    assert page.locator(".board.shown output").inner_text() == f"{len(names(page))} of {len(every)} shown"


def test_a_deep_link_opens_its_board_and_its_details(page: Page, written: Path) -> None:
    page.goto(written.as_uri())
    page.get_by_role("tab", name="steer").click()
    page.locator(".board.shown h2", has_text="steer").wait_for()  # a change of the hash comes later than the click
    board = page.locator(".board.shown").get_attribute("id")
    page.goto("about:blank")
    page.goto(f"{written.as_uri()}#{board}--contender--reps")
    assert page.locator(".board.shown h2").inner_text().startswith("steer")
    card = page.locator(f"[id='{board}--contender--reps']")
    assert card.get_attribute("open") is not None
    assert card.get_by_text("What it said").is_visible()
    page.go_back()
    page.goto(f"{written.as_uri()}#nowhere")
    assert page.locator(".board.shown h2").inner_text().startswith("detect")


def test_what_names_nothing_leaves_the_board_as_it_is(page: Page, written: Path) -> None:
    page.goto(f"{written.as_uri()}#%")
    assert page.locator(".board.shown").count() == 1
    page.get_by_role("tab", name="steer").click()
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    assert page.locator(".board.shown h2").inner_text().startswith("steer")


def test_a_name_leads_to_its_details(page: Page, written: Path) -> None:
    page.goto(written.as_uri())
    page.locator(".board.shown .ranking").get_by_role("link", name="sae_probe", exact=True).click()
    assert page.locator("details[open] summary", has_text="sae_probe").first.is_visible()


def test_light_and_dark(page: Page, written: Path) -> None:
    page.emulate_media(color_scheme="dark")
    page.goto(written.as_uri())
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Light or dark").click()
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(color_scheme="light")
    page.reload()
    assert (dark, light) == ("rgb(20, 23, 28)", "rgb(255, 255, 255)")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == light


def test_a_narrow_window_scrolls_its_tables_and_not_itself(page: Page, written: Path) -> None:
    page.set_viewport_size({"width": 400, "height": 800})
    page.goto(written.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_what_is_wide_is_reached_by_keys_and_says_that_it_scrolls(page: Page, written: Path) -> None:
    page.set_viewport_size({"width": 400, "height": 800})
    page.goto(written.as_uri())
    wide = page.get_by_role("region", name="Ranking")
    wide.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.activeElement.scrollLeft > 0")
    assert wide.evaluate("box => getComputedStyle(box).backgroundAttachment").count("local") == 2


def test_on_paper_nothing_is_cut_off(page: Page, written: Path) -> None:
    page.set_viewport_size({"width": 980, "height": 700})  # of a landscape page less its margins
    page.emulate_media(media="print", color_scheme="dark")
    page.goto(written.as_uri())
    cut = page.eval_on_selector_all(
        ".scroll", "boxes => boxes.filter(b => b.scrollWidth > b.clientWidth).map(b => b.ariaLabel)"
    )
    assert cut == []
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert page.locator(".filter:visible").count() == 0
    heads = page.locator(".board.shown .parts thead .turn")
    assert heads.count() == 10 and all(head.inner_text().strip() for head in heads.all())


def test_hostile_names_are_text_and_their_links_work(page: Page, tmp_path: Path) -> None:
    publish.write(leaderboard.build(hostile()), tmp_path)
    page.goto((tmp_path / "leaderboard.html").as_uri())
    assert page.locator(".ranking").get_by_role("link", name=HOSTILE, exact=True).count() == 1
    page.locator(".ranking").get_by_role("link", name=HOSTILE, exact=True).click()
    assert page.locator(f"[id$='--contender--{_slug(HOSTILE)}']").get_attribute("open") is not None
    assert page.evaluate("document.scripts.length") == 1


def test_without_scripts_every_board_is_there(browser: Browser, written: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    opened = context.new_page()
    opened.goto(written.as_uri())
    assert opened.locator(".board:visible").count() == 3  # two boards, and what they say together
    context.close()


def test_the_chosen_colours_are_there_after_a_reload(page: Page, written: Path) -> None:
    page.goto(written.as_uri())
    page.locator("#theme").click()
    chosen = page.evaluate("document.documentElement.dataset.theme")
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == chosen


def test_no_name_is_cut_on_a_small_screen(page: Page, written: Path) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(written.as_uri())
    page.get_by_role("tab", name="steer").click()
    cut = "heads => heads.filter(h => h.scrollWidth > h.clientWidth).map(h => h.innerText)"
    assert page.eval_on_selector_all(".board.shown .ranking tbody th", cut) == []
