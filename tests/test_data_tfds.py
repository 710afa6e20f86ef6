"""TFDS names: mocked sets of the true features."""

import re
import sys

import numpy as np
import pytest
from array_record.python import array_record_module

import nnjax
from nnjax import config as configs
from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import builders, sources, tfds
from nnjax.data.builders import kjv, made
from nnjax.data.source import Slice
from nnjax.errors import UserError
from nnjax.ops.native import library
from nnjax.training import optim, paths
from nnjax.training.setup import setup
from tests.mocked_tfds import NAMES

SIZE = {'imagenet2012': 32}  # the only one whose images differ in size


@pytest.fixture(scope='module', autouse=True)
def prepared(mocked_home, tmp_path_factory):
    """A folder with all four."""
    path = mocked_home / 'tensorflow_datasets'
    library.load()  # the compiled kernels stay in the session's cache
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('NNJAX_CACHE_DIR', str(tmp_path_factory.mktemp('cache')))
        patch.setenv('NNJAX_DATA_DIR', str(path))
        patch.setenv('HOME', str(path))
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
    labels = [name.decode() if isinstance(name, bytes) else name for name in labels]
    held = dataset.valid[np.arange(10)]
    assert (len(dataset.train), len(dataset.valid)) == (30, 10)
    assert sorted([*rows['label'], *held['label']]) == labels
    known = getattr(stock.dataset_info.features['label'], 'num_classes', 0)  # lfw's are texts
    assert len(dataset.labels) in (0, known)
    assert ('coarse_label' in rows) == (name == 'cifar100')
    if name not in SIZE:
        key = lambda images: sorted(image.tobytes() for image in images)
        images = [stock[n]['image'] for n in range(40)]
        assert key([*rows['image'], *held['image']]) == key(images)


@pytest.mark.parametrize(
    'name',
    [
        pytest.param(name, marks=[] if name in ('mnist', 'imagenet2012') else pytest.mark.slow)
        for name in NAMES
        if name != 'lfw'
    ],
)
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


@pytest.mark.parametrize(
    'experiment, image, parameters',
    [
        ('mnist_cnn', (28, 28, 1), 241_546),
        ('cifar10_resnet', (32, 32, 3), 269_722),
        ('cifar100_resnet', (32, 32, 3), 861_620),
        ('imagenet_resnet50', (224, 224, 3), 25_557_032),
    ],
)
def test_a_shipped_experiment_fits(experiment, image, parameters):
    """At full size, traced alone; tests/test_laws.py trains it."""
    made = setup(configs.load(experiment, {'data.valid': '10', 'parallel': 'jit'}))
    assert made.example['image'] == (image, np.float32)
    assert paths.size(made.state.params) == parameters


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


def test_a_second_preparation_writes_the_same_bytes(tmp_path, monkeypatch):
    # In protobuf's own order, which is another in each process, files of the same examples differ.
    fields = made.builder(
        'kjv', '', dict.fromkeys('abcdefgh', int), {'train': lambda: [dict.fromkeys('hgfedcba', 7)]}
    )
    monkeypatch.setattr(kjv, 'builder', lambda source: fields)
    builders.prepare('kjv', str(tmp_path))
    (file,) = tmp_path.glob('kjv/*/*.array_record*')
    (record,) = array_record_module.ArrayRecordReader(str(file)).read_all()
    assert b''.join(re.findall(rb'\n\x01([a-h])\x12', record)) == b'abcdefgh'
