"""One value against another, and every problem told at once, at its place, with what to do."""

from __future__ import annotations

import pytest

from hotseat.config import ConfigError, loads


def problems(text: str, **env: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loads(text, "f", {"HOME": "/h", **env})
    return [str(problem).removeprefix("f:") for problem in caught.value.problems]


def only(text: str, **env: str) -> str:
    (problem,) = problems(text, **env)
    return problem


RUN = "command: 'run --port {port}'"


def test_everything_that_is_wrong_is_told_at_once() -> None:
    text = """\
listen: :8000
gpu: {budgt: 0.9}
idle: 30x
default_model: chta
modles: {}
models:
  chat:
    command: vllm serve Qwen/Q
    idel: 5m
    residency: soon
    pinned: maybe
  chat:
    command: [a]
  coder: {command: "run {port}", aliases: [chat], env: {A: true}}
  stats: {container: x, url: "ftp://x", port: 99999, command: x}
  big:
"""
    assert problems(text) == [
        "1: listen: without a key, hotseat may listen on this machine only (127.0.0.1, ::1, localhost or a "
        "Unix socket) "
        "(set VLLM_API_KEY in the environment, or listen on 127.0.0.1)",
        "2: gpu.budgt: unknown key (did you mean budget?)",
        "3: idle: expected a duration such as 30m, 90s, 1h30m or a number of seconds",
        "4: default_model: there is no model chta (did you mean chat?)",
        "5: modles: unknown key (did you mean models?)",
        "8: models.chat.command: does not contain {port}: hotseat chooses the port that the program must "
        "listen on (pass it to the program, for example with --port {port})",
        "9: models.chat.idel: unknown key (did you mean idle?)",
        "10: models.chat.residency: "
        "expected auto or a duration such as 30m, 90s, 1h30m or a number of seconds",
        "11: models.chat.pinned: expected true or false",
        "12: models.chat: duplicate key (first on line 7) (remove one of the two)",
        "14: models.coder.aliases: chat is already a name of models.chat (choose another name)",
        '14: models.coder.env: A: put it in quotes ("true"), so that the exact text is clear',
        "15: models.stats: /stats is reserved for hotseat itself (choose another name, or set path)",
        "15: models.stats.command: is for models with runtime process; this model has runtime docker "
        "(remove this line)",
        "15: models.stats.port: expected a port between 1 and 65535",
        "15: models.stats.url: expected a URL such as http://10.0.0.5:8000",
        "16: models.big: has no value (add one, or remove the line to use the default)",
    ]


@pytest.mark.parametrize(
    "name", ["v1", "admin", "healthz", "health", "routes", "stats", "metrics", "events", "logs"]
)
def test_reserved_names(name: str) -> None:
    assert f"/{name} is reserved for hotseat itself" in only(f"models: {{{name}: {{{RUN}}}}}")
    assert f"/{name} is reserved for hotseat itself" in only(f"models: {{m: {{{RUN}, path: /{name}}}}}")
    assert f"/{name}/x is reserved for hotseat itself" in only(f"models: {{m: {{{RUN}, path: /{name}/x}}}}")
    loads(f"models: {{{name}: {{{RUN}, path: /other}}}}", "f", {})


@pytest.mark.parametrize(
    "path", ["chat", "/", "/chat/", "//chat", "/a/../b", "/.a", "/a%20b", "/a b", "/ä", "/a?b", ""]
)
def test_paths_have_one_spelling(path: str) -> None:
    assert "models.m.path: expected a path prefix such as /chat" in only(
        f"models: {{m: {{{RUN}, path: '{path}'}}}}"
    )


@pytest.mark.parametrize("name", ["a b", "ä", ".a", "a//b", "/a", "a/", "a/.b", "a/../b", "x" * 65])
def test_names_fit_into_a_path(name: str) -> None:
    assert "a name consists of up to 64 letters" in only(f"models: {{'{name}': {{{RUN}}}}}")


def test_paths_and_names_lead_to_one_place() -> None:
    two = f"models: {{a: {{{RUN}%s}}, b: {{{RUN}%s}}}}"
    assert (
        only(two % ("", ", path: /a"))
        == "1: models.b.path: /a is already the path of models.a (choose another path)"
    )
    assert (
        only(two % (", aliases: x", ", aliases: [x]"))
        == "1: models.b.aliases: x is already a name of models.a (choose another name)"
    )
    assert (
        only(two % (", lora: b", ""))
        == "1: models.a.lora: b is already a name of models.b (choose another name)"
    )
    assert "the same name appears twice" in only(two % (", aliases: [x, x]", ""))


def test_routes() -> None:
    models = f"models: {{m: {{{RUN}%s}}}}\n"
    assert only(models % "" + "routes: {r: {model: n}}").startswith("2: routes.r.model: there is no model n")
    assert only(models % "" + "routes: {r: {}}").startswith("2: routes.r: there is no model r")
    assert "since this model has routes of its own" in only(models % ", path: /x" + "routes: {r: {model: m}}")
    assert "/r is already the path of routes.r" in only(
        models % "" + "routes: {r: {model: m}, s: {model: m, path: /r}}"
    )


def test_what_never_fits_is_refused() -> None:
    top = "gpu: {budget: 0.9}\nmodels:\n"
    assert only(f"{top}  a: {{{RUN}, footprint: 0.95}}") == (
        "3: models.a.footprint: needs 95 % of device 0, but its budget is 90 % "
        "(lower the footprint, or raise gpu.budget)"
    )
    pinned = f"  a: {{{RUN}, footprint: 0.5, pinned: true}}\n  b: {{{RUN}, footprint: 0.5%s}}"
    together = problems(top + pinned % ", pinned: true")
    assert [one.split(" (pin")[0] for one in together] == [
        f"{line}: models.{name}.pinned: the pinned models (a, b) together need 100 % of device 0, "
        "but its budget is 90 %"
        for line, name in ((3, "a"), (4, "b"))
    ]
    assert "which the pinned models (a: 50 %) never leave free" in only(top + pinned % "")
    loads(top + (pinned % "").replace("0.5", "0.45"), "f", {})


def test_devices_must_have_a_budget() -> None:
    text = f"gpu: {{devices: [0, 1]}}\nmodels: {{a: {{{RUN}, %s}}}}"
    assert "device 2 has no budget (configured devices: 0, 1)" in only(text % "devices: [0, 2]")
    assert "device 7 has no budget" in only(text % "footprint: {7: 0.1}")
    assert "does not list the same devices as footprint" in only(
        text % "footprint: {0: 0.1}, devices: [0, 1]"
    )
    assert "expected a device" in only(text % "devices: []")
    assert "expected a list of devices" in only(f"gpu: {{devices: 2}}\nmodels: {{a: {{{RUN}}}}}")


def test_keys_of_another_runtime_are_refused() -> None:
    assert "container: is for models with runtime docker" in only(
        f"models: {{a: {{{RUN}, container: x, runtime: process}}}}"
    )
    assert only("models: {a: {runtime: docker}}") == (
        "1: models.a: has runtime docker but names no container (add container: NAME)"
    )
    assert "does not say what to start" in only("models: {a: {}}")
    assert "expected 'process', 'docker' or 'kubernetes'" in only(
        f"models: {{a: {{{RUN}, runtime: podman}}}}"
    )


def test_compose_needs_a_file() -> None:
    assert "models.a.compose: does not name a Compose file" in only(
        "models: {a: {container: x, compose: {profiles: [p]}}}"
    )
    loads("compose: dc.yml\nmodels: {a: {container: x, compose: {profiles: [p]}}}", "f", {})


def test_sleep_is_checked() -> None:
    assert "only vLLM servers can sleep" in only(f"models: {{a: {{{RUN}, sleep: 1}}}}")
    assert "expected sleep level 1" in only("models: {a: {command: 'vllm serve q --port {port}', sleep: 3}}")
    assert "expected sleep level 1" in only(f"sleep: {{level: 9}}\nmodels: {{a: {{{RUN}}}}}")


def test_a_default_to_return_to_is_needed() -> None:
    assert "return_to_default: needs a default model" in only(
        f"return_to_default: yes\nmodels: {{a: {{{RUN}}}}}"
    )


@pytest.mark.parametrize(
    ("key", "fix"),
    [
        ("footprnt", "did you mean footprint?"),
        ("budget", "it belongs to gpu"),
        ("listen", "it belongs at the top of the file"),
        ("qqq", "allowed keys: command, env"),
    ],
)
def test_unknown_keys_lead_on(key: str, fix: str) -> None:
    assert fix in only(f"models: {{a: {{{RUN}, {key}: 1}}}}")


def test_no_models_at_all() -> None:
    assert "no model is configured" in only("listen: 8000")
    assert "models: expected key: value lines" in only("models: [a]")


def test_notes_at_the_top_are_the_operators_own() -> None:
    loads(f"x-note: [1, {{}}]\nmodels: {{a: {{{RUN}}}}}", "f", {})
    assert "unknown key" in only(f"models: {{a: {{{RUN}, x-note: 1}}}}")


def test_a_broken_model_does_not_hide_the_others_nor_blame_them() -> None:
    text = f"models:\n  a: {{footprint: lots, pinned: true, {RUN}}}\n  b: {{{RUN}, footprint: 0.95}}\n"
    assert [one.split(":")[1] for one in problems(text)] == [" models.a.footprint", " models.b.footprint"]
    assert problems(f"default_model: a\nroutes: {{r: {{model: a}}}}\nmodels: {{a: [], b: {{{RUN}}}}}") == [
        "3: models.a: expected key: value lines"
    ]


def test_what_keeps_warm_and_who_goes_first() -> None:
    settings = loads(
        "timezone: Europe/Berlin\nhealth_every: 0\nfirst_byte_timeout: 20m\nwatch_config: true\nmodels:\n"
        f'  a: {{{RUN}, keep_warm: "Mon-Fri 08:00-18:00", health_every: 2s}}\n'
        f'  b: {{{RUN}, keep_warm: ["07:00-08:00", "Sat 10:00-12:00"], first_byte_timeout: 0}}\n'
        f"  c: {{command: 'vllm serve Q/W --port {{port}} --max-num-seqs 8', priority: 2, max_queue: 7}}\n"
        f"routes: {{fast: {{model: c, priority: 5}}}}",
        "f",
        {"HOME": "/h"},
    )
    a, b, c = settings.models.values()
    assert a.keep_warm is not None
    assert b.keep_warm is not None
    assert (a.keep_warm.zone, len(a.keep_warm.spans), len(b.keep_warm.spans)) == ("Europe/Berlin", 1, 2)
    assert (a.health_every_s, b.health_every_s) == (2.0, None)
    assert (a.first_byte_timeout_s, b.first_byte_timeout_s) == (1200.0, None)
    assert (c.keep_warm, c.scheduling.max_in_flight, c.scheduling.priority, c.scheduling.max_queue) == (
        None,
        8,
        2,
        7,
    )
    assert settings.routes[0].priority == 5
    assert settings.serve.watch_config


def test_spans_and_zones_that_are_none() -> None:
    text = f"timezone: Middle/Earth\nmodels:\n  a: {{{RUN}, keep_warm: sometimes}}\n"
    assert problems(text) == [
        "1: timezone: this time zone is unknown here; write one such as Europe/Berlin",
        '3: models.a.keep_warm: expected a span such as "Mon-Fri 08:00-18:00", "Sat,Sun 10:00-24:00" or '
        '"07:30-09:00" (every day)',
    ]


@pytest.mark.parametrize("name", ["Qwen/Qwen2.5-7B", "llama:8b", "hf.co/org/Llama-3:Q4_K_M", "a" * 64])
def test_a_name_may_be_written_as_on_hugging_face_or_as_ollama_does(name: str) -> None:
    settings = loads(f"models: {{'{name}': {{{RUN}}}}}\ndefault_model: '{name}'\n", "f", {"HOME": "/h"})
    assert [(route.name, route.path) for route in settings.routes] == [(name, f"/{name}")]


@pytest.mark.parametrize("name", ["v1/x", "x/v1", "admin/x", "logs/a"])
def test_a_name_with_slashes_may_not_take_a_path_of_hotseat(name: str) -> None:
    assert "is reserved for hotseat itself" in only(f"models: {{'{name}': {{{RUN}}}}}")
