"""Take the pictures of the docs from finished runs, in headless Chromium.

    python scripts/pictures.py demo-run                # viewer.png, the overview, and viewer-pairs.png, a pair
    python scripts/pictures.py --outcome VERIFIED_RUN  # viewer-outcome.png, the verdict of a verification
    python scripts/pictures.py --views alpaca RUN      # views/alpaca-<view>.png, every view of a run, and the maps

The page is opened from disk, as `pretilt export-site` writes it; for `--views` as `pretilt view` serves it.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import threading
import time
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import pretilt

DOCS = Path(__file__).parents[1] / "docs"
WIDTH, HEIGHT = 1280, 940  # CSS pixels
VIEWS = ("overview", "responses", "prompts", "pairs", "decide", "ask")


def open_browser() -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--hide-scrollbars", f"--window-size={WIDTH},{HEIGHT}"):
        options.add_argument(argument)
    # Named, because Selenium would look for a driver on the network.
    driver = shutil.which("chromedriver")
    return webdriver.Chrome(options=options, service=Service(driver))


def take_outcome(run: Path) -> None:
    """viewer-outcome.png: the verdict, its ceiling, and every concept as it was foretold and seen."""
    with tempfile.TemporaryDirectory() as folder:
        page = pretilt.export_site(run, Path(folder) / "site").as_uri()
        browser = open_browser()
        browser.get(f"{page}#/outcome")
        time.sleep(2)
        browser.save_screenshot(str(DOCS / "viewer-outcome.png"))
        browser.quit()


def take_viewer(run: Path) -> None:
    """viewer.png, the overview, and viewer-pairs.png, a pair of the first thing to look at."""
    with tempfile.TemporaryDirectory() as folder:
        page = pretilt.export_site(run, Path(folder) / "site").as_uri()
        browser = open_browser()
        browser.get(page)
        time.sleep(2)
        browser.save_screenshot(str(DOCS / "viewer.png"))
        browser.find_element(By.CSS_SELECTOR, ".notable a").click()
        time.sleep(2)
        browser.find_element(By.CSS_SELECTOR, ".pairlist .vrow").click()
        time.sleep(2)
        browser.save_screenshot(str(DOCS / "viewer-pairs.png"))
        browser.quit()


def take_maps(browser: webdriver.Chrome, out: Path) -> None:
    """The two linked maps of *By response*, with the pair chosen that shows the concept most."""
    browser.find_element(By.XPATH, "//div[@class='filters']//button[text()='Map']").click()
    for _ in range(60):  # the places of many concepts take a while
        time.sleep(1)
        coloured = browser.find_elements(By.CSS_SELECTOR, ".pairmap canvas[data-coloured]:not([data-coloured='0'])")
        if coloured and len(browser.find_elements(By.CSS_SELECTOR, ".maps canvas")) == 2:
            break
    browser.find_element(By.CSS_SELECTOR, ".pairmap .plot").send_keys(Keys.ARROW_RIGHT, Keys.ENTER)
    time.sleep(2)
    browser.execute_script("document.activeElement.blur()")
    browser.save_screenshot(str(out))


def take_views(run: Path, name: str) -> None:
    """views/<name>-<view>.png: each as it opens, *Decide* with the first thing to look at suppressed to base."""
    from pretilt.events import Events
    from pretilt.run import Run
    from pretilt.view.site.server import viewer

    (DOCS / "views").mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        viewer(Run(run), Path(folder) / "plan.yaml", events=Events()) as server,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = open_browser()
        browser.set_window_size(WIDTH, 800)
        for view in VIEWS:
            browser.get(f"{server.address}#/{view}")
            time.sleep(3)
            if view == "responses":
                browser.find_element(By.XPATH, "//div[@class='pairlist']//button[text()='Map']").click()
                time.sleep(8)
            browser.save_screenshot(str(DOCS / "views" / f"{name}-{view}.png"))
            if view == "responses":
                take_maps(browser, DOCS / "views" / f"{name}-maps.png")
                browser.find_element(By.XPATH, "//div[@class='filters']//button[text()='List']").click()
                time.sleep(1)
                # Marked for Decide.
                browser.find_element(By.XPATH, "//button[contains(., 'Suppress')]").click()
        server.shutdown()
        browser.quit()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--outcome", action="store_true", help="its verification")
    parser.add_argument("--views", metavar="NAME", help="every view, under this name")
    arguments = parser.parse_args()
    if arguments.views:
        take_views(arguments.run.resolve(), arguments.views)
        return
    take = take_outcome if arguments.outcome else take_viewer
    take(arguments.run.resolve())


if __name__ == "__main__":
    main()
