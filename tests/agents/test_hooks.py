"""Reading and writing at sites: what is seen, what is changed, and that nothing is left behind."""

from collections import OrderedDict, namedtuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from policyscope.address import Site
from policyscope.agents.architectures import MLP
from policyscope.agents.hooks import Hooks, check_sites, leaves, with_leaf
from policyscope.errors import InvalidInput, UnknownName

Pair = namedtuple("Pair", "left right")


def site(text):
    return Site.parse(text)


def mlp(dtype=torch.float32):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MLP([4, 8, 6, 2]).to(dtype)


def inputs(rows=3, dtype=torch.float32):
    return torch.randn(rows, 4, generator=torch.Generator().manual_seed(1)).to(dtype)


def add(amount):
    return lambda tensor, read: tensor + amount


def has_hooks(module):
    return any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────


def test_reads_are_what_the_layers_took_and_gave():
    network, x = mlp(), inputs()
    reads = [site("fc1:in"), site("fc1:out"), site("fc2:in"), site("fc3")]
    with Hooks(network, reads) as hooks:
        output = hooks.run(network, x)
    assert torch.equal(hooks.values[reads[0]], x)
    assert torch.equal(hooks.values[reads[1]], network.fc1(x))
    assert torch.equal(hooks.values[reads[2]], network.fc1(x).relu())
    assert torch.equal(hooks.values[reads[3]], output)


def test_the_whole_module_is_a_site():
    network = mlp()
    with Hooks(network, [site(".")], {site(".:in"): lambda x, read: x * 0}) as hooks:
        output = hooks.run(network, inputs())
    assert torch.equal(output, network(torch.zeros(3, 4)))
    assert torch.equal(hooks.values[site(".")], output)


def test_every_run_reads_anew():
    network = mlp()
    with Hooks(network, [site("fc1:in")]) as hooks:
        hooks.run(network, inputs(2))
        hooks.run(network, inputs(5))
    assert len(hooks.values[site("fc1:in")]) == 5


# ── Editing ──────────────────────────────────────────────────────────────────────────────────────


def test_an_edit_changes_what_follows_and_the_read_sees_it():
    network, x = mlp(), inputs()
    with Hooks(network, [site("fc2:in")], {site("fc2:in"): add(1.0)}) as hooks:
        output = hooks.run(network, x)
    hidden = network.fc1(x).relu() + 1.0
    assert torch.equal(hooks.values[site("fc2:in")], hidden)
    assert torch.equal(output, network.fc3(network.fc2(hidden).relu()))


def test_an_edit_at_out_changes_what_the_layer_gave():
    network, x = mlp(), inputs()
    with Hooks(network, edits={site("fc2:out"): lambda tensor, read: tensor.clamp(max=0)}) as hooks:
        output = hooks.run(network, x)
    assert torch.equal(output, network.fc3(torch.zeros(3, 6)))


def test_an_edit_may_use_what_was_read_before_it():
    network, x = mlp(), inputs()
    earlier = site("fc1:out")
    edit = {site("fc2:in"): lambda tensor, read: read[earlier]}
    with Hooks(network, [earlier], edit) as hooks:
        output = hooks.run(network, x)
    assert torch.equal(output, network.fc3(network.fc2(network.fc1(x)).relu()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_dtype_is_read_and_edited(dtype):
    network, x = mlp(dtype), inputs(dtype=dtype)
    with Hooks(network, [site("fc1")], {site("fc3:in"): lambda h, read: h * 0}) as hooks:
        output = hooks.run(network, x)
    assert hooks.values[site("fc1")].dtype == dtype
    assert torch.equal(output, network.fc3(torch.zeros(3, 6, dtype=dtype)))


@given(data=st.data())
def test_edits_that_change_nothing_leave_the_forward_bit_identical(data):
    network, x = mlp(), inputs()
    every = [site(f"fc{layer}:{side}") for layer in (1, 2, 3) for side in ("in", "out")]
    chosen = data.draw(st.sets(st.sampled_from(every)))
    unchanged = data.draw(st.sampled_from([lambda h, read: h, lambda h, read: h.clone()]))
    with Hooks(network, every, dict.fromkeys(chosen, unchanged)) as hooks:
        assert torch.equal(hooks.run(network, x), network(x))


# ── Tuples, keywords, calls ──────────────────────────────────────────────────────────────────────


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 5)
        self.head = nn.Linear(5, 2)

    def forward(self, observation):
        out, (hidden, _) = self.lstm(observation)
        return self.head(out), hidden


def test_one_tensor_of_a_tuple_is_read_and_edited_alone():
    network, x = Recurrent(), inputs()
    plain, _ = network(x)
    reads = [site("lstm:out.0"), site("lstm:out.1")]
    with Hooks(network, reads, {site("lstm:out.1"): lambda h, read: h * 0}) as hooks:
        logits, hidden = hooks.run(network, x)
    assert torch.equal(logits, plain)
    assert torch.equal(network.head(hooks.values[reads[0]]), plain)
    assert not hidden.any()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("lstm", r"Site 'lstm:out' holds 3 tensors. Say which: lstm:out.0, lstm:out.1, lstm:out.2"),
        ("lstm:out.3", r"Site 'lstm:out.3' asks for tensor 3; there are 3"),
    ],
)
def test_a_tuple_wants_to_be_told_which_tensor(asked, message):
    network = Recurrent()
    with Hooks(network, [site(asked)]) as hooks, pytest.raises(InvalidInput) as raised:
        hooks.run(network, inputs())
    assert message in str(raised.value)


class Keywords(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Scaled()

    def forward(self, observation):
        return self.inner(observation, scale=torch.tensor(3.0), note="text")


class Scaled(nn.Module):
    def forward(self, x, *, scale, note):
        return {"scaled": x * scale, "note": note}


def test_keyword_inputs_and_dictionary_outputs_are_counted_after_positional_ones():
    network, x = Keywords(), inputs()
    reads = [site("inner:in.0"), site("inner:in.1"), site("inner:out")]
    with Hooks(network, reads, {site("inner:in.1"): add(1.0)}) as hooks:
        output = hooks.run(network, x)
    assert output["note"] == "text"
    assert torch.equal(output["scaled"], x * 4)
    assert [hooks.values[at].shape for at in reads] == [(3, 4), (), (3, 4)]


class Looped(nn.Module):
    def __init__(self):
        super().__init__()
        self.core = nn.Linear(4, 4)

    def forward(self, observation):
        return self.core(self.core(observation).relu())


def test_calls_of_one_module_are_told_apart():
    network, x = Looped(), inputs()
    reads = [site("core[0]:out"), site("core[1]:in"), site("core[1]:out")]
    with Hooks(network, reads, {site("core[0]:out"): add(1.0)}) as hooks:
        output = hooks.run(network, x)
    first = network.core(x) + 1.0
    assert torch.equal(hooks.values[reads[0]], first)
    assert torch.equal(hooks.values[reads[1]], first.relu())
    assert torch.equal(hooks.values[reads[2]], output)
    assert torch.equal(output, network.core(first.relu()))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            "core",
            "'core:out' is reached 2 times in one step. Say which: core[0]:out or core[1]:out",
        ),
        ("core[2]:in", "'core[2]:in' was not reached: its module ran 2 times in this step."),
    ],
)
@pytest.mark.parametrize("edited", [False, True])
def test_a_module_called_twice_wants_to_be_told_which_time(asked, message, edited):
    chosen = ([], {site(asked): add(0.0)}) if edited else ([site(asked)], {})
    network = Looped()
    with Hooks(network, *chosen) as hooks, pytest.raises(InvalidInput) as raised:
        hooks.run(network, inputs())
    assert message in str(raised.value)


def test_calls_are_counted_from_the_start_of_each_run():
    network = Looped()
    with Hooks(network, [site("core[0]")]) as hooks:
        for _ in range(2):
            hooks.run(network, inputs())
            assert torch.equal(hooks.values[site("core[0]")], network.core(inputs()))


def test_a_site_that_is_passed_by_is_an_error():
    network = nn.Linear(4, 2)
    network.spare = nn.Linear(4, 2)
    refused = pytest.raises(InvalidInput, match="was not reached: its module ran 0 times")
    with Hooks(network, [site("spare")]) as hooks, refused:
        hooks.run(network, inputs())


def test_an_unknown_site_is_told_before_anything_runs():
    with pytest.raises(UnknownName) as raised:
        Hooks(mlp(), [site("fc9:in")])
    assert str(raised.value) == "No site called 'fc9'. Did you mean 'fc3'? Known: fc1, fc2, fc3."
    with pytest.raises(UnknownName):
        Hooks(mlp(), edits={site("actor.0"): add(0)})
    check_sites(mlp(), [site("fc1"), site(".:in")])


# ── Overwritten in place ─────────────────────────────────────────────────────────────────────────


def overwriting():
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=True), nn.Linear(6, 2))


def test_a_read_that_is_overwritten_later_is_copied():
    network, x = overwriting(), inputs()
    before = site("0:out")
    with torch.no_grad(), Hooks(network, [before, site("1:out")]) as hooks:
        output = hooks.run(network, x)
        assert torch.equal(hooks.values[before], network[0](x))
        assert torch.equal(hooks.values[site("1:out")], network[0](x).relu())
        assert torch.equal(output, network(x))


def test_overwritten_reads_are_right_in_inference_mode():
    network, x = overwriting(), inputs()
    with torch.inference_mode(), Hooks(network, [site("0:out")]) as hooks:
        hooks.run(network, x)
        assert torch.equal(hooks.values[site("0:out")], network[0](x))


# ── Nothing left behind ──────────────────────────────────────────────────────────────────────────


def test_hooks_do_nothing_outside_run():
    network, x = mlp(), inputs()
    plain = network(x)
    with Hooks(network, [site("fc1")], {site("fc2:in"): add(5.0)}) as hooks:
        assert torch.equal(network(x), plain)
        assert not hooks.values
        assert not torch.equal(hooks.run(network, x), plain)
        assert torch.equal(network(x), plain)
    assert torch.equal(network(x), plain)


def test_hooks_are_removed_also_on_exceptions():
    network = mlp()

    def fail(tensor, read):
        raise ZeroDivisionError

    hooks = Hooks(network, [site("fc1")], {site("fc2:in"): fail})
    assert not has_hooks(network)
    seen = []
    with pytest.raises(ZeroDivisionError), hooks:
        seen.append(has_hooks(network)) or hooks.run(network, inputs())
    assert seen == [True]
    assert not has_hooks(network)


def test_after_an_exception_inside_the_forward_hooks_are_inert_again():
    network, x, failing = mlp(), inputs(), [False, True]

    def fail_once(tensor, read):
        if failing.pop():
            raise ZeroDivisionError
        return tensor

    with Hooks(network, edits={site("fc2:in"): fail_once}) as hooks:
        with pytest.raises(ZeroDivisionError):
            hooks.run(network, x)
        network(x)  # would pop from an empty list, were the edit still at work
        hooks.run(network, x)


def test_other_hooks_of_the_module_stay():
    network, seen = mlp(), []
    network.fc1.register_forward_hook(lambda *_: seen.append("theirs"))
    with Hooks(network, [site("fc1")]) as hooks:
        hooks.run(network, inputs())
    network(inputs())
    assert seen == ["theirs", "theirs"]


# ── Nested values ────────────────────────────────────────────────────────────────────────────────

tensors = st.builds(torch.tensor, st.integers(0, 99))
nested = st.recursive(
    tensors | st.none() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.tuples(inner, inner).map(lambda pair: Pair(*pair))
        | st.dictionaries(st.text(max_size=2), inner, max_size=3)
        | st.dictionaries(st.text(max_size=2), inner, max_size=3).map(OrderedDict)
    ),
    max_leaves=8,
)


def kinds(value):
    if isinstance(value, dict):
        return type(value), {key: kinds(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value), [kinds(part) for part in value]
    return type(value)


@given(value=nested, data=st.data())
def test_replacing_one_leaf_leaves_everything_else(value, data):
    before = leaves(value)
    if not before:
        return
    index = data.draw(st.integers(0, len(before) - 1))
    new = torch.tensor(-1)
    replaced = with_leaf(value, index, new)
    assert kinds(replaced) == kinds(value)
    for place, leaf in enumerate(leaves(replaced)):
        assert leaf is (new if place == index else before[place])


# ── Recurrent modules ────────────────────────────────────────────────────────────────────────────


class Remembering(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 6)
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        sequence, _ = self.lstm(x.unsqueeze(0))
        return self.head(sequence.squeeze(0))


def test_the_rows_of_a_recurrent_module_come_first():
    torch.manual_seed(0)
    network, x = Remembering(), inputs()
    reads = [site("lstm:in"), site("lstm:out.0"), site("lstm:out.1"), site("head:in")]
    with torch.no_grad(), Hooks(network, reads) as hooks:
        hooks.run(network, x)
        assert torch.equal(hooks.values[reads[0]], x)
        assert torch.equal(hooks.values[reads[1]], hooks.values[reads[3]])
        assert hooks.values[reads[2]].shape == (len(x), 6)


class Carrying(nn.Module):
    def __init__(self, kind, layers):
        super().__init__()
        self.rnn = kind(4, 6, num_layers=layers, batch_first=True)

    def forward(self, x, state):
        return self.rnn(x, state)


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
@pytest.mark.parametrize("layers", [1, 2])
def test_batch_first_speaks_of_the_sequence_and_not_of_the_state(kind, layers):
    """Each state that is read and edited is [row, unit], or [row, layer, unit]."""
    torch.manual_seed(0)
    network, rows = Carrying(kind, layers), 3
    x, hidden = torch.randn(rows, 5, 4), torch.randn(layers, rows, 6)
    state = (hidden, hidden + 1) if kind is nn.LSTM else hidden
    many = range(1, 1 + (2 if kind is nn.LSTM else 1))
    ins, outs = ([site(f"rnn:{side}.{i}") for i in many] for side in ("in", "out"))
    push = torch.arange(rows, dtype=torch.float32).view(-1, *(1,) * (1 if layers == 1 else 2))

    def by_row(given):
        given = given.movedim(1, 0)
        return given.squeeze(1) if layers == 1 else given

    with torch.no_grad():
        plain = leaves(network(x, state))
        reads = [*ins, *outs, site("rnn:out.0")]
        edits = {outs[-1]: lambda activation, values: activation + push}
        with Hooks(network, reads, edits) as hooks:
            edited = leaves(hooks.run(network, x, state))
    assert torch.equal(hooks.values[site("rnn:out.0")], plain[0])
    for index, before in zip(many, leaves(state), strict=True):
        assert torch.equal(hooks.values[ins[index - 1]], by_row(before))
        assert torch.equal(hooks.values[outs[index - 1]], by_row(edited[index]))
    torch.testing.assert_close(by_row(edited[many[-1]]), by_row(plain[many[-1]]) + push)


def test_an_edit_of_a_recurrent_module_reaches_the_rows_it_means():
    torch.manual_seed(0)
    network, x = Remembering(), inputs()
    push = torch.arange(len(x), dtype=torch.float32)[:, None]
    with torch.no_grad():
        plain = network(x)
        edits = {site("lstm:out.0"): lambda activation, values: activation + push}
        with Hooks(network, edits=edits) as hooks:
            pushed = hooks.run(network, x)
    torch.testing.assert_close(pushed - plain, push * network.head.weight.sum(1))
