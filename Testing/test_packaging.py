"""What Slicer packages: a file that no CMake list names is missing on users' machines, so the lists equal the tree.

Run as a program (`python Testing/test_packaging.py`) this writes the lists of LeFusionLib anew.
"""

import ast
import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "LeFusionLib"
SHIPPED_BY_SLICER = {"qt", "ctk", "vtk", "slicer", "numpy", "scipy", "SimpleITK"}
TEMPLATE = """# Every file of the library; what is not listed is not packaged. From `python Testing/test_packaging.py`.
set(LIBRARY_PYTHON_SCRIPTS{scripts}
  )

set(LIBRARY_PYTHON_RESOURCES{resources}
  )

slicerMacroBuildScriptedModule(
  NAME LeFusionLib
  SCRIPTS ${{LIBRARY_PYTHON_SCRIPTS}}
  RESOURCES ${{LIBRARY_PYTHON_RESOURCES}}
  WITH_SUBDIR
  )
"""


def library_files():
    """The library's scripts and its other files, by path from LeFusionLib, sorted."""
    paths = sorted(path.relative_to(LIBRARY) for path in LIBRARY.rglob("*") if path.is_file())
    names = [p.as_posix() for p in paths if not any(part[0] == "." or part == "__pycache__" for part in p.parts)]
    return [n for n in names if n.endswith(".py")], [n for n in names if not n.endswith((".py", "CMakeLists.txt"))]


def written_list():
    scripts, resources = ("".join(f"\n  {name}" for name in names) for names in library_files())
    return TEMPLATE.format(scripts=scripts, resources=resources)


def listed(cmake_file, variable):
    """The entries of `set(variable ...)`."""
    text = re.sub(r"#.*", "", (ROOT / cmake_file).read_text(encoding="utf-8"))
    found = re.search(rf"set\(\s*{variable}\b(.*?)\)", text, re.DOTALL)
    assert found, f"{cmake_file} has no set({variable} ...)"
    return found.group(1).split()


def extension(name):
    """The text of `set(EXTENSION_<name> "...")`, as the index's checker reads it: on one line, straight quotes."""
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    return re.search(rf'^set\(EXTENSION_{name} "([^"\n]*)"\)$', text, re.MULTILINE).group(1)


@pytest.mark.parametrize("variable, kind", [("LIBRARY_PYTHON_SCRIPTS", 0), ("LIBRARY_PYTHON_RESOURCES", 1)])
def test_the_library_list_names_every_file_of_the_tree_and_nothing_else(variable, kind):
    names, tree = listed("LeFusionLib/CMakeLists.txt", variable), library_files()[kind]
    hint = "run `python Testing/test_packaging.py`"
    assert sorted(set(tree) - set(names)) == [], f"not packaged: {hint}"
    assert sorted(set(names) - set(tree)) == [], f"listed, but not there: {hint}"
    assert len(names) == len(set(names))


def test_the_module_lists_name_every_script_panel_and_icon_and_nothing_else():
    module = ROOT / "LeFusion"
    scripts = sorted(path.relative_to(module).as_posix() for path in module.rglob("*.py"))
    assert sorted(listed("LeFusion/CMakeLists.txt", "MODULE_PYTHON_SCRIPTS")) == scripts
    kept = [p for p in (ROOT / "Resources").rglob("*") if p.is_file()]
    resources = sorted(path.relative_to(ROOT).as_posix() for path in kept)
    assert sorted(listed("LeFusion/CMakeLists.txt", "MODULE_SHARED_RESOURCES")) == resources


def test_the_three_descriptions_of_the_extension_agree():
    card = json.loads((ROOT / "LeFusion.json").read_text(encoding="utf-8"))
    lines = [line for line in (ROOT / "LeFusion.s4ext").read_text(encoding="utf-8").splitlines() if line[:1] not in "#"]
    classic = {key: value for key, _, value in (line.partition(" ") for line in lines)}
    assert card["category"] == classic["category"] == extension("CATEGORY") == "Image Synthesis"
    assert card["scm_url"] == classic["scmurl"] == extension("HOMEPAGE") + ".git"
    assert card["scm_revision"] == classic["scmrevision"]
    assert " ".join(card["build_dependencies"]) == classic["depends"] == extension("DEPENDS")
    for name in ("homepage", "contributors", "iconurl", "description", "screenshoturls"):
        assert classic[name] == extension(name.upper())
    for address in (classic["iconurl"], *classic["screenshoturls"].split()):
        assert (ROOT / address.partition("/main/")[2]).is_file()
    schema_keys = {"$schema", "build_dependencies", "build_subdirectory", "category", "enabled", "scm_revision"}
    assert set(card) <= schema_keys | {"scm_type", "scm_url", "tier"}  # the schema allows no other key


def test_the_icon_is_a_png_of_128_by_128():
    content = (ROOT / "Resources/Icons/LeFusion.png").read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert [int.from_bytes(content[n : n + 4], "big") for n in (16, 20)] == [128, 128]


STAND_INS = """
import sys, time, types
names = ["qt", "vtk", "slicer", "slicer.util", "slicer.i18n", "slicer.ScriptedLoadableModule"]
for name in names:
    sys.modules[name] = types.ModuleType(name)
slicer = sys.modules["slicer"]
slicer.util, bases = sys.modules["slicer.util"], sys.modules["slicer.ScriptedLoadableModule"]
sys.modules["slicer.i18n"].tr = sys.modules["slicer.i18n"].translate = lambda *texts: texts[-1]
for part in ("", "Widget", "Logic", "Test"):
    setattr(bases, f"ScriptedLoadableModule{part}", type(f"Base{part}", (), {}))
slicer.util.VTKObservationMixin = type("VTKObservationMixin", (), {})
slicer.util.addVolumeFromArray = lambda array, ijkToRAS, name: (array.shape, name)
sys.path.insert(0, sys.argv[1])  # as Slicer does with the folder of a module
before, since = set(sys.modules), time.process_time()
import LeFusion
print(time.process_time() - since, *sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
"""


def run_with_stand_ins(folder, code=""):
    """Output of a fresh interpreter that imports LeFusion.py from `folder` without Slicer."""
    command = [sys.executable, "-c", STAND_INS + code, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder).stdout.splitlines()


def test_the_module_file_comes_up_in_50_ms_and_brings_only_what_slicer_ships():
    words = [run_with_stand_ins(ROOT / "LeFusion")[0].split() for _ in range(5)]
    assert min(float(seconds) for seconds, *_ in words) < 0.05
    assert set(words[0][1:]) - SHIPPED_BY_SLICER - set(sys.stdlib_module_names) == {"LeFusion"}  # no library, no panel
    tree = ast.parse((ROOT / "LeFusion/LeFusion.py").read_text(encoding="utf-8"))
    classes = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    assert {"LeFusion", "LeFusionWidget", "LeFusionLogic", "LeFusionTest"} <= classes


def test_every_control_the_module_touches_is_in_the_panel_and_every_mrml_control_gets_the_scene():
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "LeFusion").rglob("*.py"))
    panel = ElementTree.parse(ROOT / "Resources/UI/LeFusion.ui").getroot()
    names = [widget.get("name") for widget in panel.iter("widget")]
    assert len(names) == len(set(names))
    assert set(re.findall(r"\bself\.ui\.(\w+)", code)) <= set(names)
    root = panel.find("widget")
    assert root.get("class") == "qMRMLWidget"
    mrml = {w.get("name") for w in panel.iter("widget") if w.get("class").startswith("qMRML") and w is not root}
    assert {c.findtext("receiver") for c in panel.iter("connection")} == mrml
    custom = {c.findtext("class") for c in panel.iter("customwidget")}
    assert {w.get("class") for w in panel.iter("widget") if not w.get("class").startswith("Q")} == custom


@pytest.mark.skipif(
    not all(map(shutil.which, ("cmake", "cc", "c++"))), reason="needs cmake and a C and C++ compiler to configure with"
)
def test_cmake_configures_and_puts_module_library_and_resources_side_by_side(tmp_path):
    """With a stand-in for Slicer's macros that copies what it is given: our lists and paths, not Slicer's build."""
    stand_in = tmp_path / "slicer"
    stand_in.mkdir()
    (stand_in / "SlicerConfig.cmake").write_text(
        """
        set(Slicer_QTSCRIPTEDMODULES_LIB_DIR lib)
        foreach(name Slicer_USE_FILE Slicer_EXTENSION_GENERATE_CONFIG Slicer_EXTENSION_CPACK)
          set(${name} ${CMAKE_CURRENT_LIST_DIR}/Empty.cmake)
        endforeach()
        macro(slicerMacroBuildScriptedModule)
          cmake_parse_arguments(M "WITH_GENERIC_TESTS;WITH_SUBDIR" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
          if(M_UNPARSED_ARGUMENTS OR NOT M_SCRIPTS)
            message(FATAL_ERROR "unknown arguments ${M_UNPARSED_ARGUMENTS}, or no scripts")
          endif()
          set(into ${CMAKE_BINARY_DIR}/lib)
          if(M_WITH_SUBDIR)
            get_filename_component(folder ${CMAKE_CURRENT_SOURCE_DIR} NAME)
            set(into ${into}/${folder})
          endif()
          foreach(file ${M_SCRIPTS} ${M_RESOURCES})
            configure_file(${CMAKE_CURRENT_SOURCE_DIR}/${file} ${into}/${file} COPYONLY)
          endforeach()
        endmacro()
        """
    )
    (stand_in / "Empty.cmake").write_text("")
    done = subprocess.run(
        ["cmake", "-S", str(ROOT), "-B", str(tmp_path / "build"), f"-DSlicer_DIR={stand_in}"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lib = tmp_path / "build" / "lib"
    packaged = {path.relative_to(lib).as_posix() for path in lib.rglob("*") if path.is_file()}
    expected = {f"LeFusionLib/{name}" for names in library_files() for name in names}
    expected |= set(listed("LeFusion/CMakeLists.txt", "MODULE_PYTHON_SCRIPTS"))
    assert packaged == expected | {"Resources/UI/LeFusion.ui", "Resources/Icons/LeFusion.png"}
    code = """
print(LeFusion.library().__file__, LeFusion.beside("Resources/UI/LeFusion.ui"), LeFusion.beside("LeFusionLib/data"))
print(LeFusion.makePhantom())
"""
    places, made = run_with_stand_ins(lib, code)[1:]
    assert all(place.startswith(str(lib)) for place in places.split()) and made.startswith("((64, 160, 200)")


if __name__ == "__main__":
    (LIBRARY / "CMakeLists.txt").write_text(written_list(), encoding="utf-8")
