"""Is a map right? Measures of any attribution map that need no ground truth, and one that does.

What a map claims can be tested: hide what it calls important (deletion, insertion, ROAD), add up what it says a hidden
part is worth (infidelity), shift the picture a little (sensitivity), destroy the network's weights (cascading
randomisation). Every number is to be read beside those of a random map and of an edge detector.
"""
from .baselines import edge_map, random_map
from .curves import auc, deletion, insertion, ranking
from .perturbed import infidelity, infidelity_of, pointing_game, sensitivity
from .randomisation import cascade, flat, randomised
from .road import impute, road
from .similarity import rank_correlation, ssim

__all__ = ["auc", "cascade", "deletion", "edge_map", "flat", "impute", "infidelity", "infidelity_of", "insertion",
           "pointing_game", "random_map", "randomised", "rank_correlation", "ranking", "road", "sensitivity", "ssim"]
