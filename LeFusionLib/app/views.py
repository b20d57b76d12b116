"""The four views: three slices and 3D, and which volumes they show."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from trame_slicer.rca_view.rca_view_factory import RemoteViewFactory
from trame_slicer.views import SliceView, ThreeDView, ViewLayoutDefinition, ViewType
from trame_slicer.views.render_scheduler import NoScheduleRendering, ScheduledRenderStrategy

VIEWS = {  # name on the page: how trame-slicer makes it
    "Axial": ViewLayoutDefinition.axial_view("Axial"),
    "Sagittal": ViewLayoutDefinition.sagittal_view("Sagittal"),
    "Coronal": ViewLayoutDefinition.coronal_view("Coronal"),
    "ThreeD": ViewLayoutDefinition.threed_view(background_color=("#101317", "#1b2026")),
}
SLICES = ("Axial", "Sagittal", "Coronal")
FRAMES_PER_S, FRAMES_ELSEWHERE = 60.0, 30.0  # at most: under the mouse, and in the other views
TILT = (25.0, 18.0)  # degrees from straight ahead, so that slices in 3D are seen as planes
LATER_S = 0.08  # how long the other views wait for the one under the mouse
STILL_ALIKE = 80  # JPEG quality while moving; at rest it is 90


class OthersLater(ScheduledRenderStrategy):  # type: ignore[misc]
    """Draws with `inner`, at once where `first()`, else a little later: all views are drawn on one thread, and the one
    under the mouse shall be drawn and sent before the others begin."""

    def __init__(self, inner: Any, first: Callable[[], bool]):
        super().__init__()
        self._inner, self._first, self._waiting = inner, first, False

    def schedule_render(self) -> None:
        if self._first():
            self._inner.schedule_render()
        elif not self._waiting:
            try:
                asyncio.get_running_loop().call_later(LATER_S, self._now)
            except RuntimeError:  # the server has ended, and the scene is being put away
                return
            self._waiting = True

    def _now(self) -> None:
        self._waiting = False
        self._inner.schedule_render()


class Views:
    """`views[name]` is a trame-slicer view. `app` gives `server`, `state` and `slicer`."""

    def __init__(self, app: Any):
        self.app, self.state = app, app.state
        manager = app.slicer.view_manager
        for kind, view_type in ((SliceView, ViewType.SLICE_VIEW), (ThreeDView, ViewType.THREE_D_VIEW)):
            # Nothing is drawn before the page asks: the first picture of each view takes a second without a GPU.
            factory = RemoteViewFactory(
                app.server,
                partial(kind, scheduled_render_strategy=NoScheduleRendering()),
                view_type,
                target_fps=FRAMES_PER_S,
                blur_fps=FRAMES_ELSEWHERE,
                interactive_quality=STILL_ALIKE,
            )
            manager.register_factory(factory)
        self.views: dict[str, Any] = {}
        self.under_hand = ""  # the view that the mouse is in
        for name, definition in VIEWS.items():
            view = self.views[name] = manager.create_view(definition)
            view.render_window().SetMultiSamples(0)  # else software rendering leaves out what is translucent
            first = partial(self._is_first, name)
            view.set_scheduled_render(OthersLater(view._scheduled_render, first))
        manager.set_current_view_ids([definition.singleton_tag for definition in VIEWS.values()])
        for name in SLICES:
            self.state[f"offset_{name}"] = {"low": 0.0, "high": 1.0, "step": 1.0, "at": 0.0}
            self.views[name].modified.connect(lambda _view, name=name: self._tell_offset(name))
        self.views["Axial"].set_visible_in_3d(True)  # else the spheres hang in the dark
        self.views["Coronal"].set_visible_in_3d(True)
        self.state.large = ""  # the view that fills the page, or none
        app.on("slice_to", self.slice_to)
        app.on("fit", self.fit)
        app.on("enlarge", self.enlarge)

    def enter(self, name: str) -> None:
        """The mouse is in this view."""
        self.under_hand = name

    def slices(self) -> list[Any]:
        """The slice views."""
        return [self.views[name] for name in SLICES]

    def show(self, scan: Any, result: Any = None, blend: float = 1.0) -> None:
        """The scan in the slices, and over it the result, as far as `blend` (0 to 1) says."""
        for view in self.slices():
            view.set_background_volume_id(None if scan is None else scan.GetID())
            view.set_foreground_volume_id(None if result is None else result.GetID())
            view.set_foreground_opacity(blend)

    def fit(self, name: str = "") -> None:
        """The whole scan into one view, or all."""
        for view in [self.views[name]] if name in self.views else self.views.values():
            view.reset_view()
            if view is self.views["ThreeD"]:
                camera = view.get_camera_node().GetCamera()
                camera.Azimuth(TILT[0])
                camera.Elevation(TILT[1])
                view.renderer().ResetCameraClippingRange()

    def jump(self, place: tuple[float, float, float]) -> None:
        """All slices through this point of the world."""
        for view in self.slices():
            view.get_view_node().JumpSlice(*place)

    def slice_to(self, name: str, value: float) -> None:
        """One slice view to this offset, in mm."""
        if name in SLICES:
            self.views[name].set_slice_value(float(value))

    def enlarge(self, name: str) -> None:
        """One view over all the page, and back."""
        self.state.large = "" if self.state.large == name or name not in self.views else name

    def _is_first(self, name: str) -> bool:
        return self.under_hand in ("", name)

    def _tell_offset(self, name: str) -> None:
        view = self.views[name]
        low, high = view.get_slice_range()
        told = {"low": low, "high": high, "step": view.get_slice_step(), "at": round(view.get_slice_value(), 3)}
        if self.state[f"offset_{name}"] != told:
            self.state[f"offset_{name}"] = told
            self.app.soon(lambda: None)  # the page hears of it also where no control asked
