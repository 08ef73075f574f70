"""A language model that the tests make themselves: two layers, random weights, a byte-level vocabulary; for transformers and llama.cpp."""

from __future__ import annotations

import json
from pathlib import Path

from tradewind.compose.library import load

SPECIAL = ["<|end|>", "<|start|>"]
TEMPLATE = "{% for m in messages %}<|start|>{{ m['role'] }}\n{{ m['content'] }}<|end|>{% endfor %}<|start|>assistant\n"
WIDTH, HEADS, LAYERS, INNER, CONTEXT, VOCABULARY = 64, 2, 2, 128, 8192, 512


def save(folder: Path) -> Path:
    """Write the model and its tokenizer as ``transformers`` does, and ``tiny.gguf`` for llama.cpp; return the folder."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([c.template.text for c in load("en").components], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", chat_template=TEMPLATE)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=WIDTH, intermediate_size=INNER, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, num_key_value_heads=HEADS, max_position_embeddings=CONTEXT, eos_token_id=0, bos_token_id=None,
        tie_word_embeddings=False,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    model.generation_config.eos_token_id = 0
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    told = json.loads(tokenizer.to_str())["model"]
    _gguf(folder / "tiny.gguf", {name: value.numpy() for name, value in model.state_dict().items()}, told)
    return folder


def _gguf(path: Path, weights: dict[str, object], bpe: dict[str, object]) -> None:
    import gguf

    vocabulary: dict[str, int] = bpe["vocab"]  # type: ignore[assignment]
    merges: list[list[str]] = bpe["merges"]  # type: ignore[assignment]
    tokens = sorted(vocabulary, key=lambda token: vocabulary[token])
    out = gguf.GGUFWriter(str(path), "llama")
    out.add_context_length(CONTEXT)
    out.add_embedding_length(WIDTH)
    out.add_block_count(LAYERS)
    out.add_feed_forward_length(INNER)
    out.add_head_count(HEADS)
    out.add_head_count_kv(HEADS)
    out.add_layer_norm_rms_eps(1e-6)
    out.add_rope_dimension_count(WIDTH // HEADS)
    out.add_vocab_size(len(tokens))
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("gpt-2")
    out.add_token_list(tokens)
    out.add_token_types([3 if token in SPECIAL else 1 for token in tokens])
    out.add_token_merges([" ".join(pair) for pair in merges])
    out.add_eos_token_id(0)
    out.add_add_bos_token(False)
    out.add_chat_template(TEMPLATE)
    names = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}
    parts = {
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }  # fmt: skip
    for layer in range(LAYERS):
        names |= {f"model.layers.{layer}.{theirs}.weight": f"blk.{layer}.{ours}.weight" for theirs, ours in parts.items()}
    for name, value in weights.items():
        out.add_tensor(names[name], value)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
