"""A model is not used by mistake for scans it was not made for."""

import numpy as np
import pytest

from LeFusionLib.errors import LeFusionError
from LeFusionLib.modality import check_modality
from LeFusionLib.volume import Volume


def volume(low, high, modality=None):
    """(4, 20, 20) from one value to another."""
    array = np.linspace(low, high, 1600).reshape(4, 20, 20).astype(np.int16)
    return Volume(array, np.eye(4), "scan", modality=modality)


CT, MR, RAW_CT = volume(-1024, 400), volume(0, 1500), volume(0, 1424)


@pytest.mark.parametrize("scan, modality", [(CT, "CT"), (MR, "MR"), (CT, None), (MR, None)])
def test_what_fits_and_a_model_for_all_are_let_through(scan, modality):
    check_modality(scan, modality, "some-model")


@pytest.mark.parametrize(
    "scan, modality, says",
    [
        (CT, "MR", "was made for MRI.*-1024 to 400.*no voxels as dark as the air"),
        (MR, "CT", "was made for CT in HU.*0 to 1500"),
        (RAW_CT, "CT", "must be loaded with its HU"),  # without the rescaling of its header
        (volume(0, 1500, "CT"), "MR", "says that it is CT"),
        (volume(-1024, 400, "MR"), "CT", "says that it is MR"),
    ],
)
def test_what_does_not_fit_is_told_with_what_was_found_and_how_to_go_on(scan, modality, says):
    with pytest.raises(LeFusionError, match=f"(?s)'some-model' .*{says}.*--any-modality"):
        check_modality(scan, modality, "some-model")


def test_the_headers_word_counts_more_than_the_grey_values():
    check_modality(volume(0, 1500, "CT"), "CT", "some-model")


def test_a_few_dark_voxels_make_no_ct():
    array = np.full((10, 20, 20), 100, np.int16)
    array[0, 0, :3] = -500
    check_modality(Volume(array, np.eye(4)), "MR", "some-model")
