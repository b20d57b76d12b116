"""Telling a person at a terminal, or a program, how far the work is; and hearing her stop it."""

import json
import signal
import sys
import time
from types import FrameType
from typing import Any


class Reporter:
    """`progress` and `cancel` for the command line.

    style: "bar", one line on stderr that is rewritten; "json", one object per line on stdout; "quiet".
    """

    def __init__(self, style: str):
        self.style = style
        self._started: float | None = None

    def progress(self, step: int, total: int, message: str) -> None:
        """Called after every network evaluation."""
        now = time.monotonic()
        if self._started is None:
            self._started = now
        left = (now - self._started) / max(step - 1, 1) * (total - step)
        if self.style == "json":
            self.emit({"step": step, "total": total, "message": message, "seconds_left": round(left, 1)})
        elif self.style == "bar" and sys.stderr.isatty():
            end = "\n" if step == total else ""
            sys.stderr.write(f"\r{message}: {step} of {total}, about {left:.0f} s left   {end}")

    def say(self, line: str, **facts: Any) -> None:
        """The last word: what was written and where the time went."""
        if self.style == "json":
            self.emit({"done": True, **facts})
        elif self.style == "bar":
            sys.stdout.write(line + "\n")

    @staticmethod
    def emit(values: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(values) + "\n")
        sys.stdout.flush()


class TimeLeft:
    """From the evaluations so far; the first of a stage is left out, it also loads and warms up."""

    def __init__(self) -> None:
        self._stage: tuple[str, int] | None = None

    def seconds(self, step: int, total: int, message: str) -> float | None:
        """Until the end of this stage; None as long as that cannot be said."""
        now = time.monotonic()
        if self._stage != (message, total):
            self._stage, self._since, self._first = (message, total), now, step
        if step <= self._first:
            return None
        return (now - self._since) / (step - self._first) * (total - step)


class Interrupt:
    """Turns Ctrl-C (and a polite kill) into a `cancel()` that says True; a second Ctrl-C stops at once."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self) -> bool:
        return self.asked

    def __enter__(self) -> "Interrupt":
        self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
