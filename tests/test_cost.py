"""The model table adds up; the card measures the step that it was given."""

import dataclasses
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from nnjax import models, readable, tasks
from nnjax.analysis import cost, cost_table, flops
from nnjax.config import base, bind, load
from nnjax.data import sources
from nnjax.training import optim


def shape(*sizes, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(sizes, dtype)


class MLP(nn.Module):
    """By setup, with an activation between the layers and a flag."""

    def setup(self):
        self.hidden, self.head = nn.Dense(64), nn.Dense(10)
        self.dropout = nn.Dropout(0.5)

    def __call__(self, x, train: bool = False):
        return self.head(self.dropout(nn.relu(self.hidden(x)), deterministic=not train))


class Pool(nn.Module):
    def __call__(self, x):
        return nn.max_pool(x, (2, 2), (2, 2))


class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.relu(nn.BatchNorm(use_running_average=True)(nn.Conv(4, (3, 3))(x)))


class Nested(nn.Module):
    """Submodules of submodules, one used twice, one rematerialized."""

    @nn.compact
    def __call__(self, x, train: bool = False):
        shared = Block(name='shared')
        x = shared(shared(Block()(x)))
        x = nn.remat(Block)()(Pool()(x))
        scale = self.param('scale', nn.initializers.ones, ())
        return nn.Dense(10)(x.mean((1, 2))) * scale


class Recurrent(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool = False):
        return nn.RNN(nn.SimpleCell(8))(x)


MODELS = {
    'mlp': (MLP(), shape(64, 784)),
    'nested': (Nested(), shape(5, 8, 8, 4)),
    'recurrent': (Recurrent(), shape(3, 12, 6)),
}


def table(name):
    model, inputs = MODELS[name]
    return cost.model_table(model, inputs, train=False)


@pytest.mark.parametrize('name', MODELS)
def test_columns_add_up_to_the_model(name):
    model, inputs = MODELS[name]
    one = shape(1, *inputs.shape[1:])
    variables = jax.eval_shape(model.init, jax.random.key(0), one)
    rows = table(name)
    assert sum(r.flops for r in rows) == flops.count(model.apply, variables, one)
    sizes = (x.size for x in jax.tree.leaves(variables['params']))
    assert sum(r.parameters for r in rows) == sum(sizes)


def test_mlp_rows():
    assert table('mlp') == [
        cost.Row((), 'MLP', ((10,),), 0, 64),
        cost.Row(('hidden',), 'Dense', ((64,),), 784 * 64 + 64, 2 * 784 * 64 + 64),
        cost.Row(('dropout',), 'Dropout', ((64,),), 0, 0),
        cost.Row(('head',), 'Dense', ((10,),), 64 * 10 + 10, 2 * 64 * 10 + 10),
    ]


def test_nested_rows():
    rows = {'/'.join(r.path): r for r in table('nested')}
    assert next(iter(rows)) == '' and rows[''].parameters == 1
    assert rows['shared/Conv_0'].flops == 2 * rows['Block_0/Conv_0'].flops
    assert rows['shared/Conv_0'].parameters == rows['Block_0/Conv_0'].parameters == 9 * 16 + 4
    assert rows['Pool_0'] == cost.Row(('Pool_0',), 'Pool', ((4, 4, 4),), 0, 8 * 8 * 4)
    assert rows['CheckpointBlock_0'].kind == 'Block'
    assert rows['CheckpointBlock_0'].flops == 4 * 4 * 4
    assert rows['CheckpointBlock_0/BatchNorm_0'].parameters == 8  # statistics are no parameters


def test_a_recurrent_cell_counts_every_time_step():
    rows = {r.path[-1] if r.path else '': r for r in table('recurrent')}
    assert rows['i'].flops == 12 * (2 * 6 * 8 + 8)
    assert rows['h'].flops == 12 * 2 * 8 * 8


@flax.struct.dataclass
class State:
    params: Any
    momentum: Any


def step(state, batch, hyperparameters):
    def loss(params):
        logits = MLP().apply({'params': params}, batch['image'])
        picked = jnp.take_along_axis(nn.log_softmax(logits), batch['label'][:, None], 1)[:, 0]
        return -jnp.sum(picked * batch['mask'])

    value, grads = jax.value_and_grad(loss)(state.params)
    momentum = jax.tree.map(lambda m, g: 0.9 * m + g, state.momentum, grads)
    params = jax.tree.map(lambda p, m: p - hyperparameters['lr'] * m, state.params, momentum)
    return State(params, momentum), {'loss': value}


BATCH = {'image': shape(64, 784), 'label': shape(64, dtype=jnp.int32), 'mask': shape(64)}
HYPERPARAMETERS = {'lr': 0.1, 'unused': 2.0}


@pytest.fixture(scope='module')
def state():
    params = jax.eval_shape(MLP().init, jax.random.key(0), BATCH['image'])['params']
    return State(params, params)


@pytest.fixture(scope='module')
def card(state):
    return cost.card(
        step,
        state,
        BATCH,
        HYPERPARAMETERS,
        steps=1000,
        steps_per_epoch=250,
        resident_bytes=10**6,
        budget=0.02,
    )


PARAMETERS = 784 * 64 + 64 + 64 * 10 + 10
BATCH_BYTES = 64 * (784 + 1 + 1) * 4


def test_card_counts(card, state):
    assert card.parameters == PARAMETERS
    assert card.step_flops == flops.count(step, state, BATCH, HYPERPARAMETERS)
    assert 2 < card.step_flops / (64 * sum(r.flops for r in table('mlp'))) < 3.5
    assert card.epoch_flops == 250 * card.step_flops
    assert card.run_flops == 1000 * card.step_flops
    assert card.notes == ()


def test_memory_holds_the_donated_state_once(card):
    arguments = 2 * PARAMETERS * 4 + BATCH_BYTES
    assert arguments <= card.step_bytes < arguments + 2 * PARAMETERS * 4
    assert card.peak_bytes == card.step_bytes + 10**6


def test_time_is_compilation_and_steps(card):
    assert card.compile_seconds > 0 and card.step_seconds > 0
    assert card.seconds == pytest.approx(card.compile_seconds + 1000 * card.step_seconds)


def test_unmeasured_costs_have_no_time(state):
    card = cost.card(step, state, BATCH, HYPERPARAMETERS, steps=10, measure=False)
    assert card.step_seconds is None and card.seconds is None and card.epoch_flops is None
    text = cost_table.render(card, table('mlp'))
    assert 'predicted' not in text and 'epoch' not in text


def test_steps_that_are_compiled_already_are_taken_as_they_are(state, card):
    mesh = jax.make_mesh((jax.device_count(),), ('d',), axis_types=(AxisType.Auto,))
    whole, rows = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ('d',)))
    sharded = jax.jit(step, in_shardings=(whole, rows, whole), donate_argnums=0)
    spread = cost.card(sharded, state, BATCH, HYPERPARAMETERS, steps=1, budget=0.01)
    assert spread.step_flops == card.step_flops
    assert spread.step_seconds > 0


def test_pmap_is_measured_and_counted_on_all_devices(state, card):
    devices = jax.device_count()

    def reduced(state, batch, hyperparameters):
        state, sums = step(state, batch, hyperparameters)
        return jax.lax.pmean(state, 'd'), jax.lax.psum(sums, 'd')

    parallel = jax.pmap(reduced, 'd', in_axes=(None, 0, None), out_axes=None, donate_argnums=0)
    batch = {
        k: shape(devices, 64 // devices, *v.shape[1:], dtype=v.dtype) for k, v in BATCH.items()
    }
    hyperparameters = {k: jnp.float32(v) for k, v in HYPERPARAMETERS.items()}
    spread = cost.card(parallel, state, batch, hyperparameters, steps=1, budget=0.01)
    assert spread.step_flops > card.step_flops
    assert spread.step_seconds > 0


def test_a_config_is_enough():
    config = base()
    config.total, config.batch = '3 epochs', 32
    config.data = bind(sources.Tfds, name='digits')
    config.prepare = 'scale(16)'
    config.model = bind(models.MLP, hidden=(16,))
    config.task = bind(tasks.classification)
    config.optim = bind(optim.make, name='sgd', lr=0.1)
    card, rows = cost.of_config(config, measure=False)
    assert card.parameters == sum(r.parameters for r in rows) == 64 * 16 + 16 + 16 * 10 + 10
    assert abs(card.steps - 3 * card.steps_per_epoch) <= 3
    assert card.resident_bytes > card.steps_per_epoch * 31 * 64  # a byte a pixel at least
    assert 2 < card.step_flops / (32 * sum(r.flops for r in rows)) < 4


def test_the_model_is_counted_on_what_augmentation_hands_it():
    """A network of features does not read samples."""
    config = base()
    config.total, config.batch = '1 epoch', 4
    rng = np.random.default_rng(0)
    sounds = {'audio': rng.integers(-99, 99, (8, 1600)).astype(np.int16), 'label': np.arange(8) % 2}
    config.data = bind(sources.Arrays, train=sounds, valid=None)
    config.augment = 'log_mel(20, hop=100)'
    config.model = bind(models.MLP, classes=2, hidden=(16,))
    config.task = bind(tasks.classification, input='audio')
    config.optim = bind(optim.make, name='sgd', lr=0.1)
    card, rows = cost.of_config(config, measure=False)
    assert rows[1].parameters == 17 * 20 * 16 + 16  # frames every 100 of 1,600 samples, both ends
    assert card.parameters == sum(row.parameters for row in rows)


def test_steps_of_buckets_are_said_to_be_the_longest():
    config = base()
    config.total, config.batch, config.buckets = '1 epoch', 4, (4, 8)
    x = np.zeros((16, 8), np.int32)
    rows = {'text': x, 'text_length': np.arange(16) % 8 + 1, 'label': np.arange(16) % 2}
    config.data = bind(sources.Arrays, train=rows, valid=None)
    config.model = bind(models.RNN, classes=2, vocabulary=4, hidden=4)
    config.task = bind(tasks.classification, input='text')
    config.optim = bind(optim.make, name='sgd', lr=0.1)
    card, _ = cost.of_config(config, measure=False)
    assert any('buckets' in note for note in card.notes)
    config.buckets = ()
    assert not any('buckets' in note for note in cost.of_config(config, measure=False)[0].notes)


@pytest.mark.parametrize('width', [60, 88])
@pytest.mark.parametrize('name', MODELS)
def test_text_fits_and_holds_the_totals(card, name, width):
    rows = table(name)
    rows.append(
        cost.Row(('encoder', 'layer_with_a_long_name') * 3, 'Long' * 6, ((1, 2, 3),) * 4, 1, 1)
    )
    noted = dataclasses.replace(card, notes=('while: its length is unknown, counted once',))
    text = cost_table.render(noted, rows, width)
    assert max(map(len, text.splitlines())) <= width
    assert readable.human(sum(r.parameters for r in rows)) in text
    assert f'{card.parameters:,}' in text and 'counted once' in text and 'MiB' in text


@pytest.mark.parametrize(
    ('number', 'unit', 'text'),
    [
        (0, '', '0'),
        (999, '', '999'),
        (1000, '', '1.0 k'),
        (50_890, '', '50.9 k'),
        (999_960, '', '1.0 M'),
        (123e6, '', '123 M'),
        (2.5e9, '', '2.5 G'),
        (7e21, '', '7000 E'),
        (0, 'B', '0 B'),
        (1023, 'B', '1023 B'),
        (1536, 'B', '1.5 KiB'),
        (3 * 2**30, 'B', '3.0 GiB'),
    ],
)
def test_human_units(number, unit, text):
    assert readable.human(number, unit) == text


@pytest.mark.parametrize(
    ('seconds', 'text'),
    [
        (0.00021, '0.21 ms'),
        (0.084, '84 ms'),
        (0.9996, '1.0 s'),
        (1.5, '1.5 s'),
        (59.96, '1 min 0 s'),
        (75, '1 min 15 s'),
        (7500, '2 h 5 min'),
        (0.347, '347 ms'),
    ],
)
def test_durations(seconds, text):
    assert readable.duration(seconds) == text


def test_the_arguments_of_the_step_are_named():
    found, _ = cost.of_config(load('digits_mlp:smoke'), measure=False)
    assert {'total', 'optim.lr', 'optim.weight_decay', 'task.smoothing'} <= set(found.arguments)
    assert not any(path.startswith('model') for path in found.arguments)


@pytest.mark.parametrize(
    ('record', 'text'),
    [
        ({'accuracy': 0.98, 'loss': 0.05, 'macro_f1': 0.97}, 'loss 0.05  accuracy 0.98'),
        ({'error': 0.9, 'loss': 19.19524, 'wer': 0.00964, 'cer': 0.5}, 'loss 19.2  wer 0.00964'),
        ({'ranking': 0.6, 'eer': 0.0033, 'auc': 0.6, 'loss': 5.5}, 'loss 5.5  eer 0.0033'),
        ({'iou': 0.4, 'loss': 2.25, 'AP': 0.876, 'AP50': 0.981}, 'loss 2.25  AP 0.876'),
        (
            {'accuracy': 0.1, 'loss': 3.4, 'bits_per_character': 1.828},
            'loss 3.4  bits_per_character 1.828',
        ),
        ({'accuracy': 0.1, 'loss': 4.0, 'exact_match': 0.0, 'bleu': 1.5}, 'loss 4  exact_match 0'),
        ({'loss': 0.1, 'accuracy': None}, 'loss 0.1'),
    ],
)
def test_the_score_that_says_most_is_said(record, text):
    assert readable.scores(record, most=1) == text
