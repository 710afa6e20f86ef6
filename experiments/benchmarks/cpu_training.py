"""Training speed of nnjax, PyTorch and jitted stock flax on the same work, in one process.

  python experiments/benchmarks/cpu_training.py [--rounds=7] [--json=FILE] [--recipes=mlp,cnn32]

Every contender trains the same architecture with the same optimizer on the same images, each batch
drawn by row number from a fresh permutation. They take turns, a few hundred milliseconds each, for
several rounds; a figure is the median over rounds and a ratio the median of the rounds' ratios.
PyTorch runs with contiguous and channels_last tensors; the faster of the two counts.
"""

import json
import os
import platform
import statistics
import time

os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')  # idle PyTorch threads must not spin

import flax.linen as nn
import jax
import numpy as np
import optax
from absl import app, flags

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim
from nnjax.training.run import Run
from nnjax.training.setup import setup

ROUNDS = flags.DEFINE_integer('rounds', 7, 'turns of every contender')
JSON = flags.DEFINE_string('json', None, 'also write the figures here')
RECIPES = flags.DEFINE_list('recipes', ['mlp', 'cnn32', 'cnn64', 'cnn256'], 'recipes to run')

EXAMPLES = 6400
SECONDS = 0.5  # of a turn, about


def images() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        'image': rng.random((EXAMPLES, 28, 28, 1), dtype=np.float32),
        'label': rng.integers(0, 10, EXAMPLES).astype(np.int32),
    }


def nnjax_steps(model: str, batch: int):
    """-> a function that trains n steps by nnjax's own loop."""
    config = base()
    config.total = '100000000 steps'
    config.log_every = config.eval_every = config.total
    config.batch = batch
    config.data = bind(sources.Arrays, train=images())
    config.model = bind(models.MLP) if model == 'mlp' else bind(models.CNN)
    config.task = bind(tasks.classification)
    config.optim = (
        bind(optim.make, name='sgd', lr=0.01)
        if model == 'mlp'
        else bind(optim.make, name='adam', lr=0.001)
    )
    config.parallel = 'jit'
    run = Run(setup(config), None, '', quiet=True)

    def train(steps: int) -> None:
        until = run.step + steps
        while run.step < until:
            run.advance(until)
        jax.block_until_ready(run.carry)

    return train


class FlaxMLP(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(10)(nn.relu(nn.Dense(64)(x.reshape(x.shape[0], -1))))


class FlaxCNN(nn.Module):
    @nn.compact
    def __call__(self, x):
        for channels in (32, 64, 128):
            x = nn.relu(nn.Conv(channels, (3, 3), padding='VALID')(x))
            x = nn.max_pool(x, (2, 2), (2, 2))
        return nn.Dense(10)(nn.relu(nn.Dense(128)(x.reshape(x.shape[0], -1))))


def flax_steps(model: str, batch: int):
    """-> a function that trains n steps with a jitted step of flax and optax as documented."""
    data = images()
    net, optimizer = (
        (FlaxMLP(), optax.sgd(0.01)) if model == 'mlp' else (FlaxCNN(), optax.adam(0.001))
    )
    params = net.init(jax.random.key(0), data['image'][:1])
    state = (params, optimizer.init(params))

    @jax.jit
    def step(state, x, y):
        params, memory = state

        def loss(params):
            logits = net.apply(params, x)
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

        value, grads = jax.value_and_grad(loss)(params)
        updates, memory = optimizer.update(grads, memory, params)
        return (optax.apply_updates(params, updates), memory), value

    rows = shuffled(batch)

    def train(steps: int) -> None:
        nonlocal state
        for _ in range(steps):
            index = next(rows)
            state, _ = step(state, data['image'][index], data['label'][index])
        jax.block_until_ready(state)

    return train


def torch_steps(model: str, batch: int, channels_last: bool):
    """-> a function that trains n steps with PyTorch's eager modules."""
    import torch
    from torch import nn as tnn

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    if model == 'mlp':
        net = tnn.Sequential(tnn.Flatten(), tnn.Linear(784, 64), tnn.ReLU(), tnn.Linear(64, 10))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    else:
        layers = []
        for before, after in ((1, 32), (32, 64), (64, 128)):
            layers += [tnn.Conv2d(before, after, 3), tnn.ReLU(), tnn.MaxPool2d(2)]
        net = tnn.Sequential(
            *layers, tnn.Flatten(), tnn.Linear(128, 128), tnn.ReLU(), tnn.Linear(128, 10)
        )
        optimizer = torch.optim.Adam(net.parameters(), lr=0.001)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    net = net.to(memory_format=layout)
    data = images()
    x = torch.from_numpy(data['image'].transpose(0, 3, 1, 2).copy()).to(memory_format=layout)
    y = torch.from_numpy(data['label'].astype(np.int64))
    rows = shuffled(batch)

    def train(steps: int) -> None:
        for _ in range(steps):
            index = torch.from_numpy(next(rows))
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(x[index]), y[index]).backward()
            optimizer.step()

    return train


def shuffled(batch: int):
    """Yields row numbers, a new permutation an epoch."""
    rng = np.random.default_rng(0)
    while True:
        order = rng.permutation(EXAMPLES)
        yield from (order[start : start + batch] for start in range(0, EXAMPLES, batch))


def contenders(recipe: str):
    model, batch = recipe.rstrip('0123456789'), int(recipe.lstrip('mlpcn') or 64)
    made = {
        'nnjax': nnjax_steps(model, batch),
        'flax': flax_steps(model, batch),
        'torch': torch_steps(model, batch, False),
    }
    if model == 'cnn':
        made['torch channels_last'] = torch_steps(model, batch, True)
    return batch, made


def measure(recipe: str, rounds: int) -> dict:
    """Steps a second of every contender (median over rounds) and nnjax's ratios."""
    batch, made = contenders(recipe)
    counts = {}
    for name, train in made.items():
        train(3)
        began = time.perf_counter()
        train(10)
        counts[name] = max(5, round(10 * SECONDS / (time.perf_counter() - began)))
    speeds = {name: [] for name in made}
    for _ in range(rounds):
        for name, train in made.items():
            began = time.perf_counter()
            train(counts[name])
            speeds[name].append(counts[name] / (time.perf_counter() - began))
    median = {name: statistics.median(values) for name, values in speeds.items()}
    torch = max((n for n in median if n.startswith('torch')), key=median.get)
    ratio = lambda peer: statistics.median(
        a / b for a, b in zip(speeds['nnjax'], speeds[peer], strict=True)
    )
    return {
        'recipe': recipe,
        'batch': batch,
        'steps_per_second': median,
        'rounds': speeds,
        'best_torch': torch,
        'nnjax_over_torch': ratio(torch),
        'nnjax_over_flax': ratio('flax'),
    }


def main(_):
    import torch

    results = []
    print(
        f'{"recipe":<8} {"nnjax":>9} {"flax":>9} {"torch":>9}  nnjax/torch  nnjax/flax   (steps/s)'
    )
    for recipe in RECIPES.value:
        found = measure(recipe, ROUNDS.value)
        results.append(found)
        speed = found['steps_per_second']
        print(
            f'{recipe:<8} {speed["nnjax"]:9.1f} {speed["flax"]:9.1f} '
            f'{speed[found["best_torch"]]:9.1f}  {found["nnjax_over_torch"]:10.2f}x '
            f'{found["nnjax_over_flax"]:10.2f}x',
            flush=True,
        )
    machine = {
        'processor': platform.processor() or platform.machine(),
        'cores': len(os.sched_getaffinity(0)),
        'jax': jax.__version__,
        'torch': torch.__version__,
        'device': jax.devices()[0].device_kind,
    }
    print(machine)
    if JSON.value:
        with open(JSON.value, 'w') as file:
            json.dump({'machine': machine, 'results': results}, file, indent=2)


if __name__ == '__main__':
    app.run(main)
