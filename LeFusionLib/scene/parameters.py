"""What the panel is set to, on one node of the scene: saved with it, opened with it, the same in every front end.

The node is the singleton vtkMRMLScriptedModuleNode "LeFusion", which Slicer's `getParameterNode()` finds too. Nodes are
kept as references, which survive that a scene is merged into another; a node that was deleted is simply not there any
more. Values that another version wrote and this one does not know are kept, read as not set, and told by `check`.
"""

import json
from collections.abc import Sequence
from typing import Any

import slicer

from ..errors import LeFusionError
from ..models.sampler_spec import SamplerSpec
from .host import Host
from .results import SYNTHETIC
from .spheres import is_sphere

MODULE = "LeFusion"
FORMAT = "1"  # of what is stored here; a higher one comes from a newer LeFusion
TEXTS = {
    "model": "lung-nodule",
    "mask_model": "",
    "device": "auto",
    "built_in_boundary": "",
    "any_modality": "",
}  # name: default
KNOWN = {"format", "sampler", "boundary_segment", *TEXTS}


class Parameters:
    """Typed access to the scene's one parameter node, which is made when it is first needed.

    Holds no node itself, so that it works on after the scene was closed or another was opened: everything then has its
    default. Every change makes the node's ModifiedEvent.
    """

    def __init__(self, host: Host) -> None:
        self.scene = host.scene

    @property
    def node(self) -> Any:
        """The vtkMRMLScriptedModuleNode, for observers and `StartModify`."""
        found = self.scene.GetSingletonNode(MODULE, "vtkMRMLScriptedModuleNode")
        if found is None:
            found = slicer.vtkMRMLScriptedModuleNode()
            found.SetSingletonTag(MODULE)
            found.SetModuleName(MODULE)
            found.SetAttribute("ModuleName", MODULE)
            found.SetName(MODULE)
            found = self.scene.AddNode(found)
        return found

    @property
    def volume(self) -> Any:
        """The scan, or None."""
        return self.node.GetNodeReference("volume")

    @volume.setter
    def volume(self, node: Any) -> None:
        self._set_references("volume", [node])

    @property
    def boundary(self) -> tuple[Any, str] | None:
        """(segmentation node, segment ID) in which lesions stay, or None."""
        node = self.node.GetNodeReference("boundary")
        segment = self.node.GetParameter("boundary_segment")
        return (node, segment) if node is not None and segment else None

    @boundary.setter
    def boundary(self, boundary: tuple[Any, str] | None) -> None:
        node, segment = boundary or (None, "")
        self._set_references("boundary", [node])
        self._set("boundary_segment", segment)

    @property
    def spheres(self) -> list[Any]:
        """The lesions to make, in their order: nodes whose settings `read_settings` tells."""
        return [node for node in self._references("sphere") if is_sphere(node)]

    @spheres.setter
    def spheres(self, nodes: Sequence[Any]) -> None:
        self._set_references("sphere", nodes)

    @property
    def results(self) -> list[Any]:
        """The volumes made so far that are still there, oldest first."""
        return [node for node in self._references("result") if node.GetAttribute(SYNTHETIC) == "1"]

    @results.setter
    def results(self, nodes: Sequence[Any]) -> None:
        self._set_references("result", nodes)

    @property
    def model(self) -> str:
        """Name or folder of the model that makes tissue."""
        return self._text("model")

    @model.setter
    def model(self, name: str) -> None:
        self._set("model", name)

    @property
    def mask_model(self) -> str:
        """Name of the model that draws shapes; "" is the one that fits the tissue's."""
        return self._text("mask_model")

    @mask_model.setter
    def mask_model(self, name: str) -> None:
        self._set("mask_model", name)

    @property
    def built_in_boundary(self) -> str:
        """Name of an organ that the library finds itself, in which lesions stay ("lung"), or "none" for a model that
        wants an organ and shall draw without; "" for no boundary."""
        return self._text("built_in_boundary")

    @built_in_boundary.setter
    def built_in_boundary(self, name: str) -> None:
        self._set("built_in_boundary", name)

    @property
    def bounded(self) -> bool:
        """Is there a boundary, or the word that none is wanted?"""
        return self.boundary is not None or bool(self.built_in_boundary)

    @property
    def any_modality(self) -> bool:
        """Also in scans that the model was not made for."""
        return self._text("any_modality") == "1"

    @any_modality.setter
    def any_modality(self, allowed: bool) -> None:
        self._set("any_modality", "1" if allowed else "")

    @property
    def device(self) -> str:
        """ "auto", "cpu", "cuda", "cuda:1" or "mps"; a scene may come from a machine with another."""
        return self._text("device")

    @device.setter
    def device(self, name: str) -> None:
        self._set("device", name)

    @property
    def sampler(self) -> SamplerSpec:
        """Settings of the sampler; open ones are the model's own."""
        try:
            return self._stored_sampler()
        except LeFusionError:
            return SamplerSpec()

    @sampler.setter
    def sampler(self, spec: SamplerSpec) -> None:
        self._set("sampler", json.dumps({name: value for name, value in spec.to_dict().items() if value is not None}))

    def check(self) -> list[str]:
        """What the opened scene holds and this version does not understand, in sentences for the user."""
        messages = []
        stored = self.node.GetParameter("format")
        if stored and stored != FORMAT:
            messages.append(
                f"The scene was saved by another version of LeFusion (format {stored}, here {FORMAT}). "
                "Look over the settings."
            )
        unknown = sorted(set(self.node.GetParameterNames()) - KNOWN)
        if unknown:
            messages.append(f"Settings this version does not know are kept and not used: {', '.join(unknown)}.")
        try:
            self._stored_sampler()
        except LeFusionError as error:
            messages.append(f"The scene's sampler settings are not used; the model's own are. {error}")
        return messages

    def _stored_sampler(self) -> SamplerSpec:
        text = self.node.GetParameter("sampler")
        try:
            values = json.loads(text) if text else {}
            return SamplerSpec(**values)
        except (ValueError, TypeError) as error:
            raise LeFusionError(f"They read {text!r}.") from error

    def _text(self, name: str) -> str:
        return self.node.GetParameter(name) or TEXTS[name]

    def _set(self, name: str, value: str) -> None:
        node = self.node
        was_modified = node.StartModify()
        node.SetParameter("format", FORMAT)
        node.SetParameter(name, value)
        node.EndModify(was_modified)

    def _references(self, role: str) -> list[Any]:
        node = self.node
        found = [node.GetNthNodeReference(role, n) for n in range(node.GetNumberOfNodeReferences(role))]
        return [other for other in found if other is not None]

    def _set_references(self, role: str, others: Sequence[Any]) -> None:
        node = self.node
        was_modified = node.StartModify()
        node.RemoveNodeReferenceIDs(role)
        for other in others:
            if other is not None:
                node.AddNodeReferenceID(role, other.GetID())
        node.EndModify(was_modified)
