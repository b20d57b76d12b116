"""PySide6 dressed up as PythonQt, as strict as 3D Slicer is: `qt`, and stand-ins for the CTK and qMRML widgets we use.

In PythonQt a property is an attribute (`button.text`, never `button.text()`), signals are connected by their C++
signature, and a slot gets as many arguments as it takes. Here what PythonQt refuses is refused too, and what it would
swallow (an exception in a slot, a signal that does not exist) is collected in `problems`. The stand-ins have what the
C++ headers declare and nothing else; how the real ones look and behave is not shown by any test here.
"""

import ctypes
import inspect
import os
import sys
import types
from xml.etree import ElementTree

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, QObject, Signal
from PySide6.QtUiTools import QUiLoader
from PySide6.QtWidgets import QWidget

problems: list[str] = []  # what a user of Slicer would find in the log and a test must not overlook
EXACT = {"QString": str, "bool": bool, "int": int, "double": (int, float), "float": (int, float)}
VIRTUAL = {"sizeHint", "minimumSizeHint"}
VTK_SIGNALS = {  # signals with VTK objects: PySide knows them as Signal(object)
    "currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged",
    "mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged",
}


def _property(name, type_name, writable):
    def get(self):
        return QObject.property(self, name)

    def set_(self, value):
        wanted = EXACT.get(type_name)
        if wanted is not None and (not isinstance(value, wanted) or (wanted is not bool and isinstance(value, bool))):
            raise TypeError(f"{type(self).__name__}.{name} is {type_name}; got {value!r}")
        if not QObject.setProperty(self, name, value):
            raise TypeError(f"{type(self).__name__}.{name} = {value!r} was refused")

    return property(get, set_ if writable else None)


def _dress(module):
    for cls in [getattr(module, name) for name in dir(module)]:
        if not (inspect.isclass(cls) and issubclass(cls, QObject)):
            continue
        meta = cls.staticMetaObject
        for index in range(meta.propertyOffset(), meta.propertyCount()):
            found = meta.property(index)
            if found.name() not in VIRTUAL:
                setattr(cls, found.name(), _property(found.name(), found.typeName(), found.isWritable()))
    QObject.name = QObject.objectName
    QObject.className = lambda self: self.metaObject().className()


def signal_of(obj, signature):
    """The bound PySide signal of a C++ signature; an error where the class has none."""
    normal = signature.replace(" ", "")
    name = normal.partition("(")[0]
    meta = QObject.metaObject(obj)
    if normal in VTK_SIGNALS and meta.indexOfSignal(f"{name}(PyObject)") >= 0:
        return getattr(obj, name)
    if meta.indexOfSignal(normal) < 0:
        there = sorted(m.methodSignature().data().decode() for m in map(meta.method, range(meta.methodCount()))
                       if m.methodType() == QtCore.QMetaMethod.Signal)  # fmt: skip
        raise AttributeError(f"{meta.className()} has no signal {signature}; it has {', '.join(there)}")
    return getattr(obj, name)[tuple(_type(text) for text in _arguments(normal))] if "(" in normal else None


def _arguments(signature):
    inside = signature.partition("(")[2].rstrip(")")
    return [text for text in inside.split(",") if text]


def _type(text):
    return {"int": int, "bool": bool, "double": float, "QString": str}.get(text, text)


def _connect(self, signature, slot):
    if isinstance(slot, types.FunctionType) and slot.__defaults__:
        raise TypeError("PythonQt counts default arguments: this slot would get the signal's value for one")
    code = slot.__func__.__code__ if isinstance(slot, types.MethodType) else getattr(slot, "__code__", None)
    if code is None:
        raise TypeError(f"connect a function or a bound method; got {slot!r}")
    taken = code.co_argcount - isinstance(slot, types.MethodType)
    given = len(_arguments(signature))
    if taken > given:
        raise TypeError(f"{slot.__qualname__} takes {taken} arguments, {signature} gives {given}")

    def call(*arguments):
        try:
            slot(*arguments[:taken])
        except BaseException:
            sys.excepthook(*sys.exc_info())

    bound = signal_of(self, signature)
    bound.connect(call)
    kept = _slots.setdefault(id(self), [])
    kept.append((self, signature, slot, bound, call))
    return True


def _disconnect(self, signature, slot):
    for entry in list(_slots.get(id(self), [])):
        if entry[1:3] == (signature, slot):
            entry[3].disconnect(entry[4])
            _slots[id(self)].remove(entry)
            return True
    raise TypeError(f"{signature} is not connected to {slot!r}")


_slots: dict = {}
_plain_getattribute = QObject.__getattribute__


def _getattribute(self, name):
    if name == "connect":
        return lambda signature, slot: _connect(self, signature, slot)
    if name == "disconnect":
        return lambda signature, slot: _disconnect(self, signature, slot)
    return _plain_getattribute(self, name)


class ctkCollapsibleButton(QtWidgets.QGroupBox):
    contentsCollapsed = Signal(bool)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._collapsed = False
        self.setStyleSheet(
            "ctkCollapsibleButton{border:1px solid #b8b8b8;border-radius:3px;margin-top:22px;padding-top:2px}"
            "ctkCollapsibleButton::title{subcontrol-origin:margin;subcontrol-position:top left;left:4px;padding:3px}"
        )

    def _text(self):
        return self.property("title").lstrip("▸▾ ")

    def _set_text(self, text):
        self.setTitle(("▸ " if self._collapsed else "▾ ") + text)

    def _get_collapsed(self):
        return self._collapsed

    def _set_collapsed(self, collapsed):
        text = self._text()
        changed, self._collapsed = collapsed != self._collapsed, collapsed
        self._set_text(text)
        self._show_children()
        if changed:
            self.contentsCollapsed.emit(collapsed)

    def _show_children(self):
        for child in QObject.findChildren(self, QWidget, options=QtCore.Qt.FindDirectChildrenOnly):
            child.setVisible(not self._collapsed and not QObject.property(child, "standInHidden"))
        self.setMaximumHeight(26 if self._collapsed else 16777215)

    text = Property(str, _text, _set_text)
    collapsed = Property(bool, _get_collapsed, _set_collapsed, notify=contentsCollapsed)

    def showEvent(self, event):
        if self._collapsed:
            self._show_children()
        super().showEvent(event)


class ctkSliderWidget(QWidget):
    valueChanged = Signal(float)

    def __init__(self, parent=None):
        super().__init__(parent)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Horizontal, self)
        self._box = QtWidgets.QDoubleSpinBox(self)
        self._slider.setObjectName("qt_slider")
        self._slider.setRange(0, 1000)
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._box)
        self._box.valueChanged.connect(self._moved)
        self._slider.valueChanged.connect(
            lambda n: self._box.setValue(self._box.property("minimum") + n / 1000 * self._width())
        )

    def _width(self):
        return self._box.property("maximum") - self._box.property("minimum")

    def _moved(self, value):
        self._slider.blockSignals(True)
        self._slider.setValue(round((value - self._box.property("minimum")) / (self._width() or 1) * 1000))
        self._slider.blockSignals(False)
        self.valueChanged.emit(value)

    def _of_box(name, kind):
        return Property(kind, lambda self: self._box.property(name), lambda self, v: self._box.setProperty(name, v))

    minimum, maximum = _of_box("minimum", float), _of_box("maximum", float)
    singleStep, value = _of_box("singleStep", float), _of_box("value", float)
    decimals, suffix = _of_box("decimals", int), _of_box("suffix", str)
    pageStep = Property(float, lambda self: 1.0, lambda self, v: None)
    tracking = Property(bool, lambda self: True, lambda self, v: None)


class qMRMLWidget(QWidget):
    mrmlSceneChanged = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = None

    def setMRMLScene(self, scene):
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self):
        return self._scene


class qMRMLNodeComboBox(QWidget):
    """Keeps to what the real one does with nodes: it lists by class, follows additions and removals."""

    currentNodeChanged = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._box = QtWidgets.QComboBox(self)
        self._box.setObjectName("qt_box")
        layout.addWidget(self._box)
        self._values = {"nodeTypes": [], "showChildNodeTypes": True, "noneEnabled": False, "noneDisplay": "None"}
        self._scene, self._ids, self._tags = None, [], []
        self._box.activated.connect(lambda n: self._choose(self._ids[n]))
        self._current = ""

    def setMRMLScene(self, scene):
        self._scene = scene
        import slicer

        events = slicer.vtkMRMLScene
        for event in (events.NodeAddedEvent, events.NodeRemovedEvent, events.EndCloseEvent, events.EndImportEvent):
            self._tags.append(scene.AddObserver(event, self._on_scene))
        self._fill()

    def mrmlScene(self):
        return self._scene

    def currentNode(self):
        return self._scene.GetNodeByID(self._current) if self._scene is not None and self._current else None

    def setCurrentNode(self, node):
        self._choose("" if node is None else node.GetID())

    def _on_scene(self, caller, event):
        if not (caller.IsClosing() or caller.IsImporting()):
            self._fill()

    def _fill(self):
        nodes = []
        for kind in self._values["nodeTypes"]:
            for n in range(self._scene.GetNumberOfNodesByClass(kind)):
                node = self._scene.GetNthNodeByClass(n, kind)
                exact = self._values["showChildNodeTypes"] or node.GetClassName() == kind
                if exact and not node.GetHideFromEditors():
                    nodes.append(node)
        self._ids = ([""] if self._values["noneEnabled"] else []) + [node.GetID() for node in nodes]
        self._box.clear()
        self._box.addItems([*([self._values["noneDisplay"]] if self._values["noneEnabled"] else []),
                            *(node.GetName() for node in nodes)])  # fmt: skip
        known = self._current if self._current in self._ids else (self._ids[0] if self._ids else "")
        self._box.setCurrentIndex(self._ids.index(known) if known in self._ids else -1)
        self._choose(known)

    def _choose(self, node_id):
        if node_id in self._ids:
            self._box.setCurrentIndex(self._ids.index(node_id))
        if node_id != self._current:
            self._current = node_id
            self.currentNodeChanged.emit(self.currentNode())

    def _value(name, kind):
        def set_(self, value):
            self._values[name] = value
            if self._scene is not None:
                self._fill()

        return Property(kind, lambda self: self._values.get(name), set_)

    nodeTypes = _value("nodeTypes", "QStringList")
    showChildNodeTypes, noneEnabled = _value("showChildNodeTypes", bool), _value("noneEnabled", bool)
    addEnabled, removeEnabled = _value("addEnabled", bool), _value("removeEnabled", bool)
    renameEnabled, editEnabled = _value("renameEnabled", bool), _value("editEnabled", bool)
    selectNodeUponCreation, noneDisplay = _value("selectNodeUponCreation", bool), _value("noneDisplay", str)
    currentNodeID = Property(str, lambda self: self._current)


STAND_INS = {c.__name__: c for c in (ctkCollapsibleButton, ctkSliderWidget, qMRMLWidget, qMRMLNodeComboBox)}


class _Loader(QUiLoader):
    """Builds the stand-ins, and connects `mrmlSceneChanged` as the .ui file asks; other connections are refused."""

    def createWidget(self, class_name, parent=None, name=""):
        if class_name in STAND_INS:
            widget = STAND_INS[class_name](parent)
            widget.setObjectName(name)
            return widget
        if class_name not in QUiLoader.availableWidgets(self) and class_name not in ("Line",):
            raise TypeError(f"The host has no stand-in for {class_name}")
        return super().createWidget(class_name, parent, name)

    def load(self, file):
        tree = ElementTree.fromstring(bytes(file.readAll().data()))
        connections = tree.find("connections")
        tree.remove(connections)  # Qt itself knows no signal with a vtkMRMLScene*
        content = QtCore.QBuffer()
        content.setData(ElementTree.tostring(tree))
        content.open(QtCore.QIODevice.ReadOnly)
        widget = super().load(content)
        for connection in connections.iter("connection"):
            ends = [connection.findtext(part) for part in ("sender", "signal", "receiver", "slot")]
            if ends[1] != "mrmlSceneChanged(vtkMRMLScene*)" or ends[3] != "setMRMLScene(vtkMRMLScene*)":
                raise TypeError(f"The host does not know the connection {ends}")
            widget.mrmlSceneChanged.connect(QObject.findChild(widget, QObject, ends[2]).setMRMLScene)
        return widget


def make_modules():
    """`qt` and `ctk`; Qt's classes are dressed once for the whole process."""
    if sys.version_info < (3, 12):
        # PySide6 6.12 takes None and the booleans for immortal, which they are from Python 3.12 on: each call that
        # returns one would take a reference away, until the interpreter ends in mid-test.
        for immortal in (None, True, False):
            ctypes.c_ssize_t.from_address(id(immortal)).value += 1 << 40
    for module in (QtCore, QtGui, QtWidgets):
        _dress(module)
    QObject.__getattribute__ = _getattribute
    qt, ctk = types.ModuleType("qt"), types.ModuleType("ctk")
    for module in (QtCore, QtGui, QtWidgets):
        vars(qt).update({name: value for name, value in vars(module).items() if name[0] == "Q"})
    qt.QUiLoader = _Loader
    for name, cls in STAND_INS.items():
        if name.startswith("ctk"):
            setattr(ctk, name, cls)
    return qt, ctk


def stray_attributes(root):
    """Attributes somebody set on widgets that Qt knows nothing of: `button.enable = True` does nothing in Slicer."""
    found = []
    for widget in [root, *QObject.findChildren(root, QObject)]:
        for name, value in vars(widget).items():
            by_loader = isinstance(value, QObject) and QObject.property(value, "objectName") == name
            if not (isinstance(value, QtCore.SignalInstance) or by_loader or name.startswith("_")):
                found.append(f"{type(widget).__name__} {QObject.property(widget, 'objectName')}.{name}")
    return found
