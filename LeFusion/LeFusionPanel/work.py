"""Apply and Cancel: why the work cannot begin, how far it is, how it ended, and the button that helps."""

import tempfile

import qt
import slicer
from slicer.i18n import tr as _

from LeFusionLib import LeFusionError
from LeFusionLib import scene as bridge

from .runner import Runner, TimeLeft
from .setup import missingPackages


class Work:
    """The one job of the panel. `panel` gives `ui`, `host`, `parameters`, `logic`, `settings`, `results`."""

    def __init__(self, panel):
        self.panel, self.ui = panel, panel.ui
        self.runner = Runner(panel.logic.client(), panel.ui.applyButton)
        self.asked = set()
        self.job = self.handle = self.stopReason = self.helpAction = None
        self.details = ""
        self.ui.helpButton.hide()
        self.ui.progressBar.hide()
        self.ui.applyButton.connect("clicked()", self.apply)
        self.ui.cancelButton.connect("clicked()", self.cancel)
        self.ui.helpButton.connect("clicked()", self.help)

    def close(self):
        """End the worker; a running job counts as stopped."""
        self.runner.close()
        if self.handle is not None:
            self.endJob(_("Stopped; nothing was made."))

    def reason(self):
        """Why Apply cannot be pressed; empty where it can."""
        missing = missingPackages()
        if missing:
            return _("Missing: {names}. The set-up list at the top installs it.").format(names=", ".join(missing))
        card = self.panel.settings.model.card()
        if card is None:
            return self.panel.settings.model.error
        try:
            parameters, maskSpec = self.panel.parameters, self.panel.settings.model.mask_spec()
            bridge.check_lesions(parameters.volume, parameters.spheres, card.spec, maskSpec, parameters.bounded)
        except LeFusionError as error:
            return str(error)
        return ""

    def update(self):
        running = self.handle is not None
        reason = "" if running else self.reason()
        self.ui.applyButton.enabled = not running and not reason
        self.ui.applyButton.toolTip = reason or _("Paint the lesions into a copy of the volume")
        self.ui.cancelButton.enabled = running
        self.ui.reasonLabel.text = reason
        self.ui.reasonLabel.setVisible(bool(reason))
        self.panel.live.look()

    def applyByKey(self):
        if self.ui.applyButton.enabled:
            self.apply()

    def apply(self):
        """Hand the work to the worker; the panel stays usable."""
        self.tell("")
        self.panel.live.rest()
        try:
            self.asked = self.panel.live.keys()
            self.job = self.panel.logic.prepare()
            self.timeLeft, self.stopReason = TimeLeft(), None
            self.handle = self.runner.submit(self.panel.logic.workerJob(self.job), self.onProgress, self.onEnd)
        except LeFusionError as error:
            self.endJob(str(error))
            return
        self.ui.progressBar.value = 0
        self.ui.progressBar.show()
        self.tell(_("Starting the computing process and loading the model..."))
        self.update()

    def cancel(self):
        self.stop(_("Cancelled; nothing was made."))
        self.tell(_("Stopping..."))

    def stop(self, reason):
        """Ask for the end of the running job; `reason` is said when it has come."""
        if self.handle is not None and self.stopReason is None:
            self.stopReason = reason
            self.runner.client.cancel(self.handle)

    def onProgress(self, step, total, message):
        self.ui.progressBar.value = int(100 * step / max(total, 1))
        if self.stopReason is None:
            self.tell(self.timeLeft.text(step, total, message))

    def onEnd(self, handle):
        """The work is done, or has failed: the one place where results come into the scene."""
        job = self.job
        if self.stopReason is not None:
            self.endJob(self.stopReason)
        elif handle.error is not None:
            self.endJob(str(handle.error), handle)
        else:
            try:
                result = job.finish(self.panel.host, handle.result)
            except LeFusionError as error:
                self.endJob(str(error))
                return
            self.panel.live.made |= self.asked
            self.panel.parameters.results = [*self.panel.parameters.results, result.volume_node]
            self.endJob(_("Done: {name}").format(name=result.volume_node.GetName()))
            self.panel.results.update(show=result.volume_node)

    def endJob(self, message, failed=None):
        self.job = self.handle = None
        self.ui.progressBar.hide()
        self.tell(message, failed)
        self.update()

    def tell(self, message, failed=None):
        """A message under Apply, with the button that helps after a failure of this kind."""
        self.ui.statusLabel.text = message
        self.ui.statusLabel.setVisible(bool(message))
        actions = {
            "missing_package": (_("Open the set-up list"), self.openSetUp),
            "missing_weights": (_("Choose a model folder..."), self.panel.settings.chooseModelFolder),
            "out_of_memory": (_("Use the processor instead"), self.useProcessor),
            "disk_full": (_("Open the folder of temporary files"), self.openTemporaryFolder),
            "crash": (_("Show details"), self.showDetails),
        }
        text, self.helpAction = actions.get(getattr(failed, "kind", None), ("", None))
        if failed is not None and failed.kind == "out_of_memory" and self.panel.parameters.device == "cpu":
            text, self.helpAction = "", None  # there is nothing smaller than the processor
        self.details = getattr(getattr(failed, "error", None), "detail", "")
        self.ui.helpButton.text = text
        self.ui.helpButton.setVisible(bool(text))

    def help(self):
        if self.helpAction is not None:
            self.helpAction()

    def openSetUp(self):
        self.ui.setUpSection.collapsed = False
        self.panel.setUpList.update()

    def useProcessor(self):
        self.panel.parameters.device = "cpu"
        self.tell(_("The next Apply runs on the processor; that is slower."))

    def openTemporaryFolder(self):
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(tempfile.gettempdir()))

    def showDetails(self):
        slicer.util.errorDisplay(self.ui.statusLabel.text, detailedText=self.details)
