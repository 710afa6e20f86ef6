"""The CTC task: what its numbers are, and a run from sounds to transcripts."""

import collections
import functools
import json
import re
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nnjax
from nnjax import cli, models, tasks
from nnjax.analysis import hearing, ngram
from nnjax.config import base, bind
from nnjax.data import sounds, sources
from nnjax.errors import UserError
from nnjax.ops import ctc
from nnjax.report import page
from nnjax.sweep import seeds
from nnjax.sweep.sweep import sweep
from nnjax.training import fits, optim, predict, restore
from nnjax.training.setup import setup
from tests.conftest import ROOT
from tests.processes import environment

jiwer = pytest.importorskip('jiwer')
RATE = 4000


def batch(ids, lengths):
    return {'text': jnp.asarray(ids), 'text_length': jnp.asarray(lengths, jnp.int32)}


def test_the_loss_is_per_symbol_and_skips_what_cannot_be():
    task = tasks.ctc()
    logits = jnp.asarray(np.random.default_rng(0).standard_normal((2, 6, 7)), jnp.float32)
    outputs = {'logits': logits, 'lengths': jnp.array([6, 2])}
    ids = np.array([[4, 5, 6], [4, 4, 5]], np.int32)
    values, weights = task.loss(outputs, batch(ids, [3, 3]))
    assert weights.tolist() == [3, 0] and np.isfinite(values).all()
    whole, _ = ctc.loss(logits, outputs['lengths'], jnp.asarray(ids), jnp.array([3, 3]))
    assert values[0] == pytest.approx(float(whole[0]) / 3)
    found = task.metrics(outputs, batch(ids, [3, 3]))
    assert found['error'][1].tolist() == [3, 3] and set(found['exact'][0].tolist()) <= {0.0, 1.0}


def texts(*values):
    return np.array(values, np.dtypes.StringDType())


def test_scores_are_those_of_texts():
    found = tasks.ctc().score(
        {'transcript': texts('one two', 'three', '', 'hm')},
        {'text': texts('One  too', 'three', 'four', '')},
    )
    assert found['wer'] == pytest.approx((1 + 0 + 1 + 1) / 4)
    assert found['cer'] == pytest.approx((1 + 0 + 4 + 2) / (7 + 5 + 4))
    assert found['exact'] == 0.25


@pytest.mark.parametrize(
    'options, message',
    [
        ({'ngram': 'x.npy'}, "for decoder='beam'"),
        ({'ngram': 'x.npy', 'decoder': 'beam'}, 'cannot be read'),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(UserError, match=message):
        tasks.ctc(**options)


def test_without_jiwer_nothing_starts(monkeypatch):
    monkeypatch.setattr(tasks.ctc.__globals__['importlib'].util, 'find_spec', lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'nnjax\[speech\]'"):
        tasks.ctc()


@pytest.fixture(scope='module')
def config():
    """Two tones of which each text consists, a quarter of a second each."""
    rng = np.random.default_rng(0)
    t = np.arange(RATE // 4) / RATE
    tone = {'a': np.sin(2 * np.pi * 300 * t), 'b': np.sin(2 * np.pi * 900 * t)}
    words, audio, lengths = [], [], []
    for _ in range(64):
        text = ''.join(rng.choice(['a', 'b'], rng.integers(1, 4)))
        x = np.concatenate([np.r_[tone[s] * 0.3, np.zeros(RATE // 10)] for s in text])
        words.append(text)
        lengths.append(len(x))
        audio.append(np.pad(x, (0, 6000 - len(x))))
    audio = (np.array(audio) * 32767 + rng.normal(0, 30, (64, 6000))).astype(np.int16)
    rows = {'audio': audio, 'audio_length': np.array(lengths, np.int32), 'text': np.array(words)}
    c = base()
    c.data = bind(sources.Arrays, train=rows, valid=rows, test=rows)
    c.prepare = "transcript('ab', length=4)"
    features = 'rate=4000, window=100, hop=32, fft=128, mean=-8.0, deviation=3.0'
    c.augment = f'log_mel(12, {features})'
    c.model = bind(models.TimeCNN, vocabulary=6, width=24, blocks=1, window=3, channels=8)
    c.task = bind(tasks.ctc)
    c.optim = bind(optim.make, name='adam', lr=0.01, decay='cosine')
    c.batch, c.eval_batch, c.total, c.parallel = 32, 64, '100 epochs', 'jit'
    return c


def other(config, split, **fields):
    """The config with other rows in a split."""
    c = config.copy_and_resolve_references()
    rows = dict(c.data[split])
    for name, values in fields.items():
        rows[name] = np.concatenate([np.asarray(values), rows[name][len(values) :]])
    c.data[split] = rows
    return c


@pytest.mark.parametrize('split', ['train', 'valid', 'test'])
def test_texts_that_need_more_frames_are_named_before_training(config, split, tmp_path):
    """Two frames, of 4 x 32 samples, for a text that needs three: a blank stands between equals."""
    c = other(config, split, audio_length=np.int32([6000, 255]), text=['ab', 'aa'])
    with pytest.raises(UserError, match=f"^{split}: 1 of 64 .* 'aa' 3, it gives 2: ") as error:
        nnjax.train(c, tmp_path / 'run')
    assert '\n' not in str(error.value) and not (tmp_path / 'run').exists()


def test_training_goes_on_where_frames_are_enough_or_when_told(config):
    fits.check(setup(other(config, 'test', audio_length=np.int32([256]), text=['aa'])))
    c = other(config, 'test', audio_length=np.int32([255]), text=['aa'])
    c.task.short = 'keep'
    fits.check(setup(c))


def test_a_sweep_names_them_too(config):
    c = other(config, 'test', audio_length=np.int32([255]), text=['aa'])
    with pytest.raises(UserError, match=r"^test: 1 of 64 .* 'aa' 3, it gives 2: "):
        sweep(c, seeds([{}], 2), runner='lanes')


def test_frames_are_counted_without_the_network(config):
    made = setup(config)
    batch = {n: s for n, s in made.batch_shapes(fits.ROWS).items() if n != 'audio'}
    text = jax.jit(functools.partial(fits._counts, made)).lower(batch).compile().as_text()
    assert not {'dot', 'convolution', 'custom-call'} & set(re.findall(r'[\w-]+(?=\()', text))


@pytest.mark.parametrize('text, message', [('ax', "lacks 'x'"), ('ababa', 'more than length=4')])
def test_texts_that_cannot_be_are_found_in_the_test_split_too(config, text, message):
    made = setup(other(config, 'test', text=['ab', text]))
    with pytest.raises(UserError, match=message):
        fits.check(made)


@pytest.fixture(scope='module')
def run(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp('ctc') / 'run'
    return nnjax.train(config, folder), folder


@pytest.mark.slow
def test_it_learns_tones(run):
    result, _ = run
    assert result.metrics['wer'] < 0.1 and result.metrics['cer'] < 0.1
    assert result.metrics['exact'] > 0.9


@pytest.mark.slow
def test_batches_and_their_order_change_no_transcript(run, config):
    result, _ = run
    made = setup(config)
    rows = made.dataset.test[np.arange(64)]
    whole = predict.predict(made, result.state, rows)['transcript']
    order = np.random.default_rng(0).permutation(64)
    turned = predict.predict(made, result.state, {n: a[order] for n, a in rows.items()})
    assert turned['transcript'].tolist() == whole[order].tolist()
    few = predict.predict(made, result.state, {n: a[:3] for n, a in rows.items()})
    assert few['transcript'].tolist() == whole[:3].tolist()
    wide = {**rows, 'audio': np.pad(rows['audio'], ((0, 0), (0, 4000)), constant_values=9999)}
    assert predict.predict(made, result.state, wide)['transcript'].tolist() == whole.tolist()


@pytest.mark.slow
def test_files_are_transcribed(run, config, tmp_path, capsys, monkeypatch):
    soundfile = pytest.importorskip('soundfile')
    result, folder = run
    made = setup(config)
    monkeypatch.setattr(restore, 'run', lambda *given, **options: (made, result.state))
    rows = made.dataset.test[np.arange(3)]
    for n in range(3):
        x = rows['audio'][n, : rows['audio_length'][n]]
        soundfile.write(tmp_path / f'{n}.wav', x, RATE, subtype='PCM_16')
    monkeypatch.setattr(sys, 'argv', ['nnjax', 'predict', f'--workdir={folder}', str(tmp_path)])
    with pytest.raises(SystemExit) as done:
        cli.main()
    assert done.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    expected = predict.predict(made, result.state, rows)['transcript'].tolist()
    assert lines == ['input,transcript'] + [f'{tmp_path}/{n}.wav,{expected[n]}' for n in range(3)]


@pytest.mark.slow
def test_noise_makes_it_worse_and_an_alignment_says_where(run, config, tmp_path):
    result, folder = run
    made = setup(config)
    found = hearing.noise_curve(made, result.state, made.dataset.test, [np.inf, 60, -25])
    assert found[np.inf]['wer'] == pytest.approx(result.metrics['wer'])
    assert found[60]['wer'] == pytest.approx(result.metrics['wer'], abs=0.05)
    assert found[-25]['wer'] > found[60]['wer'] + 0.2
    rows = made.dataset.test[np.arange(1)]
    length = int(rows['audio_length'][0])
    logs, names = hearing.alignment(made, result.state, rows['audio'][0, :length])
    np.testing.assert_allclose(np.exp(logs).sum(-1), 1, rtol=1e-4)
    drawn = hearing.drawn(logs, names, length / RATE)
    assert drawn['transcript'] == predict.predict(made, result.state, rows)['transcript'][0]
    assert set(drawn['symbols']) <= {'a', 'b'} and names[4:] == ['a', 'b']
    # Where a tone sounds its letter is likely, within a frame or two of the model.
    text, frames = rows['text'][0], np.array(drawn['probability'])
    for place, symbol in enumerate(text):
        row = frames[drawn['symbols'].index(symbol)]
        first = int(place * 0.35 * RATE / 128)
        assert row[max(0, first - 2) : first + 11].max() > 0.5
    copy = tmp_path / 'run'
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns('checkpoints'))
    assert 'Hearing' not in page.write(copy).read_text()
    hearing.save(copy, noise=found)
    hearing.save(copy, alignments={'<0>.wav': drawn})
    shown = page.write(copy).read_text()
    assert 'Wer and noise' in shown or 'wer and noise' in shown
    assert 'Heard in &lt;0&gt;.wav' in shown and shown.count('<rect') > len(text)


@pytest.fixture(scope='module')
def spoken(config, tmp_path_factory):
    """A run of sound files whose noise is gone after training, and one of its sounds."""
    soundfile = pytest.importorskip('soundfile')
    folder = tmp_path_factory.mktemp('spoken')
    rows, lines = config.data.train, []
    for n in range(24):
        x = rows['audio'][n, : rows['audio_length'][n]]
        soundfile.write(folder / f'{n}.wav', x, RATE, subtype='PCM_16')
        lines.append(json.dumps({'path': f'{n}.wav', 'text': str(rows['text'][n])}) + '\n')
    (folder / 'list.jsonl').write_text(''.join(lines))
    soundfile.write(folder / 'noise.flac', rows['audio'][0], RATE)
    c = config.copy_and_resolve_references()
    data = dict(path=str(folder / 'list.jsonl'), rate=RATE, seconds=1.5, valid='4', test='4')
    c.data = bind(sources.Transcribed, **data)
    c.augment = f'background({str(folder / "noise.flac")!r}, rate={RATE}) | {c.augment}'
    c.batch, c.eval_batch, c.total = 8, 8, '4 epochs'
    nnjax.train(c, folder / 'run')
    (folder / 'noise.flac').unlink()
    sounds.background.cache_clear()
    return folder / 'run', folder / '0.wav'


def example(name, workdir, *arguments):
    """Runs a script of experiments/examples -> what subprocess says."""
    script = ROOT / 'experiments' / 'examples' / f'{name}.py'
    command = [sys.executable, str(script), f'--workdir={workdir}', *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment())


@pytest.mark.slow
def test_examples_of_speech_run_without_the_noise_of_training(spoken, tmp_path):
    workdir, sound = spoken
    heard = example('listen', workdir, sound, sound)
    assert heard.returncode == 0 and heard.stderr.count('s of sound in') == 2, heard.stderr
    drawn = example('hear', workdir, sound)
    assert drawn.returncode == 0 and drawn.stdout.startswith(f'{sound}: '), drawn.stderr
    noisy = example('hear', workdir, '--ratios=inf,0')
    assert noisy.returncode == 0 and '0.0 dB  wer' in noisy.stdout, noisy.stderr
    assert set(json.loads((workdir / 'hearing.json').read_text())) == {'alignments', 'noise'}
    table = tmp_path / 'table.npy'
    counted = example('ngram', workdir, f'--output={table}', '--order=2')
    assert counted.stdout == f'{table}\n' and np.load(table).shape == (6, 6), counted.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    'name, arguments, message',
    [
        ('listen', [], 'listen: name a sound file'),
        ('listen', ['SOUND', '--window=0'], 'listen: --window=0: expected more than 0 seconds'),
        ('listen', ['none.wav'], 'listen: none.wav cannot be read: No such file or directory'),
        ('hear', ['--ratios=5,loud'], "hear: --ratios: 'loud' is no number of decibels, nor inf"),
        ('ngram', ['--output=x'], 'ngram: --output=x: expected a .npy file'),
    ],
)
def test_examples_of_speech_say_what_is_wrong(name, arguments, message, tmp_path):
    soundfile = pytest.importorskip('soundfile')
    soundfile.write(tmp_path / 'a.wav', np.ones(100), RATE)
    arguments = [text.replace('SOUND', str(tmp_path / 'a.wav')) for text in arguments]
    found = example(name, 'no/folder', *arguments)
    assert found.returncode == 1 and found.stderr.strip() == message


def witten_bell(lines: list[str], symbols: str, size: int):
    """p(symbol | those before it), by its recursion, over counts in dictionaries."""
    counts = [collections.Counter() for _ in range(4)]
    for line in lines:
        for own in range(1, 4):
            padded = ('',) * (own - 1) + tuple(line)
            counts[own].update(padded[n : n + own] for n in range(len(line)))

    def p(symbol: str, before: tuple) -> float:
        own = counts[len(before) + 1]
        after = [n for text, n in own.items() if text[:-1] == before]
        shorter = p(symbol, before[1:]) if before else 1 / size
        if not after:
            return shorter
        return (own[(*before, symbol)] + len(after) * shorter) / (sum(after) + len(after))

    return p


@pytest.mark.parametrize('lines', [None, ['AB ba!', 'abb', '']])
def test_an_ngram_of_a_run_is_witten_and_bells(config, lines):
    made = setup(config)
    table = np.exp(ngram.counted(made, 3, lines))
    given = lines or made.dataset.train[np.arange(64)]['text'].tolist()
    plain = [''.join(s for s in line.lower() if s in 'ab') for line in given]
    p = witten_bell(plain, 'ab', 6)
    ids = {'': 0, 'a': 4, 'b': 5}
    for first, second in (('', ''), ('', 'a'), ('a', 'b'), ('b', 'b'), ('b', 'a')):
        for symbol in 'ab':
            wanted = p(symbol, (first, second))
            assert table[ids[first], ids[second], ids[symbol]] == pytest.approx(wanted, rel=1e-5)
    np.testing.assert_allclose(table.sum(-1), 1, rtol=1e-5)


def test_an_ngram_may_be_of_words(config):
    c = config.copy_and_resolve_references()
    c.prepare = 'words(6, length=4)'
    c.data.train = {**c.data.train, 'text': np.array(['ab ba'] * 64)}
    made = setup(c)
    table = np.exp(ngram.counted(made, 2))
    ab, ba = made.prepare.vocabularies['text'].size - np.array([2, 1])
    assert {table[0].argmax(), table[table[0].argmax()].argmax()} == {ab, ba}


def test_what_sounds_alike_the_ngram_decides(config, tmp_path):
    """Two symbols as likely in every frame: the text is the one that was counted."""
    logits = np.full((1, 5, 6), -9, np.float32)
    logits[0, [0, 2, 4], 4] = logits[0, [0, 2, 4], 5] = 9
    logits[0, [1, 3], 0] = 9
    apply = lambda *_: {'logits': jnp.asarray(logits), 'lengths': jnp.array([5])}
    for text, ids in (('bab', [5, 4, 5]), ('aab', [4, 4, 5])):
        path = str(tmp_path / f'{text}.npy')
        np.save(path, ngram.counted(setup(config), 3, [text] * 9))
        task = tasks.ctc(decoder='beam', ngram=path)
        found = task.predict(apply, {'audio': jnp.zeros((1, 9))})['transcript']
        assert found[0, :4].tolist() == [*ids, 0]
    wide = {'logits': jnp.zeros((1, 5, 7)), 'lengths': jnp.array([5])}
    with pytest.raises(UserError, match='is of 6 symbols, the model writes 7'):
        task.predict(lambda *_: wide, {'audio': jnp.zeros((1, 9))})


@pytest.mark.parametrize(
    'order, lines, message',
    [(0, None, 'allow 1 to 10'), (3, ['xyz'], "that this run writes: 'ab'")],
)
def test_an_ngram_that_cannot_be(config, order, lines, message):
    with pytest.raises(UserError, match=message):
        ngram.counted(setup(config), order, lines)
