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
MODEL_FOLDER_SETTING = "LeFusion/modelFolder"  # the folder chosen last on this computer
DEVICES = ("auto", "cpu", "cuda", "mps")


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
        customDownloader=makePhantom,
    )


def makePhantom(source: Any = None) -> Any:
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
        lesions, results, runner, setUp = (
            importlib.import_module(f"LeFusionPanel.{name}") for name in ("lesions", "results", "runner", "setup")
        )
        self.missingPackages, self.newTimeLeft = setUp.missingPackages, runner.TimeLeft
        self.modelError, self.cards, self.bundled, self.updating = "", {}, {"texture": [], "mask": []}, False
        self.job = self.handle = self.stopReason = self.helpAction = None
        self.windowOf = (None, None)
        self.runner = runner.Runner(self.logic.client(), uiWidget)
        self.lesions, self.results = lesions.LesionTable(self), results.Results(self)
        self.setUpList = setUp.SetUpList(self)
        self.sphereModels = library("scene").SphereModels(self.host)
        self.ui.helpButton.hide()
        self.ui.progressBar.hide()
        self.showDevices(DEVICES)
        self.ui.samplerCombo.addItem(_("model's own"))
        for method in library("models.sampler_spec").METHODS:
            self.ui.samplerCombo.addItem(method)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.connectWidgets()
        events = slicer.vtkMRMLScene
        self.addObserver(slicer.mrmlScene, events.StartCloseEvent, self.onSceneStartClose)
        for event in (events.EndCloseEvent, events.EndImportEvent, events.NodeRemovedEvent):
            self.addObserver(slicer.mrmlScene, event, self.onSceneChanged)
        self.shortcuts = self.makeShortcuts()
        self.sphereModels.start()
        self.observed = None
        slicer.app.connect("aboutToQuit()", self.stopWorker)

    def connectWidgets(self) -> None:
        self.ui.volumeSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.onVolume)
        self.ui.boundarySelector.connect("currentNodeChanged(vtkMRMLNode*)", self.onBoundary)
        self.ui.segmentCombo.connect("activated(int)", self.onSegment)
        self.ui.lungCheckBox.connect("toggled(bool)", self.onLung)
        self.ui.modelCombo.connect("activated(int)", self.onModel)
        self.ui.maskModelCombo.connect("activated(int)", self.onMaskModel)
        self.ui.deviceCombo.connect("activated(int)", self.onDevice)
        self.ui.samplerCombo.connect("activated(int)", self.onSampler)
        self.ui.stepsSpinBox.connect("valueChanged(int)", self.onSteps)
        self.ui.applyButton.connect("clicked()", self.apply)
        self.ui.cancelButton.connect("clicked()", self.cancel)
        self.ui.helpButton.connect("clicked()", self.help)

    def makeShortcuts(self) -> list:
        """Keys of the panel, off until it is entered: elsewhere they mean something else."""
        window = slicer.util.mainWindow()
        if window is None:
            return []
        shortcuts = []
        for keys, action in (
            ("Ctrl+Shift+L", self.lesions.add),
            ("Ctrl+Shift+Return", self.applyByKey),
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
        self.cards.clear()  # a model folder may have been made meanwhile
        bundled_models = library("models.card").bundled_models
        self.bundled = {kind: list(bundled_models(kind)) for kind in ("texture", "mask")}
        if self.parameters.volume is None:
            shown = slicer.app.applicationLogic().GetSelectionNode().GetActiveVolumeID()
            self.parameters.volume = slicer.mrmlScene.GetNodeByID(shown) if shown else None
        self.updateFromScene()
        self.setUpList.update()

    def exit(self) -> None:
        for shortcut in self.shortcuts:
            shortcut.enabled = False
        self.results.leave()
        interaction = slicer.app.applicationLogic().GetInteractionNode()
        if interaction.GetCurrentInteractionMode() == interaction.Place:
            interaction.SwitchToViewTransformMode()

    def cleanup(self) -> None:
        self.stopWorker()
        slicer.app.disconnect("aboutToQuit()", self.stopWorker)
        self.sphereModels.stop()
        self.lesions.clear()
        self.results.clear()
        self.removeObservers()

    def onReload(self) -> None:
        """For developers: the parts are read anew with the module."""
        for name in [name for name in sys.modules if name.partition(".")[0] in ("LeFusionPanel", "LeFusionLib")]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def stopWorker(self) -> None:
        self.runner.close()
        if self.handle is not None:
            self.endJob(_("Stopped; nothing was made."))

    # ---- from the scene to the panel

    def onSceneStartClose(self, caller: Any, event: Any) -> None:
        self.stop(_("The scene was closed while the work ran; nothing was made."))
        self.lesions.clear()
        self.results.clear()

    def onSceneChanged(self, caller: Any, event: Any) -> None:
        if slicer.mrmlScene.IsClosing() or slicer.mrmlScene.IsImporting():
            return
        if self.job is not None and slicer.mrmlScene.GetNodeByID(self.job.volume_id) is None:
            self.stop(_("The volume was removed while the work ran; nothing was made."))
        self.updateFromScene()

    def onParameters(self, caller: Any, event: Any) -> None:
        if not self.updating:
            self.updateFromScene()

    def updateFromScene(self) -> None:
        """Show what the scene says."""
        if self.updating:
            return
        node = self.parameters.node
        if node is not self.observed:
            if self.observed is not None:
                self.removeObserver(self.observed, vtk.vtkCommand.ModifiedEvent, self.onParameters)
            self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self.onParameters)
            self.observed = node
        self.updating = True
        try:
            self.ui.volumeSelector.setCurrentNode(self.parameters.volume)
            self.showBoundary()
            self.showModels()
            self.showCombo(self.ui.deviceCombo, self.parameters.device)
            sampler = self.parameters.sampler
            self.showCombo(self.ui.samplerCombo, sampler.method or _("model's own"))
            self.ui.stepsSpinBox.value = sampler.num_steps or 0
        finally:
            self.updating = False
        self.lesions.update()
        self.results.update()
        messages = self.parameters.check()
        if messages and self.handle is None:
            self.tell(" ".join(messages))

    def showBoundary(self) -> None:
        node = self.parameters.node.GetNodeReference("boundary")
        chosen = self.parameters.boundary
        self.ui.boundarySelector.setCurrentNode(node)
        self.segmentIds = list(node.GetSegmentation().GetSegmentIDs()) if node is not None else []
        self.ui.segmentCombo.clear()
        for segmentId in self.segmentIds:
            self.ui.segmentCombo.addItem(node.GetSegmentation().GetSegment(segmentId).GetName())
        if chosen is not None and chosen[1] in self.segmentIds:
            self.ui.segmentCombo.currentIndex = self.segmentIds.index(chosen[1])
        lung = self.parameters.built_in_boundary == "lung"
        self.ui.lungCheckBox.checked = lung
        self.ui.boundarySelector.enabled = not lung
        self.ui.segmentCombo.enabled = bool(self.segmentIds) and not lung

    def showModels(self) -> None:
        folder = str(slicer.util.settingsValue(MODEL_FOLDER_SETTING, ""))
        names = [*self.bundled["texture"], *([folder] if folder else [])]
        self.modelNames = names if self.parameters.model in names else [*names, self.parameters.model]
        self.ui.modelCombo.clear()
        for name in self.modelNames:
            self.ui.modelCombo.addItem(os.path.basename(name))
        self.ui.modelCombo.addItem(_("Folder..."))
        self.ui.modelCombo.currentIndex = self.modelNames.index(self.parameters.model)
        self.maskModels = ["", *self.bundled["mask"], "handcrafted"]
        self.ui.maskModelCombo.clear()
        for name in self.maskModels:
            self.ui.maskModelCombo.addItem(name or _("what fits the model"))
        if self.parameters.mask_model in self.maskModels:
            self.ui.maskModelCombo.currentIndex = self.maskModels.index(self.parameters.mask_model)

    def showDevices(self, names: Any) -> None:
        known = [self.ui.deviceCombo.itemText(n) for n in range(self.ui.deviceCombo.count)]
        for name in names:
            if name not in known:
                self.ui.deviceCombo.addItem(name)

    def showCombo(self, combo: Any, text: str) -> None:
        index = combo.findText(text)
        if index < 0:
            combo.addItem(text)
        combo.currentIndex = combo.findText(text)

    def card(self) -> Any:
        """What the chosen model says of itself, or None; then `modelError` says why."""
        name = self.parameters.model
        if name not in self.cards:
            try:
                self.cards[name] = library("models.card").find_card(name), ""
            except library().LeFusionError as error:
                self.cards[name] = None, str(error)
        card, self.modelError = self.cards[name]
        return card

    def window(self) -> Any:
        """The grey values the chosen model sees, for the chosen volume; None as long as they are not known."""
        card, volume = self.card(), self.parameters.volume
        if card is None:
            return None
        fixed = card.spec.intensity["kind"] == "fixed"
        if not fixed and (volume is None or volume.GetImageData() is None):
            return None
        asked = (self.parameters.model, None if fixed else (volume.GetID(), volume.GetImageData().GetMTime()))
        if asked != self.windowOf[0]:  # else a percentile of all voxels, while a slider is dragged
            array = [] if fixed else slicer.util.arrayFromVolume(volume)
            try:
                self.windowOf = asked, library("intensity").window_for(card.spec.intensity, array)
            except library().LeFusionError:  # a flat volume; Apply says so
                self.windowOf = asked, None
        return self.windowOf[1]

    # ---- from the panel to the scene

    def silent(self) -> bool:
        """Do the controls change because the scene does, and not by the user's hand?"""
        return self.updating or slicer.mrmlScene.IsClosing() or slicer.mrmlScene.IsImporting()

    def onVolume(self, node: Any) -> None:
        if not self.silent():
            self.parameters.volume = node

    def onBoundary(self, node: Any) -> None:
        if self.silent():
            return
        segmentIds = list(node.GetSegmentation().GetSegmentIDs()) if node is not None else []
        self.parameters.boundary = (node, segmentIds[0]) if segmentIds else None

    def onSegment(self, index: int) -> None:
        self.parameters.boundary = (self.ui.boundarySelector.currentNode(), self.segmentIds[index])

    def onLung(self, on: bool) -> None:
        if not self.silent():
            self.parameters.built_in_boundary = "lung" if on else ""

    def onModel(self, index: int) -> None:
        if index < len(self.modelNames):
            self.parameters.model = self.modelNames[index]
        else:
            self.chooseModelFolder()

    def chooseModelFolder(self) -> None:
        """A model of the user's: a folder made by `lefusion train` or `lefusion convert`."""
        folder = qt.QFileDialog.getExistingDirectory(self.ui.modelCombo, _("Folder of a model (with model.json)"))
        if folder:
            qt.QSettings().setValue(MODEL_FOLDER_SETTING, folder)
            self.cards.pop(folder, None)
            self.parameters.model = folder
        self.updateFromScene()
        self.setUpList.update()

    def onMaskModel(self, index: int) -> None:
        self.parameters.mask_model = self.maskModels[index]

    def onDevice(self, index: int) -> None:
        self.parameters.device = self.ui.deviceCombo.itemText(index)

    def onSampler(self, index: int) -> None:
        self.setSampler(method=self.ui.samplerCombo.itemText(index) if index > 0 else None)

    def onSteps(self, value: int) -> None:
        if not self.updating:
            self.setSampler(num_steps=int(value) or None)

    def setSampler(self, **changes: Any) -> None:
        self.parameters.sampler = library().SamplerSpec(**{**self.parameters.sampler.to_dict(), **changes})

    def onSetUpChanged(self) -> None:
        self.updateApply()

    def onLesionsChanged(self) -> None:
        self.updateApply()

    # ---- the job

    def reason(self) -> str:
        """Why Apply cannot be pressed; empty where it can."""
        missing = self.missingPackages()
        if missing:
            return _("Missing: {names}. The set-up list at the top installs it.").format(names=", ".join(missing))
        card = self.card()
        if card is None:
            return self.modelError
        try:
            library("scene").check_lesions(self.parameters.volume, self.parameters.spheres, card.spec)
        except library().LeFusionError as error:
            return str(error)
        return ""

    def updateApply(self) -> None:
        running = self.handle is not None
        reason = "" if running else self.reason()
        self.ui.applyButton.enabled = not running and not reason
        self.ui.applyButton.toolTip = reason or _("Paint the lesions into a copy of the volume")
        self.ui.cancelButton.enabled = running
        self.ui.reasonLabel.text = reason
        self.ui.reasonLabel.setVisible(bool(reason))

    def applyByKey(self) -> None:
        if self.ui.applyButton.enabled:
            self.apply()

    def apply(self) -> None:
        """Hand the work to the worker; the panel stays usable."""
        self.tell("")
        try:
            self.job = self.logic.prepare()
            self.timeLeft, self.stopReason = self.newTimeLeft(), None
            self.handle = self.runner.submit(self.logic.workerJob(self.job), self.onProgress, self.onEnd)
        except library().LeFusionError as error:
            self.endJob(str(error))
            return
        self.ui.progressBar.value = 0
        self.ui.progressBar.show()
        self.tell(_("Starting the computing process and loading the model..."))
        self.updateApply()

    def cancel(self) -> None:
        self.stop(_("Cancelled; nothing was made."))
        self.tell(_("Stopping..."))

    def stop(self, reason: str) -> None:
        """Ask for the end of the running job; `reason` is said when it has come."""
        if self.handle is not None and self.stopReason is None:
            self.stopReason = reason
            self.runner.client.cancel(self.handle)

    def onProgress(self, step: int, total: int, message: str) -> None:
        self.ui.progressBar.value = int(100 * step / max(total, 1))
        if self.stopReason is None:
            self.tell(self.timeLeft.text(step, total, message))

    def onEnd(self, handle: Any) -> None:
        """The work is done, or has failed: the one place where results come into the scene."""
        job = self.job
        if self.stopReason is not None:
            self.endJob(self.stopReason)
        elif handle.error is not None:
            self.endJob(str(handle.error), handle)
        else:
            try:
                result = job.finish(self.host, handle.result)
            except library().LeFusionError as error:
                self.endJob(str(error))
                return
            self.parameters.results = [*self.parameters.results, result.volume_node]
            self.endJob(_("Done: {name}").format(name=result.volume_node.GetName()))
            self.results.update(show=result.volume_node)

    def endJob(self, message: str, failed: Any = None) -> None:
        self.job = self.handle = None
        self.ui.progressBar.hide()
        self.tell(message, failed)
        self.updateApply()

    def tell(self, message: str, failed: Any = None) -> None:
        """A message under Apply, with the button that helps after a failure of this kind."""
        self.ui.statusLabel.text = message
        self.ui.statusLabel.setVisible(bool(message))
        actions = {
            "missing_package": (_("Open the set-up list"), self.openSetUp),
            "missing_weights": (_("Choose a model folder..."), self.chooseModelFolder),
            "out_of_memory": (_("Use the processor instead"), self.useProcessor),
            "disk_full": (_("Open the folder of temporary files"), self.openTemporaryFolder),
            "crash": (_("Show details"), self.showDetails),
        }
        text, self.helpAction = actions.get(getattr(failed, "kind", None), ("", None))
        if failed is not None and failed.kind == "out_of_memory" and self.parameters.device == "cpu":
            text, self.helpAction = "", None  # there is nothing smaller than the processor
        self.details = getattr(getattr(failed, "error", None), "detail", "")
        self.ui.helpButton.text = text
        self.ui.helpButton.setVisible(bool(text))

    def help(self) -> None:
        if self.helpAction is not None:
            self.helpAction()

    def openSetUp(self) -> None:
        self.ui.setUpSection.collapsed = False
        self.setUpList.update()

    def useProcessor(self) -> None:
        self.parameters.device = "cpu"
        self.tell(_("The next Apply runs on the processor; that is slower."))

    def openTemporaryFolder(self) -> None:
        import tempfile

        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(tempfile.gettempdir()))

    def showDetails(self) -> None:
        slicer.util.errorDisplay(self.ui.statusLabel.text, detailedText=self.details)

    def toggleBlink(self) -> None:
        if self.ui.blinkCheckBox.enabled:
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
    ) -> LeFusionResult:
        """Paint one lesion per sphere into a copy of the volume; the input stays as it is. Waits until it is done.

        spheres: dict(centerRas=(R, A, S), diameterMm=12, texture="solid", lesionClass="nodule", seed=7) in the world's
        millimetres, parent transforms included; texture, lesionClass and seed may be left out. boundary:
        (segmentationNode, segmentId), or "lung" for the built-in lung segmentation. maskModel: what draws the
        shapes; None takes what fits the model. sampler: a `LeFusionLib.SamplerSpec`. progress(step, total, message) and
        cancel() are asked while the worker process computes.

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
