"""What a user does with her hands, and a scan to do it on."""

import numpy as np


def click(button):
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest

    assert button.enabled and button.isVisible()
    QTest.mouseClick(button, Qt.LeftButton)


def pick(combo, text):
    """As a user does: the item is chosen and `activated` is sent."""
    index = combo.findText(text)
    assert index >= 0, f"{text} is not offered"
    combo.setCurrentIndex(index)
    combo.activated.emit(index)


def placed(panel, *points):
    """Adds a lesion at each point, as if a view had been clicked."""
    for point in points:
        click(panel.ui.addLesionButton)
        panel.lesions.selected().AddControlPointWorld(*map(float, point))


def add_volume(name="CT", shape=(20, 24, 28), spacing=2.0):
    import slicer

    voxels = np.random.default_rng(0).integers(-900, -700, shape).astype(np.int16)
    matrix = np.diag([spacing, spacing, spacing, 1.0])
    return slicer.util.addVolumeFromArray(voxels, ijkToRAS=matrix, name=name)
