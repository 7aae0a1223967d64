"""Labelled pictures in memory, and Tiny ImageNet's folder."""
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ..errors import MinivisError
from ..targets import first_name


class Pictures(NamedTuple):
    """pictures uint8 (N, H, W, 3) RGB, classes (N,) int, labels [(WordNet id, name)] of the classes."""
    pictures: np.ndarray
    classes: np.ndarray
    labels: list

    def __len__(self):
        return len(self.classes)


def tiny_imagenet(folder, split="train"):
    """Tiny ImageNet (Stanford CS231n: 200 classes, 64 x 64) from the public `tiny-imagenet-200` folder.

    split: "train", 500 pictures of each class; "val", 50 of each. Classes are numbered in the order of their WordNet
    ids, labels are the first name that words.txt gives.
    """
    root = Path(folder)
    ids = sorted(_read(root / "wnids.txt").split())
    words = dict(line.split("\t", 1) for line in _read(root / "words.txt").splitlines() if "\t" in line)
    number = {wnid: i for i, wnid in enumerate(ids)}
    labels = [(wnid, first_name(words.get(wnid, wnid))) for wnid in ids]
    if split == "train":
        files = [(file, number[wnid]) for wnid in ids for file in sorted((root / "train" / wnid / "images").iterdir())]
    elif split == "val":
        rows = (line.split("\t")[:2] for line in _read(root / "val" / "val_annotations.txt").splitlines() if line)
        files = [(root / "val" / "images" / name, number[wnid]) for name, wnid in rows]
    else:
        raise MinivisError(f"Tiny ImageNet has the splits train and val, not {split!r} (test has no labels)")
    with ThreadPoolExecutor(4) as pool:
        pictures = np.stack(list(pool.map(_picture, [file for file, _ in files], chunksize=256)))
    return Pictures(pictures, np.array([c for _, c in files]), labels)


def _read(path):
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise MinivisError(f"{path} cannot be read ({error.strerror}); give the folder tiny-imagenet-200") from None


def _picture(path):
    with Image.open(path) as file:
        return np.asarray(file.convert("RGB"))
