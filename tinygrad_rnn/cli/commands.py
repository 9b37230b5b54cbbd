"""What each command does, apart from `info`.

A command takes the parsed arguments and returns an exit code. What it needs is imported when it
runs, so that `--help` is there at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from typing import Any


def train(given: argparse.Namespace) -> int:
    """Run `demo` or `train text`."""
    from ..train import console, demo
    from ..train.errors import UserError
    from ..train.options import Options
    from ..train.trainer import Settings

    command = "demo" if given.command == "demo" else "train text"
    if command != "demo" and given.text is None and not given.resume:
        raise UserError(f"{command}: expected FILE, the text to learn from; found none")
    names = [field.name for field in dataclasses.fields(Settings)]
    options = Options(
        out=given.out,
        command=command,
        text=given.text,
        units=given.units,
        encoding=given.encoding,
        budget=given.budget,
        steps=given.steps,
        resume=given.resume,
        overwrite=given.overwrite,
        settings={name: getattr(given, name) for name in names if getattr(given, name) is not None},
        temperature=given.temperature,
        length=given.length,
        threads=given.threads and min(given.threads, os.cpu_count() or 1),
    )
    return demo.run(options, console.console())


def sample(given: argparse.Namespace) -> int:
    """Draw text from a trained model."""
    from ..kernels import blas
    from ..train import characters, model_files

    model, vocabulary, context = model_files.load_model(given.model)
    with blas.threads(None):
        drawn = characters.sample(
            model,
            vocabulary,
            given.length,
            prompt=given.prompt or context,
            temperature=given.temperature,
            rng=given.seed,
        )
    print(given.prompt + drawn)
    return 0


def draw(given: argparse.Namespace) -> int:
    """Draw a cell, a module, a saved model or a tensor of a file."""
    from .. import drawing
    from ..module import Module
    from ..recurrent import Cell
    from ..train.named import example, load_named, made, running

    found: Any = load_named(given.name)
    measured = {
        name: getattr(given, name)
        for name in ("backward", "ledger", "values")
        if getattr(given, name)
    }
    if given.heat:
        measured["heat"] = "grad"
    if isinstance(found, type) and issubclass(found, Module):
        found = made(found, given.args)
    show = "all" if given.show == ["all"] else given.show
    with running(given.name):
        # A cell is drawn folded, unless it has to run to be measured.
        folded = isinstance(found, Cell) and given.steps is None and not measured
        if not folded or not isinstance(found.input_size, int):
            steps = given.steps or 6
            found = example(found, arguments=given.args, steps=steps, batch=given.batch)
        picture = drawing.draw(
            found,
            title=given.title,
            show=show,
            memory=given.memory,
            detail=given.detail,
            width=given.width,
            direction=given.direction,
            theme=given.theme,
            **measured,
        )
    picture.save(given.out)
    print(f"wrote {given.out}: {picture!r}")
    return 0


def explore(given: argparse.Namespace) -> int:
    """Write the page in which one steps through a computation."""
    from .. import drawing
    from ..train.named import example, load_named

    loss = example(
        load_named(given.name),
        arguments=given.args,
        steps=given.steps,
        batch=given.batch,
        seed=given.seed,
    )
    path = drawing.explore(loss, given.out, title=given.title or given.name)
    print(f"wrote {path}: open it in a browser")
    return 0


def tasks_list(given: argparse.Namespace) -> int:
    """Print the names of the tasks."""
    from ..train import console, tasks
    from ..train.tasks import runner

    runner.list_tasks(tasks.tasks(), console.console())
    return 0


def tasks_run(given: argparse.Namespace) -> int:
    """Run tasks and print their figures."""
    from .. import parallel
    from ..train import console, tasks
    from ..train.tasks import runner

    chosen = tasks.tasks() if "all" in given.names else [tasks.find(name) for name in given.names]
    return parallel.serving(
        lambda ranks: runner.main(
            chosen,
            console.console(),
            cell=given.cell,
            seeds=given.seeds,
            budget=given.budget,
            save=given.json,
            overwrite=given.overwrite,
            ranks=ranks,
        )
    )


def tasks_page(given: argparse.Namespace) -> int:
    """Write the results of tasks as Markdown."""
    from ..files import replace_file
    from ..train import tasks
    from ..train.tasks import page

    text = page.page(page.collect(given.results, tasks.tasks()))
    if given.out is None:
        print(text, end="")
    else:
        replace_file(given.out, text)
    return 0
