"""The reference of the public names, a page for each part of the package, made of docstrings."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import tinygrad_rnn as tg

# page -> its title, and what stands above its names
PAGES = {
    "index": ("Reference", "Every public name. Each page has what the docstrings say."),
    "tensors": ("Tensors and the tape", "What computes, what is recorded, and modules."),
    "operations": ("Operations", "Functions of tensors, arrays and numbers."),
    "transforms": ("Transforms", "From functions to functions: gradients, Jacobians, checks."),
    "time": ("Cells in time", "Unrolling, truncated backpropagation, compiling."),
    "cells": (
        "Cells of the literature",
        "In their equations I is `input_size` and H `hidden_size`. [Cells](../cells.md) has them in "
        "a table.",
    ),
    "nn": ("Layers", "Layers, wrappers of cells, attention, losses and decoding."),
    "optim": ("Training rules", "Optimisers, schedules and clipping."),
    "init": ("Initial values", "Arrays from which parameters start."),
    "linalg": ("Linear algebra", "Functions of matrices, which are the last two axes."),
    "fft": ("Fourier transforms", "Of real values, to and from pairs of real values."),
    "random": ("Random numbers", "Tensors of random numbers, from a seed or a generator."),
    "seeing": (
        "Pictures and diagnosis",
        "Pictures, the explorer, and what is wrong with gradients.",
    ),
    "files": ("Files", "Parameters in files, and weights of other libraries."),
    "training": ("Training", "A training loop, checkpoints, and data that knows its place."),
    "learn": ("Exercises", "What checks the answers in the course."),
    "kinds": ("Kinds of errors", "[Errors](../errors/README.md) has what they say."),
}
# names of `tg` by the module in which they are defined; the first beginning that fits counts
PLACES = {
    "core.errors": "kinds",
    "core.transforms": "transforms",
    "core": "tensors",
    "module": "tensors",
    "ops.table": "tensors",
    "kernels": "tensors",
    "functional": "transforms",
    "transforms": "transforms",
    "ops": "operations",
    "recurrent": "time",
    "compiler": "time",
    "drawing": "seeing",
    "diagnosis": "seeing",
    "formats": "files",
    "optim": "optim",
    "train": "training",
    "data": "training",
}
APART = {"CompileError": "kinds", "GradcheckError": "kinds", "gradcheck": "transforms"}
Name = tuple[str, str]  # as users write it, and its path in the package


def names() -> dict[str, list[Name]]:
    """List by page what is public; a name that stands in two places counts where it comes first."""
    found: dict[str, list[Name]] = {page: [] for page in PAGES}
    shown: set[int] = set()
    apart = ("cells", "nn", "optim", "linalg", "fft", "init", "random", "data", "parallel", "learn")
    spaces = {"tg": tg, **{f"tg.{s}": getattr(tg, s) for s in apart}}
    for path, space in spaces.items():
        for name in public(space):
            thing = getattr(space, name)
            if not inspect.ismodule(thing) and id(thing) not in shown:
                shown.add(id(thing))
                space_name = path.partition(".")[2]
                page = {"data": "training", "parallel": "training"}.get(
                    space_name, space_name
                ) or page_of(name, thing)
                found[page].append((f"{path}.{name}", f"{space.__name__}.{name}"))
    for module in ("tinygrad_rnn.formats.keras", "tinygrad_rnn.formats.onnx"):
        offered = public(importlib.import_module(module))
        found["files"] += [(f"{module}.{name}", f"{module}.{name}") for name in offered]
    return found


def public(module: Any) -> list[str]:
    """Return the names that a module offers: those of `__all__`, or what it defines itself."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    own = {n for n, thing in vars(module).items() if defined_in(thing) == module.__name__}
    return [name for name in vars(module) if name in own and not name.startswith("_")]


def defined_in(thing: Any) -> str:
    """Return the name of the module that defines a function or class."""
    return str(getattr(thing, "__module__", ""))


def page_of(name: str, thing: Any) -> str:
    """Return the page of a name of `tg`."""
    module = defined_in(thing).removeprefix("tinygrad_rnn.")
    return APART.get(name) or next(p for start, p in PLACES.items() if module.startswith(start))


def pages() -> dict[str, str]:
    """Return the text of each page, with the directives that mkdocstrings fills in."""
    made, everything = {}, names()
    for page, (title, about) in PAGES.items():
        lines = [f"# {title}", "", about, ""]
        for shown, path in everything[page]:
            lines += entry(shown, path)
        if page == "index":
            lines += contents(everything)
        elif page == "tensors":
            lines += methods()
        made[f"reference/{page}.md"] = "\n".join(lines)
    return made


def entry(shown: str, path: str) -> list[str]:
    """Return the lines by which mkdocstrings puts in what a docstring says."""
    label = shown.rpartition(".")[2]
    return [
        f"::: {path}",
        "    options:",
        f"      heading: {shown}",
        f"      toc_label: {label}",
        "",
    ]


def contents(everything: dict[str, list[Name]]) -> list[str]:
    """List all names by page, each as a link."""
    lines = []
    for page, (title, about) in PAGES.items():
        if page != "index":
            links = [f"[`{shown.removeprefix('tg.')}`][{path}]" for shown, path in everything[page]]
            lines += [f"## [{title}]({page}.md)", "", about, "", ", ".join(links), ""]
    return lines


def methods() -> list[str]:
    """List the methods that are attached to a tensor: operations, and those that it has alone."""
    attached = {
        name: thing
        for name, thing in vars(tg.Tensor).items()
        if not name.startswith("_")
        and hasattr(thing, "__qualname__")  # no name that only says the way
        and defined_in(thing) not in ("", tg.Tensor.__module__)
    }
    both = [name for name in attached if name in tg.__all__]
    alone = {name: thing for name, thing in attached.items() if name not in tg.__all__}
    links = [f"[`{name}`][tinygrad_rnn.{name}]" for name in both]
    lines = ["## Methods of a tensor", "", "`x.sum(axis=0)` is `tg.sum(x, axis=0)`, and so for"]
    lines += [", ".join(links) + ". `x.T` has the axes reversed. These stand in no module:", ""]
    for name, thing in alone.items():
        own = thing.__qualname__  # which users do not write where it begins with _
        lines += entry(f"Tensor.{name}", f"{defined_in(thing)}.{own}")
        lines[-1:] = ["      show_signature: false", ""] if own.startswith("_") else [""]
    return lines
