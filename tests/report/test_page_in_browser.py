"""A page in a real Chromium: nothing fails to load, nothing overflows, everything has a name."""

import os
import shutil
from pathlib import Path

import pytest

from spikeport.calibration import calibrate
from spikeport.convert import Neuron, build
from spikeport.report.page.write_report import write_report

WIDTHS = (360, 1280)
SCHEMES = ("light", "dark")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

UNNAMED_PICTURES = """() => [...document.querySelectorAll('img, svg')]
    .filter(e => !e.closest('[aria-hidden=true]') && !e.parentElement.closest('svg'))
    .filter(e => !(e.getAttribute('alt') || e.getAttribute('aria-label')))
    .map(e => e.outerHTML.slice(0, 80))"""
BROKEN_PICTURES = """() => [...document.images].filter(e => !e.naturalWidth).length"""
BARE_TABLES = """() => [...document.querySelectorAll('table')]
    .filter(t => !t.caption || !t.caption.innerText.trim()
        || [...t.querySelectorAll('th')].some(h => !h.scope))
    .map(t => t.outerHTML.slice(0, 80))"""
HEADINGS = """() => [...document.querySelectorAll('h1, h2, h3, h4, h5, h6')]
    .map(h => Number(h.tagName[1]))"""
WIDE = """() => [...document.querySelectorAll('body *')]
    .filter(e => !e.closest('.scroll') && e.getBoundingClientRect().right > innerWidth + 1)
    .map(e => `${e.tagName} ${e.textContent.trim().slice(0, 40)}`)"""
# WCAG 2's contrast of text and what lies behind it
FAINT = """() => {
    const parse = c => (c.match(/[\\d.]+/g) || []).map(Number);
    const light = c => { const [r, g, b] = c.slice(0, 3).map(v => { v /= 255;
        return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
    const over = (top, under) => { const a = top.length > 3 ? top[3] : 1;
        return [0, 1, 2].map(i => a * top[i] + (1 - a) * under[i]); };
    const behind = e => { const found = parse(getComputedStyle(e).backgroundColor);
        return found.length < 4 || found[3] == 1 || !e.parentElement
            ? found : over(found, behind(e.parentElement)); };
    const faint = [];
    for (const e of document.querySelectorAll('body *')) {
        const own = [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim());
        if (!own || e.closest('[aria-hidden=true]') || !e.getClientRects().length) continue;
        const style = getComputedStyle(e);
        const ink = parse(e.namespaceURI.includes('svg') ? style.fill : style.color);
        const [a, b] = [light(ink), light(behind(e))].sort((x, y) => y - x);
        if ((a + 0.05) / (b + 0.05) < 4.5) faint.push(`${e.tagName} ${e.textContent.trim()}`);
    }
    return faint;
}"""


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    with playwright.sync_playwright() as driver:
        own = Path(driver.chromium.executable_path)
        path = os.environ.get("CHROMIUM") or (own if own.exists() else None)
        path = path or next(filter(None, map(shutil.which, BROWSERS)), None)
        if path is None:
            pytest.skip(
                "no Chromium: `playwright install chromium`, the system's package, or CHROMIUM=PATH"
            )
        # in a container as root Chromium cannot use its sandbox; the page is our own
        launched = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory, small_net, small_data):
    """One network in full, and two without labels."""
    networks = {}
    for name, neuron in (("plain", Neuron(1, 0)), ("a-graded-one", Neuron(4, 4))):
        networks[name] = build(small_net, small_data[0][0], neuron)
        calibrate(networks[name], small_data, progress=False)
    folder = tmp_path_factory.mktemp("pages")
    names = ["airplane", "automobile", "bird", "cat", "deer"]
    bare = [images for images, _ in small_data]
    for file, which, data, inspected in (
        ("one.html", networks["plain"], small_data, 2),
        ("two.html", networks, bare, 0),
    ):
        write_report(
            which,
            data,
            folder / file,
            (1, 2, 4, 8),
            class_names=names,
            inspected=inspected,
            command="spikeport report " + "a_long_file_name/" * 6,
            progress=False,
        )
    return folder


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["one.html", "two.html"])
def test_page_is_readable(browser, pages, name, width, scheme):
    view = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    complaints, requests = [], []
    view.on("console", lambda message: complaints.append(message.text))
    view.on("pageerror", lambda error: complaints.append(str(error)))
    view.on("request", lambda request: requests.append(request.url))
    address = (pages / name).as_uri()
    try:
        view.goto(address)
        view.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert complaints == []
        assert [url for url in requests if not url.startswith("data:")] == [address]
        assert view.evaluate("document.documentElement.scrollWidth") <= width
        assert view.evaluate(WIDE) == []
        assert view.evaluate(UNNAMED_PICTURES) == []
        assert view.evaluate(BROKEN_PICTURES) == 0
        assert view.evaluate(BARE_TABLES) == []
        assert view.evaluate(FAINT) == []
        levels = view.evaluate(HEADINGS)
        assert levels.count(1) == 1
        assert all(b - a <= 1 for a, b in zip([0, *levels], levels, strict=False))
        background = view.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    finally:
        view.close()
