"""What an engine of language models can do, as its stack.yml says it below `gives.models`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from .families import BITS
from .hub import CacheNumbers, Use
from .types import CAPABILITY, Strict

Quantisation = Annotated[str, StringConstraints(pattern=f"^(?:{'|'.join(BITS)})$")]
Capability = Annotated[str, StringConstraints(pattern=CAPABILITY)]
Setting = Literal["context", "parallel", "kv", "keep_loaded", "digest"]


class Engine(Strict):
    """What it serves, and which words about a model it acts on."""

    uses: list[Use] = Field(default=["chat"], description="What its models may be for.")
    settings: list[Setting] = Field(
        default_factory=list, description="The keys of a model in hub.yml that it acts on, beside its weights."
    )
    kv: list[CacheNumbers] = Field(default=["f16"], description="How it can write the numbers of the KV cache.")
    unmarked: Quantisation = Field(default="fp16", description="The quantisation of weights whose name tells none.")
    capability: dict[Quantisation, Capability] = Field(
        default_factory=dict,
        description="Quantisations that need a card of at least this compute capability.",
        examples=[{"fp8": "8.9"}],
    )
