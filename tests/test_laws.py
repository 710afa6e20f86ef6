"""Laws that hold for every experiment, on two steps of a tiny slice of its data."""

import dataclasses

import jax
import numpy as np
import pytest

import nnjax
from nnjax import config as configs
from nnjax.data import lengths
from nnjax.errors import UserError
from nnjax.sweep.sweep import sweep
from nnjax.training import checkpoint, evaluate, feed, paths, runner, step
from nnjax.training.setup import setup
from tests import mocked_sounds, mocked_texts, mocked_tfds
from tests.conftest import ROOT, heavy
from tests.test_train import Compilations, difference, rewound, same, timeless

EXPERIMENTS = sorted(p.stem for p in (ROOT / 'experiments').glob('*.py'))
compilations = Compilations()
# Adam divides a gradient by its own size, so that float noise of one near zero becomes a whole
# step; parameters are compared after steps that are as exact as their gradients.
SGD = {'optim.name': 'sgd', 'optim.lr': '0.1', 'optim.warmup': '0 steps'}
# Steep losses over batch norm: a step of 0.1 makes more of float noise than the laws allow.
GENTLE = (
    'commands_small',
    'commands_vgg',
    'digit_scenes',
    'fashion_scenes',
    'fashion_unseen',
    'speech_commands',
    'synthetic_faces',
    'synthetic_faces_grey',
)


def sgd(name: str) -> dict[str, str]:
    return SGD | ({'optim.lr': '0.01'} if name in GENTLE else {})


# What fits the few made-up examples of a set that comes by network.
NAMES = (*mocked_tfds.NAMES, *mocked_texts.NAMES, *mocked_sounds.NAMES)
MOCKED = {'data.valid': '10', 'batch': '16'}
ONE = {'buckets': '(64,)'}
TINY = ONE | {'model.width': '32', 'model.heads': '2', 'model.layers': '1'}
HEARD = {'model.width': '16', 'model.channels': '4'}
SHORT = TINY | {'task.longest': '8'}
NARROW = {'model.backbone.width': '0.25', 'optim.lr': '0.001'}
SCENES = NARROW | {'model.channels': '16', 'model.tower': '1'}
# What would take long to compile or to search, made small; what fits few made-up examples.
SMALL = {
    'ag_news_transformer': TINY,
    'asterisk_ctc': {
        'eval_batch': '16',
        'buckets': '(48000,)',
        'model.width': '16',
        'model.channels': '4',
        'model.hidden': '8',
        'model.layers': '1',
        'task.beam': '2',
    },
    'commands_lstm': {'model.hidden': '16', 'model.layers': '1'},
    'commands_mlp': {'model.hidden': '(16,)'},
    'digits_ctc': HEARD | {'buckets': '(32000,)', 'model.blocks': '1'},
    'digit_scenes': SCENES,
    'fashion_clusters': {'model.clusters': '3', 'model.centres_each': '2'},
    'fashion_scenes': SCENES,
    'fashion_vit': {'model.depth': '1'},
    'imagenet_resnet50': {'data.size': '32'},
    'imdb_lstm': ONE,
    'iwslt14_transformer': SHORT | {'batch': '16'},
    'kjv_bpe': {
        'model.hidden': '16',
        'model.embedding': '16',
        'data.length': '32',
        'prepare': 'bpe(300, 40, begin=True)',
        'buckets': '(40,)',
    },
    'kjv_lstm': {
        'model.hidden': '16',
        'data.length': '32',
        'prepare': 'characters(128, length=33)',
    },
    'lfw': {
        'data.valid': '2',
        'data.test': '2',
        'data.data.size': '32',
        'model.classes': '4',
    },
    'librispeech_ctc': {
        'buckets': '(12000,)',
        'data.length': '16000',
        'eval_batch': '16',
        'prepare': 'transcript(length=8)',
        'model.width': '16',
        'model.blocks': '1',
        'model.heads': '2',
        'model.window': '3',
        'model.channels': '4',
    },
    'number_words': SHORT | {'buckets': '(32,)'},
    'speech_commands': {'model.channels': '(8, 8, 16)'},
    'squad_transformer': TINY,
    'sst2_transformer': TINY,
    'stories_qa': ONE | {'model.hidden': '8', 'model.layers': '1'},
    'synthetic_faces': NARROW,
    'synthetic_faces_grey': NARROW,
    'verses_transformer': SHORT | {'batch': '16', 'eval_batch': '32'},
    'wmt14_transformer': SHORT | {'optim.b2': 'None'},  # which SGD does not have
    'yesno_ctc': HEARD | {'data.length': '16000', 'data.test': '8', 'model.blocks': '1'},
    'wordnet_lstm': {'buckets': '(16,)', 'model.hidden': '16', 'model.embedding': '16'},
}


# Of networks that take half a minute to compile, forms that still have all of their parts.
NARROWER = {
    'cifar10_resnet': {'model.width': '0.25'},
    'cifar100_resnet': {'model.width': '0.25', 'model.depth': '20'},
    'fashion_deepcnn': {
        'model.channels': '(4, 4, 8, 8)',
        'model.dense': '(16,)',
        'model.pools': '(2, 4)',
    },
    'fashion_googlenet': {'model.width': '0.05'},
    'fashion_resnet': {'model.width': '0.25'},
    'fashion_vgg': {'model.width': '0.1', 'model.depth': '11'},
    'imagenet_resnet50': {'model.width': '0.1', 'model.depth': '18'},
}


def source_of(name: str) -> str:
    """The name of the experiment's TFDS set, also of one that another source splits."""
    data = configs.load(name).data
    return data.get('name') or data.get('data', data).get('name')


@pytest.fixture(autouse=True)
def mocked(name, request, monkeypatch):
    """The sets that come by network, made up, are found where TFDS would have put them."""
    if source_of(name) in NAMES or configs.load(name).data.fn.endswith('.Parallel'):
        monkeypatch.setenv('HOME', str(request.getfixturevalue('mocked_home')))


def load(name: str, **overrides):
    """The experiment in `:smoke` on one device; skips, visibly, where its data is missing.

    In float32: bfloat16 rounds in another order on other devices.
    """
    made_up = MOCKED if source_of(name) in NAMES else {}
    defaults = {'parallel': 'jit', 'precision': 'float32', **made_up, **SMALL.get(name, {})}
    c = configs.load(f'{name}:smoke', defaults | overrides)
    try:
        from nnjax import build

        build.instantiate(c.data)
    except UserError as error:
        if 'prepare' in str(error) or 'install' in str(error):
            pytest.skip(str(error))
        raise
    return c


pytestmark = pytest.mark.parametrize('name', [pytest.param(n, marks=heavy(n)) for n in EXPERIMENTS])


def test_it_trains(name):
    result = nnjax.train(load(name, **NARROWER.get(name, {})))
    assert result.state.step == 2
    assert np.isfinite(result.metrics['loss'])


def filled(batch: dict, real: int) -> dict:
    """The batch with garbage in its rows behind `real`, and behind each sequence's length."""
    dirty = {n: a.copy() for n, a in batch.items()}
    garbage = lambda a: np.nan if a.dtype.kind == 'f' else np.iinfo(a.dtype).max
    for n in lengths.fields(batch):
        dirty[n][np.arange(dirty[n].shape[1]) >= batch[f'{n}_length'][:, None]] = garbage(dirty[n])
    for n, a in dirty.items():
        if n != 'mask':
            a[real:] = garbage(a)
    return dirty


def test_garbage_in_padding_changes_nothing(name):
    made = setup(load(name))
    state = runner.start(made)[0].state
    source = made.dataset.valid or made.dataset.test
    batch = next(iter(evaluate.Evaluator(made, source).batches()))
    batch = {n: np.array(a) for n, a in batch.items() if n != 'index'}
    batch['mask'][3:] = 0
    dirty = filled(batch, 3)
    run = jax.jit(lambda b: step.eval_step(made.program, state, b, made.hyperparameters))
    clean = {n: a[:3] for n, a in batch.items()}
    assert step.means(run(batch)) == step.means(run(dirty))
    for n, value in step.means(run(clean)).items():
        assert value == pytest.approx(step.means(run(batch))[n], rel=1e-5)
    if lengths.fields(batch):  # in the gradients neither
        train = jax.jit(lambda b: step.train_step(made.program, state, b, made.hyperparameters)[0])
        assert same(train(batch).params, train(filled(batch, len(batch['mask']))).params)


@pytest.mark.parametrize('parallel, devices', [('pmap', 2), ('pmap', 8), ('fsdp', 4)])
def test_devices_do_not_change_the_run(name, parallel, devices):
    many = {'parallel': parallel, 'devices': str(devices)}
    a, b = nnjax.train(load(name, **sgd(name))), nnjax.train(load(name, **sgd(name), **many))
    assert difference(a.state.params, runner.start(setup(load(name)))[0].state.params) > 1e-3
    assert difference(a.state.params, b.state.params) < 1e-5
    for x, y in zip(a.records, b.records, strict=True):
        assert x['loss'] == pytest.approx(y['loss'], rel=1e-5)
    # The experiment's own optimizer, mostly Adam: exact before its first step, near after it.
    a, b = nnjax.train(load(name)), nnjax.train(load(name, **many))
    for n, (x, y) in enumerate(zip(a.records, b.records, strict=True)):
        assert x['loss'] == pytest.approx(y['loss'], rel=1e-3 if n else 1e-5)


def test_accumulation_equals_the_large_batch(name):
    whole = nnjax.train(load(name, batch='32', **sgd(name)))
    if 'batch_stats' in whole.state.model_state:
        pytest.skip('batch normalisation sees a microbatch')
    task = load(name).task
    if task.get('loss') in ('triplet', 'contrastive') or task.fn.endswith('.contrast'):
        pytest.skip('the pairs of a loss are those of a microbatch')
    parts = nnjax.train(load(name, batch='32', accumulate='4', **sgd(name)))
    assert difference(whole.state.params, parts.state.params) < 1e-5


def test_resume_is_bitwise(name, tmp_path):
    fields = {'save_every': '1 steps', 'log_every': '1 steps', 'eval_every': '1 steps'}
    whole = nnjax.train(load(name, **fields), tmp_path / 'a')
    rewound(tmp_path / 'a', tmp_path / 'b', step=1)
    resumed = nnjax.train(load(name, **fields), tmp_path / 'b')
    assert same(whole.state, resumed.state)
    assert timeless(whole.records) == timeless(resumed.records)


def test_fine_tuning_starts_from_a_run_and_keeps_what_is_frozen(name, tmp_path):
    source = paths.flatten(nnjax.train(load(name), tmp_path / 'a').params)
    first = min(path for path in source if '/' in path).rpartition('/')[0]
    tuned = nnjax.train(load(name, init_from=str(tmp_path / 'a'), freeze=f'^{first}/')).state.params
    frozen = {path for path in source if path.startswith(f'{first}/')}
    changed = {
        path for path, array in paths.flatten(tuned).items() if not same(array, source[path])
    }
    assert frozen and changed and not frozen & changed


def test_the_second_run_compiles_nothing(name):
    nnjax.train(load(name))
    before = compilations.count
    nnjax.train(load(name, seed='1', **{'optim.lr': '0.0123'}))
    assert compilations.count == before


def test_every_field_can_be_set_by_flag(name):
    c = configs.load(name)
    for path, value in configs.leaves(c):
        if not path.endswith('fn'):
            text = str(value)
            configs.override(c, path, text)
            assert dict(configs.leaves(c))[path] == value
    configs.check(c)


def test_program_and_step_are_functions_of_the_config(name):
    """A setup knows nothing but its config: equal configs make equal programs, numbers aside, and
    any step can be rebuilt from (seed, step): rows and augmented examples.
    """
    made, again = setup(load(name)), setup(load(name))
    other = setup(load(name, seed='1', **{'optim.lr': '0.0123'}))
    assert made.program == again.program == other.program
    assert set(made.train_sums) == {*made.eval_sums, 'lr', 'grad_norm'}  # as restoring takes it
    assert hash(made.program) == hash(other.program)
    assert dataclasses.replace(made.program, accumulate=2) != made.program
    for number in (0, 1, 1_000_000):
        assert same(feed.augmented(made, number, 4), feed.augmented(again, number, 4))
    first = [feed.table(m, 0, 1, 1)['index'] for m in (made, again, other)]
    assert np.array_equal(first[0], first[1]) and not np.array_equal(first[0], first[2])


def test_a_lane_is_its_solo_run(name, tmp_path):
    """Two points of a sweep on two devices; parameters after steps as exact as their gradients."""
    c = load(name, **sgd(name), devices='2', parallel='auto')
    points = [{'optim.lr': 0.1, 'seed': 0}, {'optim.lr': 0.05, 'seed': 1}]
    sweep(c, points, tmp_path / 'w')
    whole = checkpoint.read(tmp_path / 'w' / 'groups' / '0', 'carry/state/params/')
    for lane, point in enumerate(points):
        fields = {path: str(value) for path, value in point.items()}
        alone = paths.flatten(nnjax.train(load(name, **sgd(name) | fields)).state.params)
        assert alone
        for path, array in alone.items():
            mine = whole[f'carry/state/params/{path}'][lane]
            assert np.max(np.abs(mine - np.asarray(array))) < 1e-5
