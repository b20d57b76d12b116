"""What was made, in the scene and on the page: shown over the scan, compared with it, taken back lesion by lesion."""

import asyncio
from typing import Any

import numpy as np

from ..errors import LeFusionError
from ..intensity import IntensityWindow
from ..lesion_mask import LesionMask
from ..scene import (
    add_result,
    difference_node,
    lesion_segmentation_node,
    remove_difference,
    remove_result,
)
from ..scene.housekeeping import remove_node
from ..scene.results import LESIONS
from ..synthesis.compose import MadeLesion, put_together
from ..synthesis.result import SynthesisResult, class_color
from ..terminology import class_label
from ..texture import TextureHistogram
from .colors import css

NEW, MADE, CHANGED = "new", "made", "changed"
DIFFERENCE_OPACITY = 0.7
PREVIEW = (0.25, 0.85, 1.0)  # of a shape without tissue, where there is but one class


class Results:
    """`result` is what `lefusion synthesize` would save for the same lesions; None before the first is made."""

    def __init__(self, app: Any):
        self.app, self.state = app, app.state
        self.result: SynthesisResult | None = None
        self.node: Any = None
        self._parts: dict[str, tuple[str, MadeLesion]] = {}  # sphere's ID: what was asked, what was made
        self._shape: tuple[str, str, Any] | None = None  # sphere's ID, what was asked, the outline's node
        self._difference: Any = None
        self.state.result, self.state.blend, self.state.difference, self.state.outline = {}, 100, False, True
        app.on("blend", self.on_blend)
        app.on("difference", self.on_difference)
        app.on("outline", self.on_outline)
        app.on("take_back", self.on_take_back)

    def status(self, node: Any) -> str:
        """Of a lesion: not made, in the result as it is set, or set otherwise since."""
        part = self._parts.get(node.GetID())
        if self._shape is not None and self._shape[0] == node.GetID() and self._shape[1] != self.app.work.key_of(node):
            self.hide_shape()
        if part is None:
            return NEW
        return MADE if part[0] == self.app.work.key_of(node) else CHANGED

    async def take(self, parts: dict[Any, tuple[str, MadeLesion]]) -> None:
        """These lesions are the result now: sphere's node, what was asked, what was made."""
        before = self._parts
        self._parts = {node.GetID(): part for node, part in parts.items() if node.GetScene() is not None}
        try:
            await self._rebuild()
        except LeFusionError:
            self._parts = before
            raise
        with self.state:
            self.app.show_tab("result")
            self.app.hint(0)
        self.app.tell(f"Done: {len(self._parts)} lesion{'s' if len(self._parts) > 1 else ''} in the scan.", "success")

    def forget(self, node: Any) -> None:
        """The lesion was removed from the list: its tissue goes, too."""
        if self._parts.pop(node.GetID(), None) is not None:
            self.app.task(self._rebuild())

    def on_take_back(self, node_id: str) -> None:
        """Undo one lesion: its voxels are the scan's again; its sphere stays where it is."""
        if self.app.work.busy():
            raise LeFusionError("A lesion is being made. Wait for it, or cancel it.")
        if self._parts.pop(node_id, None) is not None:
            self.app.task(self._rebuild())

    def on_blend(self, percent: float) -> None:
        """0 is the scan, 100 the result."""
        self.state.blend = min(max(int(float(percent)), 0), 100)
        self.show()

    def on_difference(self, on: bool) -> None:
        """Lay what has changed over the scan."""
        self._drop_difference()
        if on and self.node is not None:
            self._difference = difference_node(self.app.host, self.node)
            display = self._difference.GetDisplayNode()
            display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeYellow")  # grey over grey says little
            display.SetWindowLevel(display.GetWindow() / 2, display.GetWindow() / 4)
            self.state.difference = True
        self.show()

    def on_outline(self, on: bool) -> None:
        """The lesions' outlines in the slices."""
        self.state.outline = bool(on)
        self._show_outline()

    def show_shape(self, node: Any, mask: LesionMask, key: str) -> None:
        """The outline of a shape that has no tissue yet, until its sphere changes."""
        self.hide_shape()
        with self.state:
            shape = lesion_segmentation_node(self.app.host, self.app.scan.node, [mask], "Shape preview")
            shape.SetSaveWithScene(False)
            offered = self.app.model.card().spec.classes
            for name in mask.classes:
                segment = shape.GetSegmentation().GetSegment(f"{name}_1")
                if segment is not None:  # an empty class has none
                    segment.SetColor(*(class_color(name, offered) if len(offered) > 1 else PREVIEW))
            _outline(shape, True, 3)
            self._shape = (node.GetID(), key, shape)
            parts = [f"{class_label(name)} {mask.voxels(name)}" for name in mask.classes]
            voxels = ", ".join(parts) if len(offered) > 1 else f"{mask.voxels()}"
            self.app.tell(f"The shape is {mask.diameter_mm():.1f} mm across, {voxels} voxels.")

    def hide_shape(self) -> None:
        if self._shape is not None:
            remove_node(self._shape[2])
            self._shape = None

    def clear(self) -> None:
        """Another scan is opened."""
        self._drop_difference()
        self.app.live.hide()
        self.hide_shape()
        self._parts.clear()
        self.app.work.forget()
        self.app.saving.withdraw()
        if self.node is not None:
            remove_result(self.node)
        self.node = self.result = None
        self.state.result = {}
        self.app.show_tab("lesions")

    async def _rebuild(self) -> None:
        """Scene and page as `_parts` say."""
        order = [node.GetID() for node in self.app.lesions.nodes if node.GetID() in self._parts]
        parts, scan = [self._parts[node_id][1] for node_id in order], self.app.scan
        result = await asyncio.to_thread(put_together, scan.volume, parts) if parts else None
        with self.state:
            self._drop_difference()
            self.hide_shape()
            before, self.node, self.result = self.node, None, result
            self.app.saving.withdraw()
            if result is not None:
                masks = [part.mask_on(scan.volume) for part in parts]
                made = add_result(self.app.host, scan.node, result.volume.array, masks, result.report)
                self.node = made.volume_node
                own_display = self.node.GetDisplayNode()
                self.node.SetAndObserveDisplayNodeID(scan.node.GetDisplayNodeID())  # one window for both
                self.app.host.scene.RemoveNode(own_display)
                made.segmentation_node.CreateClosedSurfaceRepresentation()
                self.state.blend = 100
            self.show()
            if before is not None:
                remove_result(before)
            self.app.parameters.results = [self.node]
            self.state.result = {} if result is None else _facts(result, parts)
            self.app.show_tab(self.state.tab)
            self._show_outline()
            self.app.lesions.show()

    def show(self) -> None:
        """What belongs over the scan, in the views: the difference, a sketch, or the result as far as the slider says;
        under a sketch of one lesion the others of the result."""
        if self._difference is not None:
            self.app.views.show(self.app.scan.node, self._difference, DIFFERENCE_OPACITY)
        elif self.app.live.node is not None:
            others = self.node is not None and self.app.live.lesion_id not in self._parts
            self.app.views.show(self.node if others else self.app.scan.node, self.app.live.node)
        else:
            self.app.views.show(self.app.scan.node, self.node, self.state.blend / 100)

    def _show_outline(self) -> None:
        if self.node is not None:
            _outline(self.node.GetNodeReference(LESIONS), self.state.outline, 1)

    def _drop_difference(self) -> None:
        self.state.difference = False
        if self._difference is not None:
            node, self._difference = self._difference, None
            self.show()
            remove_difference(node)


def _outline(segmentation: Any, on: bool, width: int) -> None:
    """Outlines in the slices, nothing over the grey values inside."""
    display = segmentation.GetDisplayNode()
    display.SetVisibility2DFill(False)
    display.SetVisibility2DOutline(bool(on))
    display.SetSliceIntersectionThickness(width)


def _facts(result: SynthesisResult, parts: list[MadeLesion]) -> dict[str, Any]:
    """The certificate, and of each class of each lesion what was asked and what was delivered."""
    report = result.report
    rows = []
    classes = result.lesion_mask.classes
    for number, part in enumerate(parts, start=1):
        for name in classes:
            pieces = [row for row in part.report["lesions"] if row["class"] == name]
            if pieces:
                label = class_label(name) if len(classes) > 1 else ""
                about = {"number": number, "class": label, "color": css(class_color(name, classes))}
                rows.append(about | _delivered(pieces) | {"seed": part.report["seed"]})
    return {
        "lesions": rows,
        "changed_outside": report["background"]["changed_voxels_outside_mask"],
        "outside": report["background"]["voxels_outside_mask"],
        "input": report["input"]["sha256"],
        "output": report["output"]["sha256"],
        "model": report["model"]["name"],
        "device": report["device"],
        "seconds": round(sum(report["seconds"].values()), 1),
    }


def _delivered(pieces: list[dict[str, Any]]) -> dict[str, Any]:
    """Of one class of one lesion: its pieces, rows of the report, each counted by its voxels."""
    voxels = [row["voxels"] for row in pieces]
    textures = [row["texture"] for row in pieces if "texture" in row]
    asked: list[float] = []
    delivered: list[float] = []
    name = distance = ""
    if len(textures) == len(pieces):
        first = textures[0]
        name = " + ".join(dict.fromkeys(texture["name"] for texture in textures))
        asked, delivered = (
            list(np.average([texture[key] for texture in textures], axis=0, weights=voxels))
            for key in ("asked", "delivered")
        )
        far = first["wasserstein"]
        if len(pieces) > 1:
            low, high = first["window"]
            window = IntensityWindow(low, high, first["unit"])
            far = TextureHistogram(tuple(delivered)).wasserstein(TextureHistogram(tuple(asked)), window)
        distance = f"{far:.0f} {first['unit']}"
    top = max([0.01, *asked, *delivered])
    mean = float(np.average([row["mean"]["value"] for row in pieces], weights=voxels))
    return {
        "pieces": len(pieces),
        "ml": f"{sum(row['volume_mm3'] for row in pieces) / 1000:.2g} ml",
        "asked_mm": pieces[0]["diameter_mm"]["asked"],
        "delivered_mm": round(max(row["diameter_mm"]["delivered"] for row in pieces), 1),
        "mean": f"{mean:.0f} {pieces[0]['mean']['unit']}",
        "texture": name,
        "asked": [round(weight / top, 4) for weight in asked],
        "delivered": [round(weight / top, 4) for weight in delivered],
        "distance": distance,
    }
