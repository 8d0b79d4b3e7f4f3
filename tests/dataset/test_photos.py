import importlib.util
import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from portrait_lora.dataset.photos import UnreadablePhoto, list_photos, load_photo
from portrait_lora.errors import InputError

from .made_up import draw, save


def corner_picture(size=(64, 48)):
    """Red upper left, green upper right, blue lower left, white lower right."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    h, w = size[1] // 2, size[0] // 2
    pixels[:h, :w], pixels[:h, w:], pixels[h:, :w], pixels[h:, w:] = (
        (255, 0, 0),
        (0, 255, 0),
        (0, 0, 255),
        255,
    )
    return pixels


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("max_side", [None, 40])
def test_every_exif_orientation_comes_out_upright(tmp_path, orientation, max_side):
    inverse = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    upright = Image.fromarray(corner_picture())
    stored = upright if inverse is None else upright.transpose(Image.Transpose(inverse))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.jpg", quality=95, exif=exif)
    photo, pixels = load_photo(tmp_path / "a.jpg", max_side)
    assert photo.size_px == (64, 48)
    assert pixels.shape == ((48, 64, 3) if max_side is None else (30, 40, 3))
    h, w = pixels.shape[:2]
    assert pixels[3, 3].argmax() == 0
    assert pixels[3, 3, 1] < 80
    assert pixels[3, w - 4].argmax() == 1
    assert pixels[h - 4, 3].argmax() == 2


def test_a_large_jpeg_is_decoded_small_but_its_full_size_is_reported(tmp_path):
    path = save(tmp_path / "big.jpg", draw(0, (1200, 1600)))
    photo, pixels = load_photo(path, 400)
    assert photo.size_px == (1200, 1600)
    assert pixels.shape == (400, 300, 3)
    full = load_photo(path)[1]
    small = np.asarray(Image.fromarray(full).resize((300, 400), Image.Resampling.BOX), np.float32)
    assert np.abs(small - pixels).mean() < 3


def test_a_quick_reduction_may_be_a_little_smaller_and_spares_work(tmp_path):
    path = save(tmp_path / "big.jpg", draw(0, (1600, 2000)))
    photo, pixels = load_photo(path, 600, quick=True)
    assert photo.size_px == (1600, 2000)
    assert pixels.shape == (500, 400, 3)
    assert load_photo(path, 600)[1].shape == (600, 480, 3)
    assert load_photo(save(tmp_path / "big.png", draw(0, (1600, 2000))), 600, quick=True)[1].shape == (
        600,
        480,
        3,
    )


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "CMYK", "I;16"])
def test_reduction_keeps_colours_in_every_mode(tmp_path, mode):
    rgb = Image.fromarray(draw(1, (300, 400)))
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(rgb.convert("L")).astype(np.uint16) * 257)
    else:
        picture = rgb.convert(mode) if mode != "LA" else rgb.convert("L").convert("LA")
    path = tmp_path / ("m.jpg" if mode == "CMYK" else "m.png")
    picture.save(path)
    full, small = load_photo(path)[1], load_photo(path, 100)[1]
    assert small.shape == (100, 75, 3)
    mean = np.asarray(Image.fromarray(full).resize((75, 100), Image.Resampling.BOX), np.float32)
    assert np.abs(mean - small).mean() < 4


def test_transparency_is_reduced_without_a_dark_fringe(tmp_path):
    rgba = np.zeros((200, 200, 4), np.uint8)
    rgba[:, 100:] = (200, 180, 160, 255)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    row = load_photo(tmp_path / "a.png", 50)[1][25].astype(int)
    assert row.min() >= 155


def test_a_jpeg_of_thousands_of_passes_is_refused_unread(tmp_path):
    out = io.BytesIO()
    Image.fromarray(draw(0, (2000, 2000))).save(out, "JPEG", progressive=True)
    data = out.getvalue()
    (tmp_path / "plain.jpg").write_bytes(data)
    assert load_photo(tmp_path / "plain.jpg", 200)[0].size_px == (2000, 2000)
    last = data.rindex(b"\xff\xda")
    (tmp_path / "evil.jpg").write_bytes(data[:last] + data[last:-2] * 900 + b"\xff\xd9")
    with pytest.raises(UnreadablePhoto, match="more scans"):
        load_photo(tmp_path / "evil.jpg")


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_plain_pictures_that_shrink_most_are_still_read(tmp_path, suffix):
    path = tmp_path / f"white.{suffix}"
    Image.new("RGB", (3000, 3000), "white").save(path)
    assert load_photo(path, 300)[1].mean() > 250


def test_heic_names_its_extra_or_is_read(tmp_path):
    head = b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + b"\0" * 40
    (tmp_path / "a.heic").write_bytes(head)
    with pytest.raises(UnreadablePhoto) as error:
        load_photo(tmp_path / "a.heic")
    if importlib.util.find_spec("pillow_heif") is None:
        assert "portrait-lora[heic]" in error.value.advice
        return
    import pillow_heif

    pillow_heif.from_pillow(Image.fromarray(draw(0))).save(tmp_path / "b.heic")
    photo, pixels = load_photo(tmp_path / "b.heic")
    assert photo.size_px == (240, 300)
    assert np.abs(pixels.astype(int) - draw(0)).mean() < 6


def test_phones_that_append_a_second_picture_are_read(tmp_path):
    frames = [Image.new("RGB", (64, 48), c) for c in ("red", "blue")]
    frames[0].save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=frames[1:])
    assert load_photo(tmp_path / "a.jpg")[1][5, 5].argmax() == 0


def test_colour_profiles_of_absurd_size_are_passed_over(tmp_path):
    Image.new("RGB", (16, 16), (220, 30, 30)).save(tmp_path / "a.jpg", icc_profile=b"\0" * 5_000_000)
    assert load_photo(tmp_path / "a.jpg")[1][4, 4].argmax() == 0


def test_small_pictures_are_not_enlarged(tmp_path):
    assert load_photo(save(tmp_path / "s.png", draw(0, (50, 60))), 400)[1].shape == (60, 50, 3)


def test_cmyk_becomes_rgb(tmp_path):
    Image.new("CMYK", (40, 40), (0, 255, 255, 0)).save(tmp_path / "c.jpg")
    red, green, blue = load_photo(tmp_path / "c.jpg")[1][20, 20]
    assert red > 180 > 100 > max(green, blue)


def test_sixteen_bit_grey_keeps_its_middle(tmp_path):
    ramp = np.tile(np.linspace(0, 65535, 256), (16, 1)).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "g.png")
    row = load_photo(tmp_path / "g.png")[1][8]
    assert row.shape == (256, 3)
    assert abs(int(row[128, 0]) - 128) <= 1
    assert row[255, 0] == 255


def test_transparency_lies_on_white(tmp_path):
    rgba = Image.new("RGBA", (32, 32), (10, 20, 30, 255))
    rgba.paste((0, 0, 0, 0), (0, 0, 16, 32))
    rgba.save(tmp_path / "a.png")
    palette = rgba.convert("RGB").quantize(4)
    palette.save(tmp_path / "p.png", transparency=palette.getpixel((2, 2)))
    for name in ("a.png", "p.png"):
        pixels = load_photo(tmp_path / name)[1]
        assert tuple(pixels[8, 4]) == (255, 255, 255), name
        assert abs(int(pixels[8, 24, 2]) - 30) < 4, name


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P"])
def test_odd_modes_become_three_channels(tmp_path, mode):
    Image.fromarray(draw(1)).convert(mode).save(tmp_path / "m.png")
    assert load_photo(tmp_path / "m.png")[1].shape == (300, 240, 3)


def test_the_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (32, 32), c) for c in ("red", "blue")]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    assert load_photo(tmp_path / "a.webp")[1][5, 5].argmax() == 0


def test_colour_profiles_are_applied(tmp_path):
    lab_like = ImageCms.createProfile("sRGB")
    swapped = swap_red_and_green(ImageCms.ImageCmsProfile(lab_like).tobytes())
    Image.new("RGB", (16, 16), (220, 30, 30)).save(tmp_path / "swapped.png", icc_profile=swapped)
    Image.new("RGB", (16, 16), (220, 30, 30)).save(tmp_path / "broken.png", icc_profile=b"nonsense" * 40)
    assert load_photo(tmp_path / "swapped.png")[1][4, 4].argmax() == 1
    assert load_photo(tmp_path / "broken.png")[1][4, 4].argmax() == 0


def swap_red_and_green(profile: bytes) -> bytes:
    """An sRGB profile whose red and green primaries have changed places in its tag table."""
    data = bytearray(profile)
    places = {}
    for i in range(struct.unpack(">I", data[128:132])[0]):
        at = 132 + 12 * i
        places[bytes(data[at : at + 4])] = at
    red, green = places[b"rXYZ"], places[b"gXYZ"]
    data[red + 4 : red + 12], data[green + 4 : green + 12] = (
        data[green + 4 : green + 12],
        data[red + 4 : red + 12],
    )
    return bytes(data)


def test_the_content_counts_not_the_name(tmp_path):
    save(tmp_path / "png_inside.png", draw(2)).rename(tmp_path / "png_inside.jpg")
    save(tmp_path / "no_suffix.webp", draw(3)).rename(tmp_path / "no_suffix")
    assert [p.name for p in list_photos(tmp_path)] == ["no_suffix", "png_inside.jpg"]
    assert load_photo(tmp_path / "png_inside.jpg")[0].size_px == (240, 300)
    assert load_photo(tmp_path / "no_suffix")[0].size_px == (240, 300)


def png_header(width, height):
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0" * 100)
    out = b"\x89PNG\r\n\x1a\n"
    for part in (chunk, data, b"IEND"):
        out += struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part))
    return out


def truncated_jpeg():
    out = io.BytesIO()
    Image.fromarray(draw(4)).save(out, "JPEG")
    return out.getvalue()[: len(out.getvalue()) // 2]


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("empty.jpg", b"", "empty"),
        ("text.jpg", b"hello, I am not a picture", "JPEG, PNG or WebP picture"),
        ("gif.jpg", b"GIF89a" + b"\0" * 50, "JPEG, PNG or WebP picture"),
        ("half.jpg", truncated_jpeg(), "truncated"),
        ("bomb.png", png_header(60_000, 60_000), "million pixels"),
        ("bomb12k.png", png_header(12_000, 12_000), "million pixels"),
        ("damaged.png", png_header(64, 64), "damaged"),
        ("announces_more.png", png_header(9_000, 9_000), "too small for the size in its header"),
    ],
)
def test_unreadable_files_say_why(tmp_path, name, data, words):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UnreadablePhoto) as error:
        load_photo(tmp_path / name)
    assert words in error.value.advice
    assert error.value.photo.size_px == (0, 0)
    assert name in str(error.value)


def test_the_pixel_cap_can_be_lowered(tmp_path):
    path = save(tmp_path / "a.png", draw(0, (200, 200)))
    with pytest.raises(UnreadablePhoto, match=r"0\.03 million"):
        load_photo(path, max_pixels=30_000)


def test_links_must_stay_in_the_folder(tmp_path):
    outside, inside = tmp_path / "outside", tmp_path / "photos"
    outside.mkdir()
    inside.mkdir()
    save(outside / "secret.png", draw(5))
    save(inside / "a.png", draw(6))
    os.symlink(outside / "secret.png", inside / "b.png")
    os.symlink(inside / "a.png", inside / "c.png")
    os.symlink(inside / "nothing.png", inside / "d.png")
    assert [p.name for p in list_photos(inside)] == ["a.png", "b.png", "c.png", "d.png"]
    with pytest.raises(UnreadablePhoto, match="outside"):
        load_photo(inside / "b.png")
    assert load_photo(inside / "c.png")[0].size_px == (240, 300)
    with pytest.raises(UnreadablePhoto, match="broken link"):
        load_photo(inside / "d.png")


def test_listing_passes_over_what_is_no_picture(tmp_path):
    for name in ("notes.txt", ".DS_Store", "._IMG_1.jpg", "IMG_1.HEIC"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.jpg").mkdir()
    assert [p.name for p in list_photos(tmp_path)] == ["IMG_1.HEIC"]
    with pytest.raises(InputError, match="no such folder"):
        list_photos(tmp_path / "missing")
    with pytest.raises(InputError, match="a file"):
        list_photos(tmp_path / "notes.txt")
