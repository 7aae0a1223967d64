"""The CPU kernel set: Numba and LLVM vector instructions. Same names and signatures as `reference`."""
from ..reference import *  # noqa: F403
