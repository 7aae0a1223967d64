"""Where pictures lie in a network's space of features: maps, similarity of layers, concepts, probes."""
