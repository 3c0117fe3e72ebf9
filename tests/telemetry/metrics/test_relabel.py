"""The models' own metrics, joined."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from hotseat.telemetry.metrics import join
from hotseat.telemetry.metrics.relabel import MAX_SAMPLES

TEXT = """\
# HELP vllm:tokens Tokens so far.
# TYPE vllm:tokens counter
vllm:tokens_total{engine="0",model_name="a b"} 5.0
# HELP up_s Seconds.
# TYPE up_s histogram
up_s_bucket{le="+Inf"} 1 1700000000000
up_s_count 1
up_s_sum 2.5e-3
"""


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def one(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def test_every_series_gets_its_model_and_families_stay_together() -> None:
    text = join({"chat": TEXT, "coder": TEXT, "tiny": None})
    found = samples(text)
    for model in ("chat", "coder"):
        assert found[one("vllm:tokens_total", model=model, engine="0", model_name="a b")] == 5
        assert found[one("up_s_bucket", model=model, le="+Inf")] == 1
        assert found[one("up_s_sum", model=model)] == 0.0025
    assert text.count("# TYPE up_s histogram") == 1
    ups = {model: found[one("hotseat_model_metrics_up", model=model)] for model in ("chat", "coder", "tiny")}
    assert ups == {"chat": 1, "coder": 1, "tiny": 0}
    lines = text.splitlines()
    assert [n for n, line in enumerate(lines) if line.startswith("up_s_")] == list(
        range(lines.index("# TYPE up_s histogram") + 1, lines.index("# TYPE up_s histogram") + 7)
    )


def test_a_label_of_the_same_name_makes_room() -> None:
    text = join({"chat": 'x{model="mine",other="model=\\"y\\",model=z"} 1\ny{a="b", model="q",} 2\n'})
    found = samples(text)
    assert found[one("x", model="chat", exported_model="mine", other='model="y",model=z')] == 1
    assert found[one("y", model="chat", exported_model="q", a="b")] == 2


def test_what_is_no_metric_is_left_out() -> None:
    text = join({"chat": '<html>{"a": 1}\n# EOF\nx{broken 1\nx 1\nhotseat_model_metrics_up{model="x"} 1\n'})
    assert samples(text).keys() == {one("x", model="chat"), one("hotseat_model_metrics_up", model="chat")}


def test_a_models_name_cannot_break_a_line() -> None:
    found = samples(join({'a"b\\c': "x 1\n"}))
    assert found[one("x", model='a"b\\c')] == 1


_LINE = st.sampled_from(TEXT.splitlines()) | st.text(max_size=40)


@given(st.lists(st.lists(_LINE, max_size=8).map("\n".join), max_size=3))
def test_whatever_servers_say_the_text_can_be_read(texts: list[str]) -> None:
    joined = join({f"m{n}": text for n, text in enumerate(texts)})
    for name, labels in samples(joined):
        assert "model" in dict(labels), name


def test_one_server_does_not_spoil_the_page_of_the_others() -> None:
    """What one server writes is dropped where Prometheus would refuse the whole page for it."""
    bad = (
        'x{a="1",a="2"} 1\n'
        'x{model="1",exported_model="2"} 1\n'
        'x{__name__="y"} 1\n'
        'x{a="\\q"} 1\n'
        "x{a=1} 1\n"
        'x{a="1"b="2"} 1\n'
        "x 1.2.3\nx 1e\nx --1\nx 0x10\n"
        "x 1 99999999999999999999\n"
        "# TYPE x bananas\n"
        "hotseat_requests_total 9\n"
        "# TYPE hotseat_model_metrics_up counter\n"
        'twice{a="1",b="2"} 1\ntwice{b="2",a="1"} 2\n'
        "good 1\n"
    )
    text = join({"chat": bad, "coder": TEXT})
    found = samples(text)
    assert found[one("good", model="chat")] == 1
    assert found[one("vllm:tokens_total", model="coder", engine="0", model_name="a b")] == 5
    assert [line for line in text.splitlines() if "chat" in line] == [
        'hotseat_model_metrics_up{model="chat"} 1',
        'twice{model="chat",a="1",b="2"} 1',
        'good{model="chat"} 1',
    ]
    assert "bananas" not in text
    assert "# TYPE hotseat_model_metrics_up gauge" in text


def test_long_lines_and_many_samples_are_dropped() -> None:
    text = join({"chat": 'x{a="' + "y" * 7_000_000 + '"} 1\n' + "".join(f"z{n} 1\n" for n in range(30_000))})
    assert len(text) < 1_000_000
    assert text.count("\n") == MAX_SAMPLES + 3
