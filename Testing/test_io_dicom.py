"""A folder with one DICOM series becomes the volume it is, or an error that says why not."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from LeFusionLib.errors import LeFusionError
from LeFusionLib.io import output_suffix, read_labels, read_volume, write_volume

AXIAL = ((1, 0, 0), (0, 1, 0))
CORONAL = ((1, 0, 0), (0, 0, -1))
SAGITTAL = ((0, 1, 0), (0, 0, -1))
OBLIQUE = ((0.8, 0.6, 0), (-0.36, 0.48, 0.8))
ORIENTATIONS = {
    "axial": AXIAL,
    "coronal": CORONAL,
    "sagittal": SAGITTAL,
    "oblique": OBLIQUE,
    "prone": ((-1, 0, 0), (0, -1, 0)),
}
FIRST = np.array([-100.0, -50.0, 30.0])  # LPS


def write_slice(path, plane, position, number, orientation=AXIAL, spacing=(0.7, 0.9), **fields):
    """One CT image; `spacing` is (between rows, between columns), `position` the LPS point of its first pixel."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = generate_uid()
    image = FileDataset(path, {}, file_meta=meta, preamble=bytes(128))
    image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    image.PatientName, image.PatientID, image.Modality = "Doe^Jane", "4711", "CT"
    image.SeriesInstanceUID, image.SeriesNumber, image.SeriesDescription = "1.2.3", 2, "LUNG 1.25"
    image.InstanceNumber = number
    image.ImagePositionPatient, image.ImageOrientationPatient = (
        [f"{x:.6f}" for x in position],
        np.ravel(orientation).tolist(),
    )
    image.PixelSpacing = list(spacing)
    image.Rows, image.Columns = plane.shape
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit, image.PixelRepresentation = 15, int(plane.dtype.kind == "i")
    image.RescaleSlope, image.RescaleIntercept = 1, 0
    image.PixelData = plane.tobytes()
    for key, value in fields.items():
        if value is None:
            delattr(image, key)
        else:
            setattr(image, key, value)
    image.save_as(path, enforce_file_format=True)


def stored(count=5, dtype="int16"):
    """Slice k holds 1000 k + its pixel numbers."""
    return (np.arange(count)[:, None, None] * 1000 + np.arange(12).reshape(3, 4)).astype(dtype)


def write_series(folder, heights=(0, 2.5, 5, 7.5, 10), orientation=AXIAL, shift=(0, 0, 0), dtype="int16", **fields):
    """Slices at `heights` mm along the normal, each moved by `shift` mm more than the one before."""
    folder.mkdir(exist_ok=True)
    normal = np.cross(*orientation)
    for k, (height, plane) in enumerate(zip(heights, stored(len(heights), dtype), strict=True)):
        position = FIRST + height * normal + k * np.array(shift)
        # File names are in another order than the slices.
        write_slice(
            folder / f"{(k * 7) % 10}-{fields.get('SeriesNumber', 2)}.dcm",
            plane,
            position,
            k + 1,
            orientation,
            **fields,
        )
    return folder


@pytest.mark.parametrize("orientation", ORIENTATIONS.values(), ids=ORIENTATIONS)
def test_every_orientation_lies_where_its_headers_say(tmp_path, orientation):
    volume = read_volume(write_series(tmp_path / "series", orientation=orientation))
    np.testing.assert_array_equal(volume.array, stored())
    assert volume.array.dtype == np.int16 and volume.name == "series" and output_suffix(volume) == ".nii.gz"
    np.testing.assert_allclose(volume.spacing_mm, (2.5, 0.7, 0.9), atol=1e-6)
    # Pixel (row 1, column 3) of slice 2 (DICOM PS3.3 C.7.6.2.1.1), with x and y turned round for RAS.
    lps = FIRST + 3 * 0.9 * np.array(orientation[0]) + 1 * 0.7 * np.array(orientation[1]) + 5 * np.cross(*orientation)
    np.testing.assert_allclose((volume.ijk_to_ras @ [3, 1, 2, 1])[:3], lps * [-1, -1, 1], atol=1e-4)


@pytest.mark.parametrize("orientation", ORIENTATIONS.values(), ids=ORIENTATIONS)
def test_simpleitk_reads_the_same_series(tmp_path, orientation):
    volume = read_volume(write_series(tmp_path / "series", orientation=orientation))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "series")))
    image = reader.Execute()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), volume.array)
    x, y, z = image.TransformIndexToPhysicalPoint((3, 1, 2))
    np.testing.assert_allclose((volume.ijk_to_ras @ [3, 1, 2, 1])[:3], (-x, -y, z), atol=1e-4)


def test_a_tilted_gantry_gives_a_sheared_matrix(tmp_path):
    volume = read_volume(write_series(tmp_path / "series", shift=(0, 0.5, 0)))
    np.testing.assert_allclose(volume.ijk_to_ras[:3, 2], (0, -0.5, 2.5), atol=1e-6)
    np.testing.assert_allclose((volume.ijk_to_ras @ [0, 0, 4, 1])[:3], (100, 50 - 2, 40), atol=1e-6)


def test_stored_numbers_become_whole_hounsfield_units(tmp_path):
    volume = read_volume(write_series(tmp_path / "series", dtype="uint16", RescaleIntercept=-1024))
    assert volume.array.dtype == np.int16
    np.testing.assert_array_equal(volume.array, stored() - 1024)


def test_values_beyond_int16_are_int32_and_fractions_are_float64(tmp_path):
    large = read_volume(write_series(tmp_path / "large", dtype="uint16", RescaleSlope=20))
    assert large.array.dtype == np.int32 and large.array.max() == 20 * 4011
    fractions = read_volume(write_series(tmp_path / "fractions", RescaleSlope="0.25", RescaleIntercept="-3.5"))
    np.testing.assert_array_equal(fractions.array, stored() * 0.25 - 3.5)
    assert fractions.array.dtype == np.float64


def test_each_slice_has_its_own_slope(tmp_path):
    folder = write_series(tmp_path / "pet", heights=(0, 2))
    write_slice(folder / "third", np.full((3, 4), 10, np.int16), FIRST + [0, 0, 4], 3, RescaleSlope="0.5")
    volume = read_volume(folder)
    assert volume.array[0, 0, 3] == 3 and volume.array[2, 0, 0] == 5


def test_notes_reports_and_subfolders_beside_the_series_do_not_matter(tmp_path):
    folder = write_series(tmp_path / "series")
    (folder / "readme.txt").write_text("exported on Monday")
    (folder / "previews").mkdir()
    write_slice(folder / "report.dcm", stored()[0], FIRST, 1, Rows=None, PixelData=None, SeriesInstanceUID="9.9")
    assert read_volume(folder).shape == (5, 3, 4)


def test_positions_rounded_to_a_tenth_are_even_enough(tmp_path):
    heights = np.round(np.arange(20) * 0.625, 1)
    assert read_volume(write_series(tmp_path / "thin", heights=heights)).spacing_mm[0] == pytest.approx(0.625, abs=0.01)


def test_a_series_is_written_as_nifti_and_nrrd_without_the_patient(tmp_path):
    volume = read_volume(write_series(tmp_path / "series", orientation=OBLIQUE))
    for name in ("a.nii", "a.nrrd"):
        write_volume(volume, tmp_path / name)
        np.testing.assert_allclose(read_volume(tmp_path / name).ijk_to_ras, volume.ijk_to_ras, atol=1e-4)
        assert b"Doe" not in (tmp_path / name).read_bytes()


def test_a_mask_may_be_a_series(tmp_path):
    folder = tmp_path / "mask"
    folder.mkdir()
    for k in range(3):
        write_slice(folder / f"{k}", np.full((3, 4), k, np.uint16), FIRST + [0, 0, k], k + 1)
    labels, _, names = read_labels(folder)
    assert names == {"1": 1, "2": 2} and (labels[1] == 1).all()


def says(folder, *words):
    with pytest.raises(LeFusionError) as error:
        read_volume(folder)
    text = str(error.value)
    assert all(word in text for word in words), text
    assert "Doe" not in text and "4711" not in text and "\n" not in text


def test_a_missing_slice_is_named(tmp_path):
    says(
        write_series(tmp_path / "s", heights=(0, 2.5, 5, 10, 12.5)),
        "missing",
        "between images 3 and 4",
        "35.00 and 40.00",
    )


def test_a_doubled_slice_is_named(tmp_path):
    says(
        write_series(tmp_path / "s", heights=(0, 2.5, 2.5, 5, 7.5)),
        "more than once",
        "32.50 and 32.50 mm",
        "time points",
    )


def test_unevenly_spaced_slices_are_refused(tmp_path):
    says(write_series(tmp_path / "s", heights=(0, 2.5, 5, 8.5, 11)), "not evenly spaced", "3D Slicer")


def test_a_slice_moved_sideways_is_refused(tmp_path):
    folder = write_series(tmp_path / "s")
    write_slice(folder / "x", stored()[0], FIRST + [1.5, 0, 12.5], 6)
    write_slice(folder / "y", stored()[0], FIRST + [0, 0, 15], 7)
    says(folder, "not evenly spaced", "image 6")


def test_two_series_are_listed(tmp_path):
    folder = write_series(tmp_path / "s")
    write_series(folder, heights=(0, 5), SeriesInstanceUID="4.5.6", SeriesNumber=3, SeriesDescription="BONE")
    says(folder, "2 DICOM series", "series 2 'LUNG 1.25' (5 images)", "series 3 'BONE' (2 images)", "folder of its own")


def test_an_empty_folder_and_one_without_dicom(tmp_path):
    says(tmp_path, "no files", "Give the folder")
    (tmp_path / "patients").mkdir()
    says(tmp_path, "1 subfolders")
    (tmp_path / "a.txt").write_text("hello")
    says(tmp_path, "None of the 1 files", "DICOM image")


@pytest.mark.parametrize(
    "fields, words",
    [
        (dict(spacing=(0.7, 0.7)), "different pixel sizes"),
        (dict(orientation=CORONAL), "different directions"),
        (dict(ImagePositionPatient=None), "no ImagePositionPatient"),
        (dict(PixelSpacing=None), "no PixelSpacing"),
        (dict(NumberOfFrames=10), "Multi-frame"),
        (dict(SamplesPerPixel=3), "colour"),
    ],
)
def test_an_odd_image_in_the_series_is_refused(tmp_path, fields, words):
    folder = write_series(tmp_path / "s")
    write_slice(folder / "odd", stored()[0], FIRST + [0, 0, 12.5], 6, **fields)
    says(folder, words)


def test_an_image_of_another_size_is_refused(tmp_path):
    folder = write_series(tmp_path / "s")
    write_slice(folder / "scout", np.zeros((6, 8), np.int16), FIRST + [0, 0, 12.5], 6)
    says(folder, "different sizes: 4 x 3, 8 x 6")


def test_one_image_is_not_a_volume(tmp_path):
    says(write_series(tmp_path / "s", heights=(0,)), "one image only")
    with pytest.raises(LeFusionError, match="Give the folder"):
        read_volume(next((tmp_path / "s").iterdir()))


def test_a_truncated_image_is_refused(tmp_path):
    folder = write_series(tmp_path / "s")
    file = Path(sorted(folder.iterdir())[2])
    file.write_bytes(file.read_bytes()[:-8])
    says(folder, "damaged, incomplete")


def test_headers_are_read_without_the_patient(tmp_path, monkeypatch):
    read = []
    dcmread = pydicom.dcmread
    monkeypatch.setattr(pydicom, "dcmread", lambda *args, **keys: read.append(dcmread(*args, **keys)) or read[-1])
    read_volume(write_series(tmp_path / "s"))
    assert len(read) == 5 and not any("PatientName" in header or "PatientID" in header for header in read)
