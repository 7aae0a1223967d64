"""Every technique gives what PyTorch gives, in float64, on networks drawn from a seed (tools/make_golden.py)."""
import numpy as np
import pytest

from minivis import golden
from minivis.golden.decisions import decided
from minivis.techniques.classify import classify
from minivis.techniques.compare_rules import compare_rules
from minivis.techniques.deconvnet import deconvnet
from minivis.techniques.guided_backprop import guided_backprop
from minivis.techniques.occlusion import occlusion
from minivis.techniques.saliency import saliency
from minivis.techniques.unit_gradient import unit_gradient
from minivis.tensor import Tensor, gradient

NAMES = ("fire", "odd", "vgg", "normed")         # what tools/make_golden.py writes
RULES = ("plain", "guided", "deconv")


def equal(got, wanted, tolerance=1e-9):
    assert np.any(wanted), "a comparison of zeros proves nothing"
    assert got.shape == wanted.shape
    assert np.abs(got - wanted).max() <= tolerance * np.abs(wanted).max()


@pytest.fixture(params=NAMES)
def case(request, each_kernel_set):
    about, arrays = golden.load(request.param)
    return golden.network(about), about, arrays


def test_there_are_goldens_and_they_are_small():
    assert set(NAMES) <= set(golden.names())
    assert sum(array.nbytes for name in NAMES for array in golden.load(name)[1].values()) < 3e6


def test_scores(case):
    net, about, arrays = case
    rows = classify(net, arrays["picture"], top=len(arrays["logits"])).rows
    equal(np.array([row["logit"] for row in sorted(rows, key=lambda row: row["index"])]), arrays["logits"])
    assert rows[0]["index"] == about["class"]


def test_maps_of_the_class(case):
    net, _, arrays = case
    plain = saliency(net, arrays["picture"], reduce="none")
    equal(plain.values, arrays["class_plain"])
    equal(guided_backprop(net, arrays["picture"]).values, arrays["class_guided"])
    equal(deconvnet(net, arrays["picture"]).values, arrays["class_deconv"])
    equal(saliency(net, arrays["picture"]).values, np.abs(arrays["class_plain"]).max(axis=2))


@pytest.mark.parametrize("rule", RULES)
def test_maps_of_a_unit_and_of_a_channel(case, rule):
    net, about, arrays = case
    strongest = unit_gradient(net, arrays["picture"], about["unit"], rule=rule)
    equal(strongest.values, arrays[f"unit_{rule}"])
    everywhere = unit_gradient(net, arrays["picture"], about["unit"], rule=rule, positions="all")
    equal(everywhere.values, arrays[f"channel_{rule}"])


def test_three_rules_from_one_pass(case):
    net, about, arrays = case
    results = compare_rules(net, arrays["picture"], unit=about["unit"]).results
    assert {result.recipe["technique"] for result in results} == set(RULES)
    for result in results:
        equal(result.values, arrays[f"unit_{result.recipe['technique']}"])


def test_occlusion_scores_of_every_class_at_every_place(case):
    net, about, arrays = case
    result = occlusion(net, arrays["picture"], size=about["window"], stride=about["stride"], fill=about["fill"])
    equal(result.scores, arrays["occlusion"])


def test_float32_forward_is_within_1e5_of_float64(case):
    net, _, arrays = case
    net = net.with_precision("float32")
    for layers in (None, net.table.names):      # layers fused, and each by itself
        y = net(net.preprocess(arrays["picture"]), layers=layers)[net.logits_layer].numpy()[0]
        assert y.dtype == np.float32
        equal(y, arrays["logits"], 1e-5)


@pytest.mark.parametrize("rule", RULES)
def test_float32_backward_with_the_decisions_of_float64_is_within_1e5(case, rule):
    """Whole float32 gradients are not compared: one unit within rounding of zero would change them visibly."""
    net64, about, arrays = case
    net = net64.with_precision("float32")
    x = net64.preprocess(arrays["picture"])
    values = net64(x, layers=net64.table.names)
    rules = decided(net64, net.logits_layer, {name: value.numpy() for name, value in values.items()}, rule)
    x = Tensor(x.astype(np.float32), needs_grad=True)
    logits = net(x, keep="inputs")[net.logits_layer]
    seed = np.zeros(logits.shape, np.float32)
    seed[0, about["class"]] = 1
    g = net.to_rgb(gradient(logits, x, rules=rules, seed=seed)[0])
    assert g.dtype == np.float32
    equal(g, arrays[f"class_{rule}"], 1e-5)
