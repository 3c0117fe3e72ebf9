"""Rules about how models run: GPU memory, flags, caches, restarts."""

from __future__ import annotations

from collections.abc import Iterator

from hotseat.core.spec import PPM
from hotseat.gate.gate_folder import GATE
from hotseat.stack.compose.model import ComposeService
from hotseat.stack.compose.servers import ServerKind, weights_folder
from hotseat.stack.lint import vllm_flags
from hotseat.stack.lint.findings import Found, LintedStack, LintRule


def _budget(stack: LintedStack) -> Iterator[Found]:
    budget = stack.budget()
    models = stack.models()
    profiles = sorted({profile for one in models for profile in one.profiles})
    for profile in (None, *profiles):
        together = [one for one in models if (profile in one.profiles if profile else not one.profiles)]
        total = sum(_footprint(stack, one) for one in together)
        if len(together) > 1 and total > budget:
            names = " and ".join(one.name for one in together)
            when = f"with the profile `{profile}`" if profile else "without any profile"
            yield (
                _together(together),
                together[-1].name,
                _over(names, f"are started together {when}", total, budget),
            )
    always = [one for one in models if _always(stack, one)]
    total = sum(_footprint(stack, one) for one in always)
    if len(always) > 1 and total > budget:
        names = " and ".join(one.name for one in always)
        yield (
            _together(always),
            always[-1].name,
            _over(names, "always run (pinned or preloaded)", total, budget),
        )


def _together(services: list[ComposeService]) -> tuple[str | int, ...]:
    return ("services", services[-1].name)


def _over(names: str, when: str, total: int, budget: int) -> str:
    return f"{names} {when} and need {total / PPM:.2f} of the GPU; the budget is {budget / PPM:.2f}"


def _always(stack: LintedStack, service: ComposeService) -> bool:
    name = stack.containers().get(service.container or "")
    spec = stack.settings.models[name].scheduling if stack.settings and name else None
    return spec is not None and (spec.pinned or spec.warm)


def _footprint(stack: LintedStack, service: ComposeService) -> int:
    """The share in its command, else its configured footprint, else the whole budget; parts per million."""
    try:
        return round(float(service.option("--gpu-memory-utilization") or "") * PPM)
    except ValueError:
        pass
    name = stack.containers().get(service.container or "")
    if stack.settings and name:
        return max(stack.settings.models[name].scheduling.footprint.values(), default=stack.budget())
    return stack.budget()


def _flags(stack: LintedStack) -> Iterator[Found]:
    for service in stack.models():
        for entry, version in vllm_flags.removed_flags(service):
            flag = f"{entry.flag} {entry.value}" if entry.value else entry.flag
            number = ".".join(map(str, version))
            message = f"vLLM {number} no longer has {flag}: {entry.instead}"
            yield ("services", service.name, "command"), service.name, message


def _weights_cache(stack: LintedStack) -> Iterator[Found]:
    for service in stack.models():
        kind = service.kind
        if kind is None or not _downloads(service, kind):
            continue
        wanted = weights_folder(kind, service.environment)
        if not _mounted(service, wanted) and not (service.model() or "").startswith("/"):
            key = ("services", service.name, "volumes")
            what = "the Hugging Face cache" if wanted.endswith("huggingface") else f"{kind.name}'s weights"
            yield key, service.name, f"has no volume for {what} ({wanted})"


def _downloads(service: ComposeService, kind: ServerKind) -> bool:
    return not kind.download_flags or any(service.has_flag(flag) for flag in kind.download_flags)


def _compile_cache(stack: LintedStack) -> Iterator[Found]:
    for service in stack.models():
        wanted = service.environment.get("VLLM_CACHE_ROOT", "/root/.cache/vllm")
        if "vllm" in service.image and not _mounted(service, wanted):
            key = ("services", service.name, "volumes")
            yield key, service.name, f"has no volume for vLLM's compile cache ({wanted})"


def _mounted(service: ComposeService, path: str) -> bool:
    return any(f"{path}/".startswith(f"{mount.target.rstrip('/')}/") for mount in service.mounts)


def _gate(stack: LintedStack) -> Iterator[Found]:
    """A gate needs two variables and two mounts; with a part of them the container is started plainly."""
    for service in stack.models():
        gate, path = service.environment.get(GATE), service.environment.get("PYTHONPATH", "")
        plugin = next((one for one in path.split(":") if one and one.rstrip("/").endswith("gate")), None)
        if gate is None and plugin is None:
            continue
        key = ("services", service.name, "environment")
        if gate is None:
            yield key, service.name, f"has the gate's plugin on PYTHONPATH ({plugin}) and does not set {GATE}"
        elif not _mounted(service, gate):
            yield key, service.name, f"has no volume at {GATE} ({gate})"
        elif plugin is None or not _mounted(service, plugin):
            yield key, service.name, f"sets {GATE}, and has no folder of the gate's plugin on PYTHONPATH"


def _shared_memory(stack: LintedStack) -> Iterator[Found]:
    for service in stack.models():
        if not service.shared_memory and service.kind is not None and service.kind.pytorch:
            yield ("services", service.name), service.name, "has neither shm_size above 64 MB nor `ipc: host`"


def _gpus(stack: LintedStack) -> Iterator[Found]:
    for service in stack.models():
        if not service.gpu and not _is_for_cpu(service):
            yield ("services", service.name), service.name, "reserves no GPU"


def _is_for_cpu(service: ComposeService) -> bool:
    """Whether the image of llama.cpp or Ollama may be meant to run without a GPU."""
    kind = service.kind
    return kind is not None and not kind.pytorch and "cuda" not in service.image


def _restart(stack: LintedStack) -> Iterator[Found]:
    for service in stack.models():
        if service.restart != "no":
            written = stack.written.data["services"].get(service.name) or {}
            by_deploy = "restart" not in written
            key = ("services", service.name, *(("deploy", "restart_policy") if by_deploy else ("restart",)))
            how = "deploy.restart_policy, which means " if by_deploy else ""
            yield (
                key,
                service.name,
                f"{how}`restart: {service.restart}` starts it again after hotseat has stopped it",
            )


RULES = (
    LintRule(
        name="budget",
        severity="error",
        about="Models that always run together (same profile, no profile, or pinned or preloaded in "
        "`hotseat.yaml`) and together need more than the GPU budget.",
        fix="give each its own profile, or a smaller share (--gpu-memory-utilization)",
        check=_budget,
    ),
    LintRule(
        name="gone-flag",
        severity="error",
        about="A flag that the image's vLLM version no longer has, such as `--quantization bitsandbytes` "
        "since 0.28.0.",
        fix="replace the flag, or pin the image to a version that has it",
        check=_flags,
    ),
    LintRule(
        name="weights-cache",
        severity="error",
        about="A model without a volume for its weights (vLLM's and SGLang's Hugging Face cache, and the "
        "folders of TGI, llama.cpp and Ollama): every new container would download its "
        "weights again.",
        fix="mount a volume at HF_HOME (by default /root/.cache/huggingface)",
        check=_weights_cache,
    ),
    LintRule(
        name="compile-cache",
        severity="warning",
        about="A vLLM server without a volume for its compile cache: every new container compiles again.",
        fix="mount a volume at VLLM_CACHE_ROOT (by default /root/.cache/vllm)",
        check=_compile_cache,
    ),
    LintRule(
        name="gate",
        severity="warning",
        about="A model with a part of what standing by needs: `HOTSEAT_GATE` and its mount, and the plugin's "
        "folder on `PYTHONPATH` and its mount. It is started plainly.",
        fix="set both variables and mount both folders (docs/how-to/fast-swaps.md), or neither",
        check=_gate,
    ),
    LintRule(
        name="shared-memory",
        severity="error",
        about="A model with Docker's default of 64 MB shared memory, which is too little for PyTorch.",
        fix="set shm_size: 2gb (or ipc: host)",
        check=_shared_memory,
    ),
    LintRule(
        name="gpu",
        severity="warning",
        about="A model without a GPU reservation.",
        fix="add deploy.resources.reservations.devices with driver nvidia and capabilities [gpu]",
        check=_gpus,
    ),
    LintRule(
        name="restart",
        severity="error",
        about="A model with a restart policy: Docker would start it again after the launcher has stopped it, "
        "and at boot.",
        fix='set restart: "no"',
        check=_restart,
    ),
)
