"""What was made: shown, compared with the scan, taken back, written to files."""

import qt
import slicer
from slicer.i18n import tr as _

from LeFusionLib import LeFusionError
from LeFusionLib import scene as bridge
from LeFusionLib.scene.results import LESIONS, ORIGINAL

BLINK_MS = 600


class Results:
    """The results of the scene, one of them chosen. `panel` gives `ui`, `host`, `parameters` and `work`."""

    def __init__(self, panel):
        self.panel, self.ui = panel, panel.ui
        self.nodes, self.difference, self.showsOriginal = [], None, False
        self.timer = qt.QTimer(self.ui.resultCombo)
        self.timer.setInterval(BLINK_MS)
        self.timer.connect("timeout()", self.blink)
        self.ui.resultCombo.connect("activated(int)", self.onChosen)
        self.ui.opacitySlider.connect("valueChanged(double)", self.onOpacity)
        self.ui.blinkCheckBox.connect("toggled(bool)", self.onBlink)
        self.ui.differenceCheckBox.connect("toggled(bool)", self.onDifference)
        self.ui.undoButton.connect("clicked()", self.undo)
        self.ui.removeButton.connect("clicked()", self.removeChosen)
        self.ui.exportButton.connect("clicked()", self.export)

    def chosen(self):
        """The chosen result's volume node, or None."""
        index = self.ui.resultCombo.currentIndex
        return self.nodes[index] if 0 <= index < len(self.nodes) else None

    def update(self, show=None):
        """List the scene's results; with `show` choose this one and put it into the slice views."""
        chosen = show or self.chosen()
        self.nodes = self.panel.parameters.results
        self.ui.resultCombo.clear()
        for node in self.nodes:
            self.ui.resultCombo.addItem(node.GetName())
        if self.nodes:
            self.ui.resultCombo.currentIndex = self.nodes.index(chosen) if chosen in self.nodes else len(self.nodes) - 1
        there = bool(self.nodes)
        self.ui.resultSection.setVisible(there)
        if not there:
            self.ui.blinkCheckBox.checked = False
            self.ui.differenceCheckBox.checked = False
        if show is not None:
            self.show()
        self.describe()

    def show(self):
        """The chosen result in the slice views, at the place and zoom they have."""
        node = self.chosen()
        if node is not None:
            slicer.util.setSliceViewerLayers(background=node, fit=False)
            segments = node.GetNodeReference(LESIONS)
            if segments is not None and segments.GetDisplayNode() is not None:
                segments.GetDisplayNode().SetOpacity(self.ui.opacitySlider.value)

    def describe(self):
        """What the report of the chosen result says, in one line per lesion."""
        node = self.chosen()
        report = None if node is None else bridge.report_of(node)
        if report is None:
            return
        lines = []
        for number, lesion in enumerate(report.get("lesions", []), start=1):
            size, texture = lesion["diameter_mm"], lesion["texture"]
            lines.append(
                _("{number}. {name}: {delivered} mm (asked {asked}), {texture}").format(
                    number=number,
                    name=lesion["class"],
                    delivered=_short(size["delivered"]),
                    asked=_short(size["asked"]),
                    texture=texture.get("name", ""),
                )
            )
        count = report["background"]["changed_voxels_outside_mask"]
        lines.append(_("Voxels changed outside the lesions: {count}").format(count=count))
        self.ui.reportLabel.text = "\n".join(lines)

    def onChosen(self, index):
        self.onDifference(self.ui.differenceCheckBox.checked)
        self.show()
        self.describe()

    def onOpacity(self, value):
        node = self.chosen()
        segments = None if node is None else node.GetNodeReference(LESIONS)
        if segments is not None and segments.GetDisplayNode() is not None:
            segments.GetDisplayNode().SetOpacity(value)

    def onBlink(self, on):
        if on:
            self.timer.start()
        else:
            self.timer.stop()
            self.showsOriginal = False
            self.show()

    def blink(self):
        """The other of scan and result."""
        node = self.chosen()
        original = None if node is None else node.GetNodeReference(ORIGINAL)
        if original is None:
            self.ui.blinkCheckBox.checked = False
            return
        self.showsOriginal = not self.showsOriginal
        slicer.util.setSliceViewerLayers(background=original if self.showsOriginal else node, fit=False)

    def onDifference(self, on):
        self._dropDifference()
        self.panel.live.look()
        node = self.chosen()
        if not on or node is None:
            return
        try:
            self.difference = bridge.difference_node(self.panel.host, node)
        except LeFusionError as error:
            self.ui.differenceCheckBox.checked = False
            self.panel.work.tell(str(error))
            return
        slicer.util.setSliceViewerLayers(foreground=self.difference, foregroundOpacity=0.6, fit=False)

    def undo(self):
        """Remove the newest result."""
        if self.nodes:
            self._remove(self.nodes[-1])

    def removeChosen(self):
        node = self.chosen()
        if node is not None:
            self._remove(node)

    def export(self):
        """Volume, segments and report of the chosen result into a folder the user names."""
        node = self.chosen()
        folder = qt.QFileDialog.getExistingDirectory(self.ui.exportButton, _("Folder for volume, segments and report"))
        if node is None or not folder:
            return
        try:
            paths = bridge.export_result(node, folder)
        except LeFusionError as error:
            self.panel.work.tell(str(error))
            return
        self.panel.work.tell(_("Written: {names}").format(names=", ".join(path.name for path in paths)))

    def leave(self):
        """Nothing moves, and nothing of ours lies over the scan, while the panel is not shown."""
        self.ui.blinkCheckBox.checked = False
        self.ui.differenceCheckBox.checked = False

    def clear(self):
        """The scene closes: hold no node of it."""
        self.timer.stop()
        self.nodes, self.difference = [], None

    def _remove(self, node):
        self._dropDifference()
        self.ui.differenceCheckBox.checked = False
        original = node.GetNodeReference(ORIGINAL)
        shown = self.chosen() is node
        self.panel.live.forget()
        bridge.remove_result(node)
        self.update()
        if shown and original is not None:
            slicer.util.setSliceViewerLayers(background=self.chosen() or original, fit=False)

    def _dropDifference(self):
        if self.difference is not None:
            node, self.difference = self.difference, None
            slicer.util.setSliceViewerLayers(foreground=None, fit=False)
            bridge.remove_difference(node)


def _short(value):
    return f"{value:.1f}" if isinstance(value, int | float) else str(value)
