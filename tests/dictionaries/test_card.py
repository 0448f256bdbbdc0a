"""The card says what a dictionary is, and shows any scores and pictures it is given."""

import pytest
import torch

from policyscope.address import Site
from policyscope.dictionaries.card import Card
from policyscope.dictionaries.file import read_header, save
from policyscope.dictionaries.relu import ReLU
from policyscope.errors import InvalidInput

SCORES = {
    "dictionary": "layer1/k2",
    "stability": None,
    "unexplained": 0.0762024,
    "return_kept": {"value": 0.54, "low": 0.47, "high": 0.61, "reason": ""},
    "clinearity": {"pole_leans_left": {"feature": 3, "accuracy": 0.77, "low": 0.57, "high": 0.9}},
    "density_per_feature": [0.1, 0.2],
    "newly_invented": 3,
    "held_out": True,
    "episodes": 40,
}
WHOLE = """\
---
library_name: "policyscope"
license: "mit"
tags:
- "policyscope"
- "dictionary-learning"
- "transcoder"
- "reinforcement-learning"
---

# layer1/k2

Two features are enough.

Transcoder, fitted with policyscope to the activations of a trained agent.

|  |  |
| --- | --- |
| kind | `relu` (width 2, penalty 1e-05) |
| reads | `fc1:in`, 3 units |
| writes | `fc2:in`, 2 units |
| agent | zoo:cartpole |
| environment | CartPole-v1 |

## Scores

| score | value |  |
| --- | --- | --- |
| unexplained | 0.0762 | share of the variance that is lost: 0 best, 1 no better than the mean |
| return kept | 0.54 [0.47, 0.61] | of the agent's return with the reconstruction in its place: 1 \
untouched, 0 ablated |
| clinearity: pole leans left | 0.77 [0.57, 0.9] | feature 3 |
| newly invented | 3 |  |

On 40 episodes: held out of the fit.

![feature density](pictures/feature-density.svg)

## Use

```python
from policyscope.dictionaries.hub import pull

dictionary = pull("me/cartpole-k2", "cartpole-k2")
features = dictionary.encode(activations)
```
"""


@pytest.fixture
def header(tmp_path):
    dictionary = ReLU(2)
    dictionary.build(3, 2, torch.Generator())
    dictionary.name = "layer1/k2"
    dictionary.reads, dictionary.writes = Site.parse("fc1:in"), Site.parse("fc2:in")
    save(dictionary, tmp_path / "k2", scores={"l0": 1.5})
    return read_header(tmp_path / "k2")


def test_the_whole_card(header):
    card = Card(
        agent="zoo:cartpole",
        environment="CartPole-v1",
        about="Two features are enough.\n",
        license="mit",
        scores=SCORES,
        pictures={"feature-density.svg": b"<svg/>"},
    )
    assert card.text(header, "me/cartpole-k2") == WHOLE


def test_a_card_of_nothing_but_the_header(header):
    header["facts"] = {"name": "", "reads": None, "writes": None, "d_in": 3, "d_out": 3}
    text = Card().text(header, "me/k2")
    assert "# me/k2" in text
    assert "Autoencoder, fitted with" in text
    assert "| reads | a site with no name, 3 units |" in text
    assert "| l0 | 1.5 | features active per step |" in text
    assert "license" not in text
    assert "Scores" not in Card(scores={}).text(header, "me/k2")


def test_names_cannot_break_out_of_their_cell(header):
    text = Card(agent="a|b\n# c").text(header, "me/k2")
    assert "| agent | a\\|b # c |" in text


def test_what_cannot_be_shown_is_refused(header):
    with pytest.raises(InvalidInput, match=r"license 'MIT License' is none.*mit, apache"):
        Card(license="MIT License").text(header, "me/k2")
    for name in ("../../x.svg", "a/b.png", "page.html", ".svg"):
        with pytest.raises(InvalidInput, match="picture cannot be called"):
            Card(pictures={name: b""}).text(header, "me/k2")
