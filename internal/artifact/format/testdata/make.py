"""Makes the valid files of this directory with the reference implementations.

    pip install safetensors gguf numpy sentencepiece && python make.py
"""

import io

import gguf
import numpy as np
import sentencepiece
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as Q
from safetensors.numpy import save_file

save_file(
    {
        "embed.weight": np.arange(24, dtype=np.float32).reshape(4, 6),
        "layer.0.bias": np.zeros(3, dtype=np.float16),
        "scale": np.array(1.5, dtype=np.float64),
        "empty": np.zeros((0, 7), dtype=np.int8),
        "mask": np.array([True, False]),
    },
    "small.safetensors",
    metadata={"format": "pt", "note": "made by the reference implementation"},
)

w = gguf.GGUFWriter("small.gguf", "llama")
w.add_name("small")
w.add_block_count(1)
w.add_token_list(["<s>", "</s>", "a", "ä"])
w.add_token_scores([0.0, -1.0, -2.0, -3.0])
w.add_chat_template("{{ messages[0].content }}")
w.add_bool("test.flag", True)
w.add_uint64("test.u64", 1 << 40)
w.add_float64("test.f64", 0.5)
w.add_array("test.list", [1, 2, 3])
w.add_tensor("token_embd.weight", np.arange(32, dtype=np.float32).reshape(4, 8))
w.add_tensor("output_norm.weight", np.arange(5, dtype=np.float32))
for q in (Q.Q4_0, Q.Q8_0, Q.Q4_K, Q.Q6_K, Q.IQ4_XS, Q.TQ1_0, Q.MXFP4):
    block, size = GGML_QUANT_SIZES[q]
    w.add_tensor("blk.0." + q.name.lower(), np.zeros((3, size * 2), dtype=np.uint8), raw_dtype=q)
w.write_header_to_file()
w.write_kv_data_to_file()
w.write_tensors_to_file()
w.close()

model = io.BytesIO()
sentences = ["the quick brown fox jumps over the lazy dog"] * 20
sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(sentences), model_writer=model, vocab_size=32, model_type="unigram",
    normalization_rule_name="identity", hard_vocab_limit=False,
)
with open("small.model", "wb") as f:
    f.write(model.getvalue())
