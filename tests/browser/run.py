"""The kiosk's page in a real browser: orders a picture, watches it emerge, finds it in the gallery, cancels one, deletes one, on a
desk and on a phone; a wrong token is refused; the browser's console stays empty.

    pip install -r tests/browser/requirements.txt
    python3 tests/browser/run.py target/release/pochade [--shots FOLDER] [--browser /usr/bin/chromium]
"""

import argparse
import re
import socket
import subprocess
import tempfile
import time
import urllib.request
from functools import partial
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

TOKEN = "a-token-for-the-test"
SETTINGS = """
[schedule]
every = "1h"
stock = 0
[gallery]
folder = "{folder}/gallery"
free = "1MB"
[orders]
steps = 1000
[web]
listen = "127.0.0.1:{port}"
{token}
"""
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}


class Daemon:
    def __init__(self, program: str, guarded: bool) -> None:
        self.folder = tempfile.TemporaryDirectory()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        settings = Path(self.folder.name) / "pochade.toml"
        token = f'token = "{TOKEN}"' if guarded else ""
        settings.write_text(SETTINGS.format(folder=self.folder.name, port=port, token=token))
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen([program, "daemon", "--config", str(settings)])

    def __enter__(self) -> "Daemon":
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{self.url}/healthz", timeout=1).close()
                return self
            except OSError:
                time.sleep(0.1)
        raise TimeoutError("the daemon does not answer")

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(30)
        self.folder.cleanup()

    def metric(self, name: str) -> float:
        with urllib.request.urlopen(f"{self.url}/metrics") as answer:
            return float(re.search(rf"^{re.escape(name)} (\S+)$", answer.read().decode(), re.M)[1])


def serve(path: Path, route) -> None:
    route.fulfill(path=path)


class Complaints(list):
    """What the browser's console says, errors and warnings alike."""

    def listen(self, page: Page) -> Page:
        page.on("console", lambda said: said.type in ("error", "warning") and self.append(said.text))
        page.on("pageerror", lambda error: self.append(str(error)))
        return page


def shot(page: Page, shots: Path | None, name: str) -> None:
    if shots:
        shots.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=shots / f"{name}.png", full_page=True)


def order(page: Page, prompt: str, steps: int, **fields: str) -> None:
    page.get_by_label("What should be seen").fill(prompt)
    if not page.get_by_label("Steps").is_visible():
        page.get_by_text("More", exact=True).click()
    page.get_by_label("Steps").fill(str(steps))
    for label, value in fields.items():
        page.get_by_label(label.replace("_", " ")).fill(value)
    page.get_by_role("button", name="Paint", exact=True).click()
    expect(page.locator("#order-note")).to_have_text("Ordered.")


def paints(page: Page, shots: Path | None) -> None:
    """An order is seen emerging, hangs on the screen, and is found in the gallery."""
    pictures = page.locator("#pictures img")
    expect(pictures).to_have_count(1, timeout=60_000)
    order(page, "a red sun over blue mountains at dusk", 50, Seed="5")
    expect(page.locator("#work-prompt")).to_have_text("a red sun over blue mountains at dusk")
    expect(page.locator("#work-left")).to_contain_text(re.compile(r"step \d+ of 50"))
    expect(page.locator("#preview")).to_have_attribute("src", re.compile("^data:image/png"))
    seen = page.locator("#progress").evaluate("bar => bar.value")
    page.wait_for_function("before => document.getElementById('progress').value > before", arg=seen)
    shot(page, shots, "painting")
    expect(page.locator("#order-note")).to_have_text("Painted.", timeout=60_000)
    expect(page.locator("#caption")).to_have_text("a red sun over blue mountains at dusk")
    expect(pictures).to_have_count(2)
    expect(pictures.first).to_have_attribute("alt", "a red sun over blue mountains at dusk")


def cancels(page: Page, shots: Path | None) -> None:
    """One that waits is taken back, one that is painted stops."""
    pictures = page.locator("#pictures img")
    order(page, "a green hill", 900)
    expect(page.locator("#work-prompt")).to_have_text("a green hill")
    order(page, "a yellow moon", 900)
    expect(page.locator("#tickets li")).to_have_count(1)
    shot(page, shots, "waiting")
    page.get_by_role("button", name="Cancel a yellow moon").click()
    expect(page.locator("#queue")).to_be_hidden()
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.locator("#work")).to_be_hidden(timeout=10_000)
    expect(pictures).to_have_count(2)


def weeds(page: Page, shots: Path | None) -> None:
    """Pictures are searched for, kept, and deleted."""
    pictures = page.locator("#pictures img")
    page.get_by_label("Search the gallery").fill("no such words")
    expect(page.get_by_text("No picture is like that.")).to_be_visible()
    page.get_by_label("Search the gallery").fill("dusk mountains")
    expect(pictures).to_have_count(1)
    page.locator("#heart").click()
    expect(page.locator("#heart")).to_have_text("♥ Kept")
    page.get_by_label("Search the gallery").fill("")
    page.get_by_label("♥ only").check()
    expect(pictures).to_have_count(1)
    page.get_by_label("♥ only").uncheck()
    expect(pictures).to_have_count(2)
    page.locator("#pictures button").last.click()
    viewer = page.locator("#viewer")
    expect(viewer).to_be_visible()
    shot(page, shots, "viewer")
    viewer.get_by_role("button", name="Delete").click()
    viewer.get_by_role("button", name="Really delete?").click()
    expect(viewer).to_be_hidden()
    expect(pictures).to_have_count(1)


def begins_with_a_picture(page: Page, folder: str) -> None:
    """A file is sent along, and the picture has its colours."""
    path = Path(folder) / "begin.png"
    page.locator("#screen").screenshot(path=path)
    page.get_by_label("Begin with a picture").set_input_files(path)
    order(page, "a red sun, ink", 10)
    expect(page.locator("#order-note")).to_have_text("Painted.", timeout=60_000)
    expect(page.locator("#caption")).to_have_text("a red sun, ink")


def the_phone(page: Page, shots: Path | None) -> None:
    """Nothing sticks out on a phone, and everything can be hit with a thumb."""
    page.set_viewport_size(PHONE)
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], "it can be scrolled sideways"
    small = page.locator("main button:visible").evaluate_all(
        "all => all.filter(b => b.getBoundingClientRect().height < 36).map(b => b.textContent)"
    )
    assert not small, small
    shot(page, shots, "phone")
    page.set_viewport_size(DESK)


def the_token(browser, daemon: Daemon, shots: Path | None) -> None:
    """A wrong token is refused, the right one lets in and is remembered."""
    page = browser.new_context(viewport=PHONE).new_page()
    page.goto(daemon.url, wait_until="domcontentloaded")
    page.get_by_label("Token").fill("not-this-token")
    page.get_by_role("button", name="Enter").click()
    expect(page.locator("#login .wrong")).not_to_be_empty()
    expect(page.locator("#kiosk")).to_be_hidden()
    shot(page, shots, "token")
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Enter").click()
    expect(page.locator("#kiosk")).to_be_visible()
    page.reload(wait_until="domcontentloaded")
    expect(page.locator("#kiosk")).to_be_visible()
    assert TOKEN not in str(page.context.cookies()), "the cookie is not the token"
    linked = browser.new_context().new_page()
    linked.goto(f"{daemon.url}/?token={TOKEN}", wait_until="domcontentloaded")
    expect(linked.locator("#kiosk")).to_be_visible()
    assert "token" not in linked.url


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("program")
    parser.add_argument("--shots", type=Path)
    parser.add_argument("--browser", default="/usr/bin/chromium")
    parser.add_argument("--page", type=Path, help="serve the page's files from this folder instead of the program's")
    arguments = parser.parse_args()
    complaints = Complaints()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=arguments.browser, args=["--no-sandbox"])
        expect.set_options(timeout=15_000)
        with Daemon(arguments.program, guarded=False) as daemon:
            context = browser.new_context(viewport=DESK)
            if arguments.page:
                for name in ("index.html", "app.js", "style.css"):
                    at = daemon.url + "/" + name.replace("index.html", "")
                    path = arguments.page / name
                    context.route(at, partial(serve, path))
            page = complaints.listen(context.new_page())
            page.goto(daemon.url, wait_until="domcontentloaded")
            for step in (paints, cancels, weeds):
                step(page, arguments.shots)
                print(f"{step.__name__}: {step.__doc__.strip()}", flush=True)
            begins_with_a_picture(page, daemon.folder.name)
            the_phone(page, arguments.shots)
            page.wait_for_timeout(500)
            shot(page, arguments.shots, "desk")
            assert daemon.metric("pochade_waiting_orders") == 0
        assert not complaints, complaints
        print("the console is empty")
        if not arguments.page:
            with Daemon(arguments.program, guarded=True) as daemon:
                the_token(browser, daemon, arguments.shots)
            print(f"the_token: {the_token.__doc__}")


if __name__ == "__main__":
    main()
