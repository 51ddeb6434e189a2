"""Take the pictures of the docs from a finished demo: python scripts/pictures.py demo-run

The report is opened in headless Chromium with the first amplified hypothesis chosen, as a reader would click it.
"""

from __future__ import annotations

import json
import shutil
import sys
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


def main() -> None:
    run = Path(sys.argv[1]).resolve()
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


if __name__ == "__main__":
    main()
