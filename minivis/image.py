"""Files, arrays and image objects <-> one picture form: a uint8 array (H, W, 3) in RGB order.

Nothing else in minivis opens or writes a picture file. `preprocessing` takes it from here to the network's input.
"""

import contextlib
import io
import os
import stat
import threading
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from .errors import MinivisError
from .files import atomic_write

READABLE = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")        # fewer parsers exposed to hostile files
WRITABLE = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}
FILMS = {".gif": "GIF", ".webp": "WEBP"}
MAX_PIXELS = 89_478_485         # Pillow's own warning level; 256 MiB of RGB
WHITE = (255, 255, 255)
_DESCRIPTION = 0x010E           # the EXIF/TIFF tag ImageDescription
_opening = threading.Lock()     # warnings.catch_warnings is not thread-safe


class PictureError(MinivisError):
    """A picture that cannot be read, understood or written."""


# Reading -------------------------------------------------------------------------------------------------------------

def read(path, *, ground=WHITE, max_pixels=MAX_PIXELS, notes=None):
    """The picture in a PNG, JPEG, WebP, BMP, GIF or TIFF file: uint8 (H, W, 3), RGB, upright.

    Transparent parts are laid on `ground` (RGB, white). 16-bit grey is scaled by 1/257; Pillow hands over 16-bit
    *colour* PNGs by their high bytes. CMYK goes through its ICC profile when it has one; RGB profiles are ignored, as
    the tools networks were trained with do. EXIF rotation is applied. Of an animation, the first frame is taken.
    What a user should know about the reading is appended to the list `notes`, or, without one, issued as a warning.
    """
    path = os.fspath(path)
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise PictureError(f"{path} is a folder, not a picture")
        if not stat.S_ISREG(mode):
            raise PictureError(f"{path} is not an ordinary file")
        with open(path, "rb") as file:
            return decode(file, path, ground=ground, max_pixels=max_pixels, notes=notes)
    except FileNotFoundError:
        raise PictureError(f"there is no file {path}") from None
    except (OSError, ValueError) as error:
        if isinstance(error, MinivisError):
            raise
        raise PictureError(f"cannot open {path}: {getattr(error, 'strerror', None) or error}") from error


def decode(file, name, *, ground=WHITE, max_pixels=MAX_PIXELS, notes=None):
    """Like `read`, from an open binary file or bytes; `name` is what errors call it."""
    file = io.BytesIO(file) if isinstance(file, (bytes, bytearray, memoryview)) else file
    if not file.read(1):
        raise PictureError(f"{name} is empty (0 bytes)")
    file.seek(0)
    with _open(file, name, max_pixels) as image:
        return _from_pil(image, name, ground, notes)


def read_frames(path, *, ground=WHITE, max_pixels=MAX_PIXELS):
    """Yields (picture, seconds it is shown, or None) for every picture of an animated GIF, WebP or PNG."""
    with open(path, "rb") as file, _open(file, os.fspath(path), max_pixels) as image:
        for n in range(getattr(image, "n_frames", 1)):
            try:
                image.seek(n)
                picture = image.convert("RGBA") if image.has_transparency_data else image.convert("RGB")
                milliseconds = image.info.get("duration")       # of a WebP known once its picture is decoded
            except Exception as error:      # see _from_pil
                raise PictureError(f"{path}: picture {n + 1} is damaged: {error}") from error
            yield _from_pil(picture, os.fspath(path), ground, []), milliseconds / 1000 if milliseconds else None


def read_text(path):
    """The texts stored in a picture file that minivis wrote, {key: text}; empty for a picture without any."""
    with open(path, "rb") as file, _open(file, os.fspath(path), MAX_PIXELS) as image:
        image.load()                    # a PNG may hold text after its pixels
        return {key: str(value) for key, value in getattr(image, "text", {}).items()}


def _open(file, name, max_pixels):
    """The lazily opened image: its header is read and its size checked, its pixels are not yet decoded."""
    try:
        with _opening, warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(file, formats=READABLE)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise PictureError(f"{name} has more than {max_pixels:,} pixels, the limit; make it smaller first") from None
    except UnidentifiedImageError:
        raise PictureError(f"{name} is not a readable picture ({', '.join(READABLE)})") from None
    except Exception as error:
        raise PictureError(f"{name} is damaged or incomplete: {error}") from error
    width, height = image.size
    if width * height > max_pixels:
        image.close()
        raise PictureError(f"{name} has {width} x {height} = {width * height:,} pixels, more than the limit of "
                           f"{max_pixels:,}; make it smaller first")
    return image


def _remark(notes, text):
    if notes is None:
        warnings.warn(text, stacklevel=4)
    else:
        notes.append(text)


# One picture form ----------------------------------------------------------------------------------------------------

def to_picture(source, *, ground=WHITE, notes=None):
    """A picture, uint8 (H, W, 3), from a path, a PIL image, or an array.

    Arrays are (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), RGB order, uint8 or float in 0..1; anything with __array__ or
    __dlpack__ will do. Input that could mean two things (float above 1, 16-bit, channels first) is refused.
    """
    if isinstance(source, (str, os.PathLike)):
        return read(source, ground=ground, notes=notes)
    if isinstance(source, Image.Image):
        return _from_pil(source, "the image", ground, notes)
    array = _host_array(source)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        hint = ""
        if array.ndim == 3 and array.shape[0] in (1, 3, 4):
            hint = "; this looks like channels first: use array.transpose(1, 2, 0)"
        elif array.ndim == 4:
            hint = "; for one picture of a batch use array[0]"
        raise PictureError(f"an array of shape {array.shape} is not a picture: it must be (H, W), (H, W, 1), (H, W, 3) "
                           f"or (H, W, 4){hint}")
    array = _to_bytes(array)
    if array.shape[2] == 4:
        return _lay_on(array[:, :, :3], array[:, :, 3], ground)
    return np.array(np.broadcast_to(array, array.shape[:2] + (3,)), order="C")      # a copy: the caller's stays theirs


def _host_array(source):
    """The numpy array of anything array-like, fetched from a GPU when it offers `.get()`."""
    try:
        if hasattr(source, "__cuda_array_interface__") and hasattr(source, "get"):
            return source.get()
        if hasattr(source, "__array__"):
            return np.asarray(source)
        if hasattr(source, "__dlpack__"):
            return np.from_dlpack(source)
    except Exception as error:          # whatever the foreign array's own exporter raises
        raise PictureError(f"cannot read a {type(source).__name__} as an array: {error}") from error
    raise PictureError(f"a {type(source).__name__} is not a picture: give a path, a PIL image or an array")


def _to_bytes(array):
    """uint8 of the same shape from uint8, or from float in 0..1 (rounded half to even)."""
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind != "f":
        raise PictureError(f"a picture of {array.dtype} is ambiguous: give uint8 in 0..255 or float in 0..1")
    low, high = array.min(), array.max()
    if not (low >= 0 and high <= 1):            # also true for NaN
        raise PictureError(f"a float picture must lie in 0..1, this one has {low:g}..{high:g}; "
                           "divide by 255, or give uint8")
    return np.rint(array.astype(np.float64) * 255).astype(np.uint8)


def _lay_on(rgb, alpha, ground):
    """out = (alpha * rgb + (255 - alpha) * ground) / 255, rounded; no ties exist because 255 is odd. All uint8."""
    alpha = alpha[:, :, None].astype(np.uint16)
    out = rgb * alpha                           # at most 255 * 255, so 16 bits hold the sum and its rounding
    out += np.array(ground, np.uint16) * (255 - alpha)
    out += 127
    out //= 255
    return out.astype(np.uint8)


def _from_pil(image, name, ground, notes):
    """uint8 (H, W, 3) from a PIL image of any mode."""
    try:
        image.load()
    except Exception as error:      # Pillow's parsers raise OSError, SyntaxError, struct.error, IndexError ...
        raise PictureError(f"{name} is damaged or incomplete: {error}") from error
    with contextlib.suppress(Exception):        # a broken second frame does not spoil the first
        if getattr(image, "is_animated", False):
            _remark(notes, f"{name} holds several pictures; the first one is used")
    try:
        image = ImageOps.exif_transpose(image)
    except Exception as error:                  # the pixels are decoded already, so this is only the EXIF block
        _remark(notes, f"{name}: its EXIF data cannot be read, so it is not rotated ({error})")
    try:
        return np.ascontiguousarray(_rgb(image, name, ground, notes))
    except MinivisError:
        raise
    except Exception as error:
        raise PictureError(f"{name} is damaged or incomplete: {error}") from error


def _rgb(image, name, ground, notes):
    mode = image.mode
    if mode.startswith("I") or mode == "F":
        grey = _deep_grey(np.asarray(image), mode, name)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if mode == "CMYK":
        return np.array(_cmyk_to_rgb(image, name, notes))
    if mode == "LAB":
        from PIL import ImageCms
        return np.array(ImageCms.profileToProfile(image, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"),
                                                  outputMode="RGB"))
    if mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        rgba = np.asarray(image.convert("RGBA"))
        return _lay_on(rgba[:, :, :3], rgba[:, :, 3], ground)
    return np.array(image.convert("RGB"))


def _deep_grey(values, mode, name):
    """uint8 grey from 16-bit, 32-bit integer or float grey. Pillow's own conversion would clip at 255."""
    low, high = values.min(), values.max()
    if mode == "F":
        if not (low >= 0 and high <= 1):
            raise PictureError(f"{name} holds floats in {low:g}..{high:g}; only 0..1 has a known meaning: rescale it")
        return np.rint(values.astype(np.float64) * 255).astype(np.uint8)
    if mode == "I" and (low < 0 or high > 65535 or 0 < high <= 255):
        raise PictureError(f"{name} holds 32-bit integers in {low}..{high}, whose white is unknown; "
                           "convert it to 8 or 16 bits")
    return np.rint(values / 257.0).astype(np.uint8)


def _cmyk_to_rgb(image, name, notes):
    profile = image.info.get("icc_profile")
    if profile:
        from PIL import ImageCms
        try:
            return ImageCms.profileToProfile(image, ImageCms.ImageCmsProfile(io.BytesIO(profile)),
                                             ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError) as error:
            _remark(notes, f"{name}: its CMYK profile cannot be used ({error}); colours are approximate")
            return image.convert("RGB")
    _remark(notes, f"{name} is CMYK without a colour profile; colours are approximate")
    return image.convert("RGB")


# Writing -------------------------------------------------------------------------------------------------------------

def check_writable(path):
    """The format the extension of `path` means, or an error. Long work calls it before it begins."""
    suffix = Path(path).suffix.lower()
    if suffix not in WRITABLE:
        raise PictureError(f"cannot write {path}: the extension {suffix or '(none)'!r} is not one of "
                           f"{' '.join(sorted(WRITABLE))}")
    return WRITABLE[suffix]


def save(picture, path, *, text=None):
    """Write a picture whole or not at all, tagged sRGB; the extension names the format.

    text: {key: string}, stored as PNG text chunks; JPEG, WebP and TIFF have one comment: `key: string` lines.
    JPEG is written at quality 95 with full colour resolution, WebP and TIFF without loss.
    """
    form = check_writable(path)
    image = Image.fromarray(to_picture(picture))
    text = {key: str(value) for key, value in (text or {}).items()}
    with atomic_write(path) as temporary:
        image.save(temporary, form, **_save_options(form, text))


def save_film(pictures, path, *, seconds=0.08, text=None):
    """Write pictures (uint8, all of one size) as an endless film, each shown for `seconds`: .gif (256 colours a
    picture) or .webp. text is kept as in `save`; GIF has one comment."""
    form = FILMS.get(Path(path).suffix.lower())
    if form is None:
        raise PictureError(f"cannot write {path}: a film ends in {' or '.join(FILMS)}")
    frames = [Image.fromarray(to_picture(picture)) for picture in pictures]
    how = {"save_all": True, "append_images": frames[1:], "duration": round(1000 * seconds), "loop": 0}
    text = {key: str(value) for key, value in (text or {}).items()}
    if form == "GIF":
        how["comment"] = "\n".join(f"{key}: {value}" for key, value in text.items()).encode()
    else:
        how |= {**_save_options(form, text), "lossless": False, "quality": 90}
    with atomic_write(path) as temporary:
        frames[0].save(temporary, form, **how)


def png_bytes(picture, *, text=None):
    """The bytes of the PNG file that `save` would write."""
    buffer = io.BytesIO()
    Image.fromarray(to_picture(picture)).save(buffer, "PNG", **_save_options("PNG", dict(text or {})))
    return buffer.getvalue()


def _save_options(form, text):
    if form == "PNG":
        chunks = PngImagePlugin.PngInfo()
        chunks.add(b"sRGB", b"\0")              # rendering intent: perceptual
        for key, value in text.items():
            chunks.add_text(key, value)
        return {"pnginfo": chunks}
    options = {"icc_profile": _srgb_profile()}
    comment = "\n".join(f"{key}: {value}" for key, value in text.items())
    if form == "JPEG":
        options |= {"quality": 95, "subsampling": 0}
        if comment and len(comment.encode()) < 65_500:      # what one JPEG segment holds
            options["comment"] = comment.encode()
    elif form == "WEBP":
        options |= {"lossless": True}
        if comment:
            exif = Image.Exif()
            exif[_DESCRIPTION] = comment
            options["exif"] = exif.tobytes()
    else:
        options |= {"compression": "tiff_adobe_deflate"}
        if comment:
            options["tiffinfo"] = {_DESCRIPTION: comment}
    return options


def _srgb_profile():
    """The bytes of an sRGB profile, without the time of day that the library writes into bytes 24..35 of its header."""
    from PIL import ImageCms
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[24:36] = bytes(12)
    return bytes(profile)
