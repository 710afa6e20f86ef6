"""From sections to objects: the last place, with the loop, that sees a ConfigDict.

A section's traced fields (floats and durations of `optim` and `task`, the run's `total` and `ema`)
leave it as a pytree of arrays, `hyperparameters`; the rest is static. Building a task or an
optimizer puts the two together again, inside the compiled step.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from nnjax import config as configs
from nnjax import schema
from nnjax.errors import UserError

TRACED_SECTIONS = ('optim', 'task')
TRACED_FIELDS = ('ema',)

Hyperparameters = dict[str, Any]  # a nested dict of float32 scalars and vectors


@dataclasses.dataclass(frozen=True)
class Open:
    """A section with its traced numbers left open: call it with them to build the object.

    A value, equal for equal static parts: what is compiled for one learning rate serves the next.
    """

    text: str

    def __call__(self, values: Mapping[str, Any]) -> Any:
        return instantiate(configs.from_json(json.loads(self.text)), values)


def open_section(section: ConfigDict, values: Mapping[str, Any]) -> Open:
    """A section and its traced numbers -> the section without them."""
    return Open(json.dumps(_blank(configs.to_json(section), values), sort_keys=True))


def _blank(section: dict, values: Mapping) -> dict:
    blank = dict(section)
    for name, value in values.items():
        blank[name] = _blank(section[name], value) if isinstance(value, Mapping) else 0.0
    return blank


def instantiate(section: ConfigDict, values: Mapping[str, Any] | None = None) -> Any:
    """Calls a section's callable with its fields; `values` (nested) replace fields by name."""
    return schema.resolve(section.fn)(**_arguments(section, values or {}))


def _arguments(section: ConfigDict, values: Mapping) -> dict[str, Any]:
    arguments = {}
    for name in section:
        if name == 'fn':
            continue
        field = section.get(name)
        if not isinstance(field, ConfigDict):
            arguments[name] = values.get(name, field)
        elif 'fn' in field:
            arguments[name] = instantiate(field, values.get(name))
        else:
            arguments[name] = _arguments(field, values.get(name, {}))
    return arguments


def hyperparameters(config: ConfigDict, to_steps: Callable[[str], int]) -> Hyperparameters:
    """Every traced number of a config: {'total', 'ema', 'optim': {...}, 'task': {...}}.

    Durations become steps by `to_steps`. The tree's structure depends on which optional fields are
    set, never on the numbers, so runs that differ in numbers alone share one compiled step.
    """
    values = {'total': np.float32(to_steps(config.total))}
    for name in TRACED_FIELDS:
        if config.get(name) is not None:
            values[name] = np.float32(config[name])
    for name in TRACED_SECTIONS:
        values[name] = _traced(config[name], to_steps)
    return values


def _traced(section: ConfigDict, to_steps) -> Hyperparameters:
    fields = schema.fields(schema.resolve(section.fn)) if 'fn' in section else {}
    values = {}
    for name in section:
        value = section.get(name)
        if isinstance(value, ConfigDict):
            values[name] = _traced(value, to_steps)
        elif isinstance(value, float):
            values[name] = np.float32(value)
        elif isinstance(value, tuple) and value and all(isinstance(v, float) for v in value):
            values[name] = np.array(value, np.float32)
        elif isinstance(value, str) and name in fields and fields[name].traced:
            values[name] = np.float32(to_steps(value))
    return {name: value for name, value in values.items() if not isinstance(value, dict) or value}


def traced_paths(tree: Hyperparameters, prefix: str = '') -> list[str]:
    """The config paths that are arguments of the step: ['optim.lr', ...]."""
    paths = []
    for name, value in tree.items():
        if isinstance(value, dict):
            paths += traced_paths(value, f'{prefix}{name}.')
        else:
            paths.append(prefix + name)
    return paths


def model(config: ConfigDict):
    """The linen module of `config.model`, and those in it, computing in the run's precision."""
    values = {} if config.precision == 'float32' else _precise(config.model, config.precision)
    return instantiate(config.model, values)


def _precise(section: ConfigDict, precision: str) -> dict[str, Any]:
    """A module's section -> its field 'dtype', and those of the modules that it holds."""
    if 'dtype' not in section:
        raise UserError(f'precision={precision!r}: {section.fn} has no dtype field')
    parts = {name: section.get(name) for name in section}
    held = {n: p for n, p in parts.items() if isinstance(p, ConfigDict) and 'fn' in p}
    return {'dtype': jnp.dtype(precision), **{n: _precise(p, precision) for n, p in held.items()}}
