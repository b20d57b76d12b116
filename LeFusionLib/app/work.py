"""Make, preview, cancel: jobs for the worker process, one lesion each, and how they end.

Nothing here waits in a handler of the page: whatever a page asks for next, Cancel first of all, would wait with it.
"""

import asyncio
import json
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import Cancelled, LeFusionError
from ..progress import TimeLeft
from ..scene import SceneJob, check_lesions, check_meets, control_sphere_of, prepare, request_of
from ..scene.spheres import grid_of
from ..synthesis.compose import MadeLesion
from ..synthesis.request import SynthesisRequest
from ..worker_client import Job

KEPT = 100  # lesions made before that need not be made again
AIR_HU = -970.0  # the mean inside a sphere that lies beside the patient, or in a bulla
HELP = {"out_of_memory": ("use_cpu", "Use the processor instead")}  # kind of failure: what a button does, and says


class Work:
    """One job at a time. `app` gives `parameters`, `lesions`, `results`, ..."""

    def __init__(self, app: Any):
        self.app, self.state = app, app.state
        self._task: asyncio.Task[None] | None = None
        self._stop = ""  # why the running job shall end
        self._made: dict[str, MadeLesion] = {}  # by all that was asked
        self.state.busy, self.state.progress, self.state.progress_text, self.state.reason = "", 0, "", ""
        self.state.todo, self.state.note = 0, ""
        app.on("make", self.make)
        app.on("remake", self.remake)
        app.on("preview", self.preview)
        app.on("another_shape", self.another_shape)
        app.on("cancel", lambda: self.stop("Cancelled; nothing was changed."))
        app.on("use_cpu", self.use_cpu)

    def busy(self) -> bool:
        return self._task is not None

    def show(self) -> None:
        """Why Make cannot be pressed; empty where it can."""
        self.state.reason = "" if self.busy() else self.reason()
        self.app.inside.tell()
        self.state.note = "" if self.state.reason else self._note()
        self.state.todo = sum(row["status"] != "made" for row in self.state.lesions)

    def reason(self, nodes: Any = None) -> str:
        """What stands in the way of making these lesions, by default all."""
        app = self.app
        nodes = app.lesions.nodes if nodes is None else nodes
        card = app.model.card()
        if card is None:
            return str(app.model.error)
        if app.scan.node is None:
            return "No scan is open."
        if app.scan.unfit:
            return str(app.scan.unfit)
        for node in nodes:
            if not node.GetNumberOfDefinedControlPoints():
                return f"Click into a slice to place lesion {app.lesions.number_of(node)}."
        if app.inside.missing():
            return str(app.inside.missing())
        try:
            check_lesions(app.scan.node, nodes, card.spec, app.model.mask_spec(), app.parameters.bounded)
            for node in nodes if app.inside.mask is not None else ():
                check_meets(node, app.scan.node, app.inside.mask)
        except LeFusionError as error:
            return str(error)
        return ""

    def make(self) -> None:
        """Every lesion that is new or was changed; the others stay as they are."""
        nodes = self.app.lesions.nodes
        self._begin("make", nodes, self._make(nodes))

    def remake(self, node_id: str) -> None:
        """One lesion with another seed."""
        self.app.lesions.on_pick(node_id)
        self.app.lesions.on_seed()
        self.make()

    def preview(self) -> None:
        """The shape of the selected lesion alone; quick, and it is the shape that Make will fill."""
        node = self.app.lesions.selected
        if node is not None:
            self._begin("preview", [node], self._preview(node))

    def another_shape(self) -> None:
        """The next shape of the same seed."""
        node = self.app.lesions.selected
        if node is not None and not self.busy():
            row = next(row for row in self.state.lesions if row["id"] == node.GetID())
            self.app.lesions.change(shape=row["shape"] + 1)
            self.preview()

    def stop(self, reason: str) -> None:
        """Ask for the end of what runs; `reason` is said when it has come."""
        if self.busy() and not self._stop:
            self._stop = reason
            self.state.progress_text = "Stopping..."

    def use_cpu(self) -> None:
        self.app.parameters.device = "cpu"
        self.app.tell("The next lesions are made on the processor; that is slower.")

    def key_of(self, node: Any) -> str:
        """All that decides what this lesion becomes; "" where it is not placed."""
        try:
            asked = [self.app.scan.node.GetID(), self.app.inside.key, self.request(node).to_dict()]
            return json.dumps(asked, sort_keys=True)
        except LeFusionError:
            return ""

    def request(self, node: Any) -> SynthesisRequest:
        """For this lesion alone."""
        return replace(request_of(self.app.parameters, [node]), sampler=self.app.options.sampler)

    def close(self) -> None:
        """End what runs."""
        self._stop = self._stop or "Stopped."

    def forget(self) -> None:
        """Another scan: nothing made before belongs to it."""
        self._made.clear()

    def _begin(self, what: str, nodes: Any, work: Awaitable[None]) -> None:
        reason = "Something is being made already." if self.busy() else self.reason(nodes)
        if reason:
            work.close()  # type: ignore[attr-defined]  # a coroutine that shall not run
            raise LeFusionError(reason)
        self.app.lesions.stop_placing()
        self.app.live.rest()
        self.state.busy, self.state.progress, self._stop = what, 0, ""
        self.state.progress_text = "Starting the computing process and loading the model..."
        self.app.tell("")
        self._task = self.app.task(self._run(work))

    async def _run(self, work: Awaitable[None]) -> None:
        """One end for everything that can end."""
        try:
            await work
        except Cancelled:
            self.app.tell(self._stop or "Stopped; nothing was changed.")
        except LeFusionError as error:
            self.app.tell(str(error), "error", *HELP.get(getattr(error, "kind", ""), ("", "")))
        finally:
            with self.state:
                self._task = None
                self.state.busy, self.state.progress_text = "", ""
                self.app.lesions.show()

    async def _make(self, nodes: list[Any]) -> None:
        keys = {node: self.key_of(node) for node in nodes}
        missing = [node for node in nodes if keys[node] not in self._made]
        for number, node in enumerate(missing, start=1):
            what = "" if len(missing) == 1 else f"Lesion {number} of {len(missing)}. "
            result = await self._do("synthesize", node, what, (number - 1) / len(missing), 1 / len(missing))
            self._made[keys[node]] = await asyncio.to_thread(MadeLesion.of, result)
        while len(self._made) > KEPT:
            del self._made[next(key for key in self._made if key not in keys.values())]
        await self.app.results.take({node: (keys[node], self._made[keys[node]]) for node in nodes})

    async def _preview(self, node: Any) -> None:
        key = self.key_of(node)
        (mask,) = await self._do("draw_mask", node, "", 0.0, 1.0)
        if self.key_of(node) == key:
            self.app.results.show_shape(node, mask, key)
        else:
            self.app.tell("The lesion was changed while its shape was drawn. Preview it again.")

    async def _do(self, job_name: str, node: Any, what: str, start: float, share: float) -> Any:
        """One job of the worker for one lesion: its result, or its error."""
        job: SceneJob = prepare(self.app.scan.node, self.request(node), None, self.app.scan.volume)
        left = TimeLeft()

        def progress(step: int, total: int, message: str) -> None:
            seconds = left.seconds(step, total, message)
            said = f"{what}{message[:1].upper()}{message[1:]}: step {step} of {total}"
            with self.state:
                self.state.progress = round(100 * (start + share * step / max(total, 1)))
                if not self._stop:
                    self.state.progress_text = said + ("" if seconds is None else f", about {seconds:.0f} s left")

        asked = Job(job_name, job.volume, job.request, self.app.inside.mask)
        return await self.app.computing.answer(asked, lambda: self._stop, progress, self._wait_for_turn)

    def _wait_for_turn(self) -> None:
        with self.state:
            self.state.progress_text = "Waiting: another session on this computer is computing..."

    def _note(self) -> str:
        """A sphere beside the patient is a slip of the hand, in a CT where air can be told; a bulla is no reason not to
        go on."""
        scan = self.app.scan
        for number, node in enumerate(self.app.lesions.nodes, start=1):
            if scan.node is None or scan.modality != "CT" or not node.GetNumberOfDefinedControlPoints():
                continue
            mask = control_sphere_of(node, scan.node).mask_on(grid_of(scan.node))
            if mask.any() and float(np.mean(scan.volume.array[mask])) < AIR_HU:
                return f"Lesion {number} lies in air. If that is outside the body, drag it into tissue."
        return ""
