"""TFDS names of sets of sounds, each of its own length: mocked sets of the true features."""

import json
import shutil
import sys

import numpy as np
import pytest

from nnjax.data import sources, tfds
from nnjax.errors import UserError
from tests import mocked_sounds

SETS = {
    'librispeech/default': {
        'train': 'train_clean100',
        'valid': 'dev_clean',
        'test': 'test_clean',
    },
    'speech_commands': {'valid': 'validation'},
    'yes_no': {'valid': None, 'test': None},
}
FIELDS = {
    'librispeech/default': {'text', 'id', 'speaker_id', 'chapter_id'},
    'speech_commands': {'label'},
    'yes_no': {'label', 'audio/filename'},
}


@pytest.fixture(scope='module', autouse=True)
def prepared(mocked_home, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('NNJAX_CACHE_DIR', str(tmp_path_factory.mktemp('cache')))
        patch.setenv('NNJAX_DATA_DIR', str(mocked_home / 'tensorflow_datasets'))
        yield


def opened(name: str, **fields):
    return sources.Tfds(name, **{'length': mocked_sounds.LONGEST, **SETS[name], **fields})


def everything(source):
    return source[np.arange(len(source))]


def written(name: str) -> list[dict]:
    """The first split's examples, as they were made."""
    split = mocked_sounds.SPLITS[name.partition('/')[0]][0]
    rng = np.random.default_rng(len(split))
    features = {'label': type('Label', (), {'num_classes': 12})}
    base = name.partition('/')[0]
    return [mocked_sounds.example(rng, base, features, n) for n in range(mocked_sounds.COUNT)]


@pytest.mark.parametrize('name', SETS)
def test_sounds_are_what_was_written_and_zeros(name):
    made = opened(name)
    assert made.rate == (8000 if name == 'yes_no' else 16000)
    rows, wanted = everything(made.train), written(name)
    assert set(rows) == FIELDS[name] | {'audio', 'audio_length'}
    sound = 'speech' if 'speech' in wanted[0] else 'audio'
    by_sound = {example[sound].astype(np.int16).tobytes(): example for example in wanted}
    assert rows['audio'].dtype == np.int16 and len(rows['audio']) == len(by_sound) == 40
    for audio, length, row in zip(rows['audio'], rows['audio_length'], range(40)):
        example = by_sound[audio[:length].tobytes()]
        assert not audio[length:].any()
        if name == 'yes_no':
            names = [('no', 'yes')[n] for n in example['label']]
            assert rows['label'].tolist()[row] == ' '.join(names)
        for field in {'text', 'id'} & set(rows):
            assert rows[field].tolist()[row] == example[field]
        if name == 'speech_commands':
            assert rows['label'][row] == example['label'] and len(made.labels) == 12
    assert 'tensorflow' not in sys.modules


def test_streamed_and_kept_sounds_are_the_same(monkeypatch, tmp_path):
    kept = opened('librispeech/default').train
    monkeypatch.setenv('NNJAX_CACHE_DIR', str(tmp_path))
    monkeypatch.setattr(tfds, 'KEPT_BYTES', 100)
    streamed = opened('librispeech/default').train
    assert kept.spec == streamed.spec
    rows = np.array([5, 0, 29, 5])
    for name, array in kept[rows].items():
        assert array.tolist() == streamed[rows][name].tolist()
    longer = opened('librispeech/default', length=20000).train
    assert longer.fingerprint != streamed.fingerprint
    assert np.array_equal(longer[rows]['audio'][:, :16000], streamed[rows]['audio'])


def test_of_a_longer_sound_the_middle_is_used_where_asked():
    whole, part = opened('yes_no').train, opened('yes_no', length=9000, cut=True).train
    first, second = everything(whole), everything(part)
    assert second['audio_length'].max() == 9000 > second['audio_length'].min()
    long = int(first['audio_length'].argmax())
    start = (first['audio_length'][long] - 9000) // 2
    assert np.array_equal(second['audio'][long], first['audio'][long, start : start + 9000])


@pytest.mark.parametrize(
    'name, fields, message',
    [
        ('speech_commands', {'length': 9000}, r'speech_commands, train\[\d+\], audio has \d+ samp'),
        ('speech_commands', {'length': None}, r"'audio' differ in length; set data\.length to"),
        ('speech_commands', {'size': 8}, 'has no images'),
        ('digits', {'length': 8}, 'digits has no sounds'),
    ],
)
def test_what_cannot_be_is_one_line(name, fields, message):
    with pytest.raises(UserError, match=message) as error:
        opened(name, **fields) if name in SETS else sources.Tfds(name, **fields)
    assert '\n' not in str(error.value)


def test_samples_beyond_16_bits_are_refused(monkeypatch):
    stream = tfds.Stream(tfds.open('yes_no'), 'train', tfds.Form(length=16000))
    source = stream._opened.source
    loud = [{**source[n], 'audio': np.full(9, 1 << 15)} for n in range(2)]
    monkeypatch.setattr(type(source), '__getitems__', lambda self, indices: loud)
    with pytest.raises(UserError, match=r'yes_no, train\[3\], audio has samples of more than 16'):
        stream[np.array([3, 4])]


def test_sounds_that_are_stored_encoded_are_refused(mocked_home, tmp_path):
    shutil.copytree(mocked_home / 'tensorflow_datasets' / 'yes_no', tmp_path / 'yes_no')
    path = tmp_path / 'yes_no' / '1.0.0' / 'features.json'
    found = json.loads(path.read_text())
    found['featuresDict']['features']['audio']['audio']['lazyDecode'] = True
    path.write_text(json.dumps(found))
    with pytest.raises(UserError, match='take a config without lazy_decode') as error:
        opened('yes_no', data_dir=str(tmp_path))
    assert '\n' not in str(error.value)
