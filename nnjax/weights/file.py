"""Arrays by name in a safetensors file; nothing in it is ever run."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from nnjax.errors import UserError

SUFFIX = '.safetensors'
PICKLES = ('.pt', '.pth', '.bin', '.ckpt', '.pkl')


def read(path: str | Path) -> dict[str, np.ndarray]:
    """A safetensors file -> {name: array}, of the dtypes that were stored.

    Raises:
      UserError: no such file, a pickle, a damaged file, or a type that NumPy lacks.
    """
    path = Path(path)
    if path.suffix in PICKLES:
        raise UserError(
            f'{path} is a pickle, which can run code when it is read; where you trust it, convert '
            'it with PyTorch: safetensors.torch.save_file(torch.load('
            f"{path.name!r}, weights_only=True), '{path.stem}{SUFFIX}')"
        )
    if path.suffix != SUFFIX:
        raise UserError(f'{path}: expected a {SUFFIX} file')
    if not path.is_file():
        raise UserError(f'no file {path}')
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f'{path} is damaged: {error}') from None
    except (AttributeError, KeyError):  # safetensors looks the type up in NumPy
        raise UserError(
            f'{path} holds numbers of a type that NumPy lacks, such as float8: store it as float32'
        ) from None


def write(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a whole file or nothing; its folder is made."""
    path = Path(path)
    if path.suffix != SUFFIX:
        raise UserError(f'{path}: the name must end in {SUFFIX}')
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.name}.tmp')
    save_file({name: np.asarray(a, order='C') for name, a in arrays.items()}, temporary)
    os.replace(temporary, path)
