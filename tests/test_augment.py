"""Device operations against PIL, PyTorch, SciPy and the standard library."""

import colorsys
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from nnjax.data import augment, spec
from nnjax.data.augment import colour, geometry, policy
from nnjax.errors import UserError

KEY = jax.random.key(3)


@functools.lru_cache
def one(text):
    """The operation that a text names, on images: (key, image) -> image."""
    (operation,) = spec.parse(text, augment)
    return jax.jit(lambda key, image: operation(key, {'image': image})['image'])


def keys(count):
    return jax.random.split(KEY, count)


def smooth(height=40, width=30, channels=3, seed=0):
    """A random image [H, W, C] of whole bytes / 255, not flat anywhere."""
    low = np.random.default_rng(seed).integers(20, 236, (6, 5, channels)).astype(np.uint8)
    drawn = Image.fromarray(low[..., 0] if channels == 1 else low)
    large = np.asarray(drawn.resize((width, height), Image.Resampling.BICUBIC))
    return jnp.asarray(large.reshape(height, width, channels).astype(np.float32) / 255)


def pil(image):
    return Image.fromarray(np.rint(np.asarray(image) * 255).astype(np.uint8).squeeze())


def bytes_of(image):
    return np.asarray(image, np.float64) * 255


# Geometry


@pytest.mark.parametrize('shape', [(12, 12), (9, 16)])
@given(
    angle=st.floats(-180, 180),
    factor=st.floats(0.4, 2.5),
    lean=st.floats(-0.9, 0.9),
    move=st.tuples(st.floats(-5, 5), st.floats(-5, 5)),
)
def test_affine_is_torchs_grid_sample(torch, shape, angle, factor, lean, move):
    """Forward in (x, y) about the centre: shear, turn, scale, move; PyTorch takes the inverse."""
    height, width = shape
    radians = np.deg2rad(angle)
    turn = np.array([[np.cos(radians), np.sin(radians)], [-np.sin(radians), np.cos(radians)]])
    full = np.eye(3)
    full[:2, :2], full[:2, 2] = factor * turn @ [[1, -np.tan(lean)], [0, 1]], move[::-1]
    half = np.diag([width / 2, height / 2, 1])  # from units of half an image to pixels
    theta = (np.linalg.inv(half) @ np.linalg.inv(full) @ half)[:2]
    image = np.random.default_rng(1).random((*shape, 2), np.float32)
    grid = torch.nn.functional.affine_grid(
        torch.tensor(theta[None]), (1, 2, *shape), align_corners=False
    )
    wanted = torch.nn.functional.grid_sample(
        torch.tensor(image.astype(np.float64)).permute(2, 0, 1)[None], grid, align_corners=False
    )
    found = warped(image, *np.float32([radians, lean, factor]), np.float32(move))
    np.testing.assert_allclose(found, wanted[0].permute(1, 2, 0).numpy(), atol=2e-4)


@jax.jit
def warped(image, angle, lean, factor, move):
    return geometry.warp(image, geometry.inverse(angle, lean, factor), move)


def test_affine_draws_within_its_ranges():
    """A picture's centre of mass shows its move, its mass the scale."""
    y, x = np.mgrid[:61, :41]
    disc = jnp.asarray(((y - 30) ** 2 + (x - 20) ** 2 < 60).astype(np.float32))[..., None]
    images = jax.vmap(one('affine(20, 0.2, (0.5, 1.5), 0)'), (0, None))(keys(300), disc)
    images = np.asarray(images)[..., 0]
    mass = images.sum((1, 2))
    moves = np.stack([(images * (g - c)).sum((1, 2)) / mass for g, c in ((y, 30), (x, 20))], -1)
    assert np.all(np.abs(moves).max(0) <= [12.3, 8.3]) and np.abs(moves.mean(0)).max() < 1
    assert np.all(np.abs(moves).max(0) >= [11.5, 7.7])
    factors = np.sqrt(mass / float(disc.sum()))
    assert 0.48 < factors.min() < 0.55 and 1.45 < factors.max() < 1.52


@jax.jit
def small_box(key):
    return geometry.box(key, (24, 18), (0.1, 0.9), (0.5, 2.0))


@given(st.integers(0, 10_000))
def test_random_resized_crop_is_torchs_interpolate(key):
    torch = pytest.importorskip('torch')
    key = jax.random.key(key)
    image = smooth(24, 18, 2)
    scale, ratio = (0.1, 0.9), (0.5, 2.0)
    drawn, fits = small_box(key)
    top, left, tall, wide = map(int, drawn)
    assert fits and 0 <= top <= 24 - tall and 0 <= left <= 18 - wide
    cut = torch.tensor(np.asarray(image)[top : top + tall, left : left + wide]).permute(2, 0, 1)
    wanted = torch.nn.functional.interpolate(cut[None], (24, 18), mode='bilinear')
    found = one(f'random_resized_crop({scale}, {ratio})')(key, image)
    np.testing.assert_allclose(found, wanted[0].permute(1, 2, 0), atol=1e-5)


def test_boxes_have_the_area_and_the_ratio():
    draw = jax.vmap(lambda key: geometry.box(key, (200, 300), (0.1, 0.3), (0.5, 2.0)))
    place, fits = draw(keys(2000))
    top, left, tall, wide = (np.asarray(x, float) for x in place)
    assert np.all(fits)
    area, ratio = tall * wide / 60_000, wide / tall
    assert area.min() > 0.099 and area.max() < 0.301 and abs(area.mean() - 0.2) < 0.01
    assert ratio.min() > 0.49 and ratio.max() < 2.05 and abs(np.log(ratio).mean()) < 0.03
    assert (top + tall).max() == 200 and top.min() == 0 and (left + wide).max() <= 300


@pytest.mark.parametrize('shape, found', [((10, 40), (0, 13, 10, 13)), ((40, 10), (13, 0, 13, 10))])
def test_where_no_box_fits_the_centre_is_cut(shape, found):
    ratio = (0.75, 1.3)
    assert not geometry.box(KEY, shape, (1.0, 1.0), ratio)[1]
    assert geometry._central(*shape, ratio) == found
    image = smooth(*shape)
    top, left, tall, wide = found
    crop = one('random_resized_crop((1, 1), (0.75, 1.3))')(KEY, image)
    inner = np.asarray(image)[top : top + tall, left : left + wide]
    np.testing.assert_allclose(crop[0, 0], inner[0, 0], atol=1e-6)
    np.testing.assert_allclose(crop[-1, -1], inner[-1, -1], atol=1e-6)


# Colour


@pytest.mark.parametrize(
    'ours, theirs',
    [
        (colour.brighten, ImageEnhance.Brightness),
        (colour.contrasted, ImageEnhance.Contrast),
        (colour.saturate, ImageEnhance.Color),
        (policy.sharpen, ImageEnhance.Sharpness),
    ],
)
@pytest.mark.parametrize('amount', [0.0, 0.3, 1.0, 1.9])
@pytest.mark.parametrize('channels', [1, 3])
def test_tones_are_pils(ours, theirs, amount, channels):
    image = smooth(channels=channels)
    wanted = np.asarray(theirs(pil(image)).enhance(amount), np.float64).reshape(image.shape)
    assert np.abs(bytes_of(ours(image, amount)) - wanted).max() < 2.1  # PIL rounds on the way


def test_hue_is_the_standard_librarys():
    image = np.random.default_rng(0).random((8, 9, 3)).astype(np.float32)
    image[0, 0], image[0, 1] = 0.4, (0.9, 0.9, 0.1)  # grey; two channels alike
    for turn in (-0.5, -0.2, 0.0, 0.1, 0.5):
        wanted = np.empty_like(image)
        for place in np.ndindex(8, 9):
            hue, saturation, value = colorsys.rgb_to_hsv(*image[place].tolist())
            wanted[place] = colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)
        np.testing.assert_allclose(colour.turn_hue(jnp.asarray(image), turn), wanted, atol=2e-6)


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('text', ['color_jitter(0.9, 0.9, 2, 0.5)', 'rand_augment(4, 30)'])
def test_colours_stay_in_range(text, channels):
    images = jax.vmap(one(text), (0, None))(keys(50), smooth(channels=channels))
    assert images.min() >= 0 and images.max() <= 1 and np.all(np.isfinite(images))
    assert len({float(x) for x in images.mean((1, 2, 3))}) > 30


def test_color_jitter_draws_factors_and_orders():
    """Of a constant grey image brightness is the factor itself, the rest nothing."""
    image = jnp.full((2, 2, 3), 0.25)
    images = jax.vmap(one('color_jitter(0.5, 0.3, 0.3, 0.2)'), (0, None))(keys(1000), image)
    factors = np.asarray(images[:, 0, 0, 0]) / 0.25
    assert 0.5 <= factors.min() < 0.51 and 1.49 < factors.max() <= 1.5
    assert abs(factors.mean() - 1) < 0.03
    # Brightness x1.9 clips and contrast x0.1 does not: which came first shows in the picture.
    image = jnp.stack([jnp.full((1, 2), 0.9), jnp.full((1, 2), 0.1)], 1).reshape(2, 2, 1)
    found = {
        tuple(np.round(np.asarray(one('color_jitter(0.9, 0.9)')(k, image)).ravel(), 5))
        for k in keys(8)
    }
    assert len(found) == 8


def test_grayscale_is_pils_luma():
    image = smooth()
    grey = one('grayscale(1.0)')(KEY, image)
    assert np.ptp(np.asarray(grey), -1).max() == 0
    assert np.abs(bytes_of(grey[..., 0]) - np.asarray(pil(image).convert('L'))).max() <= 0.51
    images = jax.vmap(one('grayscale(0.3)'), (0, None))(keys(300), image)
    assert 0.6 < np.mean(np.all(images == image[None], (1, 2, 3))) < 0.8


def test_normalize_by_channel_and_by_number():
    image = smooth()
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    found = one(f'normalize({mean}, {std})')(KEY, image)
    np.testing.assert_allclose(found, (image - np.array([[mean]])) / np.array([[std]]), atol=1e-6)
    np.testing.assert_allclose(one('normalize')(KEY, image), 2 * image - 1, atol=1e-6)
    with pytest.raises(UserError, match='mean has 2 numbers, the images 3 channels'):
        one('normalize((0.1, 0.2), 1)')(KEY, image)


def test_colours_of_four_channels_are_refused():
    with pytest.raises(UserError, match='1 or 3 channels, not 4'):
        one('grayscale')(KEY, jnp.zeros((4, 4, 4)))


# Blur, holes


@pytest.mark.parametrize('sigma', [0.4, 1.0, 3.0])
@pytest.mark.parametrize('shape', [(12, 15, 3), (9, 5, 1)])
def test_gaussian_blur_is_scipys(sigma, shape):
    from scipy.ndimage import gaussian_filter

    image = np.random.default_rng(0).random(shape, np.float32)
    wanted = gaussian_filter(image.astype(np.float64), sigma, mode='mirror', radius=4, axes=(0, 1))
    found = one(f'gaussian_blur(({sigma}, {sigma}), 9)')(KEY, jnp.asarray(image))
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_erasing_fills_one_box():
    image = smooth(30, 40) + 1
    erased = jax.vmap(one('erasing(0.6, (0.05, 0.2), (0.5, 2))'), (0, None))(keys(300), image)
    holes = np.asarray(erased == 0).all(-1)
    np.testing.assert_array_equal(erased, np.where(holes[..., None], 0, image[None]))
    share = holes.mean((1, 2))
    assert 0.5 < np.mean(share > 0) < 0.7
    assert share[share > 0].min() > 0.04 and share.max() < 0.22
    for hole in holes[share > 0]:
        rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
        assert hole[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert 0.45 < len(columns) / len(rows) < 2.2
    noisy = one("erasing(1, (0.2, 0.2), (1, 1), 'noise')")(KEY, image)
    inside = np.asarray(noisy)[np.asarray(noisy < 1)]
    assert len(inside) > 300 and abs(inside.mean() - 0.5) < 0.1 and inside.std() > 0.2


# RandAugment


@pytest.mark.parametrize('channels', [1, 3])
def test_the_tones_of_rand_augment_are_pils(channels):
    image = smooth(channels=channels)
    pairs = [
        (policy.equalize(image), ImageOps.equalize(pil(image)), 0.01),
        (policy.posterize(image, 4), ImageOps.posterize(pil(image), 4), 0.01),
        (policy.solarize(image, 99.5 / 255), ImageOps.solarize(pil(image), 100), 0.01),
        (policy.autocontrast(image), ImageOps.autocontrast(pil(image)), 1.01),
    ]
    for found, wanted, error in pairs:
        wanted = np.asarray(wanted, np.float64).reshape(image.shape)
        assert np.abs(bytes_of(found) - wanted).max() <= error


@pytest.mark.parametrize('act', [policy.equalize, policy.autocontrast])
def test_flat_images_have_nothing_to_spread(act):
    image = jnp.full((5, 5, 3), 51 / 255)
    np.testing.assert_allclose(act(image), image, atol=1e-6)


def test_rand_augment_draws_all_fourteen_evenly():
    """Without a magnitude only autocontrast and equalize change a picture of bytes."""
    image = smooth()
    images = jax.vmap(one('rand_augment(1, 0)'), (0, None))(keys(700), image)
    same = np.abs(np.asarray(images - image[None])).max((1, 2, 3)) < 1e-5
    assert abs(same.mean() - 12 / 14) < 0.04
    found = np.asarray(jax.vmap(one('rand_augment(1, 30)'), (0, None))(keys(700), image))
    kinds = {tuple(np.round(x[::7, ::7].ravel(), 3)) for x in found}
    assert len(kinds) == 1 + 5 * 2 + 4 * 2 + 4  # identity, five moves and four tones both ways ...


def test_a_move_of_rand_augment_is_whole_pixels():
    image = smooth(20, 20)
    share = jnp.float32(0.5 / 0.45 * 0.2)  # two pixels of twenty
    down = policy._moves(share, (20, 20))[3]
    moved = geometry.warp(image, down[:2], down[2])
    np.testing.assert_allclose(moved[2:], image[:-2], atol=1e-5)
    assert np.all(moved[:1] == 0)
