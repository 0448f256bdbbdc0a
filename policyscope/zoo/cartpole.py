"""CartPole: the policy of the multiscale transcoder study, and the REINFORCE run that trains it.

1. Act one episode, sampling every action from the policy.
2. Weight each action's log-probability by the discounted return that followed it.
3. Take one Adam step against the sum of these products.
4. Every few episodes, play 100 validation episodes; stop once their mean return meets the target.

Sources: "Interpretable RL via Multiscale Transcoders: Sparse Bottlenecks at 2, 4, and 8
Dimensions", Methodology 1 (network, optimiser, target); R. J. Williams, "Simple statistical
gradient-following algorithms for connectionist reinforcement learning", Machine Learning 8, 1992
(REINFORCE).
"""

import json
import os
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import gymnasium
import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from policyscope.errors import InvalidInput
from policyscope.progress import track

ENVIRONMENT = "CartPole-v1"
VALIDATION_EPISODES = 100
TARGET = 200.0
QUICK_TARGET = 100.0
# The two random streams of one seed.
ACTING, VALIDATING = 0, 1


class CartPolePolicy(nn.Module):
    """Logits of pushing left and right, from position, velocity, angle and angular velocity.

    The ReLUs are functional, so hidden activations are read as inputs: `fc2:in` and `fc3:in`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 128)
        self.fc2 = nn.Linear(128, 64)
        self.fc3 = nn.Linear(64, 2)

    def forward(self, observation: Float[Tensor, "*row unit"]) -> Float[Tensor, "*row action"]:
        """The logits, for any leading axes."""
        hidden = F.relu(self.fc1(observation))
        return self.fc3(F.relu(self.fc2(hidden)))


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The weights of a policy after some training, and how well they did in validation."""

    episodes: int
    steps: int
    validation_return: float
    weights: dict[str, Tensor] = field(repr=False)

    def save(self, directory: Path) -> Path:
        """The safetensors file it wrote in `directory`, whole or not at all."""
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"episode{self.episodes:05d}.safetensors"
        facts = {
            "episodes": self.episodes,
            "steps": self.steps,
            "validation_return": self.validation_return,
        }
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            save_file(self.weights, unfinished, {"checkpoint": json.dumps(facts)})
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
        return path


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained policy, every checkpoint on the way, and the return of each training episode."""

    policy: CartPolePolicy
    seed: int
    target: float
    checkpoints: tuple[Checkpoint, ...] = field(repr=False)
    returns: Float[np.ndarray, " episode"] = field(repr=False)

    @property
    def final(self) -> Checkpoint:
        """The last checkpoint; its weights are the policy's."""
        return self.checkpoints[-1]

    @property
    def is_on_target(self) -> bool:
        """Whether validation met the target before the episodes ran out."""
        return self.final.validation_return >= self.target


class Actor:
    """Acts with a policy through numpy, where torch's cost per call would be most of the work.

    Its arrays are views of the policy's parameters: an optimiser's step in place shows at once.
    """

    def __init__(self, policy: CartPolePolicy) -> None:
        layers = (policy.fc1, policy.fc2, policy.fc3)
        self.weights = [layer.weight.detach().numpy().T for layer in layers]
        self.biases = [layer.bias.detach().numpy() for layer in layers]

    def push_right(
        self, observation: Float32[np.ndarray, "*row unit"]
    ) -> Float[np.ndarray, "*row"]:
        """The probability of pushing right."""
        hidden = np.maximum(observation @ self.weights[0] + self.biases[0], 0.0)
        hidden = np.maximum(hidden @ self.weights[1] + self.biases[1], 0.0)
        logits = hidden @ self.weights[2] + self.biases[2]
        # Softmax over two is the logistic of their difference; as a tanh it cannot overflow.
        return np.asarray(0.5 + 0.5 * np.tanh(0.5 * (logits[..., 1] - logits[..., 0])))


@dataclass(frozen=True, eq=False)
class Trajectory:
    """What REINFORCE needs of one episode."""

    observation: Float32[np.ndarray, "step unit"]
    action: Int64[np.ndarray, " step"]
    reward: Float32[np.ndarray, " step"]

    def __len__(self) -> int:
        return len(self.action)


def train(
    seed: int,
    episodes: int = 2000,
    target: float = TARGET,
    *,
    learning_rate: float = 1e-3,
    discount: float = 0.99,
    validate_every: int = 25,
    checkpoint_directory: Path | None = None,
) -> Trained:
    """A policy trained until 100 validation episodes return `target` on average.

    It stops after `episodes` in any case: ask `is_on_target`. An infinite `target` trains through
    all of them. The same seed gives the same weights on the same machine. A checkpoint is kept
    at the start and at each validation; with `checkpoint_directory` it is also saved there at once.
    """
    if episodes < 1 or validate_every < 1:
        raise InvalidInput(
            "Training takes at least one episode, and at least one between validations; "
            f"got episodes={episodes}, validate_every={validate_every}."
        )
    policy = build(seed)
    checkpoints: list[Checkpoint] = []
    returns: list[float] = []
    steps = 0
    learning = learn(policy, seed, learning_rate, discount)
    with (
        single_thread(),
        closing(learning),
        track("training CartPole", episodes, "episodes") as progress,
    ):
        while True:
            number = len(returns)
            if number % validate_every == 0 or number == episodes:
                mean_return = validate(policy, (seed, VALIDATING, number))
                checkpoints.append(Checkpoint(number, steps, mean_return, copy_weights(policy)))
                if checkpoint_directory is not None:
                    checkpoints[-1].save(checkpoint_directory)
                if mean_return >= target or number == episodes:
                    break
            trajectory = next(learning)
            returns.append(float(trajectory.reward.sum()))
            steps += len(trajectory)
            progress.advance(1, note=f"validation return {checkpoints[-1].validation_return:.0f}")
    return Trained(policy, seed, target, tuple(checkpoints), np.asarray(returns))


def build(seed: int) -> CartPolePolicy:
    """A fresh policy with torch's default initialisation; the global generator stays untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CartPolePolicy()


def learn(
    policy: CartPolePolicy, seed: int, learning_rate: float, discount: float
) -> Generator[Trajectory, None, None]:
    """Episode after episode, each yielded once the policy has learned from it."""
    optimizer = torch.optim.Adam(policy.parameters(), lr=learning_rate, fused=True)
    generator = np.random.default_rng((seed, ACTING))
    actor = Actor(policy)
    # The checker only warns of broken environments, and costs a third of each step.
    with closing(gymnasium.make(ENVIRONMENT, disable_env_checker=True)) as environment:
        environment.reset(seed=seed)
        while True:
            trajectory = act(environment, actor, generator)
            improve(policy, optimizer, trajectory, discount)
            yield trajectory


def act(environment: gymnasium.Env, actor: Actor, generator: np.random.Generator) -> Trajectory:
    """One episode with actions sampled from the policy."""
    observations: list[np.ndarray] = []
    actions: list[int] = []
    rewards: list[float] = []
    observation, _ = environment.reset()
    is_over = False
    while not is_over:
        action = int(generator.random() < actor.push_right(observation))
        observations.append(observation)
        actions.append(action)
        observation, reward, terminated, truncated, _ = environment.step(action)
        rewards.append(float(reward))
        is_over = terminated or truncated
    return Trajectory(
        np.stack(observations), np.asarray(actions, np.int64), np.asarray(rewards, np.float32)
    )


def improve(
    policy: CartPolePolicy,
    optimizer: torch.optim.Optimizer,
    trajectory: Trajectory,
    discount: float,
) -> None:
    """Takes one step of REINFORCE.

    The returns enter as they are: without a baseline or normalisation the source's target is met
    in a few hundred episodes.
    """
    log_probabilities = F.log_softmax(policy(torch.from_numpy(trajectory.observation)), dim=-1)
    taken = log_probabilities.gather(1, torch.from_numpy(trajectory.action)[:, None])[:, 0]
    following = torch.from_numpy(returns_to_go(trajectory.reward, discount))
    optimizer.zero_grad()
    (-(taken * following).sum()).backward()
    optimizer.step()


def returns_to_go(
    reward: Float32[np.ndarray, " step"], discount: float
) -> Float32[np.ndarray, " step"]:
    """The discounted sum of the rewards from each step on."""
    total = 0.0
    following = np.empty_like(reward)
    for step in range(len(reward) - 1, -1, -1):
        total = reward[step] + discount * total
        following[step] = total
    return following


def validate(
    policy: CartPolePolicy, seed: int | tuple[int, ...], episodes: int = VALIDATION_EPISODES
) -> float:
    """The mean return of fresh episodes, actions sampled from the policy as in training."""
    generator = np.random.default_rng(seed)
    actor = Actor(policy)
    environments = gymnasium.make_vec(
        ENVIRONMENT, num_envs=episodes, vectorization_mode="vector_entry_point"
    )
    with closing(environments):
        observation, _ = environments.reset(seed=int(generator.integers(2**31)))
        is_running = np.ones(episodes, dtype=bool)
        returns = np.zeros(episodes)
        while is_running.any():
            action = generator.random(episodes) < actor.push_right(observation)
            observation, reward, terminated, truncated, _ = environments.step(
                action.astype(np.int64)
            )
            # A row that ended starts over by itself; only its first episode counts.
            returns += np.where(is_running, reward, 0.0)
            is_running &= ~(terminated | truncated)
    return float(returns.mean())


def copy_weights(policy: CartPolePolicy) -> dict[str, Tensor]:
    """The policy's parameters as they are now."""
    return {name: value.clone() for name, value in policy.state_dict().items()}


@contextmanager
def single_thread() -> Iterator[None]:
    """One torch thread inside: too little work to share, and sums that always add up alike."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
