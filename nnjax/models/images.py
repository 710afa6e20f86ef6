"""What every model of images refuses, in one line."""

import flax.linen as nn

from nnjax.errors import UserError


def check(model: nn.Module, shape: tuple[int, ...], first: str) -> None:
    """Refuses what is no batch of images, or of other channels than the parameters are for.

    Args:
      model: as bound in its call.
      shape: of what came.
      first: path of the first convolution, whose kernel knows the channels.
    """
    kind = type(model).__name__
    if len(shape) != 4:
        raise UserError(f'{kind}: expected images [batch, height, width, channels], got {shape}')
    found = model.variables.get('params', {})
    for name in first.split('/'):
        found = found.get(name, {})
    if found and found['kernel'].shape[2] != shape[3]:
        raise UserError(
            f'{kind}: images of {shape[3]} channels, but {first} has parameters for '
            f'{found["kernel"].shape[2]}'
        )


def too_small(model: nn.Module, shape: tuple[int, ...], stage: str, remedy: str) -> UserError:
    """The error to raise for images that `stage`, in words, cannot take."""
    return UserError(
        f'{type(model).__name__}: {shape[1]}x{shape[2]} images are too small: {stage}; {remedy}'
    )
