"""Train the style networks that come with minivis, weights/style_*.h5, with its own engine and its own minivgg.

    python -m tools.train_styles --data tiny-imagenet-200/train [--only waves] [--work FOLDER]

Practised on are Tiny ImageNet, enlarged, and pieces of the photographs that come with matplotlib and scikit-learn, each
of the two as often as the other. A network goes through stages, `minivis train-style` with the options below, each
beginning with what the one before it gave. FOLDER keeps the stages, their previews and what an interrupted run needs:
the same command goes on from there. Here a step took 0.2 to 0.4 seconds of one core.
"""
import argparse
import json
import sys
from pathlib import Path

from minivis import image, load_network, style_pictures
from minivis.checkpoints import minivis_hdf5
from minivis.commands.train_style import train_style
from minivis.demonstration.materials import photographs
from minivis.monitor import TerminalMonitor

SHAPE = {"width": 16, "blocks": 4, "batch": 1}
STONES = {"style": "mosaic", "steps": 3000, "size": 128}            # from nothing: any style begins here
STAGES = {
    "waves": [STONES, {"style": "waves", "steps": 2000, "size": 160, "style_size": 320, "content_weight": 1.5}],
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, metavar="FOLDER", help="pictures of Tiny ImageNet")
    parser.add_argument("--only", choices=STAGES, help="one of the styles")
    parser.add_argument("--work", default="train-styles", metavar="FOLDER", type=Path, help="for what is unfinished")
    a = parser.parse_args()
    pictures = a.work / "photographs"
    pictures.mkdir(parents=True, exist_ok=True)
    for name, path in photographs().items():
        (pictures / f"{name}.jpg").write_bytes(path.read_bytes())
    for name in [a.only] if a.only else STAGES:
        files = []
        for stage in STAGES[name]:
            files.append(a.work / f"{stage['style']}_{len(files) + 1}.h5")
            if not files[-1].exists() or resume_of(files[-1]).exists():
                train(stage, files, [a.data, str(pictures)])
        ship(name, files)
    return 0


def resume_of(file):
    return file.with_name(f"{file.stem}.resume.h5")


def train(stage, files, data):
    options = {**SHAPE, **stage}
    style, file = options.pop("style"), files[-1]
    begin = load_network(files[-2], device="cpu") if len(files) > 1 else None
    train_style(load_network(), [image.read(style_pictures.find(style))], names=[style], data=data, out=str(file),
                begin=begin, preview=image.read(photographs()["temple"]), resume=resume_of(file).exists(),
                monitor=TerminalMonitor(file.stem), **options)


def ship(name, files):
    """The last stage's network, with the recipes of all, into weights/."""
    stages = [minivis_hdf5.read(file) for file in files]
    net = stages[-1]
    recipe = json.loads(net.meta["recipe"])
    recipe["before"] = [json.loads(stage.meta["recipe"]) for stage in stages[:-1]]
    net.meta |= {"recipe": json.dumps(recipe), "source": "trained by tools/train_styles.py on Tiny ImageNet and "
                 "photographs of matplotlib and scikit-learn", "licence": "the weights: public domain (CC0)"}
    out = Path(__file__).resolve().parents[1] / "weights" / f"style_{name}.h5"
    minivis_hdf5.write(net, out, "float16")
    print(f"{out.name}: {out.stat().st_size / 1e6:.2f} MB, losses {net.meta['losses']}")


if __name__ == "__main__":
    sys.exit(main())
