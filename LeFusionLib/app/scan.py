"""The scan: opened from a file or folder, or made up; and the grey values it is shown with."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LeFusionError
from ..intensity import middle_window
from ..io import read_volume
from ..modality import check_modality, likely_modality
from ..phantom import chest_ct
from ..scene import volume_node
from ..scene.housekeeping import remove_node
from ..volume import Volume

HU_WINDOWS = {"lung": (1500.0, -600.0), "mediastinum": (400.0, 40.0), "bone": (1800.0, 400.0)}  # width, level
AUTO, MIDDLE, FULL = "auto", "middle", "full"
WINDOWS = {  # modality: what can be chosen on the page, with its words; the first is shown when a scan is opened
    "CT": {
        **{name: f"Grey values for looking at {name}" for name in HU_WINDOWS},
        AUTO: "Grey values chosen from the scan itself",
    },
    "MR": {
        AUTO: "Grey values chosen from the scan itself",
        MIDDLE: "Grey values of the middle of the slices, where the organ lies: more contrast in it",
        FULL: "From the darkest to the brightest voxel",
    },
}


class Scan:
    """`volume` as it was read, `node` in the scene; both None before one is open. `app` gives `host`, `shelf`, ..."""

    def __init__(self, app: Any):
        self.app, self.state = app, app.state
        self.volume: Volume | None = None
        self.node: Any = None
        self.modality = "CT"
        self.unfit = ""  # why the model was not made for this scan
        self.state.scan = {"name": "", "facts": "", "number": 0}
        self.state.opening, self.state.files, self.state.window, self.state.levelling = "", [], "", False
        self.state.windows = []
        app.on("look", self.look)
        app.on("open", self.open_named)
        app.on("open_demo", self.open_demo)
        app.on("window", self.set_window)
        app.on("level_by_mouse", self.level_by_mouse)

    def look(self) -> None:
        """List the data folder anew."""
        self.state.files = self.app.shelf.names()
        self.app.inside.look()

    def open_named(self, name: str) -> None:
        """A scan of the data folder."""
        self._start(str(name), lambda: self.app.shelf.path(str(name)))

    def open_given(self, path: Path) -> None:
        """What the command line named."""
        self._start(path.name, lambda: path)

    def open_demo(self) -> None:
        """The made-up chest CT."""
        self._start("a made-up chest CT", None)

    def _start(self, name: str, find: Any) -> None:
        if self.app.work.busy():
            raise LeFusionError("A lesion is being made. Wait for it, or cancel it, before another scan is opened.")
        if self.state.opening:
            return
        path = None if find is None else find()
        self.state.opening = name
        self.app.task(self._open(path))

    async def _open(self, path: Path | None) -> None:
        try:
            volume = await asyncio.to_thread(_read, path, self.app.options.max_voxels)
            kind, unfit = await asyncio.to_thread(self._look_at, volume)
            self._take(volume, kind, unfit)
        except LeFusionError as error:
            self.app.tell(str(error), "error")
        except MemoryError:
            self.app.tell(
                "There is too little free memory to open this scan. Crop it, or close other programs.", "error"
            )
        finally:
            with self.state:
                self.state.opening = ""

    def _look_at(self, volume: Volume) -> tuple[str, str]:
        """Of which modality it is, and why the model was not made for it; "" where it was."""
        card = self.app.model.card()
        try:
            if card is not None and not self.app.parameters.any_modality:
                check_modality(volume, card.spec.modality, card.spec.name)
        except LeFusionError as error:
            return likely_modality(volume), str(error)
        return likely_modality(volume), ""

    def _take(self, volume: Volume, modality: str, unfit: str) -> None:
        """This volume instead of the one before."""
        with self.state:
            self.app.results.clear()
            self.app.lesions.clear()
            before, self.node, self.volume = self.node, volume_node(self.app.host, volume), volume
            self.modality, self.unfit = modality, unfit
            self.app.parameters.volume = self.node
            spacing = " × ".join(f"{mm:.3g}" for mm in volume.spacing_mm[::-1])
            size = " × ".join(str(n) for n in volume.shape[::-1])
            facts = f"{size} voxels of {spacing} mm"
            number = self.state.scan["number"] + 1
            self.state.scan = {"name": volume.name, "facts": facts, "number": number}
            rows = WINDOWS[modality]
            self.state.windows = [{"name": name, "text": text} for name, text in rows.items()]
            self.set_window(next(iter(rows)))
            self.app.views.show(self.node)
            self.app.views.fit()
            if before is not None:
                remove_node(before)
            self.app.tell("")
            self.app.lesions.add()
            self.app.inside.new_scan()
            if number == 1:
                self.app.task(self.app.computing.warm_up())

    def set_window(self, name: str) -> None:
        """Show the grey values of a window of `WINDOWS`: in HU, or between percentiles 1 and 99 of all voxels or of the
        slices' middle."""
        if self.node is None or self.volume is None or name not in WINDOWS[self.modality]:
            return
        if name in HU_WINDOWS:
            width, level = HU_WINDOWS[name]
        else:
            low, high = _range(self.volume.array, name)
            width, level = max(high - low, 1e-6), (high + low) / 2
        self.state.window = name
        for node in filter(None, (self.node, self.app.results.node)):
            display = node.GetScalarVolumeDisplayNode()
            display.SetAutoWindowLevel(False)
            display.SetWindowLevel(width, level)

    def level_by_mouse(self, on: bool) -> None:
        """Left drag in a slice changes window and level, or moves nothing, as in Slicer."""
        self.state.levelling = bool(on)
        node = self.app.slicer.markups_logic.interaction_node
        node.SetCurrentInteractionMode(node.AdjustWindowLevel if on else node.ViewTransform)


def _range(array: np.ndarray, name: str) -> tuple[float, float]:
    """The darkest and brightest grey value to show of voxels (D, H, W)."""
    if name == FULL:
        return float(array.min()), float(array.max())
    if name == MIDDLE:
        try:
            window = middle_window(array)
            return window.low, window.high
        except LeFusionError:  # flat there; the percentiles of all of it then
            pass
    low, high = np.percentile(array[::2, ::2, ::2], [1, 99])
    return float(low), float(high)


def _read(path: Path | None, max_voxels: int) -> Volume:
    if path is None:
        return chest_ct()
    volume = read_volume(path)
    if volume.array.size > max_voxels:
        raise LeFusionError(
            f"'{volume.name}' has {volume.array.size / 1e6:.0f} million voxels; this app opens {max_voxels / 1e6:.0f} "
            "million at most. Crop the scan, or use `lefusion synthesize`."
        )
    return volume
