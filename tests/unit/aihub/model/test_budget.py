"""What names tell of models, and what models take of a card; figures are those that their makers publish."""

from __future__ import annotations

from pathlib import Path

import pytest
from aihub.errors import Problem
from aihub.model.budget import GIB, Need, Serving, largest_context, need_of, total
from aihub.model.families import family_of, parameters_of, quantisation_of, words_before
from aihub.model.hub import LanguageModel

from tests.unit.aihub import cases


def need(weights: str, unmarked: str = "q4", **said: object) -> Need:
    model = LanguageModel.model_validate({"engine": "e", "guest": "g", "weights": weights, **said})
    return need_of("m", model, Serving.of([model]), unmarked)


@pytest.mark.parametrize(
    ("name", "gigabytes"),
    [
        ("qwen2.5:32b-instruct-q4_K_M", 19.9),
        ("qwen2.5:32b-instruct-q5_K_M", 23.4),
        ("qwen2.5:32b-instruct-q6_K", 26.9),
        ("qwen2.5:32b-instruct-q8_0", 34.8),
        ("qwen2.5:14b", 9.0),
        ("qwen2.5:14b-instruct-q8_0", 15.7),
        ("Qwen/Qwen2.5-14B-Instruct-BF16", 29.6),
        ("mistral:7b-instruct-v0.3-q4_K_M", 4.4),
        ("mistral:7b-instruct-v0.3-q8_0", 7.7),
        ("hf.co/maker/Mistral-7B-Instruct-v0.3-GGUF:Q4_K_M", 4.4),
    ],
)
def test_weights_are_as_large_as_the_files_that_are_published(name: str, gigabytes: float) -> None:
    assert need(name).weights / 1e9 == pytest.approx(gigabytes, rel=0.02)


@pytest.mark.parametrize(
    ("name", "kibibytes"),
    [
        ("qwen2.5:32b", 256),
        ("qwen2.5:14b", 192),
        ("mistral:7b", 128),
        ("qwen3.6:27b", 64),
        ("qwen3.6:35b-a3b", 20),
        ("bge-m3", 0),
        ("intfloat/multilingual-e5-small", 0),
    ],
)
def test_a_token_takes_what_the_models_shape_says(name: str, kibibytes: int) -> None:
    assert need(name).token == kibibytes * 1024


@pytest.mark.parametrize("name", ["smollm2", "mixtral:8x7b", "qwen2.50:7b", "mistral-nemo:12b", "qwen2.5:9b"])
def test_a_name_that_is_not_known_is_not_taken_for_another(name: str) -> None:
    assert family_of(name) is None
    assert not need(name).known


def test_a_size_in_a_name_counts_even_where_the_family_is_not_known() -> None:
    assert parameters_of("deepseek-r1:32b") == 32
    assert parameters_of("tiny-360m") == 0.36
    assert parameters_of("mixtral:8x7b") == 0  # eight experts share more than their names say


@pytest.mark.parametrize(
    ("name", "quantisation"),
    [
        ("qwen2.5:7b-instruct-q4_K_M", "q4"),
        ("m-IQ4_XS", "q4"),
        ("m-7B-AWQ", "awq"),
        ("m-7B-GPTQ-Int4", "gptq"),
        ("m-FP8", "fp8"),
        ("m-NVFP4", "nvfp4"),
        ("m:7b-instruct-fp16", "fp16"),
        ("m-BF16", "fp16"),
        ("qwen2.5:7b", "said"),
        ("awqward-7b", "said"),
    ],
)
def test_a_quantisation_is_read_as_a_word_of_its_own(name: str, quantisation: str) -> None:
    assert quantisation_of(name, "said") == quantisation


def test_what_fits_a_card_is_what_the_tables_of_this_hardware_say() -> None:
    """32 GiB hold Qwen2.5 32B with some 46,000 tokens, or twice as many with smaller numbers in the cache."""
    model = need("qwen2.5:32b-instruct-q4_K_M", context=131072)
    assert 45_000 <= largest_context(model, [], 32 * GIB) <= 48_000
    assert largest_context(need("qwen2.5:32b-instruct-q4_K_M", context=131072, kv="q8_0"), [], 32 * GIB) >= 85_000
    assert largest_context(need("qwen2.5:32b-instruct-q8_0"), [], 32 * GIB) == 0
    assert total([need("mistral:7b-instruct-q4_K_M", context=8192, parallel=4)]) < 12 * GIB


def test_what_hub_yml_says_of_a_model_counts_alone() -> None:
    said = need("strange", memory="20GiB")
    assert (said.total, said.known) == (20 * GIB, True)


def test_an_engine_serves_all_its_models_with_the_largest_context() -> None:
    def model(**said: object) -> LanguageModel:
        return LanguageModel.model_validate({"engine": "e", "guest": "g", "weights": "qwen2.5:7b", **said})

    assert Serving.of([model(context=1024), model(context=2048, parallel=2, kv="q8_0")]) == Serving(
        2048, 2, "q8_0", True
    )
    assert Serving.of([]) == Serving(4096, 1, "f16", True)


def test_a_quantisation_that_a_card_does_not_compute_is_refused(tmp_path: Path) -> None:
    eight = ('weights: "strange", memory: 33GiB', 'weights: "mistral-7b-fp8"')
    assert not problems(tmp_path, "rule-model-memory", eight)  # an RTX 5090 does
    (problem,) = problems(tmp_path, "rule-model-memory", eight, ("10de:2b85", "10de:2504"))
    assert problem.message.endswith("of compute capability 8.9 and later, and big has 8.6: take another quantisation")


def problems(path: Path, name: str, *changes: tuple[str, str]) -> tuple[Problem, ...]:
    """What is wrong in a case's hub file when some of its words are others."""
    text = (cases.CASES / "hub" / "invalid" / f"{name}.yml").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.joinpath("hub.yml").write_text(text)
    return cases.hub_problems(path / "hub.yml")


def test_models_that_need_not_stay_loaded_take_turns_on_the_card(tmp_path: Path) -> None:
    turns = ("stacks: [ollama]", "stacks: [turns]"), ("engine: ollama", "engine: turns")
    assert len(problems(tmp_path, "rule-model-two", *turns)) == 1
    unloads = ('instruct-q4_K_M"', 'instruct-q4_K_M", keep_loaded: false')
    assert not problems(tmp_path, "rule-model-two", *turns, unloads)


def test_an_engine_that_computes_on_the_processor_takes_nothing_of_the_card(tmp_path: Path) -> None:
    lone = ("stacks: [ollama]", "stacks: [lone]"), ("engine: ollama", "use: embedding, engine: lone")
    assert not problems(tmp_path, "rule-model-memory", *lone)


@pytest.mark.parametrize(
    ("name", "question", "passage"),
    [
        ("intfloat/multilingual-e5-small", "query: ", "passage: "),
        ("intfloat/e5-large-v2", "query: ", "passage: "),
        ("intfloat/multilingual-e5-large-instruct", "Instruct: Find passages that answer the question\nQuery: ", ""),
        ("nomic-embed-text:v1.5", "search_query: ", "search_document: "),
        ("BAAI/bge-m3", "", ""),
        ("some/these5-small", "", ""),
    ],
)
def test_what_stands_before_a_text_is_what_the_model_was_trained_with(name: str, question: str, passage: str) -> None:
    assert words_before(name) == (question, passage)
