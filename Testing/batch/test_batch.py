"""Many cases from a table: what the table may say, the same bytes as one by one, going on where it stopped."""

import csv
import importlib.util
import json

import numpy as np
import pytest

import LeFusionLib as lf
from LeFusionLib.batch import BatchSettings, read_cases, run_batch
from LeFusionLib.cli import main

HEADER = "file,case,r,a,s,diameter_mm,texture,seed"
SETTINGS = ["--mask-model", "handcrafted", "--sampler", "ddim", "--steps", "2", "--device", "cpu", "--quiet"]


@pytest.fixture
def folder(tmp_path):
    """Two small scans of lung, and a mask on the first one's grid."""
    for number, name in enumerate(("one", "two")):
        array = np.random.default_rng(number).normal(-850, 30, (24, 32, 32)).astype(np.int16)
        lf.write_volume(lf.Volume(array, np.diag([-1.0, -1.0, 1.0, 1.0])), tmp_path / f"{name}.nii.gz")
    mask = np.zeros((24, 32, 32), np.uint8)
    mask[10:14, 8:12, 8:12] = 1
    lf.write_volume(lf.Volume(mask, np.diag([-1.0, -1.0, 1.0, 1.0])), tmp_path / "mask.nii.gz")
    return tmp_path


@pytest.fixture
def table(folder):
    def write(*rows, header=HEADER):
        (folder / "jobs.csv").write_text("\n".join([header, *rows]) + "\n")
        return folder / "jobs.csv"

    return write


@pytest.fixture
def batch(folder, tiny_folder):
    """`lefusion batch`, and its status."""

    def run(table, *words, out="out"):
        return main([str(w) for w in ["batch", table, "-o", folder / out, "--model", tiny_folder, *SETTINGS, *words]])

    return run


def manifest(folder, out="out"):
    with open(folder / out / "manifest.csv", newline="") as stream:
        return {row["case"]: row for row in csv.DictReader(stream)}


ROWS = ("one.nii.gz,,-10,-10,12,6,solid,3", "one.nii.gz,,-20,-20,10,5,ground-glass,4", "two.nii.gz,,-10,-10,12,6,,5")


def test_each_case_gets_its_files_and_a_row_and_no_other_voxel_changes(folder, table, batch):
    assert batch(table(*ROWS)) == 0
    out = folder / "out"
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [f"{n}{ending}" for n in ("one", "two") for ending in (".nii.gz", ".seg.nrrd", ".json")] + ["manifest.csv"]
    )
    rows = manifest(folder)
    assert [(rows[n]["status"], rows[n]["lesions"], rows[n]["changed_outside"]) for n in ("one", "two")] == [
        ("done", "2", "0"),
        ("done", "1", "0"),
    ]
    report = json.loads((out / "one.json").read_text())
    assert [row["texture"]["name"] for row in report["lesions"]] == ["solid", "ground-glass"]
    before, after = (lf.read_volume(where / "two.nii.gz").array for where in (folder, out))
    labels, _, _ = lf.read_labels(out / "two.seg.nrrd")
    assert (before[labels == 0] == after[labels == 0]).all() and (before != after).any()
    assert int(rows["two"]["voxels"]) == (labels > 0).sum()


def test_a_case_has_the_bytes_that_the_single_command_makes(folder, table, batch, tiny_folder):
    assert batch(table(ROWS[2])) == 0
    words = ["synthesize", folder / "two.nii.gz", "--center", -10, -10, 12, "--diameter", 6, "--seed", 5]
    words += ["--model", tiny_folder, "-o", folder / "single", *SETTINGS]
    assert main([str(word) for word in words]) == 0
    for name in ("two.nii.gz", "two.seg.nrrd"):
        assert (folder / "out" / name).read_bytes() == (folder / "single" / name).read_bytes()


def test_a_mask_is_filled_as_by_the_single_command(folder, table, batch, tiny_folder):
    assert batch(table("one.nii.gz,mask.nii.gz,solid,9", header="file,mask,texture,seed")) == 0
    words = ["synthesize", folder / "one.nii.gz", "--mask", folder / "mask.nii.gz", "--texture", "solid", "--seed", 9]
    words += ["--model", tiny_folder, "-o", folder / "single", *SETTINGS]
    assert main([str(word) for word in words]) == 0
    assert (folder / "out/one.nii.gz").read_bytes() == (folder / "single/one.nii.gz").read_bytes()


def test_run_again_it_goes_on_with_what_is_missing(folder, table, batch):
    rows = (*ROWS[:2], "two.nii.gz,,900,0,0,6,solid,5")
    assert batch(table(*rows)) == 2
    assert manifest(folder)["two"]["status"] == "failed" and "outside" in manifest(folder)["two"]["message"]
    first = (folder / "out/one.nii.gz").stat().st_mtime_ns
    assert batch(table(*ROWS)) == 0  # the row is mended
    assert manifest(folder)["two"]["status"] == "done"
    assert (folder / "out/one.nii.gz").stat().st_mtime_ns == first
    (folder / "out/one.seg.nrrd").unlink()  # a file that went away is made again, by leave
    assert batch(table(*ROWS)) == 2 and "exists already" in manifest(folder)["one"]["message"]
    assert batch(table(*ROWS), "--overwrite") == 0 and (folder / "out/one.seg.nrrd").exists()


def test_other_settings_do_not_pass_for_what_is_there(folder, table, batch):
    assert batch(table(*ROWS)) == 0
    assert batch(table(*ROWS), "--steps", 3) == 2
    assert "exists already" in manifest(folder)["one"]["message"]


def test_a_cancelled_batch_keeps_what_was_done_and_goes_on_later(folder, table, tiny_folder):
    cases = read_cases(table(*ROWS))
    settings = BatchSettings(str(tiny_folder), "handcrafted", lf.SamplerSpec("ddim", 2), "cpu")
    told = []
    with pytest.raises(lf.Cancelled):
        run_batch(cases, settings, folder / "out", told=lambda *said: told.append(said), cancel=lambda: bool(told))
    assert list(manifest(folder)) == ["one"] and not list((folder / "out").glob("two*"))
    names = run_batch(cases, settings, folder / "out")
    assert names == {"done": ["two"], "failed": [], "skipped": ["one"]} and len(told) == 1


def test_a_line_of_the_manifest_that_was_cut_off_counts_as_not_done(folder, table, tiny_folder, batch):
    assert batch(table(*ROWS)) == 0
    path = folder / "out/manifest.csv"
    path.write_text(path.read_text()[:-8])
    assert batch(table(*ROWS)) == 2  # its files are there, and nobody says that they are whole
    assert batch(table(*ROWS), "--overwrite") == 0
    assert {row["status"] for row in manifest(folder).values()} == {"done"}


@pytest.mark.parametrize(
    ("header", "row", "says"),
    [
        ("file,r,a,s,diametre_mm", "one.nii.gz,0,0,0,5", "Did you mean 'diameter_mm'"),
        ("file,r,a,s,diameter_mm", "one.nii.gz,0,zero,0,5", "line 2: a is a number; got 'zero'"),
        ("file,r,a,s,diameter_mm", "one.nii.gz,0,0,0", "line 2: it has not as many cells"),
        ("file,r,a,s,diameter_mm", "one.nii.gz,0,0,0,-5", "line 2: .*diameter"),
        ("file,r,a,s,diameter_mm", "three.nii.gz,0,0,0,5", "There is no volume"),
        ("file,r,a,s,diameter_mm", ",0,0,0,5", "line 2: no volume is named"),
        ("file,r,a,s,diameter_mm", "", "has no row"),
        ("file,mask", "one.nii.gz,none.nii.gz", "There is no mask"),
        ("file,mask,r,a,s,diameter_mm", "one.nii.gz,mask.nii.gz,1,2,3,4", "not both"),
        ("file,r,a,s,diameter_mm,seed", "one.nii.gz,0,0,0,5,1.5", "seed is a whole number"),
        ("file,case,r,a,s,diameter_mm", "one.nii.gz,../x,0,0,0,5", "named without folders"),
        ("file,case,r,a,s,diameter_mm", "one.nii.gz,x,0,0,0,5\ntwo.nii.gz,x,0,0,0,5", "line 3: 'two.nii.gz' as file"),
    ],
)
def test_a_mistake_in_the_table_is_one_line_with_status_2_before_any_work(
    folder, table, batch, capsys, header, row, says
):
    import re

    assert batch(table(row, header=header)) == 2
    said = capsys.readouterr().err
    assert re.search(says, said) and said.count("\n") == 1 and not (folder / "out").exists()


def test_an_unknown_engine_names_those_there_are(folder, table, batch, capsys):
    assert batch(table(*ROWS), "--engine", "rai") == 2
    assert "Did you mean 'ray'" in capsys.readouterr().err
    assert batch(table(*ROWS), "--workers", 2) == 2 and "one worker" in capsys.readouterr().err
    assert not (folder / "out").exists()


def test_a_folder_with_another_manifest_is_refused(folder, table, batch, capsys):
    (folder / "out").mkdir()
    (folder / "out/manifest.csv").write_text("a,b\n1,2\n")
    assert batch(table(*ROWS)) == 2 and "no manifest of a batch" in capsys.readouterr().err
    assert (folder / "out/manifest.csv").read_text() == "a,b\n1,2\n"


def test_without_ray_it_is_said_how_to_get_it(folder, table, batch, capsys, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    assert batch(table(*ROWS), "--engine", "ray") == 2 and "pip install 'lefusion[ray]'" in capsys.readouterr().err


def listeners_during(work):
    """(address, how Ray asks who is there) of all that our children listened on during `work`."""
    import threading
    import time

    import psutil

    heard, ended = set(), threading.Event()

    def listen():
        while not ended.is_set():
            for process in psutil.Process().children(recursive=True):
                try:
                    found = process.net_connections("inet")
                    asks = process.environ().get("RAY_AUTH_MODE")
                except psutil.Error:
                    continue
                heard.update((one.laddr.ip, asks) for one in found if one.status == psutil.CONN_LISTEN)
            time.sleep(0.3)

    watcher = threading.Thread(target=listen)
    watcher.start()
    try:
        assert work() == 0
    finally:
        ended.set()
        watcher.join()
    return heard


@pytest.mark.slow
def test_ray_makes_the_same_bytes_and_listens_to_nobody_without_a_token(folder, table, batch):
    if importlib.util.find_spec("ray") is None:  # imported only once its token is set
        pytest.skip("ray is not installed (pip install 'lefusion[ray]')")
    assert batch(table(*ROWS)) == 0
    heard = listeners_during(lambda: batch(table(*ROWS), "--engine", "ray", "--workers", 2, out="by-ray"))
    # Some of Ray's processes write their title over their environment, and say nothing.
    assert {asks for address, asks in heard if not address.startswith("127.") and asks} == {"token"}
    for name in ("one.nii.gz", "one.seg.nrrd", "two.nii.gz", "two.seg.nrrd"):
        assert (folder / "out" / name).read_bytes() == (folder / "by-ray" / name).read_bytes()
    assert {row["status"] for row in manifest(folder, "by-ray").values()} == {"done"}
