"""An adversarial patch: a sticker that makes a network see one class wherever it lies."""
import math
from typing import Literal

import numpy as np

from .. import kernels, ops
from ..errors import MinivisError
from ..optimize import Adam, Point, Run, host
from ..options import Mask, Network, Picture, Target
from ..parameterize import to_device
from ..preprocessing import resize
from ..results import Applied
from ..results.adversarial import before_and_after
from ..targets import label_text
from ..tensor import Op, Tensor, gradient
from ..transforms import apply_sparse
from .common import recipe
from .synthesis import follow, stacked, to_uint8
from .victim import ATTACK, check_victim

SHOWN = 6               # pictures with the patch on them in the result
CHECKS = 4              # places on each picture where the finished patch is judged


def adversarial_patch(net: Network, pictures: list[Picture], *, target: Target, share: float = 0.1,
                      shape: Literal["circle", "square"] = "circle", mask: Mask = None, steps: int = 300,
                      batch: int = 2, rate: float = 0.05, scale: float = 0.2, angle: float = 22.5, seed=0,
                      monitor=None) -> Applied:
    """A round sticker that, laid anywhere on any picture, makes the network see the target.

    max over p of the mean of log P(target | A(p, u, l, t)); A lays patch p on picture u at place l, turned and scaled
    by t, all drawn anew in every step. Brown et al. 2017, arXiv:1712.09665. Nothing is hidden: the patch may be seen
    by everybody, and be printed.

    pictures (1, h, w, 3): the patch on white. success: the share of placements, none of them used before, at which the
    picture, rounded to 8 bits, is taken for the target; clean: the same without the patch; other: with the middle of
    another of the pictures as patch.

    pictures  the pictures to learn on
    target    the class to be seen
    share     of the picture's area that a patch of scale 1 covers
    shape     of the patch
    mask      a picture that is white where the patch is, for any other shape: a pair of glasses (Sharif et al. 2016)
    steps     steps
    batch     placements in each step
    rate      Adam's rate; colours go from 0 to 1
    scale     random size of the patch: 0.2 draws from 0.8 to 1.2
    angle     the largest rotation, in degrees, either way
    """
    if not 0 < share <= 0.5 or steps < 1 or batch < 1 or not rate > 0 or not 0 <= scale < 1 or not pictures:
        raise MinivisError(f"adversarial_patch: share {share} must be above 0 and at most 0.5, steps {steps} and batch "
                           f"{batch} at least 1, rate {rate} above 0, scale {scale} from 0 to below 1, and there must "
                           f"be pictures ({len(pictures)})")
    victim = check_victim(net, "adversarial_patch")
    originals = [net.see(picture).picture for picture in pictures]
    if len({o.shape for o in originals}) > 1:
        raise MinivisError("adversarial_patch: the pictures differ in size: "
                           f"{sorted({o.shape[:2] for o in originals})}")
    wanted = victim.class_of(target)
    layer = Stickers(originals[0].shape[:2], share, shape, scale, angle, mask)

    def evaluate(p, i):
        t = Tensor(p, needs_grad=True)
        draw = np.random.default_rng([seed, ATTACK, 3, i])
        chosen = draw.integers(len(originals), size=batch)
        u = ops.concatenate([layer.on(victim.of(originals[n]), t, draw) for n in chosen], 0)
        loss = ops.sum(ops.cross_entropy(victim.logits(u), np.full(batch, wanted)), 0) * (1 / batch)
        g = gradient(loss, t)
        return Point(host(loss.data).astype(np.float64).reshape(1), g, {"score": -host(loss.data).reshape(1)})
    xp = kernels.xp(to_device(net, np.zeros(1, net.dtype)))
    start = to_device(net, np.full((1, *layer.sides, 3), 0.5, net.dtype))
    run = Run(evaluate, start, Adam(rate), steps, after=lambda p, point, i: xp.clip(p, 0, 1),
              start=monitor and monitor.load())
    finished = follow(run, monitor, lambda p: layer.picture(host(p)[0]))
    patch = np.rint(host(run.z)[0].astype(np.float64) * 255) / 255
    counts, examples, names = judge(victim, layer, originals, patch, wanted, seed)
    picture = layer.picture(patch)[None]
    words = f"{100 * counts['success']:.0f} % of {counts['placements']} new placements are taken for the target"
    return Applied(picture, patch[None] * 255, stacked(run.history), picture, picture,
                   target=f"to be taken for {label_text(net, wanted)}", examples=examples, names=names,
                   captions=[f"{words}; {100 * counts['clean']:.0f} % of the pictures alone, "
                             f"{100 * counts['other']:.0f} % with another patch."],
                   numbers={**counts, "steps": run.done, "class": wanted},
                   notes=[] if finished else ["The run was stopped early."],
                   recipe=recipe(adversarial_patch, net, seed, pictures=originals, target=target, share=share,
                                 shape=shape, mask=mask, steps=steps, batch=batch, rate=rate, scale=scale,
                                 angle=angle))


def judge(victim, layer, originals, patch, wanted, seed):
    """({"success", "clean", "other", "placements"}, examples uint8, their names): the patch at places that were never
    drawn."""
    hits, others, examples, names, other = [], [], [], [], _middle(originals, layer.sides)
    before = [victim.reads(o) for o in originals]
    for n, original in enumerate(originals):
        for k in range(CHECKS):
            for sticker, found in ((patch, hits), (other(n), others)):
                draw = np.random.default_rng([seed, ATTACK, 4, n, k])
                ink = Tensor(to_device(victim.net, sticker[None].astype(victim.net.dtype)))
                u = layer.on(victim.of(original), ink, draw).data
                seen = victim.reads(victim.rounded(u))
                found.append(seen == wanted)
                if sticker is patch and k == 0 and n < SHOWN:
                    examples.append(victim.rounded(u))
                    names.append(before_and_after(victim.net, before[n], seen))
    clean = [first == wanted for first in before]
    return {"success": float(np.mean(hits)), "clean": float(np.mean(clean)), "other": float(np.mean(others)),
            "placements": len(hits)}, examples, names


def _middle(originals, sides):
    """f(n): the middle of the picture after the n-th, as a patch; of the same picture if there is but one."""
    def cut(n):
        picture = originals[(n + 1) % len(originals)]
        top, left = ((m - side) // 2 for m, side in zip(picture.shape[:2], sides))
        return picture[top:top + sides[0], left:left + sides[1]] / 255
    return cut


class Stickers:
    """Where and how patches lie on pictures of one size."""

    def __init__(self, size, share, shape, scale, angle, mask=None):
        H, W = self.size = size
        self.scale, self.angle = scale, angle
        if mask is not None and not mask.any():
            raise MinivisError("adversarial_patch: the mask is black all over; the patch is where it is white")
        cut = None if mask is None else mask[np.ix_(*(_from_first_to_last(mask.any(axis)) for axis in (1, 0)))]
        filled = cut.mean() if cut is not None else math.pi / 4 if shape == "circle" else 1.0
        tall = 1.0 if cut is None else math.sqrt(cut.shape[0] / cut.shape[1])
        side = math.sqrt(share * H * W / filled)
        self.sides = round(side * tall), round(side / tall)
        if not min(self.sides) >= 4 or max(self.sides) > min(H, W):
            raise MinivisError(f"adversarial_patch: a patch of {share:g} of a {H} x {W} picture would be "
                               f"{self.sides[0]} x {self.sides[1]} pixels large; it must be 4 at least and fit into "
                               "the picture")
        self.mask = (_disc(*self.sides) if shape == "circle" and cut is None else np.ones(self.sides) if cut is None
                     else resize(cut * np.uint8(255), self.sides) / 255)[..., None].astype(np.float64)

    def on(self, u, patch, draw):
        """The picture u (1, H, W, 3) with the patch Tensor (1, h, w, 3) on it, at a place drawn from `draw`."""
        H, W = self.size
        factor = 1 + draw.uniform(-self.scale, self.scale)
        turn = math.radians(draw.uniform(-self.angle, self.angle))
        reach = min(factor * max(self.sides) / 2, min(H, W) / 2)
        middle = draw.uniform(reach, H - reach) - 0.5, draw.uniform(reach, W - reach) - 0.5
        matrix = placement(self.size, self.sides, middle, factor, turn)
        xp, of = kernels.xp(u), u.dtype.type
        cover = xp.asarray((matrix @ self.mask.reshape(-1, 1)).reshape(1, H, W, 1).astype(u.dtype))
        ink = Laid(matrix, self.size)(patch * xp.asarray(self.mask[None].astype(u.dtype)))
        return ink + u * (of(1) - cover)

    def picture(self, patch):
        """The patch (h, w, 3), 0 to 1, on white: uint8."""
        return to_uint8(255 * (patch * self.mask + (1 - self.mask)))


class Laid(Op):
    """y (1, H, W, C) = M x, x (1, h, w, C): the patch at its place; dx = M^T dy."""

    def __init__(self, matrix, size):
        self.matrix, self.size = matrix, size

    def forward(self, x):
        self.sides = x.shape[1:3]
        return apply_sparse(self.matrix, x, self.size)

    def backward(self, dy):
        return apply_sparse(self.matrix.T.tocsr(), dy, self.sides)


def placement(size, sides, middle, factor, turn):
    """Sparse (H W, h w): each pixel of the picture as a bilinear mean of four of the patch, which lies with its middle
    at (row, column), `factor` times as large and turned by `turn`; zero beside it."""
    from scipy.sparse import csr_matrix
    (H, W), (h, w) = size, sides
    y, x = (np.arange(H) - middle[0])[:, None] / factor, (np.arange(W) - middle[1])[None] / factor
    cos, sin = math.cos(turn), math.sin(turn)
    rows, columns = (h - 1) / 2 + y * cos - x * sin, (w - 1) / 2 + y * sin + x * cos
    top, left = np.floor(rows).astype(np.int64), np.floor(columns).astype(np.int64)
    at, cells, weights = [], [], []
    for a, wa in ((top, 1 - (rows - top)), (top + 1, rows - top)):
        for b, wb in ((left, 1 - (columns - left)), (left + 1, columns - left)):
            inside = (a >= 0) & (a < h) & (b >= 0) & (b < w)
            at.append(np.flatnonzero(inside))
            cells.append((a * w + b)[inside])
            weights.append((wa * wb)[inside])
    return csr_matrix((np.concatenate(weights), (np.concatenate(at), np.concatenate(cells))), shape=(H * W, h * w))


def _disc(h, w):
    """1 within the circle of that diameter, 0 outside."""
    y, x = np.arange(h) - (h - 1) / 2, np.arange(w) - (w - 1) / 2
    return (np.hypot(y[:, None], x[None]) <= h / 2).astype(np.float64)


def _from_first_to_last(which):
    """The indices from the first True to the last."""
    at = np.flatnonzero(which)
    return np.arange(at[0], at[-1] + 1)
