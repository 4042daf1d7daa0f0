"""Takes the README's pictures of the page: `python docs/images/shoot.py runs/published/leaderboard.html`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

SHOTS = (("light", 1280, 1180, "light"), ("dark", 1280, 1180, "dark"), ("narrow", 400, 860, "light"))


def main(page: Path) -> None:
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, width, height, scheme in SHOTS:
            opened = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            opened.goto(page.resolve().as_uri())
            opened.screenshot(path=Path(__file__).parent / f"page-{name}.png")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
