"""Training a character model: loss, resuming, scoring, sampling, and the files of a run."""

from __future__ import annotations

import dataclasses
import json
import math
import signal
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.core.tape import setting
from tinygrad_rnn.data import split
from tinygrad_rnn.data.vocabulary import UNKNOWN, Vocabulary
from tinygrad_rnn.formats import safetensors
from tinygrad_rnn.kernels import blas
from tinygrad_rnn.train import characters, console, demo, model_files, text
from tinygrad_rnn.train.characters import CharacterLSTM
from tinygrad_rnn.train.errors import CheckpointError, DivergedError, UserError
from tinygrad_rnn.train.interrupt import Interrupted, Interrupts
from tinygrad_rnn.train.options import Options
from tinygrad_rnn.train.trainer import SavedRun, Settings, Trainer

pytestmark = pytest.mark.usefixtures("eager")

WORDS = "the cell reads a letter and keeps what it may need later; it forgets the rest.\n"
TEXT = "".join(WORDS[: 20 + 13 * i % 60] + "\n" for i in range(120))
SMALL = Settings(hidden=12, embedding=5, batch=4, window=10, lr=0.02)


def trainer(settings: Settings = SMALL) -> Trainer:
    vocabulary = Vocabulary.from_text(TEXT, 2)
    return Trainer(vocabulary.encode(TEXT), vocabulary, settings)


def train(t: Trainer, until: int, total: int) -> Trainer:
    while t.steps < until:
        t.step(t.steps / total)
    return t


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


def options(file: Path, **changes: Any) -> Options:
    settings = {k: getattr(SMALL, k) for k in ("hidden", "embedding", "batch", "window", "lr")}
    return Options(
        **{
            "out": file.parent / "out",
            "text": file,
            "steps": 12,
            "length": 80,
            "settings": settings,
            **changes,
        }
    )


def saved(trainer: Trainer, folder: Path, about: dict[str, Any] | None = None) -> Path:
    """The file of a checkpoint."""
    checkpoint = trainer.keep_in(folder, replace=True)
    trainer.save(about)
    return folder / f"step-{checkpoint.steps[-1]:012}.safetensors"


# --- the score ------------------------------------------------------------------------------------------------------------


def slow_bits(
    model: CharacterLSTM, ids: np.ndarray, first: int = 0, warm_up: int = 0
) -> list[float]:
    """-log2 p of ids[first + 1:] in float64, a character at a time, after a warm-up."""
    w = {name: p.numpy().astype(np.float64) for name, p in model.named_parameters()}
    h = c = np.zeros(w["cell.weight_hh"].shape[1])
    found = []
    for i in range(max(0, first - warm_up), len(ids) - 1):
        x = w["embedding.weight"][ids[i]]
        z = (
            w["cell.weight_ih"] @ x
            + w["cell.bias_ih"]
            + w["cell.weight_hh"] @ h
            + w["cell.bias_hh"]
        )
        i_, f, g, o = np.split(z, 4)
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i_))
        h = np.tanh(c) / (1 + np.exp(-o))
        logits = w["output.weight"] @ h + w["output.bias"]
        p = np.exp(logits - logits.max())
        if i >= first:
            found.append(-math.log2(p[ids[i + 1]] / p.sum()))
    return found


def model_and_ids(n: int) -> tuple[CharacterLSTM, np.ndarray]:
    return CharacterLSTM(9, 3, 7, rng=1), np.random.default_rng(0).integers(0, 9, n)


@pytest.mark.parametrize("n", [2, 3, 64, 65, 66, 150])
def test_one_stream_is_the_slow_score(n: int) -> None:
    model, ids = model_and_ids(n)
    np.testing.assert_allclose(characters.evaluate(model, ids), slow_bits(model, ids), rtol=1e-5)


@pytest.mark.parametrize(
    ("n", "streams", "warm_up"),
    [(101, 4, 20), (102, 4, 20), (230, 3, 70), (40, 7, 0), (12, 50, 1), (90, 4, 60)],
)
def test_streams_score_each_character_once_after_a_warm_up(
    n: int, streams: int, warm_up: int
) -> None:
    model, ids = model_and_ids(n)
    bits = characters.evaluate(model, ids, streams=streams, warm_up=warm_up)
    used = max(1, min(streams, (n - 1) // max(warm_up, 1)))
    length = -(-(n - 1) // used)
    expected: list[float] = []
    for first in range(0, n - 1, length):
        expected += slow_bits(model, ids[: first + length + 1], first, warm_up)
    assert bits.shape == (n - 1,)
    np.testing.assert_allclose(bits, expected, rtol=1e-5)


def test_each_takes_the_beginning_of_every_stream() -> None:
    model, ids = model_and_ids(101)
    whole = characters.evaluate(model, ids, streams=4, warm_up=20)
    part = characters.evaluate(model, ids, streams=4, warm_up=20, each=10)
    np.testing.assert_allclose(part, whole.reshape(4, 25)[:, :10].reshape(-1), rtol=1e-6)


def test_an_evaluation_can_be_ended_and_records_nothing() -> None:
    model, ids = model_and_ids(300)

    def stop() -> None:
        raise Interrupted(signal.SIGINT)

    with pytest.raises(Interrupted):
        characters.evaluate(model, ids, between=stop)
    with pytest.raises(ValueError, match="at least 2 ids"):
        characters.evaluate(model, ids[:1])


# --- samples --------------------------------------------------------------------------------------------------------------


def test_a_seed_fixes_the_sample() -> None:
    t = trainer()
    draw = [characters.sample(t.model, t.vocabulary, 60, rng=seed) for seed in (3, 3, 4)]
    assert draw[0] == draw[1] != draw[2]
    assert len(draw[0]) == 60 and UNKNOWN not in draw[0]


def test_temperature_zero_is_the_likeliest_character() -> None:
    t = trainer()
    drawn = characters.sample(t.model, t.vocabulary, 20, prompt="the ", temperature=0)
    ids = t.vocabulary.encode("the " + drawn)
    with characters.evaluating(t.model), tg.no_grad():
        logits, _ = t.model(ids[:, None])
    expected = logits.numpy()[3:-1, 0, 1:].argmax(-1) + 1
    np.testing.assert_array_equal(t.vocabulary.encode(drawn), expected)


def test_samples_follow_the_distribution() -> None:
    t = trainer()
    with characters.evaluating(t.model), tg.no_grad():
        logits, _ = t.model(t.vocabulary.encode("t")[:, None])
    p = np.exp(logits.numpy()[-1, 0, 1:].astype(float) / 0.5)
    p /= p.sum()
    rng = np.random.default_rng(0)
    n = 500
    drawn = "".join(
        characters.sample(t.model, t.vocabulary, 1, prompt="t", temperature=0.5, rng=rng)
        for _ in range(n)
    )
    counts = np.bincount(t.vocabulary.encode(drawn), minlength=len(p) + 1)[1:]
    assert ((counts - n * p) ** 2 / (n * p)).sum() < len(p) + 6 * math.sqrt(2 * len(p))


@pytest.mark.parametrize(
    "wrong", [{"length": -1}, {"prompt": ""}, {"temperature": -1}, {"temperature": math.nan}]
)
def test_wrong_arguments_of_sample(wrong: dict[str, Any]) -> None:
    t = trainer()
    with pytest.raises(ValueError, match="expected length"):
        characters.sample(t.model, t.vocabulary, **{"length": 5, **wrong})


# --- training -------------------------------------------------------------------------------------------------------------


def test_training_reduces_the_loss() -> None:
    t = train(trainer(), 100, 100)
    assert np.mean(t.losses[-10:]) < 0.75 * np.mean(t.losses[:5])


def test_the_state_is_carried_and_cut() -> None:
    t = train(trainer(), 1, 10)
    assert all(not s.requires_grad for s in t.state) and np.abs(t.state.h.numpy()).max() > 0
    ids = np.array([[1, 2, 3, 4]] * 5)
    with characters.evaluating(t.model):
        carried, _ = t.model(ids, t.state)
        fresh, _ = t.model(ids)
    assert np.abs(carried.numpy() - fresh.numpy()).max() > 1e-6


def test_the_learning_rate_rises_and_falls() -> None:
    t = trainer()
    rates = [t.rate(f) for f in np.linspace(0, 1, 1001)]
    assert 0 < rates[0] < max(rates) <= SMALL.lr and rates[-1] == pytest.approx(SMALL.lr / 100)
    assert rates.index(max(rates)) == pytest.approx(20, abs=2) and rates[100:] == sorted(
        rates[100:], reverse=True
    )


def test_dropout_is_of_training_alone() -> None:
    t, plain = trainer(), trainer(dataclasses.replace(SMALL, dropout=0.0, embedding_dropout=0.0))
    ids = t.ids[:40].reshape(10, 4)
    without = plain.model.loss(ids[:-1], ids[1:])[0].item()
    with_both = {t.model.loss(ids[:-1], ids[1:])[0].item() for _ in range(3)}
    assert len({without, *with_both}) == 4  # drawn anew each time
    for of_one in ({"dropout": 0.0}, {"embedding_dropout": 0.0}):
        one = trainer(dataclasses.replace(SMALL, **of_one))
        assert one.model.loss(ids[:-1], ids[1:])[0].item() not in (without, *with_both)
    before = t.masks.bit_generator.state
    np.testing.assert_array_equal(
        characters.evaluate(t.model, t.ids[:200]), characters.evaluate(plain.model, t.ids[:200])
    )
    assert characters.sample(t.model, t.vocabulary, 30, rng=1) == characters.sample(
        plain.model, t.vocabulary, 30, rng=1
    )
    assert t.model.training and t.model.dropout.training and t.masks.bit_generator.state == before


def test_an_evaluation_leaves_the_model_as_it_was() -> None:
    model, ids = model_and_ids(80)
    for mode in (False, True):
        model.train(mode)
        characters.evaluate(model, ids)
        assert model.dropout.training is model.training is mode


@pytest.mark.parametrize("eager", [True, False])
def test_resuming_is_exact(eager: bool, tmp_path: Path) -> None:
    with setting(eager=eager):
        check_resuming(tmp_path)


def check_resuming(tmp_path: Path) -> None:
    wide = dataclasses.replace(SMALL, batch=16)
    whole = train(trainer(wide), 60, 60)
    assert whole.characters > len(whole.ids)  # more than one pass
    half = trainer(wide)
    half.prepare()
    characters.evaluate(train(half, 41, 60).model, whole.ids[:100])
    half.seconds, half.scores = 2.5, [(10, 3.5)]
    saved(half, tmp_path / "c", {"note": "ü"})
    found = SavedRun.read(tmp_path / "c")
    assert (found.settings, found.vocabulary, found.seconds, found.scores) == (
        wide,
        half.vocabulary,
        2.5,
        [(10, 3.5)],
    )
    assert found.about == {"note": "ü"}
    rest = Trainer.resume(found, whole.ids)
    rest.prepare()
    train(rest, 60, 60)
    assert rest.losses == whole.losses
    for (name, a), (_, b) in zip(
        whole.model.named_parameters(), rest.model.named_parameters(), strict=True
    ):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=name)
    np.testing.assert_array_equal(whole.state.c.numpy(), rest.state.c.numpy())
    assert whole.masks.bit_generator.state == rest.masks.bit_generator.state


@pytest.mark.parametrize("first", ["compiled", "step by step"])
def test_a_run_goes_on_the_other_way(first: str, tmp_path: Path) -> None:
    whole = train(trainer(), 30, 30)
    with setting(eager=first == "step by step"):
        saved(train(trainer(), 17, 30), tmp_path / "c")
    with setting(eager=first != "step by step"):
        rest = train(Trainer.resume(SavedRun.read(tmp_path / "c"), whole.ids), 30, 30)
        scores = characters.evaluate(rest.model, whole.ids[:300], streams=2, warm_up=20)
    np.testing.assert_allclose(rest.losses, whole.losses, rtol=1e-3)
    np.testing.assert_allclose(
        scores, characters.evaluate(rest.model, whole.ids[:300], streams=2, warm_up=20), rtol=1e-4
    )


def test_training_runs_compiled(tmp_path: Path) -> None:
    t, ids = trainer(), np.array([[1, 2, 3, 4]] * 5)
    assert [n.op for n in tg.tape(t.model.loss(ids, ids)[0])].count("tanh") == 2 * 5
    with setting(eager=False):
        assert "tanh" not in [n.op for n in tg.tape(t.model.loss(ids, ids)[0])]
    assert list(t.model.state_dict()) == [
        "embedding.weight",
        *(f"cell.{name}_{of}" for name in ("weight", "bias") for of in ("ih", "hh")),
        "output.weight",
        "output.bias",
    ]


def test_a_checkpoint_before_the_first_step(tmp_path: Path) -> None:
    saved(trainer(), tmp_path / "c")
    rest = train(Trainer.resume(SavedRun.read(tmp_path / "c"), trainer().ids), 5, 10)
    assert rest.losses == train(trainer(), 5, 10).losses


def test_divergence_names_the_step_and_leaves_the_parameters() -> None:
    t = train(trainer(), 3, 10)
    weight = np.array(t.model.output.weight.numpy())
    weight[0] = np.inf
    t.model.output.weight.data = weight
    before = t.model.state_dict()
    with pytest.raises(DivergedError, match=r"step 4: the loss is (nan|inf).*--lr 0.005"):
        t.step(0.5)
    assert t.steps == 3
    for name, value in t.model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_models_are_written_and_read(tmp_path: Path) -> None:
    t = trainer()
    model_files.save_model(tmp_path / "m", t.model, t.vocabulary, "é\n")
    model, vocabulary, context = model_files.load_model(tmp_path / "m")
    assert vocabulary == t.vocabulary and context == "é\n"
    np.testing.assert_array_equal(
        characters.evaluate(model, t.ids[:50]), characters.evaluate(t.model, t.ids[:50])
    )


def test_other_files_are_refused(tmp_path: Path) -> None:
    t = trainer()
    path = saved(t, tmp_path / "c")
    model_files.save_model(tmp_path / "m", t.model, t.vocabulary)
    with pytest.raises(CheckpointError, match="checkpoint"):
        model_files.load_model(path)
    arrays, metadata = safetensors.read(tmp_path / "m")
    del metadata["sha256"]  # what follows is about the content
    safetensors.write(
        tmp_path / "m", {k: v for k, v in arrays.items() if k != "output.bias"}, metadata
    )
    with pytest.raises(CheckpointError, match=r"damaged.*output\.bias"):
        model_files.load_model(tmp_path / "m")
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        SavedRun.read(tmp_path)


def changed(metadata: dict[str, str], name: str, change: Any) -> dict[str, str]:
    """Metadata with another value of a name, written by hand."""
    packed = json.loads(metadata["values"])
    for pair in packed["of"]:
        if pair[0] == name:
            pair[1] = change(pair[1])
    return {**metadata, "values": json.dumps(packed)}


def test_what_was_written_by_hand_is_refused(tmp_path: Path) -> None:
    t = trainer()
    path = saved(t, tmp_path / "c")
    arrays, metadata = safetensors.read(path)
    del metadata["sha256"]

    def setting_to(name: str, value: Any) -> Any:
        def change(settings: Any) -> Any:
            pairs = [pair for pair in settings["of"] if pair[0] != name]
            return {**settings, "of": pairs + ([] if value is None else [[name, value]])}

        return changed(metadata, "settings", change)

    for found, words in (
        (setting_to("dropout", 1.0), "damaged.*Dropout: p"),
        (setting_to("nonsense", 1), r"another version.*has: nonsense"),
        (setting_to("dropout", None), r"another version.*has: dropout.*--overwrite"),
        ({**metadata, "values": "{}"}, "none of its 1 checkpoints can be read"),
        ({**metadata, "generators": "{}"}, "does not fit"),
        (changed(metadata, "state", lambda _: []), "damaged"),
        (changed(metadata, "vocabulary", lambda _: 3), "damaged"),
    ):
        (tmp_path / "c" / f"{path.name}.damaged").unlink(missing_ok=True)
        safetensors.write(path, arrays, found)
        with pytest.raises(CheckpointError, match=words):
            Trainer.resume(SavedRun.read(tmp_path / "c"), t.ids)


def test_one_changed_bit_is_found(tmp_path: Path) -> None:
    t = train(trainer(), 2, 10)
    path = saved(t, tmp_path / "c")
    model_files.save_model(tmp_path / "m", t.model, t.vocabulary)
    for file, read in (
        (path, lambda: SavedRun.read(tmp_path / "c")),
        (tmp_path / "m", lambda: model_files.load_model(tmp_path / "m")),
    ):
        read()
        whole = file.read_bytes()
        for place in np.linspace(len(whole) // 2, len(whole) - 1, 30).astype(int):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ 2]) + whole[place + 1 :])
            with pytest.raises((CheckpointError, safetensors.FormatError)):
                read()


# --- signals and threads ----------------------------------------------------------------------------------------------------


def test_signals_wait_for_a_good_place() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupts() as interrupts:
        interrupts.check()
        signal.raise_signal(signal.SIGINT)
        with interrupts.deferred():
            for _ in range(5):
                signal.raise_signal(signal.SIGINT)
            interrupts.check()
        with pytest.raises(Interrupted):
            interrupts.check()
        with pytest.raises(KeyboardInterrupt):  # repeated signals do not wait
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_threads_of_products_are_set_and_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = blas.thread_count()
    if before is None:
        pytest.skip("this NumPy does not use OpenBLAS")
    for name in (
        "OPENBLAS_NUM_THREADS",
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
    ):
        monkeypatch.delenv(name, raising=False)
    with blas.threads(None) as count:
        assert count == blas.thread_count() == 1
    assert blas.thread_count() == before
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with blas.threads(None):
        assert blas.thread_count() == before


# --- a whole run ------------------------------------------------------------------------------------------------------------


def run(o: Options, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = demo.run(o, console.console(width=100))
    return code, capsys.readouterr().out


def test_a_run_writes_all_files(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = run(options(file), capsys)
    folder = file.parent / "out"
    assert code == 0 and "\x1b" not in out and "\r" not in out
    for name in ("model.safetensors", "loss.svg", "report.html", "checkpoints"):
        assert (folder / name).stat().st_size > 0
        assert name == "checkpoints" or str(folder / name) in out
    for picture in folder.glob("*.svg"):
        assert ElementTree.fromstring(picture.read_text()).tag.endswith("svg")
    page = (folder / "report.html").read_text()
    for words in ("LSTM", "trigram", "12 steps", "held out without", "<svg", "</html>"):
        assert words in page
    for model in ("uniform", "unigram", "bigram", "trigram", "5-gram", "LSTM"):
        assert model in out
    assert sorted(p.name for p in folder.iterdir() if p.name.endswith("tmp")) == []


def test_the_table_is_over_the_same_characters(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out = run(options(file), capsys)
    train_text, held = split(TEXT, 0.1)
    model, vocabulary, context = model_files.load_model(file.parent / "out" / "model.safetensors")
    ids = vocabulary.encode(held)
    ours = f"{characters.evaluate(model, ids).mean():.3f}"
    assert f"{ours}" in next(line for line in out.splitlines() if line.startswith("LSTM"))
    assert f"{len(held) - 1:,} characters" in out and vocabulary == Vocabulary.from_text(
        train_text, 2
    )
    assert train_text.endswith(context)


@pytest.mark.parametrize("eager", [True, False])
def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(
    eager: bool, file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with setting(eager=eager):
        check_a_stopped_run(file, capsys, monkeypatch)


@pytest.mark.parametrize("units", ["words", "bytes"])
def test_a_stopped_run_of_words_or_bytes_goes_on(
    units: str, file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(TEXT * 4)
    check_a_stopped_run(file, capsys, monkeypatch, command="train text", units=units)


def check_a_stopped_run(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, **more: Any
) -> None:
    run(options(file, out=file.parent / "whole", **more), capsys)
    step = Trainer.step

    def interrupted(self: Trainer, fraction: float) -> float:
        if self.steps == 5:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return step(self, fraction)

    monkeypatch.setattr(Trainer, "step", interrupted)
    code, out = run(options(file, **more), capsys)
    assert code == 130 and "after step 6" in out and "--resume" in out
    monkeypatch.setattr(Trainer, "step", step)
    more = {**more, "steps": None, "text": None, "settings": {}, "resume": True}
    code, out = run(options(file, **more), capsys)
    assert code == 0 and "Resumed after step 6" in out
    a, b = (
        safetensors.read(file.parent / name / "model.safetensors")[0] for name in ("whole", "out")
    )
    for name, value in a.items():
        np.testing.assert_array_equal(value, b[name], err_msg=name)
    assert len(SavedRun.read(file.parent / "out" / demo.CHECKPOINTS).scores) == demo.EVALUATIONS - 1


def test_a_finished_run_is_resumed_for_longer(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(options(file), capsys)
    code, out = run(options(file, resume=True, steps=16, settings={"lr": 0.01}), capsys)
    assert code == 0 and "16 steps" in out
    found = SavedRun.read(file.parent / "out" / demo.CHECKPOINTS)
    assert len(found.losses) == 16 and found.settings == dataclasses.replace(SMALL, lr=0.01)


@pytest.mark.parametrize("where", ["text", "score_baselines", "evaluate", "sample", "draw_graph"])
def test_a_signal_in_any_part(
    where: str, file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def signalled(function: Any) -> Any:
        def wrapped(*args: Any, **named: Any) -> Any:
            signal.raise_signal(signal.SIGINT)
            return function(*args, **named)

        return wrapped

    owner: Any = {"text": text, "draw_graph": demo._Run}.get(where, demo)
    name = "of_path" if where == "text" else where
    monkeypatch.setattr(owner, name, signalled(getattr(owner, name)))
    code, out = run(options(file), capsys)
    assert code == 130
    if where == "text":
        assert "before training began" in out
    else:
        assert "--resume" in out
        monkeypatch.undo()
        assert run(options(file, resume=True), capsys)[0] == 0


def test_a_run_without_a_picture(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import tinygrad_rnn.drawing

    def fail(*_: Any) -> None:
        raise OSError("no renderer")

    monkeypatch.setattr(tinygrad_rnn.drawing, "draw", fail, raising=False)
    code, out = run(options(file, steps=2), capsys)
    assert code == 0 and "not drawn: no renderer" in out and "unrolled.svg" not in out


def test_a_time_budget_ends_training(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = run(options(file, steps=None, budget=0.5, command="train text"), capsys)
    found = SavedRun.read(file.parent / "out" / demo.CHECKPOINTS)
    assert code == 0 and 0.5 <= found.seconds < 2.5 and len(found.losses) > 0
    assert (
        not (file.parent / "out" / "report.html").exists()
        and (file.parent / "out" / "model.safetensors").exists()
    )


def test_divergence_ends_a_run(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(self: Trainer, fraction: float) -> float:
        raise self._diverged(math.nan, 1.0)

    monkeypatch.setattr(Trainer, "step", diverge)
    code, out = run(options(file), capsys)
    assert code == 1 and "diverged at step 1" in out and "--lr" in out


def test_what_cannot_be_resumed(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="no checkpoint found"):
        run(options(file, resume=True), capsys)
    run(options(file, command="train text", steps=2), capsys)
    with pytest.raises(UserError, match="--hidden is 12"):
        run(options(file, resume=True, settings={"hidden": 13}), capsys)
    with pytest.raises(UserError, match="--embedding-dropout is 0"):
        run(options(file, resume=True, settings={"embedding_dropout": 0.1}), capsys)
    file.write_text(TEXT + "more")
    with pytest.raises(UserError, match="is not the text"):
        run(options(file, resume=True), capsys)


def test_a_text_too_short_for_the_windows_takes_fewer_streams(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _ = run(
        options(
            file,
            command="train text",
            steps=1,
            settings={"hidden": 4, "embedding": 3, "batch": 500, "window": 64},
        ),
        capsys,
    )
    assert code == 0
    assert SavedRun.read(file.parent / "out" / demo.CHECKPOINTS).settings.batch < 500
