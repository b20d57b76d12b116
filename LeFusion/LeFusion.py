"""LeFusion in 3D Slicer: paint lesions of a chosen place, size and texture into a copy of the loaded volume.

Thin: the scene is `LeFusionLib.scene`'s business, computing the worker process's, the panel's sections are parts of
`LeFusionPanel`. Nothing of these is imported before it is used. Slicer 5.10 or newer (Python 3.12).
What of this has been run in Slicer itself, and what only in the test host, is told in docs/slicer.md.
"""

import importlib
import os
import shutil
import sys
from dataclasses import dataclass
from typing import Any

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


def beside(relativePath: str) -> str:
    """A file or folder of ours: beside this file once installed, one folder up in the source tree."""
    installed = os.path.join(HERE, relativePath)
    return installed if os.path.exists(installed) else os.path.join(os.path.dirname(HERE), relativePath)


def library(name: str = "") -> Any:
    """`LeFusionLib`, or a part of it such as "scene"; found beside this file or one folder up. Imports no torch."""
    folder = os.path.dirname(beside("LeFusionLib"))
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(f"LeFusionLib.{name}" if name else "LeFusionLib")


def part(name: str) -> Any:
    """A section of the panel, `LeFusionPanel.<name>`; it may use the library."""
    library()
    if HERE not in sys.path:
        sys.path.append(HERE)
    return importlib.import_module(f"LeFusionPanel.{name}")


class LeFusion(ScriptedLoadableModule):
    """What Slicer reads at start; nothing heavy here."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("LeFusion")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Image Synthesis")]
        parent.dependencies = ["Markups", "Segmentations", "Volumes"]
        parent.contributors = ["LeFusion contributors"]
        parent.helpText = _(
            "Paints realistic lesions into a copy of the volume: choose the volume, add a lesion, click into a view, "
            "choose diameter and texture, and press Apply. No voxel outside the lesions changes. <b>The result is "
            "synthetic: for research and teaching, not for diagnosis.</b>"
        )
        parent.acknowledgementText = _(
            "After LeFusion: Controllable Pathology Synthesis via Lesion-Focused Diffusion Models (ICLR 2025)."
        )
        icon = beside("Resources/Icons/LeFusion.png")
        if os.path.exists(icon):
            parent.icon = qt.QIcon(icon)
        slicer.app.connect("startupCompleted()", registerData)


def registerData() -> None:
    """After Slicer's start: the codes of our segments, and the made-up chest CT under Sample Data."""
    slicer.modules.terminologies.logic().LoadTerminologyFromFile(beside("LeFusionLib/data/LeFusion.term.json"))
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="LeFusion",
        sampleName="LeFusionChestPhantom",
        uris="",
        fileNames="",
        nodeNames="LeFusionChestPhantom",
        thumbnailFileName=beside("Resources/Icons/LeFusion.png"),
        customDownloader=phantomAsSample,
    )


def phantomAsSample(source: Any) -> list:
    """What Sample Data wants of a data source: a list of nodes."""
    return [makePhantom()]


def makePhantom() -> Any:
    """A made-up chest CT as a new volume node; computed here, nothing is fetched."""
    volume = library("phantom").chest_ct(0, (64, 160, 200), (4.0, 2.0, 2.0))
    return slicer.util.addVolumeFromArray(volume.array, ijkToRAS=volume.ijk_to_ras, name="LeFusionChestPhantom")


class LeFusionWidget(ScriptedLoadableModuleWidget, slicer.util.VTKObservationMixin):
    """The panel. What is set in it is kept in the scene's parameter node and on the spheres, and read from there."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        slicer.util.VTKObservationMixin.__init__(self)

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(beside("Resources/UI/LeFusion.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        self.logic = LeFusionLogic()
        self.host, self.parameters = self.logic.host(), self.logic.parameters()
        self.settings, self.work = part("settings").Settings(self), part("work").Work(self)
        self.lesions, self.results = part("lesions").LesionTable(self), part("results").Results(self)
        self.live = part("live").Live(self)
        self.setUpList = part("setup").SetUpList(self)
        self.sphereModels = library("scene").SphereModels(self.host)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        events = slicer.vtkMRMLScene
        self.addObserver(slicer.mrmlScene, events.StartCloseEvent, self.onSceneStartClose)
        for event in (events.EndCloseEvent, events.EndImportEvent, events.NodeRemovedEvent):
            self.addObserver(slicer.mrmlScene, event, self.onSceneChanged)
        self.shortcuts = self.makeShortcuts()
        self.sphereModels.start()
        self.observed = None
        slicer.app.connect("aboutToQuit()", self.work.close)

    def makeShortcuts(self) -> list:
        """Keys of the panel, off until it is entered: elsewhere they mean something else."""
        window = slicer.util.mainWindow()
        if window is None:
            return []
        shortcuts = []
        for keys, action in (
            ("Ctrl+Shift+L", self.lesions.add),
            ("Ctrl+Shift+Return", self.work.applyByKey),
            ("Ctrl+Shift+B", self.toggleBlink),
        ):
            shortcut = qt.QShortcut(qt.QKeySequence(keys), window)
            shortcut.enabled = False
            shortcut.connect("activated()", action)
            shortcuts.append(shortcut)
        return shortcuts

    def enter(self) -> None:
        for shortcut in self.shortcuts:
            shortcut.enabled = True
        self.settings.lookAgain()
        if self.parameters.volume is None:
            shown = slicer.app.applicationLogic().GetSelectionNode().GetActiveVolumeID()
            self.parameters.volume = slicer.mrmlScene.GetNodeByID(shown) if shown else None
        self.updateFromScene()
        self.setUpList.update()

    def exit(self) -> None:
        for shortcut in self.shortcuts:
            shortcut.enabled = False
        self.results.leave()
        self.live.leave()
        interaction = slicer.app.applicationLogic().GetInteractionNode()
        if interaction.GetCurrentInteractionMode() == interaction.Place:
            interaction.SwitchToViewTransformMode()

    def cleanup(self) -> None:
        self.work.close()
        for shortcut in self.shortcuts:
            shortcut.deleteLater()
        slicer.app.disconnect("aboutToQuit()", self.work.close)
        self.sphereModels.stop()
        self.live.leave()
        self.lesions.clear()
        self.results.clear()
        self.removeObservers()

    def onReload(self) -> None:
        """For developers: the parts are read anew with the module."""
        for name in [name for name in sys.modules if name.partition(".")[0] in ("LeFusionPanel", "LeFusionLib")]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def onSceneStartClose(self, caller: Any, event: Any) -> None:
        self.work.stop(_("The scene was closed while the work ran; nothing was made."))
        self.live.leave()
        self.lesions.clear()
        self.results.clear()

    def onSceneChanged(self, caller: Any, event: Any) -> None:
        if slicer.mrmlScene.IsClosing() or slicer.mrmlScene.IsImporting():
            return
        job = self.work.job
        if job is not None and slicer.mrmlScene.GetNodeByID(job.volume_id) is None:
            self.work.stop(_("The volume was removed while the work ran; nothing was made."))
        self.updateFromScene()

    def onParameters(self, caller: Any, event: Any) -> None:
        if not self.settings.updating:
            self.updateFromScene()

    def updateFromScene(self) -> None:
        """Show what the scene says."""
        node = self.parameters.node
        if node is not self.observed:
            if self.observed is not None:
                self.removeObserver(self.observed, vtk.vtkCommand.ModifiedEvent, self.onParameters)
            self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self.onParameters)
            self.observed = node
        self.settings.update()
        self.lesions.update()
        self.results.update()
        messages = self.parameters.check()
        if messages and self.work.handle is None:
            self.work.tell(" ".join(messages))

    def toggleBlink(self) -> None:
        if self.results.nodes:
            self.ui.blinkCheckBox.checked = not self.ui.blinkCheckBox.checked


@dataclass
class LeFusionResult:
    """What one call made: the new nodes, and the report (lesions, textures, background)."""

    volumeNode: Any
    segmentationNode: Any
    report: dict


class LeFusionLogic(ScriptedLoadableModuleLogic):
    """The console's door, without any GUI; the panel uses it too. `worker` replaces the worker's client in tests."""

    def __init__(self, parent: Any = None, worker: Any = None) -> None:
        ScriptedLoadableModuleLogic.__init__(self, parent)
        self._worker = worker

    def host(self) -> Any:
        return library("scene").Host.of_desktop(slicer.mrmlScene, slicer.modules)

    def parameters(self) -> Any:
        """The panel's settings in the scene, typed; see `LeFusionLib.scene.Parameters`."""
        return library("scene").Parameters(self.host())

    def client(self) -> Any:
        """The worker's client, one for this logic; its process starts with the first job and stays warm."""
        if self._worker is None:
            python = shutil.which("PythonSlicer") or sys.executable
            self._worker = library("worker_client").WorkerClient(python)
        return self._worker

    def close(self) -> None:
        """End the worker process; the next call starts another."""
        if self._worker is not None:
            self._worker.close()

    def prepare(self) -> Any:
        """The job that the parameter node describes, copied out of the scene."""
        scene, parameters = library("scene"), self.parameters()
        boundary = None if parameters.built_in_boundary else parameters.boundary
        return scene.prepare(parameters.volume, scene.request_of(parameters), boundary)

    def workerJob(self, job: Any) -> Any:
        return library("worker_client").Job("synthesize", job.volume, job.request, job.boundary)

    def synthesize(
        self,
        volumeNode: Any,
        spheres: list,
        model: str = "lung-nodule",
        seed: int = 0,
        boundary: Any = None,
        maskModel: Any = None,
        sampler: Any = None,
        device: str = "auto",
        progress: Any = None,
        cancel: Any = None,
        anyModality: bool = False,
        precision: str = "float32",
    ) -> LeFusionResult:
        """Paint one lesion per sphere into a copy of the volume; the input stays as it is. Waits until it is done.

        spheres: dict(centerRas=(R, A, S), diameterMm=12, texture="solid", lesionClass="nodule", seed=7) in the world's
        millimetres, parent transforms included; texture, lesionClass (one, or a list of classes drawn together, texture
        then {class: texture}) and seed may be left out. boundary: (segmentationNode, segmentId), "lung" for the
        built-in lung segmentation, or "none" for a model that wants an organ and shall draw without. maskModel: what
        draws the shapes; None takes what fits the model. sampler: a `LeFusionLib.SamplerSpec`. progress(step, total,
        message) and cancel() are asked while the worker process computes. anyModality: also in scans the model was not
        made for. precision: on an NVIDIA GPU also "bfloat16" or "float16".

        The same request through panel, console and command line gives the same voxels. Raises
        `LeFusionLib.LeFusionError` for what cannot be made, `LeFusionLib.Cancelled` after `cancel()` was true; the
        scene is as before then.
        """
        lib, scene = library(), library("scene")
        request = lib.SynthesisRequest(
            tuple(lesionRequest(sphere) for sphere in spheres),
            model,
            maskModel,
            boundary if isinstance(boundary, str) else None,
            sampler or lib.SamplerSpec(),
            device,
            seed,
            anyModality,
            precision,
        )
        job = scene.prepare(volumeNode, request, None if isinstance(boundary, str) else boundary)
        made = job.finish(self.host(), self.client().run(self.workerJob(job), progress, cancel))
        return LeFusionResult(made.volume_node, made.segmentation_node, made.report)


SPHERE_KEYS = {
    "centerRas": "center_ras",
    "diameterMm": "diameter_mm",
    "texture": "texture",
    "lesionClass": "lesion_class",
    "seed": "seed",
}


def lesionRequest(sphere: dict) -> Any:
    """A lesion of the request from the console's dictionary; an unknown key is refused and its neighbour named."""
    library("errors").check_keys("setting of a sphere", sphere, SPHERE_KEYS)
    return library().LesionRequest.from_dict({SPHERE_KEYS[key]: value for key, value in sphere.items()})


class LeFusionTest(ScriptedLoadableModuleTest):
    """The self-test for people who have Slicer: needs no torch, network or weights (a stand-in fills the lesions)."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        for name in [name for name in dir(self) if name.startswith("test_")]:
            self.setUp()
            getattr(self, name)()

    def test_consoleMakesNewNodesAndLeavesTheInput(self) -> None:
        node = makePhantom()
        node.SetAttribute("DICOM.instanceUIDs", "1.2.3")
        before = slicer.util.arrayFromVolume(node).copy()
        sphere = {"centerRas": (80, 0, 0), "diameterMm": 30, "texture": "solid"}
        result = LeFusionLogic(worker=StandInWorker()).synthesize(node, [sphere], maskModel="handcrafted")
        after = slicer.util.arrayFromVolume(result.volumeNode)
        self.assertTrue((slicer.util.arrayFromVolume(node) == before).all())
        self.assertTrue((after == 40).sum() > 20 and after.dtype == before.dtype)
        self.assertEqual(result.segmentationNode.GetSegmentation().GetNumberOfSegments(), 1)
        self.assertIsNone(result.volumeNode.GetAttribute("DICOM.instanceUIDs"))
        self.assertEqual(result.volumeNode.GetAttribute("LeFusion.Synthetic"), "1")

    def test_panelOpensAndSaysWhatIsMissing(self) -> None:
        slicer.util.selectModule("LeFusion")
        widget = slicer.util.getModuleWidget("LeFusion")
        self.assertFalse(widget.ui.applyButton.enabled)
        self.assertTrue(widget.ui.reasonLabel.text)
        widget.ui.volumeSelector.setCurrentNode(makePhantom())
        widget.lesions.add()
        widget.lesions.selected().AddControlPointWorld(80.0, 0.0, 0.0)
        self.assertEqual(widget.ui.lesionTable.rowCount, 1)
        self.assertIn("80.0", widget.ui.lesionTable.item(0, 0).text())

    def test_sampleDataAndCodesAreRegistered(self) -> None:
        registerData()
        self.assertIsNotNone(makePhantom().GetImageData())


class StandInWorker:
    """Answers like the worker's client, with 40 HU for tissue."""

    def run(self, job: Any, progress: Any = None, cancel: Any = None) -> Any:
        lib, volume = library(), job.volume
        masks = [
            lib.draw_lesion_mask(volume, lesion.sphere, "handcrafted", job.boundary, job.request.seed)
            for lesion in job.request.lesions
        ]
        results = library("synthesis.result")
        mask, voxels = results.together(masks), volume.array.copy()
        voxels[mask.union] = 40
        report = {"lesions": [], "model": {"name": "stand-in"}, "seed": 0, "input": {"sha256": ""}}
        return lib.SynthesisResult(volume.with_array(voxels), mask, report, volume, results.numbered(masks))

    def close(self) -> None:
        pass
