"""The contract of an agent as a pytest class: subclass it and say how to make yours."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from policyscope.agents.agent import Acted, Agent
from policyscope.agents.hooks import Hooks
from policyscope.agents.noise import AddressedNoise
from policyscope.agents.sites import list_sites


class AgentContract:
    """What every agent keeps to.

    Name the subclass `Test…`, give it `make`, and `observations` where they are not vectors of
    `width` normal numbers.
    """

    width = 4
    rows = 5
    steps = 3
    # One row alone may take another path through a matrix product than among others.
    relative_tolerance = 1e-5
    absolute_tolerance = 1e-6

    def make(self) -> Agent:
        """The agent under test."""
        raise NotImplementedError

    def observations(self, rows: int, seed: int = 0) -> Tensor:
        """Something to act on, [row, …]."""
        return torch.randn(rows, self.width, generator=torch.Generator().manual_seed(seed))

    def test_the_same_noise_gives_the_same_actions(self) -> None:
        """All randomness comes from the noise, none from elsewhere."""
        agent, before = self.make(), torch.random.get_rng_state()
        first, again = (self.play(agent, range(self.rows), noisy=True) for _ in range(2))
        for one, other in zip(first, again, strict=True):
            assert_same(one, other)
        assert torch.equal(before, torch.random.get_rng_state()), "drew from the global generator"

    def test_without_noise_it_is_deterministic(self) -> None:
        """It takes the same actions, bit for bit, whenever it is asked."""
        agent = self.make()
        first, again = (self.play(agent, range(self.rows)) for _ in range(2))
        for one, other in zip(first, again, strict=True):
            assert_same(one, other)

    def test_rows_are_independent_of_each_other(self) -> None:
        """A row acts alone as it acts among others, in any order."""
        agent = self.make()
        for noisy in (False, True):
            among = self.play(agent, range(self.rows), noisy=noisy)
            for order in ([self.rows - 1], list(reversed(range(self.rows)))):
                for one, other in zip(among, self.play(agent, order, noisy=noisy), strict=True):
                    self.assert_actions_close(one.action[order], other.action)
                    self.assert_outputs_close(one, other, order)

    def test_actions_and_outputs_have_a_row_axis(self) -> None:
        """What it gives can be cut by row."""
        agent = self.make()
        for rows in (1, self.rows):
            for acted in self.play(agent, range(rows)):
                assert acted.action.shape[:1] == (rows,)
                for name, output in acted.outputs.items():
                    assert output.shape[:1] == (rows,), f"output {name!r} has no row axis"

    def test_acting_changes_neither_observations_nor_weights(self) -> None:
        """It only looks."""
        agent, observation = self.make(), self.observations(self.rows)
        kept, weights = observation.clone(), agent.fingerprint()
        with torch.no_grad():
            agent.act(observation, agent.initial_state(self.rows), self.noise(range(self.rows)))
        assert torch.equal(observation, kept)
        assert agent.fingerprint() == weights
        assert not agent.module.training

    def test_a_reset_row_acts_as_at_the_start_and_the_others_go_on(self) -> None:
        """Resetting some rows of the state leaves the rest of it alone."""
        agent, begun = self.make(), np.array([0, self.rows - 1])
        others = np.setdiff1d(np.arange(self.rows), begun)
        state = self.play(agent, range(self.rows))[-1].state
        observation = self.observations(self.rows, seed=9)
        with torch.no_grad():
            fresh = agent.act(observation, agent.initial_state(self.rows), None)
            going = agent.act(observation, state, None)
            mixed = agent.act(observation, agent.reset_state(state, begun), None)
        for rows, expected in ((begun, fresh), (others, going)):
            for name, output in mixed.outputs.items():
                assert torch.equal(output[rows], expected.outputs[name][rows]), name
            np.testing.assert_array_equal(mixed.action[rows], expected.action[rows])

    def test_it_acts_the_same_while_gradients_are_recorded(self) -> None:
        """Effects of features are gradients of its outputs."""
        agent, observation = self.make(), self.observations(self.rows)
        with torch.no_grad():
            plain = agent.act(observation, agent.initial_state(self.rows), None)
        agent.module.requires_grad_(True)
        with torch.enable_grad():
            recorded = agent.act(observation, agent.initial_state(self.rows), None)
        np.testing.assert_array_equal(plain.action, recorded.action)

    def test_every_listed_site_is_readable(self) -> None:
        """The list says where, in which shape and of what type, and it is true."""
        agent, observation = self.make(), self.observations(self.rows)
        listed = list_sites(agent, observation)
        assert len({info.site for info in listed}) == len(listed) > 0
        hooks = Hooks(agent.module, [info.site for info in listed])
        self.act_hooked(agent, hooks)
        for info in listed:
            value = hooks.values[info.site]
            assert tuple(value.shape) == (self.rows, *info.shape), str(info.site)
            assert str(value.dtype) == f"torch.{info.dtype}", str(info.site)

    def test_reading_changes_nothing(self) -> None:
        """Every site read at once leaves actions and outputs bit-identical."""
        agent = self.make()
        sites = [info.site for info in list_sites(agent, self.observations(self.rows))]
        plain = self.act_hooked(agent, Hooks(agent.module))
        assert_same(plain, self.act_hooked(agent, Hooks(agent.module, sites)))

    def test_the_fingerprint_changes_with_every_weight(self) -> None:
        """Sixteen hexadecimal digits for what the module has learnt."""
        agent = self.make()
        seen = {agent.fingerprint()}
        assert agent.fingerprint() in seen
        for parameter in agent.module.parameters():
            with torch.no_grad():
                parameter.view(-1)[-1] += 1
            seen.add(agent.fingerprint())
        assert len(seen) == 1 + len(list(agent.module.parameters()))
        assert all(len(digits) == 16 and int(digits, 16) >= 0 for digits in seen)

    def noise(self, rows: Sequence[int]) -> AddressedNoise:
        """The noise of episodes that are told apart by the number of their row."""
        noise = AddressedNoise(seed=3, rows=len(rows))
        noise.begin(np.arange(len(rows)), np.array(rows, np.int64))
        return noise

    def play(self, agent: Agent, rows: Sequence[int], *, noisy: bool = False) -> list[Acted]:
        """A few steps of these of the `rows` rows, with the state handed on."""
        state, noise, played = agent.initial_state(len(rows)), self.noise(rows), list[Acted]()
        for step in range(self.steps):
            observation = self.observations(self.rows, seed=step)[list(rows)]
            with torch.no_grad():
                acted = agent.act(observation, state, noise if noisy else None)
            state = acted.state
            noise.advance()
            played.append(acted)
        return played

    def act_hooked(self, agent: Agent, hooks: Hooks) -> Acted:
        """One step under `hooks`."""
        observation = self.observations(self.rows)
        with torch.no_grad(), hooks:
            return hooks.run(agent.act, observation, agent.initial_state(self.rows), None)

    def assert_actions_close(
        self, among: Shaped[np.ndarray, "row ..."], alone: Shaped[np.ndarray, "row ..."]
    ) -> None:
        """Fails unless discrete actions are the same, and continuous ones up to rounding."""
        if np.issubdtype(among.dtype, np.floating):
            relative, absolute = self.relative_tolerance, self.absolute_tolerance
            np.testing.assert_allclose(among, alone, rtol=relative, atol=absolute)
        else:
            np.testing.assert_array_equal(among, alone)

    def assert_outputs_close(self, among: Acted, alone: Acted, order: list[int]) -> None:
        """Fails unless the outputs of the rows in `order` agree up to rounding."""
        assert among.outputs.keys() == alone.outputs.keys()
        for name, output in among.outputs.items():
            torch.testing.assert_close(
                alone.outputs[name],
                output[order],
                rtol=self.relative_tolerance,
                atol=self.absolute_tolerance,
            )


def assert_same(one: Acted, other: Acted) -> None:
    """Fails unless two steps gave bit-identical actions and outputs."""
    np.testing.assert_array_equal(one.action, other.action)
    assert one.outputs.keys() == other.outputs.keys()
    for name, output in one.outputs.items():
        assert torch.equal(output, other.outputs[name]), f"output {name!r} differs"
