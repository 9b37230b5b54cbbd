"""Pictures and pages as a notebook shows them.

A page stands in a frame of its own, so that its rules hold in it alone and hover and scripts work.
A notebook that is not trusted shows neither frames nor styles: there the picture behind the frame
is seen, or a sentence.
"""

from __future__ import annotations

import base64
from html import escape

SMALLEST = 0.6  # a picture shrinks to this part of its size, and scrolls in what is narrower
BAR = 18  # pixels of a scroll bar
LEFT_OUT = "The notebook is not trusted, so the picture is not shown: trust it, or run the cell."


def frame_of(page: str, size: str, title: str, picture: bytes | None = None) -> str:
    """Return a page in a frame.

    Parameters
    ----------
    page : str
        The whole page.
    size : str
        The style of the frame.
    title : str
        What screen readers say of the frame.
    picture : bytes, optional
        A PNG for where no frame is shown.
    """
    behind = f"<p>{LEFT_OUT}</p>"
    if picture is not None:
        data = base64.b64encode(picture).decode()
        behind = f'<img alt="{escape(title)}" src="data:image/png;base64,{data}">'
    return (
        f'<iframe title="{escape(title)}" srcdoc="{escape(page)}" style="border:0;{size}"></iframe>'
        f'<style>.tg-behind{{display:none}}</style><div class="tg-behind">{behind}</div>'
    )


def size_of(width: float, height: float) -> str:
    """Return the style of the frame of a picture of so many pixels: it fits, or scrolls."""
    least = round(SMALLEST * height) + BAR
    return f"width:100%;max-width:{width:.0f}px;aspect-ratio:{width:.0f}/{height:.0f};min-height:{least}px"
