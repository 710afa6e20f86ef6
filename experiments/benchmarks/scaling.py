"""What several devices send each other in a training step, and what that makes of 1,024 of them.

  python experiments/benchmarks/scaling.py [--recipes=digits_mlp,fashion_resnet] [--json=FILE]

The first table is counted, not timed: bytes that collectives reduce or gather in the compiled step,
on 1 to 8 virtual devices. The second is a model, built on those bytes and on the step's arithmetic;
`scaling.md` beside this file states it. Every number is computed here from constants with a source.
"""

import dataclasses
import json
import math
import os
import re
from pathlib import Path
from unittest import mock

os.environ['XLA_FLAGS'] = '--xla_force_host_platform_device_count=8'
os.environ['JAX_PLATFORMS'] = 'cpu'
os.environ['NNJAX_NATIVE'] = '0'  # XLA cannot split the kernels, which an accelerator has not

import jax
import numpy as np
from absl import app, flags

from nnjax import config as configs
from nnjax import models, tasks
from nnjax.analysis import flops
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim, runner, step
from nnjax.training.setup import Setup, setup

RECIPES = flags.DEFINE_list(
    'recipes', ['digits_mlp', 'fashion_cnn_tuned', 'fashion_resnet', 'fashion_vit'], 'counted'
)
MODELLED = flags.DEFINE_list(
    'modelled', ['fashion_resnet', 'fashion_vit', 'resnet50'], 'recipes of the second table'
)
DEVICES = flags.DEFINE_list('devices', ['1', '2', '4', '8'], 'virtual ones of the first table')
JSON = flags.DEFINE_string('json', None, 'also write the figures here')

ACCELERATORS = (1, 8, 64, 256, 1024)
SIZES = {'f32': 4, 's32': 4, 'u32': 4, 'bf16': 2, 'f16': 2, 'u8': 1, 's8': 1, 'pred': 1}
KINDS = ('all-reduce', 'all-gather', 'reduce-scatter', 'all-to-all', 'collective-permute')
COLLECTIVE = re.compile(rf'= (\(.*?\)|\S+) ({"|".join(KINDS)})(?:-start)?\(')


@dataclasses.dataclass(frozen=True)
class Machine:
    """Accelerators of one kind and how they are connected.

    Attributes:
      peak: FLOP/s of one in bfloat16, dense.
      domain: how many the fast links join.
      inside, outside: bytes a second that one can send within its domain and beyond it.
      hop_inside, hop_outside: seconds from one to the next, assumed.
      source: of the published figures.
    """

    peak: float
    domain: int
    inside: float
    outside: float
    hop_inside: float
    hop_outside: float
    source: str


MACHINES = {
    'H100': Machine(
        peak=989.4e12,
        domain=8,
        inside=900e9 / 2,  # NVLink's figure is both directions
        outside=400e9 / 8,  # a ConnectX-7 of 400 Gb/s for each GPU
        hop_inside=1e-6,
        hop_outside=5e-6,
        source='NVIDIA H100 SXM5 and DGX H100 data sheets',
    ),
    'TPU v5e': Machine(
        peak=197e12,
        domain=256,
        inside=51.2e12 / 256,  # all-reduce bandwidth of a pod
        outside=6.4e12 / 8 / 256,  # data centre network of a pod
        hop_inside=1e-6,
        hop_outside=50e-6,
        source='cloud.google.com/tpu/docs/v5e',
    ),
}
UTILISATION = 0.4  # of the peak, assumed; a small model reaches less
SHARE = 64  # examples a device in the model: the global batch grows with the devices


def resnet50() -> configs.ConfigDict:
    """ResNet-50 on images of 224x224, which need not be there."""
    c = base()
    rows = {'image': np.zeros((4, 224, 224, 3), np.uint8), 'label': np.zeros(4, np.int64)}
    c.data = bind(sources.Arrays, train=rows, valid=None)
    c.prepare = 'scale(255)'
    c.model = bind(models.ResNet, depth=50, classes=1000)
    c.task = bind(tasks.classification)
    c.optim = bind(optim.make, name='sgd', lr=0.1, momentum=0.9)
    return c


def made(recipe: str, mode: str, devices: int, batch: int) -> Setup:
    config = resnet50() if recipe == 'resnet50' else configs.load(recipe)
    fields = {'batch': batch, 'parallel': mode if devices > 1 else 'jit', 'devices': devices}
    for name, value in fields.items():
        configs.override(config, name, str(value))
    return setup(config)


def program(run: Setup) -> str:
    """The compiled step as it trains, as text."""
    place = run.placement
    one = runner.compiled(run.program, place, 'one')
    carry, _ = runner.first(run, run.state)
    shaped = lambda leaf: jax.ShapeDtypeStruct(
        leaf.shape, leaf.dtype, sharding=place.sharding(leaf)
    )
    carry = jax.tree.map(shaped, carry)
    rows = place.lanes  # the batch's first axis
    batch = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=rows),
        run.batch_shapes(run.config.batch),
    )
    whole = jax.jit(lambda carry, batch: one(carry, {}, batch, (run.hyperparameters,)))
    with mock.patch('jax.default_backend', lambda: 'tpu'):  # its form of each operation
        lowered = whole.lower(carry, batch)
    options = {'xla_backend_optimization_level': 0}  # of the code, not of the collectives
    return lowered.compile(compiler_options=options).as_text()


def collectives(text: str) -> list[tuple[str, int]]:
    """A compiled program -> (kind, bytes that it works on, on one device) of each collective.

    For all-reduce what is summed, for all-gather what comes out, for reduce-scatter what is left.
    """
    return [
        (
            kind,
            sum(
                SIZES[dtype] * math.prod(int(n) for n in shape.split(',') if n)
                for dtype, shape in re.findall(r'(\w+)\[([\d,]*)\]', shapes)
            ),
        )
        for shapes, kind in COLLECTIVE.findall(text)
    ]


def sent(kind: str, size: int, n: int) -> float:
    """Bytes that each of n devices sends where the collective is a ring."""
    return (
        size
        * {
            'all-reduce': 2 * (n - 1) / n,
            'all-gather': (n - 1) / n,
            'reduce-scatter': n - 1,
            'all-to-all': (n - 1) / n,
            'collective-permute': 1,
        }[kind]
    )


def all_reduce(size: float, k: int, bandwidth: float, hop: float) -> float:
    """Seconds of an all-reduce among k: the faster of a ring and a tree."""
    ring = 2 * (k - 1) / k * size / bandwidth + 2 * (k - 1) * hop
    tree = 2 * math.ceil(math.log2(k)) * (size / bandwidth + hop)
    return min(ring, tree)


def seconds(machine: Machine, size: float, n: int) -> float:
    """Seconds of an all-reduce over n: within each domain, then of the parts among the domains."""
    near = min(n, machine.domain)
    inside = all_reduce(size, near, machine.inside, machine.hop_inside)
    return inside + all_reduce(size / near, n // near, machine.outside, machine.hop_outside)


def counted() -> list[dict]:
    rows = []
    for recipe in RECIPES.value:
        for mode in ('pmap', 'fsdp'):
            for n in map(int, DEVICES.value):
                run = made(recipe, mode, n, 64)
                found = collectives(program(run))
                row = {'recipe': recipe, 'mode': mode, 'devices': n, 'collectives': len(found)}
                row['parameters'] = sum(x.size for x in jax.tree.leaves(run.state.params))
                row |= {k: sum(size for kind, size in found if kind == k) for k in KINDS}
                row['sent'] = sum(sent(kind, size, n) for kind, size in found)
                rows.append(row)
                print(_counted(rows[-1]), flush=True)
    return rows


def modelled() -> list[dict]:
    rows = []
    for recipe in MODELLED.value:
        found = collectives(program(made(recipe, 'pmap', 2, 4)))
        assert {kind for kind, _ in found} == {'all-reduce'}
        one = made(recipe, 'jit', 1, SHARE)
        work = flops.count(
            lambda state, batch, values, run=one: step.train_step(
                run.program, state, batch, values
            ),
            one.state,
            one.batch_shapes(SHARE),
            one.hyperparameters,
        )
        for name, machine in MACHINES.items():
            for n in ACCELERATORS:
                compute = work / (machine.peak * UTILISATION)
                sending = sum(seconds(machine, size, n) for _, size in found)
                rows.append(
                    {
                        'recipe': recipe,
                        'machine': name,
                        'devices': n,
                        'flops': work,
                        'collectives': len(found),
                        'bytes': sum(size for _, size in found),
                        'compute': compute,
                        'sending': sending,
                        'efficiency': compute / (compute + sending),
                        'images': n * SHARE / (compute + sending),
                    }
                )
                print(_modelled(rows[-1]), flush=True)
    return rows


def _counted(row: dict) -> str:
    sizes = ' | '.join(f'{row[kind] / 1e6:.3f}' for kind in (*KINDS, 'sent'))
    return (
        f'| {row["recipe"]} | {row["parameters"] * 4 / 1e6:.3f} | {row["mode"]} | '
        f'{row["devices"]} | {row["collectives"]} | {sizes} |'
    )


def _modelled(row: dict) -> str:
    return (
        f'| {row["recipe"]} | {row["machine"]} | {row["devices"]:,} | {row["flops"] / 1e9:.1f} | '
        f'{row["collectives"]} | {row["bytes"] / 1e6:.2f} | {1e3 * row["compute"]:.3f} | {1e3 * row["sending"]:.3f} | '
        f'{row["efficiency"]:.0%} | {row["images"]:,.0f} |'
    )


def _head(*names: str) -> None:
    print(f'| {" | ".join(names)} |\n|{"---|" * len(names)}')


def main(argv) -> None:
    del argv
    _head('recipe', 'parameters', 'mode', 'devices', 'collectives', *KINDS, 'sent by each')
    found = counted()
    print('\nMB in a step of 64 examples.\n')
    _head(
        'recipe', 'machine', 'devices', 'GFLOP each', 'all-reduces', 'MB', 'compute, ms', 'sending, ms',
        'efficiency', 'examples a second',
    )  # fmt: skip
    figures = {'counted': found, 'modelled': modelled()}
    if JSON.value:
        Path(JSON.value).write_text(json.dumps(figures, indent=1))


if __name__ == '__main__':
    app.run(main)
