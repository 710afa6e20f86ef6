"""nnjax: neural networks as pure functions in JAX and Flax."""


def __getattr__(name: str):
    # Lazy, so that `nnjax --help` does not wait for JAX.
    if name == 'train':
        from nnjax.training.loop import train

        return train
    if name == 'load_config':
        from nnjax.config import load

        return load
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
