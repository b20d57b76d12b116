"""The bridge between MRML scenes and the library; needs slicer-core's classes, never Qt, CTK or the application.

Works the same in desktop Slicer, under slicer-core alone and under trame; a `Host` says where it is.
"""

from .boundary import boundary_on as boundary_on
from .channels import Channel as Channel
from .channels import channels_of as channels_of
from .channels import with_class as with_class
from .chosen_model import ChosenModel as ChosenModel
from .difference import difference_node as difference_node
from .difference import remove_difference as remove_difference
from .export import export_result as export_result
from .host import Host as Host
from .housekeeping import find_node as find_node
from .housekeeping import taken_back_on_error as taken_back_on_error
from .job import SceneJob as SceneJob
from .job import check_lesions as check_lesions
from .job import prepare as prepare
from .job import request_of as request_of
from .parameters import Parameters as Parameters
from .results import SceneResult as SceneResult
from .results import add_result as add_result
from .results import remove_result as remove_result
from .results import report_of as report_of
from .results import result_volume_node as result_volume_node
from .segmentations import lesion_segmentation_node as lesion_segmentation_node
from .segmentations import organ_segmentation_node as organ_segmentation_node
from .sketch_node import sketch_node as sketch_node
from .sphere_models import SphereModels as SphereModels
from .spheres import SphereSettings as SphereSettings
from .spheres import add_sphere as add_sphere
from .spheres import center_world as center_world
from .spheres import check_meets as check_meets
from .spheres import control_sphere_of as control_sphere_of
from .spheres import drawing_boundary as drawing_boundary
from .spheres import is_sphere as is_sphere
from .spheres import like as like
from .spheres import place_with_mouse as place_with_mouse
from .spheres import read_settings as read_settings
from .spheres import sphere_mask_in_world as sphere_mask_in_world
from .spheres import world_sphere as world_sphere
from .spheres import write_settings as write_settings
from .volumes import volume_from_node as volume_from_node
from .volumes import volume_node as volume_node
from .volumes import world_to_frame as world_to_frame
