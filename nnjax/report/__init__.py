"""What a folder's files say, for people: reports of runs and sweeps, a page of a comparison.

`write` makes a folder's report.html, `comparison` a page of several, `sheet` a picture.
"""

from pathlib import Path


def write(folder: str | Path) -> Path:
    """run or sweep folder -> the path of the self-contained `report.html` written into it.

    Reads nothing but the folder's files and works at any age of it: running, killed, diverged or
    finished. Raises UserError for any other folder.
    """
    path = Path(folder)
    if (path / 'sweep.json').is_file():
        from nnjax.report import sweep_page

        return sweep_page.write(path)
    from nnjax.report import page  # Jinja2 and Pillow load with the first report

    return page.write(path)


def comparison(found, output: str | Path) -> Path:
    """nnjax.analysis.compare's Comparison -> `output`, a self-contained HTML page of it."""
    from nnjax.report import comparison_page

    return comparison_page.write(found, Path(output))
