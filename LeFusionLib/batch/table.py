"""The table of a batch: CSV with a header, one row a lesion; rows of the same case go into one result."""

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import LeFusionError, check_keys
from ..given import given_texture
from ..io import split_name
from ..synthesis.request import LesionRequest
from .cases import BatchCase, check_files

SPHERE = ("r", "a", "s", "diameter_mm")
OF_CASE = ("boundary", "mask")  # the same in all rows of a case
COLUMNS = ("file", "case", *SPHERE, "mask", "boundary", "classes", "texture", "seed", "shape")


def read_cases(table: Path, texture: Any = "random", boundary: str | None = None, seed: int = 0) -> list[BatchCase]:
    """The cases of a table, in its order; all its mistakes that can be seen without opening a volume are found here.

    Columns: file (the volume, by path from the table's folder), then r, a, s, diameter_mm (RAS mm, mm), or mask (a
    file); and, where wished, case (the results' name; else the volume's), boundary, classes (`infarct+no_reflow`),
    texture, seed, shape. `texture`, `boundary`, `seed` count where a row leaves its own empty.
    """
    rows: dict[str, list[tuple[int, Mapping[str, str]]]] = {}
    for line, row in _rows(table):
        rows.setdefault(row.get("case") or _name_of(table.parent / row["file"]), []).append((line, row))
    if not rows:
        raise LeFusionError(f"The table {table.name} has no row. Give one for each lesion: {','.join(COLUMNS)}.")
    cases = [_case(name, mine, table, texture, boundary, seed) for name, mine in rows.items()]
    for case in cases:
        check_files(case)
    return cases


def _rows(table: Path) -> list[tuple[int, dict[str, str]]]:
    """(line, row) without rows that are empty."""
    try:
        with open(table, newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, skipinitialspace=True)
            check_keys(f"column in {table.name}", reader.fieldnames or (), COLUMNS)
            found = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LeFusionError(f"The table {table} cannot be read: {error}. Give a CSV file in UTF-8.") from error
    rows = []
    for line, row in found:
        if None in row or None in row.values():
            raise LeFusionError(
                f"{table.name}, line {line}: it has not as many cells as the header. Correct the table."
            )
        stripped = {name: cell.strip() for name, cell in row.items()}
        if any(stripped.values()):
            if not stripped.get("file"):
                raise LeFusionError(f"{table.name}, line {line}: no volume is named. Fill the column 'file'.")
            rows.append((line, stripped))
    return rows


def _name_of(volume: Path) -> str:
    """Of a file without its extension; of a folder with a DICOM series."""
    return volume.name if volume.is_dir() else split_name(volume)[0]


def _case(
    name: str, rows: list[tuple[int, Mapping[str, str]]], table: Path, texture: Any, boundary: str | None, seed: int
) -> BatchCase:
    (line, first), folder = rows[0], table.absolute().parent
    if Path(name).name != name or name in (".", ".."):
        raise LeFusionError(f"{table.name}, line {line}: a case is named without folders; got '{name}'.")
    for other, row in rows[1:]:
        for column in ("file", *OF_CASE):
            if row.get(column) != first.get(column):
                raise LeFusionError(
                    f"{table.name}, line {other}: '{row.get(column)}' as {column}, but line {line} of the same case "
                    f"'{name}' has '{first.get(column)}'. Name the cases differently in the column 'case'."
                )
    where = _in_folder(folder, first.get("boundary") or "") or boundary
    shared: dict[str, Any] = {"name": name, "volume": str(folder / first["file"]), "boundary": where}
    if first.get("mask"):
        if len(rows) > 1:
            raise LeFusionError(f"{table.name}, line {rows[1][0]}: a case with a mask has one row; '{name}' has more.")
        if any(first.get(column) for column in (*SPHERE, "shape")):
            raise LeFusionError(
                f"{table.name}, line {line}: give a mask, or a sphere (r, a, s, diameter_mm), not both."
            )
        shared |= {"mask": str(folder / first["mask"]), "classes": _classes(first) or ()}
        return BatchCase(
            **shared, texture=_texture(first, texture), seed=_number(int, first, "seed", table, line, seed)
        )
    return BatchCase(**shared, lesions=tuple(_lesion(row, table, n, texture, seed) for n, row in rows))


def _lesion(row: Mapping[str, str], table: Path, line: int, texture: Any, seed: int) -> LesionRequest:
    r, a, s, diameter_mm = (_number(float, row, column, table, line) for column in SPHERE)
    try:
        return LesionRequest(
            (r, a, s),
            diameter_mm,
            _texture(row, texture),
            _classes(row),
            _number(int, row, "seed", table, line, seed),
            _number(int, row, "shape", table, line, 0),
        )
    except LeFusionError as error:
        raise LeFusionError(f"{table.name}, line {line}: {error}") from error


def _number(
    kind: Callable[[str], Any], row: Mapping[str, str], column: str, table: Path, line: int, default: Any = None
) -> Any:
    text = row.get(column) or ""
    if not text and default is not None:
        return default
    try:
        return kind(text)
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise LeFusionError(f"{table.name}, line {line}: {column} is {what}; got '{text}'.") from None


def _texture(row: Mapping[str, str], default: Any) -> Any:
    words = (row.get("texture") or "").split()
    return given_texture(words) if words else default


def _classes(row: Mapping[str, str]) -> tuple[str, ...] | None:
    return tuple(filter(None, (row.get("classes") or "").split("+"))) or None


def _in_folder(folder: Path, boundary: str) -> str | None:
    """A boundary's file by path from the table's folder; a built-in one by its name."""
    if not boundary:
        return None
    file = boundary if (folder / boundary).exists() else boundary.rpartition(":")[0]
    return str(folder / boundary) if file and (folder / file).exists() else boundary
