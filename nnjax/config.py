"""Experiment configs: a signature becomes a section, a flag becomes a checked value.

`bind(models.MLP, hidden=(64,))` writes every parameter of the callable into a section, so the saved
config is complete; the callable's annotations (`nnjax.fields`) say what a flag may set.
"""

import inspect
import json
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict, FrozenConfigDict
from ml_collections.config_dict import placeholder

from nnjax import defaults, schema
from nnjax.errors import UserError, nearest, unknown

SECTIONS = ('data', 'model', 'task', 'optim')


def base(arg: str = '') -> ConfigDict:
    """Experiment argument ('' or 'smoke') -> a config with every run-level field."""
    if arg not in ('', 'smoke'):
        raise UserError(f"unknown experiment argument {arg!r} (allowed: 'smoke')")
    config = section(defaults.run)
    config.smoke = arg == 'smoke'
    return config


def bind(target: Callable, /, **values) -> ConfigDict:
    """A callable and some of its keywords -> its section, complete, checked and typed.

    Raises:
      UserError: an unknown keyword, a missing one, or a value outside its field's type.
    """
    config = section(target, **values)
    config.fn = schema.name_of(target)
    return config


def section(target: Callable, /, **values) -> ConfigDict:
    """`bind` without the name: for the run itself."""
    fields = schema.fields(target)
    label = getattr(target, '__name__', str(target))
    for name in values:
        if name not in fields:
            raise unknown(f'argument of {label}', name, fields)
    config = ConfigDict()
    for name, field in fields.items():
        if name in values:
            value = values[name]
        elif field.required:
            raise UserError(f'{label} needs {name!r}: {field.allowed}')
        else:
            value = field.default
        config[name] = placeholder(object) if value is None else _plain(field.check(value, name))
    return config


def _plain(value):
    """A section stays itself; another mapping becomes one, so that flags reach into it."""
    if isinstance(value, Mapping) and not isinstance(value, ConfigDict):
        return ConfigDict(dict(value))
    return value


def field_of(config: ConfigDict, path: str) -> tuple[ConfigDict, str, schema.Field]:
    """'optim.lr' -> (the section, 'lr', its field), or a UserError naming the nearest."""
    here, owner = config, defaults.run
    parts = path.split('.')
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        free = None
        if owner is not None:
            known = schema.fields(owner)
            field = known.get(part)
        else:  # inside a free mapping, such as optim.options
            field = free = schema.Field.any(part)
        if field is None and part not in here and free is None:
            names = [n for n in {*here, *known} if n != 'fn']
            place = '.'.join(parts[:depth])
            raise UserError(
                f'unknown config field {path!r}{nearest(part, names)} '
                f'({place or "config"} has: {", ".join(sorted(names))})'
            )
        if last:
            if isinstance(here.get(part), ConfigDict):
                raise UserError(
                    f'{path!r} is a section; set one of its fields, e.g. {path}.'
                    f'{next(n for n in here[part] if n != "fn")}'
                )
            return here, part, field or schema.Field.any(part)
        here = here.get(part)
        if not isinstance(here, ConfigDict):
            raise UserError(
                f'config field {".".join(parts[: depth + 1])!r} is a value, not a section'
            )
        owner = schema.resolve(here.fn) if 'fn' in here else None
    raise AssertionError('unreachable')


def override(config: ConfigDict, path: str, value: Any) -> None:
    """Sets `config.path`, in place, from a flag's text or a value, checked against its type."""
    put(config, path, parse(config, path, value) if isinstance(value, str) else value)


def parse(config: ConfigDict, path: str, text: str) -> Any:
    """A flag's text -> the value that `config.path` takes."""
    field = field_of(config, path)[2]
    return field.check(field.parse(text, path), path)


def put(config: ConfigDict, path: str, value: Any) -> Any:
    """Sets `config.path` in place and gives the value as it is stored: checked, and fitted."""
    here, name, field = field_of(config, path)
    if path.endswith('.fn') or path == 'fn':
        raise UserError(f'{path!r} is fixed by the experiment file')
    value = field.check(value, path)
    with here.ignore_type(), here.unlocked():
        here[name] = placeholder(object) if value is None else value
    return value


def check(config: ConfigDict) -> None:
    """Every value of a finished config against its field; UserError at the first mistake."""
    for name in SECTIONS:
        if config.get(name) is None:
            raise UserError(
                f'the config has no section {name!r}; set it with config.{name} = bind(...)'
            )
    for path, value in leaves(config):
        if path.rsplit('.', 1)[-1] != 'fn':
            field_of(config, path)[2].check(value, path)
    schema.best(config.best)


def leaves(config: ConfigDict, prefix: str = '') -> Iterator[tuple[str, Any]]:
    """Yields (path, value) of every field; sections are walked, tuples are values."""
    for name in config:
        value = config.get(name)
        if isinstance(value, (ConfigDict, FrozenConfigDict)):
            yield from leaves(value, f'{prefix}{name}.')
        else:
            yield f'{prefix}{name}', value


def to_json(config: ConfigDict) -> dict:
    """A config -> plain dictionaries and JSON values; tuples as lists, an array as its shape."""
    return json.loads(json.dumps({n: _jsonable(config.get(n)) for n in config}))


def _jsonable(value):
    if isinstance(value, ConfigDict):
        return {n: _jsonable(value.get(n)) for n in value}
    if hasattr(value, '__array__'):  # of sources.Arrays; the data's fingerprint tells them apart
        return f'array {value.dtype} {list(value.shape)}'
    return list(map(_jsonable, value)) if isinstance(value, (tuple, list)) else value


def from_json(tree: Mapping) -> ConfigDict:
    """`to_json`'s inverse; imports nothing but what nnjax's own tables hold."""
    config = ConfigDict()
    for name, value in tree.items():
        if isinstance(value, Mapping):
            config[name] = from_json(value)
        elif value is None:
            config[name] = placeholder(object)
        else:
            config[name] = tuples(value)
    return config


def tuples(value: Any) -> Any:
    """A JSON value with its lists as tuples, as configs hold them."""
    return tuple(map(tuples, value)) if isinstance(value, list) else value


def load(spec: str, overrides: Mapping[str, Any] | None = None) -> ConfigDict:
    """'FILE[:arg]' or 'NAME[:arg]' and {field: flag text or value} -> a locked, checked config.

    NAME is an experiment that ships with nnjax. With ':smoke' sequences have one bucket, where
    no override says others.
    """
    module, arg = experiment(spec)
    config = called(spec, lambda: module.get_config(arg))
    if not isinstance(config, ConfigDict):
        raise UserError(
            f'{spec}: get_config must return a config made by base(), got {type(config).__name__}'
        )
    if arg == 'smoke' and config.get('buckets'):
        config.buckets = ()  # whose programs take minutes to compile
    config.lock()
    for path, value in (overrides or {}).items():
        override(config, path, value)
    check(config)
    return config


def experiment(spec: str):
    """'FILE[:arg]' -> (its module, arg). The file is run; its symbols become resolvable."""
    name, _, arg = spec.partition(':')
    path = find(name)
    try:
        module = schema.experiment_module(path)
    except SyntaxError as error:
        raise UserError(f'{path}: syntax error in line {error.lineno}: {error.msg}') from None
    except UserError as error:
        raise UserError(f'{path}: {error}') from None
    except Exception as error:
        raise UserError(_told(path, error)) from error
    if not callable(getattr(module, 'get_config', None)):
        raise UserError(f'{path} has no get_config(arg) function')
    try:
        inspect.signature(module.get_config).bind(arg)
    except TypeError:
        raise UserError(f"{path}: get_config must take one argument: get_config(arg='')") from None
    return module, arg


def called(spec: str, function: Callable[[], Any]) -> Any:
    """What a function of the experiment 'FILE[:arg]' returns; its errors are a UserError."""
    try:
        return function()
    except UserError as error:
        raise UserError(f'{spec}: {error}') from None
    except Exception as error:
        raise UserError(_told(find(spec.partition(':')[0]), error)) from error


def _told(path: Path, error: Exception) -> str:
    """An error of an experiment's file in one line: 'FILE, line 7: NameError: ...'."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f.lineno for f in frames if Path(f.filename).resolve() == path.resolve()]
    place = f'{path}, line {lines[-1]}' if lines else f'{path}'
    return f'{place}: {type(error).__name__}: {(str(error).splitlines() or [""])[0]}'


def find(name: str) -> Path:
    """An experiment's path, or the name of one that ships with nnjax -> its path."""
    path = Path(name)
    if path.is_file():
        if path.suffix != '.py':
            raise UserError(f'--config={name} is no experiment: expected a file that ends in .py')
        return path
    shipped = {
        p.stem: p
        for folder in _folders()
        for p in sorted(folder.glob('*.py'))
        if not p.stem.startswith('_')
    }
    if name in shipped:
        return shipped[name]
    if path.is_dir():
        raise UserError(f'--config={name} is a folder; name an experiment file in it')
    raise UserError(
        f'no experiment file {name!r}{nearest(path.stem, shipped)} (shipped: {", ".join(shipped)})'
    )


def _folders() -> list[Path]:
    package = Path(__file__).parent
    return [f for f in (package / 'experiments', package.parent / 'experiments') if f.is_dir()]


def describe(config: ConfigDict) -> list[tuple[str, str, str, str]]:
    """Rows (path, value, allowed, explanation) of every field, for --help."""
    rows = []
    for path, value in leaves(config):
        if not path.endswith('fn'):
            field = field_of(config, path)[2]
            rows.append((path, str(value), field.allowed, field.doc))
    return rows
