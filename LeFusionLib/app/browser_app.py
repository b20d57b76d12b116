"""One scene, its parts, and one window on it: what holds the pieces of the app together."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from trame.app import get_server
from trame_client.ui.html import DivLayout
from trame_slicer.core import SlicerApp

from .. import __version__
from ..errors import LeFusionError
from ..models.card import default_model
from ..scene import ChosenModel, Host, Parameters
from .computing import Computing
from .doors import Doors
from .hand import Hand
from .inside import Inside
from .lesions import Lesions
from .live import Live
from .options import AppOptions
from .results import Results
from .saving import Saving
from .scan import Scan
from .shelf import Shelf
from .textures import Textures
from .views import SLICES, Views
from .work import Work

HERE = Path(__file__).resolve().parent
GRACE_S = 8.0  # a page that is loaded again is back by then; else its job ends
SOON_S = 0.03
HINTS = 4
USUAL_MM = (3.0, 40.0)  # diameters to choose from where the model of the shapes names none

logger = logging.getLogger(__name__)


class BrowserApp:
    """Its parts find each other here; `on` gives the page's controls their meaning."""

    def __init__(self, options: AppOptions):
        self.options = options
        self.server: Any = get_server("lefusion", client_type="vue3")
        self.state = self.server.state
        self.slicer = SlicerApp()
        self.host = Host.of_trame(self.slicer)
        self.parameters = Parameters(self.host)
        self.parameters.model = options.model or default_model()
        self.parameters.mask_model = options.mask_model or ""
        self.parameters.device = options.device
        self.parameters.any_modality = options.any_modality
        self.model = ChosenModel(self.parameters)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._pending: set[Callable[[], None]] = set()
        self._touched = time.monotonic()
        self.state.trame__title = "LeFusion"
        self.state.version, self.state.message, self.state.hint, self.state.tab = __version__, {}, 1, "lesions"
        self.state.card = self._card()
        self.doors = Doors(options.token, options.local, self._touch, self._all_windows_gone)
        self.shelf = Shelf(options.data)
        self.views, self.scan, self.inside = Views(self), Scan(self), Inside(self)
        self.computing = Computing()
        self.results, self.work, self.saving = Results(self), Work(self), Saving(self)
        self.live = Live(self)
        self.textures = Textures(self)
        self.lesions = Lesions(self)
        self.hands = [Hand(name, self.views.views[name], self.lesions, self.views.enter) for name in SLICES]
        self.on("touch", self._touch)
        self.on("hint", self.hint)
        self.on("dismiss", lambda: self.tell(""))
        self.on("tab", self.show_tab)
        self._build_page()
        self.server.controller.on_server_bind.add(self.doors.bind)
        self.server.controller.on_server_ready.add(self._ready)

    def on(self, name: str, action: Callable[..., Any]) -> None:
        """The page says `trigger(name, [...])`; a mistake becomes a message on the page, whatever was sent."""

        def called(*args: Any) -> None:
            self._touched = time.monotonic()
            try:
                action(*args)
            except LeFusionError as error:
                self.tell(str(error), "error")
            except (TypeError, ValueError) as error:  # not what our own page sends
                logger.warning("%s%r: %s", name, args, error)
                self.tell("The page and the server do not understand each other. Load the page again.", "error")

        self.server.controller.trigger(name)(called)

    def tell(self, text: str, kind: str = "info", help_action: str = "", help_text: str = "") -> None:
        """A message on the page until the next; with a button that does `help_action`, where one helps."""
        with self.state:
            self.state.message = {"text": text, "kind": kind, "action": help_action, "action_text": help_text}

    def soon(self, action: Callable[[], None]) -> None:
        """Once, a moment later, with the page told of it; many calls while a sphere is dragged are one, and its picture
        goes first."""
        if not self._pending:
            try:
                asyncio.get_running_loop().call_later(SOON_S, self._do_pending)
            except RuntimeError:  # the app is being built; the page will ask for everything
                return
        self._pending.add(action)

    def task(self, work: Awaitable[Any]) -> asyncio.Task[Any]:
        """Something that takes longer; what it raises is told on the page and logged."""

        async def guarded() -> None:
            try:
                await work
            except asyncio.CancelledError:
                raise
            except LeFusionError as error:
                self.tell(str(error), "error")
            except Exception as error:
                logger.exception("a task of the app")
                self.tell(f"Something went wrong that should not: {type(error).__name__}. Please report it.", "error")

        task = asyncio.ensure_future(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def close(self) -> None:
        """The server ends: the worker and the downloads with it."""
        self.work.close()
        self.computing.close()
        self.saving.withdraw()
        self.lesions.balls.stop()

    def _do_pending(self) -> None:
        actions, self._pending = self._pending, set()
        with self.state:
            for action in actions:
                action()

    def _ready(self, **_: Any) -> None:
        self.task(self._watch())
        with self.state:
            self.scan.look()
            if self.options.volume is not None:
                self.scan.open_given(self.options.volume)
            elif not self.state.files:
                self.scan.open_demo()

    async def _watch(self) -> None:
        """Ends a session that nobody has touched for long."""
        limit_s = 60 * self.options.idle_minutes
        while limit_s > 0:
            await asyncio.sleep(min(limit_s, 20.0) / 4)
            if self.doors.windows() and time.monotonic() - self._touched > limit_s:
                self.work.stop("The session ended since nobody used it.")
                self.work.close()
                self.computing.close()
                self.doors.closed = True
                self.doors.turn_out()

    def _all_windows_gone(self) -> None:
        if self.work.busy():
            self.task(self._end_job_unless_back())

    async def _end_job_unless_back(self) -> None:
        await asyncio.sleep(GRACE_S)
        if not self.doors.windows():
            self.work.stop("The page was closed while a lesion was made; nothing was changed.")

    def _touch(self) -> None:
        self._touched = time.monotonic()

    def hint(self, number: int) -> None:
        """The next of the first-use hints; 0 is none."""
        self.state.hint = number if 0 < int(number) <= HINTS else 0

    def show_tab(self, name: str) -> None:
        """Setting lesions up, with their spheres in the views; or their result, with nothing over it."""
        self.state.tab = "result" if name == "result" and self.state.result else "lesions"
        self.lesions.show_spheres(self.state.tab == "lesions")
        self.inside.show(self.state.tab == "lesions")
        self.live.look()

    def _card(self) -> dict[str, Any]:
        """What the page says of the model: its name, and the spheres it takes."""
        mask = self.model.mask_spec()
        drawn = mask.mask.diameter_range_mm if mask is not None and mask.mask is not None else None
        smallest, largest = drawn or USUAL_MM
        return {"name": Path(self.parameters.model).name, "smallest": smallest, "largest": largest}

    def _build_page(self) -> None:
        self.server.enable_module(
            {
                "serve": {"lefusion": str(HERE / "page")},
                "styles": ["lefusion/page.css"],
                "scripts": ["lefusion/page.js"],
            }
        )
        with DivLayout(self.server, classes="lefusion") as layout:
            layout.root.add_child((HERE / "page" / "page.html").read_text(encoding="utf-8"))
