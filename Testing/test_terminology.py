"""Lesion classes in SNOMED CT, as Slicer keeps them: seven parts joined by "~"."""

import pytest

from LeFusionLib.terminology import terminology_entry


@pytest.mark.parametrize(
    "class_name, kind, region",
    [
        ("nodule", "SCT^27925004^Nodule", "SCT^39607008^Lung"),
        ("infarct", "SCT^55641003^Infarct", "SCT^80891009^Heart"),
        ("no_reflow", "SCT^52988006^Lesion", "SCT^80891009^Heart"),
        ("something else", "SCT^52988006^Lesion", "^^"),
    ],
)
def test_every_class_has_an_entry_of_seven_parts(class_name, kind, region):
    parts = terminology_entry(class_name).split("~")
    assert parts == [
        "Segmentation category and type - LeFusion",
        "SCT^49755003^Morphologically Altered Structure",
        kind,
        "^^",
        "Anatomic codes - DICOM master list",
        region,
        "^^",
    ]
