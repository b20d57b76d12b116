"""Every bad file gives one clear error: what was given, what is possible, what to do."""

import gzip

import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk

from LeFusionLib.errors import LeFusionError
from LeFusionLib.io import read_labels, read_volume, write_volume
from LeFusionLib.volume import Volume

ARRAY = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
SPACE = {"space": "RAS", "space directions": np.eye(3), "space origin": np.zeros(3)}


def says(path, *words):
    with pytest.raises(LeFusionError) as error:
        read_volume(path)
    text = str(error.value)
    assert all(word in text for word in words), text
    assert "\n" not in text and text.endswith(".")


def good(path):
    write_volume(Volume(ARRAY, np.diag([2, 2, 3, 1])), path)
    return path


def metaimage(path, **fields):
    header = dict(ObjectType="Image", NDims=3, BinaryData=True, ElementSpacing="1 1 2", DimSize="5 4 3") | fields
    lines = [f"{key} = {value}" for key, value in header.items() if value is not None]
    path.write_bytes(
        "\n".join([*lines, "ElementType = MET_SHORT", "ElementDataFile = LOCAL", ""]).encode() + ARRAY.tobytes()
    )
    return path


def nifti(path, array, matrix, **fields):
    image = nibabel.Nifti1Image(array, matrix)
    for key, value in fields.items():
        image.header[key] = value
    image.to_filename(path)
    return path


def test_a_missing_file(tmp_path):
    for name in ("ct.nii.gz", "ct.nrrd", "ct.mha"):
        says(tmp_path / name, "There is no file", name, "spelling")
    with pytest.raises(LeFusionError, match="There is no file"):
        read_labels(tmp_path / "mask.seg.nrrd")


@pytest.mark.parametrize("name, near", [("ct.nifti", "'.nii'"), ("ct.nii.gzz", "'.nii.gz'"), ("ct.nrd", "'.nrrd'")])
def test_an_unknown_extension_names_the_nearest(tmp_path, name, near):
    (tmp_path / name).write_bytes(b"x")
    says(tmp_path / name, f"Did you mean {near}?", "Possible: .nii.gz, .nii, .nrrd, .nhdr, .mha, .mhd")


def test_no_extension_and_a_picture(tmp_path):
    says(tmp_path / "scan", "no image format 'scan'", "Possible")
    says(tmp_path / "scan.jpg", "no image format '.jpg'", "Possible")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("content", [b"", b"hello, world", b"\0" * 1000, b"NRRD0005\ntype: int16\n\n", b"NDims = 3\n"])
def test_something_else_under_that_name(tmp_path, suffix, content):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(gzip.compress(content) if suffix == ".nii.gz" else content)
    says(path, f"a{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("keep", [0.3, 0.9, 0.99])
def test_a_truncated_file(tmp_path, suffix, keep):
    # Noise, so that the voxels are most of the compressed file.
    array = np.random.default_rng(0).integers(-1000, 1000, (8, 8, 8), np.int16)
    path = tmp_path / f"a{suffix}"
    write_volume(Volume(array, np.eye(4)), path)
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    says(path, f"a{suffix}", "again")


def test_a_header_whose_data_file_is_missing(tmp_path):
    nrrd.write(str(tmp_path / "a.nhdr"), ARRAY.T, SPACE | {"encoding": "raw"})
    (tmp_path / "a.raw").unlink()
    says(tmp_path / "a.nhdr", "a.raw is missing")
    sitk.WriteImage(sitk.GetImageFromArray(ARRAY), str(tmp_path / "b.mhd"))
    (tmp_path / "b.raw").unlink()
    says(tmp_path / "b.mhd", "cannot be read")


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = good(tmp_path / "a.nii")

    def refuse(*args, **keys):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(nibabel, "load", refuse)
    says(path, "no permission")


def test_two_dimensions(tmp_path):
    says(nifti(tmp_path / "a.nii", ARRAY[0], np.eye(4)), "three axes", "(4, 5)")
    nrrd.write(str(tmp_path / "a.nrrd"), ARRAY[0], {"space": "RAS", "space directions": np.eye(3)[:2]})
    says(tmp_path / "a.nrrd", "three axes", "has 2")
    sitk.WriteImage(sitk.GetImageFromArray(ARRAY[0]), str(tmp_path / "a.mha"))
    says(tmp_path / "a.mha", "three axes", "[5, 4]")


def test_a_time_series(tmp_path):
    series = np.stack([ARRAY, ARRAY], axis=-1)
    says(nifti(tmp_path / "a.nii", series, np.eye(4)), "has 4", "time series")
    directions = np.vstack([np.eye(3), [[np.nan] * 3]])
    header = SPACE | {"space directions": directions, "kinds": ["domain"] * 3 + ["time"]}
    nrrd.write(str(tmp_path / "a.nrrd"), series, header)
    says(tmp_path / "a.nrrd", "kind 'time'", "the file has 2")
    image = sitk.JoinSeries([sitk.GetImageFromArray(ARRAY)] * 2)
    sitk.WriteImage(image, str(tmp_path / "a.mha"))
    says(tmp_path / "a.mha", "[5, 4, 3, 2]", "time series")


def test_a_fourth_axis_of_one_is_accepted_in_every_format(tmp_path):
    nifti(tmp_path / "a.nii", ARRAY.T[..., None], np.eye(4))
    directions = np.vstack([[[np.nan] * 3], np.eye(3)])
    nrrd.write(str(tmp_path / "a.nrrd"), ARRAY.T[None], SPACE | {"space directions": directions})
    sitk.WriteImage(sitk.JoinSeries([sitk.GetImageFromArray(ARRAY)]), str(tmp_path / "a.mha"))
    for suffix in (".nii", ".nrrd", ".mha"):
        np.testing.assert_array_equal(read_volume(tmp_path / f"a{suffix}").array, ARRAY)


def test_colours_and_vectors(tmp_path):
    rgb = np.zeros((3, 4, 5), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    says(nifti(tmp_path / "a.nii", rgb, np.eye(4)), "colours")
    says(nifti(tmp_path / "v.nii", np.zeros((3, 4, 5, 1, 3), np.float32), np.eye(4)), "vector")
    directions = np.vstack([[[np.nan] * 3], np.eye(3)])
    header = SPACE | {"space directions": directions, "kinds": ["RGB-color"] + ["domain"] * 3}
    nrrd.write(str(tmp_path / "a.nrrd"), np.zeros((3, 3, 4, 5), np.uint8), header)
    says(tmp_path / "a.nrrd", "kind 'RGB-color'", "the file has 3")
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((3, 4, 5, 3), np.uint8), isVector=True), str(tmp_path / "a.mha"))
    says(tmp_path / "a.mha", "the file has 3", "colour")


def test_complex_numbers(tmp_path):
    says(nifti(tmp_path / "a.nii", ARRAY.astype(np.complex64), np.eye(4)), "complex")


def test_64_bit_integers(tmp_path):
    image = nibabel.Nifti1Image(ARRAY.T.astype(np.int64), np.eye(4), dtype="int64")
    image.to_filename(tmp_path / "a.nii")
    says(tmp_path / "a.nii", "a.nii: ", "int64", "possible: int8")
    assert read_labels(nifti(tmp_path / "m.nii", (ARRAY.T % 3).astype(np.float64), np.eye(4)))[2] == {"1": 1, "2": 2}
    assert read_labels(tmp_path / "a.nii")[0].max() == 59  # a label map may be int64: nibabel users often save it so


def test_voxels_that_are_not_finite(tmp_path):
    array = ARRAY.astype(np.float32)
    array[0, 0, :2] = np.nan, np.inf
    says(nifti(tmp_path / "a.nii", array, np.eye(4)), "2 voxels that are NaN or infinite")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_geometry_that_is_not_finite(tmp_path, bad):
    matrix = np.diag([1.0, 1, 1, 1])
    good(tmp_path / "a.nii")
    data = bytearray((tmp_path / "a.nii").read_bytes())
    header = nibabel.load(tmp_path / "a.nii").header
    header["srow_x"][3] = bad
    data[:348] = header.binaryblock
    (tmp_path / "a.nii").write_bytes(data)
    says(tmp_path / "a.nii", "geometry", "not finite")
    matrix[0, 0] = bad
    nrrd.write(str(tmp_path / "a.nrrd"), ARRAY.T, SPACE | {"space directions": np.diag([1, 1, 0.0])})
    says(tmp_path / "a.nrrd", "geometry", "flat")
    nrrd.write(str(tmp_path / "b.nrrd"), ARRAY.T, SPACE | {"space origin": np.array([0, bad, 0])})
    says(tmp_path / "b.nrrd", "geometry", "not finite")
    says(metaimage(tmp_path / "a.mha", ElementSpacing=f"1 {bad} 1"), "geometry", "not finite")


def test_no_geometry(tmp_path):
    says(nifti(tmp_path / "a.nii", ARRAY, None), "qform_code and sform_code are 0")
    for n, header in enumerate([{}, {"spacings": [1, 1, 1]}, {"space": "RAS"}, SPACE | {"space": "scanner-xyz"}]):
        nrrd.write(str(tmp_path / f"{n}.nrrd"), ARRAY.T, dict(header))
        says(tmp_path / f"{n}.nrrd", "where the image lies", "left-posterior-superior")
    says(metaimage(tmp_path / "a.mha", ElementSpacing=None), "where the image lies", "ElementSpacing")


def test_a_metaimage_with_either_spacing_or_directions_is_accepted(tmp_path):
    only_spacing = read_volume(metaimage(tmp_path / "a.mha"))
    np.testing.assert_array_equal(only_spacing.ijk_to_ras, np.diag([-1, -1, 2, 1]))
    only_directions = metaimage(tmp_path / "b.mha", ElementSpacing=None, TransformMatrix="0 1 0 -1 0 0 0 0 1")
    np.testing.assert_array_equal(read_volume(only_directions).ijk_to_ras[:3, 0], [0, -1, 0])


def test_an_nrrd_in_unknown_lengths(tmp_path):
    nrrd.write(str(tmp_path / "a.nrrd"), ARRAY.T, SPACE | {"space units": ["inch"] * 3})
    says(tmp_path / "a.nrrd", "'inch'", "possible: mm")
