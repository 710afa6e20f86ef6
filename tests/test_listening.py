"""Windows of a long sound give what the whole gives, frame by frame and word by word."""

import dataclasses

import jax
import numpy as np
import pytest

from nnjax import models, tasks
from nnjax.analysis import listening
from nnjax.config import base, bind
from nnjax.data import sources
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
    c.prepare = "transcript('ab ', length=8, stride=128)"
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
