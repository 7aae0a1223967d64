"""Attribution techniques on networks solved by hand: completeness, known maps, batching, targets."""
import numpy as np
import pytest

from minivis.errors import MinivisError
from minivis.layers import Layer
from minivis.network import Network
from minivis.techniques.cam import cam
from minivis.techniques.cams import enlarge, weighted
from minivis.techniques.deeplift import deeplift
from minivis.techniques.eigencam import eigencam
from minivis.techniques.excitation_backprop import excitation_backprop
from minivis.techniques.expected_gradients import expected_gradients
from minivis.techniques.full_gradient import full_gradient
from minivis.techniques.gradcam import gradcam
from minivis.techniques.gradcam_plus_plus import plus_plus_weights
from minivis.techniques.guided_backprop import guided_backprop
from minivis.techniques.guided_gradcam import guided_gradcam
from minivis.techniques.input_x_gradient import input_x_gradient
from minivis.techniques.integrated_gradients import integrated_gradients, quadrature
from minivis.techniques.layercam import layercam
from minivis.techniques.lrp import lrp
from minivis.techniques.scorecam import scorecam
from minivis.techniques.smoothgrad import smoothgrad
from minivis.techniques.xgradcam import xgradcam
from minivis.tensor import Tensor, gradient


def close(got, wanted, tolerance=1e-10):
    assert np.any(wanted) and got.shape == wanted.shape
    assert np.abs(got - wanted).max() <= tolerance * np.abs(wanted).max()


@pytest.mark.parametrize("channels", ["RGB", "BGR"])
def test_on_a_linear_network_the_paths_do_not_matter(linear_net, picture, channels):
    """Input x gradient, integrated gradients and DeepLIFT from black, LRP-epsilon: all are x * w."""
    net, w = linear_net(channels)
    wanted = w[:, :, :, 1] * picture / 255
    for technique, options in ((input_x_gradient, {}), (deeplift, {}), (integrated_gradients, {"steps": 2}),
                               (integrated_gradients, {"steps": 3, "method": "left"})):
        result = technique(net, picture, target=1, reduce="none", **options)
        close(result.values, wanted)
    assert integrated_gradients(net, picture, target=1).gap == pytest.approx(0, abs=1e-9)
    assert input_x_gradient(net, picture, target=1).gap == pytest.approx(-1, abs=1e-9)      # the bias of class 1
    close(lrp(net, picture, target=1, preset="epsilon", reduce="none").values, wanted, 1e-5)
    close(input_x_gradient(net, picture, target=1).values, wanted.sum(axis=2))


def test_completeness(conv_net, picture):
    net = conv_net(bias=0.05)
    result = deeplift(net, picture)
    assert abs(result.gap) < 1e-12 and result.values.any()
    many, few = (integrated_gradients(net, picture, steps=n, method="midpoint") for n in (200, 2))
    assert abs(many.gap) < 0.1 * abs(few.gap) and abs(many.gap) < 1e-3
    assert abs(full_gradient(net, picture).gap) < 1e-12
    net = conv_net(bias=0.0)
    assert abs(input_x_gradient(net, picture).gap) < 1e-12
    for preset in ("z_plus", "deep_taylor", "bounded_deep_taylor", "preset_a_flat"):
        result = lrp(net, picture, preset=preset)
        assert abs(result.gap) < 1e-3 * result.score and result.values.any(), preset


def test_quadratures_integrate_what_they_should():
    for method, degree in (("gausslegendre", 9), ("midpoint", 1), ("trapezoid", 1), ("left", 0), ("right", 0)):
        places, weights = quadrature(method, 5)
        for power in range(degree + 1):
            assert weights @ places ** power == pytest.approx(1 / (power + 1), abs=1e-12), (method, power)
        assert weights @ places ** (degree + 1) != pytest.approx(1 / (degree + 2), abs=1e-9)
    with pytest.raises(MinivisError, match="steps 1"):
        quadrature("trapezoid", 1)


def test_expected_gradients_from_one_baseline_miss_integrated_gradients_by_chance_only(conv_net, picture, tmp_path):
    from minivis import image
    image.save(np.zeros_like(picture), tmp_path / "black.png")
    net = conv_net(bias=0.05)
    exact = integrated_gradients(net, picture, steps=200, method="midpoint", reduce="none").values
    drawn = [np.abs(expected_gradients(net, picture, str(tmp_path), samples=n, reduce="none").values - exact).max()
             for n in (4, 400)]
    assert drawn[1] < 0.2 * drawn[0] and drawn[1] < 0.1 * np.abs(exact).max()
    with pytest.raises(MinivisError, match="no folder"):
        expected_gradients(net, picture, str(tmp_path / "nowhere"))


def test_memory_and_batches_change_nothing(conv_net, picture):
    net = conv_net(bias=0.05, precision="float32")
    for technique, options in ((smoothgrad, {"samples": 7}), (integrated_gradients, {"steps": 7}), (scorecam, {})):
        small = technique(net, picture, memory="1KB", **options).values
        assert small.any() and np.array_equal(small, technique(net, picture, memory="1GB", **options).values)


def test_expected_gradients_keep_few_baselines_and_give_the_same_bits(conv_net, picture, tmp_path, monkeypatch):
    from minivis import image
    from minivis.techniques import expected_gradients as module
    for i in range(5):
        image.save(np.random.RandomState(i).randint(0, 256, (9, 14, 3)).astype(np.uint8), tmp_path / f"{i}.png")
    net = conv_net(bias=0.05, precision="float32")
    all_kept = expected_gradients(net, picture, str(tmp_path), samples=20)
    kept = []

    class Watched(module.Baselines):
        def __getitem__(self, i):
            found = super().__getitem__(i)
            kept.append(self.read.cache_info().currsize)
            return found
    monkeypatch.setattr(module, "Baselines", Watched)
    few = expected_gradients(net, picture, str(tmp_path), samples=20, memory="12KB")        # 1440 bytes a baseline
    assert max(kept) == 2 and few.values.any()
    assert np.array_equal(few.values, all_kept.values) and few.gap == all_kept.gap


def test_smoothgrad_is_seeded_and_ends_in_the_gradient_without_noise(conv_net, picture):
    from minivis.techniques.saliency import saliency
    net = conv_net(bias=0.05)
    close(smoothgrad(net, picture, samples=2, noise=0.0).values, saliency(net, picture).values)
    assert not smoothgrad(net, picture, samples=2, noise=0.0, variant="variance").values.any()
    one, same, other = (smoothgrad(net, picture, samples=3, seed=s).values for s in (0, 0, 1))
    assert np.array_equal(one, same) and not np.array_equal(one, other)


def test_class_activation_map_of_an_average_is_the_channel(conv_net, picture):
    """The logit is the map's mean; Grad-CAM of the same layer is the map divided by the number of places."""
    net = conv_net(bias=0.05)
    a = net(net.preprocess(picture), layers=["relu2"])["relu2"].numpy()[0]
    k = int(a.mean(axis=(0, 1)).argmax())
    result = cam(net, picture, upsample="nearest")
    assert result.score == pytest.approx(a[:, :, k].mean()) and result.values.max() == pytest.approx(a[:, :, k].max())
    for technique in (gradcam, xgradcam, layercam):
        small = technique(net, picture, layer="relu2", upsample="nearest").values
        close(small, result.values / a[:, :, k].size)


def test_cam_with_dense_weights_and_where_it_cannot_be(picture):
    random = np.random.RandomState(0)
    layers = [Layer("input", "input", shape=[None, None, 3]), Layer("conv", "conv", filters=4, kernel=3, pad=1),
              Layer("average", "global_avg_pool"), Layer("scores", "linear", outputs=3)]
    weights = {"conv/weight": random.standard_normal((3, 3, 3, 4)), "conv/bias": np.zeros(4),
               "scores/weight": random.standard_normal((4, 3)), "scores/bias": np.arange(3.0)}
    prep = {"channels": "RGB", "range": 1, "mean": [0, 0, 0], "std": [1, 1, 1]}
    net = Network(layers, weights, "scores", preprocessing=prep, precision="float64")
    result = cam(net, picture, target=2)
    assert result.values.mean() + 2 == pytest.approx(result.score)      # fields of 3 x 3, stride 1: places are pixels
    close(result.values, gradcam(net, picture, target=2, layer="conv", relu=False).values * picture[:, :, 0].size)
    flat = [*layers[:2], Layer("flat", "flatten"), Layer("scores", "linear", outputs=3)]
    flat[0] = Layer("input", "input", shape=[12, 10, 3])
    weights["scores/weight"] = random.standard_normal((480, 3))
    with pytest.raises(MinivisError, match="not an average"):
        cam(Network(flat, weights, "scores", preprocessing=prep), picture)


@pytest.mark.parametrize("layer, wanted, split", [
    ("conv1", [[11.25, 13.5], [20.25, 22.5]], [[[-3.75, 3], [23.25, 30]], [[15, 10.5], [-3, -7.5]]]),
    ("relu1", [[0, 4], [28, 32.5]], None),
])
def test_gradcam_of_captums_unit_test(layer, wanted, split):
    """Its network: x = 0..15, 3x3 filters of ones with bias -50 and -75, ReLU, a dense row after a channel-first
    flatten."""
    layers = [Layer("input", "input", shape=[4, 4, 1]), Layer("conv1", "conv", filters=2, kernel=3),
              Layer("relu1", "relu"), Layer("flat", "flatten", order="chw"), Layer("fc1", "linear", outputs=1),
              Layer("relu2", "relu")]
    weights = {"conv1/weight": np.ones((3, 3, 1, 2)), "conv1/bias": np.array([-50.0, -75.0]),
               "fc1/weight": np.array([[1.0]] * 5 + [[-1.0]] * 3), "fc1/bias": np.zeros(1)}
    net = Network(layers, weights, "relu2", precision="float64")
    values = net(Tensor(np.arange(16.0).reshape(1, 4, 4, 1), needs_grad=True), layers=[layer, "relu2"])
    a, g = values[layer].data[0], gradient(values["relu2"], values[layer])[0]
    assert np.allclose(weighted(a, g.mean(axis=(0, 1))), wanted)
    if split is not None:
        assert np.allclose(np.moveaxis(a * g.mean(axis=(0, 1)), 2, 0), split)


def test_places_stand_at_the_centres_of_their_fields(conv_net):
    """conv2 after a pooling: units 2 pixels apart, the first centre at pixel 2.5; corners and edges lie elsewhere."""
    net, a = conv_net(), np.arange(12.0).reshape(4, 3)
    big = enlarge(net, a, "conv2", (12, 10), "centres")
    assert big.shape == (12, 10) and big[2, 2] == a[0, 0] and big[3, 3] == pytest.approx(1)
    assert big[5, 4] == pytest.approx(1.25 * 3 + 0.75) and big[11, 9] == a[3, 2]
    corners, edges = (enlarge(net, a, "conv2", (12, 10), how) for how in ("corners", "half_pixel"))
    assert corners[0, 0] == 0 and corners[-1, -1] == 11 and not np.allclose(corners, big)
    assert edges.mean() == pytest.approx(a.mean()) and not np.allclose(edges, corners)


def test_guided_gradcam_is_the_product(conv_net, picture):
    net = conv_net(bias=0.05)
    result = guided_gradcam(net, picture)
    close(result.values, guided_backprop(net, picture).values * gradcam(net, picture).values[:, :, None])


def test_grad_cam_plus_plus_does_not_depend_on_the_unit_of_the_score():
    """Scaling S by 1000 scales every term of alpha's denominator but the usual stabiliser's."""
    random = np.random.RandomState(0)
    a, g = np.abs(random.standard_normal((4, 5, 3))), random.standard_normal((4, 5, 3)) * 1e-4
    small, with_stabilizer = plus_plus_weights(a, g), plus_plus_weights(a, g, 1e-6)
    close(small, np.maximum(g, 0).sum(axis=(0, 1)) / 2, 1e-2)       # g^3 vanishes beside g^2: alpha is 1/2
    assert np.abs(with_stabilizer).max() < 0.1 * np.abs(small).max()
    assert np.all(plus_plus_weights(a, 0 * g) == 0)


def test_excitation_is_a_probability_and_contrast_cuts_off(conv_net, picture):
    net = conv_net(positive=True)
    whole = excitation_backprop(net, picture, layer="relu1")
    assert whole.values.min() >= 0 and "100 %" in whole.notes[0]
    contrast = excitation_backprop(conv_net(), picture, layer="pool1", contrastive=True)
    assert contrast.values.min() >= 0 and contrast.values.any()
    with pytest.raises(MinivisError, match="vector"):
        excitation_backprop(net, picture, layer="scores")


def test_eigencam_finds_the_common_pattern_with_a_sign(conv_net, picture):
    net = conv_net(bias=0.5)
    a = net(net.preprocess(picture), layers=["relu1"])["relu1"].numpy()[0]
    result = eigencam(net, picture, layer="relu1", relu=False)
    mean = a.mean(axis=2)
    assert (result.values * (mean - mean.mean())).sum() > 0


def test_rules_of_single_layers(conv_net, picture):
    net = conv_net(bias=0.05)
    by_preset = lrp(net, picture, preset="epsilon_gamma_box").values
    by_hand = lrp(net, picture, preset="epsilon", layers="conv*=gamma:0.25, conv1=z_box").values
    assert by_preset.any() and np.array_equal(by_preset, by_hand)
    for layers, words in (("conv9=flat", "conv9"), ("conv1=flot", "flat"), ("conv1", "LAYER=RULE"),
                          ("conv1=alpha_beta:1:1", "minus beta"), ("conv1=epsilon:x", "numbers")):
        with pytest.raises(MinivisError, match=words):
            lrp(net, picture, layers=layers)


def test_relevance_starts_at_the_score_or_at_one(conv_net, picture):
    net = conv_net()
    score, one = (lrp(net, picture, preset="z_plus", start_with=s) for s in ("score", "one"))
    close(score.values, one.values * score.score, 1e-9)


@pytest.mark.parametrize("technique", [input_x_gradient, integrated_gradients, smoothgrad, deeplift, full_gradient])
def test_a_channels_sum_and_mean_are_sums_and_means_of_units(conv_net, picture, technique):
    net = conv_net(bias=0.05)
    total = technique(net, picture, unit="conv2:1", positions="all")
    mean = technique(net, picture, unit="conv2:1", positions="mean")
    places = 4 * 3
    assert mean.score == pytest.approx(total.score / places)
    if technique is not full_gradient:          # its parts are scaled to 0..1
        close(mean.values, total.values / places, 1e-9)
    at = total.target
    assert at["layer"] == "conv2" and at["channel"] == 1 and "position" not in at


def test_the_network_is_unchanged(conv_net, picture):
    net = conv_net(bias=0.05)
    before = net.weights_hash()
    for technique in (lrp, deeplift, full_gradient, gradcam, smoothgrad):
        technique(net, picture)
    net._forget()
    assert net.weights_hash() == before
