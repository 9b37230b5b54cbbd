"""The examples run, and show what they say."""

import runpy
from pathlib import Path

import pytest

from tinygrad_rnn.core.tape import setting

pytestmark = pytest.mark.usefixtures("eager")  # compiling takes longer than most of these runs

FOLDER = Path(__file__).parent.parent / "examples"


def load(name):
    return runpy.run_path(str(FOLDER / f"{name}.py"))


def test_custom_cell_learns_to_remember(tmp_path, capsys):
    assert load("custom_cell")["main"](str(tmp_path / "cell.svg")) > 0.9
    assert "<svg" in (tmp_path / "cell.svg").read_text()


def test_own_operations(capsys):
    load("own_operations")["main"]()
    assert "second derivatives" in capsys.readouterr().out


def test_the_gradient_of_an_elman_network_vanishes_faster(capsys):
    found = load("gradient_through_time")["main"]()
    assert found["LSTM"][0] / found["LSTM"][-1] > 10 * found["Elman"][0] / found["Elman"][-1]


def test_one_lstm_layer_finds_the_marked_value(capsys):
    with setting(eager=False):
        found = load("vanilla_lstm")["main"]()
    assert found["LSTM"] < 0.02 < 0.25 < min(found["linear"], found["the mean"])


def test_two_levels_of_lstm_forecast_a_chaotic_series_better_than_one(capsys):
    with setting(eager=False):
        _, linear, one, two = load("stacked_lstm")["main"]().values()
    assert max(two) < 0.7 * min(one) and max(one) < linear[0]


def test_a_convolution_and_an_lstm_tell_which_sign_comes_first(capsys):
    found = load("cnn_lstm")["main"]()
    assert found["CNN and LSTM"] > 0.9 and found["linear"] < 0.7


def test_an_encoder_and_a_decoder_sort(capsys):
    with setting(eager=False):
        found = load("encoder_decoder_lstm")["main"]()
    assert min(found["greedy"], found["a beam of 4"]) > 0.95


def test_two_directions_see_both_neighbours(capsys):
    found = load("bidirectional_lstm")["main"]()
    assert found["both directions"] > 0.99 and found["forwards only"] < 0.7


def test_generated_brackets_are_balanced(capsys):
    with setting(eager=False):
        found = load("generative_lstm")["main"]()
    assert found["LSTM"] > 0.85 and found["pairs of characters"] < 0.4
    assert "for example" in capsys.readouterr().out
