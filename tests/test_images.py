"""Images of every kind are read alike, or refused with a reason."""

import io
import os
import re
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from support import refusal

from detr_lite.data.images import (
    images_in,
    read_image,
    read_orientation,
    read_size,
)
from detr_lite.errors import ImageError


@pytest.fixture
def rgb():
    """An image of 12 x 9 pixels with no symmetry."""
    return np.random.RandomState(0).randint(0, 256, (9, 12, 3), np.uint8)


@pytest.fixture
def tensor(rgb):
    """What reading it must give."""
    return torch.tensor(rgb.transpose(2, 0, 1).tolist(), dtype=torch.uint8)


def saved(array, path, **options):
    """Write an array as an image; return the path."""
    Image.fromarray(array).save(path, **options)
    return path


def refused(source, *words):
    """Read a source that must be refused, in one line with these words."""
    with refusal(*words, error=ImageError):
        read_image(source)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp", "gif"])
def test_files_of_many_formats_are_read(tmp_path, rgb, tensor, suffix):
    options = {"lossless": True} if suffix == "webp" else {}
    path = saved(rgb, tmp_path / f"image.{suffix}", **options)
    assert torch.equal(read_image(path), tensor)
    assert torch.equal(read_image(str(path)), tensor)


def test_layouts_of_arrays_and_tensors_give_the_same(rgb, tensor):
    opaque = np.dstack((rgb, np.full((9, 12), 255, np.uint8)))
    for source in (
        Image.fromarray(rgb),
        rgb,
        opaque,
        rgb[:, ::-1][:, ::-1],  # not contiguous
        rgb.astype(np.int64),
        rgb.astype(np.float32) / 255,
        rgb.astype(np.uint16) * 257,
        tensor,
        tensor.float() / 255,
        tensor.long(),
    ):
        found = read_image(source)
        assert found.dtype == torch.uint8
        assert torch.equal(found, tensor)


def test_gray_pictures_have_three_equal_channels(rgb, tensor, tmp_path):
    gray = rgb[..., 0]
    path = saved(gray, tmp_path / "gray.png")
    wanted = tensor[:1].expand(3, -1, -1)
    for source in (
        path,
        gray,
        gray[..., None],
        torch.from_numpy(gray),
        torch.from_numpy(gray)[None],
    ):
        assert torch.equal(read_image(source), wanted)


def test_black_and_white_pictures_are_read(tmp_path, rgb):
    bits = rgb[..., 0] > 127
    path = saved(bits, tmp_path / "bits.png")
    wanted = torch.from_numpy(bits).byte()[None].expand(3, -1, -1) * 255
    assert torch.equal(read_image(path), wanted)
    assert torch.equal(read_image(bits), wanted)


def test_sixteen_bits_keep_their_brightness(tmp_path):
    """65535 is white: taking the low or clipping the high byte is not."""
    levels = np.linspace(0, 65535, 96).round().astype(np.uint16)
    path = saved(levels.reshape(8, 12), tmp_path / "deep.png")
    wanted = (levels / 65535 * 255).round().reshape(8, 12)
    assert read_image(path)[0].tolist() == wanted.tolist()


def test_palettes_are_looked_up(tmp_path, rgb):
    small = Image.fromarray(rgb).quantize(8)
    path = tmp_path / "palette.png"
    small.save(path)
    wanted = np.asarray(small.convert("RGB")).transpose(2, 0, 1)
    assert read_image(path).numpy().tolist() == wanted.tolist()


def test_transparency_is_laid_over_white(tmp_path):
    rgba = np.zeros((8, 8, 4), np.uint8)
    rgba[..., 0] = 255
    rgba[:4, :, 3] = 255  # red above, nothing below
    path = saved(rgba, tmp_path / "alpha.png")
    for source in (path, rgba):
        picture = read_image(source)
        assert picture[:, :4].unique_consecutive().tolist() == [255, 0]
        assert (picture[0, :4] == 255).all()
        assert (picture[:, 4:] == 255).all()


def test_a_palettes_transparent_color_is_laid_over_white(tmp_path):
    image = Image.new("P", (8, 8), 0)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.paste(1, (0, 0, 8, 4))
    path = tmp_path / "transparent.png"
    image.save(path, transparency=0)
    picture = read_image(path)
    assert (picture[:, 4:] == 255).all()
    assert picture[:, 0, 0].tolist() == [40, 50, 60]


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_photographs_are_set_upright(
    tmp_path, rgb, tensor, orientation, suffix
):
    """The camera stored the image turned, and EXIF says how."""
    turns = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }
    stored = np.ascontiguousarray(turns[orientation](rgb))
    exif = Image.Exif()
    exif[274] = orientation
    options = {"lossless": True} if suffix == "webp" else {}
    path = saved(stored, tmp_path / f"turned.{suffix}", exif=exif, **options)
    assert torch.equal(read_image(path), tensor)
    assert read_size(path) == (9, 12)
    assert read_orientation(path) == orientation
    as_it_is = read_image(path, upright=False)
    assert torch.equal(as_it_is, torch.from_numpy(stored).permute(2, 0, 1))
    assert read_size(path, upright=False) == stored.shape[:2]


# The tag of the orientation; behind it comes its value.
SIDE = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0"


@pytest.mark.parametrize("value", [b"\x63\0\0\0", b"\0\0\0\0"])
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_an_orientation_that_there_is_not_says_nothing(
    tmp_path, rgb, value, suffix
):
    path = saved(rgb, tmp_path / f"a.{suffix}", exif=SIDE + value)
    assert read_image(path).shape == (3, 9, 12)
    assert read_orientation(path) == 1
    saved(rgb, path, exif=SIDE + b"\x06\0\0\0")  # while this one does
    assert read_image(path).shape == (3, 12, 9)


# Turned on its side, with tags of GPS whose types are wrong.
LOST = b"Exif\0\0" + bytes.fromhex(
    "4d4d002a000000080005010e0002000000050000004a01120003000000010006"
    "0000876900040000000100000050882500040000000100000082928600010000"
    "0007000000b80000000064657363000000029003000200000014000000"
    "6ea0020003000000010014000000000000323032303a30313a30312030303a30"
    "303a303000000200010002000000024e00000000020001000000010000020000"
    "0000010000000300000001636f6d6d656e7400"
)


@pytest.mark.parametrize(
    ("exif", "suffix"),
    [
        (b"Exif\0\0no such thing", "png"),
        (b"Exif\0\0II", "png"),
        (LOST, "jpg"),
        (LOST, "png"),
    ],
)
def test_damaged_tags_are_refused(tmp_path, rgb, exif, suffix):
    path = saved(rgb, tmp_path / f"a.{suffix}", exif=exif)
    refused(path, str(path), "damaged EXIF tags")
    with pytest.raises(ImageError, match="damaged EXIF tags"):
        read_size(path)
    assert read_image(path, upright=False).shape == (3, 9, 12)
    with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
        refused(image, "damaged EXIF tags")


def test_cmyk_pictures_are_read(tmp_path):
    path = tmp_path / "print.jpg"
    Image.new("CMYK", (8, 8), (0, 0, 0, 0)).save(path)
    assert (read_image(path) > 250).all()


def test_the_smallest_picture_has_8_by_8_pixels():
    assert read_image(np.zeros((8, 8), np.uint8)).shape == (3, 8, 8)
    for size in ((1, 1), (7, 100), (100, 7)):
        refused(np.zeros(size, np.uint8), f"{size[1]} x {size[0]} pixels")


def test_a_file_with_one_pixel_is_refused_by_its_name(tmp_path):
    path = tmp_path / "dot.png"
    Image.new("RGB", (1, 1)).save(path)
    refused(path, "dot.png", "1 x 1 pixels")


def test_huge_pictures_are_refused(tmp_path):
    path = tmp_path / "wide.png"
    Image.new("1", (20000, 8)).save(path)
    refused(path, "wide.png", "20000 x 8 pixels", "16384")
    refused(np.zeros((8, 20000), np.uint8), "20000 x 8 pixels")


def test_a_file_that_claims_gigapixels_is_refused_unread(tmp_path):
    """Its header says 60,000 x 60,000 pixels; nothing follows."""
    content = io.BytesIO()
    Image.new("1", (8, 8)).save(content, "png")
    data = bytearray(content.getvalue())
    size = (60000).to_bytes(4, "big")
    data[16:24] = size + size
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path = tmp_path / "bomb.png"
    path.write_bytes(data)
    refused(path, "bomb.png", "pixels")


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_file_that_is_cut_off_is_refused(tmp_path, suffix, part):
    noise = np.random.RandomState(0).randint(0, 256, (64, 64, 3), np.uint8)
    path = saved(noise, tmp_path / f"cut.{suffix}")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    refused(path, f"cut.{suffix}")


@pytest.mark.parametrize("text", ["no image", ""])
def test_text_named_like_a_picture_is_refused(tmp_path, text):
    path = tmp_path / "text.png"
    path.write_text(text)
    refused(path, "text.png", "not an image")


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    refused(tmp_path / "gone.png", "There is no file", "gone.png")
    refused(tmp_path, "is a folder")


@pytest.mark.parametrize(
    "shape", [(9,), (2, 9, 12), (9, 12, 2), (9, 12, 5), (1, 9, 12, 3)]
)
def test_arrays_of_other_shapes_are_refused(shape):
    refused(np.zeros(shape, np.uint8), "shape", "(H, W, 3)")


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.5, 1.5, 300.0])
def test_arrays_with_values_out_of_range_are_refused(value):
    array = np.zeros((9, 12, 3), np.float32)
    array[4, 4, 1] = value
    refused(array, "values")


@pytest.mark.parametrize("excess", [1e-6, 0.03])
def test_floats_a_little_beyond_1_are_no_bytes(rgb, tensor, excess):
    """So they are where an image was resized; as bytes they were black."""
    floats = rgb / np.float32(255)
    floats[floats == floats.max()] = 1 + excess
    floats[floats == floats.min()] = -excess
    expected = tensor.clone()
    expected[tensor == tensor.max()] = 255
    expected[tensor == tensor.min()] = 0
    assert torch.equal(read_image(floats), expected)


def test_floats_of_bytes_are_read_as_such(rgb, tensor):
    assert torch.equal(read_image(rgb.astype(np.float64)), tensor)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_tensors_of_half_precision_are_read(tensor, dtype):
    read = read_image((tensor / 255).to(dtype))
    assert (read.int() - tensor.int()).abs().max() <= 1


@pytest.mark.parametrize("top", [255, 200])
def test_dark_sixteen_bits_are_dark(tmp_path, top):
    """Whatever the largest value is, 65535 is white."""
    dark = np.full((9, 12), top, np.uint16)
    assert (read_image(dark) == 1).all()
    path = saved(dark, tmp_path / "dark.png")
    assert (read_image(path) == 1).all()
    image = Image.fromarray(dark.astype(np.int32))
    image.format = "PNG"  # as older Pillow reads it
    assert image.mode == "I"
    assert (read_image(image) == 1).all()


@pytest.mark.parametrize("kind", [np.int32, "<u2", ">u2"])
def test_numbers_mean_the_same_in_an_array_and_in_a_picture(
    tmp_path, rgb, tensor, kind
):
    """32 bits are bytes where they fit, as in other arrays; 16 are 16."""
    gray = rgb[..., 0].astype(kind)
    unsigned = gray.dtype.kind == "u"
    wanted = (gray / 257).round() if unsigned else gray
    path = saved(gray, tmp_path / "a.tif")
    for source in (gray, Image.fromarray(gray), path):
        assert read_image(source)[0].tolist() == wanted.tolist()


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    path = tmp_path / "pipe.png"
    os.mkfifo(path)
    refused(path, str(path), "is a pipe")


def test_more_than_sixteen_bits_are_refused():
    refused(Image.new("I", (9, 9), 70_000), "16 bits")
    refused(Image.new("I", (9, 9), -1), "16 bits")


@pytest.mark.parametrize(
    "array",
    [
        np.full((9, 12), "a", object),
        np.zeros((9, 12), complex),
        np.zeros((9, 12), "datetime64[s]"),
        np.zeros((9, 12), [("r", "u1")]),
        torch.zeros(3, 9, 12, dtype=torch.complex64),
        torch.zeros(3, 9, 12).to_sparse(),
        torch.zeros(3, 9, 12, device="meta"),
    ],
)
def test_what_holds_no_plain_numbers_is_refused(array):
    refused(array, "image")


def test_tensors_with_channels_last_are_refused(rgb):
    refused(torch.from_numpy(rgb), "a tensor channels first")


def test_other_types_are_refused_by_their_name():
    refused({"picture": 1}, "not dict")


def test_reading_copies(rgb, tensor):
    before = rgb.copy()
    read_image(rgb)[:] = 0
    assert np.array_equal(rgb, before)


def test_a_folder_gives_its_pictures_by_name(tmp_path):
    for name in ("b.png", "a.JPG", "c.txt", "d.jfif", "._b.png", ".e.jpg"):
        (tmp_path / name).touch()
    found = [p.name for p in images_in(tmp_path)]
    assert found == ["a.JPG", "b.png", "d.jfif"]


def test_a_folder_that_cannot_be_listed_is_refused(tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.iterdir", refuse)
    with pytest.raises(ImageError, match=r"cannot be listed \(Permission"):
        images_in(tmp_path)


def test_a_home_may_be_written_as_a_tilde(tmp_path, monkeypatch, rgb, tensor):
    monkeypatch.setenv("HOME", str(tmp_path))
    saved(rgb, tmp_path / "a.png")
    assert torch.equal(read_image("~/a.png"), tensor)


class Broken(Exception):
    """What no list of Pillow's errors has."""


def test_whatever_pillow_raises_is_said_in_a_sentence(
    tmp_path, monkeypatch, rgb
):
    path = saved(rgb, tmp_path / "a.png")

    def fail(self):
        raise Broken("line\nline")

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    refused(path, str(path), "cannot be read to its end (line line)")


def test_a_folder_without_pictures_is_refused(tmp_path):
    (tmp_path / "c.txt").touch()
    with pytest.raises(ImageError, match=re.escape(str(tmp_path))):
        images_in(tmp_path)


EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 20 20
%%EndComments
(ran) print 0 0 20 20 rectfill showpage
%%EOF
"""


@pytest.mark.parametrize("suffix", ["png", "jpg", "eps"])
def test_no_other_program_is_started(tmp_path, monkeypatch, suffix):
    """Pillow goes by the content, and gives EPS to Ghostscript."""
    path = tmp_path / f"photo.{suffix}"
    path.write_bytes(EPS)
    monkeypatch.setattr(
        "subprocess.Popen", lambda *a, **k: pytest.fail(f"started {a}")
    )
    refused(path, str(path), "not an image", "PNG or JPEG")


def test_formats_without_a_suffix_of_ours_are_refused(tmp_path, rgb):
    for kind in ("PPM", "TGA", "ICO", "PCX"):
        path = saved(rgb, tmp_path / f"{kind}.png", format=kind)
        refused(path, str(path), "not an image")


def test_a_format_counts_by_its_content_not_by_its_suffix(
    tmp_path, rgb, tensor
):
    path = saved(rgb, tmp_path / "photo.jpg", format="PNG")
    assert torch.equal(read_image(path), tensor)
