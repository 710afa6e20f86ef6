"""Sources: what the user has becomes train, validation and test; what cannot is one line."""

import gzip
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from nnjax import cache
from nnjax.data import builders, files, pipeline, sources, tfds
from nnjax.data.builders import fashion_mnist
from nnjax.data.order import Shuffled
from nnjax.data.preparation import Operation, Preparation, Prepared
from nnjax.data.source import Rows, hold_out
from nnjax.errors import UserError


def everything(source):
    return source[np.arange(len(source))]


@pytest.fixture(autouse=True, scope='module')
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('NNJAX_CACHE_DIR', str(tmp_path_factory.mktemp('cache')))
        patch.delenv('NNJAX_DATA_DIR', raising=False)
        yield


def test_digits_are_scikit_learn_s():
    from sklearn.datasets import load_digits

    dataset = sources.Tfds('digits', valid='10%')
    sizes = len(dataset.train), len(dataset.valid), len(dataset.test)
    assert sizes == (1293, 144, 360) and dataset.labels == tuple('0123456789')
    parts = [everything(s) for s in (dataset.train, dataset.valid, dataset.test)]
    images = np.concatenate([p['image'] for p in parts]).reshape(1797, 64)
    labels = np.concatenate([p['label'] for p in parts])
    key = lambda rows: sorted(map(tuple, rows.tolist()))
    digits = load_digits()
    assert key(np.c_[images, labels]) == key(np.c_[digits.data.astype(int), digits.target])
    assert np.ptp(np.bincount(parts[2]['label'])) <= 2  # stratified


def test_the_digits_never_change():
    """Pinned: scores are comparable only on the same split."""
    dataset = sources.Tfds('digits', valid=None)
    sums = [
        (int(r['image'].sum()), int((r['label'] * np.arange(len(r['label']))).sum()))
        for r in map(everything, (dataset.train, dataset.test))
    ]
    assert sums == [(449368, 4633993), (112350, 287990)]


def test_the_second_opening_neither_decodes_nor_imports_tfds():
    sources.Tfds('digits')
    code = (
        'import sys, numpy as np\nfrom nnjax.data import sources\n'
        'd = sources.Tfds("digits"); d.train[np.arange(5)]\n'
        'assert "tensorflow_datasets" not in sys.modules and "tensorflow" not in sys.modules'
    )
    subprocess.run([sys.executable, '-c', code], check=True)


def test_a_damaged_cache_is_made_again():
    first = everything(sources.Tfds('digits').test)
    for path in (cache.root() / 'arrays').glob('digits*'):
        path.write_bytes(path.read_bytes()[:1000])
    again = everything(sources.Tfds('digits').test)
    assert np.array_equal(first['image'], again['image'])


def test_split_expressions():
    whole = everything(sources.Tfds('digits', valid=None).train)
    part = sources.Tfds('digits', train='train[:1000]', valid='train[1000:]')
    assert (len(part.train), len(part.valid)) == (1000, 437)
    assert np.array_equal(everything(part.train)['image'], whole['image'][:1000])


def test_a_large_set_is_streamed(monkeypatch):
    monkeypatch.setattr(tfds, 'KEPT_BYTES', 10)
    monkeypatch.setenv('NNJAX_CACHE_DIR', str(cache.root() / 'other'))
    monkeypatch.setenv('NNJAX_DATA_DIR', str(cache.root() / 'tfds'))
    streamed = sources.Tfds('digits')
    assert streamed.train.spec['image'] == ((8, 8, 1), np.uint8)
    monkeypatch.undo()
    assert np.array_equal(
        streamed.test[np.arange(7)]['image'], sources.Tfds('digits').test[np.arange(7)]['image']
    )


def test_held_out_examples_never_train():
    source = Rows({'image': np.arange(100)})
    rest, held = hold_out(source, '20%', 'valid')
    assert (len(rest), len(held)) == (80, 20)
    values = [everything(s)['image'].tolist() for s in (rest, held)]
    assert sorted(values[0] + values[1]) == list(range(100))
    assert values == [everything(s)['image'].tolist() for s in hold_out(source, '20', 'valid')]


def test_stream_and_evaluation_batches():
    source = Rows({'image': np.arange(10)})
    twice = Operation(lambda _, arrays: {'image': 2 * arrays['image']})
    source = Prepared(source, Preparation((twice,), source))
    batches = list(pipeline.stream(source, Shuffled(10, 4), seed=0, start=3, stop=8))
    again = list(pipeline.stream(source, Shuffled(10, 4), seed=0, start=5, stop=8))
    assert len(batches) == 5 and np.array_equal(batches[2]['image'], again[0]['image'])
    found = list(pipeline.evaluation_batches(source, 4))
    assert [b['mask'].tolist() for b in found] == [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0]]
    values = np.concatenate([b['image'][b['mask'] > 0] for b in found])
    assert values.tolist() == list(range(0, 20, 2))


@pytest.mark.parametrize(
    'names',
    [
        ('x_train', 'y_train', 'x_test', 'y_test'),
        ('train_image', 'train_label', 'test_image', 'test_label'),
    ],
)
def test_npz(tmp_path, names):
    arrays = [
        np.zeros((20, 5, 5), np.uint8),
        np.arange(20),
        np.zeros((4, 5, 5), np.uint8),
        np.arange(4),
    ]
    np.savez(tmp_path / 'a.npz', **dict(zip(names, arrays)))
    dataset = sources.Npz(str(tmp_path / 'a.npz'))
    assert (len(dataset.train), len(dataset.valid), len(dataset.test)) == (18, 2, 4)
    assert (
        dataset.train.spec['image'][0] == (5, 5, 1) and dataset.train.spec['label'][1] == np.int32
    )


def draw(path, shade, size=(6, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('L', size, shade).save(path)


def test_folder_of_images_by_class(tmp_path):
    for number in range(10):
        draw(tmp_path / 'cat' / f'{number}.png', 10)
        draw(tmp_path / 'dog' / f'{number}.png', 200)
    dataset = sources.Folder(str(tmp_path), valid='20%', test='20%')
    assert dataset.labels == ('cat', 'dog')
    assert (len(dataset.train), len(dataset.valid), len(dataset.test)) == (13, 3, 4)
    rows = everything(dataset.train)
    assert np.array_equal(rows['image'][:, 0, 0, 0] > 100, rows['label'] == 1)


def test_folder_with_its_own_test(tmp_path):
    for split, count in (('train', 8), ('test', 3)):
        for name in ('a', 'b'):
            for number in range(count):
                draw(tmp_path / split / name / f'{number}.png', 5, (4 + number, 4))
    dataset = sources.Folder(str(tmp_path), size=4)
    assert len(dataset.test) == 6 and dataset.train.spec['image'][0] == (4, 4, 1)


def test_csv(tmp_path):
    lines = ['width,kind,height'] + [
        f'{n},{"big" if n > 9 else "small"},{n * 2}' for n in range(20)
    ]
    (tmp_path / 't.csv').write_text('\n'.join(lines))
    dataset = sources.Csv(str(tmp_path / 't.csv'), label='kind')
    assert dataset.labels == ('big', 'small') and len(dataset.test) == 2
    rows = everything(dataset.train)
    assert np.array_equal(rows['features'][:, 1], 2 * rows['features'][:, 0])
    assert np.array_equal(rows['features'][:, 0] > 9, rows['label'] == 0)


def npz(path, **arrays):
    np.savez(path, **arrays)
    return str(path)


BAD = {
    'no file': (lambda t: sources.Npz(str(t / 'none.npz')), 'no file'),
    'no zip': (
        lambda t: ((t / 'a.npz').write_text('x'), sources.Npz(str(t / 'a.npz'))),
        'cannot be read',
    ),
    'pickled': (
        lambda t: sources.Npz(npz(t / 'a.npz', x_train=np.array([{}], object))),
        'cannot be read',
    ),
    'lengths': (
        lambda t: sources.Npz(npz(t / 'a.npz', x_train=np.zeros((3, 2, 2)), y_train=np.zeros(2))),
        r"a.npz: the fields of train differ in length: {'image': 3, 'label': 2}",
    ),
    'only test': (
        lambda t: sources.Npz(npz(t / 'a.npz', x_test=np.zeros((3, 2, 2)))),
        'no training arrays',
    ),
    'nan': (lambda t: sources.Npz(npz(t / 'a.npz', x_train=np.full((9, 2), np.nan))), 'NaN'),
    'text': (lambda t: sources.Npz(npz(t / 'a.npz', x_train=np.array(['a'] * 9))), 'not numbers'),
    'no folder': (lambda t: sources.Folder(str(t / 'none')), 'no folder'),
    'empty folder': (lambda t: sources.Folder(str(t)), 'one folder a class'),
    'empty class': (
        lambda t: (draw(t / 'a' / '1.png', 1), (t / 'b').mkdir(), sources.Folder(str(t))),
        'has no images',
    ),
    'sizes': (
        lambda t: (
            draw(t / 'a' / '1.png', 1),
            draw(t / 'b' / '2.png', 1, (9, 9)),
            sources.Folder(str(t)),
        ),
        'data.size',
    ),
    'broken image': (
        lambda t: (
            draw(t / 'a' / '1.png', 1),
            (t / 'a' / '2.png').write_bytes(b''),
            sources.Folder(str(t)),
        ),
        '2.png',
    ),
    'no column': (
        lambda t: ((t / 'a.csv').write_text('a,b\n1,2\n'), sources.Csv(str(t / 'a.csv'), 'c')),
        'unknown column',
    ),
    'no number': (
        lambda t: (
            (t / 'a.csv').write_text('a,b\n1,2\n1,2\nx,2\n'),
            sources.Csv(str(t / 'a.csv'), 'b', valid=None, test=None),
        ),
        "line 4, column 'a'",
    ),
    'ragged': (
        lambda t: ((t / 'a.csv').write_text('a,b\n1\n'), sources.Csv(str(t / 'a.csv'), 'b')),
        'line 2',
    ),
    'csv nan': (
        lambda t: (
            (t / 'a.csv').write_text('a,b\nnan,2\n'),
            sources.Csv(str(t / 'a.csv'), 'b', valid=None, test=None),
        ),
        'no value',
    ),
    'empty csv': (
        lambda t: ((t / 'a.csv').write_text(''), sources.Csv(str(t / 'a.csv'), 'b')),
        'is empty',
    ),
    'binary csv': (
        lambda t: (
            (t / 'a.csv').write_bytes(b'a,b\n1,Gr\xf6\n'),
            sources.Csv(str(t / 'a.csv'), 'b'),
        ),
        r'a.csv, line 2: byte 0xf6 is not UTF-8',
    ),
    'share': (lambda t: sources.Tfds('digits', valid='100%'), 'leaves nothing'),
    'split': (lambda t: sources.Tfds('digits', train='trane'), "did you mean 'train'"),
    'slice': (lambda t: sources.Tfds('digits', train='train[:'), 'data.train'),
    'unknown': (lambda t: sources.Tfds('fashion_mnst'), "did you mean 'fashion_mnist'"),
    'unprepared': (lambda t: sources.Tfds('cifar10'), 'tfds build cifar10'),
    'raw files': (
        lambda t: builders.prepare('fashion_mnist', str(t), str(t)),
        'dataset-fashion-mnist',
    ),
    'no arrays': (lambda t: sources.Arrays(train={'image': [1, 2]}), 'NumPy'),
}


@pytest.mark.parametrize('case', BAD)
def test_a_mistake_is_one_line(case, tmp_path):
    act, words = BAD[case]
    with pytest.raises(UserError) as error:
        act(tmp_path)
    assert words in str(error.value) and '\n' not in str(error.value)


def test_reading_inputs_to_predict(tmp_path):
    spec = {'image': ((6, 6, 1), np.dtype(np.uint8))}
    draw(tmp_path / 'in' / 'b.png', 7, (12, 12))
    draw(tmp_path / 'in' / 'a.png', 9)
    names, arrays = files.read([str(tmp_path / 'in')], spec)
    assert [n[-5:] for n in names] == ['a.png', 'b.png']
    assert arrays['image'][:, 0, 0, 0].tolist() == [9, 7]
    (tmp_path / 'x.csv').write_text(
        ','.join(f'p{n}' for n in range(36)) + '\n' + ','.join(['3'] * 36)
    )
    assert files.read([str(tmp_path / 'x.csv')], spec)[1]['image'].shape == (1, 6, 6, 1)


@pytest.mark.slow
def test_fashion_mnist_has_the_stock_name_version_and_content(tmp_path):
    try:
        folder = fashion_mnist.folder()
    except UserError as error:
        pytest.skip(str(error))
    labels = fashion_mnist.read(folder, 't10k-labels-idx1-ubyte')
    line = builders.prepare('fashion_mnist', str(tmp_path))
    assert 'fashion_mnist 3.0.1' in line and 'train 60000, test 10000' in line
    import tensorflow_datasets

    stock = tensorflow_datasets.data_source(
        'fashion_mnist', data_dir=str(tmp_path), download=False, split='test'
    )
    dataset = sources.Tfds('fashion_mnist', data_dir=str(tmp_path), valid='5000')
    assert (len(dataset.train), len(dataset.valid), len(dataset.test)) == (55000, 5000, 10000)
    rows = everything(dataset.test)
    assert np.array_equal(rows['image'][:50], np.stack([stock[n]['image'] for n in range(50)]))
    images = fashion_mnist.read(folder, 't10k-images-idx3-ubyte').reshape(10_000, 784)
    key = lambda images, labels: sorted(zip(map(bytes, images), labels.tolist()))
    assert key(images, labels) == key(rows['image'].reshape(10_000, 784), rows['label'])


@pytest.fixture
def copied_digits(tmp_path):
    """A prepared copy of the digits that a test may damage."""
    sources.Tfds('digits')
    shutil.copytree(builders.data_dir() / 'digits' / '1.0.0', tmp_path / 'digits' / '1.0.0')
    return tmp_path


def test_half_prepared_folders_are_passed_over(copied_digits):
    version = copied_digits / 'digits' / '1.0.0'
    shutil.copytree(version, version.with_name('1.0.0.incompleteABC_digits-1.0.0'))
    shutil.copytree(version, version.with_name('0.9.0'))
    assert tfds.open('digits', str(copied_digits)).path == version
    assert tfds.open('digits:0.9.0', str(copied_digits)).path.name == '0.9.0'


def test_what_only_tensorflow_reads_is_refused(copied_digits):
    info = copied_digits / 'digits' / '1.0.0' / 'dataset_info.json'
    info.write_text(
        info.read_text().replace('"fileFormat": "array_record"', '"fileFormat": "tfrecord"')
    )
    with pytest.raises(UserError, match='as tfrecord, which only TensorFlow reads'):
        sources.Tfds('digits', data_dir=str(copied_digits))


@pytest.mark.parametrize('name', ['dataset_info.json', 'features.json', 'digits-test.array_record'])
def test_a_damaged_data_set_says_how_to_prepare_it_again(copied_digits, name):
    (path,) = (copied_digits / 'digits' / '1.0.0').glob(f'{name}*')
    path.write_bytes(b'{}' if path.suffix == '.json' else b'')
    with pytest.raises(UserError, match='nnjax data prepare digits') as error:
        everything(sources.Tfds('digits', data_dir=str(copied_digits)).test)
    assert '\n' not in str(error.value)


def test_the_configs_that_are_prepared_are_named(copied_digits):
    folder = copied_digits / 'imagenet_resized' / '8x8'
    folder.mkdir(parents=True)
    (copied_digits / 'digits' / '1.0.0').rename(folder / '0.1.0')
    with pytest.raises(UserError, match='prepared: imagenet_resized/8x8; or where'):
        sources.Tfds('imagenet_resized', data_dir=str(copied_digits))
    assert len(sources.Tfds('imagenet_resized/8x8', data_dir=str(copied_digits)).test) == 360


def test_a_wrong_original_file_is_refused(tmp_path):
    for name in fashion_mnist.CONTENT:
        (tmp_path / f'{name}.gz').write_bytes(gzip.compress(b'x' * 100))
    with pytest.raises(UserError, match='not the original file'):
        builders.prepare('fashion_mnist', str(tmp_path / 'out'), str(tmp_path))
