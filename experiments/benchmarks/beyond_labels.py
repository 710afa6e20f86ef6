"""Speed of regression, autoencoders and k-means beside PyTorch and scikit-learn, in one run.

  python experiments/benchmarks/beyond_labels.py [--rounds=7]

Both sides do the same work on the same numbers, and take turns in one process; a figure is the
median over rounds, a ratio the median of the rounds' ratios. Networks train a step at a time on
batches of resident rows with Adam. K-means is Lloyd's algorithm from the same first centres, stopped
after 20 moves.
"""

import statistics
import time

import jax
import numpy as np
from absl import app, flags

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim
from nnjax.training.run import Run
from nnjax.training.setup import setup

ROUNDS = flags.DEFINE_integer('rounds', 7, 'turns of both sides')
EXAMPLES, STEPS, MOVES = 6400, 100, 20


def tabular():
    """The diamonds network without sines: 9 numbers, 256-256-1, batch 256."""
    rng = np.random.default_rng(0)
    data = {
        'features': rng.normal(size=(EXAMPLES, 9)).astype(np.float32),
        'target': rng.normal(size=(EXAMPLES, 1)).astype(np.float32),
    }
    model = bind(models.TabularMLP, hidden=(256, 256), activation='relu')
    ours = trainer(data, model, bind(tasks.regression), 256)

    def net(torch):
        nn = torch.nn
        direct = nn.Linear(9, 1)
        deep = nn.Sequential(
            nn.Linear(9, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 1)
        )
        return nn.ModuleList([direct, deep]), lambda x: direct(x) + deep(x)

    return ours, torch_trainer(net, data['features'], data['target'], 256)


def autoencoder():
    """Dense 784-256-32-256-784, batch 128."""
    images = np.random.default_rng(0).random((EXAMPLES, 28, 28, 1), dtype=np.float32)
    ours = trainer({'image': images}, bind(models.Autoencoder), bind(tasks.reconstruction), 128)

    def net(torch):
        nn = torch.nn
        layers = nn.Sequential(
            nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 32),
            nn.Linear(32, 256), nn.ReLU(), nn.Linear(256, 784),
        )  # fmt: skip
        return layers, layers

    flat = images.reshape(EXAMPLES, 784)
    return ours, torch_trainer(net, flat, flat, 128)


def trainer(data, model, task, batch):
    config = base()
    config.total = config.log_every = config.eval_every = '100000000 steps'
    config.batch, config.parallel = batch, 'jit'
    config.data = bind(sources.Arrays, train=data, valid=None)
    config.model, config.task = model, task
    config.optim = bind(optim.make, name='adam', lr=0.001)
    run = Run(setup(config), None, '', quiet=True)

    def train():
        until = run.step + STEPS
        while run.step < until:
            run.advance(until)
        jax.block_until_ready(run.carry)

    return train


def torch_trainer(net, x, y, batch):
    import torch

    torch.manual_seed(0)
    module, forward = net(torch)
    x, y = torch.tensor(x), torch.tensor(y)
    adam = torch.optim.Adam(module.parameters(), lr=0.001)
    rng = np.random.default_rng(0)

    def train():
        for _ in range(STEPS):
            rows = torch.from_numpy(rng.permutation(EXAMPLES)[:batch])
            adam.zero_grad()
            torch.nn.functional.mse_loss(forward(x[rows]), y[rows]).backward()
            adam.step()

    return train


def kmeans():
    """60,000 points of 32 numbers, ten clusters."""
    from sklearn.cluster import KMeans

    from nnjax.ops import cluster

    rng = np.random.default_rng(0)
    points = rng.normal(size=(60_000, 32)).astype(np.float32)
    first = points[:10]
    on_device = jax.numpy.asarray(points)

    def ours():
        jax.block_until_ready(cluster.lloyd(on_device, first, MOVES))

    def theirs():
        # No tolerance, so that neither stops before the last move.
        KMeans(10, init=first, n_init=1, max_iter=MOVES, tol=0).fit(points)

    return ours, theirs


def main(_):
    print(f'{"work":<14}{"nnjax":>10}{"other":>10}{"ratio":>8}   (milliseconds)')
    for make in (tabular, autoencoder, kmeans):
        sides = make()
        for side in sides:  # compiles
            side()
        taken = [[seconds(side) for side in sides] for _ in range(ROUNDS.value)]
        ours, theirs = (1000 * statistics.median(column) for column in zip(*taken))
        ratio = statistics.median(b / a for a, b in taken)
        print(f'{make.__name__:<14}{ours:10.1f}{theirs:10.1f}{ratio:8.2f}', flush=True)


def seconds(side) -> float:
    start = time.perf_counter()
    side()
    return time.perf_counter() - start


if __name__ == '__main__':
    app.run(main)
