"""What techniques return: numbers first, and a figure that says what they are."""

from ..provenance import make_recipe
from .attribution import Attribution, Occlusion
from .base import Result
from .classification import Classification
from .comparison import Comparison
from .layers import Activations, Filters
from .report import Report

__all__ = ["Activations", "Attribution", "Classification", "Comparison", "Filters", "Occlusion", "Report", "Result",
           "make_recipe"]
