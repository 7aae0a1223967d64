"""How weights move: SGD with momentum, AdamW. Both change the arrays of trainable Tensors in place.

    optimiser = SGD(momentum=0.9, weight_decay=5e-4)
    optimiser.step({"conv1/weight": tensor, ...}, {"conv1/weight": gradient, ...}, rate=0.1)

Weight decay pulls only on what multiplies (convolutions and dense layers), not on biases, scales and shifts.
(The optimisers of minivis.optimize move pictures, one step size per picture; these move many arrays of many shapes.)
"""
import numpy as np

from .. import kernels
from ..errors import MinivisError
from ..optimize import host


class SGD:
    """v <- m v + g + d w;  w <- w - rate (g + d w + m v) with nesterov, else w - rate v.

    m: momentum, d: weight decay, g: gradient. Nesterov's form as Sutskever et al. 2013 rewrote it and torch has it.
    """

    def __init__(self, momentum=0.9, weight_decay=0.0, nesterov=True):
        if not 0 <= momentum < 1 or weight_decay < 0:
            raise MinivisError(f"SGD: momentum {momentum} must be in 0 <= m < 1 and weight_decay {weight_decay} >= 0")
        self.momentum, self.weight_decay, self.nesterov = momentum, weight_decay, nesterov
        self.velocity = {}

    def step(self, weights, gradients, rate):
        for name, tensor in weights.items():
            w, g = tensor.data, gradients[name]
            number = w.dtype.type
            if self.weight_decay and decays(name):
                g = g + w * number(self.weight_decay)
            v = self.velocity.get(name)
            if v is None:
                v = self.velocity[name] = kernels.xp(w).zeros_like(w)
            v *= number(self.momentum)
            v += g
            w -= (v * number(self.momentum) + g if self.nesterov else v) * number(rate)

    def state(self):
        """What a later run needs to go on with the same bits."""
        return {"velocity": {name: host(v) for name, v in self.velocity.items()}}

    def restore(self, state, xp=np):
        self.velocity = {name: xp.array(v) for name, v in state["velocity"].items()}


class AdamW:
    """Adam with decoupled weight decay d: w <- w - rate (m / (sqrt(v) + eps) + d w).

    m and v are running means of g and g^2, corrected for their start at 0. Kingma, Ba 2015, arXiv:1412.6980;
    Loshchilov, Hutter 2019, arXiv:1711.05101. With weight_decay 0 it is Adam.
    """

    def __init__(self, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.01):
        if not (0 <= beta1 < 1 and 0 <= beta2 < 1) or weight_decay < 0:
            raise MinivisError(f"AdamW: beta1 {beta1}, beta2 {beta2} must be in 0 <= b < 1, weight_decay "
                               f"{weight_decay} >= 0")
        self.beta1, self.beta2, self.eps, self.weight_decay = beta1, beta2, eps, weight_decay
        self.means, self.squares, self.steps = {}, {}, 0

    def step(self, weights, gradients, rate):
        self.steps += 1
        for name, tensor in weights.items():
            w, g = tensor.data, gradients[name]
            xp, number = kernels.xp(w), w.dtype.type
            if name not in self.means:
                self.means[name], self.squares[name] = xp.zeros_like(w), xp.zeros_like(w)
            m, v = self.means[name], self.squares[name]
            m += (g - m) * number(1 - self.beta1)
            v += (g * g - v) * number(1 - self.beta2)
            if self.weight_decay and decays(name):
                w *= number(1 - rate * self.weight_decay)
            size = xp.sqrt(v * number(1 / (1 - self.beta2 ** self.steps))) + number(self.eps)
            w -= m / size * number(rate / (1 - self.beta1 ** self.steps))

    def state(self):
        return {"means": {n: host(a) for n, a in self.means.items()},
                "squares": {n: host(a) for n, a in self.squares.items()}, "steps": self.steps}

    def restore(self, state, xp=np):
        self.means = {n: xp.array(a) for n, a in state["means"].items()}
        self.squares = {n: xp.array(a) for n, a in state["squares"].items()}
        self.steps = int(state["steps"])


def decays(name):
    """Whether weight decay pulls on the weight of this name."""
    return name.endswith("/weight")
