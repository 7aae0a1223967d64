"""How Keras 3 names the groups of its layers in a file: by class and number, not by the layer's name."""

import re
from collections import Counter


def numbered_names(classes):
    """Keras 3's group of each layer: the class in snake case, numbered from the second on."""
    seen, names = Counter(), []
    for name in classes:
        snake = re.sub(r"\W+", "", name)
        snake = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", snake)
        snake = re.sub(r"([a-z])([A-Z])", r"\1_\2", snake).lower()
        names.append(f"{snake}_{seen[snake]}" if seen[snake] else snake)
        seen[snake] += 1
    return names
