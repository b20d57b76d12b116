"""In what the lesions stay: nothing, an organ the library finds itself, or a segment of a label file."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LeFusionError, unknown_name
from ..given import boundary_file, named_segments, organ_in
from ..io import segment_names
from ..scene import organ_segmentation_node
from ..scene.housekeeping import remove_node
from ..synthesis.boundary import FOUND, NO_ORGAN
from ..volume import Volume

FILE = "file:"  # before a name of the data folder, where a choice is no built-in organ
GIVEN = "given"  # the file that the app was started with
MOST_PARTS = 64  # labels in a file; an image has more
COLOR = (0.93, 0.93, 0.80)  # of its outline: none of the lesions' colours


class Inside:
    """`mask` (D, H, W) bool is the organ of a file on the scan's grid; None where no file says it. `app` gives `scan`,
    `shelf`, `model`, `parameters`, ... What is chosen also stands in the scene's parameters, and is saved with it."""

    def __init__(self, app: Any):
        self.app, self.state = app, app.state
        self.mask: np.ndarray | None = None
        self.key = ""  # the same for the same organ
        self._given = app.options.boundary  # until it is used for the first scan
        self._path: Path | None = None  # of the file that is chosen
        self._given_path: Path | None = None
        self._asked = 0  # counts the choices, so that an old one that is read late is let go
        self.state.inside = {"choice": "", "parts": [], "reading": False}
        self.state.inside_words, self.state.inside_files, self.state.inside_given = [], [], ""
        self.state.inside_title = ""
        self.state.inside_wanted = False  # does the model need one?
        app.on("inside", self.choose)
        app.on("inside_part", self.choose_part)

    def look(self) -> None:
        """What can be chosen for this scan and model."""
        kind, card = self.app.scan.modality, self.app.model.card()
        asked = self._organ()
        self.state.inside_wanted = bool(asked)
        words = [("", f"choose {asked} below" if asked else "anywhere in the sphere")]
        for name, (text, found_in) in FOUND.items():
            if found_in == kind and card is not None and card.spec.modality in (None, found_in):
                words.append((name, f"{text}, found in this {found_in}"))
        if asked:
            words.append((NO_ORGAN, "nothing: draw without anatomy"))
        self.state.inside_words = [{"value": value, "text": text} for value, text in words]
        volume = self.app.scan.volume
        self.state.inside_files = [] if volume is None else self.app.shelf.label_files(volume.name)
        if self.app.parameters.built_in_boundary not in dict(words):
            self._set_built_in("")

    def new_scan(self) -> None:
        """Another scan is open: the organ of the one before is not its; what the command named is for the first."""
        self._drop()
        self._given_path, self.state.inside_given = None, ""
        self.look()
        self._show(self.app.parameters.built_in_boundary)
        text, self._given = self._given, None
        file = boundary_file(text)
        if text is not None and file is None:
            self.choose(text)
        elif text is not None and file is not None:
            self._given_path, self.state.inside_given = Path(file), Path(file).name
            self._begin(GIVEN, self._given_path, text)

    def choose(self, choice: str) -> None:
        """A word of the list, or a file."""
        choice = str(choice)
        self._check_idle()
        if choice.startswith(FILE):
            name = choice[len(FILE) :]
            self._begin(choice, self.app.shelf.path(name, "label file"), None)
        elif choice == GIVEN and self._given_path is not None:
            self._begin(choice, self._given_path, None)
        else:
            possible = [row["value"] for row in self.state.inside_words]
            if choice not in possible:
                raise unknown_name("boundary", choice, possible)
            self._drop()
            self._set_built_in(choice)

    def choose_part(self, choice: str, name: str, on: bool) -> None:
        """One label or segment of the file more, or less."""
        if choice != self.state.inside["choice"]:
            return  # pressed on the page just before another file took this one's place
        self._check_idle()
        names = [part["name"] for part in self.state.inside["parts"]]
        if str(name) not in names or self._path is None:
            raise unknown_name("segment", str(name), names)
        chosen = [p["name"] for p in self.state.inside["parts"] if (bool(on) if p["name"] == name else p["on"])]
        self._start(choice, self._path, chosen)

    def tell(self) -> None:
        """The whole words of what is chosen, where the page has no room for them."""
        choice, words = self.state.inside["choice"], {row["value"]: row["text"] for row in self.state.inside_words}
        name = self._path.name if self._path is not None else words.get(choice, "")
        self.state.inside_title = f"All lesions stay inside: {name}"

    def missing(self) -> str:
        """Why nothing can be made yet; "" where nothing stands in the way."""
        if self.state.inside["reading"]:
            return "The boundary is being read..."
        if self._path is not None and self.mask is None:
            return f"Choose which label of {self._path.name} the lesions stay inside."
        return ""

    def show(self, on: bool) -> None:
        """Its outline in the views, or not."""
        if self.app.parameters.boundary is not None:
            self.app.parameters.boundary[0].GetDisplayNode().SetVisibility(bool(on))

    def _begin(self, choice: str, path: Path, text: str | None) -> None:
        """Another file; `text` names its segments as on the command line."""
        self._drop()
        self._set_built_in("")
        self._start(choice, path, None, text)

    def _start(self, choice: str, path: Path, chosen: list[str] | None, text: str | None = None) -> None:
        self._asked += 1
        self._path = path
        self.state.inside = {**self.state.inside, "choice": choice, "reading": True}
        self.app.lesions.changed()
        self.app.task(self._read(self._asked, path, chosen, text))

    async def _read(self, asked: int, path: Path, chosen: list[str] | None, text: str | None) -> None:
        try:
            found = await asyncio.to_thread(_organ_of, path, chosen, text, self.app.scan.volume)
        except (LeFusionError, MemoryError) as error:
            if asked == self._asked:
                self._refuse(error, keep=chosen is not None)
            return
        if asked == self._asked:
            with self.state:
                self._take(*found)

    def _take(self, names: list[str], chosen: list[str], mask: np.ndarray | None, key: str) -> None:
        """What was read is the boundary now."""
        self._forget_mask()
        parts = [{"name": name, "on": name in chosen} for name in names]
        self.state.inside = {**self.state.inside, "parts": parts, "reading": False}
        if mask is not None and self._path is not None:
            self.mask, self.key = mask, key
            name = f"{self._path.name} {' '.join(chosen)}"
            node, segment_id = organ_segmentation_node(self.app.host, self.app.scan.node, mask, name)
            display = node.GetDisplayNode()
            display.SetVisibility2DFill(False)
            display.SetVisibility(self.state.tab != "result")
            node.GetSegmentation().GetSegment(segment_id).SetColor(*COLOR)
            node.CreateClosedSurfaceRepresentation()
            display.SetOpacity3D(0.25)
            self.app.parameters.boundary = node, segment_id
        self.app.lesions.show()

    def _refuse(self, error: Exception, keep: bool) -> None:
        """Told, and the boundary of before stays where the file itself could be read (`keep`)."""
        words = "There is too little free memory to read this file." if isinstance(error, MemoryError) else str(error)
        with self.state:
            if keep:
                self.state.inside = {**self.state.inside, "reading": False}
            else:
                self._drop()
                self._show("")
            self.app.tell(words, "error")
            self.app.lesions.show()

    def _set_built_in(self, name: str) -> None:
        self.app.parameters.built_in_boundary = name
        self._show(name)
        self.app.lesions.changed()

    def _show(self, choice: str) -> None:
        self.state.inside = {"choice": choice, "parts": [], "reading": False}

    def _drop(self) -> None:
        """No file any more."""
        self._asked += 1
        self._path = None
        self._forget_mask()

    def _forget_mask(self) -> None:
        self.mask, self.key = None, ""
        boundary = self.app.parameters.boundary
        self.app.parameters.boundary = None
        if boundary is not None:
            remove_node(boundary[0])

    def _organ(self) -> str:
        """What the model of the shapes must be shown; "" where it draws anywhere."""
        spec = self.app.model.mask_spec()
        return spec.mask.organ if spec is not None and spec.mask is not None and spec.mask.boundary_channel else ""

    def _check_idle(self) -> None:
        if self.app.work.busy():
            raise LeFusionError("A lesion is being made. Wait for it, or cancel it.")
        if self.app.scan.volume is None:
            raise LeFusionError("Open a scan first.")


def _organ_of(
    path: Path, chosen: list[str] | None, text: str | None, volume: Volume
) -> tuple[list[str], list[str], np.ndarray | None, str]:
    """Names of the file's segments, those that are chosen, their voxels (D, H, W) bool on the volume's grid, and a word
    that is the same for the same voxels. Of a file with one segment that is chosen, of others none unless named."""
    names = segment_names(path)
    if len(names) > MOST_PARTS:
        raise LeFusionError(f"{path.name} has {len(names)} different labels; that is an image. Choose a label file.")
    if text is not None:
        chosen = named_segments(text, boundary_file(text) or text) or names
    elif chosen is None:
        chosen = names if len(names) < 2 else []
    if names and not chosen:
        return names, [], None, ""
    organ = organ_in(path, chosen, volume).union
    return names, chosen, organ, hashlib.sha256(np.packbits(organ).tobytes()).hexdigest()
