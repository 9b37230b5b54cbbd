"""Pictures of the tape.

A picture is made in stages, each of which reads the one before:

* `subject` finds the nodes that are meant; `recurrent/opened.py` puts single steps in place of what
  ran compiled.
* `graph` has the nodes that can be drawn, `recurrent/moments.py` the time step of each, `fold` the
  proof that steps are alike.
* `sketch` makes boxes and arrows (`boxes`) of what is drawn (`selection`), in as much detail as is
  wanted (`detail`) or fits (`fitting`, which looks at the whole in `survey`); `labels` has their words,
  `wiring` the ports in place of long lines. What has to be known of single operations is in `facts`.
* `overlays` lays figures over them, which `measures` and `recurrent/ledger.py` find, `scale` colours
  and `curves` follows over hidden steps.
* `layout` gives everything its place: `grid`, `routes`, `plans` (`stepplan`, `rows`, `across`),
  `lines`, `places`, `paths`, `frames`.
* `svg` and `dot` write it in the look of `style`; `render` runs graphviz.

`picture` has `draw`, which goes through these stages. `explorer` has `explore`, which tells a page
(`contents`, `arrays`) the places, the numbers and the derivative rules in words (`rules`).
"""

from .errors import DrawingError
from .explorer import explore
from .picture import Drawing, draw

__all__ = ["Drawing", "DrawingError", "draw", "explore"]
