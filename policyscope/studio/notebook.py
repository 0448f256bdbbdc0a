"""The studio in a notebook: the same pages in a cell, served by the kernel itself."""

import html
from typing import TYPE_CHECKING

from policyscope.errors import MissingExtra
from policyscope.studies.study import Study
from policyscope.studio.app import Studio
from policyscope.studio.inline import page

if TYPE_CHECKING:
    from policyscope.studio.widget import StudioWidget


def show(
    study: Study, place: str = "", *, height: int = 720, trust: bool = False
) -> "StudioWidget":
    """The studio of a study as a widget, `height` pixels high; the last line of a cell shows it.

    `place` is the page to open, as the studio's addresses have it after `#/`: `features/layer2/k4`,
    `f/layer2/k4/17`. Labels can be written and experiments started; live play needs the studio
    itself. `trust` lets experiments open a study whose files can run code. Raises MissingExtra
    without `policyscope[notebook]`.
    """
    try:
        from policyscope.studio.widget import StudioWidget
    except ImportError as error:
        raise MissingExtra.of(error.name or "anywidget", "notebook") from error
    studio = Studio(study, trust=trust, most_sessions=0)
    where = html.escape("#/" + place.removeprefix("#").removeprefix("/"))
    whole = page(f'<meta name="policyscope-place" content="{where}">\n')
    return StudioWidget(studio.routes(), whole, studio.jobs.close, height=height)
