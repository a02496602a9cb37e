"""What the emulated provider offers: models, hardware types, and which model runs on which with how much context."""

from collections.abc import Mapping

from attrs import frozen

CURRENCY = "EUR"
DEFAULT_CONTEXT_LENGTH = 32_000
"""What a start without `context_length` gets, in tokens, unless the hardware holds less."""
MAX_WORKERS = 8
BILLING_INTERVALS = ("per_minute", "per_hour")


@frozen
class HardwareType:
    """A kind of machine with `num_gpus` GPUs of `gpu_ram_gb` GB each; prices in EUR per worker, whatever its GPUs."""

    hardware_type_id: str
    gpu_type: str
    num_gpus: int
    gpu_ram_gb: int
    price_per_minute: float

    @property
    def price_per_hour(self) -> float:
        """EUR per hour: sixty times the price per minute, to the cent."""
        return round(self.price_per_minute * 60, 2)

    def wire(self) -> dict[str, object]:
        """The type as the API shows it."""
        return {
            "hardware_type_id": self.hardware_type_id,
            "price_info": {
                "price_per_hour": self.price_per_hour,
                "price_per_minute": self.price_per_minute,
                "currency": CURRENCY,
            },
            "hardware_info": {
                "gpu_type": self.gpu_type,
                "num_gpus": self.num_gpus,
                "gpu_ram_gb": self.gpu_ram_gb,
            },
        }


@frozen
class Model:
    """A model by its Hugging Face name, with the longest context in tokens that each hardware type holds."""

    hf_name: str
    screen_name: str
    creator: str
    size: int
    """Parameters."""
    description: str
    contexts: Mapping[str, int]
    recommended_config: str
    instant_provisioned: bool = False

    @property
    def model_id(self) -> str:
        """The provider's own name: the `/` replaced by `--`."""
        return self.hf_name.replace("/", "--", 1)

    def preview(self) -> dict[str, object]:
        """The model as `GET /models/` shows it: the hardware types as a list."""
        return self._common() | {"hardware_info": {"hardware_configs": list(self.contexts)}}

    def detail(self) -> dict[str, object]:
        """The model as `GET /models/{model_id}` shows it: the hardware types as a map with their parameters."""
        configs = {
            hardware_type_id: {"params": {"--max-model-len": context}, "requirements": {}}
            for hardware_type_id, context in self.contexts.items()
        }
        return self._common() | {"recommended_config": self.recommended_config, "hardware_configs": configs}

    def _common(self) -> dict[str, object]:
        organisation = self.hf_name.split("/", 1)[0]
        return {
            "model_id": self.model_id,
            "model_name": self.model_id,
            "hf_name": self.hf_name,
            "instant_provisioned": self.instant_provisioned,
            "creator": {"name": self.creator, "url": f"https://huggingface.co/{organisation}"},
            "description": self.description,
            "screen_name": self.screen_name,
            "size": self.size,
        }


HARDWARE_TYPES: Mapping[str, HardwareType] = {
    hardware_type.hardware_type_id: hardware_type
    for hardware_type in (
        HardwareType("NVIDIA_L4_1", "NVIDIA L4", 1, 24, 0.02),
        HardwareType("NVIDIA_L4_2", "NVIDIA L4", 2, 24, 0.04),
        HardwareType("NVIDIA_L40S_1", "NVIDIA L40S", 1, 48, 0.035),
        HardwareType("NVIDIA_L40S_2", "NVIDIA L40S", 2, 48, 0.07),
        HardwareType("NVIDIA_H100_1", "NVIDIA H100", 1, 80, 0.06),
        HardwareType("NVIDIA_H100_2", "NVIDIA H100", 2, 80, 0.12),
        HardwareType("NVIDIA_H100_4", "NVIDIA H100", 4, 80, 0.24),
    )
}

MODELS: Mapping[str, Model] = {
    model.model_id: model
    for model in (
        Model(
            "meta-llama/Llama-3.1-8B-Instruct",
            "Llama 3.1 8B",
            "Meta",
            8_030_261_248,
            "Multilingual chat model of 8 billion parameters.",
            {"NVIDIA_L4_1": 16_000, "NVIDIA_L4_2": 64_000, "NVIDIA_L40S_1": 128_000, "NVIDIA_H100_1": 128_000},
            "NVIDIA_L4_1",
            instant_provisioned=True,
        ),
        Model(
            "neuralmagic/Meta-Llama-3.1-8B-Instruct-FP8",
            "Llama 3.1 8B (FP8)",
            "Neural Magic",
            8_030_000_000,
            "Llama 3.1 8B with weights and activations in eight-bit floating point.",
            {"NVIDIA_L4_1": 48_000, "NVIDIA_L40S_1": 128_000, "NVIDIA_H100_1": 128_000},
            "NVIDIA_L4_1",
            instant_provisioned=True,
        ),
        Model(
            "meta-llama/Llama-3.3-70B-Instruct",
            "Llama 3.3 70B",
            "Meta",
            70_553_706_496,
            "Multilingual chat model of 70 billion parameters.",
            {"NVIDIA_H100_2": 16_000, "NVIDIA_H100_4": 128_000},
            "NVIDIA_H100_4",
        ),
        Model(
            "mistralai/Mistral-7B-Instruct-v0.3",
            "Mistral 7B v0.3",
            "Mistral AI",
            7_248_023_552,
            "Compact chat model with function calling.",
            {"NVIDIA_L4_1": 24_000, "NVIDIA_L40S_1": 32_768, "NVIDIA_H100_1": 32_768},
            "NVIDIA_L4_1",
            instant_provisioned=True,
        ),
        Model(
            "mistralai/Mistral-Small-24B-Instruct-2501",
            "Mistral Small 3",
            "Mistral AI",
            23_572_403_200,
            "Chat model of 24 billion parameters, tuned for low latency.",
            {"NVIDIA_L40S_2": 32_768, "NVIDIA_H100_1": 32_768},
            "NVIDIA_H100_1",
        ),
        Model(
            "Qwen/Qwen2.5-0.5B-Instruct",
            "Qwen 2.5 0.5B",
            "Alibaba Cloud",
            494_032_768,
            "Very small chat model for quick experiments.",
            {"NVIDIA_L4_1": 32_768, "NVIDIA_L40S_1": 32_768},
            "NVIDIA_L4_1",
            instant_provisioned=True,
        ),
        Model(
            "Qwen/Qwen2.5-32B-Instruct",
            "Qwen 2.5 32B",
            "Alibaba Cloud",
            32_763_876_352,
            "Chat model with strong coding and mathematics.",
            {"NVIDIA_L40S_2": 24_000, "NVIDIA_H100_1": 8_000, "NVIDIA_H100_2": 32_768},
            "NVIDIA_L40S_2",
        ),
        Model(
            "Qwen/Qwen2.5-72B-Instruct",
            "Qwen 2.5 72B",
            "Alibaba Cloud",
            72_706_203_648,
            "The largest chat model of its family.",
            {"NVIDIA_H100_4": 32_768},
            "NVIDIA_H100_4",
        ),
        Model(
            "microsoft/phi-4",
            "Phi-4",
            "Microsoft",
            14_659_507_200,
            "Reasoning model with a context of 16 thousand tokens.",
            {"NVIDIA_L4_2": 8_000, "NVIDIA_L40S_1": 16_384, "NVIDIA_H100_1": 16_384},
            "NVIDIA_L40S_1",
        ),
        Model(
            "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B",
            "DeepSeek R1 Distill 14B",
            "DeepSeek",
            14_770_033_664,
            "Reasoning distilled into a model of 14 billion parameters.",
            {"NVIDIA_L40S_1": 40_000, "NVIDIA_H100_1": 128_000},
            "NVIDIA_L40S_1",
        ),
        Model(
            "BAAI/bge-m3",
            "BGE M3",
            "BAAI",
            567_754_752,
            "Multilingual embedding model.",
            {"NVIDIA_L4_1": 8_192},
            "NVIDIA_L4_1",
            instant_provisioned=True,
        ),
    )
}
