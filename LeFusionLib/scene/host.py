"""The host: the scene we work in, and the logics of the application around it."""

from dataclasses import dataclass
from typing import Any

import slicer


@dataclass(frozen=True, eq=False)
class Host:
    """A scene and the module logics that the bridge calls; the same for desktop Slicer, slicer-core and trame.

    `scene` vtkMRMLScene; `volumes` vtkSlicerVolumesLogic; `markups` vtkSlicerMarkupsLogic; `segmentations`
    vtkSlicerSegmentationsModuleLogic, which must exist wherever segments are made (it knows how they are stored).
    `kept` holds what must live as long as the scene.
    """

    scene: Any
    volumes: Any
    markups: Any
    segmentations: Any
    kept: tuple[Any, ...] = ()

    @classmethod
    def of_desktop(cls, scene: Any, modules: Any) -> "Host":
        """In 3D Slicer: `Host.of_desktop(slicer.mrmlScene, slicer.modules)`."""
        return cls(scene, modules.volumes.logic(), modules.markups.logic(), modules.segmentations.logic())

    @classmethod
    def of_trame(cls, app: Any) -> "Host":
        """In the browser: of a `trame_slicer.core.SlicerApp`."""
        return cls(app.scene, app.volumes_logic, app.markups_logic, app.segmentations_logic, (app,))

    @classmethod
    def headless(cls, cache_folder: str | None = None) -> "Host":
        """A new scene with slicer-core alone (`pip install slicer-core`): no window, no application.

        `close` it when done. `cache_folder`: where .mrb files are unpacked; without one the scene can save .mrb files
        and not open them.
        """
        scene = slicer.vtkMRMLScene()
        app = slicer.vtkSlicerApplicationLogic()
        app.SetMRMLScene(scene)
        app.GetColorLogic().SetMRMLScene(scene)
        app.GetColorLogic().AddDefaultColorNodes()
        logics = {
            "Colors": app.GetColorLogic(),
            "Units": slicer.vtkSlicerUnitsLogic(),
            "Transforms": slicer.vtkSlicerTransformLogic(),
            "Markups": slicer.vtkSlicerMarkupsLogic(),
            "Volumes": slicer.vtkSlicerVolumesLogic(),
            "Segmentations": slicer.vtkSlicerSegmentationsModuleLogic(),
            "SubjectHierarchy": slicer.vtkSlicerSubjectHierarchyModuleLogic(),
            "Models": slicer.vtkSlicerModelsLogic(),
        }
        for name, logic in logics.items():
            if name != "Colors":
                logic.SetMRMLApplicationLogic(app)
                logic.SetMRMLScene(scene)
            app.SetModuleLogic(name, logic)
        kept: tuple[Any, ...] = (app, *logics.values())
        if cache_folder is not None:
            remote, manager = slicer.vtkMRMLRemoteIOLogic(), slicer.vtkDataIOManagerLogic()
            remote.GetCacheManager().SetRemoteCacheDirectory(cache_folder)
            remote.SetMRMLScene(scene)
            remote.AddDataIOToScene()
            manager.SetMRMLApplicationLogic(app)
            manager.SetAndObserveDataIOManager(remote.GetDataIOManager())
            kept += (manager, remote)
        return cls(scene, logics["Volumes"], logics["Markups"], logics["Segmentations"], kept)

    def close(self) -> None:
        """Empty a headless scene and let its logics go, in an order that C++ survives; Python's own may crash."""
        self.scene.Clear(True)
        for logic in reversed(self.kept):
            logic.SetMRMLScene(None)
