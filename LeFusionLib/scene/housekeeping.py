"""Leaving the scene as it was: nodes found again, taken back after an error, removed with what hangs on them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import slicer
import vtk

from ..errors import LeFusionError


def find_node(scene: Any, node_id: str, what: str) -> Any:
    """The node of this ID, or an error: a job keeps IDs, since its user may remove nodes or close the scene meanwhile.

    `what` names it for the user: "volume".
    """
    node = scene.GetNodeByID(node_id)
    if node is None:
        raise LeFusionError(
            f"The {what} was removed, or the scene closed, while the work ran; nothing was made. "
            "Load it and start again."
        )
    return node


def nodes_of(scene: Any, class_name: str) -> list[Any]:
    """All nodes of this class, those of classes made from it included."""
    return [scene.GetNthNodeByClass(n, class_name) for n in range(scene.GetNumberOfNodesByClass(class_name))]


@contextmanager
def taken_back_on_error(scene: Any) -> Iterator[None]:
    """Inside, either all goes well or the nodes added meanwhile are removed again."""
    added = []

    def note(caller: Any, event: str, node: Any) -> None:
        added.append(node)

    note.CallDataType = vtk.VTK_OBJECT  # type: ignore[attr-defined]  # how VTK's Python asks for the node
    tag = scene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, note)
    try:
        yield
    except BaseException:
        for node in reversed(added):
            if scene.IsNodePresent(node):
                scene.RemoveNode(node)
        raise
    finally:
        scene.RemoveObserver(tag)


def remove_node(node: Any) -> None:
    """Remove a node that we made, with the display and storage nodes that nobody else uses."""
    scene = node.GetScene()
    if scene is None:
        return
    hanging = _hanging_on(node)
    scene.RemoveNode(node)
    others = [other for storable in nodes_of(scene, "vtkMRMLStorableNode") for other in _hanging_on(storable)]
    for unused in (other for other in hanging if other.GetScene() is scene and other not in others):
        scene.RemoveNode(unused)


def put_beside(node: Any, source: Any) -> None:
    """In the subject hierarchy, show `node` where `source` stands: the same study or folder."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(source.GetScene())
    source_item = hierarchy.GetItemByDataNode(source)
    if not source_item:
        return  # nobody keeps a hierarchy here: slicer-core makes no items by itself
    parent = hierarchy.GetItemParent(source_item)
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.SetItemParent(item, parent)
    else:
        hierarchy.CreateItem(parent, node)


def _hanging_on(node: Any) -> list[Any]:
    """The display and storage nodes of a node."""
    found = [node.GetNthStorageNode(n) for n in range(node.GetNumberOfStorageNodes())]
    if node.IsA("vtkMRMLDisplayableNode"):
        found += [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]
    return [other for other in found if other is not None]
