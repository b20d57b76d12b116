"""The app as a process, and what a person at its page does and sees."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# What trame, VTK and a closing browser say and what harms nobody; any other traceback fails the test.
NOISE = ("ClientConnectionResetError", "Cannot write to closing transport", "ConnectionResetError")
SLOW = ("--sampler", "ddpm", "--steps", "300", "--jump-length", "10", "--jump-n-sample", "10")


class Server:
    """`lefusion app` as a process."""

    def __init__(self, options, port=0, folder=None):
        self.log = Path(tempfile.mkdtemp(prefix="app-log-", dir=folder)) / "log.txt"
        words = [sys.executable, "-m", "LeFusionLib", "app", "--port", str(port), *map(str, options)]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        started = time.monotonic()
        with self.log.open("w") as log:
            self.process = subprocess.Popen(words, env=environment, stdout=log, stderr=log, start_new_session=True)
        while not (found := re.search(r"LeFusion is at (\S+)", self.said())):
            assert self.process.poll() is None, self.said()[-3000:]
            assert time.monotonic() - started < 120, "the app did not start within two minutes"
            time.sleep(0.05)
        self.url, self.seconds = found.group(1), time.monotonic() - started

    @property
    def base(self):
        """The address without its token, without a slash at the end."""
        return self.url.partition("?")[0].rstrip("/")

    def said(self):
        return self.log.read_text(errors="replace")

    def tracebacks(self):
        """Tracebacks that are not known noise."""
        parts = self.said().split("Traceback (most recent call last)")[1:]
        return [part[:2000] for part in parts if not any(noise in part for noise in NOISE)]

    def memory_mb(self):
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text).group(1)) / 1024

    def children(self):
        """Process ids of what it started and what still runs."""
        done = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True)
        return [int(pid) for pid in done.stdout.split()]

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


class Desk:
    """A page of the app. Waiting is for something on the page, never for a time."""

    def __init__(self, page, server, scan=None):
        self.page, self.server = page, server
        page.set_default_timeout(40_000)
        page.goto(server.url)
        page.wait_for_selector("#tab-lesions")
        if scan is not None:
            self.open(scan)

    def open(self, scan):
        """A scan of the data folder, or "" for the made-up one; with all lesions of before gone."""
        self.page.wait_for_selector("#demo:enabled")
        before = int(self.page.get_attribute(".scan-name", "data-number"))
        if scan:
            self.page.select_option("#file", "")
            self.page.select_option("#file", scan)
        else:
            self.page.click("#demo")
        self.page.wait_for_function(
            f"document.querySelector('.scan-name').dataset.number > {before} && document.querySelector('#add.on')"
            " && !document.querySelector('.veil')"
        )

    def spot(self, view="Axial", across=0.5, down=0.5):
        """A place in a view, in pixels of the page; by shares of the view."""
        box = self.page.locator(f"#view-{view}").bounding_box()
        return box["x"] + across * box["width"], box["y"] + down * box["height"]

    def place(self, across=0.5, down=0.5, view="Axial"):
        """Click into a view where a lesion waits for its place."""
        count = len(self.centers())
        x, y = self.spot(view, across, down)
        self.page.mouse.move(x - 3, y - 3)
        self.page.mouse.move(x, y)
        self.page.wait_for_function("document.querySelector('#add.on')")
        self.page.mouse.down()
        self.page.mouse.up()
        self.wait(lambda: len(self.centers()) == count + 1, "the click places the lesion")
        return x, y

    def centers(self):
        """Of the lesions that are placed, (R, A, S) in mm, as exactly as the server has them."""
        texts = self.page.eval_on_selector_all("[data-center]", "all => all.map(one => one.dataset.center)")
        return [tuple(map(float, text.split())) for text in texts if text]

    def wait(self, condition, what, seconds=60):
        for _ in range(int(seconds / 0.05)):
            if condition():
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"did not happen within {seconds} s: {what}; the page says {self.message()!r}")

    def message(self):
        found = self.page.query_selector("#message")
        return found.inner_text() if found else ""

    def wait_message(self, words, seconds=60):
        self.wait(lambda: words in self.message(), f"a message with {words!r}", seconds)
        return self.message()

    def text(self, selector):
        return self.page.inner_text(selector)

    def row(self, number=1):
        return self.page.inner_text(f"[data-lesion='{number}']")

    def set_number(self, selector, value):
        self.page.fill(selector, str(value))
        self.page.keyboard.press("Enter")
        heard = f"window.trame.state.get('lesion')['{selector[1:]}'] == {value}"
        self.wait(lambda: self.page.evaluate(heard), f"{selector} is {value}")

    def make(self):
        """Press Make and wait for the end."""
        self.page.click("#make")
        self.page.wait_for_selector("#cancel", state="attached")
        self.page.wait_for_selector("#make", state="attached")

    def tab(self, name):
        self.page.click(f"#tab-{name}")
        self.page.wait_for_selector(f"#tab-{name}.on")

    def picture(self, view="Axial"):
        """What a view shows now, as PNG bytes."""
        return self.page.locator(f"#view-{view}").screenshot()
