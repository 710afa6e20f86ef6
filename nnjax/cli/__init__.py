"""The command `nnjax`: one module a command, flags only."""

import importlib
import os
import sys

from nnjax.errors import UserError, unknown

COMMANDS = (
    'train',
    'sweep',
    'evaluate',
    'predict',
    'generate',
    'compare',
    'report',
    'weights',
    'cost',
    'data',
    'doctor',
)


def main(argv: list[str] | None = None) -> None:
    """Runs `nnjax COMMAND ...` and exits: 0 done, 2 a mistake in what was typed (one line)."""
    argv = sys.argv[1:] if argv is None else argv
    code = 0
    try:
        try:
            code = run(argv)
        except UserError as error:
            print(f'nnjax: {error}', file=sys.stderr)
            code = error.exit_code
        except KeyboardInterrupt:
            code = 130
        sys.stdout.flush()
    except BrokenPipeError:  # `nnjax ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def run(argv: list[str]) -> int:
    """Runs one command; raises UserError for a mistake."""
    command, rest = (argv[0], argv[1:]) if argv else ('--help', [])
    if command in ('--help', '-h', 'help', '-help'):
        print(usage())
        return 0
    if command in ('--version', 'version'):
        from importlib import metadata

        print(metadata.version('nnjax'))
        return 0
    if command not in COMMANDS:
        raise unknown('command', command, COMMANDS)
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')  # XLA's own chatter
    from absl import logging

    from nnjax.cli import options

    logging.set_verbosity(logging.ERROR)  # libraries' advice; what matters is raised

    module = importlib.import_module(f'nnjax.cli.{command}')
    parsed = options.parse(command, module, rest)
    if parsed is None:  # --help was printed
        return 0
    module.run(parsed)
    return 0


def usage() -> str:
    """The list of commands, a line each."""
    lines = ['usage: nnjax COMMAND [--flag=value ...]', '']
    for name in COMMANDS:
        module = importlib.import_module(f'nnjax.cli.{name}')
        lines.append(f'  {name:<10}{module.__doc__.splitlines()[0]}')
    return '\n'.join(
        [
            *lines,
            '',
            'nnjax COMMAND --help lists its flags; '
            'nnjax train --config=NAME --help every field of an experiment.',
        ]
    )
