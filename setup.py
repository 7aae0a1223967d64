"""Packaging of minivis.

`kernels/` and `weights/` lie at the top of the repository, where a reader finds them at once, but install inside the
package as `minivis.kernels` and `minivis.weights`: a top-level module called `kernels` would collide with others.
"""
from setuptools import find_packages, setup

packages = ["minivis"] + [f"minivis.{name}" for name in find_packages("minivis")]
packages += ["minivis.kernels"] + [f"minivis.kernels.{name}" for name in find_packages("kernels")]
packages += ["minivis.weights"]

setup(
    packages=packages,
    package_dir={"minivis.kernels": "kernels", "minivis.weights": "weights"},
    package_data={
        "minivis": ["golden/*.npz", "golden/*.json", "golden/attribution/*.npz", "golden/perturbation/*.npz",
                    "golden/style/*.npz", "golden/synthesis/*.npz", "golden/training/*.npz", "golden/shipped/*.npz"],
        "minivis.kernels": ["gpu/*.cu", "gpu/*.cuh", "gpu/NOT_YET"],
        "minivis.weights": ["*.csv", "*.h5", "*.toml", "styles/*.jpg"],
    },
)
