"""Pictures of the panel for the documentation, from the test host, and marked so.

python Testing/gui/screenshots.py        writes docs/images/panel-*.png; needs what `make test-scene` sets up, and torch
"""

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).resolve().parent), str(ROOT)]

from hands import click, pick
from PySide6 import QtCore, QtGui
from slicer_host import SlicerHost

MARK = "drawn in LeFusion's test host with stand-in widgets, not in 3D Slicer"


def save(widget, name):
    """The panel at its natural height, with the mark below."""
    panel = widget.parent
    panel.resize(440, 400)
    for _ in range(4):
        QtCore.QCoreApplication.processEvents()
        panel.resize(440, panel.layout().sizeHint().height() + 10)
    picture = panel.grab()
    marked = QtGui.QPixmap(picture.width(), picture.height() + 20)
    marked.fill(QtCore.Qt.white)
    painter = QtGui.QPainter(marked)
    painter.drawPixmap(0, 0, picture)
    painter.setFont(QtGui.QFont("DejaVu Sans", 7))
    painter.drawText(6, marked.height() - 6, MARK)
    painter.end()
    path = ROOT / "docs/images" / f"panel-{name}.png"
    marked.save(str(path))
    print(path.name, marked.width(), marked.height())


def main():
    host = SlicerHost(tempfile.mkdtemp())
    host.in_the_hierarchy()
    host.application.setStyle("Fusion")
    host.application.setFont(QtGui.QFont("DejaVu Sans", 9))
    widget = host.open_panel()
    widget.ui.setUpSection.collapsed = False
    host.settle()
    click(widget.ui.gpuFixButton)
    host.wait_until(lambda: "processor" in widget.ui.gpuState.text and "not checked" not in widget.ui.gpuState.text)
    save(widget, "set-up")
    widget.ui.setUpSection.collapsed = True
    node = host.module.makePhantom()
    widget.ui.volumeSelector.setCurrentNode(node)
    for center, diameter, texture in (((80, 0, 0), 16.0, "solid"), ((-80, 10, 30), 12.0, "part-solid")):
        click(widget.ui.addLesionButton)
        widget.lesions.selected().AddControlPointWorld(*map(float, center))
        widget.ui.diameterSlider.value = diameter
        pick(widget.ui.textureCombo, texture)
    widget.ui.lungCheckBox.checked = True
    assert widget.ui.applyButton.enabled, widget.ui.reasonLabel.text
    click(widget.ui.applyButton)
    host.wait_until(lambda: "left" in widget.ui.statusLabel.text, 300)
    save(widget, "working")
    host.wait_until(lambda: widget.work.handle is None, 600)
    widget.ui.advancedSection.collapsed = False
    save(widget, "result")
    host.close_panel(widget)


if __name__ == "__main__":
    try:
        main()
    except BaseException:  # the host keeps exceptions for tests to find
        sys.excepthook = sys.__excepthook__
        raise
