"""Control spheres: measured in the world under any transform, each with its own settings, followed as they move."""

import numpy as np
import pytest

from LeFusionLib import LeFusionError

PARENTS = ["none", "linear", "tilted gantry", "bent, then moved", "registered"]
NON_LINEAR = PARENTS[2:]


@pytest.fixture
def add(bench):
    """Adds a sphere: `add(point of the world, diameter_mm=..., ...)`."""
    from LeFusionLib.scene import SphereSettings, add_sphere

    def make(center_world=None, **settings):
        return add_sphere(bench.host, SphereSettings(**settings), center_world)

    return make


@pytest.mark.parametrize("parent", PARENTS)
def test_the_voxels_of_a_sphere_are_those_within_its_radius_in_the_world(bench, add, parent):
    from LeFusionLib.scene import sphere_mask_in_world

    scan = bench.scan("oblique", parent)
    kji = np.indices((9, 12, 14)).reshape(3, -1).T
    world = np.array([bench.world_of_voxel(scan, index) for index in kji])
    for center, diameter_mm in [((4, 5, 6), 11.3), ((0, 11, 13), 14.1), ((7, 2, 9), 40.7)]:
        center_world = bench.world_of_voxel(scan, center)
        sphere = add(center_world, diameter_mm=diameter_mm)
        expected = (np.linalg.norm(world - center_world, axis=1) <= diameter_mm / 2).reshape(9, 12, 14)
        assert (sphere_mask_in_world(sphere, scan) == expected).all() and expected.any()


@pytest.mark.parametrize("grid", ["oblique", "left-handed"])
@pytest.mark.parametrize("parent", ["none", "linear"])
def test_under_linear_transforms_a_sphere_is_the_librarys_own_ball(bench, add, grid, parent):
    from LeFusionLib.scene import control_sphere_of, drawing_boundary, sphere_mask_in_world, volume_from_node

    scan = bench.scan(grid, parent)
    center_world = tuple(bench.world_of_voxel(scan, (4, 5.4, 6.2)))
    sphere = add(center_world, diameter_mm=11)
    control_sphere = control_sphere_of(sphere, scan)
    assert control_sphere.center_ras == center_world and control_sphere.diameter_mm == 11
    assert (control_sphere.mask_on(volume_from_node(scan)) == sphere_mask_in_world(sphere, scan)).all()
    assert drawing_boundary(sphere, scan) is None


@pytest.mark.parametrize("parent", PARENTS)
def test_a_drawn_lesion_stays_in_the_sphere_of_the_world_and_in_the_boundary(bench, add, parent):
    from LeFusionLib import LesionMask, draw_lesion_mask
    from LeFusionLib.scene import (
        control_sphere_of,
        drawing_boundary,
        lesion_segmentation_node,
        sphere_mask_in_world,
        volume_from_node,
    )

    scan = bench.scan("oblique", parent)
    sphere = add(bench.world_of_voxel(scan, (4, 5, 6)), diameter_mm=16)
    boundary = np.zeros((9, 12, 14), dtype=bool)
    boundary[:, :, :8] = True
    volume = volume_from_node(scan)
    organ = lesion_segmentation_node(bench.host, scan, [LesionMask(boundary, volume.ijk_to_ras)], "organ")
    allowed = drawing_boundary(sphere, scan, (organ, "nodule_1"))
    assert (allowed == sphere_mask_in_world(sphere, scan) & boundary).all()
    if parent in NON_LINEAR:
        assert (drawing_boundary(sphere, scan) == sphere_mask_in_world(sphere, scan)).all()
    lesion = draw_lesion_mask(volume, control_sphere_of(sphere, scan), "handcrafted", allowed)
    assert not (lesion.union & ~allowed).any() and lesion.union[4, 5, 6]
    beyond = add(bench.world_of_voxel(scan, (4, 5, 13)), diameter_mm=5)
    with pytest.raises(LeFusionError, match="holds no voxel of the volume inside the boundary"):
        drawing_boundary(beyond, scan, (organ, "nodule_1"))


def test_a_sphere_under_a_transform_of_its_own_is_where_it_is_seen(bench, add):
    from LeFusionLib.scene import center_world

    sphere = bench.place(add((1, 2, 3)), "linear")
    assert np.allclose(center_world(sphere), bench.world_of(sphere, (1, 2, 3)))


def test_a_ball_beside_the_volume_holds_no_voxel(bench, add):
    from LeFusionLib.scene import sphere_mask_in_world

    for parent in ("linear", "bent, then moved"):
        assert not sphere_mask_in_world(add((500, 500, 500)), bench.scan("oblique", parent)).any()


def test_each_sphere_keeps_its_own_settings_and_nonsense_counts_as_not_set(bench, add):
    from LeFusionLib.scene import SphereSettings, is_sphere, read_settings

    own = add(diameter_mm=0.1 + 0.2, lesion_class="infarct", texture=[1.0] * 16, seed=2**63 - 1)
    other = add(texture="solid")
    assert read_settings(own) == SphereSettings(0.1 + 0.2, "infarct", (1.0,) * 16, 2**63 - 1)
    assert read_settings(other) == SphereSettings(texture="solid")
    other.SetAttribute("LeFusion.DiameterMm", "wide")
    other.SetAttribute("LeFusion.Seed", "-1")
    other.SetAttribute("LeFusion.Class", None)
    assert read_settings(other) == SphereSettings(texture="solid")
    users = bench.scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "mine")
    assert is_sphere(own) and not is_sphere(users) and not is_sphere(None)
    for wrong in ({"diameter_mm": 0}, {"diameter_mm": float("nan")}, {"seed": -1}, {"seed": 1.5}):
        with pytest.raises(LeFusionError):
            SphereSettings(**wrong)


def test_a_sphere_that_is_not_placed_or_is_no_single_point_is_refused(bench, add):
    from LeFusionLib.scene import center_world, control_sphere_of

    scan, sphere = bench.scan(), add()
    with pytest.raises(LeFusionError, match="has 0 points; a sphere has one. Press Place"):
        control_sphere_of(sphere, scan)
    sphere.AddControlPoint(1, 2, 3)
    sphere.SetNthControlPointPositionMissing(0)
    with pytest.raises(LeFusionError, match="has 0 points"):
        center_world(sphere)
    users = bench.scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "mine")
    users.AddControlPoint(0, 0, 0)
    users.AddControlPoint(1, 1, 1)
    with pytest.raises(LeFusionError, match="'mine' has 2 points; a sphere has one. Keep one"):
        center_world(users)
    with pytest.raises(LeFusionError, match="is no point list"):
        center_world(scan)
    bench.scene.RemoveNode(sphere)
    for gone in (sphere, None):
        with pytest.raises(LeFusionError, match="was removed from the scene"):
            center_world(gone)


def test_a_click_places_the_point(bench, add):
    from LeFusionLib.scene import place_with_mouse

    sphere = add()
    place_with_mouse(bench.host, sphere)
    interaction = bench.scene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
    selection = bench.scene.GetNodeByID("vtkMRMLSelectionNodeSingleton")
    assert interaction.GetCurrentInteractionMode() == interaction.Place and not interaction.GetPlaceModePersistence()
    assert selection.GetActivePlaceNodeID() == sphere.GetID()


def ball(model):
    """Centre and diameter of what a model node shows."""
    bounds = np.array(model.GetMesh().GetBounds()).reshape(3, 2)
    return np.round(bounds.mean(axis=1), 2).tolist(), round(float(np.diff(bounds[2]).item()), 2)


def test_the_ball_follows_point_transform_and_diameter(bench, add):
    from LeFusionLib.scene import SphereModels, SphereSettings, write_settings

    sphere, waiting = add((1, 2, 3), diameter_mm=10), add()
    models = SphereModels(bench.host)
    models.start()
    model = models.model_of(sphere)
    assert ball(model) == ([1, 2, 3], 10) and models.model_of(waiting) is None
    assert model.GetDisplayNode().GetVisibility2D() and model.GetHideFromEditors() and not model.GetSaveWithScene()
    sphere.SetNthControlPointPosition(0, 4, 5, 6)
    assert ball(model)[0] == [4, 5, 6]
    write_settings(sphere, SphereSettings(diameter_mm=20))
    assert ball(model) == ([4, 5, 6], 20)
    bench.place(sphere, "linear")
    assert np.allclose(ball(model)[0], bench.world_of(sphere, (4, 5, 6)), atol=0.01) and ball(model)[1] == 20
    waiting.AddControlPoint(7, 8, 9)
    assert ball(models.model_of(waiting))[0] == [7, 8, 9]
    sphere.SetDisplayVisibility(False)
    assert not model.GetDisplayNode().GetVisibility()
    sphere.RemoveAllControlPoints()
    sphere.SetDisplayVisibility(True)
    assert not model.GetDisplayNode().GetVisibility()


def test_balls_come_and_go_with_their_spheres_and_leave_nothing(bench, add):
    from LeFusionLib.scene import SphereModels

    models = SphereModels(bench.host)
    models.start()
    spheres = [add((n, 0, 0)) for n in range(3)]
    displays = [sphere.GetDisplayNode() for sphere in spheres]
    assert all(models.model_of(sphere) for sphere in spheres)
    bench.scene.RemoveNode(models.model_of(spheres[0]))  # by hand: it comes back with the next move
    spheres[0].SetNthControlPointPosition(0, 9, 9, 9)
    assert ball(models.model_of(spheres[0]))[0] == [9, 9, 9]
    SphereModels(bench.host).start()  # another panel sweeps up before it starts
    for node in (*spheres[1:], *displays):
        bench.scene.RemoveNode(node)
    assert models.model_of(spheres[0]) is not None and models.model_of(spheres[1]) is None


def test_a_point_placed_while_the_balls_are_followed_gets_one_ball(bench, add):
    from LeFusionLib.scene import SphereModels

    models = SphereModels(bench.host)
    models.start()
    sphere = add(None)
    sphere.AddControlPointWorld(1, 2, 3)
    assert bench.scene.GetNumberOfNodesByClass("vtkMRMLModelNode") == 1
    assert models.model_of(sphere).GetScene() is bench.scene
    models.stop()
    assert bench.scene.GetNumberOfNodesByClass("vtkMRMLModelNode") == 0


def test_a_new_sphere_is_like_the_one_before_with_a_seed_of_its_own(bench, add, tiny_spec):
    from LeFusionLib.scene import like, write_settings
    from LeFusionLib.scene.spheres import SphereSettings

    first, second = add((0, 0, 0)), add((9, 9, 9))
    write_settings(first, SphereSettings(7, "nodule", "solid", seed=3, shape=2))
    write_settings(second, SphereSettings(8, "infarct", "typical", seed=11))
    assert like(first, [first, second], tiny_spec()) == SphereSettings(7, "nodule", "solid", 12)
    assert like(second, [second], tiny_spec()) == SphereSettings(8, "nodule", "random", 12)  # a class the model has
    assert like(None, [], None) == SphereSettings(seed=1)


def test_stopping_removes_the_balls_and_nothing_else(bench, add):
    from LeFusionLib.scene import SphereModels

    sphere, scan = add((1, 2, 3)), bench.scan()
    before = bench.nodes()
    models = SphereModels(bench.host)
    models.start()
    models.start()
    assert len(bench.nodes()) == len(before) + 2
    models.stop()
    assert bench.nodes() == before
    sphere.SetNthControlPointPosition(0, 4, 5, 6)
    add((7, 8, 9))
    assert len(bench.nodes()) == len(before) + 2  # the new sphere and its display, no ball
    assert scan.GetScene() is bench.scene


def test_a_closed_scene_leaves_no_observer_that_stumbles(bench, add):
    from LeFusionLib.scene import SphereModels

    models = SphereModels(bench.host)
    models.start()
    old = add((1, 2, 3))
    bench.scene.Clear(False)
    old.SetNthControlPointPosition(0, 9, 9, 9)
    assert bench.scene.GetNumberOfNodesByClass("vtkMRMLModelNode") == 0
    new = add((4, 5, 6))
    assert ball(models.model_of(new))[0] == [4, 5, 6]
