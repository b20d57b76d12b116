"""Files appear whole or not at all, and no input is ever replaced."""

import errno
import os

import numpy as np
import pytest

from LeFusionLib.errors import LeFusionError
from LeFusionLib.io import atomic_write, check_output, read_volume, write_segmentation, write_volume
from LeFusionLib.volume import Volume

resource = pytest.importorskip("resource", reason="needs the file size limit of Unix")
VOLUME = Volume(np.random.default_rng(0).integers(-1000, 1000, (20, 20, 20), np.int16), np.eye(4))


def test_a_written_file_has_its_name_and_nothing_else_is_left(tmp_path):
    with atomic_write(tmp_path / "ct.v2.nii.gz") as temporary:
        assert temporary.parent == tmp_path and temporary.name.endswith(".nii.gz")
        temporary.write_bytes(b"all")
        assert not (tmp_path / "ct.v2.nii.gz").exists()
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("ct.v2.nii.gz", b"all")]


@pytest.mark.parametrize("error", [ValueError("bug"), KeyboardInterrupt(), OSError(errno.ENOSPC, "full")])
def test_after_an_error_the_old_file_is_there_and_nothing_else(tmp_path, error):
    (tmp_path / "a.json").write_text("old")
    with pytest.raises(LeFusionError if isinstance(error, OSError) else type(error)):
        with atomic_write(tmp_path / "a.json") as temporary:
            temporary.write_text("half of the n")
            raise error
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.json", "old")]


def test_a_full_disk_says_how_much_room_is_needed(tmp_path):
    with pytest.raises(
        LeFusionError, match=r"not enough room .* for a\.nii: it needs up to 250\.0 MB, \d+\.\d MB are free"
    ):
        with atomic_write(tmp_path / "a.nii", needed_bytes=250_000_000):
            raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha", ".seg.nrrd"])
def test_no_writer_leaves_half_a_file_when_there_is_no_room(tmp_path, suffix):
    # The system refuses to let a file grow beyond 1000 bytes; the voxels need 16000.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(LeFusionError, match="not enough room"):
            if suffix == ".seg.nrrd":
                labels = np.random.default_rng(0).integers(0, 2, (50, 50, 50), np.uint8)
                write_segmentation(
                    labels, np.eye(4), tmp_path / "a.seg.nrrd", [dict(name="a", label=1, color=(1, 0, 0))]
                )
            else:
                write_volume(VOLUME, tmp_path / f"a{suffix}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_or_not_ours(tmp_path, monkeypatch):
    with pytest.raises(LeFusionError, match="no folder .*out.* Create it first"):
        write_volume(VOLUME, tmp_path / "out" / "a.nii")
    (tmp_path / "a.nii").mkdir()
    with pytest.raises(LeFusionError, match="cannot be written"):
        write_volume(VOLUME, tmp_path / "a.nii")
    assert [p.name for p in tmp_path.iterdir()] == ["a.nii"]


def test_a_new_file_has_ordinary_permissions(tmp_path):
    write_volume(VOLUME, tmp_path / "a.nii")
    (tmp_path / "b").touch()
    assert (tmp_path / "a.nii").stat().st_mode == (tmp_path / "b").stat().st_mode


# check_output


@pytest.fixture
def ct(tmp_path):
    write_volume(VOLUME, tmp_path / "ct.nii.gz")
    return tmp_path / "ct.nii.gz"


def refused(paths, inputs, match, **keys):
    with pytest.raises(LeFusionError, match=match):
        check_output(paths, inputs, **keys)


def test_new_files_are_allowed_and_none_is_made(tmp_path, ct):
    check_output([tmp_path / "out" / "a.nii.gz", tmp_path / "b.json"], [ct])
    check_output(str(tmp_path / "a.nii.gz"), str(ct))
    check_output([tmp_path / "a.nii.gz"], [tmp_path / "not_there.nii.gz"])
    assert [p.name for p in tmp_path.iterdir()] == ["ct.nii.gz"]


def test_an_existing_file_needs_permission(tmp_path, ct):
    (tmp_path / "old.json").write_text("{}")
    refused([tmp_path / "old.json"], [ct], "exists already")
    check_output([tmp_path / "old.json"], [ct], overwrite=True)
    os.symlink(tmp_path / "nowhere", tmp_path / "dangling")
    refused([tmp_path / "dangling"], [ct], "exists already")


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_input_is_refused_under_every_name_it_has(tmp_path, ct, overwrite, monkeypatch):
    os.symlink(ct, tmp_path / "symbolic.nii.gz")
    os.link(ct, tmp_path / "hard.nii.gz")
    (tmp_path / "sub").mkdir()
    os.symlink(tmp_path, tmp_path / "sub" / "folder")
    monkeypatch.chdir(tmp_path / "sub")
    for name in (ct, tmp_path / "symbolic.nii.gz", tmp_path / "hard.nii.gz", "../ct.nii.gz", "folder/ct.nii.gz"):
        refused([tmp_path / "new.json", name], [ct], "inputs are never overwritten", overwrite=overwrite)
        refused([ct], [name], "inputs are never overwritten", overwrite=overwrite)
    assert np.array_equal(read_volume(ct).array, VOLUME.array)


def test_nothing_is_written_into_the_folder_of_a_series(tmp_path, monkeypatch):
    folder = tmp_path / "series"
    folder.mkdir()
    (folder / "1.dcm").write_bytes(b"x")
    os.link(folder / "1.dcm", tmp_path / "hard.nii.gz")
    monkeypatch.chdir(folder)
    for name in ("out.nii.gz", folder / "sub" / "out.nii.gz", "1.dcm", "../series/x.json"):
        refused([name], [folder], "folder of the input series", overwrite=True)
    refused([tmp_path / "hard.nii.gz"], [folder], "never overwritten", overwrite=True)
    check_output([tmp_path / "series.nii.gz"], [folder])


def test_two_outputs_of_one_name_and_a_folder_are_refused(tmp_path, ct):
    refused([tmp_path / "a.nii", tmp_path / "x" / ".." / "a.nii"], [ct], "Two outputs")
    refused([tmp_path], [ct], "is a folder", overwrite=True)
