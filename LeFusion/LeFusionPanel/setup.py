"""The set-up list: what the panel needs on this computer, what is missing, and a button that helps.

Looking is free of imports and of the network. Each button says what it will do before it does it.
"""

import importlib
import importlib.metadata
import importlib.util

import qt
import slicer
from slicer.i18n import tr as _

from LeFusionLib.worker_client import Job

GPU_SETTING = "LeFusion/devices"  # what the last check found, for the next start
NEEDED = ("torch", "safetensors")


def missingPackages():
    """Of the packages the worker needs; finds them without importing them."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


class SetUpList:
    """The rows extension, torch, safetensors, gpu and weights. `panel` gives `ui`, `settings` and `work`."""

    def __init__(self, panel):
        self.panel, self.ui = panel, panel.ui
        self.ui.extensionFixButton.connect("clicked()", self.installExtension)
        self.ui.torchFixButton.connect("clicked()", self.installTorch)
        self.ui.safetensorsFixButton.connect("clicked()", self.installSafetensors)
        self.ui.gpuFixButton.connect("clicked()", self.checkDevices)
        self.ui.weightsFixButton.connect("clicked()", panel.settings.chooseModelFolder)

    def update(self):
        """Look again. The section opens by itself while something is missing."""
        torch, safetensors = (_version(name) for name in NEEDED)
        extension = importlib.util.find_spec("PyTorchUtils") is not None
        instead = _("not installed") if torch is None else _("not needed, torch is there")
        self._show("extension", extension or torch is not None, _("there") if extension else instead)
        self.ui.extensionFixButton.enabled = not extension and torch is None
        self._show("torch", torch is not None, torch or _("not installed"))
        self.ui.torchFixButton.enabled = torch is None
        self._show("safetensors", safetensors is not None, safetensors or _("not installed"))
        self.ui.safetensorsFixButton.enabled = safetensors is None
        devices = slicer.util.settingsValue(GPU_SETTING, "")
        self._show("gpu", True, devices or _("not checked yet; without one it runs on the processor"))
        self.ui.gpuFixButton.enabled = torch is not None
        card = self.panel.settings.model.card()
        problem = self.panel.settings.model.error
        self._show("weights", card is not None, problem or f"{card.description}. {card.licence}")
        if torch is None or safetensors is None or card is None:
            self.ui.setUpSection.collapsed = False

    def installExtension(self):
        question = _("The extension PyTorch will be fetched from Slicer's extension server. Continue?")
        if slicer.util.confirmOkCancelDisplay(question):
            if slicer.app.extensionsManagerModel().installExtensionFromServer("PyTorch"):
                slicer.util.infoDisplay(_("Restart Slicer to finish the installation."))
            else:
                slicer.util.errorDisplay(_("The extension could not be installed. Try the Extensions Manager."))
        self.update()

    def installTorch(self):
        try:
            utils = importlib.import_module("PyTorchUtils")
        except ModuleNotFoundError:
            slicer.util.errorDisplay(_("First install the extension PyTorch (the row above), and restart Slicer."))
            return
        self.panel.work.close()  # it may hold files that are to be replaced
        utils.PyTorchUtilsLogic().installTorch(askConfirmation=True)
        importlib.invalidate_caches()
        self.update()
        self.panel.work.update()

    def installSafetensors(self):
        if slicer.util.confirmOkCancelDisplay(_("The package safetensors (1 MB) will be fetched from PyPI. Continue?")):
            slicer.util.pip_install("safetensors")
            importlib.invalidate_caches()
        self.update()
        self.panel.work.update()

    def checkDevices(self):
        self._show("gpu", True, _("looking..."))
        self.ui.gpuFixButton.enabled = False
        self.panel.work.runner.submit(Job("status"), None, self.onDevices)

    def onDevices(self, handle):
        if handle.error is None and handle.result["devices"]:
            text = "; ".join(f"{device}: {what}" for device, what in handle.result["devices"].items())
            qt.QSettings().setValue(GPU_SETTING, text)
            self.panel.settings.showDevices(list(handle.result["devices"]))
            self.update()
        else:
            problems = handle.result["problems"] if handle.error is None else {"": str(handle.error)}
            self._show("gpu", False, "; ".join(problems.values()))
            self.ui.gpuFixButton.enabled = True

    def _show(self, row, good, text):
        label = getattr(self.ui, f"{row}State")
        label.text = ("✓ " if good else "✗ ") + text


def _version(package):
    if importlib.util.find_spec(package) is None:
        return None
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return _("there")
