"""Jobs of the panel in the worker process: handed in, asked after from the main thread; how long they still take."""

import qt
from slicer.i18n import tr as _

from LeFusionLib import progress

POLL_MS = 50


class Runner:
    """Polls `client` (a `WorkerClient`) by a timer while it is busy. Scene and widgets are touched by callbacks only,
    which run on the main thread."""

    def __init__(self, client, parent):
        self.client, self.callbacks = client, {}
        self.timer = qt.QTimer(parent)
        self.timer.setInterval(POLL_MS)
        self.timer.connect("timeout()", self.poll)

    def submit(self, job, onProgress, onEnd):
        """Hand in a job. onProgress(step, total, message); onEnd(handle) once, whatever comes of it."""
        handle = self.client.submit(job)
        self.callbacks[handle] = (onProgress, onEnd)
        self.timer.start()
        return handle

    def poll(self):
        for event in self.client.poll():
            onProgress, onEnd = self.callbacks.get(event.handle, (None, None))
            if event.handle.finished:
                self.callbacks.pop(event.handle, None)
                if onEnd is not None:
                    onEnd(event.handle)
            elif onProgress is not None:
                onProgress(event.step, event.total, event.message)
        if not self.callbacks:
            self.timer.stop()

    def close(self):
        """End the worker; nobody is told any more."""
        self.timer.stop()
        self.callbacks.clear()
        self.client.close()


class TimeLeft:
    """How far the work is and how long it still takes, in words."""

    def __init__(self):
        self.left = progress.TimeLeft()

    def text(self, step, total, message):
        seconds = self.left.seconds(step, total, message)
        said = _("{message}: {step} of {total}").format(
            message=message[:1].upper() + message[1:], step=step, total=total
        )
        if seconds is None:
            return said
        left = _("{n} s").format(n=round(seconds)) if seconds < 90 else _("{n} min").format(n=round(seconds / 60))
        return _("{said}, about {left} left").format(said=said, left=left)
