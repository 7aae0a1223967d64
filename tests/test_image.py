"""Every kind of picture file becomes the same upright RGB bytes, or one clear error."""

import io
import os

import numpy as np
import pytest
from PIL import Image, ImageCms

from minivis import image
from minivis.image import PictureError, decode, read, read_text, save, to_picture


def random_picture(height=8, width=6, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(pil, form, **options):
    buffer = io.BytesIO()
    pil.save(buffer, form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("form, options", [
    ("PNG", {}), ("BMP", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("WEBP", {"lossless": True}),
])
def test_lossless_files_give_the_exact_pixels(form, options):
    picture = random_picture()
    assert np.array_equal(decode(encoded(Image.fromarray(picture), form, **options), "p"), picture)


def test_jpeg_and_gif_are_read():
    picture = np.full((16, 16, 3), (200, 40, 90), np.uint8)
    assert np.abs(decode(encoded(Image.fromarray(picture), "JPEG", quality=95), "p").astype(int) - picture).max() <= 3
    assert np.array_equal(decode(encoded(Image.fromarray(picture), "GIF"), "p"), picture)


def test_transparent_parts_show_the_ground_and_never_the_hidden_colour():
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0] = [(10, 20, 30, 255), (10, 20, 30, 0), (10, 20, 30, 128)]
    data = encoded(Image.fromarray(rgba), "PNG")
    half = np.rint((128 * np.array([10, 20, 30]) + 127 * 255.0) / 255).astype(int)
    assert decode(data, "p")[0].tolist() == [[10, 20, 30], [255, 255, 255], half.tolist()]
    assert decode(data, "p", ground=(1, 2, 3))[0, 1].tolist() == [1, 2, 3]


def test_laying_on_a_ground_is_rounded_exactly_for_every_value_and_alpha():
    rgb = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 256, axis=1).repeat(3, axis=2)
    alpha = np.repeat(np.arange(256, dtype=np.uint8)[None], 256, axis=0)
    a = alpha[:, :, None].astype(np.float64)
    for ground in [(255, 255, 255), (0, 0, 0), (7, 128, 200)]:
        expected = np.rint((rgb * a + np.array(ground) * (255 - a)) / 255)
        assert np.array_equal(image._lay_on(rgb, alpha, ground), expected)


@pytest.mark.parametrize("mode, pixel, expected", [
    ("1", 1, (255, 255, 255)),
    ("L", 77, (77, 77, 77)),
    ("LA", (77, 0), (255, 255, 255)),
    ("LA", (77, 255), (77, 77, 77)),
    ("RGBA", (1, 2, 3, 255), (1, 2, 3)),
])
def test_png_modes(mode, pixel, expected):
    assert tuple(decode(encoded(Image.new(mode, (2, 2), pixel), "PNG"), "p")[0, 0]) == expected


def test_palette_with_transparency_shows_the_ground():
    pil = Image.new("P", (2, 1))
    pil.putpalette([255, 0, 0, 0, 255, 0])
    pil.putdata([0, 1])
    data = encoded(pil, "PNG", transparency=1)
    assert decode(data, "p")[0].tolist() == [[255, 0, 0], [255, 255, 255]]


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_and_not_clipped(form):
    deep = np.array([[0, 257, 1000, 32767, 65535]], np.uint16)
    read_back = decode(encoded(Image.fromarray(deep), form), "p")
    assert read_back[0, :, 0].tolist() == np.rint(deep[0] / 257).astype(int).tolist() == [0, 1, 4, 127, 255]
    assert np.array_equal(read_back[:, :, 0], read_back[:, :, 2])


def test_float_tiff_in_unit_range_is_scaled_and_other_ranges_are_refused():
    assert decode(encoded(Image.fromarray(np.array([[0, 0.5, 1]], np.float32)), "TIFF"), "p")[0, :, 1].tolist() \
        == [0, 128, 255]
    for bad in (2.0, -0.1, np.nan):
        with pytest.raises(PictureError, match=r"0\.\.1"):
            decode(encoded(Image.fromarray(np.array([[0, bad]], np.float32)), "TIFF"), "p")


def test_32_bit_integers_are_read_as_16_bit_unless_their_white_is_unknown():
    def tiff(values):
        return encoded(Image.fromarray(np.array([values], np.int32)), "TIFF")
    assert decode(tiff([0, 65535]), "p")[0, :, 0].tolist() == [0, 255]
    for values in ([0, 200], [0, 70000], [-1, 5]):
        with pytest.raises(PictureError, match="32-bit"):
            decode(tiff(values), "p")


def test_cmyk_without_profile_is_read_with_a_note():
    notes = []
    picture = decode(encoded(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "TIFF"), "p", notes=notes)
    assert picture.min() >= 250 and "CMYK" in notes[0]


def test_cmyk_with_a_broken_profile_is_read_with_a_note():
    notes = []
    data = encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF", icc_profile=b"no profile at all")
    assert decode(data, "p", notes=notes)[0, 0].tolist() == [255, 0, 0]
    assert "profile cannot be used" in notes[0]


def test_cmyk_goes_through_its_profile(monkeypatch):
    used = []
    monkeypatch.setattr(ImageCms, "ImageCmsProfile", lambda file: used.append(file.read()) or "profile")
    monkeypatch.setattr(ImageCms, "profileToProfile",
                        lambda pil, source, target, outputMode: Image.new(outputMode, pil.size, (9, 8, 7)))
    data = encoded(Image.new("CMYK", (4, 4)), "TIFF", icc_profile=b"the profile")
    assert decode(data, "p", notes=[])[0, 0].tolist() == [9, 8, 7]
    assert used == [b"the profile"]


@pytest.mark.parametrize("orientation, undo", [
    (1, lambda p: p), (2, np.fliplr), (3, lambda p: np.rot90(p, 2)), (4, np.flipud),
    (5, lambda p: p.transpose(1, 0, 2)), (6, lambda p: np.rot90(p, 1)),
    (7, lambda p: np.rot90(p.transpose(1, 0, 2), 2)), (8, lambda p: np.rot90(p, -1)),
])
def test_exif_rotation_is_applied(orientation, undo):
    upright = random_picture()
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(undo(upright)))
    assert np.array_equal(decode(encoded(stored, "PNG", exif=exif), "p"), upright)


def test_of_an_animation_the_first_frame_is_taken_and_said():
    first, second = (Image.new("RGB", (4, 4), colour) for colour in ("red", "blue"))
    notes = []
    data = encoded(first, "GIF", save_all=True, append_images=[second])
    assert decode(data, "film.gif", notes=notes)[0, 0].tolist() == [255, 0, 0]
    assert notes == ["film.gif holds several pictures; the first one is used"]
    with pytest.warns(UserWarning, match="several pictures"):
        decode(data, "film.gif")


def test_truncated_files_are_one_clear_error():
    for form in ("JPEG", "PNG", "WEBP", "BMP"):
        data = encoded(Image.fromarray(random_picture(64, 64)), form)
        with pytest.raises(PictureError, match=r"^cut\.x is (damaged|not a readable)") as caught:
            decode(data[:len(data) // 2], "cut.x")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
@pytest.mark.filterwarnings("ignore")
def test_mutated_files_are_read_or_refused_but_nothing_else(form):
    rng = np.random.default_rng(1)
    whole = encoded(Image.fromarray(random_picture(16, 16)), form)
    refused = 0
    for _ in range(300):
        data = bytearray(whole)
        for at in rng.integers(0, len(data), rng.integers(1, 6)):
            data[at] = rng.integers(0, 256)
        data = bytes(data[:rng.integers(1, len(data) + 1)]) if rng.random() < 0.3 else bytes(data)
        try:
            picture = decode(data, "p", max_pixels=10**6, notes=[])
            assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
        except PictureError:
            refused += 1
    assert refused > 20


def test_the_size_limit_is_checked_before_decoding_and_no_global_is_touched():
    at_first = Image.MAX_IMAGE_PIXELS
    data = encoded(Image.new("1", (14_000, 14_000)), "PNG")
    assert len(data) < 100_000
    with pytest.raises(PictureError, match="limit"):
        decode(data, "bomb.png")
    with pytest.raises(PictureError, match="20 x 10 = 200 pixels"):
        decode(encoded(Image.new("L", (20, 10)), "PNG"), "p", max_pixels=199)
    assert at_first == Image.MAX_IMAGE_PIXELS


def test_what_is_no_picture_file_is_one_line_with_the_path(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("not a picture")
    os.mkfifo(tmp_path / "pipe.png")
    for name, reason in [("gone.png", "there is no file"), ("empty.png", "is empty"), ("text.jpg", "not a readable"),
                         (".", "is a folder"), ("pipe.png", "not an ordinary file"), ("x\0y", "cannot open")]:
        path = f"{tmp_path}/{name}"
        with pytest.raises(PictureError, match=reason) as caught:
            read(path)
        assert path in str(caught.value) and "\n" not in str(caught.value)


def test_formats_outside_the_list_are_not_parsed():
    with pytest.raises(PictureError, match="not a readable"):
        decode(encoded(Image.new("RGB", (4, 4)), "PPM"), "p")


# Arrays

class OnlyDlpack:
    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


@pytest.mark.parametrize("make", [
    lambda p: p, lambda p: p / 255, lambda p: (p / 255).astype(np.float32), lambda p: Image.fromarray(p), OnlyDlpack,
    lambda p: np.concatenate([p, np.full_like(p[:, :, :1], 255)], axis=2), lambda p: p[:, ::-1][:, ::-1],
])
def test_every_form_of_one_picture_is_the_same_picture(make):
    picture = random_picture()
    assert np.array_equal(to_picture(make(picture)), picture)


def test_a_path_and_grey_arrays_are_pictures(tmp_path):
    picture = random_picture()
    save(picture, tmp_path / "p.png")
    assert np.array_equal(to_picture(tmp_path / "p.png"), picture)
    for grey in (picture[:, :, 0], picture[:, :, :1]):
        assert np.array_equal(to_picture(grey), picture[:, :, :1].repeat(3, axis=2))


def test_the_picture_is_a_copy():
    picture = random_picture()
    to_picture(picture)[:] = 0
    assert picture.any()


@pytest.mark.parametrize("source, reason", [
    (np.full((4, 4, 3), 1.5), r"0\.\.1"), (np.full((4, 4, 3), -0.5), r"0\.\.1"), (np.full((4, 4), np.nan), r"0\.\.1"),
    (np.zeros((4, 4, 3), np.uint16), "ambiguous"), (np.zeros((4, 4), bool), "ambiguous"),
    (np.zeros((3, 4, 5), np.uint8), "channels first"), (np.zeros((1, 4, 5, 3), np.uint8), r"array\[0\]"),
    (np.zeros((0, 4, 3), np.uint8), "not a picture"), (np.zeros(4, np.uint8), "not a picture"),
    ([[1, 2], [3, 4]], "a list is not a picture"), (None, "NoneType"),
])
def test_ambiguous_input_is_refused(source, reason):
    with pytest.raises(PictureError, match=reason):
        to_picture(source)


# Writing

def test_png_keeps_pixels_and_texts_and_says_srgb(tmp_path):
    picture, text = random_picture(), {"minivis": '{"seed": 0, "label": "Bärenhündchen \N{SNOWMAN}"}'}
    save(picture, tmp_path / "p.png", text=text)
    assert np.array_equal(read(tmp_path / "p.png"), picture)
    assert read_text(tmp_path / "p.png") == text
    assert b"sRGB" in (tmp_path / "p.png").read_bytes()


@pytest.mark.parametrize("name, tolerance", [("p.webp", 0), ("p.tif", 0), ("p.tiff", 0), ("p.jpg", 8), ("p.JPEG", 8)])
def test_other_formats_are_written(tmp_path, name, tolerance):
    picture = np.kron(random_picture(2, 2), np.ones((8, 8, 1), np.uint8))
    save(picture, tmp_path / name, text={"minivis": "recipe"})
    assert np.abs(read(tmp_path / name).astype(int) - picture).max() <= tolerance
    assert b"recipe" in (tmp_path / name).read_bytes()


def test_the_same_picture_gives_the_same_bytes(tmp_path):
    for name in ("a.png", "a.jpg", "a.webp", "a.tif"):
        save(random_picture(), tmp_path / name)
        first = (tmp_path / name).read_bytes()
        save(random_picture(), tmp_path / name)
        assert (tmp_path / name).read_bytes() == first


@pytest.mark.parametrize("name", ["p.xyz", "p", "p.gif", "p.png.exe"])
def test_an_unknown_extension_is_refused_and_leaves_nothing(tmp_path, name):
    with pytest.raises(PictureError, match="extension"):
        save(random_picture(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []
