"""Three files that appear together, say that they are synthetic, and never replace an input."""

import json
import os

import numpy as np
import pytest

from LeFusionLib import read_labels, read_volume, write_volume
from LeFusionLib.errors import LeFusionError
from LeFusionLib.io import write_segmentation
from LeFusionLib.synthesis.result import together
from LeFusionLib.synthesis.synthesize import synthesize
from LeFusionLib.volume import Volume

A, B = ((5, 10, 10), (3, 4, 4)), ((12, 30, 28), (2, 3, 5))


@pytest.fixture(scope="module")
def result(scan, box, tiny_model):
    volume = scan()
    mask = box(volume, A, B, classes=("infarct", "no_reflow"))
    return synthesize(volume, mask, tiny_model(classes=("infarct", "no_reflow")), "random", seed=7)


def test_image_segmentation_and_report_come_back_as_they_are(result, tmp_path):
    paths = result.save(tmp_path / "new" / "case.01")
    assert [p.name for p in paths] == ["case.01.nii.gz", "case.01.seg.nrrd", "case.01.json"]
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == sorted(p.name for p in paths)
    image = read_volume(paths[0])
    assert image.array.dtype == np.int16 and np.array_equal(image.array, result.volume.array)
    assert np.allclose(image.ijk_to_ras, result.volume.ijk_to_ras)
    labels, ijk_to_ras, names = read_labels(paths[1])
    assert names == {"infarct": 1, "no_reflow": 2}
    assert np.array_equal(labels, result.lesion_mask.labels()) and np.allclose(ijk_to_ras, image.ijk_to_ras)
    assert json.loads(paths[2].read_text()) == json.loads(json.dumps(result.report))


@pytest.mark.parametrize("image_format", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_in_every_format_the_headers_say_synthetic(result, tmp_path, image_format):
    import gzip

    image, segmentation, _ = result.save(tmp_path / "case", image_format)
    assert image.name == f"case{image_format}"
    content = gzip.decompress(image.read_bytes()) if image_format == ".nii.gz" else image.read_bytes()
    for header in (content[:4000] + content[-4000:], segmentation.read_bytes()[:4000]):
        assert b"synthetic" in header and b"LeFusion" in header
    assert b"SCT^55641003^Infarct" in segmentation.read_bytes()[:4000]
    assert np.array_equal(read_volume(image).array, result.volume.array)


def test_an_input_of_another_format_sets_the_format(scan, box, tiny_model, tmp_path):
    volume = scan()
    write_volume(volume, tmp_path / "in.nrrd")
    result = synthesize(read_volume(tmp_path / "in.nrrd"), box(volume, A), tiny_model(), "solid")
    assert result.save(tmp_path / "out")[0].name == "out.nrrd"


@pytest.mark.parametrize("ending", [".nii.gz", ".seg.nrrd", ".json"])
def test_any_existing_file_is_refused_and_kept_and_nothing_is_written(result, tmp_path, ending):
    (tmp_path / f"case{ending}").write_text("mine")
    with pytest.raises(LeFusionError, match="exists already"):
        result.save(tmp_path / "case")
    assert [p.name for p in tmp_path.iterdir()] == [f"case{ending}"]
    assert (tmp_path / f"case{ending}").read_text() == "mine"
    result.save(tmp_path / "case", overwrite=True)
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("link", [None, os.symlink, os.link])
def test_an_input_is_never_overwritten_not_even_through_a_link(result, tmp_path, link):
    source = tmp_path / "case.nii.gz"
    if link:
        source = tmp_path / "input.nii.gz"
    write_volume(result.original, source)
    if link:
        link(source, tmp_path / "case.nii.gz")
    before = source.read_bytes()
    with pytest.raises(LeFusionError, match="inputs are never overwritten"):
        result.save(tmp_path / "case", overwrite=True, inputs=[source])
    assert source.read_bytes() == before and not (tmp_path / "case.json").exists()


def test_a_mask_that_came_in_is_an_input_too(result, tmp_path):
    mask = tmp_path / "case.seg.nrrd"
    segments = [{"name": n, "label": k, "color": (1, 0, 0)} for k, n in enumerate(("a", "b"), start=1)]
    write_segmentation(result.lesion_mask.labels(), result.volume.ijk_to_ras, mask, segments)
    with pytest.raises(LeFusionError, match="inputs are never overwritten"):
        result.save(tmp_path / "case", overwrite=True, inputs=[mask])


def test_a_file_where_the_folder_should_be_is_told(result, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(LeFusionError, match="out"):
        result.save(tmp_path / "out" / "case")


def test_an_unknown_format_is_refused(result, tmp_path):
    with pytest.raises(LeFusionError, match="Did you mean"):
        result.save(tmp_path / "case", ".nii.gzip")
    assert list(tmp_path.iterdir()) == []


def test_all_lesions_become_one_mask(scan, box):
    volume = scan()
    a, b = box(volume, A), box(volume, B)
    assert np.array_equal(together([a, b]).union, a.union | b.union)


def test_a_volume_made_from_an_array_is_saved_as_nifti(result, tmp_path):
    assert isinstance(result.original, Volume) and result.original.storage is None
    assert result.save(tmp_path / "case")[0].name == "case.nii.gz"


def test_the_file_a_volume_was_read_from_is_protected_without_being_named(scan, tiny_model, box, tmp_path):
    write_volume(scan(), tmp_path / "scan.nii.gz")
    before = (tmp_path / "scan.nii.gz").read_bytes()
    volume = read_volume(tmp_path / "scan.nii.gz")
    result = synthesize(volume, box(volume, A), tiny_model(), "solid", seed=1)
    with pytest.raises(LeFusionError, match="input"):
        result.save(tmp_path / "scan", overwrite=True)
    assert (tmp_path / "scan.nii.gz").read_bytes() == before
