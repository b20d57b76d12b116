"""The lint finds what it is there for, and nothing in our module."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PANEL = ROOT / "Resources/UI/LeFusion.ui"


@pytest.fixture(scope="module")
def lint():
    pytest.importorskip("PySide6", reason="PySide6 is not installed; `make test-scene` makes it an environment")
    import lint

    return lint


def test_the_module_and_its_panel_have_no_known_pythonqt_mistake(lint):
    widgets = lint.widgets_of(PANEL)
    found = [
        f"{path.relative_to(ROOT)}:{line}: {sentence}"
        for path in sorted((ROOT / "LeFusion").rglob("*.py"))
        for line, sentence in lint.problems_in(path.read_text(encoding="utf-8"), widgets)
    ]
    assert found == [] and lint.connections_missing_in(PANEL) == set()


@pytest.mark.parametrize(
    "line",
    [
        "self.ui.applyButton.text()",
        "self.ui.applyButton.enable = True",
        "self.ui.applyButtn.enabled = True",
        "self.ui.applyButton.connect('clicked', self.apply)",
        "self.ui.applyButton.connect('clickd()', self.apply)",
        "self.ui.applyButton.clicked.connect(self.apply)",
        "self.ui.applyButton.connect('clicked()', lambda x=1: 0)",
        "self.ui.applyButton.connect('clicked()', partial(f, 1))",
        "self.ui.diameterSlider.setMaximum(5)",
        "self.ui.volumeSelector.setNodeTypes([])",
        "self.ui.volumeSelector.currentNode",
        "self.ui.volumeSelector.connect('currentNodeChanged(vtkMRMLVolumeNode*)', self.f)",
        "qt.QMessageBox.StandardButton.Yes",
        "qt.QTextCodec.codecForName('x')",
        "import torch",
    ],
)
def test_a_seeded_mistake_is_found(lint, line):
    assert len(list(lint.problems_in(line, lint.widgets_of(PANEL)))) >= 1
