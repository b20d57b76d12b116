"""The balls that show the control spheres: true circles in the slices, following their points."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakMethod

import slicer
import vtk

from ..errors import LeFusionError
from .host import Host
from .housekeeping import nodes_of, remove_node
from .spheres import center_world, is_sphere, read_settings

SHOWS = "LeFusion.Shows"  # attribute of a ball: the ID of its sphere
COLOR = (0.95, 0.75, 0.20)
FACETS = 48  # around: the outline's dents stay below 0.3 % of the diameter


@dataclass
class _Followed:
    """A sphere's node, our observers on it, its ball if it has one, and where and how wide that is drawn."""

    node: Any
    tags: list[int]
    model: Any = None
    drawn: tuple[float, ...] = ()


class SphereModels:
    """Keeps one model node per control sphere of the scene, from `start` to `stop`.

    The balls are not saved with the scene and not listed; they come and go with their spheres, also when a scene is
    opened or closed. Moving a point, its transform or its settings moves the ball at once.
    """

    def __init__(self, host: Host) -> None:
        self.scene = host.scene
        self._scene_tags: list[int] = []
        self._followed: dict[str, _Followed] = {}  # by the sphere's ID
        self._busy = False

    def start(self) -> None:
        """Show all spheres, and from now on follow them."""
        if self._scene_tags:
            return
        for model in nodes_of(self.scene, "vtkMRMLModelNode"):
            if model.GetAttribute(SHOWS) is not None:  # of a panel that was reloaded before it could stop
                remove_node(model)
        events = slicer.vtkMRMLScene
        for event in (events.NodeAddedEvent, events.NodeRemovedEvent, events.EndCloseEvent, events.EndImportEvent):
            self._scene_tags.append(self.scene.AddObserver(event, _weak(self._on_scene)))
        self.refresh()

    def stop(self) -> None:
        """Remove the balls and follow no more."""
        for tag in self._scene_tags:
            self.scene.RemoveObserver(tag)
        self._scene_tags.clear()
        for sphere_id in list(self._followed):
            self._forget(sphere_id)

    def refresh(self) -> None:
        """A ball for every placed sphere, no ball without one."""
        if self._busy:  # our own balls are nodes that come and go, too
            return
        self._busy = True
        try:
            spheres = {node.GetID(): node for node in nodes_of(self.scene, "vtkMRMLMarkupsFiducialNode")}
            spheres = {sphere_id: node for sphere_id, node in spheres.items() if is_sphere(node)}
            for sphere_id in [i for i, followed in self._followed.items() if spheres.get(i) is not followed.node]:
                self._forget(sphere_id)
            for sphere_id, node in spheres.items():
                if sphere_id not in self._followed:
                    self._followed[sphere_id] = _Followed(node, self._observe(node))
                self._update(self._followed[sphere_id])
        finally:
            self._busy = False

    def model_of(self, sphere: Any) -> Any:
        """The ball that shows this sphere; None as long as it is not placed."""
        followed = self._followed.get(sphere.GetID())
        return None if followed is None else followed.model

    def _on_scene(self, caller: Any, event: str) -> None:
        if not (self.scene.IsClosing() or self.scene.IsImporting()):
            self.refresh()

    def _on_sphere(self, caller: Any, event: str) -> None:
        followed = self._followed.get(caller.GetID())
        if followed is not None and caller.GetScene() is self.scene:
            self._update(followed)

    def _observe(self, node: Any) -> list[int]:
        markups = slicer.vtkMRMLMarkupsNode
        events = (
            markups.PointModifiedEvent,
            markups.PointPositionDefinedEvent,
            markups.PointPositionUndefinedEvent,
            markups.PointRemovedEvent,
            slicer.vtkMRMLTransformableNode.TransformModifiedEvent,
            slicer.vtkMRMLDisplayableNode.DisplayModifiedEvent,
            vtk.vtkCommand.ModifiedEvent,
        )
        return [node.AddObserver(event, _weak(self._on_sphere)) for event in events]

    def _forget(self, sphere_id: str) -> None:
        followed = self._followed.pop(sphere_id)
        for tag in followed.tags:
            followed.node.RemoveObserver(tag)
        if followed.model is not None:
            remove_node(followed.model)

    def _update(self, followed: _Followed) -> None:
        drawn: tuple[float, ...]
        try:
            drawn = (*center_world(followed.node), read_settings(followed.node).diameter_mm)
        except LeFusionError:  # not placed yet
            drawn = ()
        if followed.model is None or followed.model.GetScene() is None:
            if not drawn:
                return
            was_busy, self._busy = self._busy, True  # the scene tells of the ball before we hold it
            try:
                followed.model, followed.drawn = self._new_model(followed.node), ()
            finally:
                self._busy = was_busy
        followed.model.GetDisplayNode().SetVisibility(bool(drawn) and bool(followed.node.GetDisplayVisibility()))
        if drawn and drawn != followed.drawn:
            followed.model.SetAndObserveMesh(_ball(drawn[:3], drawn[3]))
            followed.drawn = drawn

    def _new_model(self, sphere: Any) -> Any:
        model = slicer.vtkMRMLModelNode()
        model.SetName(f"{sphere.GetName()} sphere")
        model.SetAttribute(SHOWS, sphere.GetID())
        model.SetHideFromEditors(True)
        model.SetSelectable(False)
        model.SetSaveWithScene(False)
        self.scene.AddNode(model)
        model.CreateDefaultDisplayNodes()
        display = model.GetDisplayNode()
        display.SetSaveWithScene(False)
        display.SetColor(*COLOR)
        display.SetOpacity(0.3)
        display.SetVisibility2D(True)
        display.SetSliceIntersectionThickness(2)
        return model


def _weak(method: Any) -> Callable[[Any, str], None]:
    """The method as an observer that does not keep its object alive.

    A scene that holds us while we hold it would be torn down by Python's garbage collector in any order, which crashes.
    """
    found = WeakMethod(method)

    def observer(caller: Any, event: str) -> None:
        alive = found()
        if alive is not None:
            alive(caller, event)

    return observer


def _ball(center: tuple[float, ...], diameter_mm: float) -> Any:
    source = vtk.vtkSphereSource()
    source.SetCenter(*center)
    source.SetRadius(diameter_mm / 2)
    source.SetThetaResolution(FACETS)
    source.SetPhiResolution(FACETS)
    source.Update()
    return source.GetOutput()
