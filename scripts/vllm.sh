#!/bin/sh
# Makes .vllm: the real vLLM, built for CPUs, and a tiny random model for it. make test-vllm calls it.
#
# It needs x86-64 or aarch64, 3 GB of disk and libnuma.so.1 (Debian: libnuma1), and takes minutes.
#
# vLLM for CPUs wants torch's CPU build, torch==2.13.0+cpu, which the usual package index does not have: its
# torch is built for CUDA. Where you have it in a folder or in another index (torch's own pages name theirs
# for CPUs), tell pip so: PIP_FIND_LINKS, PIP_EXTRA_INDEX_URL. TORCH=torch==2.13.0 takes whatever build of
# that version pip prefers (of a +cpu and a plain one the +cpu), which may be 3 GB to download;
# TORCH=/path/to/torch.whl takes that file.
# PYTHON=/path/to/python chooses the Python, which must be one that this torch is built for.
set -eu

cd "$(dirname "$0")/.."
dir=.vllm
stamp=$dir/.installed
log=$dir/install.log
torch=${TORCH:-torch==2.13.0+cpu}

wanted=$(cat constraints/vllm.txt tests/vllm/tiny_model.py scripts/vllm.sh | cksum)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted $PWD" ] && [ -x "$dir/bin/python" ]; then
    exit 0
fi

if ! "${PYTHON:-python3}" -c 'import ctypes; ctypes.CDLL("libnuma.so.1")' 2>/dev/null; then
    echo "vLLM for CPUs needs libnuma.so.1: apt-get install libnuma1" >&2
    exit 1
fi
[ -x "$dir/bin/python" ] || "${PYTHON:-python3}" -m venv "$dir"
: >"$log"
install() {
    echo "+ pip install $*" >>"$log"
    if ! "$dir/bin/python" -m pip install --disable-pip-version-check --no-input "$@" >>"$log" 2>&1; then
        echo "pip could not install what the real vLLM needs. Its last words (all of them: $log):" >&2
        grep -v '^WARNING' "$log" | tail -n 15 | sed 's/^/    /' >&2
        echo "Is $torch to be had? See the head of scripts/vllm.sh." >&2
        exit 1
    fi
}

echo "installing the real vLLM into $dir, which takes minutes (log: $log)"
install "$torch"
# Without their dependencies, of which all but torchaudio, torchvision and torchcodec are in the list: a
# text model needs none of those.
install --no-deps -r constraints/vllm.txt
rm -rf "$dir/tiny"
HF_HUB_OFFLINE=1 "$dir/bin/python" tests/vllm/tiny_model.py "$dir/tiny" >>"$log" 2>&1 || {
    echo "making the tiny model failed:" >&2
    tail -n 15 "$log" | sed 's/^/    /' >&2
    exit 1
}
echo "$wanted $PWD" >"$stamp"
