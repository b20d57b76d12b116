"""What the work is done with: scan, boundary, model and sampler, as the parameter node has them."""

import os

import qt
import slicer
from slicer.i18n import tr as _

from LeFusionLib import SamplerSpec
from LeFusionLib import scene as bridge
from LeFusionLib.models.card import bundled_models
from LeFusionLib.models.sampler_spec import METHODS, QUALITIES
from LeFusionLib.synthesis.draw import HANDCRAFTED

MODEL_FOLDER_SETTING = "LeFusion/modelFolder"  # the folder chosen last on this computer
DEVICES = ("auto", "cpu", "cuda", "mps")


class Settings:
    """Shows the parameter node's settings and changes them. `panel` gives `ui` and `parameters`."""

    def __init__(self, panel):
        self.panel, self.ui, self.parameters = panel, panel.ui, panel.parameters
        self.model = bridge.ChosenModel(self.parameters)
        self.bundled, self.updating = {"texture": [], "mask": []}, False
        self.showDevices(DEVICES)
        self.ui.samplerCombo.addItem(_("model's own"))
        for name in (*QUALITIES, *METHODS):
            self.ui.samplerCombo.addItem(name)
        self.ui.volumeSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.onVolume)
        self.ui.boundarySelector.connect("currentNodeChanged(vtkMRMLNode*)", self.onBoundary)
        self.ui.segmentCombo.connect("activated(int)", self.onSegment)
        self.ui.lungCheckBox.connect("toggled(bool)", self.onLung)
        self.ui.anywhereCheckBox.connect("toggled(bool)", self.onAnywhere)
        self.ui.anyModalityCheckBox.connect("toggled(bool)", self.onAnyModality)
        self.ui.modelCombo.connect("activated(int)", self.onModel)
        self.ui.maskModelCombo.connect("activated(int)", self.onMaskModel)
        self.ui.deviceCombo.connect("activated(int)", self.onDevice)
        self.ui.samplerCombo.connect("activated(int)", self.onSampler)
        self.ui.stepsSpinBox.connect("valueChanged(int)", self.onSteps)

    def lookAgain(self):
        """Models may have been made or removed while the panel was not open."""
        self.model.look_again()
        self.bundled = {kind: list(bundled_models(kind)) for kind in ("texture", "mask")}

    def update(self):
        """Show what the scene says."""
        self.updating = True
        try:
            self.ui.volumeSelector.setCurrentNode(self.parameters.volume)
            self.showBoundary()
            self.showModels()
            self.showCombo(self.ui.deviceCombo, self.parameters.device)
            card, maskSpec = self.model.card(), self.model.mask_spec()
            self.ui.licenceLabel.text = _("Licence: {text}").format(text=card.licence) if card is not None else ""
            asks = maskSpec is not None and maskSpec.mask.boundary_channel
            self.ui.anywhereCheckBox.setVisible(asks or self.parameters.built_in_boundary == "none")
            self.ui.anyModalityCheckBox.checked = self.parameters.any_modality
            sampler = self.parameters.sampler
            self.showCombo(self.ui.samplerCombo, sampler.method or _("model's own"))
            self.ui.stepsSpinBox.value = sampler.num_steps or 0
        finally:
            self.updating = False

    def showBoundary(self):
        node = self.parameters.node.GetNodeReference("boundary")
        chosen = self.parameters.boundary
        self.ui.boundarySelector.setCurrentNode(node)
        self.segmentIds = list(node.GetSegmentation().GetSegmentIDs()) if node is not None else []
        self.ui.segmentCombo.clear()
        for segmentId in self.segmentIds:
            self.ui.segmentCombo.addItem(node.GetSegmentation().GetSegment(segmentId).GetName())
        if chosen is not None and chosen[1] in self.segmentIds:
            self.ui.segmentCombo.currentIndex = self.segmentIds.index(chosen[1])
        builtIn = self.parameters.built_in_boundary
        self.ui.lungCheckBox.checked = builtIn == "lung"
        self.ui.anywhereCheckBox.checked = builtIn == "none"
        self.ui.boundarySelector.enabled = not builtIn
        self.ui.segmentCombo.enabled = bool(self.segmentIds) and not builtIn

    def showModels(self):
        folder = str(slicer.util.settingsValue(MODEL_FOLDER_SETTING, ""))
        names = [*self.bundled["texture"], *([folder] if folder else [])]
        self.modelNames = names if self.parameters.model in names else [*names, self.parameters.model]
        self.ui.modelCombo.clear()
        for name in self.modelNames:
            self.ui.modelCombo.addItem(os.path.basename(name))
        self.ui.modelCombo.addItem(_("Folder..."))
        self.ui.modelCombo.currentIndex = self.modelNames.index(self.parameters.model)
        self.maskModels = ["", *self.bundled["mask"], HANDCRAFTED]
        self.ui.maskModelCombo.clear()
        for name in self.maskModels:
            self.ui.maskModelCombo.addItem(name or _("what fits the model"))
        if self.parameters.mask_model in self.maskModels:
            self.ui.maskModelCombo.currentIndex = self.maskModels.index(self.parameters.mask_model)

    def showDevices(self, names):
        known = [self.ui.deviceCombo.itemText(n) for n in range(self.ui.deviceCombo.count)]
        for name in names:
            if name not in known:
                self.ui.deviceCombo.addItem(name)

    def showCombo(self, combo, text):
        index = combo.findText(text)
        if index < 0:
            combo.addItem(text)
        combo.currentIndex = combo.findText(text)

    def silent(self):
        """Do the controls change because the scene does, and not by the user's hand?"""
        return self.updating or slicer.mrmlScene.IsClosing() or slicer.mrmlScene.IsImporting()

    def onVolume(self, node):
        if not self.silent():
            self.parameters.volume = node

    def onBoundary(self, node):
        if self.silent():
            return
        segmentIds = list(node.GetSegmentation().GetSegmentIDs()) if node is not None else []
        self.parameters.boundary = (node, segmentIds[0]) if segmentIds else None

    def onSegment(self, index):
        self.parameters.boundary = (self.ui.boundarySelector.currentNode(), self.segmentIds[index])

    def onLung(self, on):
        if not self.silent():
            self.parameters.built_in_boundary = "lung" if on else ""

    def onAnywhere(self, on):
        if not self.silent():
            self.parameters.built_in_boundary = "none" if on else ""

    def onAnyModality(self, on):
        if not self.silent():
            self.parameters.any_modality = on

    def onModel(self, index):
        if index < len(self.modelNames):
            self.parameters.model = self.modelNames[index]
        else:
            self.chooseModelFolder()

    def chooseModelFolder(self):
        """A model of the user's: a folder made by `lefusion train` or `lefusion convert`."""
        folder = qt.QFileDialog.getExistingDirectory(self.ui.modelCombo, _("Folder of a model (with model.json)"))
        if folder:
            qt.QSettings().setValue(MODEL_FOLDER_SETTING, folder)
            self.model.look_again()
            self.parameters.model = folder
        self.panel.updateFromScene()
        self.panel.setUpList.update()

    def onMaskModel(self, index):
        self.parameters.mask_model = self.maskModels[index]

    def onDevice(self, index):
        self.parameters.device = self.ui.deviceCombo.itemText(index)

    def onSampler(self, index):
        self.setSampler(method=self.ui.samplerCombo.itemText(index) if index > 0 else None)

    def onSteps(self, value):
        if not self.updating:
            self.setSampler(num_steps=int(value) or None)

    def setSampler(self, **changes):
        self.parameters.sampler = SamplerSpec(**{**self.parameters.sampler.to_dict(), **changes})
