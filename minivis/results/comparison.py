"""Several results side by side."""

from dataclasses import dataclass, field, replace

from ..figures import figure
from .base import Panel, Result


@dataclass(eq=False)
class Comparison(Result):
    """results: what is compared; captions: one title for each, or None for their techniques' names.

    Facts that all results share stand once under the heading; the rest under each panel. Each map keeps its own scale,
    printed below it, unless the technique that made the comparison says otherwise in `notes`.
    """

    results: list
    captions: list | None = None
    title: str = field(default="", kw_only=True)

    def __post_init__(self):
        if not self.results:
            raise ValueError("Comparison: there is no result to compare")
        if self.captions is not None and len(self.captions) != len(self.results):
            raise ValueError(f"Comparison: {len(self.captions)} captions for {len(self.results)} results")

    def set_scale(self, scale=None, percentile=None):
        for result in self.results:
            result.set_scale(scale, percentile)

    def arrays(self):
        return {f"{i}_{name}": array for i, result in enumerate(self.results)
                for name, array in result.arrays().items()}

    def to_dict(self):
        return {"technique": self.recipe.get("technique"), "results": [result.to_dict() for result in self.results],
                "notes": list(self.notes)}

    def heading(self):
        return self.title or self.technique

    def facts(self):
        return [fact for fact in self.results[0].facts() if all(fact in result.facts() for result in self.results)]

    def said(self):
        """What each result says of itself beside its picture, or ""."""
        titles = self.captions or [result.heading() for result in self.results]
        return "\n".join(f"{title}: {result.said()}" for title, result in zip(titles, self.results)
                         if hasattr(result, "said"))

    def main_panel(self):
        return self.panels()[-1]

    def panels(self):
        shared = self.facts()
        titles = self.captions or [result.heading() for result in self.results]
        found = []
        seen = getattr(self.results[0], "seen", None)
        if seen is not None and all(getattr(result, "seen", None) is not None
                                    and (result.seen.picture is seen.picture) for result in self.results):
            found.append(Panel("What the network saw", seen.picture))
        for title, result in zip(titles, self.results, strict=True):
            panel = result.main_panel()
            own = [fact[0].upper() + fact[1:] + "." for fact in result.facts() if fact and fact not in shared]
            own += [note for note in result.notes if note not in self.notes]
            caption = "\n".join(part for part in [panel.caption, *own] if part)
            found.append(replace(panel, title=title, caption=caption))
        return found

    def plot(self, ax=None):
        """The whole figure as a picture in matplotlib axes; returns them."""
        picture = self.picture()
        ax = self.new_axes(12, 12 * picture.shape[0] / picture.shape[1]) if ax is None else ax
        ax.imshow(picture)
        ax.set_axis_off()
        return ax

    def picture(self):
        panels = self.panels()
        columns = len(panels) if len(panels) <= 4 else -(-len(panels) // -(-len(panels) // 4))
        return figure(self.heading(), self.facts(), panels, self.notes, columns)
