"""Files of the user's own: what `nnjax predict` reads, images of every kind, tables."""

import numpy as np
import pytest
from PIL import Image

from nnjax.data import files, folder, images, kept, sources, tables
from nnjax.errors import UserError

GREY = {'image': ((6, 6, 1), np.dtype(np.uint8)), 'label': ((), np.dtype(np.int32))}
COLOUR = {'image': ((6, 6, 3), np.dtype(np.uint8)), 'label': ((), np.dtype(np.int32))}
TABLE = {'features': ((3,), np.dtype(np.float32)), 'label': ((), np.dtype(np.int32))}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv('NNJAX_CACHE_DIR', str(tmp_path / 'cache'))


def draw(path, mode='L', shade=9, size=(6, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, shade).save(path)
    return path


@pytest.mark.parametrize('mode, shade', [('L', 40), ('1', 1), ('RGB', (9, 9, 9)), ('P', 3)])
@pytest.mark.parametrize('suffix', ['.png', '.gif', '.bmp'])
def test_every_mode_becomes_grey_or_colour(tmp_path, mode, shade, suffix):
    path = draw(tmp_path / f'a{suffix}', mode, shade)
    for spec in (GREY, COLOUR):
        names, arrays = files.read([str(path)], spec)
        assert names == [str(path)] and arrays['image'].shape == (1, *spec['image'][0])
        assert arrays['image'].dtype == np.uint8


def test_sixteen_bits_keep_the_upper_eight(tmp_path):
    Image.fromarray(np.full((6, 6), 40_000, np.uint16)).save(tmp_path / 'a.png')
    assert np.all(images.decode(tmp_path / 'a.png', (6, 6, 1), 'a') == 40_000 >> 8)


def test_exif_turns_the_picture(tmp_path):
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, 8:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rows are columns
    Image.fromarray(pixels).save(tmp_path / 'a.jpg', exif=exif, quality=95)
    assert images.shape(tmp_path / 'a.jpg') == (16, 8, 3)
    turned = images.decode(tmp_path / 'a.jpg', (16, 8, 3), 'a')
    assert turned[:6].max() < 30 and turned[10:].min() > 220


def test_resizing_is_noted_once(tmp_path, capsys):
    inputs = [str(draw(tmp_path / f'{n}.png', size=(6 + n, 6))) for n in range(4)]
    _, arrays = files.read(inputs, GREY)
    assert arrays['image'].shape == (4, 6, 6, 1)
    assert capsys.readouterr().err == 'resized 3 images to 6x6\n'
    files.read(inputs[:1], GREY)
    assert capsys.readouterr().err == ''


@pytest.mark.parametrize('shape', [(6, 6), (6, 6, 1), (5, 6, 6), (5, 6, 6, 1)])
def test_arrays_with_and_without_axes(tmp_path, shape):
    np.save(tmp_path / 'a.npy', np.full(shape, 7, np.int64))
    names, arrays = files.read([str(tmp_path / 'a.npy')], GREY)
    count = shape[0] if shape[0] == 5 else 1
    assert len(names) == count and arrays['image'].shape == (count, 6, 6, 1)
    assert arrays['image'].dtype == np.uint8 and np.all(arrays['image'] == 7)


def test_files_of_several_kinds_together(tmp_path):
    draw(tmp_path / 'a.png', shade=1)
    np.savez(tmp_path / 'b.npz', image=np.full((2, 6, 6, 1), 2, np.uint8), label=np.arange(2))
    rows = [','.join(f'p{n}' for n in range(36)), ','.join(['3'] * 36)]
    (tmp_path / 'c.csv').write_text('\n'.join(rows))
    names, arrays = files.read([str(tmp_path / n) for n in ('a.png', 'b.npz', 'c.csv')], GREY)
    assert [n.rsplit('/')[-1] for n in names] == ['a.png', 'b.npz:0', 'b.npz:1', 'c.csv:0']
    assert arrays['image'][:, 0, 0, 0].tolist() == [1, 2, 2, 3]


def saved(path, array):
    np.save(path, array)
    return path


BAD = {
    'fractions': (lambda t: saved(t / 'a.npy', np.full((2, 6, 6, 1), 0.5)), GREY, 'whole numbers'),
    'too large': (lambda t: saved(t / 'a.npy', np.full((2, 6, 6, 1), 256)), GREY, '0 to 255'),
    'negative': (lambda t: saved(t / 'a.npy', np.full((2, 6, 6, 1), -1)), GREY, '0 to 255'),
    'nan': (lambda t: saved(t / 'a.npy', np.full((2, 3), np.nan)), TABLE, 'NaN'),
    'words': (lambda t: saved(t / 'a.npy', np.full((2, 6, 6, 1), 'x')), GREY, 'not numbers'),
    'shape': (lambda t: saved(t / 'a.npy', np.zeros((2, 7, 6, 1))), GREY, '[7, 6, 1]'),
    'no rows': (lambda t: saved(t / 'a.npy', np.zeros((0, 6, 6, 1))), GREY, 'no examples'),
    'scalar': (lambda t: saved(t / 'a.npy', np.zeros(())), GREY, 'the model takes'),
    'image for a table': (lambda t: draw(t / 'a.png'), TABLE, 'not images'),
    'cut off': (lambda t: cut(draw(t / 'a.png', size=(64, 64))), GREY, 'a.png'),
    'text as image': (lambda t: written(t / 'a.jpg', 'hello'), GREY, 'no image'),
    'other ending': (lambda t: written(t / 'a.txt', 'hello'), GREY, 'expected images'),
    'no file': (lambda t: t / 'none.png', GREY, 'no file'),
    'empty folder': (lambda t: t, GREY, 'has no images'),
    'columns': (lambda t: written(t / 'a.csv', 'a,b\n1,2\n'), TABLE, '[2], the model takes'),
    'word in a table': (lambda t: written(t / 'a.csv', 'a,b,c\n1,x,3\n'), TABLE, "column 'b'"),
    'huge number': (lambda t: written(t / 'a.csv', 'a,b,c\n1,1e60,3\n'), TABLE, 'not finite'),
}


def cut(path):
    path.write_bytes(path.read_bytes()[:60])
    return path


def written(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize('case', BAD)
def test_a_bad_input_is_one_line(case, tmp_path):
    make, spec, words = BAD[case]
    with pytest.raises(UserError) as error:
        files.read([str(make(tmp_path))], spec)
    assert words in str(error.value) and '\n' not in str(error.value)


def test_a_folder_has_colours_if_any_image_has(tmp_path):
    for name in 'ab':
        draw(tmp_path / 'in' / name / '0.png')
        draw(tmp_path / 'in' / name / '1.png', 'RGB', (200, 0, 0))
    found, _ = folder.by_class(tmp_path / 'in')
    rows = found[np.arange(4)]
    assert found.spec['image'] == ((6, 6, 3), np.uint8) and rows['label'].tolist() == [0, 0, 1, 1]
    assert rows['image'][1, 0, 0].tolist() == [200, 0, 0]


def test_a_large_folder_is_decoded_as_asked(tmp_path, monkeypatch):
    for name in 'ab':
        for number in range(5):
            draw(tmp_path / 'in' / name / f'{number}.png', shade=number)
    small, _ = folder.by_class(tmp_path / 'in')
    monkeypatch.setattr(kept, 'KEPT_BYTES', 10)
    monkeypatch.setenv('NNJAX_CACHE_DIR', str(tmp_path / 'other'))
    streamed, _ = folder.by_class(tmp_path / 'in')
    assert isinstance(streamed, folder.Images) and not isinstance(small, folder.Images)
    rows = np.array([7, 0, 3])
    assert streamed.spec == small.spec and len(streamed) == 10
    for name in small.spec:
        assert np.array_equal(streamed[rows][name], small[rows][name])


def test_a_changed_image_is_seen(tmp_path):
    for name in 'ab':
        draw(tmp_path / 'in' / name / '0.png', shade=1)
    assert folder.by_class(tmp_path / 'in')[0][np.arange(1)]['image'].max() == 1
    draw(tmp_path / 'in' / 'a' / '0.png', shade=2)
    assert folder.by_class(tmp_path / 'in')[0][np.arange(1)]['image'].max() == 2


def test_folder_with_validation_and_test_folders(tmp_path):
    for split, count in (('train', 6), ('val', 2), ('test', 3)):
        for name in ('a', 'b'):
            for number in range(count):
                draw(tmp_path / split / name / f'{number}.png', shade=number)
    dataset = sources.Folder(str(tmp_path))
    assert (len(dataset.train), len(dataset.valid), len(dataset.test)) == (12, 4, 6)


def test_npz_of_medmnist_s_names_and_of_words(tmp_path):
    def part(rows):
        return np.zeros((rows, 5, 5), np.uint8), np.arange(rows)[:, None]

    names = [
        f'{split}_{field}' for split in ('train', 'val', 'test') for field in ('images', 'labels')
    ]
    arrays = [array for rows in (9, 3, 2) for array in part(rows)]
    np.savez(tmp_path / 'a.npz', **dict(zip(names, arrays)))
    dataset = sources.Npz(str(tmp_path / 'a.npz'))
    assert (len(dataset.train), len(dataset.valid), len(dataset.test)) == (9, 3, 2)
    assert dataset.train.spec == {
        'image': ((5, 5, 1), np.dtype(np.uint8)),
        'label': ((), np.dtype(np.int32)),
    }
    np.savez(tmp_path / 'b.npz', x_train=np.zeros((4, 3)), y_train=np.array(['b', 'c', 'a', 'b']))
    dataset = sources.Npz(str(tmp_path / 'b.npz'), valid=None)
    assert dataset.labels == ('a', 'b', 'c')
    assert dataset.train[np.arange(4)]['label'].tolist() == [1, 2, 0, 1]


def test_arrays_are_read_as_an_npz_is():
    fields = {'image': np.zeros((8, 5, 5)), 'label': np.arange(8)}
    dataset = sources.Arrays(fields, valid='2', test={n: a[:3] for n, a in fields.items()})
    assert (len(dataset.train), len(dataset.valid), len(dataset.test)) == (6, 2, 3)
    assert dataset.train.spec == {
        'image': ((5, 5, 1), np.dtype(np.float32)),
        'label': ((), np.dtype(np.int32)),
    }


def test_arrays_are_kept_of_one_format(monkeypatch):
    shades = iter(range(9))
    shade = lambda: kept.arrays('name', lambda: {'x': np.array([next(shades)])})['x'].tolist()
    assert [shade(), shade()] == [[0], [0]]
    monkeypatch.setattr(kept, 'FORMAT', kept.FORMAT + 1)
    assert [shade(), shade()] == [[1], [1]]


def test_an_interrupt_leaves_no_file(tmp_path, monkeypatch):
    def interrupted(file, **arrays):
        file.write(b'half')
        raise KeyboardInterrupt

    monkeypatch.setattr(np, 'savez', interrupted)
    with pytest.raises(KeyboardInterrupt):
        kept.arrays('name', lambda: {'x': np.zeros(3)})
    assert not [p for p in (tmp_path / 'cache').rglob('*') if p.is_file()]


BAD_DATA = {
    'words': (lambda t: sources.Arrays({'image': np.array(['a'] * 9)}), 'not numbers'),
    'mixed labels': (
        lambda t: sources.Arrays({'label': np.array(['a'] * 9)}, test={'label': np.arange(9)}),
        'texts in some splits',
    ),
    'beyond 32 bits': (lambda t: sources.Arrays({'label': np.full(9, 2**40)}), 'beyond 32 bits'),
    'other test': (
        lambda t: sources.Arrays(
            {'image': np.zeros((9, 4, 4))}, test={'image': np.zeros((9, 5, 5))}
        ),
        'not like the training',
    ),
    'column twice': (
        lambda t: sources.Csv(str(written(t / 'a.csv', 'a,b,b\n1,2,3\n')), 'b'),
        "'b' twice",
    ),
    'lacking columns': (
        lambda t: sources.Csv(
            str(written(t / 'a.csv', 'a,b,c,d\n1,2,u,x\n3,4,v,y\n')),
            'd',
            valid=None,
            test=str(written(t / 'b.csv', 'a,d\n1,x\n')),
        ),
        "b.csv lacks the columns 'b', 'c' of the training table (it has: a, d)",
    ),
    'only a label': (lambda t: sources.Csv(str(written(t / 'a.csv', 'b\nx\n')), 'b'), 'no column'),
    'no class': (lambda t: sources.Csv(str(written(t / 'a.csv', 'a,b\n1,x\n2,\n')), 'b'), 'line 3'),
    'ignored': (
        lambda t: sources.Csv(str(written(t / 'a.csv', 'a,b\n1,x\n')), 'b', ignore=('c',)),
        'unknown column',
    ),
    'other class': (
        lambda t: sources.Csv(
            str(written(t / 'a.csv', 'a,b\n1,x\n2,y\n')),
            'b',
            valid=None,
            test=str(written(t / 'b.csv', 'a,b\n1,z\n')),
        ),
        'unknown class',
    ),
}


@pytest.mark.parametrize('case', BAD_DATA)
def test_a_mistake_in_own_data_is_one_line(case, tmp_path):
    act, words = BAD_DATA[case]
    with pytest.raises(UserError) as error:
        act(tmp_path)
    assert words in str(error.value) and '\n' not in str(error.value)


def test_tables(tmp_path):
    text = '\ufeffname, width ,height,kind\nx, 1.5 ,1,10\ny,2,2,9\nz,-3e1,3,10\n'
    table = tables.examples(written(tmp_path / 'a.csv', text), 'kind', ignore=('name',))
    assert table.labels == ('9', '10') and table.arrays['label'].tolist() == [1, 0, 1]
    assert table.columns == ('width', 'height')
    assert table.arrays['features'].dtype == np.float32
    assert table.arrays['features'].tolist() == [[1.5, 1], [2, 2], [-30, 3]]
    path = written(tmp_path / 'b.csv', 'height,other,kind,width\n7,x,9,8\n')
    other = tables.examples(path, 'kind', like=table)
    assert other.arrays['features'].tolist() == [[8, 7]] and other.arrays['label'].tolist() == [0]


def test_columns_to_predict_are_found_by_name(tmp_path):
    rows = '\n'.join(f'{n},{-n},{n % 2}' for n in range(20))
    path = written(tmp_path / 'a.csv', f'width,height,kind\n{rows}')
    dataset = sources.Csv(str(path), 'kind')
    assert dataset.columns == ('width', 'height') and dataset.labels == ('0', '1')
    path = written(tmp_path / 'b.csv', 'height,kind,width\n1,?,2\n')
    _, arrays = files.read([str(path)], dataset.train.spec, dataset.columns)
    assert arrays['features'].tolist() == [[2, 1]]
    path = written(tmp_path / 'c.csv', 'hight,width\n1,2\n')
    with pytest.raises(UserError, match=r"lacks the column 'height' .*\(it has: .*hight"):
        files.read([str(path)], dataset.train.spec, dataset.columns)
