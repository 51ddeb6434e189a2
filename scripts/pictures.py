"""Take the pictures of the docs from finished runs, in headless Chromium.

    python scripts/pictures.py demo-run                                    # report.png and report-hypothesis.png
    python scripts/pictures.py --viewer demo-run                           # viewer.png and viewer-pairs.png
    python scripts/pictures.py --verification runs/worlds/small/P2-1/run   # verification.png

The report is opened with the first amplified hypothesis chosen, as a reader would click it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

DOCS = Path(__file__).parents[1] / "docs"
WIDTH = 1280  # CSS pixels


def open_browser(height: int) -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--hide-scrollbars", f"--window-size={WIDTH},{height}"):
        options.add_argument(argument)
    # Named, because Selenium would look for a driver on the network.
    driver = shutil.which("chromedriver")
    return webdriver.Chrome(options=options, service=Service(driver))


def take_report(run: Path) -> None:
    """report.png, the findings, and report-hypothesis.png, the panel of the first one."""
    first = json.loads((run / "summary.json").read_text())["amplified"][0]["hypothesis_id"]

    # The findings, from the top of the page.
    browser = open_browser(1500)
    browser.get(f"{(run / 'report.html').as_uri()}")
    time.sleep(1)
    browser.save_screenshot(str(DOCS / "report.png"))
    browser.quit()

    # The panel of one hypothesis with its pairs, as far as the first three of them.
    browser = open_browser(4000)
    browser.get(f"{(run / 'report.html').as_uri()}#h={first}")
    time.sleep(1)
    browser.find_element(By.ID, "panel").screenshot(str(DOCS / "report-hypothesis.png"))
    browser.quit()


def take_verification(run: Path) -> None:
    """verification.png: the verdict, its figures, and every concept as it was said and seen."""
    browser = open_browser(1600)
    browser.get((run / "verification.html").as_uri())
    time.sleep(1)
    browser.save_screenshot(str(DOCS / "verification.png"))
    browser.quit()


def take_viewer(run: Path) -> None:
    """viewer.png, the overview, and viewer-pairs.png, a pair of the first thing to look at."""
    import tempfile

    import pretilt

    with tempfile.TemporaryDirectory() as folder:
        page = pretilt.export_site(run, Path(folder) / "site").as_uri()
        browser = open_browser(940)
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
    parser.add_argument("--verification", action="store_true", help="its verification, in place of its report")
    parser.add_argument("--viewer", action="store_true", help="its viewer")
    arguments = parser.parse_args()
    take = take_viewer if arguments.viewer else take_verification if arguments.verification else take_report
    take(arguments.run.resolve())


if __name__ == "__main__":
    main()
