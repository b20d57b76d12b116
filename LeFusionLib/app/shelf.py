"""The scans that can be opened from the page: those under one folder, by their names in it, and nothing else."""

import os
from pathlib import Path

from ..errors import LeFusionError
from ..io.files import READABLE, split_name

DICOM = (".dcm", ".ima")
DEPTH, MOST = 5, 1000  # folders below each other; names offered


class Shelf:
    """`folder`: None offers nothing."""

    def __init__(self, folder: Path | None):
        self.root = None if folder is None else folder.resolve()

    def names(self) -> list[str]:
        """Files of a readable format, and folders with DICOM files, as paths below the folder."""
        found: list[str] = []
        if self.root is None:
            return found
        for place, folders, files in os.walk(self.root):
            here = Path(place).relative_to(self.root)
            folders[:] = sorted(f for f in folders if not f.startswith(".")) if len(here.parts) < DEPTH else []
            if here.parts and any(name.lower().endswith(DICOM) for name in files):
                found.append(here.as_posix())
            found += [(here / n).as_posix() for n in files if n.lower().endswith(READABLE) and not n.startswith(".")]
        inside = [name for name in found if self._inside(self.root / name)]
        return sorted(inside)[:MOST]

    def label_files(self, scan: str) -> list[str]:
        """What may hold labels: single files, those called most like the scan first, and not the scan itself."""
        files = [name for name in self.names() if name.lower().endswith(READABLE)]

        def alike(name: str) -> int:
            return len(os.path.commonprefix([Path(name).name, scan]))

        return sorted((name for name in files if split_name(name)[0] != scan), key=alike, reverse=True)

    def path(self, name: str, kind: str = "scan") -> Path:
        """Where a name of `names` lies. Whatever leads out of the folder (.., links, absolute paths) is refused in the
        same words as what is not there; `kind` is what was looked for."""
        if self.root is not None and name and "\0" not in name:
            path = self.root / name
            if self._inside(path) and path.exists() and not Path(name).is_absolute():
                return path
        raise LeFusionError(f"There is no such {kind} in the data folder. Choose one of the list.")

    def _inside(self, path: Path) -> bool:
        assert self.root is not None
        real = path.resolve()
        return real != self.root and self.root in real.parents
