"""What MkDocs asks of this site: pages that stand elsewhere, links between them, the navigation.

README.md is the first page; the examples and the reference of the public names are made here. Links
are written as they lead in the repository, and are turned to where the same thing stands on the
site.
"""

from __future__ import annotations

import ast
import posixpath
import re
from pathlib import Path
from typing import Any

import reference
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = {  # pages of the repository outside of docs/, and where they stand on the site
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "LICENSE": "license.md",
    "examples": "examples/index.md",
}
# each entry: a heading, and its pages; a folder stands for all that is in it, if there is one
NAVIGATION: dict[str, list[str]] = {
    "Start": [
        "index.md",
        "tour.md",
        "guide.md",
        "time.md",
        "training.md",
        "operations.md",
        "coming-from.md",
    ],
    "Course": ["learn"],
    "How to": ["howto"],
    "Cells and pictures": ["cells.md", "gallery.md"],
    "Examples": ["examples", "programs.md"],
    "Figures": ["tasks.md", "speed.md", "scaling.md"],
    "Errors": ["errors"],
    "Reference": ["reference"],
    "Design": ["design.md", "decisions"],
    "Project": ["contributing.md", "releasing.md", "changelog.md", "license.md"],
}
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)")
PICTURE = re.compile(r"^!\[[^\]]*\]\(([^)\s]+\.svg)\)$", flags=re.MULTILINE)
FOLDER = re.compile(r"\[([^\]]+)\]\(([\w/.-]+/)\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are not in docs/."""
    for name, place in ELSEWHERE.items():
        if (ROOT / name).is_file():
            text = (ROOT / name).read_text(encoding="utf-8")
            if name == "LICENSE":
                text = f"# License\n\n```text\n{text}```\n"
            files.append(File.generated(config, place, content=text))
    for place, text in {**examples(), **reference.pages()}.items():
        files.append(File.generated(config, place, content=text))
    config.nav = [
        {title: found} for title, names in NAVIGATION.items() if (found := listed(names, files))
    ]
    return files


def listed(names: list[str], files: Any) -> list[Any]:
    """List the pages of an entry of the navigation.

    In a folder the first page comes first, and then the others in the order in which it lists them.
    """
    pages = {f.src_uri: f.content_string for f in files.documentation_pages()}
    found: list[Any] = []
    for name in names:
        inside = sorted(page for page in pages if page.startswith(f"{name}/"))
        first = [p for p in inside if posixpath.basename(p) in ("index.md", "README.md")]
        order = [f"{name}/{link}" for page in first for link in LINK.findall(pages[page])]
        inside.sort(key=lambda p: -1 if p in first else (*order, p).index(p))
        if name == "decisions":
            found.append({"Decisions": inside})
        elif name == "reference":
            found += [f"reference/{page}.md" for page in reference.PAGES]
        else:
            found += [name] if name in pages else inside
    return found


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Turn links to where they lead on the site, and read what is folded as Markdown too.

    A picture leads to itself: on a small screen its text can only be read where it stands alone.
    """
    moved = {place: name for name, place in ELSEWHERE.items()}
    source = moved.get(page.file.src_uri, posixpath.join("docs", page.file.src_uri))
    here = posixpath.dirname(source)

    def turned(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(here, match[1]))
        inside = target.removeprefix("docs/")
        if target in ELSEWHERE:
            place = ELSEWHERE[target]
        elif inside != target and (ROOT / target).is_dir():
            place = f"{inside}/README.md" if (ROOT / target / "README.md").exists() else inside
        elif target.startswith("examples/") and target.endswith(".py"):
            place = target.removesuffix(".py") + ".md"
        elif inside == target:
            return match[1]
        else:
            place = inside
        return posixpath.relpath(place, posixpath.dirname(page.file.src_uri) or ".")

    def listed_there(match: re.Match[str]) -> str:
        """A folder without a page of its own cannot be opened on a site: its name is left."""
        folder = ROOT / here / match[2]
        known = posixpath.normpath(posixpath.join(here, match[2])) in ELSEWHERE
        return match[0] if known or (folder / "README.md").exists() else match[1]

    markdown = markdown.replace("<details>", "<details markdown>")
    markdown = PICTURE.sub(r"[\g<0>](\1)", markdown)
    return LINK.sub(turned, FOLDER.sub(listed_there, markdown))


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Let lines be broken where messages are printed: they are sentences, and not tables."""
    return (
        f'<div class="messages">{html}</div>' if page.file.src_uri.startswith("errors/") else html
    )


def examples() -> dict[str, str]:
    """Make a page of each example: what its docstring says, and its code."""
    pages, lines = {}, ["# Examples", ""]
    for path in sorted((ROOT / "examples").glob("*.py")):
        text = path.read_text(encoding="utf-8")
        about = ast.get_docstring(ast.parse(text)) or ""
        pages[f"examples/{path.stem}.md"] = f"# {path.stem}\n\n```python\n{text}```\n"
        lines.append(f"- [{path.stem}]({path.stem}.md): {about.splitlines()[0]}")
    return {"examples/index.md": "\n".join([*lines, ""]), **pages}
