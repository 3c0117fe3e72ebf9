"""Request fields that are known to be safe where a system prompt or a bound is imposed, by path.

Every release of an inference server adds fields, and some undo what a policy imposes: they cut the
prompt off (``truncate_prompt_tokens``, ``truncation``), show it (``echo``, ``prompt_logprobs``,
``return_prompt_text``), replace it (``chat_template``, ``prompt_embeds``) or are the operator's to decide
(``priority``, ``cache_salt``, ``kv_transfer_params``). So fields pass by name, and ``allow_fields`` adds to
the names.

Sources: OpenAI's API reference (chat completions, completions, responses, embeddings) and openai-python 3.54;
Anthropic's API reference (messages) and anthropic-python 2.12; samplers that vLLM 0.33.0 and llama.cpp's
server (b6900) add to them. Read in November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping

_SAMPLERS = frozenset(
    {
        "frequency_penalty",
        "logit_bias",
        "min_p",
        "presence_penalty",
        "repeat_penalty",
        "repetition_penalty",
        "seed",
        "stop",
        "temperature",
        "top_k",
        "top_p",
    }
)
_OPENAI = _SAMPLERS | {
    "max_tokens",
    "metadata",
    "model",
    "n",
    "response_format",
    "service_tier",
    "stream",
    "stream_options",
    "user",
}
_CHAT = _OPENAI | {
    "function_call",
    "functions",
    "logprobs",
    "max_completion_tokens",
    "messages",
    "modalities",
    "parallel_tool_calls",
    "prompt_cache_key",
    "reasoning_effort",
    "safety_identifier",
    "store",
    "tool_choice",
    "tools",
    "top_logprobs",
    "verbosity",
}
_COMPLETIONS = _OPENAI | {"best_of", "logprobs", "prompt", "suffix"}
_RESPONSES = _SAMPLERS | {
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "model",
    "parallel_tool_calls",
    "prompt_cache_key",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "stream",
    "stream_options",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "user",
}
_MESSAGES = _SAMPLERS | {
    "max_tokens",
    "messages",
    "metadata",
    "model",
    "output_config",
    "service_tier",
    "stop_sequences",
    "stream",
    "system",
    "thinking",
    "tool_choice",
    "tools",
}
_LLAMA_CPP = _SAMPLERS | {
    "json_schema",
    "model",
    "n_predict",
    "n_probs",
    "prompt",
    "repeat_last_n",
    "stream",
    "typical_p",
}
_PAIRS = frozenset(
    {"documents", "model", "queries", "query", "return_documents", "text_1", "text_2", "top_n", "user"}
)

KNOWN_FIELDS: Mapping[bytes, frozenset[str]] = {
    b"/v1/chat/completions": _CHAT,
    b"/v1/chat/completions/batch": _CHAT,
    b"/v1/completions": _COMPLETIONS,
    b"/v1/responses": _RESPONSES,
    b"/v1/messages": _MESSAGES,
    b"/v1/messages/count_tokens": _MESSAGES,
    b"/completion": _LLAMA_CPP,
    b"/infill": _LLAMA_CPP | {"input_extra", "input_prefix", "input_suffix"},
    b"/v1/embeddings": frozenset({"dimensions", "encoding_format", "input", "model", "user"}),
    b"/v1/rerank": _PAIRS,
    b"/rerank": _PAIRS,
    b"/v1/score": _PAIRS,
    b"/score": _PAIRS,
    b"/classify": frozenset({"input", "model", "user"}),
    b"/pooling": frozenset({"dimensions", "encoding_format", "input", "model", "user"}),
    b"/tokenize": frozenset(
        {"add_special", "add_special_tokens", "content", "model", "prompt", "with_pieces"}
    ),
    b"/detokenize": frozenset({"model", "tokens"}),
}
"""By path at the model's server. A system prompt is imposed on these paths only; on others, which an operator
adds with ``allow_paths``, every field passes and bounds are applied to it."""

KNOWN_MESSAGE_FIELDS = frozenset(
    {
        # chat completions and messages
        "audio",
        "content",
        "function_call",
        "name",
        "reasoning",
        "reasoning_content",
        "refusal",
        "role",
        "tool_call_id",
        "tool_calls",
        # items of the Responses API
        "arguments",
        "call_id",
        "encrypted_content",
        "id",
        "output",
        "status",
        "summary",
        "type",
    }
)
"""Fields of one message or input item, where the system prompt is the operator's."""
