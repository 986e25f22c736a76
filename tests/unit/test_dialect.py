import pytest

from promptopt.backends.dialect import Dialect, cut_at_stop, cut_thinking
from promptopt.errors import ConfigError


@pytest.mark.parametrize("model", ["o1", "o3-mini", "openai/o4-mini", "gpt-5", "gpt-5.1-mini", "azure/gpt-5-nano"])
def test_reasoning_models_are_known_by_name(model: str) -> None:
    assert Dialect.of(model).reasoning
    assert not Dialect.of(model).may_switch
    assert not Dialect.of(model, "false").reasoning


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-5-chat-latest", "gpt-oss-20b", "o1ama", "Qwen/Qwen3-8B", ""])
def test_others_may_turn_out_to_be_some(model: str) -> None:
    dialect = Dialect.of(model)
    assert not dialect.reasoning
    assert dialect.switched().reasoning
    assert not dialect.switched().may_switch
    assert Dialect.of(model, "true").reasoning


def test_only_what_the_user_set_is_in_the_key() -> None:
    assert Dialect.of("o3").key == Dialect.of("gpt-4o").key == Dialect.of("gpt-4o").switched().key == ()
    keys = {
        Dialect.of("m", reasoning, body).key
        for reasoning in ("auto", "true", "false")
        for body in ("", '{"top_p": 1}', '{"top_p": 0}')
    }
    assert len(keys) == 9
    assert Dialect.of("m", body='{"a":1,"b":2}').key == Dialect.of("m", body=' {"b": 2, "a": 1}').key


@pytest.mark.parametrize("body", ["{", "[]", "3", "top_p=1"])
def test_a_body_must_be_an_object(body: str) -> None:
    with pytest.raises(ConfigError, match="must be a JSON object"):
        Dialect.of("m", body=body)


@pytest.mark.parametrize("name", ["model", "messages", "stream", "max_completion_tokens", "n", "api_base"])
def test_a_body_leaves_our_fields_alone(name: str) -> None:
    with pytest.raises(ConfigError, match=f"'{name}' is set by promptopt itself"):
        Dialect.of("m", body=f'{{"{name}": 1}}')


@pytest.mark.parametrize("name", ["api_key", "azure_ad_token", "aws_secret_access_key", "Authorization"])
def test_a_body_holds_no_secret(name: str) -> None:
    with pytest.raises(ConfigError, match=name) as caught:
        Dialect.of("m", body=f'{{"{name}": "sesame"}}')
    assert "sesame" not in str(caught.value)


def test_a_third_way_of_reasoning_is_refused() -> None:
    with pytest.raises(ConfigError, match="true, false or auto"):
        Dialect.of("m", "perhaps")


@pytest.mark.parametrize(
    ("text", "left", "endless"),
    [
        ("plain", "plain", False),
        (" keeps its spaces ", " keeps its spaces ", False),
        ("<think>\na\n</think>\n\nb", "b", False),
        ("  <think></think>b", "b", False),
        ("<think>a</think><think>b</think>c", "c", False),
        ("a thought without its opening tag</think>b", "b", False),
        ("<think>a", "", True),
        ("<think>a</think> <think>b", "", True),
        ("say <think> to think", "say <think> to think", False),
        ("b, said after <think>a</think>", "b, said after <think>a</think>", False),
        ("rethink>", "rethink>", False),
    ],
)
def test_thinking_is_cut(text: str, left: str, endless: bool) -> None:
    assert cut_thinking(text) == (left, endless)


def test_the_first_stop_counts() -> None:
    assert cut_at_stop("a;b.c", (".", ";")) == "a"
    assert cut_at_stop("abc", ()) == cut_at_stop("abc", ("x",)) == "abc"
