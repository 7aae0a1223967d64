"""classify: softmax of the logits, the likeliest first, with the names the network knows."""
import numpy as np
import pytest

from minivis.techniques.classify import classify


def test_rows_are_the_softmax_of_the_logits_in_falling_order(conv_net, picture):
    net = conv_net()
    logits = net(net.preprocess(picture))["scores"].numpy()[0]
    p = np.exp(logits) / np.exp(logits).sum()
    rows = classify(net, picture).rows
    assert [row["index"] for row in rows] == np.argsort(-logits).tolist()
    for row in rows:
        assert row["probability"] == pytest.approx(p[row["index"]]) and row["logit"] == logits[row["index"]]
        assert (row["wnid"], row["label"]) == net.labels[row["index"]]
    assert sum(row["probability"] for row in rows) == pytest.approx(1)


def test_top_limits_the_rows_and_must_be_positive(conv_net, picture):
    assert len(classify(conv_net(), picture, top=2).rows) == 2
    with pytest.raises(ValueError, match="top 0"):
        classify(conv_net(), picture, top=0)


def test_equal_scores_come_by_index(linear_net, picture):
    net = linear_net()[0].with_weights({"scores/weight": np.zeros((360, 3)), "scores/bias": np.ones(3)})
    rows = classify(net, picture).rows
    assert [row["index"] for row in rows] == [0, 1, 2]
    assert all(row["probability"] == pytest.approx(1 / 3) for row in rows)


def test_text_has_a_line_for_each_class(conv_net, picture):
    lines = classify(conv_net(), picture).text().splitlines()
    assert len(lines) == 3 and all("%" in line and "logit" in line for line in lines)
    assert {line.split()[-1] for line in lines} == {"cat", "dog", "bird"}
