"""The parameter node: what was set comes back from a saved scene, and what is not understood is told."""

import pytest

from LeFusionLib import SamplerSpec


@pytest.fixture
def parameters(bench):
    from LeFusionLib.scene import Parameters

    return Parameters(bench.host)


def test_everything_has_its_default_and_reading_makes_one_node_only(bench, parameters):
    assert (parameters.volume, parameters.boundary, parameters.spheres, parameters.results) == (None, None, [], [])
    assert (parameters.model, parameters.mask_model, parameters.device) == ("lung-nodule", "", "auto")
    assert parameters.sampler == SamplerSpec() and parameters.check() == []
    assert bench.scene.GetNumberOfNodesByClass("vtkMRMLScriptedModuleNode") == 1
    assert parameters.node.GetID() == "vtkMRMLScriptedModuleNodeLeFusion"  # the one Slicer's getParameterNode() finds


def test_a_scene_saved_with_three_lesions_opens_with_all_of_them_editable(bench, parameters, tmp_path):
    from LeFusionLib.scene import Host, Parameters, SphereModels, SphereSettings
    from LeFusionLib.scene.spheres import add_sphere, center_world, read_settings, write_settings

    models = SphereModels(bench.host)
    models.start()
    settings = [SphereSettings(8.5, "nodule", "solid", 1), SphereSettings(12, "nodule", "random", 2**40),
                SphereSettings(20, "infarct", tuple(n / 8 for n in range(16)), 3)]  # fmt: skip
    parameters.volume = bench.scan("oblique", "bent, then moved")
    parameters.spheres = [add_sphere(bench.host, s, (n, 2 * n, -3.25)) for n, s in enumerate(settings)]
    parameters.boundary = (bench.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "organs"), "lung")
    parameters.model, parameters.device = "emidec: Größe", "cuda:1"
    parameters.sampler = SamplerSpec("ddpm", 300, 5, 5)
    path = str(tmp_path / "scene.mrb")
    assert bench.scene.WriteToMRB(path)

    (tmp_path / "cache").mkdir()
    other = Host.headless(str(tmp_path / "cache"))
    shown = SphereModels(other)
    shown.start()
    other.scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "already there")
    assert other.scene.ReadFromMRB(path)
    opened = Parameters(other)
    assert opened.check() == []
    assert opened.volume.GetName() == "CT" and opened.volume.GetParentTransformNode() is not None
    assert [read_settings(sphere) for sphere in opened.spheres] == settings
    assert [center_world(sphere) for sphere in opened.spheres] == [(0, 0, -3.25), (1, 2, -3.25), (2, 4, -3.25)]
    assert (opened.boundary[0].GetName(), opened.boundary[1]) == ("organs", "lung")
    assert (opened.model, opened.device) == ("emidec: Größe", "cuda:1")
    assert opened.sampler == SamplerSpec("ddpm", 300, 5, 5)
    assert other.scene.GetNumberOfNodesByClass("vtkMRMLModelNode") == 3  # the balls, made anew; none came from the file
    first = opened.spheres[0]
    first.SetNthControlPointPositionWorld(0, 7, 8, 9)
    write_settings(first, SphereSettings(30))
    bounds = shown.model_of(first).GetMesh().GetBounds()
    assert (bounds[4], bounds[5]) == pytest.approx((9 - 15, 9 + 15))


def test_what_was_deleted_is_not_there_any_more(bench, parameters):
    from LeFusionLib.scene import SphereSettings, add_sphere

    spheres = [add_sphere(bench.host, SphereSettings(seed=n)) for n in range(3)]
    parameters.volume, parameters.spheres = bench.scan(), spheres
    bench.scene.RemoveNode(spheres[1])
    bench.scene.RemoveNode(parameters.volume)
    assert parameters.spheres == [spheres[0], spheres[2]] and parameters.volume is None


def test_a_closed_scene_has_the_defaults_again(bench, parameters):
    parameters.volume, parameters.model, parameters.sampler = bench.scan(), "other", SamplerSpec("ddim", 5)
    for with_singletons in (False, True):
        bench.scene.Clear(with_singletons)
        assert (parameters.volume, parameters.model, parameters.sampler) == (None, "lung-nodule", SamplerSpec())
        assert parameters.check() == []
        parameters.model = "other"


def test_a_change_is_one_event_and_none_changes_the_nodes_named(bench, parameters):
    import vtk

    scan, seen = bench.scan(), []
    before = bench.state(scan)
    parameters.node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda caller, event: seen.append(event))
    parameters.volume = scan
    assert len(seen) == 1 and bench.state(scan) == before
    parameters.model = "other"
    assert len(seen) == 2


def test_values_of_another_version_are_kept_not_used_and_told(parameters):
    parameters.node.SetParameter("format", "2")
    parameters.node.SetParameter("glow", "much")
    parameters.node.SetParameter("sampler", '{"method": "ddpmx", "num_steps": 5}')
    assert parameters.sampler == SamplerSpec()
    version, unknown, sampler = parameters.check()
    assert "another version of LeFusion (format 2, here 1)" in version
    assert unknown.endswith("kept and not used: glow.") and parameters.node.GetParameter("glow") == "much"
    assert "There is no sampler 'ddpmx'" in sampler
    for text in ("{", "[1]", '{"colour": 1}'):
        parameters.node.SetParameter("sampler", text)
        assert parameters.sampler == SamplerSpec() and text in parameters.check()[2]
