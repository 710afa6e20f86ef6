"""Operations written as text: 'pad_crop(2) | flip' -> the functions it names. Nothing is executed."""

import ast
import inspect
import math
import typing
from collections.abc import Callable
from types import ModuleType
from typing import Annotated, Any

from nnjax.errors import UserError, nearest
from nnjax.fields import Range

_WORDS = {int: 'a whole number', float: 'a number', str: 'a text', bool: 'True or False'}


def parse(text: str, module: ModuleType) -> tuple[Callable, ...]:
    """Text and the module that holds its operations -> the operations, built with their arguments.

    Arguments are Python literals. An operation without arguments needs no parentheses.

    Raises:
      UserError: no Python expression, an unknown operation (with its column), wrong arguments.
    """
    if not text.strip():
        return ()
    kind = module.__name__.rpartition('.')[2]
    try:
        tree = ast.parse(text.strip(), mode='eval').body
    except (SyntaxError, ValueError) as error:
        column = len(text) - len(text.lstrip()) + (getattr(error, 'offset', None) or 1)
        message = getattr(error, 'msg', str(error))
        raise UserError(
            f'{kind}={text!r}: {message} in column {column}; '
            "write operations such as 'pad_crop(2) | flip'"
        ) from None
    return tuple(_build(node, text, module, kind) for node in _parts(tree))


def _parts(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return [*_parts(node.left), *_parts(node.right)]
    return [node]


def _build(node: ast.expr, text: str, module: ModuleType, kind: str) -> Callable:
    call = node if isinstance(node, ast.Call) else None
    name = call.func if call else node
    place = f'{kind}={text!r}, column {len(text) - len(text.lstrip()) + node.col_offset + 1}'
    if not isinstance(name, ast.Name):
        raise UserError(f"{place}: expected an operation such as 'flip' or 'pad_crop(2)'")
    operations = {
        n: f
        for n, f in vars(module).items()
        if inspect.isfunction(f) and f.__module__ == module.__name__ and n[0] != '_'
    }
    if name.id not in operations:
        raise UserError(
            f'{place}: unknown operation {name.id!r}{nearest(name.id, operations)} '
            f'(allowed: {", ".join(sorted(operations))})'
        )
    operation = operations[name.id]
    try:
        arguments = [ast.literal_eval(a) for a in call.args] if call else []
        keywords = {k.arg: ast.literal_eval(k.value) for k in call.keywords} if call else {}
    except (ValueError, TypeError):
        raise UserError(f'{place}: arguments of {name.id} must be plain values') from None
    try:
        bound = inspect.signature(operation).bind(*arguments, **keywords)
    except TypeError as error:
        raise UserError(f'{place}: {error}; {_usage(operation)}') from None
    hints = typing.get_type_hints(operation, include_extras=True)
    for argument, value in bound.arguments.items():
        plain, ranges = _type(hints[argument])
        if not _fits(value, plain, ranges):
            wanted = ' '.join([_WORDS[plain], *map(str, ranges)])
            raise UserError(
                f'{place}: {argument}={value!r}: expected {wanted}; {_usage(operation)}'
            )
    return operation(*arguments, **keywords)


def _type(annotation: Any) -> tuple[type, list[Range]]:
    """An annotation of `nnjax.fields` -> its plain type and ranges."""
    if typing.get_origin(annotation) is Annotated:
        plain, *marks = typing.get_args(annotation)
        return plain, [mark for mark in marks if isinstance(mark, Range)]
    return annotation, []


def _fits(value: Any, plain: type, ranges: list[Range]) -> bool:
    kinds = (int, float) if plain is float else plain
    if not isinstance(value, kinds) or (isinstance(value, bool) and plain is not bool):
        return False
    return all(math.isfinite(value) and value in limits for limits in ranges)


def _usage(operation: Callable) -> str:
    """'pad_crop(pad: int = 4)'."""
    signature = inspect.signature(operation)
    hints = typing.get_type_hints(operation, include_extras=True)
    plain = [p.replace(annotation=_type(hints[n])[0]) for n, p in signature.parameters.items()]
    return f'{operation.__name__}{inspect.Signature(plain)}'
