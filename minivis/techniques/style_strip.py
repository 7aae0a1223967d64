"""Style transfer at several weights of the style, side by side."""
from ..errors import MinivisError
from ..options import Network, Picture, Range, StylePicture
from ..results import Comparison
from .common import recipe
from .style import style
from .style_options import weights_of

RATIOS = (0.1, 0.3, 1.0, 3.0, 10.0)


def style_strip(net: Network, picture: Picture, *, styles: list[StylePicture], ratios: Range = RATIOS, size: int = 256,
                steps: int = 60, seed=0, memory=None) -> Comparison:
    """The same style transfer with less and with more weight on the style: figure 4 of Gatys et al. 2016.

    A strip of results, doi:10.1109/CVPR.2016.265. Every result is `style`'s with the style weight of its default
    times a ratio, begun with the content.

    styles    one or several style pictures; files, or names of those that come with minivis
    ratios    what the default style weight is multiplied by, one result for each
    size      longest side of each result, in pixels
    steps     of each result
    """
    if not 0 < len(ratios) <= 24 or min(ratios) < 0:
        raise MinivisError(f"style strip: ratios {list(ratios)} must be 1 to 24 numbers that are at least 0")
    weight = weights_of(net, "auto", None, None, None)[1]["style"]
    made = [style(net, picture, styles=styles, size=size, steps=steps, scales=1, style_weight=weight * ratio, seed=seed,
                  memory=memory) for ratio in ratios]
    return Comparison(made, [f"style weight {weight * ratio:g}" for ratio in ratios],
                      title="Style transfer, more and more style",
                      recipe=recipe(style_strip, net, seed, picture=picture, styles=styles, ratios=list(ratios),
                                    size=size, steps=steps))
