"""What techniques return: numbers first, and a figure that says what they are."""

from ..provenance import make_recipe
from .adversarial import Adversarial, Applied
from .atlas import Atlas
from .attribution import Attribution, Occlusion
from .base import Result
from .classification import Classification
from .comparison import Comparison
from .concepts import Concepts
from .every_layer import EveryLayer
from .filter_matches import FilterMatches
from .filters import Filters
from .layers import Activations
from .linear_explanation import LinearExplanation
from .map import Map
from .neighbours import Neighbours
from .patch_filters import PatchFilters
from .patches import Patches
from .probes import Probes
from .report import Report
from .segmentation import Segmentation
from .similarity import Similarity
from .slide import Slide
from .synthesis import ChannelSheet, Reconstructions, Synthesis
from .unit_map import UnitMap

__all__ = ["Activations", "Adversarial", "Applied", "Atlas", "Attribution", "ChannelSheet", "Classification",
           "Comparison", "Concepts", "EveryLayer", "FilterMatches", "Filters", "LinearExplanation", "Map",
           "Neighbours", "Occlusion", "PatchFilters", "Patches", "Probes", "Reconstructions", "Report", "Result",
           "Segmentation", "Similarity", "Slide", "Synthesis", "UnitMap", "make_recipe"]
