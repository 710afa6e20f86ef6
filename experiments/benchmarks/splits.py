"""An experiment's data as the input of a PyTorch script."""

from pathlib import Path

import numpy as np


def save(experiment: str, path: Path) -> None:
    """Writes an .npz of {train,valid,test}_{image,label}."""
    from nnjax import build
    from nnjax.config import load

    dataset = build.instantiate(load(experiment).data)
    found = {}
    for name in ('train', 'valid', 'test'):
        source = getattr(dataset, name)
        rows = source[np.arange(len(source))]
        found |= {f'{name}_image': rows['image'], f'{name}_label': rows['label']}
    np.savez(path, **found)
