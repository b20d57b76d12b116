"""The bundled heart models on real hearts that they were not trained on."""

import numpy as np
import pytest

import LeFusionLib as lf
from LeFusionLib.models.card import bundled_models, find_card, mask_model_for
from LeFusionLib.training.hearts import TEST_PATIENTS, read_archive
from LeFusionLib.training.train import patient_hash

CLASSES = ("infarct", "no_reflow")


@pytest.fixture(scope="module")
def heart(shared):
    """A test patient with infarct and no-reflow, as a whole volume: the archive's crop in slices of 256 x 256."""
    archive = shared / "data" / "emidec_dev.npz"
    if not archive.is_file():
        pytest.skip("there are no hearts in 'shared'")
    case = next(h for h in read_archive(archive) if h.patient in TEST_PATIENTS and h.masks(CLASSES)[1].sum() > 100)
    around = [(0, 0), *(((256 - n) // 2, 256 - n - (256 - n) // 2) for n in case.image.shape[1:])]
    volume = lf.Volume(np.pad(np.rint(case.image).astype(np.int16), around), case.ijk_to_ras, name="heart")
    return case.patient, volume, np.pad(case.labels, around)


def test_the_heart_models_are_known_with_their_licence_and_each_other(heart):
    card = find_card("cardiac-mi-pmo")
    assert {"cardiac-mi-pmo", "cardiac-mi-pmo-mask"} <= bundled_models().keys()
    assert "non-commercial" in card.licence and mask_model_for(card.spec) == "cardiac-mi-pmo-mask"
    assert patient_hash(heart[0]) in card.training["held_out_patients_sha256"]


def test_infarct_is_bright_no_reflow_darker_and_nothing_else_changes(heart):
    _, volume, labels = heart
    lesion = lf.LesionMask.from_labels(labels, volume.ijk_to_ras, {"infarct": 3, "no_reflow": 4})
    result = lf.synthesize(volume, lesion, "cardiac-mi-pmo", "typical", seed=1)
    assert result.report["background"]["changed_voxels_outside_mask"] == 0
    means = {label: result.volume.array[labels == label].mean() for label in (2, 3, 4)}
    assert means[3] > means[2] and means[3] > means[4]


def test_both_classes_are_drawn_in_the_muscle(heart):
    _, volume, labels = heart
    muscle = labels >= 2
    real = lf.LesionMask.from_labels(np.where(labels >= 3, 1, 0), volume.ijk_to_ras, {"infarct": 1})
    sphere = lf.ControlSphere(real.center_ras, real.diameter_mm())
    drawn = lf.draw_lesion_mask(volume, sphere, "cardiac-mi-pmo-mask", muscle, lesion_class=CLASSES, seed=0)
    assert not (drawn.union & ~muscle).any() and all(drawn.voxels(name) for name in CLASSES)
