"""A model's variables to a file and back."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from nnjax.errors import UserError
from nnjax.models import ViT
from nnjax.weights import file, pytorch


def load(
    path: str | Path, model: nn.Module, image: tuple[int, int, int] = (224, 224, 3)
) -> dict[str, Any]:
    """A safetensors file -> the model's variables {'params': ..., 'batch_stats': ...}, float32.

    The names are nnjax's own ('params/conv1/kernel') or, of VGG, GoogLeNet, ResNet and ViT,
    torchvision's and timm's; `num_batches_tracked` is left out.

    Args:
      path: the file.
      model: the linen module that takes its parameters.
      image: height, width and channels of its images. The position grid of a ViT is resampled
        where the file's is another one.

    Raises:
      UserError: no such file or a damaged one; a tensor missing, left over or of another shape.
    """
    return fit(path, file.read(path), model, image)


def save(path: str | Path, variables: Mapping[str, Any], model: nn.Module | None = None) -> None:
    """The variables to a safetensors file.

    The names are torchvision's and timm's where `model` is a VGG, GoogLeNet, ResNet or ViT, so that
    PyTorch's `load_state_dict` takes them; else nnjax's own, 'params/conv1/kernel'.
    """
    flat = flatten_dict(jax.device_get(variables), sep='/')
    if type(model) in pytorch.FAMILIES:
        flat = {pytorch.name(model, p): pytorch.to_pytorch(p, a) for p, a in flat.items()}
    file.write(path, flat)


def fit(
    path: str | Path, tensors: Mapping[str, np.ndarray], model: nn.Module, image: tuple[int, ...]
) -> dict[str, Any]:
    """`load` with the file's tensors read already; `path` is for messages."""
    tensors = {n: a for n, a in tensors.items() if not n.endswith('num_batches_tracked')}
    image_batch = jax.ShapeDtypeStruct((1, *image), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), image_batch)
    wanted = flatten_dict(shapes, sep='/')
    foreign = type(model) in pytorch.FAMILIES and not any(n.startswith('params/') for n in tensors)
    names = {p: pytorch.name(model, p) if foreign else p for p in wanted}
    _same_names(path, model, names, tensors)
    found = {}
    for place, name in names.items():
        array = pytorch.from_pytorch(place, tensors[name]) if foreign else tensors[name]
        if isinstance(model, ViT) and place == 'params/positions':
            array = _positions(array, image[0] // model.patch, image[1] // model.patch)
        if array.shape != wanted[place].shape:
            shape = wanted[place].shape
            if foreign:
                shape = pytorch.to_pytorch(place, np.empty(shape, bool)).shape
            raise UserError(
                f'{path}: {name!r} has shape {tensors[name].shape}, {describe(model)} needs {shape}'
            )
        found[place] = np.asarray(array, np.float32, order='C')
    return unflatten_dict(found, sep='/')


def describe(model: nn.Module) -> str:
    """A model with the fields that are not its defaults: 'VGG(depth=11)'."""
    fields = {n: f for n, f in model.__dataclass_fields__.items() if n not in ('parent', 'name')}
    given = [
        f'{n}={getattr(model, n)!r}' for n, f in fields.items() if getattr(model, n) != f.default
    ]
    return f'{type(model).__name__}({", ".join(given)})'


def _same_names(path, model, names: Mapping[str, str], tensors: Mapping[str, np.ndarray]) -> None:
    """Refuses a file that lacks a tensor or has one too many."""
    missing = [name for name in names.values() if name not in tensors]
    if missing:
        raise UserError(f'{path} lacks {_first(missing)}, which {describe(model)} needs')
    spare = sorted(set(tensors) - set(names.values()))
    if spare:
        raise UserError(f'{path} has {_first(spare)}, for which {describe(model)} has no place')


def _first(names: list[str]) -> str:
    return repr(names[0]) + (f' and {len(names) - 1} more' if len(names) > 1 else '')


def _positions(array: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Positions [1, 1 + n, D] of a square grid -> [1, 1 + rows * columns, D], bicubic.

    What is no square grid comes back as it is.
    """
    count = array.shape[1] - 1 if array.ndim == 3 else 0
    side = math.isqrt(max(count, 0))
    if count == rows * columns or count < 1 or side * side != count:
        return array
    token, grid = array[:, :1], array[:, 1:].reshape(1, side, side, -1)
    grid = jax.image.resize(grid.astype(np.float32), (1, rows, columns, grid.shape[-1]), 'cubic')
    return np.concatenate([token, np.asarray(grid).reshape(1, rows * columns, -1)], 1)
