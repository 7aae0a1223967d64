"""What the numbers of golden/synthesis/steps_*.npz were computed from: starting points that anybody can draw again."""
import numpy as np

STEPS = 20
EXTRA = 1               # added to the seed of a second starting point
VIEW = {"margin": 3, "jitter": 2, "scale": 0.1, "angle": 8.0}
PATCH = {"share": 0.2}
CODE = 4                # channels of the small generator's code
GENERATOR = ("conv0", "conv1", "out")


def thin(array):
    """Every seventh value: enough to know a large array by."""
    flat = np.asarray(array, np.float64).ravel()
    return flat if flat.size <= 700 else flat[::7]


def pixels(size, count, extra=0):
    """(count, H, W, 3) grey levels from the mean colour."""
    return np.random.RandomState(30 + extra).standard_normal((count, *size, 3)) * 20


def pictures(size, count):
    """uint8 pictures (H, W, 3): soft blobs with some noise."""
    random, found = np.random.RandomState(40), []
    for _ in range(count):
        coarse = random.randint(30, 226, (4, 4, 3)).astype(np.float64)
        big = np.repeat(np.repeat(coarse, -(-size[0] // 4), 0), -(-size[1] // 4), 1)[:size[0], :size[1]]
        found.append(np.clip(big + random.standard_normal(big.shape) * 12, 0, 255).astype(np.uint8))
    return found


def patch_start(side):
    """(1, side, side, 3) colours from 0 to 1: grey alone would leave the choice of a pooling to rounding."""
    return 0.5 + 0.1 * np.random.RandomState(70).standard_normal((1, side, side, 3))


def _deep_sizes(size):
    return [tuple(-(-n // 2) for n in size), tuple(size)]


DEEP = {"channels": (5, 4), "sizes": _deep_sizes,
        "shapes": [(3, 3, 5, 5), (5,), (5,), (3, 3, 5, 4), (4,), (4,), (1, 1, 4, 3), (3,)]}


def deep_start(size):
    """(noise, weights (1, P)) of a deep prior of DEEP's channels."""
    random = np.random.RandomState(50)
    noise = random.standard_normal((1, *_deep_sizes(size)[0], DEEP["channels"][0]))
    parts = [random.standard_normal(shape) * (0.3 if len(shape) == 4 else 0.1) + (len(shape) == 1) * 0.5
             for shape in DEEP["shapes"]]
    return noise, np.concatenate([part.ravel() for part in parts])[None]


def generator_weights():
    """{name: array} of a generator whose code has CODE channels and whose picture is twice as large."""
    random, channels, weights = np.random.RandomState(60), [CODE, 6, 5, 3], {}
    for name, C, K in zip(GENERATOR, channels, channels[1:]):
        weights[f"{name}/weight"] = random.standard_normal((3, 3, C, K)) * np.sqrt(2 / (9 * C))
        weights[f"{name}/bias"] = random.standard_normal(K) * 0.1
    weights["code/scale"], weights["code/shift"] = random.rand(CODE) + 0.5, random.rand(CODE)
    return weights
