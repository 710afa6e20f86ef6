"""tells whether runs or sweeps differ by more than noise, and writes a page of it

nnjax compare A B [C ...]    every pair is tested, and corrected for how many there are

Each name is a run folder, run folders joined by commas (seeds of one configuration), or a sweep
folder, which stands for its best configuration. Seeds are the noise where there are several, the
test examples where each side has one run.
"""

from absl import flags

from nnjax.cli import options

ARGUMENTS = 'FOLDER FOLDER ...'


def define(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        'metric', None, 'test metric; default: the one of config.best', flag_values=values
    )
    flags.DEFINE_string('output', None, 'an .html file of plots', flag_values=values)


def run(parsed: options.Options) -> None:
    output = options.file(parsed, 'output', '.html')
    from nnjax.analysis import compare, conclusions

    comparison = compare.compare(parsed.arguments, parsed.flags.metric)
    print(conclusions.render(comparison))
    if output:
        from nnjax import report

        print(f'page {report.comparison(comparison, output)}')
