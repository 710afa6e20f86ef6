"""Fine-tuning: a run starts from another's parameters, and some of them never change."""

import functools
import json
import shutil
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest
from safetensors.numpy import save_file
from sklearn.datasets import load_digits

import nnjax
from nnjax.analysis import cost, cost_table, flops
from nnjax.config import bind
from nnjax.data import sources
from nnjax.errors import UserError
from nnjax.fields import Count
from nnjax.models import layers
from nnjax.training import initial, optim, paths, restore, runner, step
from nnjax.training.setup import setup
from tests.test_train import Compilations, config, difference, rewound, same, timeless

compilations = Compilations()


class Net(nn.Module):
    """A model with batch statistics.

    Attributes:
      classes: number of outputs.
      width: of the hidden layer.
    """

    classes: Count = 10
    width: Count = 16

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = layers.Dense(self.width)(x.reshape(x.shape[0], -1))
        return layers.Dense(self.classes)(layers.BatchNorm(relu=True)(x, train))


def digits(classes: int = 10, side: int = 8):
    """Digits below `classes`, `side` pixels wide, as arrays in memory."""
    found = load_digits()
    keep = found.target < classes
    images = found.images[keep][:, :side].astype(np.float32)
    arrays = {'image': images[..., None], 'label': found.target[keep].astype(np.int32)}
    train, test = (
        {n: a[part] for n, a in arrays.items()} for part in (slice(300), slice(300, 400))
    )
    return bind(sources.Arrays, train=train, test=test)


def net(**fields):
    """A run of `Net` on digits."""
    fields = {'model': bind(Net), **fields}
    return config(total='8 steps', save_every='2 steps', optim__warmup='0 steps', **fields)


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """(a run's folder, its result)."""
    folder = tmp_path_factory.mktemp('finetune') / 'source'
    return folder, nnjax.train(net(), folder)


@pytest.fixture(scope='module')
def variables(source) -> dict[str, np.ndarray]:
    """The best arrays of that run, by name."""
    return jax.device_get(named(restore.run(source[0])[1]))


def start(c):
    """A config's state before the first step, and the line about it."""
    made = setup(c)
    given, line = initial.given(made)
    return runner.start(made, given)[0].state, line


def named(state) -> dict[str, np.ndarray]:
    return paths.flatten({'params': state.params, **state.model_state})


@pytest.mark.slow
def test_a_run_starts_from_the_best_of_another(source):
    folder, result = source
    state, line = start(net(init_from=str(folder), seed=5))
    assert line == 'init_from: 8 of 8 arrays'
    assert same(state.params, result.params)
    expected = restore.run(folder)[1]
    assert same(state.model_state, expected.model_state)
    assert state.step == 0 and state.seed == 5


def test_the_average_is_taken_where_the_source_has_one(tmp_path):
    c = net(ema=0.9)
    c.data.valid = None
    result = nnjax.train(c, tmp_path / 'a')
    state, _ = start(net(init_from=str(tmp_path / 'a'), ema=0.9))
    assert difference(result.state.ema, result.state.params) > 1e-5
    assert same(state.params, result.state.ema) and same(state.ema, result.state.ema)


def test_optimizers_that_remember_the_start_remember_the_given_one(source):
    folder, result = source
    c = net(init_from=str(folder), optim=bind(optim.make, name='prodigy', lr=1.0))
    state, _ = start(c)
    assert any(
        same(leaf, result.params['Dense_0']['kernel']) for leaf in jax.tree.leaves(state.opt_state)
    )


@pytest.mark.parametrize('dtype', [np.float64, np.float16, ml_dtypes.bfloat16])
def test_a_file_gives_the_same_and_is_cast(variables, tmp_path, dtype):
    arrays = {n: a.astype(dtype) for n, a in variables.items()}
    save_file(arrays, tmp_path / 'a.safetensors')
    state, line = start(net(init_from=str(tmp_path / 'a.safetensors')))
    assert line == 'init_from: 8 of 8 arrays'
    for name, leaf in named(state).items():
        assert leaf.dtype == np.float32
        np.testing.assert_array_equal(leaf, arrays[name].astype(np.float32))


@pytest.mark.parametrize('classes', [5, 10, 12])
def test_a_head_of_other_classes_starts_afresh(source, classes):
    """Only the head does, by its dependence on `classes`, though `width` may equal it."""
    c = net(init_from=str(source[0]), model=bind(Net, classes=classes), seed=3)
    c.data = digits(min(classes, 10))  # without labels, whose number would be checked
    state, line = start(c)
    c.init_from = None
    fresh, _ = start(c)
    assert same(state.params['Dense_0'], source[1].params['Dense_0'])
    head = source[1].params if classes == 10 else fresh.params
    assert same(state.params['Dense_1'], head['Dense_1'])
    assert line == (
        'init_from: 8 of 8 arrays'
        if classes == 10
        else 'init_from: 6 of 8 arrays; '
        f'fresh: Dense_1/bias [10] -> [{classes}], Dense_1/kernel [16,10] -> [16,{classes}]'
    )


def test_what_is_named_starts_afresh_or_is_left_out(source, variables, tmp_path):
    """In a file of its own: one array more, one less, one of another shape."""
    arrays = dict(variables)
    arrays['params/classifier/kernel'] = np.zeros((3, 3), np.float32)
    arrays['params/Dense_0/kernel'] = np.zeros((9, 16), np.float32)
    del arrays['batch_stats/BatchNorm_0/var']
    save_file(arrays, tmp_path / 'a.safetensors')
    c = net(init_from=str(tmp_path / 'a.safetensors'), seed=3)
    for missing in ('classifier', 'Norm_0/var', '^Dense_0/kernel$'):
        with c.ignore_type():
            names = {'classifier', 'Norm_0/var', '^Dense_0/kernel$'} - {missing}
            c.init_fresh = '|'.join(sorted(names))
        with pytest.raises(UserError, match=r'init_fresh=REGEX'):
            start(c)
    c.init_fresh = 'classifier|Norm_0/var|^Dense_0/kernel$'
    state, line = start(c)
    assert line == (
        'init_from: 6 of 8 arrays; fresh: BatchNorm_0/var, Dense_0/kernel [9,16] -> [64,16]; '
        'left out: classifier/kernel'
    )
    fresh, _ = start(net(seed=3))
    assert same(state.params['Dense_0']['kernel'], fresh.params['Dense_0']['kernel'])
    assert same(state.params['Dense_1'], source[1].params['Dense_1'])


@pytest.mark.parametrize(
    'changes, fields, words',
    [
        ({}, {'init_from': 'nowhere'}, 'neither a run folder .*: it does not exist'),
        ({}, {'init_from': '{tmp}'}, 'neither a run folder nor a .safetensors file'),
        ({}, {'init_from': None, 'init_fresh': 'x'}, 'says nothing without init_from'),
        ({}, {'init_fresh': '('}, r"init_fresh='\(' is no regular expression"),
        ({}, {'init_fresh': 'Dens_1/'}, r'matches no array \(nearest: Dense_1/bias'),
        ({}, {'init_fresh': '.'}, 'gives nothing: every array starts afresh'),
        ({}, {'model': bind(Net, width=8)}, r'BatchNorm_0/bias is \[16\] in it, \[8\] here, '),
        (
            {},
            {'model': bind(Net, width=5, classes=5), 'data': digits(5)},
            r'Dense_0/bias is \[16\] in it, \[5\] here and 4 more; ',
        ),
        ({}, {'data': digits(side=6)}, r'Dense_0/kernel is \[64,16\] in it, \[48,16\] here;'),
        (
            {},
            {'model': bind(nnjax.models.MLP, hidden=(16,))},
            'BatchNorm_0/bias is only in it, .* and 1 more;',
        ),
        ({'params/Dense_0/bias': None}, {}, r'Dense_0/bias is missing in it; --config.init_fresh='),
        ({'params/x': np.zeros(3, np.float32)}, {}, 'x is only in it; --config'),
        ({'params/Dense_0/bias': np.full(16, np.nan, np.float32)}, {}, 'bias is not finite in it'),
        ({'params/Dense_0/bias': np.zeros(16, np.int8)}, {}, 'bias is int8 in it, float32 here'),
        ({'only': None}, {}, 'has no array; expected names'),
        ({'params': None}, {}, "expected names such as 'params/Conv_0/kernel'"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(variables, tmp_path, changes, fields, words):
    arrays = {**variables, **changes}
    if 'only' in changes:
        arrays = {}
    if 'params' in changes:
        arrays = {n.removeprefix('params/'): a for n, a in arrays.items()}
    save_file({n: a for n, a in arrays.items() if a is not None}, tmp_path / 'a.safetensors')
    fields = {'init_from': str(tmp_path / 'a.safetensors'), **fields}
    fields = {n: str(tmp_path) if v == '{tmp}' else v for n, v in fields.items()}
    with pytest.raises(UserError, match=words) as error:
        nnjax.train(net(**fields), tmp_path / 'run')
    assert '\n' not in str(error.value)
    assert not (tmp_path / 'run').exists()


def test_a_damaged_file_and_an_empty_folder_are_refused(tmp_path, source):
    (tmp_path / 'a.safetensors').write_bytes(b'no tensors, but some text')
    with pytest.raises(UserError, match='is damaged'):
        start(net(init_from=str(tmp_path / 'a.safetensors')))
    for name in ('config.json', 'prepare.json'):
        shutil.copy(source[0] / name, tmp_path)
    with pytest.raises(UserError, match='no checkpoint in'):
        start(net(init_from=str(tmp_path)))
    assert not (tmp_path / 'checkpoints').exists()  # another's folder is only read


@pytest.mark.slow
@pytest.mark.parametrize('parallel, devices', [('pmap', 2), ('fsdp', 8)])
def test_devices_do_not_change_it(source, parallel, devices):
    fields = {'init_from': str(source[0]), 'freeze': 'Dense_0'}
    one = nnjax.train(net(**fields))
    many = nnjax.train(net(parallel=parallel, devices=devices, **fields))
    assert difference(one.state.params, many.state.params) < 2e-6
    assert same(many.state.params['Dense_0'], source[1].params['Dense_0'])


def test_other_values_compile_nothing(variables, tmp_path):
    """Initial values are arguments of the compiled start."""
    states = []
    for number in range(3):
        save_file(
            {n: a + np.float32(number) for n, a in variables.items()}, tmp_path / 'a.safetensors'
        )
        before = compilations.count
        states.append(start(net(init_from=str(tmp_path / 'a.safetensors'), seed=number))[0])
    assert compilations.count == before
    assert difference(states[0].params, states[2].params) == pytest.approx(2)


def test_resume_is_bitwise_and_needs_no_source(source, tmp_path):
    shutil.copytree(source[0], tmp_path / 'source')
    c = net(init_from=str(tmp_path / 'source'), freeze='Dense_0|Norm')
    whole = nnjax.train(c, tmp_path / 'a')
    shutil.rmtree(tmp_path / 'source')
    for at in (0, 4):
        rewound(tmp_path / 'a', tmp_path / f'b{at}', step=at)
        resumed = nnjax.train(c, tmp_path / f'b{at}')
        assert same(whole.state, resumed.state)
        assert timeless(whole.records) == timeless(resumed.records)
    assert same(restore.run(tmp_path / 'a')[1].params, whole.params)
    saved = json.loads((tmp_path / 'a' / 'config.json').read_text())['config']
    assert saved['init_from'] == str(tmp_path / 'source')


@pytest.mark.parametrize(
    'fields',
    [
        {},
        {'optim__groups': {'head': bind(optim.group, match='Dense_1', lr=0.3)}},
        *(
            pytest.param(fields, marks=pytest.mark.slow)
            for fields in (
                {'parallel': 'pmap', 'devices': 2},
                {'accumulate': 4},
                {'ema': 0.9, 'optim__clip': 0.1},
                {'optim__name': 'lion'},
                {'optim__name': 'sgd', 'optim__momentum': 0.9},
            )
        ),
    ],
)
def test_frozen_parameters_never_change(fields):
    """Bitwise, in spite of a weight decay of everything; batch statistics follow the data."""
    c = net(freeze='Dense_0|scale', optim__weight_decay=0.3, optim__decay_exclude='', **fields)
    before, _ = start(c)
    after = nnjax.train(c).state
    for params in (after.params, after.best_params):
        assert same(params['Dense_0'], before.params['Dense_0'])
        assert same(params['BatchNorm_0']['scale'], before.params['BatchNorm_0']['scale'])
        for path in ('BatchNorm_0/bias', 'Dense_1/kernel', 'Dense_1/bias'):
            assert not same(paths.flatten(params)[path], paths.flatten(before.params)[path])
    assert difference(after.model_state, before.model_state) > 1e-3
    moments = [x.shape for x in jax.tree.leaves(after.opt_state) if jnp.ndim(x)]
    assert (64, 16) not in moments and (16, 10) in moments


def one_step(clip=None, **fields):
    """A step of plain SGD with lr 1 -> (what it subtracts from each parameter, its averages)."""
    c = net(optim=bind(optim.make, name='sgd', lr=1.0, clip=clip), data=digits(), **fields)
    made = setup(c)
    state = runner.start(made)[0].state
    batch = {'mask': jnp.ones(32), **{n: a[:32] for n, a in c.data.train.items()}}
    after, sums = jax.jit(functools.partial(step.train_step, made.program))(
        state, batch, made.hyperparameters
    )
    return named(jax.tree.map(jnp.subtract, state, after)), step.means(sums)


def norm(arrays, without='batch_stats'):
    return float(optax.global_norm({n: a for n, a in arrays.items() if without not in n}))


@pytest.mark.slow
def test_the_norm_is_of_the_gradients_that_are_used():
    gradient, sums = one_step()
    gradient = {n: g for n, g in gradient.items() if n.startswith('params')}
    assert sums['grad_norm'] == pytest.approx(norm(gradient), rel=1e-5)
    _, sums = one_step(freeze='Dense_0')
    assert sums['grad_norm'] == pytest.approx(norm(gradient, 'Dense_0'), rel=1e-5)
    assert sums['grad_norm'] < 0.99 * norm(gradient)
    clipped, _ = one_step(clip=0.01, freeze='Dense_0')
    assert norm(clipped) == pytest.approx(0.01, rel=1e-3)


def test_gradients_of_frozen_parameters_are_not_computed():
    def work(**fields):
        made = setup(net(augment='', **fields))
        run = lambda *a: step.train_step(made.program, *a)
        return flops.count(run, made.state, made.batch_shapes(32), made.hyperparameters)

    assert work() - work(freeze='Dense_0') >= 2 * 32 * 64 * 16  # of the first layer's kernel


@pytest.mark.parametrize(
    'pattern, words',
    [
        ('(', r"freeze='\(' is no regular expression"),
        ('Dens_0/kernel', r'matches no parameter \(nearest: Dense_0/kernel'),
        ('.', 'matches every parameter: nothing would train'),
        ('kernel|bias|scale', 'matches every parameter'),
    ],
)
def test_a_freeze_that_makes_no_sense_is_refused(pattern, words, tmp_path):
    with pytest.raises(UserError, match=words) as error:
        nnjax.train(net(freeze=pattern), tmp_path / 'run')
    assert '\n' not in str(error.value) and not (tmp_path / 'run').exists()


def test_nothing_is_frozen_by_an_empty_pattern():
    assert setup(net(freeze='')).program == setup(net()).program


def test_cost_says_how_much_trains():
    card, rows = cost.of_config(net(freeze='Dense_0'), measure=False)
    assert card.parameters - card.frozen == 16 * 10 + 10 + 2 * 16
    assert f'{card.parameters:,} (202 train)' in cost_table.render(card, rows)


def test_training_says_how_much_trains(source, capsys):
    nnjax.train(net(freeze='Dense_0', init_from=str(source[0])), quiet=False)
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == [
        'init_from: 8 of 8 arrays',
        'freeze: 202 of 1,242 parameters train',
    ]


FEW = """
from experiments import digits_mlp
from nnjax.config import bind
from nnjax.data import sources

def get_config(arg=''):
    c = digits_mlp.get_config(arg)
    c.data = bind(sources.Npz, path={path!r})
    c.prepare = ''
    c.model.classes = 5
    c.freeze = 'Dense_0'
    c.save_every = '1 steps'
    return c
"""


@pytest.mark.slow
def test_from_the_command_line(tmp_path, root):
    """Train digits, start from it with five classes and a frozen layer, resume without the source."""

    def run(*arguments):
        return subprocess.run(
            [sys.executable, '-m', 'nnjax', 'train', *arguments],
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
        )

    found = digits(5)
    np.savez(tmp_path / 'few.npz', **{n: a[:200] for n, a in found.train.items()})
    (tmp_path / 'few.py').write_text(FEW.format(path=str(tmp_path / 'few.npz')))
    few = (f'--config={tmp_path / "few.py"}:smoke', f'--config.init_from={tmp_path / "a"}')

    done = run('--config=digits_mlp:smoke', f'--workdir={tmp_path / "a"}')
    assert done.returncode == 0, done.stderr
    done = run(*few, f'--workdir={tmp_path / "b"}')
    assert done.returncode == 0, done.stderr
    assert (
        'init_from: 2 of 4 arrays; fresh: Dense_1/bias [10] -> [5], '
        'Dense_1/kernel [256,10] -> [256,5]\nfreeze: 1,285 of 17,925 parameters train'
        in done.stderr
    )
    a, b = (restore.arrays(tmp_path / name) for name in 'ab')
    for name in ('params/Dense_0/kernel', 'params/Dense_0/bias'):
        assert np.array_equal(a[name], b[name])

    rewound(tmp_path / 'b', tmp_path / 'c', step=1)
    shutil.rmtree(tmp_path / 'a')
    done = run(*few, f'--workdir={tmp_path / "c"}')
    assert done.returncode == 0 and 'init_from' not in done.stderr, done.stderr
    whole, resumed = (
        [json.loads(line) for line in (tmp_path / name / 'metrics.jsonl').read_text().splitlines()]
        for name in 'bc'
    )
    assert timeless(whole) == timeless(resumed)
    c = restore.arrays(tmp_path / 'c')
    assert all(np.array_equal(b[name], c[name]) for name in b)
