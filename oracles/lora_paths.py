"""Where PEFT 0.21 and transformers 5.23 do not let LoRA reach a Mamba layer, and the way round.

1. PEFT refuses the module names `out_proj` and `conv1d` on Mamba models, whether they come from a
   list, a regex, `all-linear` or `target_parameters`, because the fused CUDA kernel reads those
   weights directly. `every_linear_allowed` lifts that check while adapters are made or loaded; on
   the CPU `out_proj` is called as a module, so its LoRA then takes effect.
2. transformers multiplies by `dt_proj.weight` instead of calling `dt_proj`, and PEFT's `weight` is
   the frozen base weight: LoRA on `dt_proj` has no effect and no gradient until it is merged.
   `honour_step_projection` makes `weight` the base weight plus the LoRA product, as in a merge.
"""

import contextlib

import torch
from peft.tuners import tuners_utils
from peft.tuners.lora.layer import Linear as LoraLinear


@contextlib.contextmanager
def every_linear_allowed():
    """Lift PEFT's check on Mamba module names inside the `with` block."""
    kept = tuners_utils._check_lora_target_modules_mamba
    tuners_utils._check_lora_target_modules_mamba = lambda *_: None
    try:
        yield
    finally:
        tuners_utils._check_lora_target_modules_mamba = kept


class StepProjection(LoraLinear):
    """A LoRA linear layer whose `weight` includes the active adapters (differentiable)."""

    @property
    def weight(self) -> torch.Tensor:
        base = self.get_base_layer().weight
        if self.disable_adapters or self.merged:
            return base
        return base + sum(self.get_delta_weight(name) for name in self.active_adapters)


def honour_step_projection(model):
    """Give every LoRA layer on `dt_proj` its effective weight; returns how many there were."""
    found = [m for name, m in model.named_modules() if name.endswith(".dt_proj") and type(m) is LoraLinear]
    for module in found:
        module.__class__ = StepProjection
    return len(found)


def untie_head(model):
    """Give the head its own copy of a tied embedding, so that merging LoRA into one spares the other."""
    head = model.get_output_embeddings()
    if head.weight is model.get_input_embeddings().weight:
        head.weight = torch.nn.Parameter(head.weight.detach().clone(), requires_grad=head.weight.requires_grad)
        model.config.tie_word_embeddings = False
