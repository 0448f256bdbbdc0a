"""The contract of a dictionary as a pytest class: subclass it and say how to make yours."""

from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import torch

from policyscope.address import FeatureAddress, Site
from policyscope.dictionaries.dictionary import DICTIONARIES, Dictionary, kind_of
from policyscope.dictionaries.file import load, save
from policyscope.dictionaries.fit import fit


class DictionaryContract:
    """What every dictionary keeps to.

    Name the subclass `Test…` and give it `make`. Override `d_in` and `d_out` for a dictionary
    that cannot read and write sites of different width.
    """

    d_in = 5
    d_out = 3

    def make(self) -> Dictionary:
        """A dictionary with at least two features, not built yet."""
        raise NotImplementedError

    def built(self, seed: int = 0) -> Dictionary:
        """The same, with parameters drawn from `seed`."""
        dictionary = self.make()
        dictionary.build(self.d_in, self.d_out, torch.Generator().manual_seed(seed))
        return dictionary

    def inputs(self, *axes: int, seed: int = 1) -> torch.Tensor:
        """Activations with these leading axes."""
        return torch.randn(*axes, self.d_in, generator=torch.Generator().manual_seed(seed))

    def test_encodes_and_decodes_any_leading_axes(self) -> None:
        """Codes and reconstructions have the leading axes of what they were made from."""
        dictionary = self.built()
        for axes in ((), (7,), (2, 3), (0,)):
            x = self.inputs(*axes)
            codes = dictionary.encode(x)
            assert codes.shape == (*axes, len(dictionary))
            assert dictionary.decode(codes).shape == (*axes, self.d_out)
            assert torch.equal(dictionary(x), dictionary.decode(codes))

    def test_one_step_alone_has_the_codes_it_has_in_a_batch(self) -> None:
        """What else is in a batch does not matter."""
        dictionary = self.built().eval()
        x = self.inputs(6)
        alone = torch.stack([dictionary.encode(row) for row in x])
        torch.testing.assert_close(alone, dictionary.encode(x))

    def test_decoding_is_affine_in_the_codes(self) -> None:
        """Mixing codes mixes what they stand for."""
        dictionary = self.built()
        a, b = dictionary.encode(self.inputs(4)), dictionary.encode(self.inputs(4, seed=2))
        mixed = 0.3 * dictionary.decode(a) + 0.7 * dictionary.decode(b)
        torch.testing.assert_close(dictionary.decode(0.3 * a + 0.7 * b), mixed)

    def test_a_direction_is_what_one_unit_of_its_feature_adds(self) -> None:
        """direction(j) = decode(e_j) − decode(0), without a gradient."""
        dictionary = self.built()
        for feature, one_hot in zip(dictionary, torch.eye(len(dictionary)), strict=True):
            added = dictionary.decode(one_hot) - dictionary.decode(torch.zeros_like(one_hot))
            torch.testing.assert_close(dictionary.direction(feature.index), added)
            torch.testing.assert_close(feature.direction, added)
            assert not feature.direction.requires_grad

    def test_a_seed_means_the_same_parameters(self) -> None:
        """Building draws from its own generator, and from nothing else."""
        state = torch.random.get_rng_state()
        first, again, other = self.built(3), self.built(3), self.built(4)
        assert same_parameters(first, again)
        assert not same_parameters(first, other)
        assert torch.equal(state, torch.random.get_rng_state()), "drew from the global generator"

    def test_fitting_is_reproducible_and_lowers_the_loss(self) -> None:
        """The same seeds give bit-identical parameters and a falling loss."""
        x = self.inputs(400)
        mixing = torch.randn(self.d_in, self.d_out, generator=torch.Generator().manual_seed(2))
        schedule = self.make().schedule.changed(epochs=5, batch_size=32)
        first, again = (fit(self.make(), x, x @ mixing, schedule=schedule) for _ in range(2))
        assert same_parameters(first.dictionary, again.dictionary)
        if len(first.curves) > 1:
            assert first.curves.loss[-1] < first.curves.loss[0]
        else:  # A closed form has one row, and beats the mean.
            assert first.unexplained < 1
        assert "mse" in first.curves.parts

    def test_the_loss_reaches_every_parameter(self) -> None:
        """No parameter is left without a gradient, and `mse` is among the parts."""
        dictionary = self.built()
        loss = dictionary.loss(self.inputs(64), torch.ones(64, self.d_out))
        assert "mse" in loss.parts
        assert loss.reconstruction.shape == (64, self.d_out)
        assert loss.fired.shape == (len(dictionary),)
        trained = [p for p in dictionary.parameters() if p.requires_grad]
        if trained:
            loss.total.backward()
        assert all(parameter.grad is not None for parameter in trained)

    def test_what_was_saved_is_what_is_loaded(self, tmp_path: Path) -> None:
        """load ∘ save is the identity, for choices, facts, parameters and outputs."""
        dictionary = self.built()
        dictionary.name = "layer1/mine"
        dictionary.reads, dictionary.writes = Site.parse("fc1:in"), Site.parse("fc2:in")
        save(dictionary, tmp_path / "mine")
        loaded = load(tmp_path / "mine")
        assert type(loaded) is type(dictionary)
        assert str(loaded) == str(dictionary)
        assert loaded.choices() == dictionary.choices()
        assert same_parameters(loaded, dictionary)
        assert torch.equal(loaded(self.inputs(9)), dictionary(self.inputs(9)))

    def test_the_repr_makes_the_same_dictionary(self) -> None:
        """The repr is the call that makes the dictionary."""
        dictionary = self.make()
        again = eval(repr(dictionary), {type(dictionary).__name__: type(dictionary)})
        assert again.choices() == dictionary.choices()

    def test_it_is_registered_and_every_choice_is_explained(self) -> None:
        """It has a name, and each flag the command line makes of it has a help."""
        dictionary = self.make()
        assert DICTIONARIES.get(kind_of(dictionary)) is type(dictionary)
        for field in fields(cast(Any, dictionary)):
            assert field.metadata.get("help"), f"the field {field.name} has no help"

    def test_its_features_have_addresses(self) -> None:
        """Indexing and iterating give features that know where they are found."""
        dictionary = self.built()
        dictionary.name = "layer1/mine"
        assert dictionary[1].address == FeatureAddress("layer1/mine", 1)
        assert [feature.index for feature in dictionary] == list(range(len(dictionary)))


def same_parameters(a: Dictionary, b: Dictionary) -> bool:
    """Whether two dictionaries have bit-identical parameters of the same names."""
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)
