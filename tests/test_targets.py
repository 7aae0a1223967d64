"""Classes and units by name."""
from types import SimpleNamespace

import pytest

from minivis.errors import MinivisError
from minivis.targets import Unit, imagenet_classes, resolve_class, resolve_unit


def network(labels=None, logits="logits"):
    channels = {"logits": 3 if labels else 1000, "conv1": 8}

    def layer_name(name):
        if name not in channels:
            raise MinivisError(f"no layer {name!r}")
        return name

    return SimpleNamespace(name="net", logits_layer=logits, labels=labels, channels=channels.__getitem__,
                           rank=lambda name: 1 if name == "logits" else 3, layer_name=layer_name)


def test_a_class_is_an_index_an_id_or_a_label():
    net = network()
    for target in (281, "281", "n02123045", "tabby", "Tabby ", "N02123045"):
        assert resolve_class(net, target) == (281, "tabby")


def test_the_list_of_classes_is_complete():
    rows = imagenet_classes()
    assert len(rows) == 1000 and len({wnid for wnid, _ in rows}) == 1000
    assert rows[0] == ("n01440764", "tench") and rows[999] == ("n15075141", "toilet tissue")


@pytest.mark.parametrize("label, ids", [("crane", ("n02012849", "n03126707")), ("maillot", ("n03710637", "n03710721"))])
def test_an_ambiguous_label_lists_the_ids(label, ids):
    with pytest.raises(MinivisError, match="ambiguous") as caught:
        resolve_class(network(), label)
    assert all(wnid in str(caught.value) for wnid in ids)
    assert resolve_class(network(), ids[1])[1].startswith(label)


@pytest.mark.parametrize("target, words", [
    (1000, "none of the network's classes 0 to 999"), (-1, "none of the network's classes"), (True, "must be an index"),
    (1.5, "must be an index"), ("tabbi", "did you mean tabby"), ("terrier", "did you mean"), ("", "no class is called"),
    ("n99999999", "no class is called"),
])
def test_a_wrong_class_is_one_clear_error(target, words):
    with pytest.raises(MinivisError, match=words):
        resolve_class(network(), target)


def test_own_labels_come_before_imagenets():
    net = network(labels=[("n1", "cat, house cat"), ("n2", "dog"), ("n3", "cat")])
    assert resolve_class(net, "house cat") == (0, "cat, house cat")
    assert resolve_class(net, "cat") == (2, "cat")          # a whole label wins over a part of one
    with pytest.raises(MinivisError, match="no class is called 'tabby'"):
        resolve_class(net, "tabby")


def test_a_network_without_scores_has_no_classes():
    with pytest.raises(MinivisError, match="no class scores"):
        resolve_class(network(logits=None), 3)


@pytest.mark.parametrize("text, unit", [
    ("conv1:7", Unit("conv1", 7)), (" conv1 : 7 @ 2 , 3 ", Unit("conv1", 7, 2, 3)), ("logits:2", Unit("logits", 2)),
    (Unit("conv1", 1, 0, 0), Unit("conv1", 1, 0, 0)),
])
def test_a_unit_is_layer_channel_and_perhaps_a_place(text, unit):
    assert resolve_unit(network(), text) == unit
    assert resolve_unit(network(), str(unit)) == unit


@pytest.mark.parametrize("text, words", [
    ("conv1", "LAYER:CHANNEL"), ("conv1:8", "channels 0 to 7"), ("conv1:x", "LAYER:CHANNEL"), ("conv1:1@2", "LAYER"),
    ("conv9:1", "no layer"), ("logits:1@0,0", "have no row and column"), ("conv1:-1", "LAYER:CHANNEL"),
])
def test_a_wrong_unit_is_one_clear_error(text, words):
    with pytest.raises(MinivisError, match=words):
        resolve_unit(network(), text)
