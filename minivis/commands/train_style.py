"""`minivis train-style`: a network that redraws pictures in one style, in several, or in that of any picture."""
import datetime
import json
import time
from pathlib import Path

import numpy as np

from ..checkpoints import minivis_hdf5
from ..errors import MinivisError
from ..files import check_folder
from ..image import save
from ..monitor import SilentMonitor, StateFile, Stop, stops_on_interrupt
from ..options import File, Folder, Layer, Network, Picture, StylePicture
from ..provenance import make_recipe
from ..results.report import Report
from ..style_networks import adain_network, grown_from, style_network, transformer
from ..techniques.matching import default_layers, named
from ..techniques.stylize import stylize
from ..training.style import AnyStyle, Crops, LearntStyles, Perceptual, StyleTrainer

LAST = 100                  # steps whose mean loss a file tells
WEIGHTS = {"content": 1.0, "style": 8.0, "tv": 0.02}


def train_style(net: Network, styles: list[StylePicture] | None = None, *, data: list[Folder], out: File = "style.h5",
                names: list[str] | None = None, any_style: bool = False, style_data: list[Folder] | None = None,
                steps: int = 2000, batch: int = 4, size: int = 128, style_size: int | None = None, width: int = 16,
                blocks: int = 3, rate: float = 2e-3, content_weight: float = WEIGHTS["content"],
                style_weight: float = WEIGHTS["style"], tv_weight: float = WEIGHTS["tv"],
                content_layers: dict[Layer, float] | None = None, style_layers: dict[Layer, float] | None = None,
                encoder_layer: Layer | None = None, begin: Network | None = None,
                preview: Picture | None = None, every: int = 200, resume: bool = False, seed=0, monitor=None) -> Report:
    """Train a network for `minivis stylize`: it learns to redraw any picture in the style of the ones given.

    One style: Johnson, Alahi, Fei-Fei 2016, arXiv:1603.08155. Several styles in one network, to be mixed: Dumoulin,
    Shlens, Kudlur 2017, arXiv:1610.07629. --any-style: Huang, Belongie 2017, arXiv:1703.06868. The losses are those of
    `style`, by the eyes of --network, each divided by its value on noise.

    styles          style pictures; files, or names of those that come with minivis
    data            pictures to practise on: folders, zip, tar or HDF5 files, each as often as any other
    out             the network, a weights file (float16)
    names           what the styles are called, for `stylize --style`
    any_style       learn to paint in the style of any picture; styles come from --style-data
    style_data      pictures whose styles --any-style practises on
    steps           how many in all
    batch           pictures at a time
    size            their side in pixels
    style_size      longest side at which the style pictures are looked at; none means their own
    width           filters of the network's first layer; Johnson et al. had 32
    blocks          residual blocks; they had 5
    rate            the largest step of Adam
    content_weight  of the content, where every loss is 1 on noise
    style_weight    of the style
    tv_weight       of smoothness
    content_layers  where contents are compared, with weights
    style_layers    where styles are compared, with weights
    encoder_layer   of --any-style: up to where pictures are encoded; none means the content layer
    begin           a style network of the same width and blocks to begin with: a new style is learnt much faster so
    preview         a picture to redraw as the network learns, into OUT.preview.jpg
    every           steps between two previews
    resume          go on from OUT.resume.h5, which an interrupted run leaves behind
    """
    _check(styles, any_style, style_data, names, every)
    out, monitor = check_folder(out), monitor or SilentMonitor()
    settings = {"styles": styles, "data": data, "names": names, "any_style": any_style, "style_data": style_data,
                "steps": steps, "batch": batch, "size": size, "style_size": style_size, "width": width,
                "blocks": blocks, "rate": rate, "content_weight": content_weight, "style_weight": style_weight,
                "tv_weight": tv_weight, "content_layers": content_layers, "style_layers": style_layers,
                "encoder_layer": encoder_layer, "begin": None if begin is None else begin.weights_hash()}
    recipe = make_recipe("train_style", settings, net, seed, net.precision, net.device)
    monitor.state_file, monitor.resume = StateFile(out.with_name(f"{out.stem}.resume.h5"), recipe), resume
    defaults = default_layers(net)
    contents, wanted = named(net, content_layers or defaults[0]), named(net, style_layers or defaults[1])
    perceptual = Perceptual(net, contents, wanted, {"content": content_weight, "style": style_weight, "tv": tv_weight})
    crops = Crops(data, size, seed)
    if any_style:
        encoder = adain_network(net, encoder_layer or next(iter(contents)), seed)
        task = AnyStyle(encoder, crops, Crops(style_data, size, seed), perceptual, batch)
    else:
        fresh = style_network(transformer(width, blocks, len(styles)), seed, [["", n] for n in names or []] or None)
        looked_at = [p if style_size is None else net.see(p, style_size, "longest").picture for p in styles]
        task = LearntStyles(fresh if begin is None else grown_from(begin, fresh), looked_at, crops, perceptual, batch)
    trainer = StyleTrainer(task, steps, rate, start=monitor.load())
    begun, first = time.perf_counter(), trainer.done
    finished = _run(trainer, monitor, out, preview, every)
    trained = task.trained()
    trained.meta |= _story(trainer, net, names or [], recipe, [*data, *(style_data or [])])
    minivis_hdf5.write(trained, out, "float16")
    if finished:
        monitor.state_file.delete()
    return _report(trainer, out, time.perf_counter() - begun, trainer.done - first, finished)


def _check(styles, any_style, style_data, names, every):
    if any_style == bool(styles):
        raise MinivisError("train-style: give style pictures, or --any-style and --style-data, and not both")
    if any_style != bool(style_data):
        raise MinivisError("train-style: --any-style and --style-data FOLDER go together")
    if names is not None and len(names) != len(styles or []):
        raise MinivisError(f"train-style: {len(names)} names for {len(styles or [])} styles; give one for each")
    if every < 1:
        raise MinivisError(f"train-style: every {every} must be at least 1")


def _run(trainer, monitor, out, preview, every):
    """All steps, with previews. Returns whether it went to the end."""
    try:
        with stops_on_interrupt(monitor):
            for step in trainer:
                monitor.save(trainer.state)
                if preview is not None and (step.done % every == 0 or step.done == step.total):
                    save(_redrawn(trainer.task, preview), out.with_name(f"{out.stem}.preview.jpg"))
                monitor.step(step.done, step.total, step.terms)
    except Stop:
        return False
    return True


def _story(trainer, net, names, recipe, data):
    """What the file says of how the network came about: losses weighed as in training, where each is 1 on noise, means
    of the last steps; folders without the way to them."""
    options = recipe["options"] | {"data": [Path(where).name for where in data]}
    losses = {name: round(float(np.mean(values[-LAST:])), 4) for name, values in trainer.history.items()}
    return {"source": f"minivis train-style, {trainer.done} steps, losses by {net.name}", "style": ", ".join(names),
            "losses": json.dumps(losses),
            "recipe": json.dumps(recipe | {"options": options}), "date": datetime.date.today().isoformat()}


def _redrawn(task, picture):
    styles = {"styles": [picture]} if isinstance(task, AnyStyle) else {}
    return stylize(task.trained(), picture, **styles).pictures[0]


def _report(trainer, out, seconds, steps, finished):
    part = max(1, len(next(iter(trainer.history.values()))) // 20)
    rows = {name: np.asarray(values) for name, values in trainer.history.items()}
    notes = [f"{trainer.done} steps, {seconds / max(1, steps):.2f} s each; wrote {Path(out).name}, "
             f"{Path(out).stat().st_size / 1e6:.2f} MB"]
    notes += [] if finished else ["stopped before the end; --resume goes on from there"]
    return Report({"loss": list(rows), "first": [round(float(v[:part].mean()), 4) for v in rows.values()],
                   "last": [round(float(v[-part:].mean()), 4) for v in rows.values()]}, "Weighed losses, means of the "
                  f"first and the last {part} steps", notes)
