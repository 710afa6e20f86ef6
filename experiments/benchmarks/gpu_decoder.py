"""Training speed of a decoder of 350 million parameters on a GPU, nnjax's beside PyTorch's.

  python experiments/benchmarks/gpu_decoder.py [--batch=8] [--contenders=nnjax,torch] [--peak=989]

bfloat16 with float32 parameters and AdamW, the same sizes and the same tokens; each contender in a
process of its own, one after another, with and without computing blocks again in the backward pass
(`-remat`). PyTorch runs under torch.compile with its scaled_dot_product_attention. Prints tokens a
second and the share of the device's peak that the model's own products are (MFU).
"""

import functools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
from absl import app, flags

FLAGS = flags.FLAGS
CONTENDERS = ['nnjax', 'nnjax-remat', 'torch', 'torch-remat']
flags.DEFINE_list('contenders', CONTENDERS, 'what runs')
flags.DEFINE_integer('width', 1024, 'numbers of a position')
flags.DEFINE_integer('layers', 24, 'blocks')
flags.DEFINE_integer('heads', 16, 'heads of attention')
flags.DEFINE_integer('vocabulary', 50_304, 'token ids; their table makes the logits too')
flags.DEFINE_integer('time', 2048, 'tokens of a sequence')
flags.DEFINE_integer('batch', 8, 'sequences of a step')
flags.DEFINE_integer('steps', 10, 'steps that are timed at a time')
flags.DEFINE_integer('rounds', 5, 'times of which the median counts')
flags.DEFINE_bool('compile', True, 'torch.compile')
flags.DEFINE_float('peak', None, "the device's dense bfloat16 TFLOP/s; default is by its name")
flags.DEFINE_string('one', '', 'run this contender here and print its numbers')

PEAKS = {'B200': 2250, 'H200': 989, 'H100 PCIe': 756, 'H100': 989, 'A100': 312, 'L40S': 362}
PEAKS |= {'L4': 121, 'A10': 125}
FORMULA = 'FLOPs a token = 6 N + 6 layers T width'  # products of weights; causal attention's


def flops() -> float:
    """Of a token, forward and backward; N without norms, biases and positions."""
    weights = FLAGS.width * (12 * FLAGS.layers * FLAGS.width + FLAGS.vocabulary)
    return 6 * weights + 6 * FLAGS.layers * FLAGS.time * FLAGS.width


def ids() -> np.ndarray:
    """[batch, T + 1], the same for all."""
    shape = FLAGS.batch, FLAGS.time + 1
    return np.random.default_rng(0).integers(0, FLAGS.vocabulary, shape, np.int32)


def nnjax(remat: bool) -> tuple[Callable[[int], float], str]:
    """-> (steps -> the last one's loss, the device's name)."""
    import jax
    import jax.numpy as jnp
    import optax

    from nnjax import models
    from nnjax.ops import losses

    model = models.TransformerDecoder(
        vocabulary=FLAGS.vocabulary,
        width=FLAGS.width,
        heads=FLAGS.heads,
        layers=FLAGS.layers,
        positions='learned',
        length=FLAGS.time,
        remat=remat,
        dtype=jnp.bfloat16,
    )
    optimizer, batch = optax.adamw(3e-4), jnp.asarray(ids())
    params = jax.jit(model.init)(jax.random.key(0), batch[:1, :-1])

    def loss(params, batch):
        logits = model.apply(params, batch[:, :-1], train=True)
        return jnp.mean(losses.cross_entropy_with_labels(logits, batch[:, 1:]))

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state, batch):
        value, gradient = jax.value_and_grad(loss)(params, batch)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value

    state = [params, jax.jit(optimizer.init)(params)]

    def run(steps: int) -> float:
        for _ in range(steps):
            *state[:], value = step(*state, batch)
        return float(value)

    return run, jax.devices()[0].device_kind


def pytorch(remat: bool) -> tuple[Callable[[int], float], str]:
    """-> (steps -> the last one's loss, the device's name)."""
    import torch
    from torch import nn
    from torch.nn import functional
    from torch.utils.checkpoint import checkpoint

    device = 'cuda' if torch.cuda.is_available() else 'cpu'

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            width = FLAGS.width
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.dense1, self.dense2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x):
            parts = self.qkv(self.norm1(x)).chunk(3, -1)
            q, k, v = (part.unflatten(-1, (FLAGS.heads, -1)).transpose(1, 2) for part in parts)
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.proj(y.transpose(1, 2).flatten(2))
            hidden = functional.gelu(self.dense1(self.norm2(x)), approximate='tanh')
            return x + self.dense2(hidden)

    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(FLAGS.vocabulary, FLAGS.width)
            self.places = nn.Embedding(FLAGS.time, FLAGS.width)
            nn.init.normal_(self.table.weight, std=FLAGS.width**-0.5)
            self.blocks = nn.ModuleList(Block() for _ in range(FLAGS.layers))
            self.norm = nn.LayerNorm(FLAGS.width)

        def forward(self, ids):
            x = self.table(ids) + self.places.weight
            for block in self.blocks:
                x = checkpoint(block, x, use_reentrant=False) if remat else block(x)
            return functional.linear(self.norm(x), self.table.weight)

    net = Decoder().to(device)
    optimizer = torch.optim.AdamW(net.parameters(), 3e-4, fused=device == 'cuda')
    called = torch.compile(net) if FLAGS.compile else net
    batch = torch.tensor(ids(), dtype=torch.long, device=device)

    def run(steps: int) -> float:
        for _ in range(steps):
            with torch.autocast(device, torch.bfloat16):
                logits = called(batch[:, :-1])
            loss = functional.cross_entropy(logits.float().flatten(0, 1), batch[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return float(loss)

    return run, torch.cuda.get_device_name() if device == 'cuda' else 'cpu'


def measured(contender: str) -> tuple[float, float, str]:
    """-> (tokens a second, the last loss, the device's name)."""
    name, _, more = contender.partition('-')
    run, device = {'nnjax': nnjax, 'torch': pytorch}[name](bool(more))
    run(2)  # compiles
    seconds, loss = [], 0.0
    for _ in range(FLAGS.rounds):
        start = time.perf_counter()
        loss = run(FLAGS.steps)
        seconds.append(time.perf_counter() - start)
    return FLAGS.steps * FLAGS.batch * FLAGS.time / statistics.median(seconds), loss, device


def main(arguments: list[str]) -> None:
    if FLAGS.one:
        print(*measured(FLAGS.one), sep='\t')
        return
    print(f'{FORMULA} = {flops():.4g}; MFU = tokens a second x that / peak')
    for contender in FLAGS.contenders:
        command = [sys.executable, *sys.argv, f'--one={contender}']
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            print(f'{contender:12} failed')
            continue
        speed, loss, device = done.stdout.splitlines()[-1].split('\t')
        peak = FLAGS.peak or next((PEAKS[name] for name in PEAKS if name in device), None)
        share = f'{float(speed) * flops() / peak / 1e12:.1%}' if peak else 'unknown, give --peak'
        print(f'{contender:12} {float(speed):,.0f} tokens a second, MFU {share}, on {device}; '
              f'loss {float(loss):.3f}')  # fmt: skip


if __name__ == '__main__':
    app.run(main)
