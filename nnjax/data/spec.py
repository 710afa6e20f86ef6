"""Operations written as text: 'pad_crop(2) | flip' -> the functions it names. Nothing is executed."""

import ast
import inspect
import typing
from collections.abc import Callable
from types import ModuleType

from nnjax import schema
from nnjax.errors import UserError, nearest


def operations(module: ModuleType) -> dict[str, Callable]:
    """The public functions that a module, or the rooms of a package, define and its table shows."""
    return {
        name: function
        for name, function in vars(module).items()
        if inspect.isfunction(function)
        and f'{function.__module__}.'.startswith(f'{module.__name__}.')
        and name[0] != '_'
    }


def parse(text: str, module: ModuleType, field: str = '') -> tuple[Callable, ...]:
    """Text and the module that holds its operations -> the operations, built with their arguments.

    Arguments are Python literals. An operation without arguments needs no parentheses. `field` is
    what messages call the text; by default the module's name.

    Raises:
      UserError: no Python expression, an unknown operation (with its column), wrong arguments.
    """
    if not text.strip():
        return ()
    kind = field or module.__name__.rpartition('.')[2]
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
    known = operations(module)
    if name.id not in known:
        raise UserError(
            f'{place}: unknown operation {name.id!r}{nearest(name.id, known)} '
            f'(allowed: {", ".join(sorted(known))})'
        )
    operation = known[name.id]
    try:
        arguments = [ast.literal_eval(a) for a in call.args] if call else []
        keywords = {k.arg: ast.literal_eval(k.value) for k in call.keywords} if call else {}
    except (ValueError, TypeError):
        raise UserError(f'{place}: arguments of {name.id} must be plain values') from None
    try:
        bound = inspect.signature(operation).bind(*arguments, **keywords)
    except TypeError as error:
        raise UserError(f'{place}: {error}; {_usage(operation)}') from None
    known = schema.fields(operation)
    try:
        for argument, value in bound.arguments.items():
            bound.arguments[argument] = known[argument].check(value, argument)
        return operation(*bound.args, **bound.kwargs)
    except UserError as error:
        raise UserError(f'{place}: {error}; {_usage(operation)}') from None


def _usage(operation: Callable) -> str:
    """'pad_crop(pad: int = 4)'."""
    signature = inspect.signature(operation)
    hints = typing.get_type_hints(operation)  # without ranges
    plain = [p.replace(annotation=hints[n]) for n, p in signature.parameters.items()]
    return f'{operation.__name__}{inspect.Signature(plain)}'
