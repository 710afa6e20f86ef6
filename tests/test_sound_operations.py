"""Operations on sound: functions of a key, and nothing behind a length matters to them."""

import functools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from nnjax.data import augment, spec
from nnjax.data.augment import chain
from nnjax.errors import UserError

MEL = 'log_mel(20, rate=4000, window=100, hop=40, fft=128)'
SAMPLES = ('time_shift(50)', 'gain', 'add_noise(0, 20)', 'speed', 'echo(rate=2000)')
FEATURES = ('spec_augment(2, 5, 2, 3)', 'cmvn', 'deltas(2, 5)', 'centered(12)')


def sound(seed=0, samples=800):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(samples) * np.hanning(samples)).astype(np.float32) * 0.3


@functools.cache
def run(text, lengths):
    """The operations compiled: (key, samples, length) -> example."""
    operations = spec.parse(text, augment)

    def go(key, x, length):
        example = {'audio': x, **({'audio_length': length} if lengths else {})}
        for operation in operations:
            example = operation(key, example)
        return example

    return jax.jit(go)


@pytest.mark.parametrize('name', [*SAMPLES, *(f'{MEL} | {n}' for n in FEATURES)])
@hypothesis.given(length=st.integers(1, 800), seed=st.integers(0, 50))
@hypothesis.settings(max_examples=8)
def test_behind_the_length_is_nothing(name, length, seed):
    x, key = sound(seed), jax.random.key(seed)
    dirty = x.copy()
    dirty[length:] = np.nan
    x[length:] = 0
    a, b = (run(name, True)(key, jnp.asarray(v), jnp.int32(length)) for v in (x, dirty))
    np.testing.assert_array_equal(a['audio'], b['audio'])
    after = int(a.get('audio_length', len(a['audio'])))
    assert 0 < after <= len(a['audio']) and not np.asarray(a['audio'][after:]).any()
    assert a['audio'].dtype == jnp.float32


@pytest.mark.parametrize('name', SAMPLES)
def test_a_function_of_the_key_and_the_place_alone(name):
    x = jnp.asarray(np.stack([sound(n) for n in range(6)]))
    operations, key = spec.parse(name, augment), jax.random.key(3)
    whole = chain.train(operations, key, {'audio': x})['audio']
    part = chain.train(operations, key, {'audio': x[2:4]}, first=2)['audio']
    np.testing.assert_allclose(whole[2:4], part, atol=1e-6)
    assert (
        np.abs(
            np.asarray(chain.train(operations, jax.random.key(4), {'audio': x})['audio'] - whole)
        ).max()
        > 1e-3
    )


def test_a_shift_with_a_length_cuts_nothing_off():
    x = sound(samples=100)
    for seed in range(20):
        found = run('time_shift(50)', True)(
            jax.random.key(seed), jnp.pad(x, (0, 30)), jnp.int32(100)
        )
        length = int(found['audio_length'])
        assert 100 <= length <= 130
        np.testing.assert_allclose(found['audio'][length - 100 : length], x, atol=1e-6)


def test_a_shift_without_one_goes_both_ways():
    x, moves = sound(), set()
    for seed in range(40):
        found = np.asarray(
            run('time_shift(3)', False)(jax.random.key(seed), jnp.asarray(x), None)['audio']
        )
        move = next(
            m for m in range(-3, 4) if np.allclose(found[10:-10], np.roll(x, m)[10:-10], atol=1e-6)
        )
        moves.add(move)
    assert moves == set(range(-3, 4))


def test_noise_has_the_ratio_drawn():
    x = jnp.asarray(sound())
    for seed in range(5):
        found = run('add_noise(10, 10)', False)(jax.random.key(seed), x, None)['audio']
        ratio = jnp.sum(x**2) / jnp.sum((found - x) ** 2)
        assert 10 * np.log10(ratio) == pytest.approx(10, abs=1e-3)
    silent = run('add_noise(10, 10)', False)(jax.random.key(0), jnp.zeros(800), None)['audio']
    assert not np.asarray(silent).any()


def test_gain_has_the_decibels_drawn():
    x = jnp.asarray(sound())
    found = [run('gain(-6, 6)', False)(jax.random.key(n), x, None)['audio'] for n in range(30)]
    decibels = [20 * np.log10(float(jnp.max(jnp.abs(y)) / jnp.max(jnp.abs(x)))) for y in found]
    assert -6 <= min(decibels) < -4 and 4 < max(decibels) <= 6


def test_an_echo_is_the_sound_again_later_and_softer():
    click = np.zeros(800, np.float32)
    click[100] = 0.5
    later, loud = [], []
    for seed in range(40):
        found = np.asarray(
            run('echo(0.05, 0.1, 0.6, 1.0, rate=2000)', True)(
                jax.random.key(seed), jnp.asarray(click), jnp.int32(280)
            )['audio']
        )
        assert found[100] == 0.5 and np.count_nonzero(found) <= 2
        if np.count_nonzero(found) == 2:  # not behind the length
            place = int(np.flatnonzero(found)[1])
            later.append(place - 100)
            loud.append(found[place] / 0.5)
    assert min(later) >= 100 and max(later) < 180 and len(set(later)) > 5
    assert 0 < min(loud) < 0.2 and 0.4 < max(loud) <= 0.6
    never = run('echo(probability=0.0)', False)(jax.random.key(0), jnp.asarray(click), None)
    np.testing.assert_array_equal(never['audio'], click)


def test_speed_moves_a_tone_and_the_length():
    t = np.arange(800)
    tone = jnp.asarray(np.sin(2 * np.pi * 0.05 * t), jnp.float32)
    found = run('speed(1.25, 1.25)', True)(jax.random.key(0), tone, jnp.int32(700))
    length = int(found['audio_length'])
    assert length == 560
    power = np.abs(np.fft.rfft(found['audio'][:500]))
    assert power.argmax() / 500 == pytest.approx(0.0625, abs=0.002)
    slow = run('speed(0.5, 0.5)', True)(jax.random.key(0), tone, jnp.int32(700))
    assert int(slow['audio_length']) == 800  # as slow as there is room for


def test_masks_hide_what_they_say_and_no_more():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((100, 40)), jnp.float32)
    shares = []
    for seed in range(20):
        found = run('spec_augment(2, 10, 2, 5)', False)(jax.random.key(seed), x, None)['audio']
        changed = np.asarray(found != x)
        frames, bands = changed.all(1), changed.all(0)
        assert frames.sum() <= 20 and bands.sum() <= 10
        assert (changed == (frames[:, None] | bands[None])).all()
        np.testing.assert_allclose(found[changed], jnp.mean(x), atol=1e-6)
        shares.append(changed.mean())
    assert 0.05 < np.mean(shares) < 0.35


def test_the_word_is_in_the_middle():
    x = np.full((80, 5), -6.0, np.float32)
    x[60:71] = 1.0
    found = run('centered(20)', False)(None, jnp.asarray(x), None)['audio']
    assert found.shape == (20, 5)
    np.testing.assert_array_equal(found[:, 0] > 0, (np.arange(20) >= 5) & (np.arange(20) < 16))


@pytest.mark.parametrize('operation', ['centered(12)', 'picture'])
def test_what_has_no_length_is_all_real(operation):
    found = run(f'{MEL} | {operation}', True)(None, jnp.asarray(sound()), jnp.int32(400))
    assert set(found) == {'audio'}


def test_cmvn_is_the_mean_and_deviation_of_what_is_real():
    x = np.random.default_rng(0).normal(3, 5, (30, 4)).astype(np.float32)
    real = x[:20].astype(np.float64)
    mean, variance = real.mean(0), real.var(0)
    for name, wanted in (
        ('cmvn', (real - mean) / np.sqrt(variance)),
        ('cmvn(deviation=False)', real - mean),
    ):
        found = run(name, True)(None, jnp.asarray(x), jnp.int32(20))['audio']
        np.testing.assert_allclose(found[:20], wanted, atol=2e-5)
        assert not np.asarray(found[20:]).any()


def test_mfcc_and_deltas_are_librosas():
    librosa = pytest.importorskip('librosa')
    x = sound()
    text = 'mfcc(13, mels=20, rate=4000, window=100, hop=40, fft=128) | deltas(2, 9)'
    found = run(text, False)(None, jnp.asarray(x), None)['audio']
    settings = dict(n_fft=128, hop_length=40, win_length=100, n_mels=20, pad_mode='constant')
    mfcc = librosa.feature.mfcc(y=x, sr=4000, n_mfcc=13, **settings)
    wanted = [mfcc, *(librosa.feature.delta(mfcc, width=9, order=n) for n in (1, 2))]
    # float32 holds these coefficients, of up to 200 decibels, to 2e-5.
    assert 100 < np.abs(mfcc).max() < 1000
    np.testing.assert_allclose(found, np.concatenate(wanted).T, atol=1e-4)


def test_rates_of_operations_are_compared():
    rate = lambda text: chain.rate(spec.parse(text, augment))
    assert rate(f'echo(rate=4000) | {MEL}') == rate("background('/no', rate=4000)") == 4000
    assert rate('gain | cmvn') is None
    with pytest.raises(UserError, match='4000 and 16000') as error:
        rate(f'echo | {MEL}')
    assert '\n' not in str(error.value)


def test_files_are_mixed_in(tmp_path):
    soundfile = pytest.importorskip('soundfile')
    t = np.arange(4000) / 4000
    soundfile.write(tmp_path / 'hum.wav', 0.5 * np.sin(2 * np.pi * 1000 * t), 4000)
    text = f'background({str(tmp_path)!r}, 0, 0, 1.0, rate=8000)'
    x = jnp.asarray(sound())
    found = run(text, False)(jax.random.key(0), x, None)['audio']
    added = np.asarray(found - x)
    assert np.sum(added**2) == pytest.approx(float(jnp.sum(x**2)), rel=1e-3)
    assert np.abs(np.fft.rfft(added)).argmax() == 100  # 1 kHz of 800 samples at 8 kHz


def test_training_and_evaluation_share_the_features():
    operations = spec.parse(f'gain | {MEL} | cmvn | spec_augment(1, 3) | picture', augment)
    batch = {'audio': jnp.asarray((np.stack([sound(1), sound(2)]) * 32000).astype(np.int16))}
    seen = chain.evaluate(operations, batch)
    assert seen['audio'].shape == (2, 21, 20, 1)
    plain = chain.evaluate(spec.parse(f'{MEL} | cmvn | picture', augment), batch)
    np.testing.assert_array_equal(seen['audio'], plain['audio'])


@pytest.mark.parametrize(
    'text, message',
    [
        ('log_mel(mels=200)', 'lie between two bins'),
        ('log_mel(low=5000, high=100)', 'low < high'),
        ('log_mel(window=1024)', 'longer than fft'),
        ('mfcc(50, mels=40)', 'at most mels'),
        ('deltas(1, 4)', 'odd'),
        ('deltas(9, 9)', 'fewer than width=9'),
        ('log_mel(window=100, fft=401)', 'even'),
        ('add_noise(30, 5)', 'low'),
    ],
)
def test_arguments_that_cannot_be(text, message):
    with pytest.raises(UserError, match=message):
        spec.parse(text, augment)


def test_files_that_are_missing_are_missed_where_they_are_mixed_in():
    operation = spec.parse("background('/nowhere')", augment)
    with pytest.raises(UserError, match='no file or folder'):
        operation[0](jax.random.key(0), {'audio': jnp.asarray(sound())})


def test_order_matters_and_is_said():
    x = jnp.asarray(sound())
    with pytest.raises(UserError, match='before log_mel'):
        run(f'{MEL} | gain', False)(jax.random.key(0), x, None)
    with pytest.raises(UserError, match='put log_mel or mfcc before'):
        run('cmvn', False)(jax.random.key(0), x, None)
    with pytest.raises(UserError, match="needs the field 'audio'"):
        spec.parse('gain', augment)[0](jax.random.key(0), {'image': x})
