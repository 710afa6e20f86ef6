"""prints what is in use here: devices, CPU kernels, versions, folders"""

import platform
from importlib import metadata
from pathlib import Path

from absl import flags

from nnjax import cache
from nnjax.cli import options

PACKAGES = ('nnjax', 'jax', 'jaxlib', 'flax', 'optax', 'numpy', 'tensorflow-datasets', 'grain')
FEATURES = ('avx2', 'avx512f', 'avx512_bf16', 'amx_tile', 'amx_bf16')


def define(values: flags.FlagValues) -> None:
    del values


def run(parsed: options.Options) -> None:
    import jax

    from nnjax.data import builders
    from nnjax.ops.native import library

    kernels = library.load()
    rows = {
        'devices': ', '.join(f'{d.platform}:{d.id} {d.device_kind}' for d in jax.devices()),
        'CPU kernels': f'oneDNN, {kernels.path}' if kernels.path else f'none: {kernels.why}',
        'kernel threads': str(library.threads()),
        'processor': f'{platform.machine()}, {", ".join(_features()) or "features unknown"}',
        'Python': f'{platform.python_version()}, {platform.platform()}',
        **{name: metadata.version(name) for name in PACKAGES},
        'cache': str(cache.root()),
        'data': str(builders.data_dir()),
    }
    for name, text in rows.items():
        print(f'{name:<20} {text}')


def _features() -> list[str]:
    """The instruction sets that matter, as Linux names them."""
    info = Path('/proc/cpuinfo')
    if not info.is_file():
        return []
    line = next((x for x in info.read_text().splitlines() if x.startswith('flags')), '')
    return [name for name in FEATURES if name in line.split()]
