"""Take the pictures of the docs from finished runs, in headless Chromium.

    python scripts/pictures.py demo-run                # viewer.png, the overview, and viewer-pairs.png, a pair
    python scripts/pictures.py --outcome VERIFIED_RUN  # viewer-outcome.png, the verdict of a verification

The page is opened from disk, as `pretilt export-site` writes it.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

import pretilt

DOCS = Path(__file__).parents[1] / "docs"
WIDTH, HEIGHT = 1280, 940  # CSS pixels


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--outcome", action="store_true", help="its verification")
    arguments = parser.parse_args()
    take = take_outcome if arguments.outcome else take_viewer
    take(arguments.run.resolve())


if __name__ == "__main__":
    main()
