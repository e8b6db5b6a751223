"""The page in a real browser: it sorts, toggles, reads values, stays within a phone, and asks nothing of anybody."""

import csv
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.analysis.report.conftest import HOSTILE, shown

pytestmark = pytest.mark.slow

WriteRun = Callable[..., Path]
Report = Callable[..., tuple[str, str]]
CONSOLE_ERRORS = {"SEVERE", "WARNING"}


def texts(browser: Any, selector: str) -> list[str]:
    return browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map((each) => each.textContent.trim())", selector
    )


def column(browser: Any, number: int, block: int = 1) -> list[str]:
    return texts(
        browser, f"#results .wide:first-of-type tbody:nth-of-type({block}) tr > :nth-child({number}):not([colspan])"
    )


def click_heading(browser: Any, number: int) -> None:
    browser.find_elements("css selector", "#results .wide:first-of-type thead button")[number - 1].click()


def complaints(browser: Any) -> list[dict[str, Any]]:
    return [entry for entry in browser.get_log("browser") if entry["level"] in CONSOLE_ERRORS]


@pytest.fixture
def opened(study: WriteRun, report: Report, browser: Any) -> Any:
    """The report of a study, open at a desk."""
    report()
    shown(browser)
    return browser


def test_a_heading_sorts_by_value_up_and_down(opened: Any) -> None:
    assert column(opened, 1) == ["static_3x3", "bypass_3x3", "dynamic_3x3"]
    assert column(opened, 6) == ["1.00 M", "12.3 k", "2.45 M"]
    click_heading(opened, 6)
    assert column(opened, 6) == ["12.3 k", "1.00 M", "2.45 M"]
    click_heading(opened, 6)
    assert column(opened, 6) == ["2.45 M", "1.00 M", "12.3 k"]
    click_heading(opened, 1)
    assert column(opened, 1) == ["bypass_3x3", "dynamic_3x3", "static_3x3"]
    states = "return [...document.querySelectorAll('#results .wide th[aria-sort]')].map((th) => th.ariaSort)"
    assert opened.execute_script(states) == ["ascending"]


def test_the_keyboard_sorts(opened: Any) -> None:
    opened.execute_script("document.querySelectorAll('#results thead button')[2].focus()")
    opened.switch_to.active_element.send_keys("\ue007")
    assert column(opened, 3) == sorted(column(opened, 3))
    opened.switch_to.active_element.send_keys(" ")
    assert column(opened, 3) == sorted(column(opened, 3), reverse=True)


def test_ties_keep_their_order_and_what_is_missing_stays_last(study: WriteRun, report: Report, browser: Any) -> None:
    study("a_same", 0, 0.66, parameters=2_450_000)
    study("unknown", 0, 0.66, parameters=None)
    study("static_1x1", 0, 0.4, study="other", parameters=7)
    report()
    shown(browser)
    first = dict(zip(column(browser, 1), column(browser, 6), strict=True))
    for _ in range(2):
        click_heading(browser, 6)
        order = column(browser, 1)
        assert [name for name in order if first.get(name) == "2.45 M"] == ["a_same", "dynamic_3x3"]
        assert order[-1] == "unknown" and column(browser, 1, block=2) == ["static_1x1"]
        assert texts(browser, "#results .wide:first-of-type tbody > :first-child") == ["lab_3x3", "other"]


def test_the_legend_takes_a_variant_away_and_brings_it_back(opened: Any) -> None:
    lines = "return document.querySelectorAll('.panel path[stroke]').length"
    strokes = (
        "const all = [...document.querySelectorAll('.panel path[stroke]')];"
        "return new Set(all.map((path) => path.getAttribute('stroke'))).size"
    )
    assert (opened.execute_script(strokes), opened.execute_script(lines)) == (3, 4 * 3 * 4)
    button = opened.find_elements("css selector", ".legend button")[1]
    button.click()
    assert (opened.execute_script(strokes), opened.execute_script(lines)) == (2, 4 * 2 * 4)
    assert button.get_attribute("aria-pressed") == "false"
    for other in opened.find_elements("css selector", ".legend button[aria-pressed=true]"):
        other.click()
    assert opened.execute_script(lines) == 0
    for hidden in opened.find_elements("css selector", ".legend button"):
        hidden.click()
    assert (opened.execute_script(strokes), opened.execute_script(lines)) == (3, 4 * 3 * 4)
    assert complaints(opened) == []


def recorded(variant: str, seed: int, epoch: int) -> float:
    lines = Path(f"outputs/lab_3x3/{variant}/seed{seed}/metrics.jsonl").read_text().splitlines()
    return json.loads(lines[epoch - 1])["val_accuracy"]


def test_a_pointer_reads_run_epoch_and_value(opened: Any) -> None:
    panel = opened.find_elements("css selector", ".panel svg")[1]
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", panel)
    from selenium.webdriver import ActionChains

    told = set()
    for right in range(-200, 200, 25):
        ActionChains(opened).move_to_element_with_offset(panel, right, -40).perform()
        (tip,) = opened.find_elements("css selector", ".tip.on")
        name, value = (span.text for span in tip.find_elements("css selector", "*"))
        if "mean" not in name:
            variant, seed = name.split(", seed ")
            epoch, accuracy = value.removeprefix("epoch ").split(": accuracy ")
            assert accuracy == f"{100 * recorded(variant, int(seed), int(epoch)):.2f} %"
            told.add((name, value))
    assert len(told) > 3
    ActionChains(opened).move_to_element(opened.find_element("css selector", "h1")).perform()
    assert opened.find_elements("css selector", ".tip.on") == []


def test_the_arrow_keys_read_values(opened: Any) -> None:
    panel = opened.find_elements("css selector", ".panel svg")[1]
    opened.execute_script("arguments[0].focus()", panel)
    for key in ("\ue014", "\ue012"):
        opened.switch_to.active_element.send_keys(key)
    told = opened.find_element("css selector", ".tip.on").text.split("\n")
    assert told == ["static_3x3, seed 0", f"epoch 19: accuracy {100 * recorded('static_3x3', 0, 19):.2f} %"]
    opened.switch_to.active_element.send_keys("\ue015")
    assert "seed 1" in opened.find_element("css selector", ".tip.on").text


def test_the_arrow_keys_stay_within_the_zoom_and_read_nothing_where_it_is_empty(opened: Any) -> None:
    address = opened.current_url.partition("#")[0]
    down, left, right = "\ue015", "\ue012", "\ue014"
    for zoom, epochs in (((4.5, 7.5), "567"), ((4.1, 4.9), "")):
        opened.get("about:blank")
        opened.get(f"{address}#curves&zoom={zoom[0]}&zoom={zoom[1]}")
        lines = "return document.querySelectorAll('.panel')[1].querySelectorAll('path.seed').length"
        assert opened.execute_script(lines) == (9 if epochs else 0)
        opened.execute_script("document.querySelectorAll('.panel svg')[1].focus()")
        told = set()
        for key in (right, right, left, down, left, left):
            opened.switch_to.active_element.send_keys(key)
            told |= {tip.text.split("epoch ")[1][0] for tip in opened.find_elements("css selector", ".tip.on")}
        assert told == set(epochs)
    assert complaints(opened) == []


def test_a_pointer_lists_all_variants_at_that_epoch_the_best_first(opened: Any) -> None:
    panel = opened.find_elements("css selector", ".panel svg")[1]
    opened.execute_script("arguments[0].focus()", panel)
    opened.switch_to.active_element.send_keys("\ue014")
    rows = [text.split() for text in opened.find_element("css selector", ".readings.on").text.splitlines()]
    means = {
        variant: 100 * sum(recorded(variant, seed, 20) for seed in range(3)) / 3
        for variant in ("static_3x3", "dynamic_3x3", "bypass_3x3")
    }
    expected = sorted(means, key=lambda variant: -means[variant])
    assert [row[2:] for row in rows] == [[variant, f"{means[variant]:.2f}", "%"] for variant in expected]


@pytest.fixture
def uneven(write_curves: WriteRun, report: Report, browser: Any) -> Any:
    """A page of two variants that differ in length and in pairs needed, and of one whose run has no result."""
    about = {"settings": {"about.margin": 0.05}}
    for seed, (calm, wild) in enumerate([(0.001, 0.03), (-0.0005, -0.03), (0.0002, 0.01)]):
        write_curves("static_3x3", seed, 0.66, **about)
        write_curves("calm", seed, 0.66 + calm, evaluations=10, **about)
        write_curves("wild", seed, 0.66 + wild, **about)
    (write_curves("never", 0, 0.5, state="running", **about) / "result.json").unlink()
    report()
    shown(browser)
    return browser


def test_a_variant_that_ended_before_says_at_which_epoch_it_was_read(uneven: Any) -> None:
    panel = uneven.find_elements("css selector", ".panel svg")[1]
    uneven.execute_script("arguments[0].focus()", panel)
    down, right = "\ue015", "\ue014"
    uneven.switch_to.active_element.send_keys(right)
    while not uneven.find_element("css selector", ".tip.on").text.startswith("wild"):
        uneven.switch_to.active_element.send_keys(down)
    uneven.switch_to.active_element.send_keys(20 * right)
    assert "epoch 20:" in uneven.find_element("css selector", ".tip.on").text
    rows = uneven.find_element("css selector", ".readings.on").text.splitlines()
    assert {row.split()[2]: row.partition(" %")[2] for row in rows} == {
        "static_3x3": "",
        "wild": "",
        "calm": " (epoch 10)",
    }


def test_more_pairs_than_anybody_runs_are_the_most(uneven: Any) -> None:
    verdicts = uneven.find_elements("css selector", "#results .wide")[1]
    needed = next(
        b for b in verdicts.find_elements("css selector", "thead button") if b.text.startswith("pairs needed")
    )
    order = "return [...arguments[0].querySelectorAll('tbody th')].map((th) => th.textContent)"
    for expected in (["calm", "wild"], ["wild", "calm"]):
        needed.click()
        assert uneven.execute_script(order, verdicts) == expected
    assert ">10,000" in verdicts.text


def test_the_filter_takes_away_the_row_of_a_variant_without_a_result(uneven: Any) -> None:
    assert "never" in column(uneven, 1)
    uneven.find_element("id", "filter").send_keys("calm")
    rows = uneven.find_elements("css selector", "#results .wide:first-of-type tbody tr")
    assert [row.text.split()[0] for row in rows if row.is_displayed()] == ["calm"]


def test_what_a_reader_chooses_is_kept_in_the_address(opened: Any) -> None:
    from selenium.webdriver import ActionChains

    names = texts(opened, ".legend button")
    button = opened.find_elements("css selector", ".legend button")[1]
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    ActionChains(opened).double_click(button).perform()
    opened.execute_script(
        "const select = document.querySelector('.tools select'); select.value = 'seconds';"
        "select.dispatchEvent(new Event('change'))"
    )
    panel = opened.find_elements("css selector", ".panel svg")[0]
    ActionChains(opened).move_to_element_with_offset(panel, -100, 0).click_and_hold().move_by_offset(150, 5).perform()
    ActionChains(opened).release().perform()
    click_heading(opened, 6)
    opened.find_element("id", "filter").send_keys("3X3 y")
    pressed = "return [...document.querySelectorAll('.legend button')].map((each) => [each.ariaPressed, each.hidden])"
    ticks = "return document.querySelector('.panel svg').getAttribute('aria-label')"
    before = [opened.execute_script(script) for script in (pressed, ticks)]
    assert before[0] == [["true" if name == names[1] else "false", "y" not in name] for name in names]
    assert "by seconds, from " in before[1]
    address = opened.current_url
    opened.get("about:blank")
    opened.get(address)
    assert [opened.execute_script(script) for script in (pressed, ticks)] == before
    visible = [row.text for row in opened.find_elements("css selector", "#results .wide:first-of-type tbody tr")]
    assert [text.split()[0] for text in visible if text] == ["bypass_3x3", "dynamic_3x3"]
    assert complaints(opened) == []


def test_a_drag_that_ends_outside_of_the_panel_zooms_to_its_end(opened: Any) -> None:
    from selenium.webdriver import ActionChains

    panel = opened.find_elements("css selector", ".panel svg")[0]
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", panel)
    below = panel.rect["height"] / 2 + 40
    ActionChains(opened).move_to_element_with_offset(panel, -100, 0).click_and_hold().move_by_offset(
        150, below
    ).perform()
    ActionChains(opened).release().perform()
    assert "zoom=" in opened.current_url
    assert opened.find_elements("css selector", ".selection") == []


def test_another_address_of_the_page_shows_what_it_says(opened: Any) -> None:
    pressed = "return [...document.querySelectorAll('.legend button')].map((each) => each.ariaPressed)"
    address = opened.current_url.partition("#")[0]
    opened.get(f"{address}#curves&hide=static_3x3")
    before = opened.execute_script(pressed)
    opened.get(f"{address}#curves&hide=dynamic_3x3")
    assert sorted(before) == sorted(opened.execute_script(pressed)) and before != opened.execute_script(pressed)


def test_a_table_is_saved_as_it_is_shown(opened: Any) -> None:
    click_heading(opened, 6)
    opened.find_element("id", "filter").send_keys("static")
    saved = opened.execute_async_script(
        "const done = arguments[0];"
        "URL.createObjectURL = (blob) => { blob.text().then(done); return '#'; };"
        "document.querySelector('#results .tools button').click();"
    )
    header, row = list(csv.reader(saved.splitlines()))
    assert header[:3] == ["variant", "n", "test accuracy, % ↑"] and row[:2] == ["static_3x3", "3"]
    assert row[header.index("Δ, points ↑")] == "baseline"


def test_nothing_is_asked_of_the_network_and_nothing_complains(opened: Any) -> None:
    time.sleep(0.3)
    messages = [json.loads(entry["message"])["message"] for entry in opened.get_log("performance")]
    asked = [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]
    assert asked and all(address.startswith(("file:", "data:")) for address in asked)
    assert complaints(opened) == []


def test_no_width_makes_the_page_wider_than_the_screen(study: WriteRun, report: Report, browser: Any) -> None:
    study(f"dynamic_3x3,{'long' * 25}=1", 0, 0.5)
    error = {"type": "E", "message": "x" * 300, "traceback": "y" * 300}
    (study("static_3x3", 5, 0.5, state="failed", error=error) / "result.json").unlink()
    report("--question", "why" * 60)
    for width in (360, 768, 1280):
        shown(browser, width)
        browser.execute_script("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        assert complaints(browser) == []


def test_light_and_dark(opened: Any) -> None:
    seen = []
    for theme in ("light", "dark"):
        shown(opened, theme=theme)
        seen.append(
            opened.execute_script("return ['backgroundColor', 'color'].map((k) => getComputedStyle(document.body)[k])")
        )
    assert seen[0][0] == "rgb(255, 255, 255)" and seen[1][0] == "rgb(21, 23, 26)" and seen[0][1] != seen[1][1]


def test_names_that_look_like_markup_are_shown_as_they_are(
    write_curves: WriteRun, report: Report, browser: Any
) -> None:
    variant = "<img src=x onerror=alert(1)>'\"&amp;"
    write_curves("static", 0, 0.5, settings={"model.weights": HOSTILE})
    write_curves(variant, 0, 0.6)
    report("--question", HOSTILE)
    shown(browser)
    assert texts(browser, ".legend button") == ["static", variant] and variant in column(browser, 1)
    assert HOSTILE in texts(browser, ".question")[0]
    assert browser.find_elements("css selector", "main img") == []
    assert complaints(browser) == []


def test_without_javascript_the_pictures_stand_in(
    study: WriteRun, report: Report, browser_without_javascript: Any
) -> None:
    report()
    browser = browser_without_javascript
    browser.get(Path("written/report.html").resolve().as_uri())
    images = browser.find_elements("css selector", "#curves img")
    assert len(images) == 2 and all(image.is_displayed() and image.size["width"] > 300 for image in images)
    assert "Question" in browser.find_element("css selector", "main").text
