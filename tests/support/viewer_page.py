"""The viewer in headless Chromium: a page that is ready when its first shards have come."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from browser import Browser

AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
SECONDS = 30.0


class Page(Browser):
    """`base`: the address of the page, from disk or of a server."""

    def __init__(self, driver: Any, base: str) -> None:
        super().__init__(driver)
        self.base = base

    def at(self, place: str = "", *, width: int = 1280, dark: bool = False) -> Page:
        """Load the page anew at a place, "#/pairs"."""
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get("about:blank")
        self.driver.get_log("browser")
        self.driver.get(self.base + place)
        self.wait("document.documentElement.dataset.ready")
        return self

    def wait(self, expression: str, *args: Any) -> Any:
        """What the expression gives once it is true; fails after `SECONDS`."""
        end = time.monotonic() + SECONDS
        while not (value := self.js(expression, *args)):
            assert time.monotonic() < end, (
                f"never true: {expression}; the page says {self.js('document.body.innerText')}"
            )
            time.sleep(0.02)
        return value

    def shows(self, text: str) -> None:
        """Wait until the page shows the text."""
        self.wait("document.body.innerText.includes(arguments[0])", text)

    def click_on(self, selector: str, text: str = "") -> None:
        """Wait for the first such element that holds the text, and click it."""
        find = "[...document.querySelectorAll(arguments[0])].find((e) => e.textContent.includes(arguments[1]))"
        self.wait(f"!!{find}", selector, text)
        self.js(f"{find}.click()", selector, text)

    def violations(self) -> list[str]:
        """Serious accessibility faults by axe-core."""
        if not AXE.exists():
            pytest.skip("axe-core is not installed: run `make web`")
        self.driver.execute_script(AXE.read_text(encoding="utf-8"))
        faults = self.driver.execute_async_script(
            "const done = arguments[0]; axe.run(document, {resultTypes: ['violations']}).then((r) => done(r.violations"
            ".filter((v) => ['serious', 'critical'].includes(v.impact))"
            ".map((v) => `${v.id}: ${v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160)).join(' | ')}`)));"
        )
        return list(faults)
