"""Films as streams of pictures: GIF, WebP and folders of pictures through Pillow, .mp4 and its kin through PyAV.

    film = open_film("cat.mp4")
    with writer("out.gif", film.rate) as write:
        for picture in film:                # uint8 (H, W, 3)
            write(picture)

PyAV brings FFmpeg's libraries along and is an extra: pip install "minivis[video]". Sound is not carried over.
"""
import contextlib
import os
from fractions import Fraction
from pathlib import Path

import numpy as np

from . import image
from .dataset import SUFFIXES
from .errors import MinivisError
from .files import atomic_write, check_folder

VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")
RATE = 12.5         # pictures a second where a film does not say


class Film:
    """Pictures in order. rate: pictures a second; count: how many, or None if only the end will tell."""

    def __init__(self, pictures, rate, count):
        self.pictures, self.rate, self.count = pictures, rate, count

    def __iter__(self):
        return self.pictures()


def open_film(path):
    """The Film in a GIF, WebP or video file, or in a folder of pictures, which are sorted by name."""
    path = Path(path)
    if path.is_dir():
        files = sorted((f for f in path.iterdir() if f.suffix.lower() in SUFFIXES), key=_natural)
        if not files:
            raise MinivisError(f"there is no picture in {path}")
        return Film(lambda: (image.read(f) for f in files), RATE, len(files))
    if not path.is_file():
        raise MinivisError(f"there is no file {path}")
    if path.suffix.lower() in VIDEOS:
        return _video(path)
    count, seconds = 0, 0.0
    for _, shown in image.read_frames(path):
        count, seconds = count + 1, seconds + (shown or 1 / RATE)
    return Film(lambda: (picture for picture, _ in image.read_frames(path)), count / seconds, count)


@contextlib.contextmanager
def writer(path, rate):
    """A function that takes one picture after another (all of one size); the file is written whole or not at all.

    path    .gif, .webp, a video file, or a folder (ending in "/", or one that exists), which gets 00001.png and so on
    """
    text, suffix = os.fspath(path), Path(path).suffix.lower()
    if os.path.isdir(text) or text.endswith(("/", os.sep)):
        yield _into_folder(Path(path))
    elif suffix in image.FILMS:
        check_folder(path)
        pictures = []
        yield pictures.append
        if not pictures:
            raise MinivisError(f"cannot write {path}: the film has no picture")
        image.save_film(pictures, path, seconds=1 / rate)
    elif suffix in VIDEOS:
        with _video_writer(path, rate) as write:
            yield write
    else:
        raise MinivisError(f"cannot write {path}: a film ends in {', '.join([*image.FILMS, *VIDEOS])}, or in / for a "
                           "folder of pictures")


def _into_folder(folder):
    folder.mkdir(parents=True, exist_ok=True)
    written = []

    def write(picture):
        written.append(1)
        image.save(picture, folder / f"{len(written):05d}.png")
    return write


def _natural(file):
    """frame2 before frame10."""
    parts, digits = [], ""
    for c in file.name:
        if c.isdigit():
            digits += c
        else:
            parts, digits = [*parts, *([int(digits), ""] if digits else []), c], ""
    return [(isinstance(p, str), p) for p in parts], file.name


# --------------------------------------------------------------------------------------------------------- video files

def _av():
    try:
        import av
    except ImportError:
        raise MinivisError('video files need PyAV: pip install "minivis[video]"; GIF, WebP and folders of pictures do '
                           "without") from None
    return av


def _video(path):
    av = _av()
    try:
        with av.open(str(path)) as file:
            if not file.streams.video:
                raise MinivisError(f"{path} holds no moving pictures")
            stream = file.streams.video[0]
            rate, count = float(stream.average_rate or RATE), stream.frames or None
            if stream.width * stream.height > image.MAX_PIXELS:
                raise MinivisError(f"{path}: {stream.width} x {stream.height} pixels are too many")
    except av.FFmpegError as error:
        raise MinivisError(f"{path} cannot be read as a film: {error}") from error

    def pictures():
        try:
            with av.open(str(path)) as file:
                for frame in file.decode(file.streams.video[0]):
                    yield np.ascontiguousarray(frame.to_ndarray(format="rgb24"))
        except av.FFmpegError as error:
            raise MinivisError(f"{path} is damaged: {error}") from error
    return Film(pictures, rate, count)


@contextlib.contextmanager
def _video_writer(path, rate):
    """H.264 where FFmpeg has it, else MPEG-4; both want even sides, so an odd last row or column is left out."""
    av = _av()
    with atomic_write(path) as temporary:
        file = av.open(str(temporary), "w")
        state = {}

        def write(picture):
            H, W = (n // 2 * 2 for n in picture.shape[:2])
            if "stream" not in state:
                h264 = "libx264" in av.codecs_available and Path(path).suffix.lower() != ".webm"
                codec = "libvpx-vp9" if Path(path).suffix.lower() == ".webm" else "libx264" if h264 else "mpeg4"
                stream = file.add_stream(codec, rate=Fraction(rate).limit_denominator(1001))
                stream.width, stream.height, stream.pix_fmt = W, H, "yuv420p"
                if codec == "libx264":
                    stream.options = {"crf": "18"}
                else:
                    stream.bit_rate = max(1_000_000, round(W * H * rate * 0.2))
                state["stream"] = stream
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:H, :W]), format="rgb24")
            file.mux(state["stream"].encode(frame))

        try:
            yield write
            if "stream" not in state:
                raise MinivisError(f"cannot write {path}: the film has no picture")
            file.mux(state["stream"].encode(None))
        except av.FFmpegError as error:
            raise MinivisError(f"cannot write {path}: {error}") from error
        finally:
            file.close()
