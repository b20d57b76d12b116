"""Live: the selected lesion sketched in the slice views while it is placed, sized and given its texture.

A change ends the sketch that is under way and begins the next; Apply goes first.
"""

import json
import time

import qt
import slicer
from slicer.i18n import tr as _

from LeFusionLib import Cancelled, LeFusionError
from LeFusionLib import scene as bridge
from LeFusionLib.scene.housekeeping import nodes_of, remove_node
from LeFusionLib.synthesis.sketch import sketch_of
from LeFusionLib.worker_client import Job

QUIET_MS = 150  # a hand that moves on within this time gets no sketch of where it was


class Live:
    """`node` is the sketch in the scene, or None. `panel` gives `ui`, `host`, `parameters`, `lesions`, `work`, ..."""

    def __init__(self, panel):
        self.panel, self.ui = panel, panel.ui
        self.node = self.handle = None
        self.wanted = ""  # all that decides the sketch that should be there; empty for none
        self.layers = []  # what lay over the scan before the sketch: (view, volume ID, opacity)
        self.made = set()  # what Apply has made already
        self.timer = qt.QTimer(self.ui.liveCheckBox)
        self.timer.setSingleShot(True)
        self.timer.setInterval(QUIET_MS)
        self.timer.connect("timeout()", self.begin)
        self.ui.liveCheckBox.connect("toggled(bool)", lambda on: self.look())

    def look(self):
        """Something may have changed."""
        wanted = self.what()
        if wanted == self.wanted and (wanted or self.node is None):
            return
        self.rest()
        self.wanted = wanted
        self.hide()
        if wanted:
            self.timer.start()

    def rest(self):
        """Something more important wants to compute, or the scene closes."""
        self.wanted = ""
        self.timer.stop()
        if self.handle is not None:
            self.panel.work.runner.client.cancel(self.handle)

    def hide(self):
        """Take the sketch away."""
        self.ui.liveLabel.text = ""
        if self.node is not None:
            for view, volumeId, opacity in self.layers:
                view.SetForegroundVolumeID(volumeId)
                view.SetForegroundOpacity(opacity)
            node, self.node, self.layers = self.node, None, []
            remove_node(node)

    def show(self, node):
        """Lay the sketch over the scan in all slice views."""
        self.node = node
        for view in nodes_of(slicer.mrmlScene, "vtkMRMLSliceCompositeNode"):
            self.layers.append((view, view.GetForegroundVolumeID(), view.GetForegroundOpacity()))
            view.SetForegroundVolumeID(node.GetID())
            view.SetForegroundOpacity(1.0)

    def leave(self):
        """Neither a sketch nor work for one is left."""
        self.rest()
        self.hide()

    def forget(self):
        """Of what was made something was removed."""
        self.made.clear()

    def what(self):
        """All that decides the sketch of the selected lesion; empty where there is nothing to sketch."""
        sphere = self.panel.lesions.selected()
        busy = self.panel.work.handle is not None
        if not self.ui.liveCheckBox.checked or sphere is None or busy or self.ui.differenceCheckBox.checked:
            return ""
        key = self.keyOf(sphere)
        return "" if key in self.made or self.panel.work.reason() else key

    def keyOf(self, sphere):
        """All that decides what becomes of this lesion; empty where it is not placed."""
        parameters = self.panel.parameters
        try:
            request = bridge.request_of(parameters, [sphere]).to_dict()
        except LeFusionError:
            return ""
        boundary = parameters.boundary
        organ = None if boundary is None else (boundary[0].GetID(), boundary[1], boundary[0].GetMTime())
        volume = parameters.volume
        return json.dumps([volume.GetID(), volume.GetImageData().GetMTime(), organ, request])

    def keys(self):
        """Of all lesions."""
        return {self.keyOf(sphere) for sphere in self.panel.parameters.spheres}

    def begin(self):
        """Hand the sketch to the worker."""
        if self.handle is not None:  # the one before is still being stopped
            self.timer.start()
            return
        parameters, started, wanted = self.panel.parameters, time.monotonic(), self.wanted
        try:
            request = bridge.request_of(parameters, [self.panel.lesions.selected()])
            boundary = None if parameters.built_in_boundary else parameters.boundary
            job = bridge.prepare(parameters.volume, request, boundary)
            sketch = sketch_of(job.volume, job.request, job.boundary, self.panel.settings.model.card().spec)
            work = Job("synthesize", sketch.volume, sketch.request, sketch.boundary)
        except LeFusionError as error:
            self.ui.liveLabel.text = str(error)
            return
        self.ui.liveLabel.text = _("sketching...")

        def onEnd(handle):
            self.handle = None
            if self.wanted != wanted or isinstance(handle.error, Cancelled):
                return
            if handle.error is not None:
                self.ui.liveLabel.text = str(handle.error)
                return
            source = slicer.mrmlScene.GetNodeByID(job.volume_id)
            self.show(bridge.sketch_node(self.panel.host, source, handle.result.volume.array, sketch.box))
            self.ui.liveLabel.text = _("sketched in {n} s").format(n=round(time.monotonic() - started, 1))

        self.handle = self.panel.work.runner.submit(work, None, onEnd)
