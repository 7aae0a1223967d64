"""A picture through a network that was trained to redraw pictures in a style."""
from typing import Literal

import numpy as np

from ..bands import Bands
from ..batching import default_budget, parse_bytes
from ..colours import with_colours_of
from ..errors import MinivisError
from ..loading import DEFAULT, embedded_names
from ..optimize import host
from ..options import Network, Picture, StylePicture
from ..parameterize import to_device
from ..results import Synthesis
from ..style_networks import blended, in_style_of, style_names, styles_of, takes_any_style
from ..tensor import Tensor
from .common import recipe
from .synthesis import to_uint8

RESULT = 48         # bytes a pixel that the finished picture takes: as levels, clipped, rounded, as bytes


def stylize(net: Network, picture: Picture, *, size: int | None = None, strength: float = 1.0,
            style: str | None = None, styles: list[StylePicture] | None = None, blend: list[float] | None = None,
            style_size: int = 512, colours: Literal["style", "luminance"] = "style",
            units: Literal["levels", "network"] = "levels", memory=None) -> Synthesis:
    """Fast style transfer: the picture redrawn by a feed-forward network, in one pass.

    Johnson, Alahi, Fei-Fei 2016, arXiv:1603.08155; with instance normalisation Ulyanov, Vedaldi, Lempitsky 2017,
    arXiv:1701.02096. A network has learnt one style, several to be mixed (Dumoulin et al. 2017, arXiv:1610.07629), or
    takes any style from a picture (Huang, Belongie 2017, arXiv:1703.06868). It takes pictures of any size: where its
    strides do not divide the picture's sides, the picture is continued by its mirror image and the result cut to size.
    A network that normalises over the whole picture draws differently at another size: strokes keep their width.
    Networks of this kind come with minivis (style_NAME); `minivis train-style` trains others.

    pictures (1, H, W, 3)

    size        longest side in pixels; none means the picture's own
    strength    1 is the network's picture, 0 the given one, between them a mixture; with a network for arbitrary styles
                one of features, not of pictures
    style       which of a network's styles, by name or by number from 1, or a style that comes with minivis; none means
                the first
    styles      pictures whose styles a network for arbitrary styles is to take
    blend       shares of the network's styles, or of `styles`
    style_size  longest side at which `styles` are looked at
    colours     the style's, or the picture's own with the new luminance
    units       of what the network gives: grey levels from 0 to 255 in RGB, or its own input's units and channel order
    """
    if not 0 <= strength <= 1:
        raise MinivisError(f"strength {strength} must be from 0 to 1")
    _check_makes_pictures(net)
    shown = net.see(picture, size, "none" if size is None else "longest").picture
    within = takes_any_style(net)
    painter = painter_of(net, style, styles, blend, style_size, *([shown, strength] if within else []))
    levels = mixed(redrawn(painter, shown, units, memory), shown, 1.0 if within else strength, colours)
    return Synthesis(to_uint8(levels)[None], levels[None], original=shown, target=f"the style of {net.name}",
                     numbers={"size": list(shown.shape[:2])},
                     recipe=recipe(stylize, net, picture=picture, size=size, strength=strength, style=style,
                                   styles=styles, blend=blend, style_size=style_size, colours=colours, units=units))


def network_for(arguments=None):
    """The network for a command line that names none: of the style networks that come with minivis the one of the style
    asked for, or the first."""
    names, style = [name for name in embedded_names() if name.startswith("style_")], getattr(arguments, "style", None)
    return f"style_{style}" if f"style_{style}" in names else next(iter(names), DEFAULT)


stylize.network_for = network_for


def painter_of(net, style=None, styles=None, blend=None, style_size=512, content=None, strength=1.0):
    """The ordinary network of the style that is asked for; see stylize, and in_style_of for content and strength."""
    _check_makes_pictures(net)
    if takes_any_style(net):
        if not styles or style is not None:
            raise MinivisError(f"network {net.name} takes its style from pictures: name them with --styles")
        shares = _shares(blend, len(styles), "style pictures")
        return in_style_of(net, [_at_most(net, p, style_size) for p in styles], shares, content, strength)
    if styles:
        raise MinivisError(f"network {net.name} has learnt its styles and takes none from pictures (--styles)")
    count = styles_of(net)
    if count == 1:
        own = net.meta.get("style")
        if blend is not None or (style is not None and style != own):
            raise MinivisError(f"network {net.name} has one style{f', {own}' if own else ''}: leave out --style and "
                               "--blend, or name another --network")
        return net
    if style is not None and blend is not None:
        raise MinivisError("give --style or --blend, not both")
    if style is not None:
        names = style_names(net)
        which = {**{str(n + 1): n for n in range(count)}, **{name: n for n, name in enumerate(names)}}
        if style not in which:
            raise MinivisError(f"network {net.name} has no style {style!r}; it has {', '.join(names)}")
        blend = [float(n == which[style]) for n in range(count)]
    return blended(net, [1.0] + [0.0] * (count - 1) if blend is None else _shares(blend, count, "styles"))


def redrawn(net, shown, units="levels", memory=None):
    """What the network makes of a picture, uint8 (H, W, 3) -> (H, W, 3) grey levels, not clipped. A picture that would
    take more than the memory limit goes through it in bands of rows, which changes nothing but rounding."""
    H, W = shown.shape[:2]
    step, budget = _step(net, (H, W)), default_budget() if memory is None else parse_bytes(memory)
    given = _continued(shown, -H % step, -W % step)
    if net.bytes_needed((1, *given.shape)) <= budget:
        x = Tensor(to_device(net, net.preprocessing.normalize(given, net.dtype)[None]))
        made = net(x, layers=[net.output_layer])[net.output_layer].numpy()[0]
    else:
        made = _in_bands(net, given, budget)
    made = made[:H, :W]
    if units == "network":
        made = net.preprocessing.to_picture01(made) * 255
    if made.shape != shown.shape:
        raise MinivisError(f"network {net.name} makes {made.shape} of a picture {shown.shape}: it changes the size, so "
                           "it is no style network")
    if not np.isfinite(made).all():
        raise MinivisError(f"network {net.name} gives values that are not finite")
    return made


def _in_bands(net, given, budget):
    """As net(given)[0], within the budget; an error that says what would help if that cannot be."""
    H, W = given.shape[:2]
    bands = _bands(net, (H, W), budget)
    if not bands.fits:
        why = f"layer {bands.wrong} needs the whole picture at once" if bands.wrong else "in bands of rows, too"
        raise MinivisError(f"{W} x {H} pixels take more than the memory limit of {budget / 1e6:.0f} MB, {why}; "
                           f"--size {_largest(net, (H, W), budget)} fits, or give more --memory")
    made, at = np.empty((H, W, 3), net.dtype), 0
    for rows in bands.run(lambda first, end: to_device(net, net.preprocessing.normalize(given[first:end],
                                                                                        net.dtype)[None])):
        made[at:at + rows.shape[1]] = host(rows)[0]
        at += rows.shape[1]
    return made


def _bands(net, size, budget):
    return Bands(net, size, budget - RESULT * size[0] * size[1])


def _largest(net, size, budget):
    """About the longest side with which a picture of these proportions stays within the budget."""
    share = 1.0
    while max(size) * share > 32:
        share *= 0.95
        smaller = tuple(max(1, round(n * share)) for n in size)
        if net.bytes_needed((1, *smaller, 3)) <= budget or _bands(net, smaller, budget).fits:
            break
    return int(max(size) * share)


def mixed(made, shown, strength=1.0, colours="style"):
    """The redrawn picture with as much of the given one, and in the colours, that are asked for."""
    levels = np.clip(made, 0, 255)
    if strength < 1:
        levels = strength * levels + (1 - strength) * shown
    return with_colours_of(levels, shown) if colours == "luminance" else levels


def _shares(blend, count, of_what):
    """Shares that sum to 1; equal ones if none are given."""
    shares = [1.0] * count if blend is None else [float(b) for b in blend]
    if len(shares) != count or not (min(shares) >= 0 and 0 < sum(shares) < float("inf")):
        raise MinivisError(f"blend {shares}: give {count} shares for {count} {of_what}, at least 0 and not all 0")
    return [s / sum(shares) for s in shares]


def _at_most(net, picture, side):
    if side < 16:
        raise MinivisError(f"style size {side} must be at least 16 pixels")
    return net.see(picture, side, "longest").picture if max(picture.shape[:2]) > side else picture


def _check_makes_pictures(net):
    rank, channels = net.rank(net.output_layer), net.channels(net.output_layer)
    if rank != 3 or channels != 3 or net.logits_layer is not None:
        what = f"gives {channels} numbers" if rank == 1 else f"ends in a layer of {channels} channels"
        raise MinivisError(f"network {net.name} makes no pictures (it {what}); name a style network with --network")


def _step(net, size):
    """What the sides of a picture must be multiples of, so that the network's picture has the same size: found by
    asking for the output's size. A picture too small to be mirrored at its border grows with the step."""
    from ..shapes import infer_shapes
    wrong = f"network {net.name} changes the size of pictures, so it is no style network"
    for step in (1, 2, 4, 8, 16, 32, 64):
        padded = tuple(-(-n // step) * step for n in size)
        try:
            if infer_shapes(net.table, (*padded, 3))[net.output_layer][:2] == padded:
                return step
        except MinivisError as error:
            wrong = str(error)
    raise MinivisError(wrong)


def _continued(picture, below, right):
    """(H, W, 3) with so many mirrored rows and columns more; one too small to be mirrored repeats its border."""
    mode = "reflect" if below < picture.shape[0] and right < picture.shape[1] else "edge"
    return np.pad(picture, ((0, below), (0, right), (0, 0)), mode) if below or right else picture
