"""Options of style transfer: presets, what is checked before any work, and the names known from neural-style."""
from typing import get_args

from ..errors import MinivisError
from ..style_losses import SUMS, StyleLoss

PRESETS = {
    "draft": {"size": 256, "steps": 60, "scales": 1, "optimizer": "lbfgs"},
    "good": {"size": 512, "steps": 150, "scales": 3, "optimizer": "lbfgs"},
    "print": {"size": 1448, "steps": 200, "scales": 4, "optimizer": "lbfgs"},
}
WEIGHTS = {"neural-style": {"content": 5.0, "style": 100.0, "tv": 1e-3},
           "relative": {"content": 1.0, "style": 8.0, "tv": 0.02}}

# neural-style's options (Johnson 2015) and ours. None: what it set is no choice here.
ALIASES = {
    "style_image": "--styles", "style_blend_weights": "--blend-weights", "image_size": "--size",
    "num_iterations": "--steps", "init": "--init", "init_image": "--init-picture", "content_weight": "--content-weight",
    "style_weight": "--style-weight", "tv_weight": "--tv-weight", "optimizer": "--optimizer",
    "learning_rate": "--rate", "style_scale": "--style-scale", "original_colors": "--colours", "pooling": "--pool",
    "seed": "--seed", "content_layers": "--content-layers", "style_layers": "--style-layers", "model_file": "--network",
    "output_image": "-o", "gpu": "--device", "lbfgs_num_correction": "--history", "content_image": None,
    "print_iter": None, "save_iter": None, "backend": None, "proto_file": None, "multigpu_strategy": None,
    "cudnn_autotune": None, "normalize_gradients": None,
}
_FLAGS = ("cudnn_autotune", "normalize_gradients")      # they have no value
_VALUES = {"init": {"random": "noise", "image": "content"}, "original_colors": {"0": "style", "1": "luminance"}}


def translated(argv):
    """A command line in neural-style's words in ours: `-content_image a.jpg -style_image b.jpg,c.jpg` becomes
    `a.jpg --styles b.jpg c.jpg`. Words that are not its stay as they are."""
    front, rest, words = [], [], list(argv)
    while words:
        word = words.pop(0)
        name = word[1:] if word.startswith("-") and not word.startswith("--") else None
        if name not in ALIASES:
            rest.append(word)
            continue
        if name in _FLAGS:
            if name == "normalize_gradients":
                raise MinivisError("-normalize_gradients has no like here; --scale relative makes layers weigh alike")
            continue
        if not words:
            raise MinivisError(f"{word} needs a value")
        value = words.pop(0)
        if name == "content_image":
            front.append(value)
        elif name == "init_image":
            rest += ["--init", "picture", "--init-picture", value]
        elif name == "gpu":
            rest += ["--device", "cpu" if value.lower() in ("-1", "c") else f"gpu:{value.split(',')[0]}"]
        elif name in ("style_image", "style_blend_weights"):
            rest += [ALIASES[name], *value.split(",")]
        elif ALIASES[name] is not None:
            rest += [ALIASES[name], _VALUES.get(name, {}).get(value, value)]
    return front + rest


def settings(preset, **given):
    """A preset with the options that were given (not None) in place of its own."""
    return {**preset, **{name: value for name, value in given.items() if value is not None}}


def weights_of(net, scale, content, style, tv):
    """(scale, {"content", "style", "tv"}): the weights given, or the scale's own. "auto" becomes what fits the net."""
    if scale == "auto":
        p = net.preprocessing
        caffe = "relu4_2" in net.table and p.range == 255 and set(p.std) == {1.0}
        scale = "neural-style" if caffe else "relative"
    given = {"content": content, "style": style, "tv": tv}
    weights = {name: float(own if given[name] is None else given[name]) for name, own in WEIGHTS[scale].items()}
    for name, weight in weights.items():
        if not 0 <= weight < float("inf"):
            raise MinivisError(f"{name} weight {weight} must be at least 0")
    if weights["content"] == weights["style"] == 0:
        raise MinivisError("content and style weights are both 0: nothing is asked for")
    return scale, weights


def check(styles, blend_weights, masks, style_masks, style_scale, init, init_picture, gram):
    """The styles' shares, which sum to 1; an error for options that do not go together."""
    if not styles:
        raise MinivisError("style: give at least one style picture (--styles)")
    for what, found in (("blend weights", blend_weights), ("masks", masks), ("style masks", style_masks)):
        if found is not None and len(found) != len(styles):
            raise MinivisError(f"style: {len(found)} {what} for {len(styles)} style pictures; give one for each")
    weights = [1.0] * len(styles) if blend_weights is None else [float(w) for w in blend_weights]
    if min(weights) < 0 or not 0 < sum(weights) < float("inf"):
        raise MinivisError(f"style: blend weights {weights} must be at least 0 and not all 0")
    if not 0.05 <= style_scale <= 20:
        raise MinivisError(f"style: style scale {style_scale} must be from 0.05 to 20")
    if (init == "picture") != (init_picture is not None):
        raise MinivisError("style: --init picture and --init-picture FILE go together")
    if gram == "none" and style_scale != 1:
        raise MinivisError("style: with gram none a style picture must have the result's size; use chw or hw")
    return [w / sum(weights) for w in weights]


def check_loss(style_loss, scale, masks=None, style_masks=None, tile=None):
    """The scale that goes with a style loss; an error for options that do not."""
    if style_loss == "gram":
        return scale
    if style_loss not in get_args(StyleLoss):
        raise MinivisError(f"style loss {style_loss!r} must be {', '.join(get_args(StyleLoss))}")
    if scale not in ("auto", "relative"):
        raise MinivisError(f"the weights of scale {scale} are for Gram matrices; style loss {style_loss} is relative")
    if masks is not None or style_masks is not None:
        raise MinivisError(f"masks are for Gram matrices; style loss {style_loss} takes the whole picture")
    if tile is not None and style_loss not in SUMS:
        raise MinivisError(f"style loss {style_loss} compares all positions with one another, so the picture cannot be "
                           "cut into tiles; leave out --tile")
    return "relative"
