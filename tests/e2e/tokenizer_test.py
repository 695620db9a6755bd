"""Recorded token ids through the program: `hearth tokenize --jsonl` and `hearth detokenize` on every
public tokenizer pair of the kinds it knows. Each file is a vocabulary without tensors.

A pair is NAME.gguf.inp, texts with a separator line behind each, and NAME.gguf.out, one line of ids for
each text: without BOS and EOS, special tokens not parsed. Without the data the tests are skipped; where
CI is set its absence is a failure.
"""
import json
import os
import unittest

from house import HouseTest

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../shared/data/tokenizers")
SEPARATOR = "\n__ggml_vocab_test__\n"
N_TEXTS = 46


def read(name):
    with open(os.path.join(DATA, name), encoding="utf-8", newline="") as file:
        return file.read()


class TokenizerPairs(HouseTest):
    def check(self, vocabulary, pair, bos=(), between=""):
        """bos: what the file adds in front; between: what decoding puts between two texts."""
        model = os.path.join(DATA, vocabulary + ".gguf")
        for name in (model, os.path.join(DATA, pair + ".gguf.inp"), os.path.join(DATA, pair + ".gguf.out")):
            if not os.path.exists(name):
                if os.environ.get("CI"):
                    self.fail(f"{name} is missing")
                self.skipTest(f"needs {name}")
        *texts, rest = read(pair + ".gguf.inp").split(SEPARATOR)
        recorded = [[int(i) for i in line.split()] for line in read(pair + ".gguf.out").splitlines()]
        self.assertEqual((len(texts), len(recorded), rest), (N_TEXTS, N_TEXTS, ""))
        lines = "".join(json.dumps(text) + "\n" for text in texts)

        plain = self.answers(model, "--no-special", stdin=lines)
        for text, got, expected in zip(texts, plain, recorded):
            self.assertEqual(got, expected, repr(text))
        for got, expected in zip(self.answers(model, stdin=lines), recorded):
            self.assertEqual(got, [*bos, *expected])

        ids = ",".join(str(i) for line in recorded for i in line)
        done = self.hearth("detokenize", model, "--ids", ids, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout)["text"], between.join(t for t in texts if t))

    def answers(self, model, *flags, stdin):
        done = self.hearth("tokenize", model, "--jsonl", *flags, stdin=stdin)
        self.assertEqual((done.returncode, done.stderr), (0, ""))  # no warning either
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual(len(answers), N_TEXTS)
        return answers

    def test_llama_bpe(self):
        self.check("vocab-llama-bpe-rebuilt", "ggml-vocab-llama-bpe", bos=[128000])

    def test_qwen2(self):
        self.check("vocab-qwen2-rebuilt", "ggml-vocab-qwen2")

    def test_deepseek_r1_qwen(self):
        # Qwen2's vocabulary plus special tokens, which plain text does not reach.
        self.check("vocab-qwen2-rebuilt", "ggml-vocab-deepseek-r1-qwen")

    def test_gpt_2(self):
        self.check("ggml-vocab-gpt-2", "ggml-vocab-gpt-2")

    def test_deepseek_llm(self):
        self.check("ggml-vocab-deepseek-llm", "ggml-vocab-deepseek-llm", bos=[100000])

    def test_starcoder(self):
        self.check("ggml-vocab-starcoder", "ggml-vocab-starcoder")

    def test_falcon(self):
        self.check("ggml-vocab-falcon", "ggml-vocab-falcon")

    def test_llama_spm(self):
        # SentencePiece puts a space in front of each text; decoding drops only the first one.
        self.check("ggml-vocab-llama-spm", "ggml-vocab-llama-spm", bos=[1], between=" ")


if __name__ == "__main__":
    unittest.main()
