"""Contenders of `cpu_training.py`: each trains a recipe in a process of its own, turn by turn.

  python experiments/benchmarks/contenders.py CONTENDER RECIPE

A line with a number of steps comes in, a line with the seconds they took goes out. Every contender
trains the same architecture with the same optimizer on the same images, each batch drawn by row
number from a permutation of the epoch.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np

EXAMPLES = 6400
CHANNELS = (32, 64, 128)

Train = Callable[[int], None]  # trains so many steps


def model_and_batch(recipe: str) -> tuple[str, int]:
    """'cnn256' -> ('cnn', 256)."""
    model = recipe.rstrip('0123456789')
    return model, int(recipe.removeprefix(model))


def images() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        'image': rng.random((EXAMPLES, 28, 28, 1), dtype=np.float32),
        'label': rng.integers(0, 10, EXAMPLES).astype(np.int32),
    }


def shuffled(batch: int) -> Iterator[np.ndarray]:
    """Row numbers of one batch after another, a new permutation an epoch."""
    rng = np.random.default_rng(0)
    while True:
        yield from rng.permutation(EXAMPLES).reshape(-1, batch)


def nnjax(recipe: str) -> Train:
    """nnjax's own loop."""
    import jax

    from nnjax import models, tasks
    from nnjax.config import base, bind
    from nnjax.data import sources
    from nnjax.training import optim
    from nnjax.training.run import Run
    from nnjax.training.setup import setup

    model, config = model_and_batch(recipe)[0], base()
    config.total = config.log_every = config.eval_every = '100000000 steps'
    config.batch = model_and_batch(recipe)[1]
    config.data = bind(sources.Arrays, train=images())
    config.task = bind(tasks.classification)
    if model == 'mlp':
        config.model = bind(models.MLP)
        config.optim = bind(optim.make, name='sgd', lr=0.01)
    else:
        config.model = bind(models.CNN, channels=CHANNELS)
        config.optim = bind(optim.make, name='adam', lr=0.001)
    config.parallel = 'jit'
    run = Run(setup(config), None, '', quiet=True)

    def train(steps: int) -> None:
        until = run.step + steps
        while run.step < until:
            run.advance(until)
        jax.block_until_ready(run.carry)

    return train


def flax(recipe: str) -> Train:
    """A jitted step of flax and optax, as their documentation writes it."""
    import flax.linen as nn
    import jax
    import optax

    class MLP(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(10)(nn.relu(nn.Dense(64)(x.reshape(x.shape[0], -1))))

    class CNN(nn.Module):
        @nn.compact
        def __call__(self, x):
            for channels in CHANNELS:
                x = nn.relu(nn.Conv(channels, (3, 3), padding='VALID')(x))
                x = nn.max_pool(x, (2, 2), (2, 2))
            return nn.Dense(10)(nn.relu(nn.Dense(128)(x.reshape(x.shape[0], -1))))

    model, batch = model_and_batch(recipe)
    net, optimizer = (MLP(), optax.sgd(0.01)) if model == 'mlp' else (CNN(), optax.adam(0.001))
    data, rows = images(), shuffled(batch)
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

    def train(steps: int) -> None:
        nonlocal state
        for _ in range(steps):
            index = next(rows)
            state, _ = step(state, data['image'][index], data['label'][index])
        jax.block_until_ready(state)

    return train


def torch(recipe: str, channels_last: bool = False, threads: int | None = None) -> Train:
    """PyTorch's eager modules."""
    import torch
    from torch import nn

    if threads:
        torch.set_num_threads(threads)
    model, batch = model_and_batch(recipe)
    if model == 'mlp':
        net = nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))
    else:
        layers, before = [], 1
        for after in CHANNELS:
            layers += [nn.Conv2d(before, after, 3), nn.ReLU(), nn.MaxPool2d(2)]
            before = after
        net = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)
        )
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    layout = torch.channels_last if channels_last else torch.contiguous_format
    net = net.to(device, memory_format=layout)
    optimizer = (
        torch.optim.SGD(net.parameters(), lr=0.01)
        if model == 'mlp'
        else torch.optim.Adam(net.parameters(), lr=0.001)
    )
    data, rows = images(), shuffled(batch)
    x = torch.from_numpy(data['image'].transpose(0, 3, 1, 2).copy())
    x = x.to(device, memory_format=layout)
    y = torch.from_numpy(data['label'].astype(np.int64)).to(device)

    def train(steps: int) -> None:
        for _ in range(steps):
            index = torch.from_numpy(next(rows)).to(device)
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[index]), y[index]).backward()
            optimizer.step()
        if device == 'cuda':
            torch.cuda.synchronize()

    return train


def stock(recipe: str) -> Train:
    """nnjax without its kernels."""
    os.environ['NNJAX_NATIVE'] = '0'
    return nnjax(recipe)


CONTENDERS: dict[str, Callable[[str], Train]] = {
    'nnjax': nnjax,
    'stock': stock,
    'flax': flax,
    'torch': torch,
    'torch, one thread': lambda recipe: torch(recipe, threads=1),
    'torch, channels last': lambda recipe: torch(recipe, channels_last=True),
}


if __name__ == '__main__':
    train = CONTENDERS[sys.argv[1]](sys.argv[2])
    for line in sys.stdin:
        began = time.perf_counter()
        train(int(line))
        print(time.perf_counter() - began, flush=True)
