"""The report in headless Chromium: sorting, filtering, no error, no request, no overflow, dark, keyboard."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.reading.report.gather import gather
from benchmarks.reading.report.page import Sources, render_report
from benchmarks.results.format import FoldResult, ModelInfo, ProtocolInfo, ResultRecord, TaskInfo

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
selenium = pytest.importorskip("selenium", reason="selenium is not installed: pip install selenium")
pytestmark = pytest.mark.skipif(
    BROWSER is None or DRIVER is None, reason="no Chromium: apt-get install chromium chromium-driver"
)
#: How long a browser on a busy machine may take to start, in seconds.
PATIENCE = 240


def record(model: str, task: str, scores: list[float], *, maximise: bool = True) -> ResultRecord:
    fold: dict[str, Any] = {
        "loss": 0.1, "validation_score": 0.5, "epoch": 3, "epochs_run": 9, "hyperparameters": {}, "n_train_rows": 5,
        "n_test_rows": 5, "seconds": 1.0,
    }  # fmt: skip
    metric = "top1_acc" if maximise else "segment_1s_er"
    return ResultRecord(
        fingerprint="f", embeddings_hash="e" * 64,
        model=ModelInfo(label=model, module="m", weights_hash=model.encode().hex()),
        task=TaskInfo(
            name=task, version="v2.2.3", mode="5h", revision="r" * 64, embedding_type="scene",
            prediction_type="multilabel", primary_metric=metric, metrics=[metric], maximise=maximise, n_clips=1000,
        ),
        protocol=ProtocolInfo(name="hear"), seed=42,
        scores={metric: float(np.mean(scores))}, scores_std={metric: float(np.std(scores, ddof=1))},
        folds=[FoldResult(test_split=f"fold{i:02d}", scores={metric: s}, **fold) for i, s in enumerate(scores)],
        seconds={"embedding": 5.0, "training": 1.0, "total": 2.0}, peak_memory_bytes=10**8,
        device="cpu", versions={"torch": "2"}, created="2026-01-01",
    )  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve wide tasks of four models with one gap, and a run's curves."""
    folder = tmp_path_factory.mktemp("report")
    generator = np.random.default_rng(0)
    records = [
        record(model, f"a_task_with_a_long_name_{task:02d}", generator.uniform(0.2, 0.9, 3).tolist())
        for model in ("first", "second one", "a_model_with_quite_a_long_label_of_forty", "fourth")
        for task in range(12)
        if (model, task) != ("fourth", 0)
    ]
    records += [record(model, "errors", [score, score]) for model, score in (("first", 0.5), ("fourth", 0.2))]
    lines = [{"step": step, "loss": 5 / step, "seconds": step} for step in range(1, 30)]
    (folder / "run").mkdir()
    (folder / "run" / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    file = folder / "page.html"
    file.write_text(render_report(gather(records), Sources([folder / "run"])), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium, started here and not by its driver, which would give up on a busy machine after a minute."""
    from selenium.webdriver import Chrome
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    profile = tmp_path_factory.mktemp("profile")
    assert BROWSER is not None
    process = subprocess.Popen(
        [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
         "--disable-extensions", "--disable-background-networking", "--disable-component-update",
         "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        port_file, end = profile / "DevToolsActivePort", time.monotonic() + PATIENCE
        while not (port_file.is_file() and port_file.read_text().strip()) and time.monotonic() < end:
            if process.poll() is not None:
                pytest.skip("Chromium is installed but does not start here")
            time.sleep(0.1)
        options = Options()
        options.debugger_address = f"127.0.0.1:{port_file.read_text().split()[0]}"
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = Chrome(options=options, service=Service(DRIVER))
        driver.command_executor.client_config.timeout = PATIENCE
        driver.set_page_load_timeout(PATIENCE)
        driver.set_script_timeout(PATIENCE)
        yield driver
        driver.service.stop()
    finally:
        process.terminate()
        process.wait(timeout=60)


def visit(browser: Any, page: Path, width: int = 1280, dark: bool = False) -> None:
    """Opens the page anew at a width in CSS pixels."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": [scheme]})
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(page.as_uri())


COLUMN = """
const table = document.querySelector("table.grid.sortable");
const index = [...table.tHead.rows[0].cells].findIndex(c => (c.dataset.task || "") === arguments[0]);
return [...table.tBodies[0].rows].map(r => r.cells[index].dataset.v ? Number(r.cells[index].dataset.v) : null);
"""


def heading(browser: Any, task: str) -> Any:
    return browser.find_element("css selector", f'table.grid.sortable th[data-task="{task}"]')


def test_a_click_sorts_best_first_then_worst_then_as_it_came_and_blanks_stay_last(browser: Any, page: Path) -> None:
    visit(browser, page)
    task = "a_task_with_a_long_name_00"
    before = browser.execute_script(COLUMN, task)
    assert before[-1] is None
    known = [value for value in before if value is not None]
    head = heading(browser, task)
    for state, expected in (
        ("descending", [*sorted(known, reverse=True), None]),
        ("ascending", [*sorted(known), None]),
        ("none", before),
    ):
        browser.execute_script("arguments[0].click()", head.find_element("tag name", "button"))
        assert browser.execute_script(COLUMN, task) == expected
        assert head.get_attribute("aria-sort") == state


def test_the_keyboard_sorts_and_rows_stay_whole(browser: Any, page: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    visit(browser, page)
    rows = 'return [...document.querySelector("table.grid.sortable").tBodies[0].rows].map(r => r.textContent)'
    before = browser.execute_script(rows)
    button = heading(browser, "errors").find_element("tag name", "button")
    browser.execute_script("arguments[0].focus({preventScroll: true})", button)
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    assert heading(browser, "errors").get_attribute("aria-sort") == "descending"
    assert browser.execute_script(COLUMN, "errors") == [50.0, 20.0, None, None]
    after = browser.execute_script(rows)
    assert after != before
    assert sorted(after) == sorted(before)
    browser.switch_to.active_element.send_keys(Keys.SPACE)
    assert heading(browser, "errors").get_attribute("aria-sort") == "ascending"


SHOWN = """
const shown = (q, f) => [...document.querySelectorAll(q)].filter(e => e.checkVisibility()).map(f);
return {
  models: shown("table.grid.sortable:has(th[data-task]) tbody th", e => e.textContent),
  overall: shown("#overall table.sortable tbody th", e => e.textContent),
  columns: shown("table.grid.sortable thead th[data-task]", e => e.dataset.task),
  cells: shown("table.grid.sortable:has(th[data-task]) tbody tr:first-child td[data-v]:not(.mean)", e => 1).length,
  heat: shown("table.heat thead th[data-task]", e => e.dataset.task),
  cards: shown("details.card", e => e.dataset.task),
  bars: shown("details.card:not([hidden]) tr[data-model] th", e => e.textContent),
  status: document.getElementById("filter-status").textContent,
};
"""


def test_filters_narrow_every_table_card_and_heatmap(browser: Any, page: Path) -> None:
    visit(browser, page)
    everything = browser.execute_script(SHOWN)
    assert len(everything["models"]) == 4
    assert len(everything["columns"]) == 13
    browser.find_element("id", "filter-models").send_keys("SECOND, fourth")
    browser.find_element("id", "filter-tasks").send_keys("name 03, errors")
    found = browser.execute_script(SHOWN)
    assert found["models"] == ["second one", "fourth"]
    assert set(found["overall"]) == {"second one", "fourth"}
    assert found["columns"] == found["heat"] == found["cards"] == ["a_task_with_a_long_name_03", "errors"]
    assert found["cells"] <= 2
    assert set(found["bars"]) <= {"second one", "fourth"}
    assert "2 of 4 models, 2 of 13 tasks shown; means stay over all tasks" in found["status"]
    for name in ("filter-models", "filter-tasks"):
        field = browser.find_element("id", name)
        browser.execute_script(
            "arguments[0].value = ''; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))", field
        )
    assert browser.execute_script(SHOWN) == everything


def test_no_console_error_and_no_request_but_the_page_itself(browser: Any, page: Path) -> None:
    visit(browser, page)
    asked = []
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked.append(message["params"]["request"]["url"])
    assert [url for url in asked if not url.startswith("data:")] == [page.as_uri()]
    assert browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)") == []
    assert browser.get_log("browser") == []
    # The policy holds: what is asked for all the same is refused.
    refused = """
    const done = arguments[0];
    fetch("http://127.0.0.1:9/").then(() => done("sent"), () => done("refused"));
    """
    violations = "window.seen = []; addEventListener('securitypolicyviolation', e => seen.push(e.effectiveDirective))"
    browser.execute_script(violations)
    assert browser.execute_async_script(refused) == "refused"
    assert browser.execute_script("return window.seen") == ["connect-src"]


@pytest.mark.parametrize("width", [320, 375, 768, 1280])
def test_the_page_never_scrolls_sideways_but_wide_tables_do_in_their_box(browser: Any, page: Path, width: int) -> None:
    visit(browser, page, width)
    inner, outer = browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert inner <= outer == width
    box = browser.find_element("css selector", ".scroll")
    assert browser.execute_script("return arguments[0].scrollWidth > arguments[0].clientWidth", box)
    assert box.get_attribute("tabindex") == "0"


LUMINANCE = """
const probe = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
function rgb(color) {
  probe.clearRect(0, 0, 1, 1); probe.fillStyle = color; probe.fillRect(0, 0, 1, 1);
  return [...probe.getImageData(0, 0, 1, 1).data].slice(0, 3);
}
function luminance(color) {
  const [r, g, b] = rgb(color).map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
const read = "body, table.heat td[class^=h], .scroll thead th, small, sup, figcaption";
const pairs = [...document.querySelectorAll(read)].map(e => {
  let ground = e;
  while (getComputedStyle(ground).backgroundColor === "rgba(0, 0, 0, 0)") ground = ground.parentElement;
  const own = [luminance(getComputedStyle(e).color), luminance(getComputedStyle(ground).backgroundColor)].sort();
  return (own[1] + 0.05) / (own[0] + 0.05);
});
return [luminance(getComputedStyle(document.body).backgroundColor), Math.min(...pairs)];
"""


def test_light_and_dark_are_both_readable(browser: Any, page: Path) -> None:
    grounds = {}
    for dark in (False, True):
        visit(browser, page, dark=dark)
        grounds[dark], contrast = browser.execute_script(LUMINANCE)
        assert contrast >= 4.5  # WCAG 2.1, level AA
    assert grounds[False] > 0.9
    assert grounds[True] < 0.05


def test_paper_shows_everything_and_no_tools(browser: Any, page: Path) -> None:
    visit(browser, page)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    state = """
    return [getComputedStyle(document.querySelector("form.tools")).display,
            [...document.querySelectorAll("details")].filter(e => !e.open).length,
            getComputedStyle(document.querySelector(".scroll")).overflowX]
    """
    assert browser.execute_script(state)[1] > 0
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert browser.execute_script(state) == ["none", 0, "visible"]
    browser.execute_script("dispatchEvent(new Event('afterprint'))")
    assert browser.execute_script(state)[1] > 0


def test_headings_step_down_one_level_at_a_time_and_tables_have_scopes(browser: Any, page: Path) -> None:
    visit(browser, page)
    levels = browser.execute_script("return [...document.querySelectorAll('h1,h2,h3,h4')].map(e => +e.tagName[1])")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert browser.execute_script("return document.querySelectorAll('th:not([scope])').length") == 0
    unnamed = (
        "return [...document.querySelectorAll('svg')].filter(e => !e.closest('[aria-hidden]') && !e.ariaLabel).length"
    )
    assert browser.execute_script(unnamed) == 0
