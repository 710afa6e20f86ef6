"""Contenders of `cpu_training.py`: each trains a recipe in a process of its own, turn by turn.

  python experiments/benchmarks/contenders.py CONTENDER RECIPE

A line with a number of steps comes in, a line with the seconds they took goes out. Every contender
trains the same architecture with the same optimizer on the same examples, each batch drawn by row
number from a permutation of the epoch.
"""

import os
import re
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np

EXAMPLES = 6400
CHANNELS = (32, 64, 128)
WIDTH, HEADS, TIME, VOCABULARY = 256, 4, 64, 1000

Train = Callable[[int], None]  # trains so many steps


def parts(recipe: str) -> tuple[str, int, bool]:
    """'vgg64bf16' -> (model, batch, whether in bfloat16)."""
    model, batch, narrow = re.fullmatch(r'([a-z]+)(\d+)(bf16)?', recipe).groups()
    return model, int(batch), bool(narrow)


def examples(model: str) -> dict[str, np.ndarray]:
    """Images, or sequences of token numbers, with labels."""
    rng = np.random.default_rng(0)
    labels = {'label': rng.integers(0, 10, EXAMPLES).astype(np.int32)}
    if model in ('lstm', 'transformer'):
        return {'tokens': rng.integers(0, VOCABULARY, (EXAMPLES, TIME)).astype(np.int32), **labels}
    return {'image': rng.random((EXAMPLES, 28, 28, 1), dtype=np.float32), **labels}


def shuffled(batch: int) -> Iterator[np.ndarray]:
    """Row numbers of one batch after another, a new permutation an epoch."""
    rng = np.random.default_rng(0)
    while True:
        yield from rng.permutation(EXAMPLES).reshape(-1, batch)


def nnjax(recipe: str) -> Train:
    """nnjax's own loop."""
    import jax
    from nets import NETS

    from nnjax import models, tasks
    from nnjax.config import base, bind
    from nnjax.data import sources
    from nnjax.training import optim
    from nnjax.training.run import Run
    from nnjax.training.setup import setup

    (model, batch, narrow), config = parts(recipe), base()
    data = examples(model)
    config.total = config.log_every = config.eval_every = '100000000 steps'
    config.batch = batch
    config.data = bind(sources.Arrays, train=data, valid=None)
    config.task = bind(tasks.classification, input=next(iter(data)))
    own = {'mlp': models.MLP, 'cnn': models.CNN, **NETS}
    config.model = bind(own[model])
    config.precision = 'bfloat16' if narrow else 'float32'
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


def stock(recipe: str) -> Train:
    """nnjax without its kernels."""
    os.environ['NNJAX_NATIVE'] = '0'
    return nnjax(recipe)


def flax(recipe: str) -> Train:
    """A jitted step of flax and optax, as their documentation writes it."""
    import flax.linen as nn
    import jax
    import jax.numpy as jnp
    import optax
    from nets import NETS

    class MLP(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return nn.Dense(10)(nn.relu(nn.Dense(64)(x.reshape(x.shape[0], -1))))

    class CNN(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            for channels in CHANNELS:
                x = nn.relu(nn.Conv(channels, (3, 3), padding='VALID')(x))
                x = nn.max_pool(x, (2, 2), (2, 2))
            return nn.Dense(10)(nn.relu(nn.Dense(128)(x.reshape(x.shape[0], -1))))

    model, batch, narrow = parts(recipe)
    options = {'dtype': jnp.bfloat16} if narrow else {}
    net = {'mlp': MLP, 'cnn': CNN}[model]() if model not in NETS else NETS[model](True, **options)
    optimizer = optax.sgd(0.01) if model == 'mlp' else optax.adam(0.001)
    data, rows = examples(model), shuffled(batch)
    field = next(iter(data))
    variables = net.init(jax.random.key(0), data[field][:1], False)
    params, statistics = variables.pop('params'), variables
    state = (params, statistics, optimizer.init(params))

    @jax.jit
    def step(state, x, y):
        params, statistics, memory = state

        def loss(params):
            variables = {'params': params, **statistics}
            logits, updated = net.apply(variables, x, True, mutable=list(statistics))
            error = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
            return error, updated

        grads, statistics = jax.grad(loss, has_aux=True)(params)
        updates, memory = optimizer.update(grads, memory, params)
        return optax.apply_updates(params, updates), statistics, memory

    def train(steps: int) -> None:
        nonlocal state
        for _ in range(steps):
            index = next(rows)
            state = step(state, data[field][index], data['label'][index])
        jax.block_until_ready(state)

    return train


def torch_net(model: str):
    """The same architectures by PyTorch's modules."""
    import torch
    from torch import nn

    if model == 'mlp':
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))
    if model in ('cnn', 'vgg'):
        layers, before = [], 1
        for after in CHANNELS:
            if model == 'cnn':
                layers += [nn.Conv2d(before, after, 3), nn.ReLU()]
            for c in (before, after) if model == 'vgg' else ():
                layers += [
                    nn.Conv2d(c, after, 3, padding=1, bias=False),
                    nn.BatchNorm2d(after),
                    nn.ReLU(),
                ]
            layers.append(nn.MaxPool2d(2))
            before = after
        head = [nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)]
        return nn.Sequential(
            *layers, nn.Flatten(), *(head if model == 'cnn' else [nn.Linear(9 * 128, 10)])
        )

    class Sequence(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(VOCABULARY, WIDTH)
            self.head = nn.Linear(WIDTH, 10)
            if model == 'lstm':
                self.body = nn.LSTM(WIDTH, WIDTH, batch_first=True)
            else:
                block = nn.TransformerEncoderLayer(
                    WIDTH, HEADS, 4 * WIDTH, 0.0, nn.GELU('tanh'), batch_first=True, norm_first=True
                )
                self.body = nn.TransformerEncoder(block, 4, nn.LayerNorm(WIDTH), False)

        def forward(self, tokens):
            y = self.body(self.embed(tokens))
            return self.head(y[0][:, -1] if model == 'lstm' else torch.mean(y, 1))

    return Sequence()


def torch(recipe: str, channels_last: bool = False, threads: int | None = None) -> Train:
    """PyTorch's eager modules."""
    import torch
    from torch import nn

    if threads:
        torch.set_num_threads(threads)
    model, batch, narrow = parts(recipe)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    layout = torch.channels_last if channels_last else torch.contiguous_format
    net = torch_net(model).to(device, memory_format=layout)
    optimizer = (
        torch.optim.SGD(net.parameters(), lr=0.01)
        if model == 'mlp'
        else torch.optim.Adam(net.parameters(), lr=0.001)
    )
    data, rows = examples(model), shuffled(batch)
    x = torch.from_numpy(data[next(iter(data))])
    x = x.permute(0, 3, 1, 2).to(device, memory_format=layout) if x.ndim == 4 else x.to(device)
    y = torch.from_numpy(data['label'].astype(np.int64)).to(device)

    def train(steps: int) -> None:
        for _ in range(steps):
            index = torch.from_numpy(next(rows)).to(device)
            optimizer.zero_grad()
            with torch.autocast(device, torch.bfloat16, enabled=narrow):
                loss = nn.functional.cross_entropy(net(x[index]), y[index])
            loss.backward()
            optimizer.step()
        if device == 'cuda':
            torch.cuda.synchronize()

    return train


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
