"""LeFusion in 3D Slicer: paint a lesion of a chosen place, size and texture into the loaded volume.

The module is thin: it hands arrays and matrices to `LeFusionLib` and puts the answer into new nodes.
State of this file: its logic was run once on real MRML without the application; not yet run inside 3D Slicer, and
its controls are not saved with the scene. It needs Slicer 5.10 or newer (Python 3.12).
"""

import importlib
import importlib.util
import logging
import os
import sys
import traceback
from dataclasses import dataclass
from typing import Any

import numpy as np
import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

HERE = os.path.dirname(os.path.abspath(__file__))
SYNTHETIC_ATTRIBUTE = "LeFusion.Synthetic"  # set on every volume that we made
LESION_COLORS = [[0.30, 0.79, 0.94], [0.97, 0.56, 0.70], [0.61, 0.90, 0.39]]


def beside(relativePath: str) -> str:
    """A file or folder of ours: beside this file once installed, one folder up in the source tree."""
    installed = os.path.join(HERE, relativePath)
    return installed if os.path.exists(installed) else os.path.join(os.path.dirname(HERE), relativePath)


def library() -> Any:
    """`LeFusionLib`, found beside this file or one folder up; importing it does not import torch."""
    folder = os.path.dirname(beside("LeFusionLib"))
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module("LeFusionLib")


class LeFusion(ScriptedLoadableModule):
    """What Slicer reads at start; nothing heavy here."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("LeFusion")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Image Synthesis")]
        parent.dependencies = ["Markups", "Segmentations", "Volumes"]
        parent.contributors = ["LeFusion contributors"]
        parent.helpText = _(
            "Paints a realistic lesion into a copy of the volume: choose the volume, place one point, set the diameter "
            "and the texture, and press Apply. No voxel outside the lesion changes. <b>The result is synthetic: for "
            "research and teaching, not for diagnosis.</b>"
        )
        parent.acknowledgementText = _(
            "After LeFusion: Controllable Pathology Synthesis via Lesion-Focused Diffusion Models (ICLR 2025)."
        )
        icon = beside("Resources/Icons/LeFusion.png")
        if os.path.exists(icon):
            parent.icon = qt.QIcon(icon)


class LeFusionWidget(ScriptedLoadableModuleWidget):
    """The panel: reads its controls, calls the logic, shows the answer."""

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(beside("Resources/UI/LeFusion.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = LeFusionLogic()
        self.running = False
        self.cancelled = False
        for name in textureNames():
            self.ui.textureCombo.addItem(name)
        self.ui.centerPlace.setMRMLScene(slicer.mrmlScene)
        self.ui.inputSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.onInputChanged)
        self.ui.centerSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.onCenterChanged)
        self.ui.applyButton.connect("clicked()", self.onApply)
        self.onInputChanged()
        self.onCenterChanged()

    def exit(self) -> None:
        self.ui.centerPlace.setPlaceModeEnabled(False)

    def cleanup(self) -> None:
        self.cancelled = True

    def onInputChanged(self) -> None:
        self.ui.applyButton.enabled = self.ui.inputSelector.currentNode() is not None

    def onCenterChanged(self) -> None:
        self.ui.centerPlace.setCurrentNode(self.ui.centerSelector.currentNode())

    def onApply(self) -> None:
        """Start the work; while it runs the button cancels it."""
        if self.running:
            self.cancelled = True
            return
        self.running, self.cancelled = True, False
        self.ui.applyButton.text = _("Cancel")
        self.ui.progressBar.value = 0
        self.ui.statusLabel.text = _("Working...")
        try:
            ensureTorch()
            result = self.logic.synthesize(
                self.ui.inputSelector.currentNode(),
                spheres=[self.sphere()],
                model=self.ui.modelEdit.text,
                seed=int(self.ui.seedSpinBox.value),
                progress=self.onProgress,
                cancel=lambda: self.cancelled,
            )
            slicer.util.setSliceViewerLayers(background=result.volumeNode, fit=False)
            self.ui.progressBar.value = 100
            changed = result.report["background"]["changed_voxels_outside_mask"]
            self.ui.statusLabel.text = _("Done. Changed voxels outside the lesion: {count}").format(count=changed)
        except library().Cancelled:
            self.ui.statusLabel.text = _("Cancelled; nothing was made.")
        except Exception as error:
            logging.exception("LeFusion")
            self.ui.statusLabel.text = _("Not done; see the message.")
            slicer.util.errorDisplay(str(error), detailedText=traceback.format_exc())
        finally:
            self.running = False
            self.ui.applyButton.text = _("Apply")

    def sphere(self) -> dict:
        """The control sphere as the panel shows it."""
        node = self.ui.centerSelector.currentNode()
        if node is None or node.GetNumberOfDefinedControlPoints() == 0:
            raise ValueError(_("There is no centre yet: create a point list and place one point in the volume."))
        center = [0.0, 0.0, 0.0]
        node.GetNthControlPointPositionWorld(0, center)
        return {
            "centerRas": center,
            "diameterMm": float(self.ui.diameterSlider.value),
            "texture": self.ui.textureCombo.currentText,
        }

    def onProgress(self, step: int, total: int, message: str) -> None:
        self.ui.progressBar.value = int(100 * step / max(total, 1))
        self.ui.statusLabel.text = message
        slicer.app.processEvents()


def textureNames() -> list:
    """The textures of the lung model; read without torch. "random" alone where they cannot be read."""
    try:
        library()
        presets = importlib.import_module("LeFusionLib.texture").published_textures("lidc")["nodule"]
    except Exception:
        logging.warning("LeFusion: the texture presets could not be read", exc_info=True)
        return ["random"]
    return [*presets, "random"]


def ensureTorch() -> None:
    """Torch from the PyTorch extension and the reader of our weights, asked for and installed at first use only."""
    if importlib.util.find_spec("torch") is None:
        try:
            import PyTorchUtils
        except ModuleNotFoundError:
            raise RuntimeError(
                _("LeFusion needs PyTorch. Install the extension 'PyTorch' in the Extensions Manager, then restart.")
            ) from None
        if PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=True) is None:
            raise RuntimeError(_("LeFusion needs PyTorch; its installation was declined."))
    if importlib.util.find_spec("safetensors") is None:
        slicer.util.pip_install("safetensors")


@dataclass
class LeFusionResult:
    """What one call made: the new nodes and the report of `LeFusionLib` (lesions, textures, background)."""

    volumeNode: Any
    segmentationNode: Any
    report: dict


class LeFusionLogic(ScriptedLoadableModuleLogic):
    """The console's door, without any GUI. `engine` replaces `LeFusionLib` in tests."""

    def __init__(self, parent: Any = None, engine: Any = None) -> None:
        ScriptedLoadableModuleLogic.__init__(self, parent)
        self.engine = engine

    def synthesize(
        self,
        volumeNode: Any,
        spheres: list,
        model: str = "lung-nodule",
        seed: int = 0,
        maskModel: str = "handcrafted",
        progress: Any = None,
        cancel: Any = None,
    ) -> LeFusionResult:
        """Paint one lesion per sphere into a copy of the volume; the input stays as it is.

        A sphere is `dict(centerRas=(R, A, S), diameterMm=12, texture="solid")` in world coordinates: parent transforms
        count. The same call from Python or the command line gives the same voxels.
        """
        engine = self.engine or library()
        if not spheres:
            raise engine.LeFusionError("No sphere was given. Give at least one: dict(centerRas=..., diameterMm=...).")
        volume = self.volumeFromNode(volumeNode, engine)
        places = [engine.ControlSphere(tuple(sphere["centerRas"]), float(sphere["diameterMm"])) for sphere in spheres]
        lesions = [engine.draw_lesion_mask(volume, place, model=maskModel, seed=seed) for place in places]
        result = engine.synthesize(
            volume,
            lesions,
            engine.load_model(model),
            texture=[sphere.get("texture", "random") for sphere in spheres],
            seed=seed,
            progress=progress,
            cancel=cancel,
        )
        return LeFusionResult(
            self.volumeNodeFrom(volumeNode, result.volume.array),
            self.segmentationNodeFrom(volumeNode, lesions),
            result.report,
        )

    def volumeFromNode(self, node: Any, engine: Any) -> Any:
        """The node's voxels (a copy) and its matrix to the world, parent transform included."""
        if node is None or node.GetImageData() is None:
            raise engine.LeFusionError("The volume node holds no image. Load a CT or MRI and choose it.")
        matrix = vtk.vtkMatrix4x4()
        node.GetIJKToRASMatrix(matrix)
        ijkToRas = slicer.util.arrayFromVTKMatrix(matrix)
        parent = node.GetParentTransformNode()
        if parent is not None:
            if not parent.IsTransformToWorldLinear():
                raise engine.LeFusionError(
                    f"'{node.GetName()}' lies under a non-linear transform (a tilted or irregular scan, or a "
                    "registration). Harden it first: right-click the volume in the Data module, Harden transform."
                )
            toWorld = vtk.vtkMatrix4x4()
            parent.GetMatrixTransformToWorld(toWorld)
            ijkToRas = slicer.util.arrayFromVTKMatrix(toWorld) @ ijkToRas
        voxels = np.array(slicer.util.arrayFromVolume(node))
        return engine.Volume(voxels, ijkToRas, name=node.GetName())

    def volumeNodeFrom(self, source: Any, voxels: np.ndarray) -> Any:
        """A new volume on the grid and under the transform of `source`, marked as synthetic and free of DICOM links."""
        logic = slicer.modules.volumes.logic()
        node = logic.CloneVolume(source.GetScene(), source, f"{source.GetName()} with lesion (synthetic)")
        for name in [name for name in node.GetAttributeNames() if name.startswith("DICOM.")]:
            node.RemoveAttribute(name)  # or it would pass for the patient's own series
        node.SetAttribute(SYNTHETIC_ATTRIBUTE, "1")
        slicer.util.updateVolumeFromArray(node, voxels)
        return node

    def segmentationNodeFrom(self, source: Any, masks: list) -> Any:
        """A new segmentation under the same transform: one segment per lesion and class."""
        node = source.GetScene().AddNewNodeByClass("vtkMRMLSegmentationNode", f"{source.GetName()} lesions (synthetic)")
        node.SetAndObserveTransformNodeID(source.GetTransformNodeID())
        node.CreateDefaultDisplayNodes()
        node.SetReferenceImageGeometryParameterFromVolumeNode(source)
        node.SetAttribute(SYNTHETIC_ATTRIBUTE, "1")
        for number, mask in enumerate(masks, start=1):
            for index, (name, array) in enumerate(zip(mask.classes, mask.array, strict=True)):
                if array.any():
                    label = f"{name}_{number}"
                    segment = node.GetSegmentation().AddEmptySegment(label, label, LESION_COLORS[index % 3])
                    slicer.util.updateSegmentBinaryLabelmapFromArray(array.astype(np.uint8), node, segment, source)
        return node


class LeFusionTest(ScriptedLoadableModuleTest):
    """Runs inside Slicer: needs no torch, network or weights (a stand-in fills the sphere with one grey value)."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        self.setUp()
        self.test_synthesize()

    def test_synthesize(self) -> None:
        volume = importlib.import_module(library().__name__ + ".phantom").chest_ct(0, (40, 44, 60), (6.0, 6.0, 6.0))
        node = slicer.util.addVolumeFromArray(volume.array, ijkToRAS=volume.ijk_to_ras, name="phantom")
        node.SetAttribute("DICOM.instanceUIDs", "1.2.3")
        before = np.array(slicer.util.arrayFromVolume(node))
        sphere = {"centerRas": (80, 0, 0), "diameterMm": 30, "texture": "solid"}
        result = LeFusionLogic(engine=StandInEngine()).synthesize(node, [sphere])
        after = slicer.util.arrayFromVolume(result.volumeNode)
        self.assertTrue((slicer.util.arrayFromVolume(node) == before).all())
        self.assertTrue((after == 40).sum() > 20 and after.dtype == before.dtype)
        self.assertEqual(len(result.report["lesions"]), 1)
        self.assertEqual(result.segmentationNode.GetSegmentation().GetNumberOfSegments(), 1)
        self.assertIsNone(result.volumeNode.GetAttribute("DICOM.instanceUIDs"))
        self.assertEqual(result.volumeNode.GetAttribute(SYNTHETIC_ATTRIBUTE), "1")


class StandInEngine:
    """The public names of `LeFusionLib` that the logic calls, with a ball of 40 HU for a lesion."""

    def __init__(self) -> None:
        lib = library()
        self.Volume, self.ControlSphere, self.LesionMask = lib.Volume, lib.ControlSphere, lib.LesionMask
        self.LeFusionError = lib.LeFusionError

    def load_model(self, name: str) -> str:
        return name

    def draw_lesion_mask(self, volume: Any, sphere: Any, **others: Any) -> Any:
        return self.LesionMask(sphere.mask_on(volume), volume.ijk_to_ras)

    def synthesize(self, volume: Any, lesions: list, model: str, **others: Any) -> Any:
        voxels = volume.array.copy()
        for lesion in lesions:
            voxels[lesion.union] = 40

        @dataclass
        class Result:
            volume: Any
            report: dict

        return Result(volume.with_array(voxels), {"lesions": [{"class": lesion.classes[0]} for lesion in lesions]})
