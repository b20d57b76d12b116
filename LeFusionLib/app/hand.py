"""What the mouse does to a sphere in a slice view: grab it anywhere inside its circle, size it with Ctrl and the wheel.

Everything else in the views, placing the first point included, is Slicer's own interaction.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import LeFusionError
from ..scene import center_world, read_settings

FIRST = 10.0  # priority: before Slicer's own interaction
SIZE_STEP = 1.05  # per notch of the wheel
EVENTS = (
    "LeftButtonPressEvent",
    "LeftButtonReleaseEvent",
    "MouseMoveEvent",
    "MouseWheelForwardEvent",
    "MouseWheelBackwardEvent",
)


class Hand:
    """Listens to one slice view. `lesions` has the spheres and changes them; `entered(name)` is told of every event."""

    def __init__(self, name: str, view: Any, lesions: Any, entered: Callable[[str], None]):
        self.name, self.view, self.lesions, self.entered = name, view, lesions, entered
        self.grabbed: Any = None
        self.grip = np.zeros(3)  # from the sphere's centre to where it was grabbed
        self._tags = {}
        for event in EVENTS:
            self._tags[event] = view.interactor().AddObserver(event, self._on_event, FIRST)

    def _on_event(self, interactor: Any, event: str) -> None:
        if self._mine(interactor, event):
            interactor.GetCommand(self._tags[event]).SetAbortFlag(1)

    def _mine(self, interactor: Any, event: str) -> bool:
        """Is it for us? Then Slicer does not hear of it."""
        self.entered(self.name)
        if self.lesions.placing():
            return False
        point = self._point(interactor)
        if event == "LeftButtonPressEvent":
            self.grabbed = self._sphere_at(point)
            if self.grabbed is not None:
                self.grip = point - center_world(self.grabbed)
                self.lesions.select(self.grabbed)
            return self.grabbed is not None
        if event == "MouseMoveEvent" and self.grabbed is not None:
            self.lesions.move(self.grabbed, point - self.grip)
            return True
        if event == "LeftButtonReleaseEvent" and self.grabbed is not None:
            self.lesions.show_place(self.grabbed)
            self.grabbed = None
            return True
        if event.startswith("MouseWheel") and interactor.GetControlKey():
            self.lesions.resize(SIZE_STEP if event == "MouseWheelForwardEvent" else 1 / SIZE_STEP)
            return True
        return False

    def _point(self, interactor: Any) -> np.ndarray:
        """(3,) of the world, in RAS mm, under the mouse."""
        x, y = interactor.GetEventPosition()
        return np.array(self.view.get_view_node().GetXYToRAS().MultiplyPoint((x, y, 0.0, 1.0))[:3])

    def _sphere_at(self, point: np.ndarray) -> Any:
        """The sphere whose circle in this slice holds the point; of several the one with the nearest centre."""
        found = []
        for node in self.lesions.nodes:
            if not node.GetDisplayVisibility():
                continue
            try:
                distance = float(np.linalg.norm(point - center_world(node)))
            except LeFusionError:  # not placed yet
                continue
            if distance <= read_settings(node).diameter_mm / 2:
                found.append((distance, node))
        return min(found, key=lambda pair: pair[0])[1] if found else None
