"""Real MRML without the application: scenes, volumes on odd grids, and parent transforms of every kind."""

import numpy as np
import pytest


class Bench:
    """A scene of its own for one test, and what the tests put into it."""

    def __init__(self, host):
        self.host, self.scene = host, host.scene

    def volume(self, voxels, ijk_to_ras, name="CT", class_name="vtkMRMLScalarVolumeNode", array_type=None):
        """A volume node of voxels (D, H, W), or (D, H, W, components)."""
        import vtk
        from vtk.util.numpy_support import numpy_to_vtk

        from LeFusionLib.scene.transforms import to_vtk

        image = vtk.vtkImageData()
        image.SetDimensions(*voxels.shape[2::-1])
        values = voxels.reshape(-1, voxels.shape[3]) if voxels.ndim == 4 else voxels.ravel()
        image.GetPointData().SetScalars(numpy_to_vtk(values, deep=True, array_type=array_type))
        node = self.scene.AddNewNodeByClass(class_name, name)
        node.SetAndObserveImageData(image)
        node.SetIJKToRASMatrix(to_vtk(ijk_to_ras))
        node.CreateDefaultDisplayNodes()
        return node

    def scan(self, grid="oblique", parent="none"):
        """A small anisotropic CT of int16 noise, (9, 12, 14), about 30 mm wide, on one of `GRIDS`."""
        voxels = np.random.default_rng(0).integers(-1000, 400, (9, 12, 14)).astype(np.int16)
        return self.place(self.volume(voxels, GRIDS[grid]), parent)

    def place(self, node, parent):
        """Put a node under a new parent transform of this name."""
        transform = PARENTS[parent](self.scene)
        node.SetAndObserveTransformNodeID(None if transform is None else transform.GetID())
        return node

    def world_of(self, node, point):
        """A point of a node's own frame in the world, by VTK, one at a time."""
        import vtk

        transform = vtk.vtkGeneralTransform()
        if node.GetParentTransformNode() is not None:
            node.GetParentTransformNode().GetTransformToWorld(transform)
        return np.array(transform.TransformPoint(*point))

    def world_of_voxel(self, node, kji):
        """The centre of voxel (k, j, i) of a volume node in the world, by VTK."""
        import vtk

        matrix = vtk.vtkMatrix4x4()
        node.GetIJKToRASMatrix(matrix)
        k, j, i = (float(n) for n in kji)
        return self.world_of(node, matrix.MultiplyPoint((i, j, k, 1.0))[:3])

    def nodes(self):
        """IDs of all nodes of the scene."""
        return {self.scene.GetNthNode(n).GetID() for n in range(self.scene.GetNumberOfNodes())}

    def state(self, *nodes):
        """What would tell that somebody touched these nodes."""
        return [
            (
                node.GetID(),
                node.GetName(),
                node.GetMTime(),  # grows with every change of attributes, references, transform or geometry
                {name: node.GetAttribute(name) for name in node.GetAttributeNames()},
                voxels(node).tobytes() if node.IsA("vtkMRMLVolumeNode") else None,
            )
            for node in nodes
        ]


@pytest.fixture
def bench(tmp_path):
    pytest.importorskip("slicer", reason="slicer-core is not installed; `make test-scene` makes it an environment")
    from LeFusionLib.scene import Host

    host = Host.headless(str(tmp_path))
    yield Bench(host)
    host.close()


def voxels(node):
    """(D, H, W) of a volume node, as they are."""
    from vtk.util.numpy_support import vtk_to_numpy

    image = node.GetImageData()
    return np.array(vtk_to_numpy(image.GetPointData().GetScalars())).reshape(image.GetDimensions()[::-1])


def turned(degrees, axis, spacing, origin):
    """(4, 4): voxels of `spacing` (i, j, k), turned about an axis of the patient."""
    from scipy.spatial.transform import Rotation

    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(np.radians(degrees) * np.asarray(axis) / np.linalg.norm(axis)).as_matrix()
    matrix[:3, :3] *= spacing
    matrix[:3, 3] = origin
    return matrix


GRIDS = {
    "oblique": turned(25, (1, 2, 3), (2.0, 2.5, 3.0), (-10, 20, -30)),
    "left-handed": turned(170, (3, 1, -1), (2.0, -2.5, 3.0), (40, -20, 5)),
}


def linear(scene):
    """Turned, shifted, and 10 % larger along R."""
    from LeFusionLib.scene.transforms import to_vtk

    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    node.SetMatrixTransformToParent(to_vtk(np.diag([1.1, 1, 1, 1]) @ turned(35, (0, 1, 1), (1, 1, 1), (15, -8, 60))))
    return node


def grid(scene, displacement):
    """A grid transform node that moves the point p (N, 3) to p + displacement(p), as Slicer's DICOM reader makes."""
    import slicer
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    k, j, i = np.indices((7, 7, 7)).reshape(3, -1)
    points = np.column_stack([i, j, k]) * 50.0 - 150
    field = vtk.vtkImageData()
    field.SetDimensions(7, 7, 7)
    field.SetSpacing(50, 50, 50)
    field.SetOrigin(-150, -150, -150)
    field.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(displacement(points)), deep=True))
    transform = slicer.vtkOrientedGridTransform()
    transform.SetDisplacementGridData(field)
    node = scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "grid")
    node.SetAndObserveTransformToParent(transform)
    return node


def tilted_gantry(scene):
    """By about 20 degrees: each slice lies further to the front."""
    return grid(scene, lambda points: points[:, [2, 2, 2]] * (0, 0.36, 0))


def bent_then_moved(scene):
    """Up to 6 mm that no matrix can follow, and a linear transform above."""
    node = grid(scene, lambda points: 6 * np.sin(points[:, [1, 2, 0]] / 40))
    node.SetAndObserveTransformNodeID(linear(scene).GetID())
    return node


def registered(scene):
    """A B-spline as registrations make it: given from the world to the volume, its inverse is searched for."""
    import slicer
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    coefficients = vtk.vtkImageData()
    coefficients.SetDimensions(8, 8, 8)
    coefficients.SetSpacing(40, 40, 40)
    coefficients.SetOrigin(-140, -140, -140)
    coefficients.GetPointData().SetScalars(numpy_to_vtk(np.random.default_rng(0).normal(size=(512, 3)) * 5, deep=True))
    transform = slicer.vtkOrientedBSplineTransform()
    transform.SetCoefficientData(coefficients)
    node = scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "registered")
    node.SetAndObserveTransformFromParent(transform)
    return node


PARENTS = {
    "none": lambda scene: None,
    "linear": linear,
    "tilted gantry": tilted_gantry,
    "bent, then moved": bent_then_moved,
    "registered": registered,
}
