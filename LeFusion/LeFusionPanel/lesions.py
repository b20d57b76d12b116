"""The lesions to make: a table with one row per sphere of the scene, and the settings of the selected one."""

from dataclasses import replace

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from LeFusionLib import LeFusionError
from LeFusionLib import scene as bridge
from LeFusionLib.scene.housekeeping import remove_node
from LeFusionLib.texture import RANDOM, expected_texture

from .textures import drawHistogram, rangeText

PLACE, DIAMETER, CLASS, TEXTURE, SEED, DELETE = range(6)
CUSTOM = "custom"


class LesionTable(slicer.util.VTKObservationMixin):
    """Shows `parameters.spheres` and changes them; everything is kept on the spheres' nodes.

    `panel` gives `ui`, `host`, `parameters` and `settings`; its `work` is told of every change.
    """

    def __init__(self, panel):
        slicer.util.VTKObservationMixin.__init__(self)
        self.panel, self.ui = panel, panel.ui
        self.nodes = []
        self.updating = False
        header = self.ui.lesionTable.horizontalHeader()
        header.setSectionResizeMode(PLACE, qt.QHeaderView.Stretch)
        for column in (DIAMETER, CLASS, TEXTURE, SEED, DELETE):
            header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
        self.ui.lesionTable.verticalHeader().hide()
        self.ui.lesionTable.verticalHeader().setDefaultSectionSize(24)
        self.ui.lesionTable.connect("cellClicked(int,int)", self.onCellClicked)
        self.ui.lesionTable.connect("itemSelectionChanged()", self.onSelectionChanged)
        self.ui.addLesionButton.connect("clicked()", self.add)
        self.ui.placeButton.connect("clicked()", self.placeAgain)
        self.ui.newSeedButton.connect("clicked()", self.takeAnotherSeed)
        self.ui.diameterSlider.connect("valueChanged(double)", self.onDiameter)
        self.ui.classCombo.connect("activated(int)", self.onClass)
        self.ui.textureCombo.connect("activated(int)", self.onTexture)
        self.ui.seedSpinBox.connect("valueChanged(int)", self.onSeed)

    def selected(self):
        """The selected sphere, or None."""
        row = self.ui.lesionTable.currentRow()
        return self.nodes[row] if 0 <= row < len(self.nodes) else None

    def add(self):
        """A new lesion like the selected one, with a seed of its own; the next click in a view places it."""
        card = self.panel.settings.model.card()
        settings = bridge.like(self.selected(), self.nodes, None if card is None else card.spec)
        sphere = bridge.add_sphere(self.panel.host, settings)
        self.panel.parameters.spheres = [*self.panel.parameters.spheres, sphere]
        self.update()
        self.ui.lesionTable.selectRow(len(self.nodes) - 1)
        bridge.place_with_mouse(self.panel.host, sphere)

    def placeAgain(self):
        sphere = self.selected()
        if sphere is not None:
            sphere.RemoveAllControlPoints()
            bridge.place_with_mouse(self.panel.host, sphere)

    def remove(self, row):
        remove_node(self.nodes[row])
        self.update()

    def update(self):
        """Rows as in the scene; the selection stays where it was."""
        before = self.selected()
        spheres = self.panel.parameters.spheres
        for node in [node for node in self.nodes if node not in spheres]:
            for event in self._events():
                self.removeObserver(node, event, self.onSphereModified)
        for node in [node for node in spheres if node not in self.nodes]:
            for event in self._events():
                self.addObserver(node, event, self.onSphereModified)
        self.nodes = spheres
        table = self.ui.lesionTable
        self.updating = True
        table.rowCount = len(spheres)
        for row in range(len(spheres)):
            for column in range(6):
                table.setItem(row, column, qt.QTableWidgetItem(""))
            self._showRow(row)
        if spheres:
            table.selectRow(spheres.index(before) if before in spheres else len(spheres) - 1)
        self.updating = False
        self.showSelected()
        self.panel.work.update()

    def clear(self):
        """Let all nodes go, before the scene does."""
        self.removeObservers()
        self.nodes = []
        self.ui.lesionTable.rowCount = 0

    def showSelected(self):
        """The form below the table."""
        sphere, card = self.selected(), self.panel.settings.model.card()
        self.ui.selectedLesion.setVisible(sphere is not None)
        self.ui.placeButton.enabled = sphere is not None
        if sphere is None:
            return
        settings = bridge.read_settings(sphere)
        self.updating = True
        self.ui.diameterSlider.value = float(settings.diameter_mm)
        self.ui.seedSpinBox.value = min(settings.seed, self.ui.seedSpinBox.maximum)
        classes = list(card.spec.classes) if card is not None else []
        _fill(self.ui.classCombo, classes, settings.lesion_class)
        choice = self.ui.classCombo.count > 1
        self.ui.classCombo.setVisible(choice)
        self.ui.classLabel.setVisible(choice)
        presets = card.textures.get(settings.lesion_class, {}) if card is not None else {}
        name = settings.texture if isinstance(settings.texture, str) else CUSTOM
        _fill(self.ui.textureCombo, [*presets, RANDOM], name)
        self.updating = False
        self._showTexture(presets, settings.texture)

    def onCellClicked(self, row, column):
        if column == DELETE:
            self.remove(row)
            return
        try:
            place = bridge.center_world(self.nodes[row])
        except LeFusionError:
            return
        self.panel.host.markups.JumpSlicesToLocation(place[0], place[1], place[2], True)

    def onSelectionChanged(self):
        if not self.updating:
            self.showSelected()

    def onSphereModified(self, caller, event):
        if caller in self.nodes:
            row = self.nodes.index(caller)
            self._showRow(row)
            if row == self.ui.lesionTable.currentRow() and not self.updating:
                self.showSelected()
            self.panel.work.update()

    def onDiameter(self, value):
        self._change(diameter_mm=float(value))

    def onClass(self, index):
        self._change(lesion_class=self.ui.classCombo.itemText(index), texture=RANDOM)

    def onTexture(self, index):
        name = self.ui.textureCombo.itemText(index)
        if name != CUSTOM:
            self._change(texture=name)

    def onSeed(self, value):
        self._change(seed=int(value))

    def takeAnotherSeed(self):
        self.ui.seedSpinBox.value = (self.ui.seedSpinBox.value + 1) % self.ui.seedSpinBox.maximum

    def _events(self):
        markups = slicer.vtkMRMLMarkupsNode
        return (
            vtk.vtkCommand.ModifiedEvent,
            markups.PointModifiedEvent,
            markups.PointPositionDefinedEvent,
            markups.PointRemovedEvent,
            slicer.vtkMRMLTransformableNode.TransformModifiedEvent,
        )

    def _change(self, **settings):
        sphere = self.selected()
        if sphere is not None and not self.updating:
            bridge.write_settings(sphere, replace(bridge.read_settings(sphere), **settings))

    def _showRow(self, row):
        node = self.nodes[row]
        settings = bridge.read_settings(node)
        try:
            place = ", ".join(f"{mm:.1f}" for mm in bridge.center_world(node))
        except LeFusionError:
            place = _("click into a view")
        name = settings.texture if isinstance(settings.texture, str) else CUSTOM
        cells = (place, f"{settings.diameter_mm:g}", settings.lesion_class, name, str(settings.seed), "✕")
        for column, text in enumerate(cells):
            self.ui.lesionTable.item(row, column).setText(text)

    def _showTexture(self, presets, texture):
        window = self.panel.settings.model.window()
        histogram = expected_texture(texture, presets) if window is not None else None
        self.ui.histogramLabel.setVisible(histogram is not None)
        self.ui.rangeLabel.setVisible(histogram is not None)
        if histogram is not None:
            self.ui.histogramLabel.setPixmap(drawHistogram(histogram, window, self.ui.histogramLabel.palette))
            self.ui.rangeLabel.text = rangeText(histogram, window, texture)


def _fill(combo, names, current):
    """The names in a combo box, with the current one even if it is not among them: it is said why that does not go."""
    names = [*names, *([] if current in names else [current])]
    combo.clear()
    for name in names:
        combo.addItem(name)
    combo.currentIndex = names.index(current)
