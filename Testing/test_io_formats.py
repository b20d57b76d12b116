"""Each file format gives back the same voxels at the same place in the world, by the word of other readers."""

import gzip
import json
import logging
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from LeFusionLib.errors import LeFusionError
from LeFusionLib.io import output_suffix, read_volume, split_name, write_volume
from LeFusionLib.volume import SUPPORTED_DTYPES, Volume

SHARED = Path(__file__).resolve().parents[1] / "../shared/data"
MARK = {"synthetic": "true", "software": "LeFusion 0.1"}
SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
TILT = Rotation.from_euler("xyz", [10, -20, 30], degrees=True).as_matrix()


def affine(matrix, origin=(-120.25, 33.5, 1010.75)):
    result = np.eye(4)
    result[:3, :3], result[:3, 3] = matrix, origin
    return result


AFFINES = {
    "axial": affine(np.diag([-0.7, -0.7, 2.5])),
    "oblique": affine(TILT @ np.diag([0.7, 0.8, 2.5])),
    "left-handed": affine(TILT @ np.diag([0.7, 0.8, -2.5])),
    "sagittal": affine(np.array([[0, 0, 3.0], [0.9, 0, 0], [0, 0.9, 0]])),
    "sheared": affine(np.array([[0.7, 0, 0], [0, 0.7, 0.6], [0, 0, 2.5]])),
}


def small_array(dtype="int16", shape=(3, 4, 5)):
    """Values across the type's range, its ends included; voxel (k, j, i) = (2, 1, 3) is the largest."""
    generator = np.random.default_rng(0)
    if np.dtype(dtype).kind == "f":
        array = generator.normal(0, 1000, shape).astype(dtype)
        array[2, 1, 3] = 54321.0
        return array
    limits = np.iinfo(dtype)
    array = generator.integers(limits.min, limits.max, shape, dtype)
    array[0, 0, 0], array[2, 1, 3] = limits.min, limits.max
    return array


def assert_same(read, array, matrix):
    assert read.array.dtype == array.dtype and read.array.dtype.isnative
    np.testing.assert_array_equal(read.array, array)
    np.testing.assert_allclose(read.ijk_to_ras, matrix, atol=1e-4)


@pytest.mark.parametrize("matrix", AFFINES.values(), ids=AFFINES)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_type_and_geometry_comes_back(tmp_path, suffix, matrix):
    for dtype in SUPPORTED_DTYPES:
        path = tmp_path / f"{dtype}{suffix}"
        write_volume(Volume(small_array(dtype), matrix), path)
        read = read_volume(path)
        assert_same(read, small_array(dtype), matrix)
        assert read.name == dtype
        # A second time, now with the header of the first.
        write_volume(read, tmp_path / f"again{suffix}")
        assert_same(read_volume(tmp_path / f"again{suffix}"), small_array(dtype), matrix)
        np.testing.assert_allclose(read_volume(tmp_path / f"again{suffix}").ijk_to_ras, read.ijk_to_ras, atol=1e-12)


@pytest.mark.parametrize("name", ["axial", "oblique", "left-handed", "sagittal"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_simpleitk_finds_the_marked_voxel_where_we_say(tmp_path, suffix, name):
    write_volume(Volume(small_array(), AFFINES[name]), tmp_path / f"a{suffix}")
    image = sitk.ReadImage(str(tmp_path / f"a{suffix}"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), small_array())
    assert image[3, 1, 2] == 32767
    x, y, z = image.TransformIndexToPhysicalPoint((3, 1, 2))
    np.testing.assert_allclose((-x, -y, z), (AFFINES[name] @ [3, 1, 2, 1])[:3], atol=1e-3)


@pytest.mark.parametrize("name", ["axial", "oblique", "left-handed", "sagittal"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_we_find_the_marked_voxel_where_simpleitk_put_it(tmp_path, suffix, name):
    image = sitk.GetImageFromArray(small_array())
    lps = np.diag([-1, -1, 1, 1]) @ AFFINES[name]
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    sitk.WriteImage(image, str(tmp_path / f"a{suffix}"))
    assert_same(read_volume(tmp_path / f"a{suffix}"), small_array(), AFFINES[name])


@pytest.mark.parametrize("matrix", AFFINES.values(), ids=AFFINES)
def test_nibabel_reads_the_same_affine_and_voxels(tmp_path, matrix):
    write_volume(Volume(small_array(), matrix), tmp_path / "a.nii.gz")
    image = nibabel.load(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(image.affine, matrix, atol=1e-4)
    assert np.asarray(image.dataobj)[3, 1, 2] == 32767


@settings(max_examples=25)
@given(
    st.tuples(*[st.floats(-180, 180)] * 3),
    st.tuples(*[st.floats(0.2, 10)] * 3),
    st.tuples(*[st.sampled_from([-1, 1])] * 3),
    st.tuples(*[st.floats(-500, 500)] * 3),
    st.sampled_from(SUFFIXES),
)
def test_any_rotation_spacing_and_flip_comes_back(tmp_path_factory, angles, spacing, flips, origin, suffix):
    rotation = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    matrix = affine(rotation @ np.diag(np.multiply(spacing, flips)), origin)
    path = tmp_path_factory.mktemp("any") / f"a{suffix}"
    write_volume(Volume(small_array(), matrix), path)
    assert_same(read_volume(path), small_array(), matrix)
    header = nibabel.load(path).header if ".nii" in suffix else None
    if header and header["qform_code"]:  # whoever prefers the qform must not be led astray
        corner = [*small_array().shape[::-1], 1]
        np.testing.assert_allclose(header.get_qform() @ corner, matrix @ corner, atol=2e-3)


# NIfTI


def big_endian_nifti(path, array, **fields):
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape[::-1])
    header.set_qform(AFFINES["axial"], code=1)
    header.set_sform(AFFINES["axial"], code=2)
    for key, value in fields.items():
        header[key] = value
    header["vox_offset"], header["magic"] = 352, b"n+1"
    path.write_bytes(header.binaryblock + bytes(4) + array.astype(array.dtype.newbyteorder(">")).tobytes())


@pytest.mark.parametrize("dtype", SUPPORTED_DTYPES)
def test_big_endian_nifti_is_read_in_native_order(tmp_path, dtype):
    big_endian_nifti(tmp_path / "a.nii", small_array(dtype))
    read = read_volume(tmp_path / "a.nii")
    assert_same(read, small_array(dtype), AFFINES["axial"])
    write_volume(read, tmp_path / "b.nii.gz")
    assert_same(read_volume(tmp_path / "b.nii.gz"), small_array(dtype), AFFINES["axial"])


def test_scaled_nifti_holds_physical_values(tmp_path):
    # 0.5 * stored - 1000: stored 0 is -1000, stored 4 is -998.
    big_endian_nifti(tmp_path / "a.nii", np.array([[[0, 4]]], np.int16), scl_slope=0.5, scl_inter=-1000)
    read = read_volume(tmp_path / "a.nii")
    assert read.array.dtype == np.float64 and read.array.tolist() == [[[-1000.0, -998.0]]]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32"])
@pytest.mark.parametrize("slope, inter", [(0.5, -1000), (0.1, 3.7), (-1.37e-3, 0), (1, -1024)])
def test_scaled_nifti_keeps_its_stored_numbers_where_nothing_changed(tmp_path, dtype, slope, inter):
    stored = small_array(dtype)
    big_endian_nifti(tmp_path / "a.nii", stored, scl_slope=slope, scl_inter=inter)
    read = read_volume(tmp_path / "a.nii")
    changed = read.array.copy()
    changed[1, 1, 1] = read.array[2, 2, 2] + 0.4 * abs(slope)
    write_volume(read.with_array(changed), tmp_path / "b.nii.gz")
    image = nibabel.load(tmp_path / "b.nii.gz")
    written = np.asarray(image.dataobj.get_unscaled()).T
    elsewhere = np.ones(stored.shape, bool)
    elsewhere[1, 1, 1] = False
    assert written.dtype.newbyteorder("=") == stored.dtype
    np.testing.assert_array_equal(written[elsewhere], stored[elsewhere])
    assert (image.dataobj.slope, image.dataobj.inter) == (np.float32(slope), np.float32(inter))
    if stored.dtype.kind in "iu":
        assert written[1, 1, 1] == stored[2, 2, 2]  # the nearest number that can be stored
    np.testing.assert_array_equal(read_volume(tmp_path / "b.nii.gz").array[elsewhere], read.array[elsewhere])


def test_made_values_beyond_the_stored_type_are_clipped_not_wrapped(tmp_path):
    big_endian_nifti(tmp_path / "a.nii", np.array([[[0, 255]]], np.uint8), scl_slope=2, scl_inter=0)
    read = read_volume(tmp_path / "a.nii")
    write_volume(read.with_array(np.array([[[-3.0, 999.0]]])), tmp_path / "b.nii")
    assert read_volume(tmp_path / "b.nii").array.tolist() == [[[0.0, 510.0]]]


def test_another_type_on_a_scaled_header_is_written_unscaled(tmp_path):
    big_endian_nifti(tmp_path / "a.nii", np.array([[[0, 255]]], np.uint8), scl_slope=2, scl_inter=0)
    read = read_volume(tmp_path / "a.nii")
    write_volume(read.with_array(np.array([[[0, 1]]], np.uint8)), tmp_path / "mask.nii")
    assert read_volume(tmp_path / "mask.nii").array.tolist() == [[[0, 1]]]


def test_nifti_keeps_both_forms_their_codes_and_units(tmp_path):
    image = nibabel.Nifti1Image(small_array().T, None)
    image.header.set_qform(AFFINES["oblique"], code=1)
    image.header.set_sform(AFFINES["oblique"] @ np.diag([1, 1, -1, 1]), code=4)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"made by a scanner"
    image.to_filename(tmp_path / "a.nii.gz")
    read = read_volume(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(read.ijk_to_ras, AFFINES["oblique"] @ np.diag([1, 1, -1, 1]), atol=1e-4)
    write_volume(read, tmp_path / "b.nii.gz")
    before, after = (nibabel.load(tmp_path / name).header for name in ("a.nii.gz", "b.nii.gz"))
    for key in set(before.keys()) - {"scl_slope", "scl_inter"}:
        np.testing.assert_array_equal(before[key], after[key], err_msg=key)


def test_a_moved_volume_gets_its_new_place_in_the_old_header(tmp_path):
    write_volume(Volume(small_array(), AFFINES["axial"]), tmp_path / "a.nii")
    read = read_volume(tmp_path / "a.nii")
    write_volume(Volume(read.array, AFFINES["oblique"], storage=read.storage), tmp_path / "b.nii")
    assert_same(read_volume(tmp_path / "b.nii"), small_array(), AFFINES["oblique"])


def test_a_sheared_matrix_sets_the_sform_alone(tmp_path):
    for name, code in (("oblique", 1), ("sheared", 0)):
        write_volume(Volume(small_array(), AFFINES[name]), tmp_path / "a.nii")
        header = nibabel.load(tmp_path / "a.nii").header
        assert (header["sform_code"], header["qform_code"]) == (1, code)


def test_nifti_in_micrometres_is_in_mm_here(tmp_path):
    big_endian_nifti(tmp_path / "a.nii", small_array(), xyzt_units=3)
    np.testing.assert_allclose(read_volume(tmp_path / "a.nii").spacing_mm, (2.5e-3, 0.7e-3, 0.7e-3), rtol=1e-6)


def test_an_sform_of_bare_directions_takes_the_voxel_size_from_pixdim(tmp_path, caplog):
    # As in the EMIDEC data set; 3D Slicer and SimpleITK read these files so.
    image = nibabel.Nifti1Image(small_array().T, None)
    image.header.set_zooms((1.5, 1.5, 13))
    image.header.set_sform(np.diag([-1, -1, 1, 1]), code=2)
    image.to_filename(tmp_path / "a.nii")
    with caplog.at_level(logging.WARNING):
        read = read_volume(tmp_path / "a.nii")
    assert read.spacing_mm == (13, 1.5, 1.5) and "two voxel sizes" in caplog.text
    assert sitk.ReadImage(str(tmp_path / "a.nii")).GetSpacing() == (1.5, 1.5, 13)


def test_a_fourth_axis_of_one_is_a_volume(tmp_path):
    nibabel.Nifti1Image(small_array().T[..., None], AFFINES["axial"]).to_filename(tmp_path / "a.nii.gz")
    assert_same(read_volume(tmp_path / "a.nii.gz"), small_array(), AFFINES["axial"])


def test_nifti_2_stays_nifti_2(tmp_path):
    nibabel.Nifti2Image(small_array().T, AFFINES["oblique"]).to_filename(tmp_path / "a.nii")
    write_volume(read_volume(tmp_path / "a.nii"), tmp_path / "b.nii")
    assert isinstance(nibabel.load(tmp_path / "b.nii"), nibabel.Nifti2Image)
    assert_same(read_volume(tmp_path / "b.nii"), small_array(), AFFINES["oblique"])


# NRRD and MetaImage


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "ascii"])
@pytest.mark.parametrize("space", ["left-posterior-superior", "RAS", "left-anterior-superior"])
def test_nrrd_of_every_space_and_encoding_agrees_with_simpleitk(tmp_path, space, encoding):
    header = {
        "space": space,
        "space directions": AFFINES["oblique"][:3, :3].T,
        "space origin": AFFINES["oblique"][:3, 3],
        "encoding": encoding,
    }
    nrrd.write(str(tmp_path / "a.nrrd"), small_array().T, header)
    read = read_volume(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(read.array, small_array())
    if encoding != "bzip2":  # ITK cannot read it
        x, y, z = sitk.ReadImage(str(tmp_path / "a.nrrd")).TransformIndexToPhysicalPoint((3, 1, 2))
        np.testing.assert_allclose((read.ijk_to_ras @ [3, 1, 2, 1])[:3], (-x, -y, z), atol=1e-6)
    write_volume(read, tmp_path / "b.nrrd")
    assert_same(read_volume(tmp_path / "b.nrrd"), small_array(), read.ijk_to_ras)
    written = nrrd.read_header(str(tmp_path / "b.nrrd"))
    assert written["space"] == {"RAS": "right-anterior-superior"}.get(space, space)
    assert written["encoding"] == ("raw" if encoding == "raw" else "gzip")


def test_big_endian_nrrd_and_detached_data(tmp_path):
    header = {"space": "RAS", "space directions": np.eye(3), "space origin": np.zeros(3), "encoding": "raw"}
    nrrd.write(str(tmp_path / "a.nhdr"), small_array().astype(">i2").T, header)
    assert_same(read_volume(tmp_path / "a.nhdr"), small_array(), np.eye(4))


def test_nrrd_keeps_keys_but_not_the_patient(tmp_path):
    header = {"space": "LPS", "space directions": np.eye(3), "space origin": np.zeros(3)}
    keys = {"kernel": "B30f", "DICOM.instanceUIDs": "1.2.3", "PatientName": "Doe^J", "0010|0030": "19700101"}
    nrrd.write(str(tmp_path / "a.nrrd"), small_array().T, header | keys)
    write_volume(read_volume(tmp_path / "a.nrrd"), tmp_path / "b.nrrd", MARK)
    written = nrrd.read_header(str(tmp_path / "b.nrrd"))
    assert written["kernel"] == "B30f" and not written.keys() & (keys.keys() - {"kernel"})


def test_metaimage_keeps_keys_but_not_the_patient_and_stays_uncompressed(tmp_path):
    image = sitk.GetImageFromArray(small_array())
    image.SetMetaData("Kernel", "B30f")
    image.SetMetaData("PatientName", "Doe^J")
    sitk.WriteImage(image, str(tmp_path / "a.mha"), useCompression=False)
    write_volume(read_volume(tmp_path / "a.mha"), tmp_path / "b.mha", MARK)
    written = sitk.ReadImage(str(tmp_path / "b.mha"))
    assert written.GetMetaData("Kernel") == "B30f" and not written.HasMetaDataKey("PatientName")
    assert b"CompressedData = False" in (tmp_path / "b.mha").read_bytes()


def test_big_endian_and_detached_metaimage(tmp_path):
    header = "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = True\nElementSpacing = 2 1 3\n"
    header += "DimSize = 5 4 3\nElementType = MET_SHORT\nElementDataFile = a.raw\n"
    (tmp_path / "a.mhd").write_text(header)
    (tmp_path / "a.raw").write_bytes(small_array().astype(">i2").tobytes())
    assert_same(read_volume(tmp_path / "a.mhd"), small_array(), np.diag([-2, -1, 3, 1]))


# The mark


def test_the_mark_is_in_the_header_of_every_format(tmp_path):
    volume = Volume(small_array(), AFFINES["oblique"])
    for suffix in SUFFIXES:
        write_volume(volume, tmp_path / f"a{suffix}", MARK)
    header = nibabel.load(tmp_path / "a.nii.gz").header
    assert header["descrip"].item() == b"SYNTHETIC lesion, LeFusion 0.1"
    assert [json.loads(e.get_content()) for e in header.extensions] == [MARK]
    assert nrrd.read_header(str(tmp_path / "a.nrrd")).items() >= MARK.items()
    image = sitk.ReadImage(str(tmp_path / "a.mha"))
    assert {key: image.GetMetaData(key) for key in MARK} == MARK


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_mark_stays_when_the_file_is_read_and_written_again(tmp_path, suffix):
    write_volume(Volume(small_array(), AFFINES["axial"]), tmp_path / f"a{suffix}", MARK)
    write_volume(read_volume(tmp_path / f"a{suffix}"), tmp_path / f"b{suffix}")
    write_volume(read_volume(tmp_path / f"a{suffix}"), tmp_path / f"c{suffix}", MARK)
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"c{suffix}").read_bytes()


def test_foreign_nifti_extensions_are_left_out(tmp_path):
    image = nibabel.Nifti1Image(small_array().T, AFFINES["oblique"])
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"patient Doe"))
    image.header["db_name"] = b"Doe^J"
    image.to_filename(tmp_path / "a.nii")
    write_volume(read_volume(tmp_path / "a.nii"), tmp_path / "b.nii", MARK)
    assert b"Doe" not in (tmp_path / "b.nii").read_bytes()


def test_a_line_break_cannot_smuggle_a_field_into_a_header(tmp_path):
    for suffix in (".nrrd", ".mha"):
        write_volume(
            Volume(small_array(), np.eye(4)), tmp_path / f"a{suffix}", {"note": "x\nspace: RAS\n\nElementType = 1"}
        )
        assert_same(read_volume(tmp_path / f"a{suffix}"), small_array(), np.eye(4))


# Names and real files


def test_names_and_formats():
    assert split_name("some/ct.v2.NII.GZ") == ("ct.v2", ".nii.gz")
    assert split_name("lesion.seg.nrrd") == ("lesion", ".nrrd")


def test_the_output_format_is_the_inputs_format(tmp_path):
    volume = Volume(small_array(), np.eye(4))
    assert output_suffix(volume) == ".nii.gz"
    for suffix, expected in ((".nii", ".nii.gz"), (".nii.gz", ".nii.gz"), (".nrrd", ".nrrd"), (".mha", ".mha")):
        write_volume(volume, tmp_path / f"a{suffix}")
        assert output_suffix(read_volume(tmp_path / f"a{suffix}")) == expected


def test_a_header_with_its_data_in_another_file_is_not_written(tmp_path):
    for suffix in (".nhdr", ".mhd"):
        with pytest.raises(LeFusionError, match=r"Possible: \.nii\.gz"):
            write_volume(Volume(small_array(), np.eye(4)), tmp_path / f"a{suffix}")
    assert not list(tmp_path.iterdir())


REAL = [
    "ct_ACRIN-FLT-Breast-013_ct.nii.gz",
    "emidec_P100_image.nii.gz",
    "emidec_P100_label.nii.gz",
    "nodule_mha/dev_LIDC-IDRI-0012_luna_n0_ct.mha",
    "nodule_mha/dev_LIDC-IDRI-0012_luna_n0_mask.mha",
]


@pytest.mark.parametrize("name", REAL)
def test_real_files_come_back_and_lie_where_simpleitk_says(tmp_path, name):
    if not (SHARED / name).exists():
        pytest.skip(f"real data not here: {name}")
    read = read_volume(SHARED / name)
    for suffix in (output_suffix(read), ".nrrd"):
        write_volume(read, tmp_path / f"a{suffix}")
        assert_same(read_volume(tmp_path / f"a{suffix}"), read.array, read.ijk_to_ras)
    image = sitk.ReadImage(str(SHARED / name))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), read.array)
    index = [size - 1 for size in read.shape[::-1]]
    x, y, z = image.TransformIndexToPhysicalPoint(index)
    np.testing.assert_allclose((read.ijk_to_ras @ [*index, 1])[:3], (-x, -y, z), atol=1e-3)


def test_gzip_level_and_date_do_not_change_between_runs(tmp_path):
    for name in "ab":
        write_volume(Volume(small_array(), np.eye(4)), tmp_path / f"{name}.nii.gz")
    a, b = ((tmp_path / f"{name}.nii.gz").read_bytes() for name in "ab")
    assert a == b and len(gzip.decompress(a)) == 352 + small_array().nbytes
