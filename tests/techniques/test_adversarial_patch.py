"""A patch lies where it is put, is learnt through its placement, and is judged at places never used before."""
import numpy as np
import pytest

from minivis.errors import MinivisError
from minivis.gradcheck import gradcheck
from minivis.monitor import SilentMonitor, StateFile
from minivis.techniques.adversarial_patch import Laid, Stickers, adversarial_patch, placement
from minivis.tensor import Tensor

FAST = {"share": 0.3, "steps": 25, "rate": 0.1}


@pytest.fixture
def pictures():
    random = np.random.RandomState(3)
    return [random.randint(60, 190, (12, 10, 3)).astype(np.uint8) for _ in range(4)]


def test_a_placement_is_a_copy_at_whole_pixels_and_its_backward_a_derivative():
    patch = np.random.RandomState(0).rand(1, 4, 4, 3)
    laid = Laid(placement((9, 8), (4, 4), (3.5, 2.5), 1.0, 0.0), (9, 8))(Tensor(patch)).data[0]
    assert np.allclose(laid[2:6, 1:5], patch[0], atol=1e-12) and np.isclose(laid.sum(), patch.sum())
    turned = Laid(placement((9, 8), (4, 4), (3.5, 2.5), 1.0, np.pi / 2), (9, 8))(Tensor(patch)).data[0]
    assert any(np.allclose(turned[2:6, 1:5], np.rot90(patch[0], k), atol=1e-9) for k in (1, 3))
    gradcheck(lambda x: Laid(placement((9, 8), (4, 4), (3.2, 2.9), 1.3, 0.4), (9, 8))(x), patch)


def test_the_picture_beside_the_patch_stays(pictures):
    layer = Stickers((12, 10), 0.2, "circle", 0.0, 0.0)
    u = pictures[0][None] / 255
    on = layer.on(u, Tensor(np.ones((1, *layer.sides, 3))), np.random.default_rng(0)).data
    changed = (on != u).any(axis=3)[0]
    assert np.allclose(on[0][changed].max(), 1) and 0.1 < changed.mean() < 0.4 and on.max() <= 1 + 1e-12
    white = layer.picture(np.zeros((*layer.sides, 3)))
    assert (white[0, 0] == 255).all() and (white[layer.sides[0] // 2, layer.sides[1] // 2] == 0).all()


def test_the_patch_raises_the_target_and_is_judged_on_new_placements(linear_net, pictures):
    net = linear_net("BGR")[0]
    r = adversarial_patch(net, pictures, target="dog", **FAST)
    score = r.history["score"][:, 0]
    assert score[-5:].mean() > score[:5].mean() + 0.1
    n = r.numbers
    assert n["placements"] == 16 and n["success"] > max(n["clean"], n["other"]) and n["class"] == 1
    assert len(r.examples) == 4 and r.examples[0].shape == (12, 10, 3) and r.pictures.shape[3] == 3
    assert "new placements" in r.captions[0] and r.picture().ndim == 3


def test_a_mask_gives_the_patch_its_form(conv_net, pictures):
    mask = np.zeros((20, 40), bool)
    mask[4:12, 2:18] = True
    mask[7:9, 8:12] = False                                 # a bar with a hole
    layer = Stickers((12, 10), 0.35, "circle", 0.0, 0.0, mask)
    h, w = layer.sides
    assert w > 1.5 * h and abs(layer.mask.sum() / 120 - 0.35) < 0.05 and layer.mask[h // 2, w // 2] < 0.6
    r = adversarial_patch(conv_net(), pictures, target="dog", mask=mask, share=0.35, steps=2)
    assert r.pictures.shape == (1, h, w, 3) and (r.pictures[0][layer.mask[..., 0] == 0] == 255).all()
    with pytest.raises(MinivisError, match="black all over"):
        adversarial_patch(conv_net(), pictures, target="dog", mask=np.zeros((5, 5), bool))


class KilledAt(SilentMonitor):
    def step(self, done, total, terms=None, picture=None):
        assert picture().dtype == np.uint8
        if done == 4:
            raise KeyboardInterrupt


def test_interrupted_and_resumed_the_bits_are_the_same(conv_net, pictures, tmp_path):
    net, options = conv_net(precision="float32"), {**FAST, "target": 2, "steps": 8, "shape": "square"}
    whole = adversarial_patch(net, pictures, **options)
    with pytest.raises(KeyboardInterrupt):
        adversarial_patch(net, pictures, monitor=KilledAt(StateFile(tmp_path / "s.h5", {}, every=0, share=1e9)),
                          **options)
    again = adversarial_patch(net, pictures, monitor=SilentMonitor(StateFile(tmp_path / "s.h5", {})), **options)
    assert np.ptp(whole.values) > 0
    assert all(np.array_equal(a, again.arrays()[name]) for name, a in whole.arrays().items() if a is not None)


@pytest.mark.parametrize("options, message", [({"share": 0.7}, r"share 0\.7"), ({"share": 0.001}, "pixels large"),
                                              ({"target": "horse"}, "no class is called")])
def test_what_cannot_be_is_one_clear_error(conv_net, pictures, options, message):
    with pytest.raises(MinivisError, match=message):
        adversarial_patch(conv_net(), pictures, **{"target": "dog", **options})
