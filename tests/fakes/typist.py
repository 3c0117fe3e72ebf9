"""Run a page's command blocks word for word in one shell: ``typist.py PAGE FOLDER PROJECT OUT``.

Needs namespaces of its own (``unshare --net --mount``), so that port 8000, /srv and /var/lib are free.
FOLDER is the home directory, PROJECT the folder of the project. ``_STAND_INS`` replaces other programs;
hotseat, pip, bash, curl and Compose are the real ones. Writes to OUT, as JSON, a list of the blocks, each
with its output and its failed commands.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
LIMIT_S = 300
MODELS = ("microsoft/Phi-3.5-mini-instruct", "Qwen/Qwen2.5-Coder-3B-Instruct", "Qwen/Qwen2.5-7B-Instruct")
MARK, FAILED = "\x1e", "\x1f"
LISTENS = "curl -s --retry 100 --retry-delay 0 --retry-all-errors --retry-max-time 60 -o /dev/null"

_STAND_INS = {
    "sudo": 'exec "$@"\n',
    # An environment made before, with hotseat's dependencies.
    "python3": '[ "$1 $2" != "-m venv" ] || exec ln -s "$VENV" "$3"\nexec "$VENV/bin/python3" "$@"\n',
    # Only print the commands; CI runs them.
    "make": 'exec /usr/bin/make -n "$@"\n',
    "vllm": 'exec "$PYTHON" "$ENGINE" --name "$2" --port "$4"\n',
    # Compose reads the files; the launcher runs here instead of in its container.
    "docker": """\
case "$1 $2" in
    "build -t") test -f "${@: -1}/Dockerfile" && echo "naming to $3" ;;
    "compose version") exec "$COMPOSE" version --short ;;
    "compose up")
        "$COMPOSE" "${@:2:1}" --dry-run "${@:3}" >/dev/null 2>&1 || "$COMPOSE" config --quiet || exit
        set -a; . ./.env; set +a
        hotseat serve -c "$STAND_IN" >"$HOME/launcher.log" 2>&1 & """
    + LISTENS
    + """ http://127.0.0.1:8000/health ;;
    compose*) exec "$COMPOSE" "${@:2}" ;;
    *) echo "no Docker here" >&2; exit 1 ;;
esac
""",
}


def blocks(page: str) -> list[str]:
    """The command blocks of a page: indented ones, and those fenced as bash."""
    fenced = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
    found = [(one.start(), one[2]) for one in fenced.finditer(page) if one[1] == "bash"]
    rest = fenced.sub(lambda one: "\n" * one[0].count("\n"), page)  # yaml is indented, too
    offset = 0
    for one in re.finditer(r"(?:^    .*\n)+", rest, re.MULTILINE):
        text = re.sub(r"^    ", "", one[0], flags=re.MULTILINE)
        offset = page.index(one[0], offset)
        found.append((offset, text))
    return [text for _, text in sorted(found)]


def script(found: list[str]) -> str:
    """One shell script of all blocks, with marks around each block's output."""
    parts = [f'trap \'printf "{FAILED}%s\\n" "$BASH_COMMAND"\' ERR\n']
    for number, block in enumerate(found):
        # Commands that run until Ctrl-C go into the background, as in a terminal of their own.
        typed = re.sub(
            r"^(hotseat serve .*)$",
            rf"\1 >>$HOME/serve.log 2>\&1 & {LISTENS} http://127.0.0.1:8000/health",
            block,
            flags=re.MULTILINE,
        )
        parts.append(f"printf '{MARK}%s\\n' {number}\n{typed}printf '{MARK}=\\n'\n")
    return "".join(parts)


def main() -> None:
    """Run the page's blocks and write the results."""
    page, folder, project, out = map(Path, sys.argv[1:5])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for mount_point in ("/srv", "/var/lib"):  # root's launcher keeps its state in /var/lib/hotseat
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", mount_point], check=True)
    sys.path.insert(0, str(TESTS))
    from fakes.compose_binary import compose_binary
    from fakes.engine import command
    from fakes.hub import serving

    tools = folder / "tools"
    tools.mkdir()
    for name, text in _STAND_INS.items():
        (tools / name).write_text(f"#!/bin/bash\n{text}")
        (tools / name).chmod(0o755)
    models = {name: {"command": list(command(name=name)), "footprint": 0.9} for name in ("chat", "coder")}
    stand_in = folder / "stand-in.yaml"
    stand_in.write_text(json.dumps({"state_dir": str(folder / "state"), "models": models}))
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL):
        (project / "hotseat.yaml").write_text(block)
    bash = shutil.which("bash")
    assert bash is not None
    files = {"config.json": b"{}", "model.safetensors": b"x" * 1000}
    with serving(dict.fromkeys(MODELS, files)) as hub:
        env = {
            "HOME": str(folder),
            "USER": str(os.getuid()),
            "PATH": f"{tools}:{os.environ['PATH']}",
            "HF_ENDPOINT": hub.url,
            "PYTHON": sys.executable,
            "VENV": os.environ["VENV"],
            "ENGINE": str(TESTS / "fakes" / "engine.py"),
            "COMPOSE": str(compose_binary()),
            "STAND_IN": str(stand_in),
            # Dependencies are installed already; pip must not download any.
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        found = blocks(page.read_text())
        done = subprocess.run(
            [bash, "-s"],
            input=script(found),
            cwd=project,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    results = []
    for number, block in enumerate(found):
        inner = re.search(rf"{MARK}{number}\n(.*?){MARK}=\n", done.stdout, re.DOTALL)
        output = inner[1] if inner else done.stdout[-2000:]
        failed = re.findall(rf"{FAILED}(.*)\n", output) if inner else ["the shell itself"]
        results.append({"block": block, "output": output, "failed": failed})
    out.write_text(json.dumps(results))


if __name__ == "__main__":
    main()
