"""What any map has to beat."""
import numpy as np
from scipy import ndimage


def random_map(size, seed=0):
    """(H, W): smooth noise, so that it hides connected regions as real maps do."""
    noise = np.random.default_rng([seed, 4]).standard_normal(size)
    smooth = ndimage.gaussian_filter(noise, max(1.0, min(size) / 40))
    return smooth - smooth.min()


def edge_map(picture):
    """(H, W): the Sobel gradient's length of the picture's brightness. It knows nothing of the network."""
    grey = np.asarray(picture, np.float64) @ np.array([0.299, 0.587, 0.114])
    return np.hypot(ndimage.sobel(grey, axis=0), ndimage.sobel(grey, axis=1))
