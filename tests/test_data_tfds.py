"""TFDS names: mocked sets of the true features, written by TFDS's own writers without TensorFlow."""

import io
import sys

import numpy as np
import pytest
from PIL import Image

import nnjax
from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import builders, sources, tfds
from nnjax.data.source import Slice
from nnjax.errors import UserError
from nnjax.ops.native import library
from nnjax.training import optim

NAMES = ('mnist', 'cifar10', 'cifar100', 'imagenet2012')
SPLITS = {'train': 40, 'test': 12}
SIZE = {'imagenet2012': 32}  # the only one whose images differ in size
BROKEN = 7  # the row of imagenet2012's test split that is cut off


def encoded(rng, shape, kind: str) -> bytes:
    """A smooth random picture, so that decoders may differ by little alone."""
    small = rng.integers(0, 256, (4, 4, shape[2])).astype(np.uint8)
    picture = Image.fromarray(small[..., 0] if shape[2] == 1 else small)
    buffer = io.BytesIO()
    picture.resize((shape[1], shape[0]), Image.Resampling.BICUBIC).save(buffer, kind)
    return buffer.getvalue()


def mocked(stock):
    """A builder of TFDS's own, its name, version and features; the examples are made up."""

    class Mocked(stock):
        def _split_generators(self, _):
            return {split: self._generate_examples(split) for split in SPLITS}

        def _generate_examples(self, split):
            features = self.info.features
            rng = np.random.default_rng(sorted(SPLITS).index(split))
            for number in range(SPLITS[split]):
                shape = [side or int(rng.integers(20, 90)) for side in features['image'].shape]
                kind = features['image'].encoding_format or 'png'
                example = {'image': encoded(rng, shape, kind)}
                if kind == 'jpeg' and (split, number) == ('test', BROKEN):
                    example['image'] = example['image'][:-200]
                for field in features:
                    if 'label' in field:
                        example[field] = int(rng.integers(features[field].num_classes))
                    elif field != 'image':
                        example[field] = f'{split}_{number}.JPEG'
                yield number, example

    Mocked.name = stock.name
    return Mocked


@pytest.fixture(scope='module', autouse=True)
def prepared(tmp_path_factory):
    """A folder with all four."""
    import tensorflow_datasets

    path = tmp_path_factory.mktemp('tfds')
    library.load()  # the compiled kernels stay in the session's cache
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('NNJAX_CACHE_DIR', str(tmp_path_factory.mktemp('cache')))
        patch.setenv('NNJAX_DATA_DIR', str(path))
        patch.setenv('HOME', str(path))
        tensorflow_datasets.disable_progress_bar()
        stock = [tensorflow_datasets.builder_cls(name) for name in NAMES]
        with tensorflow_datasets.core.registered.skip_registration():
            for builder in map(mocked, stock):
                builder(data_dir=str(path), file_format='array_record').download_and_prepare()
        yield path


def opened(name: str, **fields):
    return sources.Tfds(name, valid='10', size=SIZE.get(name), **fields)


@pytest.mark.parametrize('name', NAMES)
def test_a_name_is_what_tfds_reads(name, prepared):
    import tensorflow_datasets

    stock = tensorflow_datasets.data_source(name, data_dir=str(prepared), split='train')
    dataset = opened(name, test=None)
    rows = dataset.train[np.arange(len(dataset.train))]
    labels = sorted(stock[n]['label'] for n in range(40))
    held = dataset.valid[np.arange(10)]
    assert (len(dataset.train), len(dataset.valid)) == (30, 10)
    assert sorted([*rows['label'], *held['label']]) == labels
    assert len(dataset.labels) in (0, stock.dataset_info.features['label'].num_classes)
    assert ('coarse_label' in rows) == (name == 'cifar100')
    if name not in SIZE:
        key = lambda images: sorted(image.tobytes() for image in images)
        images = [stock[n]['image'] for n in range(40)]
        assert key([*rows['image'], *held['image']]) == key(images)


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('streamed', [False, True])
def test_it_trains(name, streamed, monkeypatch, tmp_path):
    if streamed:
        monkeypatch.setenv('NNJAX_CACHE_DIR', str(tmp_path))
        monkeypatch.setattr(tfds, 'KEPT_BYTES', 100)
        monkeypatch.setattr('nnjax.training.setup.RESIDENT_BYTES', 100)
        monkeypatch.setattr('nnjax.training.evaluate.RESIDENT_BYTES', 100)
    c = base()
    c.total, c.batch, c.eval_batch, c.parallel = '2 steps', 8, 4, 'jit'
    test = None if name == 'imagenet2012' else 'test'
    c.data = bind(sources.Tfds, name=name, valid='10', test=test, size=SIZE.get(name))
    c.prepare = 'scale'
    c.augment = 'pad_crop(4) | flip'
    classes = {'cifar100': 100, 'imagenet2012': 1000}.get(name, 10)
    c.model = bind(models.MLP, hidden=(8,), classes=classes)
    c.task = bind(tasks.classification)
    c.optim = bind(optim.make, name='adam', lr=0.001)
    result = nnjax.train(c)
    assert result.state.step == 2 and np.isfinite(result.metrics['loss'])
    assert 'tensorflow' not in sys.modules


def test_streamed_and_kept_rows_are_the_same(monkeypatch, tmp_path):
    first = opened('imagenet2012', test=None).train
    monkeypatch.setenv('NNJAX_CACHE_DIR', str(tmp_path))
    monkeypatch.setattr(tfds, 'KEPT_BYTES', 100)
    second = opened('imagenet2012', test=None).train
    assert isinstance(second, Slice) and first.spec == second.spec
    rows = np.array([5, 0, 29, 5])
    for name, array in first[rows].items():
        assert np.array_equal(array, second[rows][name])
    assert opened('imagenet2012', test=None).train.fingerprint == second.fingerprint
    other = sources.Tfds('imagenet2012', valid='10', test=None, size=(24, 40)).train
    assert other.spec['image'][0] == (24, 40, 3) and other.fingerprint != second.fingerprint


def test_images_of_many_sizes_need_one():
    with pytest.raises(UserError, match=r'differ in size; set data\.size.*data\.size=224') as error:
        sources.Tfds('imagenet2012')
    assert '\n' not in str(error.value)


def test_a_damaged_image_is_named_by_its_row():
    with pytest.raises(UserError, match=r'imagenet2012, test\[7\], image is damaged') as error:
        opened('imagenet2012')
    assert '\n' not in str(error.value)


def test_a_set_without_images_has_no_size(tmp_path):
    with pytest.raises(UserError, match='digits has no images'):
        sources.Tfds('digits', size=8)


@pytest.mark.parametrize('name', NAMES)
def test_unprepared_is_one_line_that_says_how(name, tmp_path, monkeypatch):
    monkeypatch.setenv('NNJAX_DATA_DIR', str(tmp_path))
    monkeypatch.setenv('HOME', str(tmp_path))
    with pytest.raises(UserError) as error:
        sources.Tfds(name)
    command = f'tfds build {name} --file_format=array_record --data_dir={tmp_path}'
    assert command in str(error.value) and 'network and TensorFlow' in str(error.value)
    assert ('--manual_dir=' in str(error.value)) == (name == 'imagenet2012')
    assert '\n' not in str(error.value)


def test_the_command_is_one_that_tfds_knows():
    """Parsed by TFDS's own command line."""
    words = builders.recipe('imagenet2012', '/data').split()
    assert words[:3] == ['tfds', 'build', 'imagenet2012']
    from tensorflow_datasets.scripts.cli import build, cli_utils

    args = cli_utils.make_flags_parser(build.Args, '')(words[1:])
    assert args.positional_datasets == ['imagenet2012']
    assert args.generation.file_format == 'array_record' and str(args.paths.data_dir) == '/data'
