"""What a run folder's files say, for people: `write` makes its report.html, `sheet` a picture."""

from pathlib import Path


def write(folder: str | Path) -> Path:
    """run folder -> the path of the self-contained `report.html` written into it.

    Reads nothing but the folder's files and works on a run of any age: running, killed, diverged
    or finished. Raises UserError for a folder that is no run folder.
    """
    from nnjax.report import page  # Jinja2 and Pillow load with the first report

    return page.write(Path(folder))
