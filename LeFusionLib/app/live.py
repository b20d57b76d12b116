"""Live: the selected lesion sketched in the slices while it is placed, sized and given its texture.

A change ends the sketch that is under way and begins the next; Make and Preview go first.
"""

import asyncio
import time
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import Cancelled, LeFusionError
from ..scene import prepare, read_settings, sketch_node
from ..scene.housekeeping import remove_node
from ..scene.spheres import center_world
from ..synthesis.boundary import boundary_mask
from ..synthesis.sketch import sketch_of
from ..worker_client import Job
from .results import MADE

QUIET_S = 0.1  # a hand that moves on within this time gets no sketch of where it was


class Live:
    """`node` is the sketch in the scene, or None. `app` gives `work`, `lesions`, `scan`, ..."""

    def __init__(self, app: Any):
        self.app, self.state = app, app.state
        self.node: Any = None
        self._wanted = self._shown = ""  # all that decides the sketch that should be there, and that is; "" for none
        self._sphere: tuple[Any, ...] = ()  # of the one that should be there: the lesion's node, centre, diameter
        self._shown_sphere: tuple[Any, ...] = ()
        self._task: asyncio.Task[None] | None = None
        self.state.live, self.state.live_text = False, ""
        app.on("live", self.turn)

    @property
    def lesion_id(self) -> str:
        """Of the sphere that the sketch was made for."""
        return str(self._shown_sphere[0].GetID()) if self._shown_sphere else ""

    def turn(self, on: bool) -> None:
        """On or off."""
        self.state.live = bool(on)
        self.look()

    def look(self) -> None:
        """Something may have changed."""
        if self.app.work.busy():
            return  # what is there stays until the work is done
        wanted = self._what()
        if wanted == self._wanted and (wanted or self.node is None):
            return
        self._wanted = wanted
        if wanted:
            node = self.app.lesions.selected
            self._sphere = node, center_world(node), read_settings(node).diameter_mm
        if not wanted or self._shown_sphere != self._sphere:
            self.hide()
        if wanted and self._task is None:
            self._task = self.app.task(self._follow())

    def rest(self) -> None:
        """Something more important wants to compute."""
        self._wanted = ""

    def hide(self) -> None:
        """Take the sketch away."""
        if self.node is not None:
            node, self.node = self.node, None
            self.app.results.show()
            remove_node(node)
            _show_cross(self._shown_sphere[0], True)
        self.state.live_text = self._shown = ""
        self._shown_sphere = ()

    def _what(self) -> str:
        """All that decides the sketch of the selected lesion; "" where there is nothing to sketch."""
        app = self.app
        node = app.lesions.selected
        if not self.state.live or self.state.tab != "lesions" or node is None:
            return ""
        if app.results.status(node) == MADE or app.work.reason([node]):
            return ""
        return str(app.work.key_of(node))

    async def _follow(self) -> None:
        """Sketch until what is there is what is wanted."""
        try:
            while self._wanted and self._wanted != self._shown:
                wanted = self._wanted
                await asyncio.sleep(QUIET_S)
                if wanted == self._wanted:
                    await self._sketch(wanted)
        finally:
            self._task = None

    async def _sketch(self, wanted: str) -> None:
        app, sphere, started = self.app, self._sphere, time.monotonic()
        with self.state:
            self.state.live_text = "sketching..."
        try:
            job = prepare(app.scan.node, app.work.request(sphere[0]), None, app.scan.volume)
            boundary = app.inside.mask if job.boundary is None else job.boundary
            request, boundary = await asyncio.to_thread(self._bounded, job, boundary)
            sketch = await asyncio.to_thread(sketch_of, job.volume, request, boundary, app.model.card().spec)
            result = await app.computing.answer(
                Job("synthesize", sketch.volume, sketch.request, sketch.boundary),
                lambda: "" if self._wanted == wanted else "Changed.",
            )
        except Cancelled:
            return
        except LeFusionError as error:
            if self._wanted == wanted:
                with self.state:
                    self.hide()
                    self._shown = wanted  # not again before something changes
                    self.state.live_text = "no sketch"
                app.tell(str(error), "error")
            return
        if self._wanted == wanted:
            with self.state:
                self.hide()
                self.node = sketch_node(app.host, app.scan.node, result.volume.array, sketch.box)
                self._shown, self._shown_sphere = wanted, sphere
                _show_cross(sphere[0], False)  # it would hide a small lesion; the circle around it stays
                self.state.live_text = f"sketched in {time.monotonic() - started:.1f} s"
                app.results.show()

    def _bounded(self, job: Any, boundary: np.ndarray | None) -> tuple[Any, np.ndarray | None]:
        """The request without the name of an organ that the library finds itself, and that organ."""
        name = job.request.boundary
        if name is None:
            return job.request, boundary
        return replace(job.request, boundary=None), boundary_mask(name, job.volume)


def _show_cross(point: Any, on: bool) -> None:
    if point.GetDisplayNode() is not None:
        point.GetDisplayNode().SetVisibility2D(on)
