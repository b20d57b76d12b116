"""The house keeps its order: imports go downwards, importing is cheap, settings are read, no machine stands in a file.

The floors are told in docs/architecture.md; a new file at the top of LeFusionLib gets its floor there and here.
"""

import ast
import dataclasses
import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import LeFusionLib

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "LeFusionLib"
FLOORS = {
    0: ["__init__", "errors", "progress", "threads", "config"],
    1: [
        "volume",
        "geometry",
        "intensity",
        "lesion_mask",
        "level_set",
        "texture",
        "terminology",
        "io",
        "phantom",
        "lungs",
        "modality",
    ],
    2: ["diffusion"],
    3: ["models"],
    4: ["synthesis"],
    5: ["training", "evaluation", "baselines", "scene"],  # wings: each on its own over floors 0 to 4
    6: ["given", "batch", "worker", "worker_process", "worker_client", "app", "commands", "evaluations"],
    7: ["cli", "__main__"],
}
FLOOR_OF = {name: floor for floor, names in FLOORS.items() for name in names}
WINGS = 5
SLICER = {"slicer", "mrml", "vtk", "ctk", "qt", "trame_slicer"}
MAY_USE_SLICER = {"scene", "app"}


def part_of(path):
    """The name at the top of LeFusionLib that `path` belongs to."""
    relative = path.relative_to(LIBRARY)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imports(code, folder):
    """(line, dotted name) of every import in `code`, at its top or inside functions; not those for types alone.

    `folder`: the dotted package the code lies in.
    """
    tree = ast.parse(code)
    for_types = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test).endswith("TYPE_CHECKING")]
    skipped = {id(inner) for node in for_types for statement in node.body for inner in ast.walk(statement)}
    package = folder.split(".")
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = [*base, *(node.module.split(".") if node.module else [])]
            yield from ((node.lineno, ".".join([*base, alias.name])) for alias in node.names)


def imports_of_file(path):
    return imports(path.read_text(encoding="utf-8"), ".".join(path.relative_to(ROOT).parent.parts))


FILES = sorted(LIBRARY.rglob("*.py"))
IMPORTS = [(path, line, name) for path in FILES for line, name in imports_of_file(path)]


def test_every_part_of_the_library_has_a_floor_and_stands_in_the_architecture():
    parts = {part_of(path) for path in FILES}
    assert parts - FLOOR_OF.keys() == set(), "give it a floor in this file and in docs/architecture.md"
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    untold = sorted(part for part in parts if not re.search(rf"\b{part}\b", text))
    assert untold == []


def test_nobody_imports_upwards_and_no_wing_another():
    wrong = []
    for path, line, name in IMPORTS:
        inside = name.split(".")
        if inside[0] != "LeFusionLib":
            continue
        source, target = part_of(path), inside[1] if len(inside) > 1 else "__init__"
        target = target if target in FLOOR_OF else "__init__"  # a name of the package itself, such as __version__
        mine, its = FLOOR_OF[source], FLOOR_OF[target]
        if its > mine or (its == mine == WINGS and source != target):
            wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}: floor {mine} from floor {its}")
    assert wrong == []


def test_relative_lazy_and_plain_imports_are_all_seen():
    code = "from ..models import zoo\ndef f():\n    import LeFusionLib.synthesis.paint\nfrom . import noise\n"
    assert list(imports(code, "LeFusionLib.diffusion")) == [
        (1, "LeFusionLib.models.zoo"),
        (4, "LeFusionLib.diffusion.noise"),
        (3, "LeFusionLib.synthesis.paint"),
    ]


def test_the_two_lowest_floors_never_import_torch():
    wrong = [f"{p}:{line}" for p, line, n in IMPORTS if n.split(".")[0] == "torch" and FLOOR_OF[part_of(p)] <= 1]
    assert wrong == []


def test_only_the_scene_and_the_app_know_slicer_and_nobody_here_knows_qt():
    roots = [(path, line, name.split(".")[0]) for path, line, name in IMPORTS]
    assert [f"{p}:{line}" for p, line, root in roots if root in SLICER and part_of(p) not in MAY_USE_SLICER] == []
    assert [f"{p}:{line}" for p, line, root in roots if root in {"qt", "ctk"}] == []


def loaded_after(statement):
    """Top-level modules that a fresh interpreter holds after `statement`."""
    code = f"{statement}\nimport sys\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    return set(done.stdout.split())


def test_importing_the_library_imports_nothing_heavy():
    heavy = {"numpy", "scipy", "torch", "SimpleITK", "nibabel", "nrrd", "pydicom", "matplotlib", "accelerate"}
    assert loaded_after("import LeFusionLib") & (heavy | SLICER) == set()


def test_floor_one_comes_up_without_torch():
    names = ", ".join(f"LeFusionLib.{name}" for name in FLOORS[1])
    assert loaded_after(f"import {names}") & ({"torch"} | SLICER) == set()


@pytest.mark.parametrize("name", LeFusionLib.__all__)
def test_every_public_name_is_there(name):
    assert getattr(LeFusionLib, name) is not None
    assert name in dir(LeFusionLib)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="sythesize"):
        _ = LeFusionLib.sythesize


def attributes_read():
    """Names of all attributes that are read anywhere in the library, the checks of `__post_init__` not counted."""
    read = set()
    for path in FILES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        checks = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "__post_init__"]
        skipped = {id(inner) for node in checks for inner in ast.walk(node)}
        attributes = (n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Load))
        read |= {n.attr for n in attributes if id(n) not in skipped}
    return read


@pytest.mark.parametrize(
    "home, name",
    [
        ("models.spec", "ModelSpec"),
        ("models.mask_spec", "MaskSpec"),
        ("models.sampler_spec", "SamplerSpec"),
        ("models.checkpoint", "ModelCard"),
        ("synthesis.request", "LesionRequest"),
        ("synthesis.request", "SynthesisRequest"),
        ("training.settings", "TrainSettings"),
    ],
)
def test_a_specification_is_frozen_and_every_field_is_read(home, name):
    specification = getattr(importlib.import_module(f"LeFusionLib.{home}"), name)
    assert specification.__dataclass_params__.frozen
    unread = {field.name for field in dataclasses.fields(specification)} - attributes_read()
    assert unread == set(), "a setting that nothing reads is taken out"


# Data sets and their classes are rows: names of theirs stand in these files alone, whose job it is to name them.
ROWS = {
    "training/settings.py", "training/hearts.py", "training/cases.py", "training/shape_cases.py",
    "models/released.py", "terminology.py", "cli.py",
}  # fmt: skip
DATA_SETS = re.compile(r"emidec|lidc|luna|cardiac|infarct|reflow|myocard|ventric", re.IGNORECASE)


def words_of_code(code):
    """(line, text) of every name and every string in `code` but its docstrings; comments are none."""
    tree = ast.parse(code)
    homes = (ast.Module, ast.ClassDef, ast.FunctionDef)
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, homes) and node.body]
    docstrings = {id(body[0].value) for body in bodies if isinstance(body[0], ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value
        elif isinstance(node, ast.Name | ast.Attribute | ast.FunctionDef | ast.ClassDef | ast.arg):
            name = next(getattr(node, field) for field in ("id", "attr", "name", "arg") if hasattr(node, field))
            yield node.lineno, name


def test_names_of_data_sets_stand_in_rows_and_readers_only():
    files = [*FILES, *(ROOT / "LeFusion").rglob("*.py")]
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {word}"
        for path in files
        if path.relative_to(ROOT).as_posix().removeprefix("LeFusionLib/") not in ROWS
        for line, word in words_of_code(path.read_text(encoding="utf-8"))
        if DATA_SETS.search(word)
    ]
    assert wrong == []


def test_words_of_code_are_names_and_strings_but_no_remarks():
    code = '"""EMIDEC"""\nif spec.name == "lidc":  # luna\n    infarct = 1\n'
    assert {word for _, word in words_of_code(code) if DATA_SETS.search(word)} == {"lidc", "infarct"}


# A path of one machine: a folder of users, of root or of a container's work, at the start of a path.
MACHINE_PATH = re.compile(r"(?<![\w.~/}-])/(?:root|home|Users|work|workspace|mnt|scratch)/\w|\b[A-Z]:\\Users\\")


def tracked_texts():
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs git and a checkout to know which files are tracked")
    done = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, cwd=ROOT, check=True)
    for path in (ROOT / name for name in done.stdout.split("\0") if name):
        content = path.read_bytes() if path.is_file() else b""
        if b"\0" not in content:
            yield path, content.decode("utf-8", errors="replace")


def test_no_tracked_file_names_a_path_of_somebodys_machine():
    wrong = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path, text in tracked_texts()
        for number, line in enumerate(text.splitlines(), start=1)
        if MACHINE_PATH.search(line)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "line, expected",
    [
        ("open('/" + "home/anna/ct.nii.gz')", True),
        ("see /" + "root/x", True),
        ("C:" + "\\Users\\anna", True),
        ("https://example.org/home/start", False),
        ("PYTHON=/path/to/python3.12", False),
        ("framework/home/done", False),
    ],
)
def test_the_path_pattern_knows_a_machine_from_an_address(line, expected):
    assert bool(MACHINE_PATH.search(line)) is expected


def test_the_version_is_the_same_everywhere():
    assert f"version: {LeFusionLib.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"[{LeFusionLib.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
