"""Reading and writing activations at sites, only inside a `with` and only in our own forward.

A read keeps the activation as the rest of the network sees it, that is after the edits at the same
site. Hooks are registered on entering the `with`, removed on leaving it whatever happens, and
do nothing unless the forward was started by `Hooks.run`: other users of the module never notice.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from policyscope.address import Side, Site
from policyscope.errors import InvalidInput, UnknownName

Result = TypeVar("Result")
EditFunction = Callable[[Tensor, Mapping[Site, Tensor]], Tensor]
"""Takes the activation and what was read so far in this forward; returns the new activation."""


@dataclass(frozen=True)
class Visit:
    """What is done at a site, known before the first forward."""

    site: Site
    edit: EditFunction | None
    is_read: bool


def leaves(value: Any) -> list[Tensor]:
    """The tensors of a nested tuple, list or dict, in order."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, tuple | list):
        return [leaf for item in value for leaf in leaves(item)]
    if isinstance(value, Mapping):
        return [leaf for item in value.values() for leaf in leaves(item)]
    return []


def with_leaf(value: Any, index: int, new: Tensor) -> Any:
    """`value` with its tensor number `index` replaced; containers keep their types."""
    if isinstance(value, Tensor):
        return new
    counter = iter(range(len(leaves(value))))

    def rebuild(item: Any) -> Any:
        if isinstance(item, Tensor):
            return new if next(counter) == index else item
        if isinstance(item, Mapping):
            return type(item)({key: rebuild(part) for key, part in item.items()})  # pyright: ignore
        if isinstance(item, tuple) and hasattr(item, "_fields"):
            return type(item)(*(rebuild(part) for part in item))
        if isinstance(item, tuple | list):
            return type(item)(rebuild(part) for part in item)
        return item

    return rebuild(value)


def rows_first(module: nn.Module, tensor: Tensor, index: int) -> Tensor:
    """Tensor number `index` of what `module` takes or gives, with its row axis first.

    torch's recurrent modules put the sequence, or the layers, before the rows; there is one step
    and usually one layer, so that axis of length one is left out.
    """
    if not are_rows_second(module, index) or tensor.dim() != 3:
        return tensor
    turned = tensor.movedim(1, 0)
    return turned.squeeze(1) if turned.shape[1] == 1 else turned


def as_module_has_it(module: nn.Module, tensor: Tensor, like: Tensor, index: int) -> Tensor:
    """Undoes `rows_first`, for an activation shaped as `like` was."""
    if not are_rows_second(module, index) or like.dim() != 3:
        return tensor
    return (tensor if tensor.dim() == 3 else tensor.unsqueeze(1)).movedim(0, 1)


def are_rows_second(module: nn.Module, index: int) -> bool:
    """Whether tensor number `index` of what `module` takes or gives has its rows second.

    `batch_first` speaks of the sequence, tensor 0, alone; a state is [layer, row, unit] always.
    """
    return isinstance(module, nn.RNNBase) and (index > 0 or not module.batch_first)


def check_sites(module: nn.Module, sites: Iterable[Site]) -> None:
    """Raises UnknownName with a suggestion for the first site whose module does not exist."""
    paths = dict(module.named_modules())
    for site in sites:
        if site.path not in paths:
            raise UnknownName.among("site", site.path, [path for path in paths if path])


class Hooks:
    """The reads and edits of one module, alive inside a `with`.

    `reads` are kept in `values` after each `run`. `edits` change the activation at their site; an
    edit may use what was read earlier in the same forward (its site must then be among `reads`).
    """

    def __init__(
        self,
        module: nn.Module,
        reads: Iterable[Site] = (),
        edits: Mapping[Site, EditFunction] | None = None,
    ) -> None:
        self.module = module
        self.reads = tuple(dict.fromkeys(reads))
        self.edits = dict(edits or {})
        self.values: dict[Site, Tensor] = {}
        self.copied: set[Site] = set()
        """Reads that are cloned, because something later in the forward writes into them."""
        self._armed = False
        self._calls: dict[str, int] = {}
        self._kept: list[tuple[Site, Tensor, int]] = []
        """What was read, not copied, and how often it had been written into by then."""
        self._handles: list[torch.utils.hooks.RemovableHandle] = []
        check_sites(module, {*self.reads, *self.edits})

    def __enter__(self) -> "Hooks":
        modules = dict(self.module.named_modules())
        wanted: dict[tuple[str, Side], list[Visit]] = {}
        for site in dict.fromkeys((*self.edits, *self.reads)):
            visit = Visit(site, self.edits.get(site), site in self.reads)
            wanted.setdefault((site.path, site.side), []).append(visit)
        for path in dict.fromkeys(path for path, _ in wanted):
            module = modules[path]
            entering = wanted.get((path, "in"), [])
            # The pre-hook also counts the calls, so every touched module has one.
            self._handles.append(
                module.register_forward_pre_hook(self._before(path, entering), with_kwargs=True)
            )
            if (path, "out") in wanted:
                hook = self._after(path, wanted[path, "out"])
                self._handles.append(module.register_forward_hook(hook))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Calls `function` with reads and edits at work, and returns what it returned.

        Where something later in the forward writes into a value that was read, such as an in-place
        ReLU, `function` is called once more and that value is copied when it is read, from then on.
        Raises InvalidInput when a site was not reached, or was reached several times and does not
        say which time it means.
        """
        result = self._run_once(function, arguments)
        while overwritten := self._overwritten():
            self.copied |= overwritten
            result = self._run_once(function, arguments)
        return result

    def _run_once(self, function: Callable[..., Result], arguments: tuple[Any, ...]) -> Result:
        self.values.clear()
        self._kept.clear()
        self._calls.clear()
        self._armed = True
        try:
            result = function(*arguments)
        finally:
            self._armed = False
        self._check_run()
        return result

    def _before(self, path: str, visits: list[Visit]) -> Callable[..., Any]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if not self._armed:
                return None
            call = self._calls.get(path, 0)
            self._calls[path] = call + 1
            # Nearly every module is called with one tensor; taking it out is a third of the cost.
            alone = not kwargs and len(args) == 1
            value, changed = self._visit(module, visits, call, args[0] if alone else (args, kwargs))
            if not changed:
                return None
            return ((value,), kwargs) if alone else value

        return hook

    def _after(self, path: str, visits: list[Visit]) -> Callable[..., Any]:
        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            if not self._armed:
                return None
            value, changed = self._visit(module, visits, self._calls[path] - 1, output)
            return value if changed else None

        return hook

    def _visit(
        self, module: nn.Module, visits: list[Visit], call: int, value: Any
    ) -> tuple[Any, bool]:
        changed = False
        for visit in visits:
            site = visit.site
            if site.call is not None and site.call != call:
                continue
            tensors = leaves(value)
            index = self._index(site, len(tensors))
            inside = tensors[index]
            tensor = rows_first(module, inside, index)
            if visit.edit is not None:
                edited = visit.edit(tensor, self.values)
                if edited is not tensor:
                    new = as_module_has_it(module, edited, inside, index)
                    value = with_leaf(value, index, new)
                    tensor, changed = edited, True
            if visit.is_read:
                self._keep(site, tensor)
        return value, changed

    def _keep(self, site: Site, tensor: Tensor) -> None:
        # Inference tensors do not count the writes into them.
        if tensor.is_inference() or (self.copied and site in self.copied):
            tensor = tensor.clone()
        else:
            self._kept.append((site, tensor, tensor._version))
        self.values[site] = tensor

    @staticmethod
    def _index(site: Site, count: int) -> int:
        if site.index is None and count == 1:
            return 0
        if site.index is None:
            names = ", ".join(str(replace(site, index=i)) for i in range(count))
            raise InvalidInput(
                f"Site '{site}' holds {count} tensors. Say which: {names or 'none'}."
            )
        if site.index >= count:
            raise InvalidInput(f"Site '{site}' asks for tensor {site.index}; there are {count}.")
        return site.index

    def _check_run(self) -> None:
        for site in (*self.reads, *self.edits):
            calls = self._calls.get(site.path, 0)
            if calls <= (site.call or 0):
                raise InvalidInput(
                    f"Site '{site}' was not reached: its module ran {calls} times in this step."
                    + (" Its parent may use its weights directly." if calls == 0 else "")
                )
            if calls > 1 and site.call is None:
                names = " or ".join(str(replace(site, call=call)) for call in range(calls))
                raise InvalidInput(
                    f"Site '{site}' is reached {calls} times in one step. Say which: {names}."
                )

    def _overwritten(self) -> set[Site]:
        return {site for site, tensor, version in self._kept if tensor._version != version}
