"""Contenders of `cpu_training.py` and `cpu_sequences.py`: each runs a recipe in a process of its own, turn by turn.

  python experiments/benchmarks/contenders.py CONTENDER RECIPE

A line with a number of steps comes in, a line with the seconds they took goes out. Every contender
trains the same architecture with the same optimizer on the same examples, each batch drawn by row
number from a permutation of the epoch; or, in a recipe of inference, computes such batches' logits,
or in one of beams searches for their translations.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from sizes import BEAMS, BEGIN, END, LONGEST, PENALTY, TIME, VOCABULARY

EXAMPLES = 6400

Run = Callable[[int], None]  # runs so many steps


class Recipe(NamedTuple):
    """'vgg-64-bf16': a network, the batch, and where not the usual: s32, bf16, inference, beam."""

    net: str
    batch: int
    side: int = 28
    narrow: bool = False
    inference: bool = False
    beam: bool = False

    @property
    def images(self) -> bool:
        return self.net not in ('lstm', 'gru', 'transformer', 'translator')

    @property
    def colours(self) -> int:
        return 1 if self.side == 28 else 3

    @property
    def rate(self) -> float:
        """The learning rate, of SGD for the MLP and of Adam for the rest."""
        return 0.01 if self.net == 'mlp' else 0.001


def read(text: str) -> Recipe:
    net, batch, *rest = text.split('-')
    sides = [int(word[1:]) for word in rest if word[0] == 's']
    words = [word in rest for word in ('bf16', 'inference', 'beam')]
    return Recipe(net, int(batch), *(sides or [28]), *words)


def examples(recipe: Recipe) -> dict[str, np.ndarray]:
    """Images, or sequences of token numbers, with labels; or two sequences."""
    rng = np.random.default_rng(0)
    tokens = lambda: rng.integers(0, VOCABULARY, (EXAMPLES, TIME)).astype(np.int32)
    if recipe.net == 'translator':
        full = np.full(EXAMPLES, TIME, np.int32)
        both = {'source': tokens(), 'target': tokens()}
        return both | {'source_length': full, 'target_length': full}
    labels = {'label': rng.integers(0, 10, EXAMPLES).astype(np.int32)}
    if not recipe.images:
        return {'tokens': tokens(), **labels}
    shape = (EXAMPLES, recipe.side, recipe.side, recipe.colours)
    return {'image': rng.random(shape, dtype=np.float32), **labels}


def given(recipe: Recipe, data: dict, index) -> tuple[tuple, np.ndarray]:
    """Rows of the data -> what a network reads, and what it is to give."""
    if recipe.net == 'translator':
        source, target = data['source'][index], data['target'][index]
        return (source, target[:, :-1]), target[:, 1:]
    return (data[next(iter(data))][index],), data['label'][index]


def shuffled(batch: int) -> Iterator[np.ndarray]:
    """Row numbers of one batch after another, a new permutation an epoch."""
    rng = np.random.default_rng(0)
    while True:
        yield from rng.permutation(EXAMPLES).reshape(-1, batch)


def nnjax(recipe: Recipe) -> Run:
    """nnjax's own loop."""
    import jax
    from nets import NETS

    from nnjax import tasks
    from nnjax.config import base, bind
    from nnjax.data import sources
    from nnjax.training import optim
    from nnjax.training.run import Run
    from nnjax.training.setup import setup

    module, fields = NETS[recipe.net]
    if recipe.inference or recipe.beam:
        return (beam if recipe.beam else inference)(recipe, module, fields)
    config, data = base(), examples(recipe)
    config.total = config.log_every = config.eval_every = '100000000 steps'
    config.batch = recipe.batch
    config.data = bind(sources.Arrays, train=data, valid=None)
    config.task = (
        bind(tasks.translation)
        if recipe.net == 'translator'
        else bind(tasks.classification, input=next(iter(data)))
    )
    config.model = bind(module, **fields)
    config.precision = 'bfloat16' if recipe.narrow else 'float32'
    config.optim = bind(optim.make, name='sgd' if recipe.net == 'mlp' else 'adam', lr=recipe.rate)
    config.parallel = 'jit'
    run = Run(setup(config), None, '', quiet=True)

    def train(steps: int) -> None:
        until = run.step + steps
        while run.step < until:
            run.advance(until)
        jax.block_until_ready(run.carry)

    return train


def stock(recipe: Recipe) -> Run:
    """nnjax without its kernels."""
    os.environ['NNJAX_NATIVE'] = '0'
    return nnjax(recipe)


def inference(recipe: Recipe, module, fields) -> Run:
    """The jitted model, a batch a call."""
    import jax

    data, rows = examples(recipe), shuffled(recipe.batch)
    field = next(iter(data))
    net = module(**fields, **narrow(recipe))
    variables = net.init(jax.random.key(0), data[field][:1])
    apply = jax.jit(net.apply)

    def run(steps: int) -> None:
        for _ in range(steps):
            logits = apply(variables, data[field][next(rows)])
        jax.block_until_ready(logits)

    return run


def beam(recipe: Recipe, module, fields) -> Run:
    """The jitted search, a batch a call, of texts that do not end before their time."""
    import jax

    from nnjax.ops import decode

    data, rows, net = examples(recipe)['source'], shuffled(recipe.batch), module(**fields)
    variables = net.init(jax.random.key(0), data[:1], None, data[:1], None)

    @jax.jit
    def search(variables, source):
        def step(cache, ids):
            logits, cache = net.apply(variables, cache, ids, method='decode')
            return logits.at[:, END].set(-1e9), cache

        memory = net.apply(variables, source, method='encode')
        cache = net.apply(variables, memory, LONGEST, BEAMS, method='begin')
        first = np.full(len(source), BEGIN, np.int32)
        return decode.beam(step, cache, first, LONGEST, BEAMS, PENALTY, eos=END)

    def run(steps: int) -> None:
        for _ in range(steps):
            found = search(variables, data[next(rows)])
        jax.block_until_ready(found)

    return run


def narrow(recipe: Recipe) -> dict:
    """The field that has a network compute in bfloat16, where the recipe asks for that."""
    import jax.numpy as jnp

    return {'dtype': jnp.bfloat16} if recipe.narrow else {}


def flax(recipe: Recipe) -> Run:
    """A jitted step of flax and optax, as their documentation writes it, on linen's layers."""
    import jax
    import optax
    from nets import on_linen

    module, fields = on_linen()[recipe.net]
    if recipe.inference or recipe.beam:
        return (beam if recipe.beam else inference)(recipe, module, fields)
    net = module(**fields, **narrow(recipe))
    optimizer = (optax.sgd if recipe.net == 'mlp' else optax.adam)(recipe.rate)
    data, rows = examples(recipe), shuffled(recipe.batch)
    key = jax.random.key(0)
    # of two sequences come their lengths too
    read = lambda x: (x[0], None, x[1], None) if len(x) > 1 else x
    variables = net.init(key, *read(given(recipe, data, slice(0, 1))[0]), train=False)
    params, statistics = variables.pop('params'), variables
    state = (params, statistics, optimizer.init(params), key)

    @jax.jit
    def step(state, x, y):
        params, statistics, memory, key = state
        key, now = jax.random.split(key)

        def loss(params):
            variables, rngs = {'params': params, **statistics}, {'dropout': now}
            logits, updated = net.apply(
                variables, *read(x), train=True, mutable=list(statistics), rngs=rngs
            )
            error = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
            return error, updated

        grads, statistics = jax.grad(loss, has_aux=True)(params)
        updates, memory = optimizer.update(grads, memory, params)
        return optax.apply_updates(params, updates), statistics, memory, key

    def train(steps: int) -> None:
        nonlocal state
        for _ in range(steps):
            state = step(state, *given(recipe, data, next(rows)))
        jax.block_until_ready(state)

    return train


def torch(recipe: Recipe, channels_last: bool = False, threads: int | None = None) -> Run:
    """PyTorch's eager modules."""
    import torch
    import torch_beam
    import torch_nets
    from torch import nn

    if threads:
        torch.set_num_threads(threads)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    layout = torch.channels_last if channels_last else torch.contiguous_format
    sizes = (recipe.side, recipe.colours) if recipe.images else ()
    net = getattr(torch_nets, recipe.net)(*sizes).to(device, memory_format=layout)
    kind = torch.optim.SGD if recipe.net == 'mlp' else torch.optim.Adam
    optimizer = kind(net.parameters(), lr=recipe.rate)
    data, rows = examples(recipe), shuffled(recipe.batch)
    data = {n: torch.from_numpy(a).to(device) for n, a in data.items()}
    if 'image' in data:
        data['image'] = data['image'].permute(0, 3, 1, 2).to(device, memory_format=layout)
    net.train(not recipe.inference and not recipe.beam)

    def step() -> None:
        index = torch.from_numpy(next(rows)).to(device)
        if recipe.beam:
            torch_beam.beam(net, data['source'][index])
            return
        x, y = given(recipe, data, index)
        with torch.autocast(device, torch.bfloat16, enabled=recipe.narrow):
            logits = net(*x)
            if recipe.inference:
                return
            loss = nn.functional.cross_entropy(logits.flatten(0, -2), y.flatten().long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def run(steps: int) -> None:
        with torch.inference_mode(recipe.inference or recipe.beam):
            for _ in range(steps):
                step()
        if device == 'cuda':
            torch.cuda.synchronize()

    return run


CONTENDERS: dict[str, Callable[[Recipe], Run]] = {
    'nnjax': nnjax,
    'stock': stock,
    'flax': flax,
    'torch': torch,
    'torch, one thread': lambda recipe: torch(recipe, threads=1),
    'torch, channels last': lambda recipe: torch(recipe, channels_last=True),
}


if __name__ == '__main__':
    run = CONTENDERS[sys.argv[1]](read(sys.argv[2]))
    for line in sys.stdin:
        began = time.perf_counter()
        run(int(line))
        print(time.perf_counter() - began, flush=True)
