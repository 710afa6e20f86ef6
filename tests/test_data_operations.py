"""Host `prepare` and device `augment` operations, and the text that names them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnjax.data import augment, preparation, prepare, spec
from nnjax.data.preparation import Preparation
from nnjax.data.source import Rows
from nnjax.errors import UserError

IMAGE = jnp.asarray(np.random.default_rng(0).random((12, 12, 3), np.float32))
OPERATIONS = [
    'pad_crop(2)',
    'translate(3)',
    'flip',
    'rotate(20)',
    'affine',
    'random_resized_crop',
    'cutout(4)',
    "erasing(1.0, fill='noise')",
    'gaussian_blur',
    'noise(0.1)',
    'color_jitter',
    'grayscale(0.5)',
    'rand_augment(3, 20)',
]
NO_STRENGTH = [
    'pad_crop(0)',
    'translate(0)',
    'flip(0.0)',
    'rotate(0.0)',
    'affine(0, 0, (1, 1), 0)',
    'random_resized_crop((1, 1), (1, 1))',
    'cutout(0)',
    'erasing(0)',
    'gaussian_blur((0, 0))',
    'gaussian_blur(probability=0)',
    'noise(0.0)',
    'color_jitter(0, 0, 0, 0)',
    'grayscale(0)',
    'normalize(0, 1)',
    'rand_augment(0)',
]


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


@pytest.mark.parametrize('text', NO_STRENGTH)
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
        ('geometry', 'unknown operation'),
    ],
)
def test_bad_text_is_one_line_and_runs_nothing(text, words):
    with pytest.raises(UserError) as error:
        spec.parse(text, augment)
    assert words in str(error.value) and '\n' not in str(error.value)


def test_scale_and_standardize():
    rng = np.random.default_rng(0)
    train = Rows({'image': rng.integers(0, 256, (50, 4, 4, 3)).astype(np.uint8)})
    apply_all = Preparation(spec.parse('scale | standardize', prepare), train)
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
        Preparation(spec.parse('standardize', prepare), rows)(rows[np.arange(5)])['image'] == 0
    )


def test_resize():
    rows = Rows({'image': np.full((2, 10, 8, 3), 7, np.uint8)})
    done = Preparation(spec.parse('resize(5, 4)', prepare), rows)(rows[np.arange(2)])['image']
    assert done.shape == (2, 5, 4, 3) and np.all(done == 7)


@pytest.mark.parametrize(
    'module, text, words',
    [
        (augment, 'pad_crop(-1)', 'pad=-1: expected a whole number >= 0'),
        (augment, 'pad_crop(2.5)', 'expected a whole number'),
        (augment, 'pad_crop(True)', 'expected a whole number'),
        (augment, 'flip(2)', 'probability=2: expected a number in [0, 1]'),
        (augment, "rotate('far')", "degrees='far': expected a number >= 0"),
        (augment, 'noise(deviation=-0.1)', 'deviation=-0.1'),
        (augment, 'noise(1e999)', 'deviation=inf'),
        (augment, '  flip | flop', "column 10: unknown operation 'flop'"),
        (
            augment,
            'normalize((0.5, 0), (1, 0))',
            'std=(1, 0): expected a number > 0 or a tuple of numbers > 0',
        ),
        (augment, "normalize((0.5, 'x'))", 'expected a number or a tuple of numbers;'),
        (
            augment,
            'affine(scale=1)',
            'scale=1: expected a tuple of 2: (a number > 0, a number > 0)',
        ),
        (augment, 'affine(scale=(1, 1, 1))', 'expected a tuple of 2'),
        (augment, 'random_resized_crop((0.5, 0.1))', 'column 1: scale=(0.5, 0.1): expected (low'),
        (augment, 'flip | gaussian_blur(kernel=4)', 'column 8: kernel=4: expected an odd number'),
        (augment, "erasing(fill='red')", "fill='red': expected one of zero, noise"),
        (augment, 'rand_augment(2, 31)', 'magnitude=31: expected a number in [0, 30]'),
        (augment, 'color_jitter(hue=0.6)', 'hue=0.6: expected a number in [0, 0.5]'),
        (prepare, 'scale(0)', 'high=0: expected a number > 0'),
        (prepare, 'resize(0, 5)', 'height=0'),
        (prepare, 'resize(5)', 'resize(height: int, width: int'),
        (prepare, 'standardize(3)', 'field=3: expected a string'),
    ],
)
def test_a_bad_argument_is_one_line(module, text, words):
    with pytest.raises(UserError) as error:
        spec.parse(text, module)
    assert words in str(error.value) and '\n' not in str(error.value)


@pytest.mark.parametrize(
    'example, words',
    [
        ({'features': np.zeros(3, np.float32)}, "needs the field 'image'"),
        ({'image': np.zeros((6, 6, 1), np.uint8)}, "prepare='scale'"),
        ({'image': np.zeros((6, 6), np.float32)}, 'float images [H, W, C]'),
    ],
)
def test_what_cannot_be_augmented_is_one_line(example, words):
    (flip,) = spec.parse('flip', augment)
    with pytest.raises(UserError) as error:
        flip(jax.random.key(0), example)
    assert words in str(error.value) and '\n' not in str(error.value)


@pytest.mark.parametrize('shape', [(12, 12, 3), (9, 16, 1)])
@pytest.mark.parametrize('degrees', [7.0, 45.0, 200.0])
def test_rotate_is_scipy_s_bilinear_interpolation(shape, degrees):
    from scipy.ndimage import map_coordinates

    image = np.random.default_rng(1).random(shape, np.float32)
    key = jax.random.key(5)
    angle = np.deg2rad(float(jax.random.uniform(key, (), minval=-degrees, maxval=degrees)))
    centre = (np.array(shape[:2]) - 1) / 2
    y, x = np.meshgrid(*(np.arange(n) - c for n, c in zip(shape, centre)), indexing='ij')
    rows = np.cos(angle) * y + np.sin(angle) * x + centre[0]
    columns = np.cos(angle) * x - np.sin(angle) * y + centre[1]
    wanted = [
        map_coordinates(np.pad(image[..., n], 1), [rows + 1, columns + 1], order=1)
        for n in range(shape[2])
    ]
    (rotate,) = spec.parse(f'rotate({degrees})', augment)
    found = rotate(key, {'image': jnp.asarray(image)})['image']
    np.testing.assert_allclose(found, np.stack(wanted, -1), atol=2e-5)


def test_standardize_of_far_away_columns_is_exact():
    values = np.random.default_rng(0).normal(1e4, 1.0, (3000, 5)).astype(np.float32)
    train = Rows({'features': values})
    done = Preparation(spec.parse("standardize('features')", prepare), train)(
        train[np.arange(3000)]
    )['features']
    wide = values.astype(np.float64)
    wanted = (wide - wide.mean(0)) / wide.std(0)
    np.testing.assert_allclose(done, wanted, atol=2e-3)  # float32 keeps 1e4 to 1e-3


class Unread(Rows):
    """Rows that nothing may read."""

    def __getitem__(self, indices):
        raise AssertionError('read')


def test_training_data_is_read_for_statistics_alone():
    train = Unread({'image': np.zeros((5, 4, 4, 1), np.uint8)})
    batch = {'image': np.full((2, 4, 4, 1), 255, np.uint8)}
    done = Preparation(spec.parse('resize(2, 2) | scale', prepare), train)(batch)['image']
    assert done.shape == (2, 2, 2, 1) and np.all(done == 1)
    operations = spec.parse('scale | standardize', prepare)
    assert Preparation(operations, train).spec == {'image': ((4, 4, 1), np.float32)}
    with pytest.raises(AssertionError):
        Preparation(operations, train)(batch)


def test_statistics_of_a_large_split_come_from_a_part_of_it(monkeypatch):
    monkeypatch.setattr(preparation, 'FIT_BYTES', 40)
    rows = Rows({'features': np.arange(100, dtype=np.float32)[:, None]})
    done = Preparation(spec.parse("standardize('features')", prepare), rows)(
        rows[np.array([0, 45])]
    )['features']
    part = np.arange(0, 100, 10)  # ten rows of four bytes, evenly spaced
    np.testing.assert_allclose(
        done[:, 0], (np.array([0, 45]) - part.mean()) / part.std(), rtol=1e-6
    )


def test_resize_after_scale_is_refused():
    rows = Rows({'image': np.zeros((2, 8, 8, 1), np.uint8)})
    with pytest.raises(UserError, match='put resize first'):
        _ = Preparation(spec.parse('scale | resize(4, 4)', prepare), rows).spec
