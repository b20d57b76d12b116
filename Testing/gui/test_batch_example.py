"""The documented script for a folder of cases, with a stand-in for what computes."""

import importlib.util
from pathlib import Path

from hands import add_volume

ROOT = Path(__file__).resolve().parents[2]


def test_each_case_gets_its_files_a_bad_one_is_told_and_a_second_run_skips(desk, tmp_path, capsys):
    spec = importlib.util.spec_from_file_location("slicer_batch", ROOT / "docs/examples/slicer_batch.py")
    batch = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(batch)
    from LeFusion import LeFusionLogic, StandInWorker

    table = tmp_path / "lesions.csv"
    table.write_text(
        "file,r,a,s,diameter_mm,texture,seed\n"
        "one.nrrd,20,20,20,8,solid,1\none.nrrd,40,30,20,8,solid,2\nbad.nrrd,900,0,0,8,solid,1\n"
    )
    out = tmp_path / "out"

    def run():
        return batch.run(tmp_path, table, out, lambda path: add_volume(), LeFusionLogic(worker=StandInWorker()))

    assert run() == 1
    said = capsys.readouterr()
    assert "one.nrrd: 2 lesions" in said.out and "outside the volume" in said.err
    assert sorted(path.suffix for path in (out / "one").iterdir()) == [".json", ".nrrd", ".nrrd"]
    assert not (out / "bad").exists()
    assert run() == 1 and "one.nrrd: there already" in capsys.readouterr().out
