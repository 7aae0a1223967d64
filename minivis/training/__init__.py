"""Training a network on labelled pictures: data, augmentation, schedules, optimisers, the loop, the result."""
from .augment import Augment  # noqa: F401
from .curve import loss_curve  # noqa: F401
from .data import Pictures, tiny_imagenet  # noqa: F401
from .evaluate import accuracy  # noqa: F401
from .fold import folded, unfolded  # noqa: F401
from .optimisers import SGD, AdamW  # noqa: F401
from .schedules import constant, cosine, cycles, one_cycle  # noqa: F401
from .trainer import Phase, Trainer  # noqa: F401
