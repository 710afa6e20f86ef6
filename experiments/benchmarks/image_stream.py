"""Images a second from a folder of JPEGs: nnjax's stream beside PyTorch's DataLoader.

  python experiments/benchmarks/image_stream.py [--rounds=7] [--images=2000] [--json=FILE]

Both read shuffled batches of 64 of the same files, 320x280, and make them uint8 [224, 224, 3] by the
same Pillow calls: decode, scale the shorter side to 224, cut the centre. nnjax decodes by threads, one
a processor; the DataLoader has 2 worker processes. Each is a process of its own; they take turns of
so many batches, for several rounds, with a pause in which the other's read-ahead comes to rest. What
was read ahead is not counted.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from absl import app, flags
from PIL import Image

ROUNDS = flags.DEFINE_integer('rounds', 7, 'turns of each')
IMAGES = flags.DEFINE_integer('images', 2000, 'JPEGs in the folder')
BATCHES = flags.DEFINE_integer('batches', 24, 'counted batches of a turn')
JSON = flags.DEFINE_string('json', None, 'also write the figures here')
CONTENDER = flags.DEFINE_enum('contender', None, ['nnjax', 'torch'], 'only this one, on --folder')
FOLDER = flags.DEFINE_string('folder', None, 'a folder made before')

SIZE, BATCH, WORKERS = 224, 64, 2
AHEAD = 6  # batches that are not counted: more than either has read ahead


def draw(folder: Path, count: int) -> None:
    """Writes `count` JPEGs, 320 wide and 280 high, of two classes: blotches under fine grain."""
    rng = np.random.default_rng(0)
    for name in 'ab':
        (folder / name).mkdir()
    for number in range(count):
        parts = [rng.integers(0, 256, (280 // step, 320 // step, 3)) for step in (35, 4)]
        coarse, fine = (
            np.asarray(Image.fromarray(p.astype(np.uint8)).resize((320, 280)), np.int16)
            for p in parts
        )
        pixels = np.clip(coarse + (fine - 128) // 4, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / 'ab'[number % 2] / f'{number}.jpg', quality=85)


def nnjax_batches(folder: str):
    """Endless batches of nnjax's stream."""
    from nnjax.data import kept, pipeline, sources
    from nnjax.data.order import Shuffled

    kept.KEPT_BYTES = 0  # the folder is small; it is read as a large one would be
    dataset = sources.Folder(folder, valid=None, test=None, size=SIZE)
    order = Shuffled(len(dataset.train), BATCH)
    return pipeline.stream(dataset.train, order, seed=0, start=0, stop=10**6)


def torch_batches(folder: str):
    """Endless batches of a DataLoader."""
    import torch

    files = sorted(Path(folder).glob('*/*.jpg'))

    class Files(torch.utils.data.Dataset):
        def __len__(self):
            return len(files)

        def __getitem__(self, index):
            with Image.open(files[index]) as image:
                image.draft('RGB', (SIZE, SIZE))
                image = image.convert('RGB')
                side = min(image.size)
                left, top = (image.width - side) / 2, (image.height - side) / 2
                box = (left, top, left + side, top + side)
                image = image.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=box)
            return torch.from_numpy(np.array(image)), int(files[index].parent.name == 'b')

    loader = torch.utils.data.DataLoader(
        Files(),
        BATCH,
        shuffle=True,
        num_workers=WORKERS,
        drop_last=True,
        persistent_workers=True,
    )
    while True:
        for images, labels in loader:
            yield {'image': images.numpy(), 'label': labels.numpy()}


def serve() -> None:
    """A contender's process: a line of standard input is a number of batches, the answer seconds."""
    make = {'nnjax': nnjax_batches, 'torch': torch_batches}[CONTENDER.value]
    batches = iter(make(FOLDER.value))
    for line in sys.stdin:
        for _ in range(AHEAD):
            next(batches)
        began = time.perf_counter()
        for _ in range(int(line)):
            batch = next(batches)
        seconds = time.perf_counter() - began
        assert batch['image'].shape == (BATCH, SIZE, SIZE, 3) and batch['image'].dtype == np.uint8
        print(seconds, flush=True)


class Worker:
    """A contender, seen from the measuring process."""

    def __init__(self, name: str, folder: str):
        self.name, self.speeds = name, []
        self._process = subprocess.Popen(
            [sys.executable, __file__, f'--contender={name}', f'--folder={folder}'],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def turn(self, batches: int) -> float:
        """Images a second."""
        self._process.stdin.write(f'{batches}\n')
        self._process.stdin.flush()
        speed = batches * BATCH / float(self._process.stdout.readline())
        time.sleep(0.7)
        return speed

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def main(_):
    if CONTENDER.value:
        serve()
        return
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder), IMAGES.value)
        workers = [Worker(name, folder) for name in ('nnjax', 'torch')]
        for worker in workers:
            worker.turn(1)
        for number in range(ROUNDS.value):
            for worker in workers:
                worker.speeds.append(worker.turn(BATCHES.value))
            print(
                f'round {number}: '
                + ', '.join(f'{worker.name} {worker.speeds[-1]:.0f}' for worker in workers),
                flush=True,
            )
        for worker in workers:
            worker.close()
    ours, theirs = (worker.speeds for worker in workers)
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    found = {worker.name: statistics.median(worker.speeds) for worker in workers}
    machine = {
        'processor': platform.processor() or platform.machine(),
        'cores': len(os.sched_getaffinity(0)),
        'pillow': version('pillow'),
        'torch': version('torch'),
    }
    print(
        f'images a second: nnjax {found["nnjax"]:.0f}, DataLoader {found["torch"]:.0f}; '
        f'nnjax over DataLoader: {ratio:.2f} (median of {ROUNDS.value})'
    )
    print(machine)
    if JSON.value:
        result = {'machine': machine, 'images_per_second': found, 'nnjax_over_torch': ratio}
        rounds = {worker.name: worker.speeds for worker in workers}
        Path(JSON.value).write_text(json.dumps({**result, 'rounds': rounds}, indent=2))


if __name__ == '__main__':
    app.run(main)
