"""As much of the Slicer application as our module touches, over slicer-core's real MRML. It is not Slicer.

`SlicerHost()` puts `qt`, `ctk` and what slicer-core lacks into `slicer`, loads the real LeFusion.py and its panel, and
keeps what the module showed and asked. One per process: Qt and MRML do not like to be taken down.
"""

import importlib.util
import logging
import sys
import traceback
import types
from pathlib import Path

import pythonqt
import slicer
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import QObject, Signal

ROOT = Path(__file__).resolve().parents[2]


class ScriptedLoadableModule:
    def __init__(self, parent):
        self.parent = parent


class ScriptedLoadableModuleWidget:
    def __init__(self, parent=None):
        self.parent, self.layout = parent, parent.layout()
        self.developerMode = False

    def setup(self):
        pass

    def cleanup(self):
        pass


class ScriptedLoadableModuleLogic:
    def __init__(self, parent=None):
        self.parent = parent


class ScriptedLoadableModuleTest(__import__("unittest").TestCase):
    def delayDisplay(self, message, msec=None):
        logging.info(message)


class Application(QObject):
    """`slicer.app`."""

    startupCompleted, aboutToQuit = Signal(), Signal()

    def __init__(self, logic):
        super().__init__()
        self._logic = logic

    def applicationLogic(self):
        return self._logic

    def layoutManager(self):
        return None

    def testingEnabled(self):
        return False

    def processEvents(self):
        QtCore.QCoreApplication.processEvents()


class Parent(QtWidgets.QWidget):
    """Where the panel is shown; `isEntered` as in qSlicerAbstractModuleWidget."""

    isEntered = QtCore.Property(bool, lambda self: self._entered)

    def __init__(self):
        super().__init__()
        self._entered = False
        QtWidgets.QVBoxLayout(self)


class Terminologies:
    def __init__(self):
        self.loaded = []

    def LoadTerminologyFromFile(self, path):
        self.loaded.append(path)
        return "Segmentation category and type - LeFusion"


class SlicerHost:
    def __init__(self, cache_folder):
        from LeFusionLib.scene import Host

        self.application = QtWidgets.QApplication.instance() or QtWidgets.QApplication([])
        QtCore.QCoreApplication.setOrganizationName("LeFusionTest")
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
        QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, QtCore.QSettings.UserScope, str(cache_folder))
        self.qt, self.ctk = pythonqt.make_modules()
        self.host = Host.headless(str(cache_folder))
        self.scene = self.host.scene
        self.terminologies = Terminologies()
        self.shown = []  # (kind, text) of message boxes
        self.answers = {}  # what the user answers: {"confirm": True, "folder": path}
        sys.modules |= {"qt": self.qt, "ctk": self.ctk}
        slicer.mrmlScene = self.scene
        slicer.app = Application(self.host.kept[0])
        slicer.modules = types.SimpleNamespace(
            **{
                name: types.SimpleNamespace(logic=lambda made=made: made)
                for name, made in {
                    "volumes": self.host.volumes,
                    "markups": self.host.markups,
                    "segmentations": self.host.segmentations,
                    "terminologies": self.terminologies,
                }.items()
            }
        )
        i18n = types.ModuleType("slicer.i18n")
        i18n.tr, i18n.translate = lambda text: text, lambda context, text: text
        bases = types.ModuleType("slicer.ScriptedLoadableModule")
        for base in (
            ScriptedLoadableModule,
            ScriptedLoadableModuleWidget,
            ScriptedLoadableModuleLogic,
            ScriptedLoadableModuleTest,
        ):
            setattr(bases, base.__name__, base)
        sys.modules |= {"slicer.i18n": i18n, "slicer.ScriptedLoadableModule": bases}
        slicer.i18n, slicer.ScriptedLoadableModule = i18n, bases
        util = slicer.util
        util.VTKObservationMixin  # noqa: B018  the real slicer.util must be there
        util.mainWindow = lambda: self.main_window
        self.main_window = QtWidgets.QMainWindow()
        for kind in ("errorDisplay", "infoDisplay", "warningDisplay"):
            setattr(util, kind, lambda text, *a, kind=kind, **k: self.shown.append((kind, text)))
        util.confirmOkCancelDisplay = self._confirm
        util.confirmYesNoDisplay = self._confirm
        util.pip_install = lambda what: self.shown.append(("pip", what))
        self.qt.QFileDialog = types.SimpleNamespace(
            getExistingDirectory=lambda parent, title, start="": str(self.answers.get("folder", ""))
        )
        self.qt.QDesktopServices = types.SimpleNamespace(openUrl=lambda url: self.shown.append(("url", url.toString())))
        for name in ("Red", "Green", "Yellow"):
            self._composite(name)
        sys.excepthook = self._excepthook
        self.module = self._load()

    def _composite(self, name):
        node = slicer.vtkMRMLSliceCompositeNode()
        node.SetSingletonTag(name)
        node.SetLayoutName(name)
        self.scene.AddNode(node)

    def _confirm(self, text, *arguments, **settings):
        self.shown.append(("confirm", text))
        return self.answers.get("confirm", True)

    def _excepthook(self, kind, error, trace):
        pythonqt.problems.append("".join(traceback.format_exception(kind, error, trace)))

    def _load(self):
        spec = importlib.util.spec_from_file_location("LeFusion", ROOT / "LeFusion" / "LeFusion.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules["LeFusion"] = module
        sys.path.insert(0, str(ROOT / "LeFusion"))  # as Slicer does with the folder of a module
        spec.loader.exec_module(module)
        return module

    def in_the_hierarchy(self):
        """Slicer has a subject hierarchy in every scene."""
        slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self.scene)

    def open_panel(self, **arguments):
        """A new panel, set up and entered, as when the user opens the module."""
        parent = Parent()
        widget = self.module.LeFusionWidget(parent, **arguments)
        widget.setup()
        parent._entered = True
        parent.resize(460, 1000)
        parent.show()
        widget.enter()
        self.settle()
        return widget

    def close_panel(self, widget):
        widget.parent._entered = False
        widget.exit()
        widget.cleanup()
        widget.parent.close()
        self.settle()

    def settle(self):
        """All that Qt has waiting is done."""
        for _ in range(3):
            QtCore.QCoreApplication.processEvents()

    def wait_until(self, condition, seconds=60):
        import time

        end = time.monotonic() + seconds
        while not condition():
            self.settle()
            assert not pythonqt.problems, pythonqt.problems[0]
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.01)
        self.settle()
