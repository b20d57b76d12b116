"""The lesions to make: a table with one row per sphere of the scene, and the settings of the selected one."""

from dataclasses import replace

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from LeFusionLib import LeFusionError
from LeFusionLib import scene as bridge
from LeFusionLib.scene.housekeeping import remove_node

from .channels import Channels

PLACE, DIAMETER, CLASS, TEXTURE, SEED, DELETE = range(6)


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
        self.channels = Channels(self.ui, self.onSettings, self.onTexture)
        self.ui.seedSpinBox.connect("valueChanged(int)", self.onSeed)

    def selected(self):
        """The selected sphere, or None."""
        row = self.ui.lesionTable.currentRow()
        return self.nodes[row] if 0 <= row < len(self.nodes) else None

    def add(self):
        """A new lesion like the selected one, with a seed of its own; the next click in a view places it."""
        card, maskSpec = self.panel.settings.model.card(), self.panel.settings.model.mask_spec()
        settings = bridge.like(self.selected(), self.nodes, None if card is None else card.spec, maskSpec)
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
        model = self.panel.settings.model
        self.channels.show(card, model.mask_spec(), settings, model.window())
        self.updating = False

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

    def onSettings(self, settings):
        sphere = self.selected()
        if sphere is not None:
            bridge.write_settings(sphere, settings)
            self.showSelected()  # also where nothing changed: the last box is ticked again

    def onTexture(self, name, texture):
        sphere = self.selected()
        if sphere is not None:
            bridge.write_settings(sphere, bridge.read_settings(sphere).with_texture(name, texture))

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
        names = " + ".join(settings.texture_names)
        cells = (place, f"{settings.diameter_mm:g}", " + ".join(settings.classes), names, str(settings.seed), "✕")
        for column, text in enumerate(cells):
            self.ui.lesionTable.item(row, column).setText(text)
