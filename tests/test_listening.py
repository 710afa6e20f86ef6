"""Windows of a long sound give what the whole gives, frame by frame and word by word."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from nnjax import models, tasks
from nnjax.analysis import listening
from nnjax.config import base, bind
from nnjax.data import description, sources
from nnjax.errors import UserError
from nnjax.training import optim, runner, step
from nnjax.training.setup import setup

pytest.importorskip('jiwer')
RATE, STRIDE = 4000, 4 * 32


@pytest.fixture(scope='module')
def made():
    return setup(config())


def config():
    rng = np.random.default_rng(0)
    c = base()
    rows = {
        'audio': rng.integers(-9000, 9000, (8, 2 * RATE)).astype(np.int16),
        'audio_length': np.full(8, 2 * RATE, np.int32),
        'text': np.array(['ab ba'] * 8),
    }
    c.data = bind(sources.Arrays, train=rows, valid=rows)
    c.prepare = "transcript('ab ', length=8)"
    c.augment = 'log_mel(12, rate=4000, window=100, hop=32, fft=128)'
    c.model = bind(models.TimeCNN, vocabulary=8, width=16, blocks=2, window=3, channels=4)
    c.task = bind(tasks.ctc)
    c.optim = bind(optim.make, name='adam', lr=0.01)
    c.batch, c.parallel = 8, 'jit'
    return c


@pytest.fixture(scope='module')
def state(made):
    return runner.start(made)[0].state


def whole(made, state, x):
    batch = {
        'audio': x[None],
        'audio_length': np.array([len(x)], np.int32),
        'mask': np.ones(1, np.float32),
    }
    found = jax.jit(lambda b: step.outputs(made.program, state, b, made.hyperparameters))(batch)
    return np.asarray(found['logits'])[0, : int(found['lengths'][0])]


@pytest.mark.parametrize('seconds', [0.3, 3.21, 5.0])
def test_windows_are_the_whole(made, state, seconds):
    x = np.random.default_rng(1).integers(-9000, 9000, round(seconds * RATE)).astype(np.int16)
    context = made.program.model.reach // 4 + 2
    found = np.concatenate(list(listening.frames(made, state, x, STRIDE, 20, context)))
    wanted = whole(made, state, x)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_words_have_the_times_of_their_symbols(made, state):
    x = np.random.default_rng(2).integers(-9000, 9000, 20 * RATE).astype(np.int16)
    likeliest = whole(made, state, x).argmax(-1)
    begun = [n for p, n in enumerate(likeliest) if n and (p == 0 or n != likeliest[p - 1])]
    text = ''.join(dict(enumerate('ab ', 4)).get(n, '') for n in begun)
    found = list(listening.words(made, state, x, seconds=1.0))
    assert [word.text for word in found] == text.split()
    for word in found:
        first = round(word.start * RATE / STRIDE)
        assert likeliest[first] == 'ab '.index(word.text[0]) + 4 and word.end > word.start


LETTERS = [0, 4, 4, 0, 5, 5, 5, 0, 0, 6, 6, 4, 0, 4, 5, 0, 6, 0, 7, 7, 4, 7, 7, 0]


def test_a_word_ends_with_the_last_frame_of_its_last_symbol(made, state, monkeypatch):
    """Ids 4 and 5 are a and b, 6 the space; 7 has no name."""
    pieces = [np.eye(8)[LETTERS[n : n + 5]] for n in range(0, len(LETTERS), 5)]
    monkeypatch.setattr(listening, 'frames', lambda *_: iter(pieces))
    found = list(listening.words(made, state, np.zeros(9, np.int16)))
    assert [word.text for word in found] == ['ab', 'aab', 'a']
    times = [(word.start * RATE / STRIDE, word.end * RATE / STRIDE) for word in found]
    np.testing.assert_allclose(times, [(1, 7), (11, 15), (20, 21)], atol=1e-6)


def changed(made, augment, **model):
    """A run with other operations, and a model of other numbers."""
    config = made.config.copy_and_resolve_references()
    config.augment = augment
    network = made.program.model.clone(**model)
    program = dataclasses.replace(made.program, augment=augment, model=network)
    return dataclasses.replace(made, config=config, program=program)


@pytest.mark.parametrize('hop, steps', [(32, 2), (50, 3), (400, 4), (2000, 3)])
def test_a_frame_is_as_long_as_the_hop_times_the_model(made, hop, steps, monkeypatch):
    text = f'log_mel(12, rate=4000, window=100, hop={hop}, fft=128)'
    other = changed(made, text, steps=steps)
    init = functools.partial(step.init, other.program)
    state = jax.eval_shape(init, np.uint32(0), made.batch_shapes(1), made.hyperparameters, {})
    strides = []
    frames = lambda *given: strides.append(given[3]) or iter(())
    monkeypatch.setattr(listening, 'frames', frames)
    assert not list(listening.words(other, state, np.zeros(9, np.int16)))
    assert strides == [hop * 2**steps]


@pytest.mark.parametrize('whole', ['cmvn', 'cmvn(deviation=False)', 'picture', 'mfcc'])
def test_features_of_the_whole_sound_are_refused(made, state, whole):
    """Unless it is said how much is enough; the operations are those of digits_ctc."""
    features = config().augment
    text = f'speed(0.8, 1.25) | echo(rate=4000) | {features} | {whole} | spec_augment(2, 12, 2, 8)'
    text = text.replace(f'{features} | mfcc', features.replace('log_mel(12', 'mfcc(12, 12'))
    other = changed(made, text)
    with pytest.raises(UserError, match='whole sound, by its cmvn, mfcc') as error:
        list(listening.words(other, state, np.zeros(9000, np.int16)))
    assert '\n' not in str(error.value)
    if whole == 'cmvn':
        x = np.random.default_rng(2).integers(-9000, 9000, 4 * RATE).astype(np.int16)
        assert list(listening.words(other, state, x, context=0.5))


def test_noise_that_is_gone_is_missed_in_training_alone(made):
    c = config()
    c.augment = f"background('/nowhere', rate=4000) | {c.augment}"
    with pytest.raises(UserError, match='no file or folder /nowhere'):
        setup(c)
    found = setup(c, training=False)
    assert found.train_sums == made.train_sums and found.state == made.state


@pytest.mark.parametrize('given, own, message', [(4000, 4000, ''), (4000, 8000, 'rate=8000 in')])
def test_the_rate_of_the_data_is_compared(given, own, message):
    c = config()
    c.augment = f'echo(rate={given}) | {c.augment}'
    rows = sources.Arrays(**{name: c.data[name] for name in ('train', 'valid')})
    data = description.described(description.describe(dataclasses.replace(rows, rate=own)))
    assert data.rate == own
    if not message:
        assert setup(c, dataset=data).dataset.rate == 4000
        return
    with pytest.raises(UserError, match=message) as error:
        setup(c, dataset=data)
    assert '\n' not in str(error.value)


def test_symbols_may_be_words():
    c = config()
    c.prepare = 'words(6, length=4)'
    made = setup(c)
    state = runner.start(made)[0].state
    x = np.random.default_rng(3).integers(-9000, 9000, 20 * RATE).astype(np.int16)
    likeliest = whole(made, state, x).argmax(-1)
    begun = [n for p, n in enumerate(likeliest) if n and (p == 0 or n != likeliest[p - 1])]
    names = made.prepare.vocabularies['text'].decode(np.array([[4], [5]])).tolist()
    found = [word.text for word in listening.words(made, state, x, seconds=1.0)]
    assert sorted(names) == ['ab', 'ba']
    assert [w for w in found if w in names] == [names[n - 4] for n in begun if n in (4, 5)]


def test_a_model_that_hears_the_whole_sound_says_so(made, state):
    program = dataclasses.replace(
        made.program, model=models.ConvRNN(vocabulary=8, hidden=4, width=8, channels=2)
    )
    with pytest.raises(UserError, match='how many seconds'):
        other = dataclasses.replace(made, program=program)
        inner = runner.start(other)[0].state
        list(listening.words(other, inner, np.zeros(9000, np.int16)))
