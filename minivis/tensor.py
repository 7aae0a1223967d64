"""Reverse-mode automatic differentiation, the whole of it.

A Tensor is an array plus the memory of which Op made it. An Op computes a result forward, keeps the little that the way
back needs, and knows how to turn the gradient of its result into gradients of its inputs. Walking the ops backward from
a score, each once and in reverse order of their making, and summing where paths meet, is the chain rule (Linnainmaa
1970).

Three things are unusual here, and all are for looking inside networks:
- An Op remembers the *ops* behind its inputs, never their arrays: an activation lives only as long as it is needed.
- A walk writes nothing into the graph: it may be repeated, with other rules, by several threads at once.
- How a layer passes gradients on may be replaced on the way back (`rules`, see rules.py): the forward pass stores
  decisions, such as the sign of every ReLU input, and not what to make of them.
"""
import itertools

import numpy as np

from . import kernels
from .rules import Chooser

_counter = itertools.count()


class Tensor:
    """An array in a computation. `needs_grad=True` marks an input whose gradient will be asked for."""

    __slots__ = ("__weakref__", "data", "grad", "needs_grad", "op")
    __array_priority__ = 100        # numpy_array * tensor is ours to compute

    def __init__(self, data, needs_grad=False, *, op=None):
        if isinstance(data, Tensor):
            raise TypeError("Tensor: the data is a Tensor already; use it as it is, or its .detach()")
        self.data = data if hasattr(data, "dtype") and not isinstance(data, np.generic) else np.asarray(data)
        self.needs_grad = needs_grad or op is not None
        self.grad = None
        self.op = op
        if needs_grad and self.data.dtype.kind != "f":
            raise TypeError(f"Tensor: a gradient needs floating point values, not {self.data.dtype}")

    shape = property(lambda self: self.data.shape)
    ndim = property(lambda self: self.data.ndim)
    dtype = property(lambda self: self.data.dtype)
    size = property(lambda self: self.data.size)

    def __len__(self):
        return len(self.data)

    def __repr__(self):
        made = f", by {type(self.op).__name__}" if self.op else ", needs_grad" if self.needs_grad else ""
        return f"Tensor({self.shape}, {self.dtype}{made})"

    def numpy(self):
        """The values as a NumPy array, copied from the GPU if they live there."""
        return self.data.get() if hasattr(self.data, "get") else self.data

    def detach(self):
        """The same values, cut off from what they were computed from."""
        return Tensor(self.data)

    def backward(self, seed=None, rules="plain"):
        """Put d(self)/d(input) into `.grad` of every input that needs one (anew: nothing is added to an old value)."""
        inputs = [node for node in _ops_behind([self._node()])[1] if isinstance(node, Tensor)]
        for tensor, grad in zip(inputs, gradient(self, inputs, rules=rules, seed=seed)):
            tensor.grad = grad

    def _node(self):
        """What stands for this tensor in the graph: the op that made it, or itself if it is an input."""
        return self.op or self


class Op:
    """One step of a computation.

    A subclass defines `forward(*arrays) -> array` and, beneath it, `backward(dy) -> dx or (dx0, dx1, ...)`, with None
    for an input whose `self.needs[i]` is False. Calling the op runs forward and links the result to the inputs.
    """
    layer = None        # the name of the network layer that this op computes, if it is one
    kind = None         # the layer kind that gradient rules go by, e.g. "relu"
    new_gradients = False       # backward returns arrays that nobody else holds, so others may be added to them
    # pull(dy, choose, more, own) takes the gradient in two parts, dy and `more` or None, and may write into its own dy
    adds = False

    def forward(self, *arrays):
        raise TypeError(f"{type(self).__name__} defines no forward")

    def backward(self, dy):
        raise TypeError(f"{type(self).__name__} defines no backward")

    def __call__(self, *inputs):
        if hasattr(self, "number"):
            raise RuntimeError(f"{type(self).__name__}: an op is one step of one computation; make a new one")
        inputs = [as_tensor(i) for i in inputs]
        self.needs = [t.needs_grad for t in inputs]
        self.parents = [t._node() if t.needs_grad else None for t in inputs]
        self.number = next(_counter)        # an op is always made after the ops it reads from
        result = self.forward(*[t.data for t in inputs])
        return Tensor(result, op=self if any(self.needs) else None)

    def pull(self, dy, choose):
        """backward, or the rule that was chosen for this layer in its place."""
        rule = choose(self.layer, self.kind)
        grads = self.backward(dy) if rule is None else self.backward_by(rule, dy)
        return grads if isinstance(grads, tuple) else (grads,)

    def backward_by(self, rule, dy):
        return rule(self, dy)


def as_tensor(value):
    return value if isinstance(value, Tensor) else Tensor(value)


def gradient(score, wrt, *, rules="plain", seed=None):
    """d(score)/d(wrt): an array, or a list of arrays if `wrt` is a list of tensors.

    score    a Tensor of any shape; its entries are summed unless `seed` weighs them (an array of score's shape). Or a
             list of tensors, which are summed as well, and a list of seeds or None.
    wrt      tensors anywhere in the graph: inputs made with needs_grad=True, or activations between them and the score.
    rules    how gradients pass a layer: "plain", "guided", "deconv" for every ReLU, or a dict (see rules.py).

    Only ops that lie between `wrt` and the score are walked. A tensor the score does not depend on gets zeros.
    """
    single = isinstance(wrt, Tensor)
    wanted = [wrt] if single else list(wrt)
    for t in wanted:
        if not t.needs_grad:
            raise ValueError(f"gradient: {t!r} does not need a gradient; make its input with needs_grad=True")
    seeds = {}
    for s, weights in [(score, seed)] if isinstance(score, Tensor) else zip(
            score, seed or [None] * len(score), strict=True):
        if s.needs_grad:
            weights = _seed(s, weights)
            seeds[s._node()] = seeds[s._node()] + weights if s._node() in seeds else weights
    if not seeds:
        raise ValueError("gradient: the score does not depend on any tensor that needs a gradient")
    grads = walk(seeds, [t._node() for t in wanted], rules)
    result, given_out = [], {id(weights) for weights in seeds.values()}
    for t, g in zip(wanted, grads):
        xp = kernels.xp(t.data)         # an input of the host gets its gradient there
        g = xp.zeros_like(t.data, order="C") if g is None else xp.asarray(g, order="C")
        if id(g) in given_out or not g.flags.owndata:
            g = g.copy()            # the caller may write into it: it must be nobody else's
        given_out.add(id(g))
        result.append(g)
    return result[0] if single else result


def walk(seeds, wanted, rules="plain"):
    """Go back from `seeds` {node: gradient} to the `wanted` nodes; their gradients, None where nothing arrives."""
    choose = Chooser(rules)
    order, nodes = _ops_behind(list(seeds))
    useful = _leading_to(order, wanted)
    targets, found = set(wanted), {}
    grads = {node: Arrived(node not in targets and getattr(node, "adds", False)) for node in nodes}
    for node, seed in seeds.items():
        grads[node].arrives(seed, False)
    for op in reversed(order):
        arrived = grads.pop(op)
        if op in targets:
            found[op] = arrived.sum
        if arrived.sum is None or not any(p in useful for p in op.parents):
            continue
        for parent, dx in zip(op.parents, arrived.pulled_by(op, choose)):
            if parent in useful and dx is not None:
                grads[parent].arrives(dx, op.new_gradients)
    choose.complain_if_unused([n for n in nodes if isinstance(n, Op)])
    return [found[node] if node in found else grads[node].sum if node in grads else None for node in wanted]


class Arrived:
    """The gradient of a node, as far as it has arrived: `sum` + `more`; nobody else holds `sum` if it is `own`."""

    __slots__ = ("in_two", "more", "own", "sum")

    def __init__(self, in_two):
        self.in_two, self.sum, self.more, self.own = in_two, None, None, False

    def arrives(self, dx, new):
        """new: nobody else holds the array dx."""
        if self.sum is None:
            self.sum, self.own = dx, new
        elif self.in_two and self.more is None:
            (self.sum, self.more), self.own = (self.sum, dx) if self.own else (dx, self.sum), self.own or new
        else:
            self.sum = kernels.apply("add", self.sum, dx, self.sum if self.own else None)
            self.own = True

    def pulled_by(self, op, choose):
        # NumPy turns 0-d results into scalars, which are no arrays to a kernel
        dy = np.asarray(self.sum) if isinstance(self.sum, np.generic) else self.sum
        return op.pull(dy, choose, self.more, self.own) if self.in_two else op.pull(dy, choose)


def _seed(score, seed):
    xp = kernels.xp(score.data)
    if seed is None:
        return xp.ones_like(score.data)
    seed = xp.asarray(seed, dtype=score.dtype)
    if seed.shape != score.shape:
        raise ValueError(f"gradient: seed {seed.shape} must have the shape of the score, {score.shape}")
    return seed


def _ops_behind(nodes):
    """All ops that the nodes depend on, in the order they were made; and these together with the input tensors."""
    seen, todo = set(nodes), list(nodes)
    while todo:
        node = todo.pop()
        for parent in getattr(node, "parents", ()):
            if parent is not None and parent not in seen:
                seen.add(parent)
                todo.append(parent)
    ops = sorted((n for n in seen if isinstance(n, Op)), key=lambda op: op.number)
    return ops, sorted(seen, key=lambda n: getattr(n, "number", -1))


def _leading_to(order, wanted):
    """The nodes through which a gradient can reach one of `wanted`."""
    useful = set(wanted)
    for op in order:
        if any(p in useful for p in op.parents):
            useful.add(op)
    return useful


from .ops import operators as _operators  # noqa: E402,F401  (gives Tensor its + - * / []; needs all of the above)
