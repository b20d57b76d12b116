"""What a lesion class is called in SNOMED CT, in the form in which 3D Slicer and DICOM SEG keep it.

The codes stand in `data/LeFusion.term.json`, which Slicer can load as it is. Where they come from: Morphologically
Altered Structure, Nodule, Lesion, Lung, Heart: DICOM PS3.16 CID 7150, 7159 and the lists that Slicer ships. Infarct
55641003: SNOMED CT's own concept model, associated morphology of myocardial infarction 22298006. For no-reflow
(microvascular obstruction) no code was found in public lists: it is called a lesion of the heart, and named in words.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parent / "data" / "LeFusion.term.json"
REGIONS = "Anatomic codes - DICOM master list"
OTHER = "no_reflow"  # a class without a code of its own is a lesion, here of no known region


def terminology_entry(class_name: str) -> str:
    """Slicer's terminology entry of seven parts joined by "~"; a class not in the list is a lesion of no region."""
    context = _context()
    category = context["SegmentationCodes"]["Category"][0]
    types = {row["3dSlicerLabel"]: row for row in category["Type"]}
    row = types.get(class_name, types[OTHER])
    region = _code(row["anatomicRegion"]) if class_name in types else "^^"
    name = context["SegmentationCategoryTypeContextName"]
    return "~".join([name, _code(category), _code(row), "^^", REGIONS, region, "^^"])


def class_label(class_name: str) -> str:
    """The class as people read it: "no-reflow"."""
    return class_name.replace("_", "-")


def class_meanings() -> dict[str, str]:
    """{class: what it is, where, and its code}, of all classes in the list, in words for people."""
    types = _context()["SegmentationCodes"]["Category"][0]["Type"]
    return {
        row["3dSlicerLabel"]: f"{row['CodeMeaning']}, {row['anatomicRegion']['CodeMeaning']} "
        f"({row['CodingSchemeDesignator']} {row['CodeValue']})"
        for row in types
    }


@cache  # panels ask at every move of a sphere
def _context() -> dict[str, Any]:
    context: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return context


def _code(row: dict[str, str]) -> str:
    return f"{row['CodingSchemeDesignator']}^{row['CodeValue']}^{row['CodeMeaning']}"
