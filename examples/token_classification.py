"""Token classification with rare entities: F1 and IoU of head, medium and tail while training.

Sentences are drawn here: each word belongs to a kind of entity, and so does the word before it, some of the time. The
lines with `groups`, `tb` and `tb.update` are all that tbmetrics needs. The unit of the intervals is the sentence.

    python examples/token_classification.py runs/tokens && tensorboard --logdir runs
"""

import sys

import torch

from tbmetrics import ClassGroups, TBMetrics

NAMES = ["other", "person", "place", "date", "drug", "gene"]
SHARES = torch.tensor([0.7, 0.17, 0.08, 0.04, 0.008, 0.002])
WORDS_OF_CLASS, LENGTH, PADDING = 50, 24, -100


def sentences(count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Words (N, T) and the class of each, (N, T); what follows the end of a sentence has the label -100."""
    labels = torch.multinomial(SHARES, count * LENGTH, replacement=True, generator=generator).view(count, LENGTH)
    goes_on = torch.rand(count, LENGTH - 1, generator=generator) < 0.4
    labels[:, 1:] = torch.where(goes_on, labels[:, :-1], labels[:, 1:])
    words = labels * WORDS_OF_CLASS + torch.randint(WORDS_OF_CLASS, labels.shape, generator=generator)
    is_rare = torch.rand(labels.shape, generator=generator) < 0.15
    words = torch.where(is_rare, torch.randint(len(NAMES) * WORDS_OF_CLASS, labels.shape, generator=generator), words)
    lengths = torch.randint(8, LENGTH + 1, (count, 1), generator=generator)
    return words, labels.masked_fill(torch.arange(LENGTH) >= lengths, PADDING)


def main(log_dir: str, epochs: int = 4, count: int = 600) -> None:
    """Train a small tagger, and validate it after each epoch."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    training, validation = sentences(count, generator), sentences(count // 3, generator)
    tokens_of_class = torch.bincount(training[1][training[1] >= 0], minlength=len(NAMES))
    groups = ClassGroups.from_counts({"entity": dict(zip(NAMES, tokens_of_class.tolist(), strict=True))})
    model = torch.nn.Sequential(
        torch.nn.Embedding(len(NAMES) * WORDS_OF_CLASS, 32), torch.nn.ReLU(), torch.nn.Linear(32, len(NAMES))
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    loss_of = torch.nn.CrossEntropyLoss(ignore_index=PADDING)
    with TBMetrics(log_dir, model=model, optimizer=optimizer, classes=groups) as tb:
        for _ in tb.epochs(range(epochs)):
            for words, labels in zip(training[0].split(50), training[1].split(50), strict=True):
                optimizer.zero_grad()
                loss_of(model(words).flatten(0, 1), labels.flatten()).backward()
                optimizer.step()
            with torch.no_grad():
                for words, labels in zip(validation[0].split(50), validation[1].split(50), strict=True):
                    tb.update(model(words), labels)


if __name__ == "__main__":
    main(*sys.argv[1:2] or ["runs/tokens"])
