"""Policies for requests; written on a route, or on a model for all its routes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator

from hotseat.config.parsers import network, request_fields
from hotseat.config.schema.rate_limits import RateLimited
from hotseat.config.schema.types import Bool, CommentInterval, PositiveDuration
from hotseat.config_fields import ConfigModel, one_or_list, schema

ORIGINS_SCHEMA = one_or_list(
    "origin or list of origins", {"type": "string", "examples": ["https://example.org"]}
)
Origins = Annotated[tuple[str, ...], PlainValidator(network.origins), ORIGINS_SCHEMA]
Fields = Annotated[
    dict[str, Any], PlainValidator(request_fields.fields), schema("object", "fields and their values")
]
FieldNames = Annotated[
    tuple[str, ...],
    PlainValidator(request_fields.field_names),
    one_or_list("field or list of fields", {"type": "string", "examples": ["logit_bias"]}),
]
Bounds = Annotated[
    dict[str, float],
    PlainValidator(request_fields.bounds),
    schema("object", "fields and numbers", additionalProperties={"type": "number"}),
]


class SystemPromptConfig(ConfigModel):
    """A system prompt that is set by the operator."""

    text: str | None = Field(default=None, description="The prompt.")
    file: str | None = Field(
        default=None, description="A text file with the prompt. Read whenever the configuration is read."
    )
    mode: Literal["replace", "prepend"] = Field(
        default="replace",
        description="`replace` removes the client's system and developer messages; `prepend` keeps them "
        "after this prompt.",
    )


def _expand_prompt(value: Any) -> Any:
    return {"text": value} if isinstance(value, str) else value


SystemPromptOrText = Annotated[
    SystemPromptConfig, BeforeValidator(_expand_prompt, json_schema_input_type=str | SystemPromptConfig)
]


class PolicyConfig(RateLimited):
    """The policy that a route applies to its requests."""

    auth: Bool | None = Field(
        default=None, description="`off`: requests need no key here, even if keys are configured."
    )
    defaults: Fields | None = Field(
        default=None,
        description="Values for fields that a request leaves out: `{max_tokens: 256, temperature: 0.7}`.",
    )
    clamp: Bounds | None = Field(
        default=None,
        description="Upper bounds of fields: `{max_tokens: 512, n: 1}`. Larger values are lowered to the "
        "bound. Covers other spellings of a field, too (`max_completion_tokens`). A request without "
        "`max_tokens` gets the bound.",
    )
    drop: FieldNames | None = Field(default=None, description="Fields that are removed from requests.")
    allow_fields: FieldNames | None = Field(
        default=None,
        description="With `system_prompt` or `clamp`, only fields of the API's reference pass that can undo "
        "neither; others are removed. The fields listed here pass, too: "
        "`[guided_json]`.",
    )
    system_prompt: SystemPromptOrText | None = Field(
        default=None,
        description="The system prompt of all requests: text, or `{text | file, mode}`. Paths on which a "
        "client could bypass it are not served.",
    )
    cors: Origins | None = Field(
        default=None,
        description="Web origins whose pages may send requests from a browser: `[https://example.org]`. Also "
        "extensions and editors (`chrome-extension://ID`, `vscode-webview://*`) and patterns "
        '(`https://*.example.org`, `http://localhost:*`, `http://*`); `"*"` allows all.',
    )
    max_hold: PositiveDuration | None = Field(
        default=None,
        description="A request that does not stream gets 503 with `Retry-After` if its response has not "
        "begun after this time. Useful behind proxies that cut silent requests (Cloudflare: 100 seconds).",
    )
    progress: Literal["text", "reasoning", "off"] | None = Field(
        default=None,
        description="`text`: a stream that waits for its model begins with visible lines such as `loading "
        "coder, about 30 s left`, for programs that drop comments; `reasoning`: among the answer's "
        "reasoning. A request's header `X-Hotseat-Progress` has the same values and comes first. By default "
        "`off`.",
    )
    may_evict: Bool | None = Field(
        default=None,
        description="`false`: a request for a model that is not loaded gets 503 at once if another model "
        "had to be stopped to make room. For completions and other requests that come by themselves.",
    )
    keepalive_comments: CommentInterval | None = Field(
        default=None,
        description="How often a silent stream gets a comment; `false`: never. By default as at the top of "
        "the file.",
    )
    access_log: Bool | None = Field(
        default=None, description="Write requests to the access log. By default as at the top of the file."
    )
