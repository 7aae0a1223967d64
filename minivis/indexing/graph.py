"""Approximate search in the features of an index: a graph of near neighbours that is walked, by the library faiss.

Hierarchical navigable small worlds, Malkov and Yashunin 2016, arXiv:1603.09320. The graph is kept in the index file. It
is built by one thread, so that the same features give the same graph. For cosine the vectors have length 1: then the
nearest by L2 are the nearest by cosine. A graph from a stranger's file is read by faiss, whose reader is not hardened.
"""
import contextlib

import numpy as np

from ..errors import MinivisError
from .format import Index

LINKS = 32          # neighbours of each point
BREADTH = 200       # candidates kept while building
SEARCHED = 64       # at least so many candidates are kept while searching
METRICS = ("l2", "cosine")


def check_library(metric):
    """The faiss module, or an error that says what is missing, before long work begins."""
    if metric not in METRICS:
        raise MinivisError(f"graph: {metric!r} is not one of {', '.join(METRICS)}")
    try:
        import faiss
    except ImportError as error:
        raise MinivisError("approximate neighbours need the extra: pip install 'minivis[neighbours]' "
                           f"({error})") from None
    return faiss


def add_graphs(path, layers, metric):
    """Build a graph for each layer's features and keep it in the index file. All features have to fit in memory."""
    import h5py
    faiss = check_library(metric)
    index = Index(path)
    for name in layers:
        graph = faiss.IndexHNSWFlat(index.layer(name).width, LINKS)
        graph.hnsw.efConstruction = BREADTH
        with _one_thread(faiss):
            for _, block in index.feature_blocks(name):
                graph.add(_prepared(block, metric))
        with h5py.File(path, "r+") as file:
            group = file["layers"][name]
            group["graph"] = faiss.serialize_index(graph)
            group.attrs["graph_metric"] = metric


def search(index, layer, query, count, metric):
    """(count,) numbers of the pictures whose features are about the nearest to `query` (D,), nearest first."""
    layer = index.feature_layer(layer)
    if layer.graph != metric:
        has = f"a graph only for {layer.graph}" if layer.graph else "no graph"
        raise MinivisError(f"{index.path} has {has} of {layer.name}, to search approximately by {metric}; make one "
                           f"with `minivis index --graph {metric}`")
    faiss = check_library(metric)
    try:
        graph = faiss.deserialize_index(index.graph(layer.name))
    except RuntimeError as error:
        raise MinivisError(f"{index.path}: the graph of {layer.name} cannot be read: {error}") from error
    if (graph.d, graph.ntotal) != (layer.width, index.count):
        raise MinivisError(f"{index.path}: the graph of {layer.name} holds {graph.ntotal} vectors of {graph.d} "
                           f"numbers, but the index {index.count} of {layer.width}")
    with _one_thread(faiss):
        graph.hnsw.efSearch = max(SEARCHED, 2 * count)
        _, found = graph.search(_prepared(query[None], metric), min(count, index.count))
    return found[0][found[0] >= 0]


def _prepared(rows, metric):
    rows = np.ascontiguousarray(rows, np.float32)
    return rows if metric == "l2" else rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)


@contextlib.contextmanager
def _one_thread(faiss):
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
