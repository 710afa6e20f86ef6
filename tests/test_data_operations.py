"""Host `prepare` and device `augment` operations, and the text that names them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnjax.data import augment, pipeline, prepare, spec
from nnjax.data.source import Rows
from nnjax.errors import UserError

IMAGE = jnp.asarray(np.random.default_rng(0).random((12, 12, 3), np.float32))
OPERATIONS = ['pad_crop(2)', 'translate(3)', 'flip', 'rotate(20)', 'cutout(4)', 'noise(0.1)']


def apply(text, key=0, image=IMAGE):
    example = {'image': image, 'label': jnp.int32(3)}
    for number, operation in enumerate(spec.parse(text, augment)):
        example = operation(jax.random.fold_in(jax.random.key(key), number), example)
    return example


@pytest.mark.parametrize('text', OPERATIONS)
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_shape_dtype_and_label_are_kept_and_the_key_decides(text, dtype):
    image = IMAGE.astype(dtype)
    first, again = apply(text, 1, image), apply(text, 1, image)
    assert first['image'].shape == image.shape and first['image'].dtype == image.dtype
    assert first['label'] == 3 and np.array_equal(first['image'], again['image'])
    others = [apply(text, key, image)['image'] for key in range(2, 8)]
    assert any(not np.array_equal(first['image'], other) for other in others)


@pytest.mark.parametrize('text', OPERATIONS)
def test_vmap_equals_one_by_one(text):
    (operation,) = spec.parse(text, augment)
    keys = jax.random.split(jax.random.key(0), 4)
    images = jnp.stack([IMAGE, IMAGE * 0.5, IMAGE[::-1], IMAGE[:, ::-1]])
    together = jax.jit(jax.vmap(operation))(keys, {'image': images})['image']
    for key, image, found in zip(keys, images, together):
        np.testing.assert_allclose(operation(key, {'image': image})['image'], found, atol=1e-6)


@pytest.mark.parametrize(
    'text', ['pad_crop(0)', 'translate(0)', 'flip(0.0)', 'rotate(0.0)', 'cutout(0)', 'noise(0.0)']
)
def test_no_strength_is_no_change(text):
    np.testing.assert_allclose(apply(text)['image'], IMAGE, atol=1e-6)


@given(st.integers(0, 200), st.integers(1, 5))
def test_translate_moves_by_whole_pixels(key, pixels):
    moved = np.asarray(apply(f'translate({pixels})', key)['image'])
    padded = np.pad(np.asarray(IMAGE), ((pixels, pixels), (pixels, pixels), (0, 0)))
    places = [
        (y, x)
        for y in range(2 * pixels + 1)
        for x in range(2 * pixels + 1)
        if np.array_equal(padded[y : y + 12, x : x + 12], moved)
    ]
    assert len(places) == 1


def test_flip_mirrors_half_of_the_time():
    keys = jax.random.split(jax.random.key(0), 2000)
    (flip,) = spec.parse('flip', augment)
    flipped = jax.vmap(lambda k: flip(k, {'image': IMAGE})['image'])(keys)
    mirrored = np.all(np.asarray(flipped) == np.asarray(IMAGE[:, ::-1]), (1, 2, 3))
    same = np.all(np.asarray(flipped) == np.asarray(IMAGE), (1, 2, 3))
    assert np.all(mirrored ^ same) and abs(mirrored.mean() - 0.5) < 0.05


def test_rotate_by_a_right_angle(monkeypatch):
    monkeypatch.setattr(jax.random, 'uniform', lambda *a, **k: jnp.float32(90))
    turned = apply('rotate(90)')['image']
    assert np.allclose(turned, np.rot90(IMAGE), atol=1e-4) or np.allclose(
        turned, np.rot90(IMAGE, -1), atol=1e-4
    )


def test_cutout_zeros_at_most_its_square():
    for key in range(20):
        hole = np.asarray(apply('cutout(4)', key, IMAGE + 1)['image'] == 0)[..., 0]
        assert 4 <= hole.sum() <= 16


def test_noise_has_the_deviation():
    keys = jax.random.split(jax.random.key(0), 500)
    (noise,) = spec.parse('noise(0.3)', augment)
    noisy = jax.vmap(lambda k: noise(k, {'image': IMAGE})['image'])(keys)
    assert float((noisy - IMAGE[None]).std()) == pytest.approx(0.3, rel=0.02)


@pytest.mark.parametrize(
    'text, words',
    [
        ('flop', "column 1: unknown operation 'flop'; did you mean 'flip'"),
        ('flip | pad_corp(2)', "column 8: unknown operation 'pad_corp'; did you mean 'pad_crop'"),
        ('flip |', 'column'),
        ('flip + cutout(2)', 'expected an operation'),
        ('pad_crop(1, 2, 3)', 'pad_crop(pad: int = 4)'),
        ('pad_crop(wide=3)', 'pad_crop(pad'),
        ('noise(open("x"))', 'plain values'),
        ('(lambda: 1)()', 'expected an operation'),
        ('__import__("os")', 'unknown operation'),
        ('jax', 'unknown operation'),
    ],
)
def test_bad_text_is_one_line_and_runs_nothing(text, words):
    with pytest.raises(UserError) as error:
        spec.parse(text, augment)
    assert words in str(error.value) and '\n' not in str(error.value)


def test_scale_and_standardize():
    rng = np.random.default_rng(0)
    train = Rows({'image': rng.integers(0, 256, (50, 4, 4, 3)).astype(np.uint8)})
    apply_all = pipeline.fit(spec.parse('scale | standardize', prepare), train)
    done = apply_all(train[np.arange(50)])['image']
    assert done.dtype == np.float32
    np.testing.assert_allclose(done.mean((0, 1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(done.std((0, 1, 2)), 1, atol=1e-5)
    other = apply_all({'image': np.zeros((2, 4, 4, 3), np.uint8)})['image']
    values = train[np.arange(50)]['image'].astype(np.float64) / 255
    wanted = -values.mean((0, 1, 2)) / values.std((0, 1, 2))
    np.testing.assert_allclose(other[0, 0, 0], wanted, rtol=1e-4)  # statistics are train's


def test_a_constant_channel_does_not_divide_by_zero():
    rows = Rows({'image': np.ones((5, 2, 2, 1), np.uint8)})
    assert np.all(
        pipeline.fit(spec.parse('standardize', prepare), rows)(rows[np.arange(5)])['image'] == 0
    )


def test_resize():
    rows = Rows({'image': np.full((2, 10, 8, 3), 7, np.uint8)})
    done = pipeline.fit(spec.parse('resize(5, 4)', prepare), rows)(rows[np.arange(2)])['image']
    assert done.shape == (2, 5, 4, 3) and np.all(done == 7)
