"""The front end against librosa and closed forms; what stands behind a length means nothing."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from nnjax.ops import audio

RATE = 16000
SHAPE = dict(fft=512, window=400, hop=160)


@pytest.fixture(scope='module')
def librosa():
    """Parity with librosa; skips, visibly, where it is not installed."""
    return pytest.importorskip('librosa')


@pytest.fixture(scope='module')
def sound():
    """A second that holds loud and soft, low and high."""
    rng, t = np.random.default_rng(0), np.arange(RATE) / RATE
    chirp = np.sin(2 * np.pi * (200 + 2500 * t) * t) * np.exp(-3 * t)
    return (chirp + 0.01 * rng.standard_normal(RATE)).astype(np.float32)


@pytest.mark.parametrize('scale', ['slaney', 'htk'])
@pytest.mark.parametrize(
    'rate, fft, mels, low, high', [(16000, 512, 40, 0, 8000), (8000, 256, 23, 60, 3800)]
)
def test_mel_filters_are_librosas(librosa, scale, rate, fft, mels, low, high):
    ours = audio.mel_filters(rate, fft, mels, low, high, scale)
    theirs = librosa.filters.mel(
        sr=rate, n_fft=fft, n_mels=mels, fmin=low, fmax=high, htk=scale == 'htk'
    )
    np.testing.assert_allclose(ours, theirs.T, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize(
    'fft, window, hop', [(512, 400, 160), (512, 512, 256), (400, 400, 100), (512, 401, 133)]
)
def test_power_spectrum_is_librosas(librosa, sound, fft, window, hop):
    theirs = librosa.stft(
        sound, n_fft=fft, hop_length=hop, win_length=window, center=True, pad_mode='constant'
    )
    ours = audio.power_spectrum(jnp.asarray(sound), fft, window, hop)
    np.testing.assert_allclose(ours, np.abs(theirs.T) ** 2, atol=1e-4 * np.abs(theirs).max() ** 2)


@pytest.mark.slow
@pytest.mark.parametrize('scale', ['slaney', 'htk'])
def test_bands_cepstra_and_slopes_are_librosas(librosa, sound, scale):
    power = librosa.feature.melspectrogram(
        y=sound, sr=RATE, n_fft=512, hop_length=160, win_length=400, n_mels=40, pad_mode='constant',
        htk=scale == 'htk',
    )  # fmt: skip
    ours = audio.mel_spectrum(jnp.asarray(sound), RATE, 40, **SHAPE, scale=scale)
    np.testing.assert_allclose(jnp.log(ours + 1e-6), np.log(power.T + 1e-6), atol=1e-4)
    loud = librosa.power_to_db(power)
    # Of bands 80 dB below the loudest float32 keeps no more digits.
    np.testing.assert_allclose(audio.decibels(ours), loud.T, atol=2e-6 * np.ptp(loud))
    mfcc = librosa.feature.mfcc(S=loud, n_mfcc=13)
    np.testing.assert_allclose(audio.cepstra(audio.decibels(ours), 13), mfcc.T, atol=1e-4)


@pytest.mark.parametrize('width, order', [(9, 1), (9, 2), (5, 2), (11, 3)])
def test_slopes_are_librosas(librosa, width, order):
    x = np.random.default_rng(0).normal(-100, 50, (13, 40)).astype(np.float32)
    theirs = librosa.feature.delta(x, width=width, order=order)
    ours = audio.slopes(jnp.asarray(x.T), None, width, order)
    np.testing.assert_allclose(ours, theirs.T, atol=1e-4)


def test_a_tone_lies_in_its_own_bin():
    t = np.arange(RATE) / RATE
    power = audio.power_spectrum(jnp.asarray(np.sin(2 * np.pi * 1000 * t), jnp.float32), **SHAPE)
    assert power.shape == (101, 257)
    assert (np.argmax(power[5:-5], -1) == 1000 * 512 // RATE).all()
    np.testing.assert_allclose(power[50, 32], (400 / 4) ** 2, rtol=1e-4)  # (sum of Hann / 2)^2


def test_slopes_of_a_line_are_its_slope():
    line = jnp.asarray(0.5 * np.arange(30)[:, None] + np.array([1.0, -2.0])[None], jnp.float32)
    np.testing.assert_allclose(audio.slopes(line), 0.5, rtol=1e-5)


@pytest.mark.slow
@hypothesis.given(length=st.integers(0, 60), seed=st.integers(0, 99))
def test_features_of_a_length_are_those_of_the_shorter_sound(length, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((60, 3)).astype(np.float32)
    dirty = x.copy()
    dirty[length:] = np.nan
    for function in (
        lambda x, n=None: audio.standardized(x, n),
        lambda x, n=None: audio.slopes(x, n, 5),
    ):
        masked = function(jnp.asarray(dirty), jnp.int32(length))
        assert not np.asarray(masked[length:]).any()
        if length >= 5:
            np.testing.assert_allclose(
                masked[:length], function(jnp.asarray(x[:length])), atol=1e-5
            )
        assert np.isfinite(masked).all()


def test_batches_and_single_sounds_agree(sound):
    both = jnp.stack([jnp.asarray(sound), jnp.asarray(sound[::-1].copy())])
    run = lambda x: audio.mel_spectrum(x, RATE, 40, **SHAPE)
    np.testing.assert_allclose(run(both)[1], run(both[1]), rtol=1e-5)
    np.testing.assert_allclose(jax.vmap(run)(both), run(both), rtol=1e-5)
