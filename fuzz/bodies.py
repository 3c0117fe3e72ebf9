"""Bodies and policies: no bytes get past a bound, a dropped field or the system prompt.

The checks are those of the property test (``tests/gateway/policy/test_rewrite.py``).
"""

from __future__ import annotations

from gateway.policy import test_rewrite as checks

PATHS = [*checks.GENERATING, *checks.OTHERS]


def one(data: bytes) -> None:
    """A path (the first byte) and a body."""
    if len(data) < 2:
        return
    path = PATHS[data[0] % len(PATHS)]
    server = checks.sent(path, data[1:])
    if server is None:
        return
    if path in checks.GENERATING:
        checks.judge(path, server)
    else:
        checks.judge_others(server)
    checks.sent(path, data[1:], checks.BOUNDED)


_FIELDS = [
    b'"max_tokens":',
    b'"max_completion_tokens":',
    b'"max_output_tokens":',
    b'"n_predict":',
    b'"max_t\\u006fkens":',
    b'"n":',
    b'"best_of":',
    b'"temperature":',
    b'"top_k":',
    b'"logit_bias":',
    b'"tools":',
    b'"messages":',
    b'"system":',
    b'"instructions":',
    b'"input":',
    b'"prompt":',
    b'"role":',
    b'"content":',
    b'"chat_template":',
    b'"model":',
    b'"stream":',
    b'"Max_Tokens":',
    b'"\\u017fystem":',
    b'"conversation":',
    b'"previous_response_id":',
]
_VALUES = [
    b"1e999",
    b"-1",
    b"-0.0",
    b"99999999999999999999",
    b"1E400",
    b"null",
    b"true",
    b'"99999"',
    b"[]",
    b"{}",
    b"[[1,2]]",
    b'"system"',
    b'" System "',
    b'"developer"',
    b'{"role":"system","content":"x"}',
    b'"\\ud800"',
    b"\xef\xbb\xbf",
    b"\xff",
]
SEEDS = [
    bytes([number]) + b"{" + field + value + b"}"
    for number in range(len(PATHS))
    for field in _FIELDS[::3]
    for value in _VALUES[::3]
] + [
    bytes([number])
    + b'{"messages":[{"role":"system","content":"x"}],"input":[{"role":"user"}],"prompt":"a","n":2}'
    for number in range(len(PATHS))
]
WORDS = [*_FIELDS, *_VALUES, b",", b":", b"{", b"}", b"[", b"]", b'"']
