"""Backward rules: how a gradient passes a layer, chosen on the way back.

`rules` is a name, meant for every ReLU ("plain", "guided", "deconv"), or a dict from a layer name, a glob on layer
names ("fire*_relu") or a layer kind ("relu", "conv") to a rule; an exact name wins over a glob, a glob over a kind.
A rule is

- for a ReLU: one of the names above or a function f(dy, positive) -> dx, where `positive` is a boolean array, true
  where the ReLU's input was above 0. In a fused chain a ReLU before a max pooling is seen on the cells it chose:
  elsewhere dy is 0 and positive False, so f must turn a zero gradient into zero. A function with the attribute
  `reads_op = True` is called as f(op, dy), as those of other kinds are.
- for any other kind: a function f(op, dy) -> dx (a tuple if the layer has several inputs). It reads what the op kept,
  which takes `net(x, keep="inputs")`: `op.x` is then the layer's input and no layers are fused.

Guided backprop and deconvnet are not derivatives of anything; they are ways of asking a network what it looked at.
"""
import difflib
import fnmatch

from . import kernels


def plain(dy, positive):
    """dx = dy where x > 0: the derivative of ReLU. Saliency maps: Simonyan et al. 2014, arXiv:1312.6034."""
    return kernels.of(dy).relu_backward(dy, positive)


def guided(dy, positive):
    """dx = dy where x > 0 and dy > 0. Springenberg et al. 2015, arXiv:1412.6806."""
    return kernels.of(dy).guided_relu_backward(dy, positive)


def deconv(dy, positive):
    """dx = dy where dy > 0, whatever x was. Zeiler and Fergus 2014, arXiv:1311.2901."""
    return kernels.of(dy).deconv_relu_backward(dy)


RELU_RULES = {"plain": plain, "guided": guided, "deconv": deconv}


class Chooser:
    """rules, ready to be asked: choose(layer name, kind) -> a ReLU rule's name, a function, or None: the derivative."""

    def __init__(self, rules):
        if rules is None:
            rules = "plain"
        self.rules = dict(rules) if isinstance(rules, dict) else {"relu": rules}
        self.given = isinstance(rules, dict)
        self.used = set()
        for key, rule in self.rules.items():
            if isinstance(rule, str) and rule not in RELU_RULES:
                raise ValueError(f"rules: no rule {rule!r} for {key!r}; give {', '.join(RELU_RULES)} or a function")

    def __call__(self, layer, kind):
        key = self._key(layer, kind)
        if key is None:
            return None
        self.used.add(key)
        rule = self.rules[key]
        if isinstance(rule, str) and rule != "plain" and kind != "relu":
            raise ValueError(f"rules: {rule!r} is a rule for ReLUs, but {layer or key!r} is a {kind} layer")
        return None if rule == "plain" else rule

    def _key(self, layer, kind):
        if layer in self.rules:
            return layer
        if layer is not None:
            for key in self.rules:
                if fnmatch.fnmatchcase(layer, key):
                    return key
        return kind if kind in self.rules else None

    def complain_if_unused(self, ops):
        """A rule that met no layer is a spelling mistake, or asks for layers that were fused away."""
        if not self.given:
            return
        layers = [name for op in ops for name, _ in op_layers(op)]
        kinds = {kind for op in ops for _, kind in op_layers(op) if kind}
        for key in set(self.rules) - self.used:
            if self._matches(key, layers, kinds) or key in ("relu", "conv", "linear", "max_pool", "avg_pool", "add"):
                continue
            close = difflib.get_close_matches(str(key), [n for n in layers if n], 3)
            hint = f"; did you mean {', '.join(close)}?" if close else ""
            raise ValueError(f"rules: {key!r} is no layer on the way back{hint}")

    @staticmethod
    def _matches(key, layers, kinds):
        return key in kinds or any(name and fnmatch.fnmatchcase(name, key) for name in layers)


def op_layers(op):
    """(name, kind) of every network layer that an op computes: one, or all of a chain's."""
    return getattr(op, "layers", None) or [(op.layer, op.kind)]
