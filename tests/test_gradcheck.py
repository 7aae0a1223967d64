"""The check that checks every backward: it passes what is right and fails what is wrong."""
import numpy as np
import pytest

from minivis import ops
from minivis.gradcheck import gradcheck
from minivis.tensor import Op

RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 4)) + 3 * np.sign(RNG.standard_normal((3, 4)))        # away from 0


class Cubed(Op):
    """y = x^3 with a backward that is off by `factor`, or wrong in one entry only."""

    def __init__(self, factor=1.0, only_first=False):
        self.factor, self.only_first = factor, only_first

    def forward(self, x):
        self.x = x
        return x ** 3

    def backward(self, dy):
        dx = 3 * self.x ** 2 * dy
        where = (0, 0) if self.only_first else ...
        dx[where] *= self.factor
        return dx


def test_a_right_backward_passes_with_room_to_spare():
    assert gradcheck(lambda x: Cubed()(x), X) < 1e-8


@pytest.mark.parametrize("factor", [2.0, -1.0, 1 + 1e-5, 0.999])
def test_a_wrong_backward_fails(factor):
    with pytest.raises(AssertionError, match="relative error"):
        gradcheck(lambda x: Cubed(factor)(x), X)


def test_one_wrong_entry_fails():
    with pytest.raises(AssertionError, match="relative error"):
        gradcheck(lambda x: Cubed(1.01, only_first=True)(x), X)


def test_a_backward_that_is_not_a_number_fails():
    with pytest.raises(AssertionError, match="relative error nan"):
        gradcheck(lambda x: Cubed(np.nan)(x), X)


def test_a_zero_gradient_is_no_proof():
    with pytest.raises(AssertionError, match="zero everywhere"):
        gradcheck(lambda x: x * 0, X)


@pytest.mark.parametrize("rule", ["guided", "deconv"])
def test_guided_and_deconv_are_no_derivatives(rule):
    f = lambda x: ops.relu(x)
    assert gradcheck(f, X, rules="plain") < 1e-7
    with pytest.raises(AssertionError, match="relative error"):
        gradcheck(f, X, rules=rule)


def test_a_gradient_of_the_wrong_shape_fails():
    class Flat(Cubed):
        def backward(self, dy):
            return super().backward(dy).ravel()

    with pytest.raises(AssertionError, match=r"gradient \(12,\) for input 0 of shape \(3, 4\)"):
        gradcheck(lambda x: Flat()(x), X)


def test_an_op_that_keeps_too_little_when_asked_for_one_gradient_fails():
    class Careless(Op):
        """a * b that keeps b only if a gradient for b is asked for too."""

        def forward(self, a, b):
            self.a, self.b = a, b if self.needs[1] else np.ones_like(b)
            return a * b

        def backward(self, dy):
            return dy * self.b, dy * self.a

    with pytest.raises(AssertionError, match="input 0 alone and with the others"):
        gradcheck(lambda a, b: Careless()(a, b), X, X + 1)


def test_a_backward_that_changes_its_own_memory_fails():
    class Spent(Cubed):
        def backward(self, dy):
            dx = super().backward(dy)
            self.x = self.x * 2
            return dx

    with pytest.raises(AssertionError, match="two walks"):
        gradcheck(lambda x: Spent()(x), X)


def test_the_same_seed_gives_the_same_error():
    f = lambda x: ops.exp(x * 0.3)
    assert gradcheck(f, X) == gradcheck(f, X) != gradcheck(f, X, seed=1)
