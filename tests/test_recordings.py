"""Sound files -> examples; what is damaged, empty, silent or too long is named."""

import json
import tracemalloc

import numpy as np
import pytest

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import kept, prepare, recordings, sounds, sources, spec
from nnjax.data.preparation import Preparation
from nnjax.errors import UserError
from nnjax.ops.native import library
from nnjax.training import optim
from nnjax.training.setup import setup

soundfile = pytest.importorskip('soundfile')
RATE = 8000


def tone(hertz=440.0, seconds=0.5, rate=RATE):
    return 0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def write(path, x=None, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(rate=rate) if x is None else x, rate)
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('NNJAX_CACHE_DIR', str(tmp_path / 'cache'))


@pytest.fixture
def folder(tmp_path):
    for name in ('yes', 'no'):
        for number in range(10):
            write(tmp_path / 'words' / name / f'{number}.wav', tone(300 + 10 * number))
    return tmp_path / 'words'


def refused(folder, **options):
    with pytest.raises(UserError) as error:
        sources.Sounds(str(folder), rate=RATE, **options)
    assert '\n' not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize('suffix', sounds.SUFFIXES)
def test_formats_agree(tmp_path, suffix):
    x = sounds.decode(write(tmp_path / f'a{suffix}'), RATE) / 32768
    assert np.abs(x - tone()).max() < (0.05 if suffix == '.ogg' else 1e-4)


def test_a_folder_by_class(folder):
    found = sources.Sounds(str(folder), rate=RATE, valid='10%', test='20%')
    assert found.labels == ('no', 'yes') and found.rate == RATE
    assert [len(s) for s in (found.train, found.valid, found.test)] == [14, 2, 4]
    batch = found.train[np.arange(3)]
    assert batch['audio'].shape == (3, RATE) and batch['audio'].dtype == np.int16
    assert (batch['audio_length'] == RATE // 2).all() and not batch['audio'][:, RATE // 2 :].any()
    again = sources.Sounds(str(folder), rate=RATE, valid='10%', test='20%')
    assert again.train.fingerprint == found.train.fingerprint


def test_sounds_that_go_move_no_other_into_another_split(folder):
    lines = [{'path': f'{n}/{i}.wav', 'text': n} for n in ('no', 'yes') for i in range(10)]
    manifest = folder / 'list.jsonl'

    def splits(what):
        if what == 'sounds':
            found = sources.Sounds(str(folder), rate=RATE, valid='20%', test='20%')
        else:
            manifest.write_text('\n'.join(map(json.dumps, lines)))
            found = sources.Transcribed(str(manifest), rate=RATE, valid='20%', test='20%')
        return [{*s.names} for s in (found.train, found.valid, found.test)]

    before = splits('sounds')
    assert splits('list') == before and [len(names) for names in before] == [13, 3, 4]
    (folder / 'no' / '0.wav').unlink()
    del lines[0]
    after = splits('sounds')
    assert splits('list') == after and len(set.union(*after)) == 19
    assert sum(len(now - old) for now, old in zip(after, before)) <= 1


def test_another_rate_and_several_channels_are_converted_and_said(folder, capsys):
    stereo = np.stack([tone(rate=16000), np.zeros(8000)], 1)
    write(folder / 'no' / 'stereo.wav', stereo, 16000)
    found = recordings.by_class(folder, RATE, 1.0)[0]
    x = found[np.arange(len(found))]['audio'][10, : RATE // 2] / 32768
    assert np.abs(x[100:-100] - 0.5 * tone()[100:-100]).max() < 1e-3
    err = capsys.readouterr().err
    assert '1 of 21 sounds' in err and 'several channels' in err and f'not at {RATE}' in err


def test_long_sounds_are_cut_about_the_middle(tmp_path, capsys):
    x = np.concatenate([np.zeros(RATE), tone(seconds=1), np.zeros(RATE)])
    write(tmp_path / 'w' / 'a' / '0.wav', x)
    found = recordings.by_class(tmp_path / 'w', RATE, 1.0)[0][np.arange(1)]
    np.testing.assert_allclose(found['audio'][0] / 32768, tone(seconds=1), atol=1e-4)
    assert 'longer than 1 s' in capsys.readouterr().err


def test_damage_is_named_and_left_out_when_told(folder, capsys):
    (folder / 'no' / 'empty.wav').write_bytes(b'')
    assert 'empty.wav is empty' in refused(folder)
    (folder / 'no' / 'empty.wav').unlink()
    whole = write(folder / 'no' / 'cut.wav').read_bytes()
    (folder / 'no' / 'cut.wav').write_bytes(whole[:3000])
    assert 'cut.wav is cut off' in refused(folder) and '1 of 21' in refused(folder)
    (folder / 'no' / 'text.wav').write_text('no sound at all')
    assert '2 of 22' in refused(folder) and 'skip_corrupt=True' in refused(folder)
    write(folder / 'yes' / 'silent.wav', np.zeros(400))
    write(folder / 'yes' / 'none.wav', np.zeros(0))
    found = sources.Sounds(str(folder), rate=RATE, skip_corrupt=True, valid=None, test=None)
    assert len(found.train) == 20
    assert 'left out 4 of 24' in capsys.readouterr().err
    for name in ('cut', 'text'):
        (folder / 'no' / f'{name}.wav').unlink()
    (folder / 'yes' / 'none.wav').unlink()
    assert 'silent.wav is silent' in refused(folder)


def test_a_large_set_is_decoded_once(folder, monkeypatch):
    """What lies in memory and what lies on disk, unpadded, are the same examples."""
    write(folder / 'no' / 'long.wav', tone(seconds=2))
    write(folder / 'yes' / 'short.wav', tone(seconds=0.01))
    options = dict(rate=4000, valid=None, test=None)
    small = sources.Sounds(str(folder), **options).train
    monkeypatch.setattr(kept, 'KEPT_BYTES', 100)
    sources.Sounds(str(folder), **options)
    (path,) = (folder.parent / 'cache' / 'arrays').glob('samples-*')
    assert path.stat().st_size == 20 * 4000 + 2 * 4000 + 2 * 40 + 22 * 8  # no zeros behind

    def unheard(*_):
        raise AssertionError('decoded again')

    with monkeypatch.context() as patch:
        patch.setattr(sounds, 'decode', unheard)
        large = sources.Sounds(str(folder), **options).train
        rows = np.random.default_rng(0).permutation(22)
        for name, array in small[rows].items():
            np.testing.assert_array_equal(large[rows][name], array)
    path.write_bytes(path.read_bytes()[:-2])  # damaged: it is made again
    large = sources.Sounds(str(folder), **options).train
    np.testing.assert_array_equal(large[rows]['audio'], small[rows]['audio'])


def test_without_room_on_disk_a_large_set_is_decoded_as_it_is_asked_for(folder, monkeypatch):
    monkeypatch.setattr(kept, 'KEPT_BYTES', 100)
    (folder.parent / 'cache').write_text('no folder')
    found = sources.Sounds(str(folder), rate=RATE, valid=None, test=None).train[np.arange(3)]
    assert found['audio_length'].tolist() == [RATE // 2] * 3


def test_headers_are_read_without_samples(tmp_path):
    path = write(tmp_path / 'long.wav')
    raw, size = path.read_bytes(), 200_000_000
    place = raw.index(b'data') + 4
    path.write_bytes(raw[:place] + size.to_bytes(4, 'little') + raw[place + 4 :])
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match='is cut off'):
            sounds.header(path)
        with open(path, 'r+b') as file:
            file.truncate(place + 4 + size)
        assert sounds.header(path).samples == size // 2
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize('suffix', ['.flac', '.ogg'])
def test_a_part_of_a_compressed_file_is_refused(tmp_path, suffix):
    path = write(tmp_path / f'a{suffix}', np.random.default_rng(0).uniform(-0.5, 0.5, 4 * RATE))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=f'a{suffix}'):
        sounds.decode(path, RATE)


def manifest(tmp_path, rows, suffix='.jsonl'):
    path = tmp_path / f'list{suffix}'
    if suffix == '.tsv':
        path.write_text('path\ttext\n' + ''.join(f'{p}\t{t}\n' for p, t in rows))
    else:
        path.write_text(''.join(json.dumps({'path': p, 'text': t}) + '\n' for p, t in rows))
    return path


@pytest.mark.parametrize('suffix', ['.jsonl', '.tsv'])
def test_a_list_of_sounds_and_texts(tmp_path, suffix):
    rows = [(f'{n}.wav', f'number {n}') for n in range(4)]
    for name, _ in rows:
        write(tmp_path / name)
    path = manifest(tmp_path, rows, suffix)
    found = sources.Transcribed(str(path), rate=RATE, seconds=1, valid=None, test=None).train
    batch = found[np.array([2, 0])]
    assert batch['text'].tolist() == ['number 2', 'number 0'] and batch['audio'].shape == (2, RATE)


def test_a_line_of_a_list_ends_at_its_newline(tmp_path):
    write(tmp_path / 'a.wav')
    path = tmp_path / 'list.jsonl'
    path.write_text('{"path": "a.wav", "text": "yes\u2028no"}\r\n' * 2, encoding='utf-8')
    found = sources.Transcribed(str(path), rate=RATE, seconds=1, valid=None, test=None).train
    assert found[np.arange(2)]['text'].tolist() == ['yes\u2028no'] * 2


def test_a_list_says_what_is_wrong(tmp_path):
    write(tmp_path / 'a.wav', tone(seconds=2))
    for rows, message in (
        ([('a.wav', 'x'), ('b.wav', 'y')], '1 of 2 files are missing'),
        ([('a.wav', 'x')], 'set data.seconds=2.0'),
        ([], 'is empty'),
    ):
        path = manifest(tmp_path, rows)
        with pytest.raises(UserError, match=message):
            sources.Transcribed(str(path), rate=RATE, seconds=1, valid=None, test=None)
    path.write_text('{"path": "a.wav"}\n')
    with pytest.raises(UserError, match='entry 1: no path and text'):
        sources.Transcribed(str(path), rate=RATE)
    path.write_text('nonsense\n')
    with pytest.raises(UserError, match='line 1 is no JSON'):
        sources.Transcribed(str(path), rate=RATE)


def test_sounds_to_predict(tmp_path, capsys):
    given = {'audio': ((RATE,), np.dtype(np.int16)), 'audio_length': ((), np.dtype(np.int32))}
    a, b = write(tmp_path / 'in' / 'a.wav'), write(tmp_path / 'in' / 'b.flac', rate=16000)
    names, arrays = recordings.read([str(tmp_path / 'in')], given, RATE)
    assert names == [str(a), str(b)] and (arrays['audio_length'] == RATE // 2).all()
    assert '1 of 2 sounds were converted' in capsys.readouterr().err
    for other in ('digits.npy', 'lines.txt'):
        assert not recordings.are_arrays([other], given)
        with pytest.raises(UserError, match=f'{other}: this run takes sounds: .wav, .flac, .ogg'):
            recordings.read([str(a), other], given, RATE)
    assert recordings.are_arrays(['digits.npy'], {'audio': given['audio']})
    with pytest.raises(UserError, match=r'lasts 3\.0 s'):
        recordings.read([str(write(tmp_path / 'c.wav', tone(seconds=3)))], given, RATE)


@pytest.mark.parametrize('centre, runs', [('centered(20)', True), ('cmvn', False)])
def test_a_perceptron_of_sounds_with_lengths(folder, centre, runs, monkeypatch):
    # This module's cache has no kernels, and to compile them takes half a minute.
    monkeypatch.setattr(library, 'load', lambda: library.Library(None, 'turned off'))
    c = base()
    c.data = bind(sources.Sounds, path=str(folder), rate=RATE, test=None)
    c.augment = f'log_mel(12, rate=8000, window=200, hop=80, fft=256) | {centre}'
    c.model = bind(models.MLP, classes=2, hidden=(4,))
    c.task = bind(tasks.classification, input='audio')
    c.optim = bind(optim.make, name='sgd', lr=0.1)
    c.batch, c.parallel = 4, 'jit'
    if runs:
        kernel = setup(c).state.params['Dense_0']['kernel']
        assert kernel.shape == (20 * 12, 4)
        return
    with pytest.raises(UserError, match='MLP does not fit the data'):
        setup(c)


def prepared(texts, samples=8000, text='transcript(length=12)'):
    count = len(texts)
    rows = {
        'audio': np.zeros((count, RATE), np.int16),
        'audio_length': np.full(count, samples, np.int32),
        'text': np.array(texts, np.dtypes.StringDType()),
    }
    operations = spec.parse(text, prepare)
    made = Preparation(operations, sources.Rows(rows))
    return made, made(rows)


def test_transcripts_become_ids_and_texts_again():
    made, arrays = prepared(['Yes  no', "it's", ''])
    assert arrays['text'].shape == (3, 12) and arrays['text_length'].tolist() == [6, 4, 0]
    vocabulary = made.vocabularies['text']
    assert vocabulary.size == 4 + 28 and arrays['text'].max() < vocabulary.size
    assert vocabulary.decode(arrays['text']).tolist() == ['yes no', "it's", '']
    assert made.spec['text'] == ((12,), np.int32)
    assert 'text' not in made({'audio': arrays['audio']})


@pytest.mark.parametrize(
    'texts, options, message',
    [
        (['café'], {}, "lacks 'é' of the text 'café'"),
        (['one two three four'], {}, 'more than length=12'),
        (['ok'], {'text': 'transcript("aba")'}, 'a symbol twice'),
    ],
)
def test_transcripts_that_cannot_be(texts, options, message):
    with pytest.raises(UserError, match=message):
        prepared(texts, **options)


def test_other_symbols_are_left_out_when_told():
    arrays = prepared(['hellé'], 320, 'transcript(length=12, unknown="drop")')[1]
    assert arrays['text_length'].tolist() == [4]
