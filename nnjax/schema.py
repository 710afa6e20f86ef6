"""What a callable's signature says of a config section: names, types, ranges, defaults, help."""

import ast
import dataclasses
import functools
import importlib
import importlib.util
import inspect
import math
import re
import sys
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union

from ml_collections import ConfigDict

from nnjax import duration
from nnjax.errors import UserError, nearest, unknown
from nnjax.fields import Duration, Range

Precision = Literal['float32', 'bfloat16']
Parallel = Literal['auto', 'jit', 'pmap', 'fsdp']

# The tables a saved config may name: nothing else is ever imported for it.
PACKAGES = ('nnjax.models', 'nnjax.tasks', 'nnjax.data.sources', 'nnjax.training.optim')
EXPERIMENT = 'nnjax_experiment'  # the module name of the experiment file in use
_bound: dict[str, Callable] = {}  # callables of the user's own that this process has bound
_SIMPLE = {int: 'a whole number', float: 'a number', str: 'a string', bool: 'True or False'}


@dataclasses.dataclass(frozen=True)
class Field:
    """One config field: its name, type annotation, default and line of help."""

    name: str
    annotation: Any
    default: Any = inspect.Parameter.empty
    doc: str = ''

    @classmethod
    def any(cls, name: str) -> 'Field':
        return cls(name, Any)

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty

    @property
    def allowed(self) -> str:
        """What the field takes, in words: 'a number in [0, 1)'."""
        return _describe(self.annotation)

    @property
    def traced(self) -> bool:
        """Whether the value enters the compiled step as data: a float or a duration."""
        return any(o is float or o == Duration for o in _options(self.annotation))

    def parse(self, text: str, path: str) -> Any:
        """A flag's text -> a value for `check`."""
        other = (text == 'None' and _optional(self.annotation)) or (
            text.startswith('(') and _accepts_tuple(self.annotation)
        )
        if _accepts_text(self.annotation) and not other:
            return (
                text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in '"\'' else text
            )
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError):
            return {'true': True, 'false': False, 'none': None}.get(text.lower(), text)

    def check(self, value: Any, path: str) -> Any:
        """The value, coerced (int to float, list to tuple), or a UserError naming the field."""
        for option in _options(self.annotation):
            accepted, fitted = _fit(value, option)
            if accepted:
                return fitted
        hint = nearest(value, _choices(self.annotation)) if isinstance(value, str) else ''
        raise UserError(f'{path}={value!r}: expected {self.allowed}{hint}')


def _optional(annotation) -> bool:
    return type(None) in typing.get_args(annotation)


def _options(annotation) -> list:
    """The members of a union; a lone type is a union of one."""
    if typing.get_origin(annotation) in (Union, types.UnionType):
        return list(typing.get_args(annotation))
    return [annotation]


def _choices(annotation) -> list[str]:
    return [
        c
        for o in _options(annotation)
        if typing.get_origin(o) is Literal
        for c in typing.get_args(o)
        if isinstance(c, str)
    ]


def _accepts_tuple(annotation) -> bool:
    return any(tuple in (option, typing.get_origin(option)) for option in _options(annotation))


def _accepts_text(annotation) -> bool:
    """Whether flag text is taken as it stands: strings, choices, durations."""
    for option in _options(annotation):
        bare = typing.get_args(option)[0] if typing.get_origin(option) is Annotated else option
        if bare is str or _choices(bare):
            return True
    return False


def _fit(value, option) -> tuple[bool, Any]:
    """(whether `value` is of the type `option`, the value as it is stored)."""
    if option is Any or option is inspect.Parameter.empty:
        return True, value
    origin, args = typing.get_origin(option), typing.get_args(option)
    if origin is Annotated:
        accepted, value = _fit(value, args[0])
        if not accepted:
            return False, value
        if option == Duration and not duration.valid(value):
            return False, value
        return all(value in mark for mark in args[1:] if isinstance(mark, Range)), value
    if origin is Literal:
        return value in args, value
    if option is type(None) or option is None:
        return value is None, value
    if option is bool:
        return isinstance(value, bool), value
    if option is int:
        return isinstance(value, int) and not isinstance(value, bool), value
    if option is float:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return number and math.isfinite(value), float(value) if number else value
    if option is tuple or origin is tuple:
        return _fit_tuple(value, args)
    if option is dict or origin in (dict, Mapping):
        return isinstance(value, (Mapping, ConfigDict)), value
    if isinstance(option, type):
        return isinstance(value, (option, ConfigDict)), value
    return True, value


def _fit_tuple(value, args) -> tuple[bool, Any]:
    if not isinstance(value, (tuple, list)):
        return False, value
    if not args:
        return True, tuple(value)
    kinds = [args[0]] * len(value) if args[-1] is Ellipsis else list(args)
    if len(kinds) != len(value):
        return False, value
    fitted = [
        next((f for o in _options(k) if (f := _fit(v, o))[0]), (False, v))
        for v, k in zip(value, kinds)
    ]
    return all(ok for ok, _ in fitted), tuple(v for _, v in fitted)


def _describe(option) -> str:
    origin, args = typing.get_origin(option), typing.get_args(option)
    if origin in (Union, types.UnionType):
        return ' or '.join(_describe(a) for a in args)
    if origin is Annotated:
        marks = ' '.join(str(m) for m in args[1:])
        return f'{_describe(args[0])} {marks}' if isinstance(args[1], Range) else marks
    if origin is Literal:
        return 'one of ' + ', '.join(map(str, args))
    if origin is tuple:
        if args[-1] is Ellipsis:
            noun, _, range_ = _describe(args[0]).removeprefix('a ').partition('number')
            return (
                f'a tuple of {noun}numbers{range_}'
                if 'number' in _describe(args[0])
                else (f'a tuple of {noun}s')
            )
        return f'a tuple of {len(args)}: ({", ".join(_describe(a) for a in args)})'
    if option is type(None) or option is None:
        return 'None'
    if option is Any or option is inspect.Parameter.empty:
        return 'any value'
    if option is dict or origin is dict:
        return 'a mapping of names to values'
    return _SIMPLE.get(option, getattr(option, '__name__', str(option)))


@functools.lru_cache(maxsize=256)
def fields(target: Callable) -> dict[str, Field]:
    """A function or linen module class -> {parameter name: Field}, in order."""
    function = target.__init__ if inspect.isclass(target) else target
    hints = typing.get_type_hints(
        target if inspect.isclass(target) else function, include_extras=True
    )
    docs = {}
    for owner in reversed(inspect.getmro(target)) if inspect.isclass(target) else [target]:
        docs |= _doc_lines(inspect.getdoc(owner) or '')  # a class also has its parents' fields
    found = {}
    for name, parameter in inspect.signature(target).parameters.items():
        if name in ('parent', 'name') and inspect.isclass(target) and hasattr(target, 'apply'):
            continue  # linen's own
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        annotation = hints.get(name, Any)
        found[name] = Field(name, annotation, _default(target, name, parameter), docs.get(name, ''))
    return found


def _default(target, name, parameter):
    """A dataclass field with a factory shows a sentinel in its signature: call the factory."""
    field = getattr(target, '__dataclass_fields__', {}).get(name)
    if field is not None and field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return parameter.default


def _doc_lines(doc: str) -> dict[str, str]:
    """The `name: text` entries of a docstring's Args or Attributes -> {name: text on one line}."""
    lines, current, margin = {}, None, 0
    for line in re.split(r'^(?:Args|Attributes):\s*$', doc, flags=re.M)[-1].splitlines():
        indent = len(line) - len(line.lstrip())
        entry = re.match(r'\s+(\w+)(?: \([^)]*\))?: (.*)', line)
        if current and indent > margin:
            lines[current] += ' ' + line.strip()
        elif entry:
            current, margin = entry[1], indent
            lines[current] = entry[2].strip()
        elif line.strip():
            current = None
    return lines


def name_of(target: Callable) -> str:
    """A callable -> the dotted name under which a saved config finds it again."""
    for package in PACKAGES:
        if getattr(sys.modules.get(package), target.__name__, None) is target:
            return f'{package}.{target.__name__}'
    name = f'{target.__module__}.{target.__qualname__}'
    _bound[name] = target
    return name


def resolve(name: str) -> Callable:
    """`name_of`'s inverse: nnjax's own tables, and what this process itself has bound.

    Raises:
      UserError: any other name; a saved config never causes an import from elsewhere.
    """
    module, _, attribute = name.rpartition('.')
    if name in _bound:
        return _bound[name]
    if module not in PACKAGES:
        raise UserError(
            f'{name!r} is not part of nnjax; give its experiment file with --config=FILE'
        )
    table = importlib.import_module(module)
    if attribute.startswith('_') or not callable(getattr(table, attribute, None)):
        raise unknown(f'name in {module}', attribute, [n for n in dir(table) if n[0] != '_'])
    return getattr(table, attribute)


def experiment_module(path: Path) -> types.ModuleType:
    """Runs an experiment file and makes its symbols resolvable by saved configs."""
    spec = importlib.util.spec_from_file_location(EXPERIMENT, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[EXPERIMENT] = module
    spec.loader.exec_module(module)
    return module


def best(text: str) -> tuple[str, str]:
    """'max accuracy' -> ('max', 'accuracy')."""
    direction, _, metric = text.partition(' ')
    if direction not in ('min', 'max') or not metric.strip():
        raise UserError(f"best={text!r}: expected 'min NAME' or 'max NAME', e.g. 'max accuracy'")
    return direction, metric.strip()
