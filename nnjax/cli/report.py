"""writes report.html of a run folder or a sweep folder, finished or not

nnjax report FOLDER ...    training and sweeping do so at their end
"""

from absl import flags

from nnjax.cli import options
from nnjax.errors import UserError

ARGUMENTS = 'FOLDER ...'


def define(values: flags.FlagValues) -> None:
    del values


def run(parsed: options.Options) -> None:
    if not parsed.arguments:
        raise UserError('name a run folder or a sweep folder: nnjax report FOLDER')
    from nnjax import report

    for folder in parsed.arguments:
        print(f'report {report.write(folder)}')
