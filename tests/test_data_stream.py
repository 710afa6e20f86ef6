"""The stream of large image sets: what is decoded, what is refused or left out, resume, memory."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import nnjax
from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import folder, images, kept, pipeline, sources
from nnjax.data.order import Shuffled
from nnjax.errors import UserError
from nnjax.ops.native import library
from nnjax.training import optim
from tests.test_train import rewound, same, timeless


def stream(source, seed, batch, start, stop, part=slice(None)):
    return pipeline.stream(source, Shuffled(len(source), batch), seed, start, stop, part)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    library.load()  # the compiled kernels stay in the session's cache
    monkeypatch.setenv('NNJAX_CACHE_DIR', str(tmp_path / 'cache'))


@pytest.fixture
def large(monkeypatch):
    """Every set is large: none is kept, none stays on the device."""
    monkeypatch.setattr(kept, 'KEPT_BYTES', 0)
    monkeypatch.setattr('nnjax.training.setup.RESIDENT_BYTES', 0)
    monkeypatch.setattr('nnjax.training.evaluate.RESIDENT_BYTES', 0)


def smooth(rng, width: int, height: int, mode: str = 'RGB') -> Image.Image:
    pixels = rng.integers(0, 256, (5, 5, 3)).astype(np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def photos(root: Path, count: int = 24, classes: str = 'ab', **options) -> Path:
    """ROOT/CLASS/NUMBER.jpg of all kinds of sizes."""
    rng = np.random.default_rng(count)
    for number in range(count):
        path = root / classes[number % len(classes)] / f'{number:03}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        width, height = rng.integers(40, 90, 2)
        smooth(rng, int(width), int(height), **options).save(path)
    return root


def rows(source) -> dict:
    return source[np.arange(len(source))]


def reference(image: Image.Image, width: int, height: int) -> np.ndarray:
    """Scaled to cover by the exact box filter of a triangle, in floating point, then cut."""
    pixels = np.asarray(image, np.float64)
    scale = min(image.width / width, image.height / height)
    for axis, (size, wanted) in enumerate(((image.height, height), (image.width, width))):
        centres = (np.arange(wanted) + 0.5 - wanted / 2) * scale + size / 2
        distance = np.abs(np.arange(size)[None] + 0.5 - centres[:, None]) / max(scale, 1)
        weights = np.maximum(1 - distance, 0)
        weights /= weights.sum(1, keepdims=True)
        pixels = np.moveaxis(np.tensordot(weights, pixels, (1, axis)), 0, axis)
    return pixels


@pytest.mark.parametrize('size', [(60, 60), (90, 40), (40, 90), (120, 120), (300, 200)])
@pytest.mark.parametrize('suffix', ['png', 'jpg'])
def test_an_image_is_scaled_to_cover_and_its_centre_is_cut(tmp_path, size, suffix):
    path = tmp_path / f'a.{suffix}'
    smooth(np.random.default_rng(0), *size).save(path)
    found = images.decode(path, (48, 36, 3), path)
    assert found.dtype == np.uint8 and found.shape == (48, 36, 3)
    with Image.open(path) as image:
        error = np.abs(found - reference(image.convert('RGB'), 36, 48))
    assert error.max() < (2 if suffix == 'png' else 6) and error.mean() < 1


def test_a_large_jpeg_is_halved_while_it_is_decoded(tmp_path, monkeypatch):
    path = tmp_path / 'a.jpg'
    smooth(np.random.default_rng(0), 900, 700).save(path)
    sizes = []
    monkeypatch.setattr(images, '_covering', lambda image, *size: sizes.append(image.size) or image)
    with pytest.raises(UserError):  # not the size wanted
        images.decode(path, (64, 64, 3), path)
    assert sizes == [(113, 88)]


@pytest.mark.parametrize('orientation', range(1, 9))
def test_a_turned_photo_is_upright_before_it_is_cut(tmp_path, orientation):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / 'a.jpg'
    smooth(np.random.default_rng(1), 200, 100).save(path, exif=exif, quality=95)
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image)
    assert images.shape(path) == (upright.height, upright.width, 3)
    found = images.decode(path, (30, 20, 3), path)
    assert np.abs(found - reference(upright, 20, 30)).max() < 6


@pytest.mark.parametrize('mode', ['CMYK', 'L', 'YCbCr'])
def test_jpegs_of_other_colours_become_red_green_blue(tmp_path, mode):
    picture = smooth(np.random.default_rng(2), 40, 40)
    picture.convert(mode).save(tmp_path / 'a.jpg', quality=95)
    expected = np.asarray(picture.convert(mode).convert('RGB'), int)
    found = images.decode(tmp_path / 'a.jpg', (40, 40, 3), 'a')
    assert np.abs(found - expected).mean() < 3


@pytest.mark.parametrize('size, shape', [(32, (32, 32, 3)), ((20, 30), (20, 30, 3))])
def test_a_folder_of_any_sizes(tmp_path, size, shape):
    dataset = sources.Folder(str(photos(tmp_path)), size=size)
    assert dataset.train.spec['image'] == (shape, np.uint8)
    assert rows(dataset.test)['image'].shape == (2, *shape)


def test_its_own_splits_are_read_to_the_same_shape(tmp_path):
    for name in ('train', 'val', 'test'):
        photos(tmp_path / name, count=len(name) * 4)
    dataset = sources.Folder(str(tmp_path), size=32)
    sizes = [len(split) for split in (dataset.train, dataset.valid, dataset.test)]
    assert sizes == [20, 12, 16] and dataset.test.spec == dataset.train.spec


def test_hidden_files_are_no_images(tmp_path):
    photos(tmp_path)
    (tmp_path / 'a' / '._000.jpg').write_bytes(b'a Macintosh wrote this')
    (tmp_path / 'a' / '.thumbnails').mkdir()
    (tmp_path / 'a' / '.thumbnails' / '1.jpg').write_bytes(b'')
    assert len(folder.by_class(tmp_path, size=(8, 8))[0]) == 24


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-60])


def scrambled(path: Path) -> None:
    """A PNG whose header and end are good, and whose middle is not."""
    smooth(np.random.default_rng(0), 60, 50).save(path, 'png')
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2 : len(raw) // 2 + 40] = bytes(40)
    path.write_bytes(raw)


def damaged(draw, kind: str) -> bytes:
    buffer = io.BytesIO()
    smooth(np.random.default_rng(0), 40, 30).save(buffer, kind)
    raw = bytearray(buffer.getvalue())
    for _ in range(draw(st.integers(1, 4))):
        raw[draw(st.integers(0, len(raw) - 1))] = draw(st.integers(0, 255))
    return bytes(raw[: draw(st.integers(0, len(raw)))])


@pytest.mark.parametrize('kind', ['jpeg', 'png', 'gif', 'bmp', 'tiff', 'webp'])
@given(data=st.data())
def test_any_bytes_are_an_image_or_one_line(kind, data):
    try:
        found = images.decode(damaged(data.draw, kind), (8, 9, 3), 'it')
        assert found.shape == (8, 9, 3) and found.dtype == np.uint8
    except UserError as error:
        assert str(error).startswith('it is ') and '\n' not in str(error)


UNREADABLE = {
    'empty': lambda path: path.write_bytes(b''),
    'text': lambda path: path.write_text('<html>not found</html>'),
    'cut off': cut,
    'a png cut off': lambda path: (
        smooth(np.random.default_rng(0), 9, 9).save(path, 'png'),
        cut(path),
    ),
    'a link to nowhere': lambda path: (path.unlink(), path.symlink_to('nowhere')),
    'pixels of 32 bits': lambda path: Image.fromarray(np.ones((50, 50), np.int32)).save(
        path, 'tiff'
    ),
}


@pytest.mark.parametrize('case', UNREADABLE)
def test_what_cannot_be_read_is_counted_and_named_at_setup(case, tmp_path, large):
    photos(tmp_path)
    for name in ('a/004.jpg', 'b/007.jpg'):
        UNREADABLE[case](tmp_path / name)
    with pytest.raises(UserError) as error:
        sources.Folder(str(tmp_path), size=32)
    text = str(error.value)
    assert '2 of 24 images' in text and 'a/004.jpg' in text and '\n' not in text
    assert 'skip_corrupt=True' in text


def test_what_only_decoding_shows_stops_the_run_by_name(tmp_path, large):
    scrambled(photos(tmp_path) / 'a' / '004.jpg')
    dataset = sources.Folder(str(tmp_path), size=32, valid=None, test=None)
    batches = stream(dataset.train, seed=0, batch=6, start=0, stop=4)
    with pytest.raises(UserError, match=r'a/004\.jpg is damaged.*skip_corrupt=True') as error:
        list(batches)
    assert '\n' not in str(error.value)


def test_a_small_folder_is_refused_at_setup(tmp_path):
    scrambled(photos(tmp_path) / 'a' / '004.jpg')
    with pytest.raises(UserError, match=r'a/004\.jpg is damaged.*skip_corrupt=True'):
        sources.Folder(str(tmp_path), size=32)


@pytest.mark.parametrize('kept_bytes', [0, 1 << 30])
def test_corrupt_images_are_left_out_when_told(tmp_path, capsys, monkeypatch, kept_bytes):
    monkeypatch.setattr(kept, 'KEPT_BYTES', kept_bytes)
    whole = rows(folder.by_class(photos(tmp_path / 'in'), size=(32, 32))[0])
    cut(tmp_path / 'in' / 'a' / '004.jpg')
    scrambled(tmp_path / 'in' / 'b' / '007.jpg')
    good = np.delete(np.arange(24), [2, 12 + 3])
    prints = set()
    for _ in range(2):  # the second time from what the first kept
        source, _ = folder.by_class(tmp_path / 'in', size=(32, 32), skip_corrupt=True)
        said = capsys.readouterr().err
        assert said.count('\n') == 1 and 'left out 2 of 24' in said
        assert 'a/004.jpg, b/007.jpg' in said
        prints.add(source.fingerprint)
        for field, array in rows(source).items():
            assert np.array_equal(array, whole[field][good])
    assert len(prints) == 1


def test_nothing_is_left_of_a_folder_of_corrupt_images(tmp_path):
    for path in photos(tmp_path, 4).rglob('*.jpg'):
        cut(path)
    with pytest.raises(UserError, match='none of the 4 images'):
        sources.Folder(str(tmp_path), size=32, skip_corrupt=True)


def test_small_images_are_noted_in_a_line(tmp_path, capsys):
    sources.Folder(str(photos(tmp_path)), size=64, valid=None, test=None)
    said = capsys.readouterr().err
    assert 'of 24 images' in said and 'smaller than 64x64' in said and said.count('\n') == 1


def test_colours_in_a_test_split_of_grey_training_images(tmp_path):
    photos(tmp_path / 'train', mode='L')
    photos(tmp_path / 'test', 6)
    with pytest.raises(UserError, match=r'6 of 6 images.*have colours, the training') as error:
        sources.Folder(str(tmp_path), size=32)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('of', [sources.Arrays, None])
def test_pixels_that_are_no_number_are_refused_at_setup(of, tmp_path):
    pixels = np.zeros((9, 4, 4, 3), np.float32)
    pixels[3, 2, 1, 0] = np.nan
    np.savez(tmp_path / 'a.npz', x_train=pixels, y_train=np.arange(9))
    with pytest.raises(UserError, match='image of train holds NaN') as error:
        of({'image': pixels, 'label': np.arange(9)}) if of else sources.Npz(str(tmp_path / 'a.npz'))
    assert '\n' not in str(error.value)


def test_a_stream_is_the_same_from_any_step_on(tmp_path, large):
    train = sources.Folder(str(photos(tmp_path)), size=32).train
    read = lambda start: list(stream(train, 3, batch=5, start=start, stop=9))
    for whole, again in zip(read(0)[4:], read(4), strict=True):
        for field in whole:
            assert np.array_equal(whole[field], again[field])


def test_evaluation_read_ahead_is_the_same(tmp_path, large):
    train = sources.Folder(str(photos(tmp_path)), size=32).train
    plain, ahead = (list(pipeline.evaluation_batches(train, 7, ahead)) for ahead in (False, True))
    for one, other in zip(plain, ahead, strict=True):
        for field in one:
            assert np.array_equal(one[field], other[field])


def test_processes_read_their_own_rows(tmp_path, large):
    """Together they are the batch; the last has nothing of it but its shapes."""
    train = sources.Folder(str(photos(tmp_path)), size=32).train
    training = lambda part: stream(train, 3, 5, 0, 4, part)
    valid = lambda part: pipeline.evaluation_batches(train, 5, part=part)
    for read in (training, valid):
        parts = [read(slice(start, start + 2)) for start in (0, 2, 4, 6)]
        for whole, *shares in zip(read(slice(None)), *parts, strict=True):
            for field in whole:
                assert np.array_equal(whole[field], np.concatenate([s[field] for s in shares]))


def config(path: Path, **fields):
    c = base()
    c.total, c.batch, c.eval_batch, c.parallel = '6 steps', 5, 4, 'jit'
    c.log_every = c.save_every = '1 steps'
    c.eval_every = '3 steps'
    c.data = bind(sources.Folder, path=str(path), size=32, **fields)
    c.prepare, c.augment = 'scale', 'pad_crop(4) | flip'
    c.model = bind(models.MLP, hidden=(8,), classes=2)
    c.task = bind(tasks.classification)
    c.optim = bind(optim.make, name='adam', lr=0.001)
    return c


def test_a_resumed_run_is_bitwise_the_same(tmp_path, large):
    """With images left out, streamed; and equal to a run whose data stays on the device."""
    photos(tmp_path / 'in')
    cut(tmp_path / 'in' / 'b' / '007.jpg')
    c = config(tmp_path / 'in', skip_corrupt=True)
    whole = nnjax.train(c, tmp_path / 'one')
    rewound(tmp_path / 'one', tmp_path / 'two', step=3)
    resumed = nnjax.train(c, tmp_path / 'two')
    assert same(whole.state, resumed.state)
    assert timeless(whole.records) == timeless(resumed.records)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('nnjax.training.setup.RESIDENT_BYTES', 1 << 30)
        resident = nnjax.train(c)
    for one, other in zip(whole.records, resident.records, strict=True):
        assert one['loss'] == pytest.approx(other['loss'], rel=1e-4)


@pytest.mark.parametrize('where', ['train', 'valid'])
def test_an_image_damaged_in_mid_run_loses_no_training(tmp_path, large, where, monkeypatch):
    c = config(photos(tmp_path / 'in'))
    c.save_every = '6 steps'
    whole = nnjax.train(c, tmp_path / 'one')
    split = getattr(sources.Folder(str(tmp_path / 'in'), size=32), where)
    if where == 'train':  # read for the first time in the third batch
        order = Shuffled(len(split), 5)(c.seed, np.arange(4))['index']
        row = next(row for row in order[2] if row not in order[:2])
    else:
        row = 0
    path = tmp_path / 'in' / split.names[row]
    damaged, decode = str(path), images.decode

    def one(path, *more):
        if path == damaged:
            raise UserError(f'{path} is damaged')
        return decode(path, *more)

    monkeypatch.setattr(images, 'decode', one)
    step = 2 if where == 'train' else 3
    with pytest.raises(
        UserError, match=rf'{path.name} is damaged; .*; step {step} is saved: '
    ) as e:
        nnjax.train(c, tmp_path / 'two')
    assert '\n' not in str(e.value)
    damaged = ''
    resumed = nnjax.train(c, tmp_path / 'two')
    assert same(whole.state, resumed.state) and same(whole.params, resumed.params)
    assert timeless(whole.records) == timeless(resumed.records)


@pytest.mark.parametrize('kept_bytes', [0, 1 << 30])
def test_images_that_go_move_no_other_into_another_split(tmp_path, monkeypatch, kept_bytes):
    monkeypatch.setattr(kept, 'KEPT_BYTES', kept_bytes)
    root = photos(tmp_path / 'in', 40)

    def splits():
        found = sources.Folder(str(root), valid='20%', test='20%', size=32)
        return {w: {*getattr(found, w).names} for w in ('train', 'valid', 'test')}

    before = splits()
    assert [len(names) for names in before.values()] == [26, 6, 8]
    for name in ('a/000.jpg', 'b/001.jpg'):
        (root / name).unlink()
    after = splits()
    moved = [n for what, names in after.items() for n in names - before[what]]
    assert len(set.union(*after.values())) == 38 and len(moved) <= 2
    again = sources.Folder(str(root), valid='20%', test='20%', size=32)
    for source in (again.train, again.valid, again.test):  # and they are what they are called
        for row, name in enumerate(source.names):
            wanted = images.decode(root / name, (32, 32, 3), name)
            assert np.array_equal(source[np.array([row])]['image'][0], wanted)


def resident_bytes() -> int:
    return int(Path('/proc/self/statm').read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE')


@pytest.mark.slow
@pytest.mark.skipif(not Path('/proc/self/statm').exists(), reason='memory is read from /proc')
def test_memory_stays_flat_over_a_hundred_thousand_images(tmp_path):
    """Two hundred files, each listed five hundred times."""
    listing, _ = folder._listing(photos(tmp_path, 200), None)
    many = folder.Listing(
        tmp_path,
        listing.files * 500,
        np.tile(listing.numbers, 500),
        np.tile(listing.stats, (500, 1)),
    )
    source = folder.Images(many, (32, 32, 3), 'many')
    used = []
    for batch in stream(source, 0, batch=100, start=0, stop=1000):
        assert batch['image'].shape == (100, 32, 32, 3)
        used.append(resident_bytes())
    settled = max(used[:100])
    assert len(used) == 1000 and max(used) - settled < 8 << 20
