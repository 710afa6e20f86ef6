"""Operations written as text: 'pad_crop(2) | flip' -> the functions it names. Nothing is executed."""

import ast
import inspect
from collections.abc import Callable
from types import ModuleType

from nnjax.errors import UserError, nearest


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
    except SyntaxError as error:
        raise UserError(
            f'{kind}={text!r}: {error.msg} in column {error.offset}; '
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
    place = f'{kind}={text!r}, column {node.col_offset + 1}'
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
    except ValueError:
        raise UserError(f'{place}: arguments of {name.id} must be plain values') from None
    try:
        inspect.signature(operation).bind(*arguments, **keywords)
        return operation(*arguments, **keywords)
    except UserError as error:
        raise UserError(f'{place}: {error}') from None
    except (TypeError, ValueError) as error:
        raise UserError(f'{place}: {error}; {name.id}{inspect.signature(operation)}') from None
