"""Command lines: absl flags, and --config.a.b=value for every field of an experiment."""

import dataclasses
import datetime
import os
from pathlib import Path
from typing import Any

from absl import flags

from nnjax.errors import UserError, nearest, unknown


@dataclasses.dataclass(frozen=True)
class Options:
    """A parsed command line: flag values, config overrides, what is left."""

    flags: Any
    overrides: dict[str, str]
    arguments: list[str]


def parse(command: str, module, argv: list[str]) -> Options | None:
    """A command's module and its arguments -> Options; prints the help and gives None for --help.

    Raises:
      UserError: an unknown flag or a bad value.
    """
    values = flags.FlagValues()
    module.define(values)
    argv, overrides = _overrides(argv)
    wanted = any(a in ('--help', '-help', '-h', '--helpfull') for a in argv)
    argv = [a for a in argv if a not in ('--help', '-help', '-h', '--helpfull')]
    try:
        rest = values([command, *argv])[1:]
    except flags.UnrecognizedFlagError as error:
        raise unknown('flag', f'--{error.flagname}', [f'--{n}' for n in values]) from None
    except flags.Error as error:
        raise UserError(str(error).splitlines()[0].removeprefix('flag ')) from None
    parsed = Options(values, overrides, rest)
    if wanted:
        print(_help(command, module, parsed))
        return None
    if overrides and 'config' not in values:
        name = next(iter(overrides))
        raise UserError(f"nnjax {command} takes no --config.{name}: the config is the run folder's")
    if overrides and not values.config and not getattr(module, 'RESTORES', False):
        raise UserError('--config.FIELD needs --config=EXPERIMENT')
    if rest and not getattr(module, 'ARGUMENTS', ''):
        hint = nearest(f'--{rest[0]}', [f'--{n}' for n in values])
        raise UserError(f'nnjax {command} takes flags only, got {rest[0]!r}{hint}')
    return parsed


def _overrides(argv: list[str]) -> tuple[list[str], dict[str, str]]:
    """Takes --config.a.b=v and --config.a.b v out of the arguments."""
    rest, found = [], {}
    position = 0
    while position < len(argv):
        word = argv[position]
        position += 1
        bare = word.lstrip('-')
        if not (word.startswith('-') and bare.startswith('config.')):
            rest.append(word)
            continue
        name, equals, text = bare.removeprefix('config.').partition('=')
        if not equals:
            if position == len(argv):
                raise UserError(f'--config.{name} needs a value: --config.{name}=...')
            text = argv[position]
            position += 1
        found[name] = text
    return rest, found


def _help(command: str, module, parsed: Options) -> str:
    arguments = getattr(module, 'ARGUMENTS', '')
    lines = [f'nnjax {command} {arguments}'.rstrip(), '', module.__doc__.strip(), '', 'Flags:']
    for name in parsed.flags:
        flag = parsed.flags[name]
        default = '' if flag.default in (None, False, '') else f' (default {flag.default})'
        lines.append(f'  --{name:<12}{flag.help}{default}')
    if 'config' not in parsed.flags:
        return '\n'.join(lines)
    if not parsed.flags.config:
        return '\n'.join(
            [*lines, '', f'nnjax {command} --config=EXPERIMENT --help lists every field.']
        )
    from nnjax import config as configs

    lines += ['', f'Fields of {parsed.flags.config}, each settable as --config.FIELD=VALUE:']
    for path, value, allowed, doc in configs.describe(
        configs.load(parsed.flags.config, parsed.overrides)
    ):
        lines.append(f'  {path} = {value}')
        lines.append(f'      {allowed}' + (f'; {doc}' if doc else ''))
    return '\n'.join(lines)


def config_flag(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        'config',
        None,
        'experiment file or the name of a shipped one, with an optional :argument',
        flag_values=values,
    )


def workdir_flag(values: flags.FlagValues, help_text: str) -> None:
    flags.DEFINE_string('workdir', None, help_text, flag_values=values)


def required(parsed: Options, name: str) -> str:
    """A flag's value, or a UserError that it is missing."""
    value = parsed.flags[name].value
    if not value:
        raise UserError(f'--{name}=... is missing')
    return value


def file(parsed: Options, name: str, *endings: str) -> Path | None:
    """The file that a flag names, if it does.

    Raises:
      UserError: it has none of these endings, or its folder does not exist.
    """
    value = parsed.flags[name].value
    if not value:
        return None
    path = Path(value)
    if path.suffix not in endings:
        raise UserError(f'--{name}={value}: the name must end in {", ".join(endings)}')
    if not path.parent.is_dir():
        raise UserError(f'--{name}={value}: there is no folder {path.parent}')
    return path


def fresh(name: str) -> Path:
    """A run or sweep folder that does not exist yet."""
    now = datetime.datetime.now().strftime('%Y%m%d-%H%M%S')
    path = Path('runs') / name / now
    return path if not path.exists() else path.with_name(f'{now}-{os.getpid()}')


def cores_as_devices() -> None:
    """Every core becomes a device of its own, so that lanes run on all; before JAX's first use."""
    import jax

    from nnjax.ops.native import library

    if 'xla_force_host_platform_device_count' not in os.environ.get('XLA_FLAGS', ''):
        jax.config.update('jax_num_cpu_devices', library.threads())


def compilation_cache() -> None:
    """Keeps compiled programs on disk, so that the second run of a config compiles nothing."""
    import jax

    from nnjax import cache

    if not jax.config.jax_compilation_cache_dir:
        jax.config.update('jax_compilation_cache_dir', str(cache.root() / 'xla'))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
    jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)
