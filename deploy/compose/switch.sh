#!/usr/bin/env bash
# Gives the GPU to one model by hand: stops the other models, which do not fit next to it, then starts the
# launcher and the chosen model. `hotseat switch NAME` does the same.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

case "${1:-}" in
  coder) profile=coder3b others=(sitechat qwen7b-bnb4) ;;
  chat)  profile=chat    others=(coder3b qwen7b-bnb4) ;;
  q7b)   profile=qwen7b  others=(coder3b sitechat) ;;
  *) echo "usage: $0 {coder|chat|q7b}" >&2; exit 2 ;;
esac

docker compose stop "${others[@]}"
exec docker compose --profile launcher --profile "$profile" up -d
