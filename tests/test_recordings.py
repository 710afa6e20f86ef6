"""Sound files -> examples; what is damaged, empty, silent or too long is named."""

import json

import numpy as np
import pytest

from nnjax.data import prepare, recordings, sounds, sources, spec
from nnjax.data.preparation import Preparation
from nnjax.errors import UserError

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
    assert found.labels == ('no', 'yes')
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


def prepared(texts, samples=8000, text='transcript(length=12, stride=320)'):
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
        (['ok', 'hello'], {'samples': 1280}, "1 of 2 texts .* 'hello': it needs 6 frames"),
        (['ok'], {'text': 'transcript("aba")'}, 'a symbol twice'),
    ],
)
def test_transcripts_that_cannot_be(texts, options, message):
    with pytest.raises(UserError, match=message):
        prepared(texts, **options)


def test_training_goes_on_when_told():
    text = 'transcript(length=12, stride=320, short="keep", unknown="drop")'
    arrays = prepared(['hellé'], 320, text)[1]
    assert arrays['text_length'].tolist() == [4]
