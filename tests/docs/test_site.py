"""The built documentation site, which ``tox -e docs`` names in DELORES_SITE."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

if not os.environ.get("DELORES_SITE"):
    pytest.skip("the site is built and looked at by `tox -e docs`", allow_module_level=True)

SITE = Path(os.environ["DELORES_SITE"]).resolve()
HTML = sorted(SITE.rglob("*.html"))


class _Page(HTMLParser):
    """What a page links to, what a browser fetches to show it, and its anchors."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        for name in ("src", "srcset", "data", "href" if tag == "link" else "src"):
            if values.get(name) and tag != "a":
                self.fetched.append(values[name].split()[0])


@cache
def read(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def test_there_are_the_guides_and_the_reference() -> None:
    assert len(HTML) > 50
    for name in ("index", "quickstart", "commands", "python-api", "api/hear_delores"):
        assert SITE / f"{name}.html" in HTML


def test_notebooks_show_what_they_answer() -> None:
    for name, cell in (("your-model", ">band_energies<"), ("differences", ">layer3<")):
        page = (SITE / "notebooks" / f"{name}.html").read_text(encoding="utf-8")
        assert cell in page, name


def test_every_link_inside_the_site_leads_somewhere() -> None:
    dead = []
    for path in HTML:
        for target in read(path).links:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            found = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not found.is_file() or (parts.fragment and unquote(parts.fragment) not in read(found).anchors):
                dead.append(f"{path.relative_to(SITE)}: {target}")
    assert not dead


def test_nothing_is_fetched_from_elsewhere() -> None:
    for path in HTML:
        assert not [url for url in read(path).fetched if urlsplit(url).netloc], path
    for path in SITE.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", path.read_text(encoding="utf-8")), path


def test_every_public_name_is_in_the_reference() -> None:
    import importlib

    for path in (SITE / "api").glob("*.html"):
        names = getattr(importlib.import_module(path.stem), "__all__", ())
        for name in {*names} - {"__version__"}:
            home = getattr(getattr(importlib.import_module(path.stem), name), "__module__", path.stem)
            assert {f"{home}.{name}", f"{path.stem}.{name}", f"module-{path.stem}.{name}"} & (
                read(path).anchors | {link.partition("#")[2] for link in read(path).links}
            ), f"{path.stem}.{name}"


# --- from a folder, in a browser


@pytest.fixture
def browser() -> Iterator[Any]:
    binary, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("Chromium and chromedriver are not installed")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,900"):
        options.add_argument(argument)
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield opened
    opened.quit()


def test_search_works_from_a_folder(browser: Any) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get(f"{SITE.as_uri()}/search.html?q=cross_correlation")
    found = "return Array.from(document.querySelectorAll('#search-results ul.search a'), a => a.href)"
    links = WebDriverWait(browser, 30).until(lambda opened: opened.execute_script(found))
    assert any("#pretrain.losses.cross_correlation" in link or "cross_correlation" in link for link in links)
    for link in links:
        assert Path(unquote(urlsplit(link).path)).is_file(), link


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_the_screen_in_either_scheme(browser: Any, width: int, scheme: str) -> None:
    screen = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    for name in (
        "index",
        "evaluate",
        "commands",
        "validator-verdicts",
        "notebooks/differences",
        "api/hear_delores.frontend",
    ):
        browser.get(f"{SITE.as_uri()}/{name}.html")
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width, name
        shown = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        brightness = sum(int(value) for value in re.findall(r"\d+", shown)[:3])
        assert (brightness < 200) == (scheme == "dark"), f"{name}: {shown}"
