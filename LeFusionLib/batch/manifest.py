"""What became of each case: `manifest.csv` in the folder of the results, a line as soon as a case has ended."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from ..errors import LeFusionError
from ..io import atomic_write

COLUMNS = (
    "case", "status", "message", "file", "lesions", "voxels", "changed_outside", "seconds", "settings", "outputs"
)  # fmt: skip
DONE, FAILED = "done", "failed"
BETWEEN = ";"  # of several files in one cell


class Manifest:
    """The newest row of each case. Lines are added at the end, so that thousands of cases do not write it thousands of
    times; with the first of them it is written anew, with the newest row of each case and no line that was cut off."""

    def __init__(self, folder: Path):
        self.path = folder / "manifest.csv"
        self.rows: dict[str, dict[str, str]] = {}
        self._begun = False
        if self.path.exists():
            whole, newline, _ = self.path.read_text(encoding="utf-8").rpartition("\n")
            reader = csv.DictReader(io.StringIO(whole + newline))
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise LeFusionError(f"{self.path} is no manifest of a batch. Choose another folder with -o.")
            self.rows = {row["case"]: row for row in reader}

    def add(self, row: Mapping[str, object]) -> None:
        """A case has ended."""
        text = {name: " ".join(str(row.get(name, "")).split()) for name in COLUMNS}
        self.rows[text["case"]] = text
        if not self._begun:
            self._write_anew()
            return
        with open(self.path, "a", newline="", encoding="utf-8") as stream:
            csv.DictWriter(stream, COLUMNS, lineterminator="\n").writerow(text)

    def _write_anew(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows.values())
        self._begun = True

    def has(self, case: str, settings: str) -> bool:
        """Is it done, with these settings, and are its files still there?"""
        row = self.rows.get(case)
        if row is None or row["status"] != DONE or row["settings"] != settings:
            return False
        return all((self.path.parent / name).is_file() for name in row["outputs"].split(BETWEEN))
