"""Mistakes that PythonQt swallows or that only Slicer would show, found by reading the module's code and its panel.

Qt's classes are asked by their metaobjects (PySide6); what CTK and qMRML widgets have is written down from their
headers, for those we use. Nothing is run.
"""

import ast
from pathlib import Path
from xml.etree import ElementTree

import pythonqt
from PySide6 import QtCore, QtGui, QtWidgets

ROOT = Path(__file__).resolve().parents[2]
FOREIGN = {  # class: (properties, slots and invokable methods, signals)
    "ctkCollapsibleButton": ({"text", "collapsed"}, set(), {"contentsCollapsed(bool)"}),
    "ctkSliderWidget": (
        {"minimum", "maximum", "singleStep", "pageStep", "value", "decimals", "suffix", "prefix", "tracking"},
        {"setValue", "reset"},
        {"valueChanged(double)"},
    ),
    "qMRMLWidget": (set(), {"setMRMLScene", "mrmlScene"}, {"mrmlSceneChanged(vtkMRMLScene*)"}),
    "qMRMLNodeComboBox": (
        {"nodeTypes", "showChildNodeTypes", "noneEnabled", "addEnabled", "removeEnabled", "renameEnabled",
         "editEnabled", "selectNodeUponCreation", "noneDisplay", "currentNodeID"},
        {"currentNode", "setCurrentNode", "setCurrentNodeID", "setMRMLScene", "mrmlScene", "addNode"},
        {"currentNodeChanged(vtkMRMLNode*)", "currentNodeIDChanged(QString)"},
    ),
}  # fmt: skip
GONE = {"QRegExp", "QTextCodec", "QDesktopWidget"}  # not in Qt 6
BANNED_IMPORTS = {"torch", "PySide6", "PyQt5", "trame"}


def widgets_of(panel):
    """{object name: class} of a .ui file."""
    return {w.get("name"): w.get("class") for w in ElementTree.parse(panel).iter("widget")}


def _class(name):
    if name in FOREIGN:
        return QtWidgets.QWidget
    return next(getattr(m, name) for m in (QtWidgets, QtGui, QtCore) if hasattr(m, name))


def _properties(name):
    meta = _class(name).staticMetaObject
    return {meta.property(n).name() for n in range(meta.propertyCount())} | FOREIGN.get(name, (set(),))[0]


def _signals(name):
    meta = _class(name).staticMetaObject
    found = (meta.method(n) for n in range(meta.methodCount()))
    own = {m.methodSignature().data().decode() for m in found if m.methodType() == QtCore.QMetaMethod.Signal}
    return own | FOREIGN.get(name, (set(),) * 3)[2]


def _ui_widget(node):
    """X of an expression `self.ui.X` or `ui.X`."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute | ast.Name):
        middle = node.value.attr if isinstance(node.value, ast.Attribute) else node.value.id
        return node.attr if middle == "ui" else None
    return None


def _qt_chain(node):
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return names if isinstance(node, ast.Name) and node.id == "qt" else []


def problems_in(code, widgets):
    """(line, sentence) of every mistake in `code`, for a panel of these widgets {name: class}."""
    tree = ast.parse(code)
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            for name in {name.split(".")[0] for name in names} & BANNED_IMPORTS:
                yield node.lineno, f"the module must not import {name}"
        if isinstance(node, ast.Attribute):
            if _ui_widget(node) is not None and _ui_widget(node) not in widgets:
                yield node.lineno, f"the panel has no widget {node.attr}"
            chain = _qt_chain(node)
            if len(chain) > 2:
                yield node.lineno, f"scoped enum qt.{'.'.join(reversed(chain))}: write it flat"
            if chain[:1] and chain[-1] in GONE:
                yield node.lineno, f"qt.{chain[-1]} is not in Qt 6"
            yield from _attribute(node, widgets, id(node) in called)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "connect":
            yield from _connect(node, widgets)


def _attribute(node, widgets, called):
    name = widgets.get(_ui_widget(node.value) or "")
    if name is None or node.attr in ("connect", "disconnect"):
        return
    known = FOREIGN.get(name, (set(), set(), set()))
    property_ = node.attr in _properties(name)
    method = node.attr in known[1] or (hasattr(_class(name), node.attr) and not property_)
    if isinstance(node.ctx, ast.Store) and not property_:
        yield node.lineno, f"{name} has no property {node.attr}; setting it would do nothing"
    elif called and property_:
        yield node.lineno, f"{name}.{node.attr} is a property, not to be called"
    elif not called and not property_:
        yield node.lineno, f"{name}.{node.attr} is {'a method' if method else 'unknown'}"
    elif called and not method:
        yield node.lineno, f"{name} has no method {node.attr} that PythonQt knows"


def _connect(call, widgets):
    if len(call.args) != 2 or not isinstance(call.args[0], ast.Constant):
        yield call.lineno, "connect by the signal's C++ signature and one function"
        return
    signature, slot = call.args[0].value, call.args[1]
    name = widgets.get(_ui_widget(call.func.value) or "")
    if name is not None and signature not in _signals(name):
        yield call.lineno, f"{name} has no signal {signature}"
    if isinstance(slot, ast.Lambda) and slot.args.defaults:
        yield call.lineno, "PythonQt fills default arguments of a slot with the signal's values"
    if isinstance(slot, ast.Call):
        yield call.lineno, "connect a function, not the result of a call such as partial(...)"


def connections_missing_in(panel):
    """qMRML widgets that would stay empty: their scene is not connected."""
    tree = ElementTree.parse(panel).getroot()
    root = tree.find("widget").get("name")
    connected = {c.findtext("receiver") for c in tree.iter("connection")}
    return {n for n, c in widgets_of(panel).items() if c.startswith("qMRML") and n != root} - connected


assert pythonqt.STAND_INS.keys() == FOREIGN.keys(), "a stand-in needs its row here"
