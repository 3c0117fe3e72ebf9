"""Keys, limits and policies: from the file and the environment to settings."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from hotseat.config import ConfigError, load, loads, secret_values
from hotseat.core.access_spec import AuthSpec, KeySpec, LimitSpec, PolicySpec, PromptSpec
from hotseat.core.spec import Settings

MODELS = """
models:
  chat: {command: "run --port {port}"%s}
  qwen7b-bnb4: {command: "run --port {port}"}
"""


def settings(top: str = "", chat: str = "", **env: str) -> Settings:
    return loads(f"{top}\n{MODELS % (', ' + chat if chat else '')}", "/etc/box/hotseat.yaml", env)


def problems(top: str = "", chat: str = "", **env: str) -> str:
    with pytest.raises(ConfigError) as error:
        settings(top, chat, **env)
    return str(error.value)


def keys(auth: AuthSpec) -> dict[str, KeySpec]:
    return {key.name: key for key in auth.keys}


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def policy(chat: str = "", top: str = "", route: str = "chat", **env: str) -> PolicySpec:
    found = settings(top, chat, **env)
    return next(one.policy for one in found.routes if one.name == route)


def test_without_keys_it_is_open_and_on_loopback_only() -> None:
    found = settings()
    assert (found.serve.open, found.auth) == (True, AuthSpec())
    assert "without a key, hotseat may listen on this machine only" in problems("listen: :8000")


@pytest.mark.parametrize(
    ("top", "env"),
    [
        ("", {"VLLM_API_KEY": "k1"}),
        ("", {"ADMIN_API_KEY": "k1"}),
        ("keys: {me: {key: k1}}", {}),
        ("auth: off", {}),
        ("", {"REQUIRE_AUTH": "false"}),
        ("api_secret: s1", {}),
        ("basic: {user: me, password: pw}", {}),
    ],
)
def test_with_a_key_or_the_opt_out_it_may_listen_to_all(top: str, env: dict[str, str]) -> None:
    found = settings(f"listen: :8000\n{top}", **env)
    assert not found.serve.open
    assert found.auth.enforced is (found.auth.required)


def test_the_default_key_is_the_owners_until_there_is_an_admin_key() -> None:
    alone = keys(settings(VLLM_API_KEY="k1").auth)
    assert alone == {"VLLM_API_KEY": KeySpec(name="VLLM_API_KEY", digest=digest("k1"), admin=True)}
    both = keys(settings(VLLM_API_KEY="k1", ADMIN_API_KEY="k2").auth)
    assert not both["VLLM_API_KEY"].admin
    assert both["ADMIN_API_KEY"] == KeySpec(
        name="ADMIN_API_KEY", digest=digest("k2"), admin=True, routes=frozenset()
    )
    named = keys(settings("keys: {boss: {key: k3, admin: true}}", VLLM_API_KEY="k1").auth)
    assert not named["VLLM_API_KEY"].admin
    same = keys(settings(VLLM_API_KEY="k1", ADMIN_API_KEY="k1").auth)
    assert (list(same), same["VLLM_API_KEY"].admin) == (["VLLM_API_KEY"], True)


def test_the_rotated_key_is_good_until_its_moment() -> None:
    until = {"VLLM_API_KEY_OLD_UNTIL": "2027-01-01T00:00:00Z"}
    found = keys(settings(VLLM_API_KEY="new", VLLM_API_KEY_OLD="old", **until).auth)
    assert found["VLLM_API_KEY_OLD"].expires_at == 1798761600.0
    assert found["VLLM_API_KEY_OLD"].digest == digest("old")
    assert "environment: VLLM_API_KEY_OLD_UNTIL: must say when VLLM_API_KEY_OLD expires" in problems(
        VLLM_API_KEY="new", VLLM_API_KEY_OLD="old"
    )


def test_a_named_key_with_everything() -> None:
    top = """
keys:
  site:
    key: ${SITE_KEY}
    models: [chat]
    rate_limit:
      - 30/minute
      - {tokens: 5000/hour, per: client}
      - {concurrent: 2}
      - {rate: 10/s, burst: 3, per: total}
    expires: 2027-01-31
    origins: [https://example.org]
    priority: 5
"""
    found = settings(top, SITE_KEY="pk-1")
    key = keys(found.auth)["site"]
    assert (key.digest, key.routes, key.priority) == (digest("pk-1"), frozenset({"chat"}), 5)
    assert key.expires_at == 1801440000.0  # the end of that day
    assert key.origins == ("https://example.org",)
    assert key.limits == (
        LimitSpec(amount=30, per_s=60.0, scope="key site"),
        LimitSpec(amount=5000, per_s=3600.0, what="tokens", per="client", scope="key site"),
        LimitSpec(amount=2, per_s=0, what="concurrent", scope="key site"),
        LimitSpec(amount=10, per_s=1.0, per="total", burst=3, scope="key site"),
    )
    assert "pk-1" in secret_values(found, {})
    assert "pk-1" not in repr(found)


def test_keys_from_a_file_and_as_a_hash(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from-a-file\n")
    file = tmp_path / "hotseat.yaml"
    hashed = digest("hashed").hex()
    file.write_text(f"keys: {{a: {{key_file: secret}}, b: {{sha256: {hashed}}}}}\n{MODELS % ''}")
    found = load(file, {})
    assert {name: key.digest for name, key in keys(found.auth).items()} == {
        "a": digest("from-a-file"),
        "b": digest("hashed"),
    }
    assert "from-a-file" in secret_values(found, {})


def test_a_route_of_a_models_name_means_that_route_only() -> None:
    top = """
routes:
  chat: {path: /public}
  owner: {model: chat}
keys:
  narrow: {key: k1, models: chat}
  wide: {key: k2, models: [qwen7b-bnb4, owner]}
"""
    found = keys(settings(top).auth)
    assert found["narrow"].routes == frozenset({"chat"})
    assert found["wide"].routes == frozenset({"qwen7b-bnb4", "owner"})
    by_model = "routes: {a: {model: chat}, b: {model: chat}}\nkeys: {k: {key: k1, models: chat}}"
    assert keys(settings(by_model).auth)["k"].routes == frozenset({"a", "b"})
    assert keys(settings("keys: {k: {key: k1, models: []}}").auth)["k"].routes == frozenset()


def test_second_factors_and_proxies() -> None:
    found = settings(
        "api_secret: ${S}\nbasic: {user: me, password: '${P}'}\ntrusted_proxies: [127.0.0.1, 10.0.0.0/8]",
        S="second-1",
        P="pass-1",
    )
    auth = found.auth
    assert auth.api_secret == digest("second-1")
    assert auth.basic is not None
    assert (auth.basic.user, auth.basic.password) == (digest("me"), digest("pass-1"))
    assert auth.trusted_proxies == ("127.0.0.1", "10.0.0.0/8")
    assert {"second-1", "pass-1"} <= secret_values(found, {})
    assert not any(secret in repr(found) for secret in ("second-1", "pass-1"))


@pytest.mark.parametrize(
    ("top", "words"),
    [
        ("keys: {a: {}}", "keys.a: needs exactly one of key, key_file and sha256"),
        ("keys: {a: {key: x, sha256: 00}}", "keys.a.sha256: expected a SHA-256 hash"),
        (
            "keys: {a: {key: x, models: [chta]}}",
            "keys.a.models: there is no model or route chta (did you mean",
        ),
        ("keys: {a: {key: same}, b: {key: same}}", "keys.b: is the same key as a"),
        ("keys: {a: {key: x, expires: soon}}", "keys.a.expires: expected a date such as"),
        (
            "keys: {a: {key: x, admin: true, origins: https://a.b}}",
            "keys.a.admin: a key with origins is public",
        ),
        ("keys: {a: {key: x, origins: ['*']}}", "keys.a.origins: list the origins one by one"),
        (
            "keys: {a: {key: x, origins: [example.org]}}",
            "keys.a.origins: expected an origin as browsers send it",
        ),
        ("keys: {a: {key: x, rate_limit: fast}}", "keys.a.rate_limit: expected a rate such as 30/minute"),
        ("keys: {a: {key: x, rate_limit: {per: key}}}", "keys.a.rate_limit: a limit needs exactly one of"),
        ("keys: {a: {key: x, rate_limit: {rate: 1/s, per: me}}}", "per must be client, key or total"),
        ("keys: {a: {key: x, rate_limit: {rate: 2/s, burst: 3}}}", "burst must not exceed"),
        ("keys: {a: {key: x, rate_limit: {rate: 2/s, brust: 1}}}", "a limit has only these keys"),
        ("keys: {a: {key_file: nowhere}}", "keys.a.key_file: cannot be read: No such file"),
        ('keys: {a: {key: "with space "}}', "keys.a.key: a key consists of printable ASCII"),
        ("keys: {VLLM_API_KEY: {key: x}}", "keys.VLLM_API_KEY: cannot be the name of a key"),
        ("keys: {a: {kye: x}}", "keys.a.kye: unknown key (did you mean key?)"),
        ("basic: {password: x}", "basic: needs a user"),
        ("basic: {user: x}", "basic: needs a password, or a configured key to use as one"),
        ("trusted_proxies: [10.0.0.1/8]", "trusted_proxies: expected IP addresses or networks"),
        ("auth: maybe", "auth: expected true or false"),
        ("tls: {cert: a.pem}", "tls: needs both cert and key"),
        ("tls: {cert: a.pem, key: b.pem}", "tls.cert: the file does not exist"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(top: str, words: str) -> None:
    assert words in problems(top)


def test_secrets_are_in_no_message() -> None:
    said = problems(
        "keys: {a: {key: '${K}'}, b: {key: '${K}', models: '${K}', rate_limit: '${K}'}}",
        K="sk-very-secret",
        VLLM_API_KEY="ä",
    )
    assert "keys.b.rate_limit: expected a rate" in said
    assert "sk-very-secret" not in said
    assert "environment: VLLM_API_KEY: a key consists of printable ASCII" in said


# policies


def test_a_policy_with_everything() -> None:
    found = policy(
        "auth: off, rate_limit: 30/minute, defaults: {max_tokens: 256, temperature: 0.7, stop: [a]}, "
        "clamp: {max_tokens: 512, top_p: 0.5}, drop: logit_bias, system_prompt: 'Be kind.', "
        "cors: [https://theschoonover.net], max_hold: 90s, access_log: false"
    )
    assert found == PolicySpec(
        auth=False,
        limits=(LimitSpec(amount=30, per_s=60.0, scope="model chat"),),
        defaults={"max_tokens": 256, "temperature": 0.7, "stop": ["a"]},
        clamp={"max_tokens": 512.0, "top_p": 0.5},
        drop=("logit_bias",),
        prompt=PromptSpec(text="Be kind."),
        cors=("https://theschoonover.net",),
        max_hold_s=90.0,
        access_log=False,
    )


def test_a_route_takes_from_its_model_what_it_does_not_say() -> None:
    top = """
routes:
  site: {model: chat, clamp: {n: 1}, rate_limit: 5/second}
  own: {model: chat, auth: on, system_prompt: {text: "Other.", mode: prepend}}
"""
    terms = "auth: off, clamp: {max_tokens: 5}, rate_limit: 9/hour, defaults: {seed: 1}"
    site, own = (policy(terms, top, name) for name in ("site", "own"))
    assert (site.auth, dict(site.clamp), dict(site.defaults)) == (False, {"n": 1.0}, {"seed": 1})
    assert site.limits == (LimitSpec(amount=5, per_s=1.0, scope="route site"),)
    assert (own.auth, dict(own.clamp)) == (True, {"max_tokens": 5.0})
    assert own.limits == (LimitSpec(amount=9, per_s=3600.0, scope="model chat"),)
    assert own.prompt == PromptSpec(text="Other.", mode="prepend")


def test_defaults_from_the_environment_by_prefix() -> None:
    env = {
        "CHAT_MODEL": "Org/Name",
        "CHAT_MAX_TOKENS": "128",
        "CHAT_TEMPERATURE": "0.25",
        "QWEN7B_BNB4_TOP_P": "0.5",
        "QWEN7B_BNB4_MAX_TOKENS": "",
    }
    chat = policy("defaults: {max_tokens: 5, seed: 1}", **env)
    assert dict(chat.defaults) == {"max_tokens": 128, "temperature": 0.25, "seed": 1}
    assert chat.model_name == "Org/Name"
    qwen = policy(route="qwen7b-bnb4", **env)
    assert (dict(qwen.defaults), qwen.model_name) == ({"top_p": 0.5}, None)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("CHAT_MAX_TOKENS", "many"), ("CHAT_MAX_TOKENS", "1.5"), ("CHAT_MAX_TOKENS", "0"), ("CHAT_TOP_P", "2")],
)
def test_a_wrong_variable_is_named(variable: str, value: str) -> None:
    assert f"environment: {variable}: expected a" in problems(**{variable: value})


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ("clamp: {max_tokens: many}", "models.chat.clamp: a bound must be a number"),
        ("clamp: 5", "models.chat.clamp: expected fields and numbers"),
        ("defaults: {model: x}", "models.chat.defaults: model, messages and stream cannot be set or dropped"),
        ("system_prompt: {mode: replace}", "models.chat.system_prompt: needs either text or file"),
        ("system_prompt: {text: '  '}", "models.chat.system_prompt: is empty"),
        ("system_prompt: {file: nowhere.txt}", "models.chat.system_prompt.file: cannot be read"),
        ("system_prompt: {text: a, mode: append}", "models.chat.system_prompt.mode: expected"),
        ("cors: [https://a.b/]", "models.chat.cors: expected an origin as browsers send it"),
        ("cors: [HTTPS://A.B]", "models.chat.cors: expected an origin as browsers send it"),
        ("max_hold: 0", "models.chat.max_hold: must be greater than 0"),
    ],
)
def test_what_is_wrong_in_a_policy(terms: str, words: str) -> None:
    assert words in problems(chat=terms)


def test_a_prompt_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text("\ufeffBe kind.\nAlways.\n", encoding="utf-8")
    file = tmp_path / "hotseat.yaml"
    file.write_text(MODELS % ", system_prompt: {file: prompt.txt}")
    [chat, _] = load(file, {}).routes
    assert chat.policy.prompt == PromptSpec(text="Be kind.\nAlways.")


def test_tls_and_the_shared_store(tmp_path: Path) -> None:
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("")
    file = tmp_path / "hotseat.yaml"
    file.write_text(
        "tls: {cert: cert.pem, key: key.pem}\nrate_store: ${STORE}\naccess_log: off\n" + MODELS % ""
    )
    found = load(file, {"STORE": "redis://:pw@127.0.0.1:6379/0"})
    assert found.serve.tls is not None
    assert found.serve.tls.cert == str(tmp_path / "cert.pem")
    assert found.serve.rate_store == "redis://:pw@127.0.0.1:6379/0"
    assert "redis://:pw" not in repr(found)
    assert not any(route.policy.access_log for route in found.routes)
    assert not found.serve.access_log
