"""What can go wrong, and what the page says: bad scans, bad places, failing work, windows that come and go."""

import os
import resource
import shutil
import signal
import time

import numpy as np
import pytest
from desk import SLOW, Server

pytestmark = pytest.mark.browser


def dicom_series(folder, uid, count=4):
    """A made-up series of one grey value."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder.mkdir(exist_ok=True)
    series, study = generate_uid(), generate_uid()
    for number in range(count):
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CTImageStorage
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        data.SeriesInstanceUID, data.StudyInstanceUID, data.Modality = series, study, "CT"
        data.FrameOfReferenceUID, data.SeriesNumber = study, uid
        data.Rows = data.Columns = 16
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
        data.PixelRepresentation, data.SamplesPerPixel, data.PhotometricInterpretation = 1, 1, "MONOCHROME2"
        data.PixelSpacing, data.SliceThickness = [2, 2], 2
        data.ImageOrientationPatient, data.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 2 * number]
        data.RescaleIntercept, data.RescaleSlope, data.InstanceNumber = -1024, 1, number + 1
        data.PixelData = np.full((16, 16), 100, np.int16).tobytes()
        data.save_as(folder / f"{uid}-{number}.dcm", enforce_file_format=True)


@pytest.fixture(scope="module")
def bad_data(data):
    """What cannot be opened, in the data folder."""
    import nibabel
    import SimpleITK as sitk

    (data / "damaged.nii.gz").write_bytes(b"this is no image")
    sitk.WriteImage(sitk.Image([8, 8, 8], sitk.sitkVectorUInt8, 3), str(data / "colours.nrrd"))
    nibabel.save(nibabel.Nifti1Image(np.zeros((8, 8, 8, 4), np.int16), np.eye(4)), data / "moving.nii.gz")
    dicom_series(data / "two-series", 1)
    dicom_series(data / "two-series", 2)
    return data


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("damaged.nii.gz", "damaged"),
        ("colours.nrrd", "colours.nrrd"),
        ("moving.nii.gz", "moving.nii.gz"),
        ("two-series", "series"),
    ],
)
def test_what_cannot_be_opened_is_told_and_the_scan_of_before_stays(desk, server, bad_data, name, says):
    person = desk(server)
    person.page.evaluate("window.trame.trigger('look', [])")
    person.page.wait_for_selector(f"#file option[value='{name}']", state="attached")
    person.page.select_option("#file", name)
    message = person.wait_message(says)
    assert "Traceback" not in message and str(bad_data) not in message
    assert person.text(".scan-name") == "scan"
    person.place()  # not frozen


def test_a_sphere_in_the_air_is_noticed_and_one_that_is_too_large_refused(desk, server):
    person = desk(server)
    person.place(0.5, 0.5)
    assert person.page.is_enabled("#make")
    for _ in range(40):
        person.page.keyboard.press("ArrowUp")  # to the front, where this scan holds air
    person.wait(lambda: "lies in air" in person.text("aside"), "the air is told")
    assert person.page.is_enabled("#make")  # it may be a bulla
    person.page.evaluate("window.trame.trigger('diameter', [60])")
    person.wait(lambda: "largest possible diameter" in person.text("#reason"), "too large for the model, in words")
    assert person.page.is_disabled("#make")


def test_overlapping_lesions_are_refused_in_words_and_nothing_is_changed(desk, server):
    person = desk(server)
    person.place(0.5, 0.5)
    person.page.click("#add")
    person.place(0.51, 0.51)
    person.make()
    person.wait_message("overlap")
    assert person.page.query_selector("#result") is None


def test_cancel_comes_at_once_and_make_works_again(desk, slow_server):
    person = desk(slow_server)
    person.place()
    person.page.click("#make")
    person.wait(lambda: "left" in person.text("aside"), "it runs, and says how long it will")
    since = time.monotonic()
    person.page.click("#cancel")
    person.wait_message("Cancelled; nothing was changed.", 10)
    assert time.monotonic() - since < 4
    assert person.page.is_enabled("#make") and person.page.query_selector("#result") is None
    # Views and lists answer while something is made.
    person.page.click("#make")
    person.wait(lambda: "left" in person.text("aside"), "once more")
    person.page.focus("#view-Axial input")
    before = person.text("#view-Axial output")
    person.page.keyboard.press("ArrowRight")
    person.wait(lambda: person.text("#view-Axial output") != before, "a slice on, while it computes", 5)
    person.page.click("#cancel")
    person.wait_message("Cancelled")


def test_a_worker_that_is_ended_from_outside_is_told_and_the_next_job_works(desk, slow_server):
    person = desk(slow_server)
    person.place()
    person.page.click("#make")
    person.wait(lambda: "left" in person.text("aside"), "it runs")
    for pid in slow_server.children():
        os.kill(pid, signal.SIGKILL)
    message = person.wait_message("computing process was ended")
    assert "SIGKILL" in message and "Traceback" not in message
    person.page.click("#make")
    person.wait(lambda: "left" in person.text("aside"), "a new worker")
    person.page.click("#cancel")
    person.wait_message("Cancelled")


def test_a_page_closed_in_mid_job_ends_the_job_and_the_scene_stays(desk, slow_server):
    person = desk(slow_server)
    person.place()
    center = person.centers()
    person.page.click("#make")
    person.wait(lambda: "left" in person.text("aside"), "it runs")
    person.page.context.close()
    time.sleep(10)  # the time in which a page that is loaded again may come back
    again = desk(slow_server, scan=None)
    again.wait(lambda: again.page.query_selector("#make") is not None, "the job has ended", 10)
    assert "page was closed" in again.message() and again.centers() == center


def test_a_second_window_is_told_and_can_take_over(desk, chromium, slow_server):
    first = desk(slow_server)
    first.place()
    context = chromium.new_context()
    page = context.new_page()
    page.goto(slow_server.url)
    assert "open in another window" in page.inner_text("main")
    page.click("text=Use it here")
    page.wait_for_selector("[data-lesion='1']")
    first.page.wait_for_selector("#lefusion-veil")
    assert "another window" in first.page.inner_text("#lefusion-veil")
    first.page.click("#lefusion-veil button")
    first.page.wait_for_selector("[data-lesion='1']")
    context.close()


def test_weights_that_are_missing_are_told(desk, serve, tiny_folder, tmp_path):
    folder = tmp_path / "halved"
    shutil.copytree(tiny_folder, folder)
    (folder / "weights.safetensors").unlink()
    with serve(model=folder) as server:
        person = desk(server)
        person.place()
        person.make()
        message = person.wait_message("weights")
        assert "Traceback" not in message and person.page.query_selector("#result") is None


def test_a_full_disk_is_told_and_nothing_half_written_stays(desk, serve):
    with serve("--sampler", "ddim", "--steps", "2") as server:
        person = desk(server)
        person.place()
        person.make()
        person.wait_message("Done")
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
        person.page.click("#save-files")
        person.wait_message("room")
        assert list(server.output.iterdir()) == []
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        person.page.click("#save-files")
        person.wait(lambda: person.page.query_selector("#saved") is not None, "with room it is saved")
        assert len(list(server.output.iterdir())) == 3
        person.page.click("#save-files")
        person.wait(lambda: "scan-2.nrrd" in person.text("#saved"), "nothing is replaced")


def test_an_idle_session_ends_with_its_worker_and_can_be_gone_on_with(desk, serve):
    with serve("--idle", "0.5", *SLOW) as server:
        person = desk(server)
        person.place()
        person.page.wait_for_selector("#lefusion-veil", timeout=90_000)
        assert "nobody used it" in person.page.inner_text("#lefusion-veil")
        assert server.children() == []
        person.page.click("#lefusion-veil button")
        person.page.wait_for_selector("[data-lesion='1']")


def test_a_server_that_was_started_anew_is_told(desk, serve, data, tiny_folder, request):
    with serve() as server:
        person = desk(server)
        port = int(server.base.rpartition(":")[2])
    person.page.wait_for_selector("#lefusion-veil")
    person.wait(lambda: "connection" in person.text("#lefusion-veil"), "the page says so")
    again = Server(["--data", data, "--model", tiny_folder], port=port)
    request.addfinalizer(again.stop)
    person.wait(lambda: "started anew" in person.text("#lefusion-veil"), "and when it is back")
    person.page.click("#lefusion-veil button")
    person.page.wait_for_selector("#tab-lesions")


def test_a_second_app_waits_for_its_turn(desk, serve, slow_server):
    first = desk(slow_server)
    first.place()
    first.page.click("#make")
    first.wait(lambda: "left" in first.text("aside"), "the first computes")
    with serve("--sampler", "ddim", "--steps", "2") as server:
        second = desk(server)
        second.place()
        second.page.click("#make")
        second.wait(lambda: "Waiting: another session" in second.text("aside"), "the second waits")
        first.page.click("#cancel")
        second.wait_message("Done")
