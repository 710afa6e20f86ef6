"""A sweep's page shows every configuration, what the fields do, and what went wrong."""

import json
import math
import re

import numpy as np
import pytest
from scipy import stats

from nnjax import cli, report
from nnjax import config as configs
from nnjax.errors import UserError
from nnjax.report import axis, sweep_folder, sweep_page
from nnjax.report.importance import importance, ranked
from nnjax.report.shade import Scale
from tests.test_report import Page

STEPS = range(25, 501, 25)
RATES, DECAYS, WIDTHS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0), (0.0, 1e-4, 1e-3), ((64,), (128, 64))


def grid(seeds=3):
    return [
        {'optim.lr': lr, 'optim.weight_decay': decay, 'model.hidden': hidden, 'seed': seed}
        for lr in RATES
        for decay in DECAYS
        for hidden in WIDTHS
        for seed in range(seeds)
    ]


def goal(point) -> float:
    """The accuracy a point ends at: best at lr 0.03, a little better with decay and width."""
    rise = 0.04 * math.log10(point['optim.lr'] / 0.03) ** 2
    width = len(point.get('model.hidden', (64,)))
    return 0.97 - rise + 4 * point.get('optim.weight_decay', 0.0) + 0.004 * width


def lane(index, point, rng):
    """A lane's records: lr 1.0 diverges, what is far behind at half of the steps is dropped."""
    end = goal(point) + rng.normal() * 0.003
    best = 0.0
    for step in STEPS:
        clock = {'point': index, 'step': step, 'epoch': step / 25, 'seconds': step / 40}
        if point['optim.lr'] >= 1.0 and step >= 100:
            yield {'point': index, 'split': 'train', 'step': step, 'diverged': True}
            return
        accuracy = end - 0.6 * math.exp(-step / 90) + rng.normal() * 0.004
        loss = 2.3 * math.exp(-step / 100 * (1 + math.log10(point['optim.lr'] / 0.001))) + 0.02
        yield {**clock, 'split': 'train', 'loss': loss * math.exp(rng.normal() / 9), 'lr': 0.1}
        dropped = {'dropped': True} if step == 250 and goal(point) < 0.945 else {}
        best = max(best, accuracy)
        yield {**clock, 'split': 'valid', 'loss': 1 - accuracy, 'accuracy': accuracy, **dropped}
        if dropped:
            return
    final = {'best_step': 400, 'best_value': best, 'parameters': 9000, 'finished': True}
    test = {'accuracy': end - 0.005, 'loss': 0.1, 'f1/0': 0.5}
    yield {**clock, 'split': 'test', **test, **final}


def save(path, points=None, records=None, best='max accuracy', **environment):
    points = grid() if points is None else points
    if records is None:
        rng = np.random.default_rng(0)
        records = [r for index, point in enumerate(points) for r in lane(index, point, rng)]
    path.mkdir(parents=True, exist_ok=True)
    config = configs.load('digits_mlp')
    config.best = best
    saved = {'experiment': 'digits_mlp', 'data': 'print', 'points': points, 'plan': {}}
    (path / 'sweep.json').write_text(json.dumps(saved | {'config': configs.to_json(config)}))
    (path / 'metrics.jsonl').write_text(''.join(json.dumps(r) + '\n' for r in records))
    environment = {'commit': 'abc1234', 'command': 'nnjax sweep --config=digits_mlp'} | environment
    (path / 'environment.json').write_text(json.dumps(environment))
    return path
