"""How often a network is right."""
import numpy as np
from PIL import Image


def accuracy(net, data, size=None, batch=100, progress=None):
    """(top-1, top-5) shares of `data` (Pictures) that the network gets right.

    size      every picture is resized to (size, size), bilinear with antialiasing; None: as it is stored
    progress  wraps the list of batches, e.g. tqdm
    """
    right = np.zeros(2, int)
    starts = range(0, len(data), batch)
    for start in progress(starts) if progress else starts:
        pictures = data.pictures[start:start + batch]
        if size is not None and pictures.shape[1:3] != (size, size):
            pictures = np.stack([np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BILINEAR))
                                 for picture in pictures])
        x = net.preprocessing.normalize(pictures, net.dtype)
        scores = net(x, layers=net.logits_layer)[net.logits_layer].numpy()
        wanted = data.classes[start:start + batch]
        rank = (scores > scores[np.arange(len(wanted)), wanted][:, None]).sum(axis=1)
        right += (rank < 1).sum(), (rank < 5).sum()
    return tuple(float(n) for n in right / len(data))
