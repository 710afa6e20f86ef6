"""Speed of nnjax, PyTorch and jitted stock flax on the same work, in one run.

  python experiments/benchmarks/cpu_training.py [--rounds=7] [--json=FILE] [--recipes=mlp-64,vgg11-32-s32,cnn-64-inference]

Each contender is a process of its own with its own default threads, so none disturbs another's. They
take turns of about half a second, five steps at least, for several rounds; a figure is the median
over rounds, a ratio the median of the rounds' ratios. PyTorch runs with contiguous and
channels_last tensors and with one thread; the fastest of them counts.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from absl import app, flags
from contenders import CONTENDERS, read

ROUNDS = flags.DEFINE_integer('rounds', 7, 'turns of every contender')
JSON = flags.DEFINE_string('json', None, 'also write the figures here')
RECIPES = flags.DEFINE_list(
    'recipes',
    ['mlp-64', 'cnn-32', 'cnn-64', 'cnn-256', 'vgg-64', 'vgg-64-bf16', 'lstm-64', 'transformer-64'],
    'network, batch, and where they apply s32 (32x32 in colour), bf16, inference',
)

SECONDS = 0.5  # of a turn, about


class Worker:
    """A contender's process."""

    def __init__(self, name: str, recipe: str):
        self.name, self.speeds = name, []
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name('contenders.py')), name, recipe],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # on a GPU every process takes only the memory that it needs
            env={**os.environ, 'XLA_PYTHON_CLIENT_PREALLOCATE': 'false'},
        )
        self._seconds(3)  # compiles
        slow = self._seconds(1) > SECONDS
        self._steps = 5 if slow else max(5, round(10 * SECONDS / self._seconds(10)))

    def _seconds(self, steps: int) -> float:
        self._process.stdin.write(f'{steps}\n')
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def turn(self) -> None:
        self.speeds.append(self._steps / self._seconds(self._steps))

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def measure(recipe: str, rounds: int) -> dict:
    """Steps a second of every contender (median over rounds) and nnjax's ratios."""
    workers = [
        Worker(name, recipe)
        for name in CONTENDERS
        if (read(recipe).images and recipe[:3] != 'mlp') or 'channels' not in name
    ]
    for _ in range(rounds):
        for worker in workers:
            worker.turn()
    for worker in workers:
        worker.close()
    speeds = {worker.name: worker.speeds for worker in workers}
    median = {name: statistics.median(values) for name, values in speeds.items()}
    best = max((name for name in median if name.startswith('torch')), key=median.get)

    def ratio(peer: str) -> float:
        return statistics.median(a / b for a, b in zip(speeds['nnjax'], speeds[peer], strict=True))

    return {
        'recipe': recipe,
        'steps_per_second': median,
        'rounds': speeds,
        'best_torch': best,
        'nnjax_over_torch': ratio(best),
        'nnjax_over_stock': ratio('stock'),
        'nnjax_over_flax': ratio('flax'),
    }


def main(_):
    print(
        f'{"recipe":<26}{"nnjax":>9} {"stock":>9} {"flax":>9} {"torch":>9}   nnjax over: '
        'stock   flax  torch   (steps a second; stock is nnjax with NNJAX_NATIVE=0)'
    )
    results = []
    for recipe in RECIPES.value:
        found = measure(recipe, ROUNDS.value)
        results.append(found)
        speed = found['steps_per_second']
        print(
            f'{recipe:<26}{speed["nnjax"]:9.1f} {speed["stock"]:9.1f} {speed["flax"]:9.1f} '
            f'{speed[found["best_torch"]]:9.1f}   {found["nnjax_over_stock"]:17.2f} '
            f'{found["nnjax_over_flax"]:6.2f} {found["nnjax_over_torch"]:6.2f}   '
            f'({found["best_torch"]})',
            flush=True,
        )
    machine = {
        'processor': platform.processor() or platform.machine(),
        'cores': len(os.sched_getaffinity(0)),
        'jax': version('jax'),
        'torch': version('torch'),
    }
    print(machine)
    if JSON.value:
        Path(JSON.value).write_text(json.dumps({'machine': machine, 'results': results}, indent=2))


if __name__ == '__main__':
    app.run(main)
