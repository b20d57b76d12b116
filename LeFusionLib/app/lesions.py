"""The lesions to make: spheres of the scene, one of them selected, and what the page shows and changes of them."""

from dataclasses import replace
from typing import Any

import numpy as np
import slicer
import vtk

from ..errors import LeFusionError
from ..geometry import kji_from_ras, ras_from_kji
from ..scene import (
    Channel,
    SphereModels,
    add_sphere,
    center_world,
    channels_of,
    like,
    place_with_mouse,
    read_settings,
    with_class,
    write_settings,
)
from ..scene.housekeeping import remove_node
from ..terminology import class_label
from ..texture import CUSTOM
from .colors import css

SMALLEST_MM, LARGEST_MM = 2.0, 120.0
MOST = 50  # lesions in one scan
PLAIN, CHOSEN = (0.95, 0.75, 0.20), (0.25, 0.85, 1.0)  # colours of the balls
NUDGES = {  # key: along which of the patient's axes (R, A, S)
    "ArrowLeft": (1, 0, 0),
    "ArrowRight": (-1, 0, 0),
    "ArrowUp": (0, 1, 0),
    "ArrowDown": (0, -1, 0),
    "PageUp": (0, 0, 1),
    "PageDown": (0, 0, -1),
}  # as the axial view lies on the page: the patient's right is on the left


class Lesions:
    """`app` gives `host`, `parameters`, `state`, ... Everything set is kept on the spheres' nodes."""

    def __init__(self, app: Any):
        self.app, self.state = app, app.state
        self.selected: Any = None
        self._observed: dict[str, tuple[Any, list[int]]] = {}
        self.balls = SphereModels(app.host)
        self.balls.start()
        self.state.lesions, self.state.selected, self.state.placing = [], "", False
        self.state.lesion, self.state.channels = {}, []
        app.on("add", self.add)
        for name in ("remove", "pick", "diameter", "texture", "seed", "lesion_class", "key"):
            app.on(name, getattr(self, f"on_{name}"))

    @property
    def nodes(self) -> list[Any]:
        """The spheres, in their order."""
        return self.app.parameters.spheres

    def number_of(self, node: Any) -> int:
        """Its place in the list, from 1."""
        return self.nodes.index(node) + 1

    def add(self) -> None:
        """A new lesion like the selected one, with a seed of its own; the next click in a view places it."""
        if self.app.scan.node is None:
            raise LeFusionError("Open a scan first.")
        self.app.show_tab("lesions")
        waiting = [node for node in self.nodes if not node.GetNumberOfDefinedControlPoints()]
        if waiting:
            self.select(waiting[0])
        elif len(self.nodes) >= MOST:
            raise LeFusionError(f"There are {MOST} lesions, which is as many as one scan may have here.")
        else:
            card = self.app.model.card()
            settings = like(self.selected, self.nodes, None if card is None else card.spec, self.app.model.mask_spec())
            node = add_sphere(self.app.host, settings)
            node.GetDisplayNode().SetPointLabelsVisibility(False)
            node.GetDisplayNode().SetGlyphTypeFromString("CrossDot2D")
            self._observe(node)
            self.app.parameters.spheres = [*self.nodes, node]
            self.select(node)
        place_with_mouse(self.app.host, self.selected)
        self.changed()

    def select(self, node: Any) -> None:
        """Show this one's settings; its ball gets another colour."""
        self.selected = node
        self.changed()

    def move(self, node: Any, place: np.ndarray) -> None:
        """A placed sphere to a point of the world (R, A, S), in mm, kept within the scan."""
        volume = self.app.scan.volume
        kji = np.clip(kji_from_ras(volume.ijk_to_ras, place), 0, np.array(volume.shape) - 1)
        node.SetNthControlPointPositionWorld(0, *[float(mm) for mm in ras_from_kji(volume.ijk_to_ras, kji)[0]])

    def show_place(self, node: Any) -> None:
        """All slices through the sphere's centre, once what happens now is done."""
        place = center_world(node)
        self.app.soon(lambda: self.app.views.jump(place))

    def resize(self, factor: float) -> None:
        """The selected sphere so much larger."""
        if self.selected is not None:
            self.on_diameter(round(read_settings(self.selected).diameter_mm * factor, 1))

    def show_spheres(self, on: bool) -> None:
        """Points and balls in the views, or not."""
        for node in self.nodes:
            node.SetDisplayVisibility(on)

    def placing(self) -> bool:
        """Does the next click place a point?"""
        node = self.app.slicer.markups_logic.interaction_node
        return bool(node.GetCurrentInteractionMode() == node.Place)

    def stop_placing(self) -> None:
        if self.placing():
            self.app.slicer.markups_logic.disable_place_mode()

    def clear(self) -> None:
        """No lesion at all."""
        self.stop_placing()
        for node in self.nodes:
            self._let_go(node)
        self.selected = None
        self.changed()

    def change(self, **settings: Any) -> None:
        """Of the selected lesion."""
        if self.selected is not None:
            write_settings(self.selected, replace(read_settings(self.selected), **settings))

    def changed(self) -> None:
        """The page shall show what the scene says, soon."""
        self.app.soon(self.show)

    def show(self) -> None:
        """What the scene says, on the page."""
        nodes = self.nodes
        if self.selected not in nodes:
            self.selected = nodes[-1] if nodes else None
        for node in nodes:
            ball = self.balls.model_of(node)
            if ball is not None:
                ball.GetDisplayNode().SetColor(*(CHOSEN if node is self.selected else PLAIN))
        self.state.lesions = [self._row(number, node) for number, node in enumerate(nodes, start=1)]
        self.state.selected = "" if self.selected is None else self.selected.GetID()
        self.state.lesion = next((row for row in self.state.lesions if row["id"] == self.state.selected), {})
        self.state.placing = self.placing()
        self.state.channels = [
            {
                "name": one.name,
                "label": one.label,
                "color": css(one.color),
                "title": ". ".join(filter(None, [one.meaning, one.fixed])),
                "on": one.chosen,
                "fixed": bool(one.fixed),
            }
            for one in sorted(self.channels(), key=lambda one: not one.offered)
        ]
        self.app.textures.show()
        self.app.work.show()
        self.app.live.look()

    def channels(self) -> list[Channel]:
        """The classes that the selected lesion may have; none where there is no choice."""
        card = self.app.model.card()
        if self.selected is None or card is None or len(card.spec.classes) < 2:
            return []
        return channels_of(card.spec, self.app.model.mask_spec(), read_settings(self.selected))

    def on_pick(self, node_id: str) -> None:
        node = self._of(node_id)
        self.select(node)
        try:
            self.app.views.jump(center_world(node))
        except LeFusionError:
            place_with_mouse(self.app.host, node)

    def on_remove(self, node_id: str = "") -> None:
        node = self._of(node_id) if node_id else self.selected
        if node is None:
            return
        self.stop_placing()
        self._let_go(node)
        self.app.results.forget(node)
        self.changed()

    def on_diameter(self, value: Any) -> None:
        self.change(diameter_mm=min(max(_number(value, "diameter"), SMALLEST_MM), LARGEST_MM))

    def on_texture(self, name: str) -> None:
        """Of the class whose dial is shown."""
        if str(name) != CUSTOM:
            self.app.textures.choose(str(name))

    def on_lesion_class(self, name: str, on: bool) -> None:
        """One class more, or less; its dial is shown."""
        if self.selected is None:
            return
        settings = with_class(read_settings(self.selected), self.channels(), str(name), bool(on))
        write_settings(self.selected, settings)
        self.app.textures.shown = str(name)
        self.changed()  # also where nothing changed: the last box is ticked again

    def on_seed(self, value: Any = None) -> None:
        """This seed; without one the next that no lesion has."""
        if value is None:
            value = 1 + max((read_settings(node).seed for node in self.nodes), default=0)
        seed = _number(value, "seed")
        if seed != int(seed):
            raise LeFusionError(f"A seed is a whole number; got {value!r}.")
        self.change(seed=int(seed), shape=0)

    def on_key(self, key: str) -> None:
        """Arrow keys and Page Up, Page Down nudge the selected sphere by a voxel; Delete removes it; Escape stops."""
        if key == "Escape":
            self.stop_placing()
            self.changed()
        elif key in ("Delete", "Backspace"):
            self.on_remove()
        elif key in NUDGES and self.selected is not None and self.selected.GetNumberOfDefinedControlPoints():
            axes = self.app.scan.volume.ijk_to_ras[:3, :3]
            way = np.array(NUDGES[key]) @ (axes / np.linalg.norm(axes, axis=0))  # how far each voxel axis goes there
            along = int(np.abs(way).argmax())
            self.move(self.selected, np.array(center_world(self.selected)) + np.sign(way[along]) * axes[:, along])
            self.show_place(self.selected)

    def _of(self, node_id: Any) -> Any:
        for node in self.nodes:
            if node.GetID() == node_id:
                return node
        raise LeFusionError("This lesion is not there any more.")

    def _row(self, number: int, node: Any) -> dict[str, Any]:
        settings = read_settings(node)
        center: tuple[float, ...]
        try:
            center = center_world(node)
        except LeFusionError:
            center = ()
        return {
            "id": node.GetID(),
            "number": number,
            "place": "R {:.1f}  A {:.1f}  S {:.1f}".format(*center) if center else "",
            "center": " ".join(repr(mm) for mm in center),
            "diameter": settings.diameter_mm,
            "class": " + ".join(map(class_label, settings.classes)),
            "texture": " + ".join(settings.texture_names),
            "seed": settings.seed,
            "shape": settings.shape,
            "status": self.app.results.status(node),
        }

    def _observe(self, node: Any) -> None:
        markups = slicer.vtkMRMLMarkupsNode
        events = (
            vtk.vtkCommand.ModifiedEvent,
            markups.PointModifiedEvent,
            markups.PointPositionDefinedEvent,
            markups.PointRemovedEvent,
        )
        tags = [node.AddObserver(event, lambda *_: self.changed()) for event in events]
        tags.append(node.AddObserver(markups.PointPositionDefinedEvent, lambda *_: self._placed(node)))
        self._observed[node.GetID()] = (node, tags)

    def _placed(self, node: Any) -> None:
        """A click has put it somewhere: all slices show that place."""
        self.show_place(node)
        if self.state.hint == 1:
            self.app.soon(lambda: self.app.hint(2))

    def _let_go(self, node: Any) -> None:
        _, tags = self._observed.pop(node.GetID(), (node, []))
        for tag in tags:
            node.RemoveObserver(tag)
        remove_node(node)


def _number(value: Any, what: str) -> float:
    """A finite number from the page, which may send anything."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not np.isfinite(number):
        raise LeFusionError(f"The {what} is a number; got {value!r}.")
    return number
