"""Pages in headless Chromium, and the tags of a page that is only parsed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
DRIVER = shutil.which("chromedriver")  # named, because Selenium would look for one on the network
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1360,900"
)


def start_chromium(profile: Path) -> Iterator[Any]:
    """A Selenium driver that keeps the page's messages; the test is skipped where there is no browser."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no Chromium with chromedriver on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in [*FLAGS.split(), f"--user-data-dir={profile}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


class Browser:
    """A page that is open; `js` runs an expression in it."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def js(self, expression: str, *args: Any) -> Any:
        return self.driver.execute_script(f"return ({expression})", *args)

    def text(self, selector: str) -> str:
        content: str = self.js("document.querySelector(arguments[0]).textContent", selector)
        return content

    def texts(self, selector: str) -> list[str]:
        contents: list[str] = self.js(
            "[...document.querySelectorAll(arguments[0])].map((e) => e.textContent)", selector
        )
        return contents

    def wider_than_their_card(self, cards: str) -> list[str]:
        """What is seen outside of the card it is in: its class and by how many pixels; not what an ellipsis cuts."""
        found: list[str] = self.js(
            "[...document.querySelectorAll(arguments[0])].flatMap((card) => {"
            " const box = card.getBoundingClientRect();"
            " const cut = (e) => e !== card && (getComputedStyle(e).overflowX === 'hidden' || cut(e.parentElement));"
            " return [...card.querySelectorAll(':not(svg *)')].filter((e) => !cut(e.parentElement))"
            ".map((e) => [e, e.getBoundingClientRect()])"
            ".filter(([, r]) => r.width && (r.right > box.right + 0.5 || r.left < box.left - 0.5))"
            ".map(([e, r]) => `${e.tagName} .${e.className}: ${r.right - box.right}`); })",
            cards,
        )
        return found

    def press(self, selector: str, key: str) -> None:
        self.js(
            "document.querySelector(arguments[0])"
            ".dispatchEvent(new KeyboardEvent('keydown', {key: arguments[1], bubbles: true, cancelable: true}))",
            selector,
            key,
        )

    def errors(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]


class Tags(HTMLParser):
    """The start tags of a page with their attributes, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
