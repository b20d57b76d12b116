"""The result as files: into the output folder the app was started with, or as downloads; never over anything."""

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Any

from ..errors import LeFusionError
from ..io import output_suffix, written_together
from ..io.files import NO_ROOM
from ..synthesis.result import SynthesisResult, output_paths

MRB = ".mrb"


class Saving:
    """`app` gives `results`, `options`, `doors`. Downloads lie in a folder of their own until the next result."""

    def __init__(self, app: Any):
        self.app, self.state = app, app.state
        self._folder: Path | None = None
        self.state.saved, self.state.downloads, self.state.saving = "", [], False
        self.state.has_output = app.options.output is not None
        app.on("save", lambda kind: self._begin(str(kind), self.app.options.output))
        app.on("download", lambda kind: self._begin(str(kind), None))

    def withdraw(self) -> None:
        """The downloads are of a result that is gone."""
        self.app.doors.withdraw()
        self.state.saved, self.state.downloads = "", []
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _begin(self, kind: str, folder: Path | None) -> None:
        result = self.app.results.result
        if result is None:
            raise LeFusionError("There is nothing to save yet. Make a lesion first.")
        if kind not in ("files", "scene"):
            raise LeFusionError("Files or a scene can be saved.")
        if not self.state.saving:
            self.state.saving = True
            self.app.task(self._save(result, kind, folder))

    async def _save(self, result: SynthesisResult, kind: str, folder: Path | None) -> None:
        try:
            target = folder or self._downloads()
            stem = _free_stem(target, result, kind)
            if kind == "files":
                paths = await asyncio.to_thread(result.save, stem, None, False, [])
            else:
                paths = [self._save_scene(stem.with_name(stem.name + MRB))]
            with self.state:
                if folder is None:
                    links = [{"name": path.name, "url": self.app.doors.offer(path)} for path in paths]
                    self.state.downloads = [*self.state.downloads, *links]
                else:
                    self.state.saved = "Saved: " + ", ".join(path.name for path in paths)
        except LeFusionError as error:
            self.app.tell(str(error).replace(str(self.app.options.output), "the output folder"), "error")
        except OSError as error:
            full = error.errno in NO_ROOM
            words = "The disk is full. Free some space" if full else f"The files cannot be written ({error.strerror})"
            self.app.tell(f"{words} and save again; nothing was written.", "error")
        finally:
            with self.state:
                self.state.saving = False

    def _save_scene(self, path: Path) -> Path:
        """On the loop's thread, since the scene is touched."""
        with written_together([path]) as (whole,):
            if not self.app.host.scene.WriteToMRB(str(whole)) or not whole.is_file():
                raise LeFusionError("The scene could not be written. Free some space, or choose another folder.")
        return path

    def _downloads(self) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="lefusion-app-"))
        return self._folder


def _free_stem(folder: Path, result: SynthesisResult, kind: str) -> Path:
    """The scan's name, with a number where files of this name are there already."""
    name = result.original.name
    for number in range(1, 10000):
        stem = folder / (name if number == 1 else f"{name}-{number}")
        suffix = output_suffix(result.original)
        paths = output_paths(stem, suffix) if kind == "files" else [stem.with_name(stem.name + MRB)]
        if not any(path.exists() or path.is_symlink() for path in paths):
            return stem
    raise LeFusionError(f"There are too many results of '{name}' in the output folder. Choose another folder.")
