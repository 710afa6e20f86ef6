"""Speed of nnjax and PyTorch in detection, verification and suppression, the same work in one run.

  python experiments/benchmarks/boxes_and_pairs.py [--rounds=5] [--recipes=detector,embedder,suppress]

Each contender is a process of its own with its own default threads; they take turns of about half a
second. `detector` is a training step of `digit_scenes` (VGG-11 at a quarter of its width, 64 images of
64x64), `embedder` one of `synthetic_faces` (128 images of 32x32, ArcFace over 450 identities), both
with Adam; `suppress` finds the 100 best of 1,000 boxes in each of 64 images by class-wise
suppression, in PyTorch as a loop over those found on all images at once. Of PyTorch the faster of
all threads and one counts.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from absl import app, flags

ROUNDS = flags.DEFINE_integer('rounds', 5, 'turns of every contender')
RECIPES = flags.DEFINE_list('recipes', ['detector', 'embedder', 'suppress'], 'what is timed')
SECONDS = 0.5  # of a turn, about
SCENES, FACES, IDENTITIES, CANDIDATES, FOUND = 64, 128, 450, 1000, 100


def scenes() -> dict[str, np.ndarray]:
    """Noise with four boxes an image: what is in it takes no time."""
    rng = np.random.default_rng(0)
    corner, size = rng.random((640, 4, 2)) * 0.6, 0.2 + 0.2 * rng.random((640, 4, 2))
    return {
        'image': rng.random((640, 64, 64, 1), np.float32),
        'boxes': np.concatenate([corner, corner + size], -1).astype(np.float32),
        'label': rng.integers(0, 10, (640, 4)).astype(np.int32),
    }


def faces() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    label = (np.arange(1280) % IDENTITIES).astype(np.int32)
    return {'image': rng.random((1280, 32, 32, 3), np.float32), 'label': label}


def candidates() -> tuple[np.ndarray, ...]:
    """Boxes [B, N, 4], scores [B, N], classes [B, N]: twenty objects found fifty times each."""
    rng = np.random.default_rng(0)
    corner, size = rng.random((SCENES, 20, 2)) * 0.7, 0.1 + 0.2 * rng.random((SCENES, 20, 2))
    each = CANDIDATES // 20
    boxes = np.concatenate([corner, corner + size], -1).repeat(each, 1)
    boxes = (boxes + 0.05 * rng.normal(size=boxes.shape)).astype(np.float32)
    kinds = rng.integers(0, 10, (SCENES, 20)).repeat(each, 1).astype(np.int32)
    return boxes, rng.random((SCENES, CANDIDATES), np.float32), kinds


def nnjax(recipe: str):
    import jax

    from nnjax import config as configs
    from nnjax.config import bind
    from nnjax.data import sources
    from nnjax.ops import boxes
    from nnjax.training.run import Run
    from nnjax.training.setup import setup

    if recipe == 'suppress':
        given = candidates()
        suppress = jax.jit(jax.vmap(lambda *one: boxes.suppress(*one, 0.5, FOUND)))
        return lambda steps: [jax.block_until_ready(suppress(*given)) for _ in range(steps)]
    name = {'detector': 'digit_scenes', 'embedder': 'synthetic_faces'}[recipe]
    never = '100000000 steps'
    fields = {'total': never, 'log_every': never, 'eval_every': never, 'parallel': 'jit'}
    with_adam = {'optim.name': 'adam', 'optim.weight_decay': '0.0', 'optim.decay': 'constant'}
    config = configs.load(
        name, {**fields, **with_adam, 'augment': '', 'prepare': '', 'ema': 'None'}
    )
    with config.unlocked(), config.ignore_type():
        config.data = bind(
            sources.Arrays, train=scenes() if recipe == 'detector' else faces(), valid=None
        )
    run = Run(setup(config), None, '', quiet=True)

    def train(steps: int) -> None:
        until = run.step + steps
        while run.step < until:
            run.advance(until)
        jax.block_until_ready(run.carry)

    return train


def torch(recipe: str, threads: int | None = None):
    import torch
    import torch_boxes

    if threads:
        torch.set_num_threads(threads)
    if recipe == 'suppress':
        given = [torch.from_numpy(array) for array in candidates()]
        return lambda steps: [torch_boxes.suppress(*given, 0.5, FOUND) for _ in range(steps)]
    detects = recipe == 'detector'
    net = torch_boxes.Detector() if detects else torch_boxes.Embedder(IDENTITIES)
    loss = torch_boxes.detection_loss if detects else torch_boxes.arcface_loss
    data = {n: torch.from_numpy(a) for n, a in (scenes() if detects else faces()).items()}
    data['image'] = data['image'].permute(0, 3, 1, 2).contiguous()
    data['label'] = data['label'].long()
    batch, rng = SCENES if detects else FACES, np.random.default_rng(0)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.003)

    def train(steps: int) -> None:
        for _ in range(steps):
            rows = torch.from_numpy(rng.permutation(len(data['image']))[:batch])
            optimizer.zero_grad()
            loss(net, {name: array[rows] for name, array in data.items()}).backward()
            optimizer.step()

    return train


CONTENDERS = {
    'nnjax': nnjax,
    'torch': torch,
    'torch, one thread': lambda recipe: torch(recipe, 1),
}


class Worker:
    """A contender's process: a number of steps in, the seconds that they took out."""

    def __init__(self, name: str, recipe: str):
        command = [sys.executable, str(Path(__file__)), 'worker', name, recipe]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        self.speeds = []
        self._seconds(3)  # compiles
        self._steps = max(3, round(5 * SECONDS / self._seconds(5)))

    def _seconds(self, steps: int) -> float:
        self._process.stdin.write(f'{steps}\n')
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def turn(self) -> None:
        self.speeds.append(self._steps / self._seconds(self._steps))

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def main(_):
    print(f'{"recipe":<12}{"nnjax":>10}{"torch":>10}   nnjax over torch (steps a second, medians)')
    for recipe in RECIPES.value:
        workers = {name: Worker(name, recipe) for name in CONTENDERS}
        for _ in range(ROUNDS.value):
            for worker in workers.values():
                worker.turn()
        for worker in workers.values():
            worker.close()
        speeds = {name: worker.speeds for name, worker in workers.items()}
        median = {name: statistics.median(values) for name, values in speeds.items()}
        best = max((name for name in median if name != 'nnjax'), key=median.get)
        pairs = zip(speeds['nnjax'], speeds[best], strict=True)
        ratio = statistics.median(a / b for a, b in pairs)
        print(
            f'{recipe:<12}{median["nnjax"]:10.2f}{median[best]:10.2f}   {ratio:.2f} ({best})',
            flush=True,
        )


if __name__ == '__main__':
    if sys.argv[1:2] == ['worker']:
        act = CONTENDERS[sys.argv[2]](sys.argv[3])
        for line in sys.stdin:
            began = time.perf_counter()
            act(int(line))
            print(time.perf_counter() - began, flush=True)
    else:
        app.run(main)
