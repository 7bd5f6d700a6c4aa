"""`DeviceMesh`: ranks as an array, with a group along each dimension (`torch.distributed.device_mesh`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from facula._tensor.handle import Tensor
from facula.distributed import groups, world
from facula.distributed.process_group import ProcessGroup

__all__ = ["DeviceMesh", "init_device_mesh"]


class DeviceMesh:
    """Ranks in an array: along each dimension, those that differ in that index alone are a group.

    All ranks of the world make it, in the same order as other groups.

    Args:
        device_type: "cpu".
        mesh: the ranks, as nested lists, an array or a tensor of integers; none twice.
        mesh_dim_names: names of the dimensions, none twice.

    Raises:
        RuntimeError: there are more ranks in it than in the world, or one twice.

    Example:
        >>> import facula.distributed as dist
        >>> dist.init_process_group("fake", rank=5, world_size=8)
        >>> mesh = dist.init_device_mesh("cpu", (2, 4), mesh_dim_names=("data", "model"))
        >>> mesh.get_coordinate(), mesh["model"].get_local_rank(), mesh["data"].mesh.tolist()
        ([1, 1], 1, [1, 5])
        >>> dist.destroy_process_group()
    """

    def __init__(self, device_type: str, mesh: Any, *, mesh_dim_names: Sequence[str] | None = None,
                 backend_override: Any = None, _init_backend: bool = True) -> None:
        if backend_override is not None:
            raise NotImplementedError("DeviceMesh: backend_override is not in Facula")
        array = np.asarray(mesh.tolist() if isinstance(mesh, Tensor) else mesh)
        if array.size and array.dtype.kind not in "iu":
            raise ValueError(f"DeviceMesh: ranks are integers, got {array.dtype}")
        self.device_type, self._array = device_type, array.astype(np.int64)
        names = None if mesh_dim_names is None else tuple(mesh_dim_names)
        _check_names(names, self._array.ndim)
        self.mesh_dim_names = names
        self._groups: list[Any] = []
        self._parent: DeviceMesh | None = None
        self._flattened: dict[str, DeviceMesh] = {}
        if not _init_backend:
            return
        if not world.is_initialized():
            groups.init_process_group(world.get_default_backend_for_device(device_type))
        ranks = self._array.reshape(-1).tolist()
        if len(set(ranks)) != len(ranks):
            raise RuntimeError(f"DeviceMesh: ranks come twice in {self._array.tolist()}")
        if len(ranks) > world.get_world_size():
            raise RuntimeError("Mesh should not be bigger than default world size "
                               f"{world.get_world_size()}, but found {len(ranks)} ranks!")
        for dim in range(self._array.ndim):
            self._groups.append(_group_along(self._array, dim, names[dim] if names else f"dim_{dim}"))

    # ---- what it is ------------------------------------------------------------------------------------------

    @property
    def mesh(self) -> Tensor:
        """The ranks, as a tensor of integers."""
        import facula
        return facula.tensor(self._array.tolist(), dtype=facula.int32)

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of its dimensions."""
        return tuple(self._array.shape)

    @property
    def ndim(self) -> int:
        """How many dimensions it has."""
        return int(self._array.ndim)

    def size(self, mesh_dim: int | None = None) -> int:
        """How many ranks it has, or along a dimension."""
        return int(self._array.size if mesh_dim is None else self._array.shape[mesh_dim])

    def get_rank(self) -> int:
        """This process's rank in the world."""
        return world.get_rank()

    def get_coordinate(self) -> list[int] | None:
        """Where this process stands; None if it does not belong to the mesh."""
        found = np.argwhere(self._array == world.get_rank())
        return None if not len(found) else [int(k) for k in found[0]]

    def get_local_rank(self, mesh_dim: int | str | None = None) -> int:
        """This process's index along a dimension, which has to be named if there are several.

        RuntimeError if it does not belong to the mesh.
        """
        place = self.get_coordinate()
        if place is None:
            raise RuntimeError(f"rank {world.get_rank()} does not belong to {self}")
        return place[self._dimension(mesh_dim, "get_local_rank")]

    def get_group(self, mesh_dim: int | str | None = None) -> ProcessGroup:
        """The group along a dimension that this process belongs to."""
        found: ProcessGroup = self._groups[self._dimension(mesh_dim, "get_group")]
        return found

    def get_all_groups(self) -> list[ProcessGroup]:
        """The groups along all dimensions."""
        return list(self._groups)

    def _dimension(self, given: int | str | None, what: str) -> int:
        if given is None:
            if self.ndim > 1:
                raise RuntimeError(f"Found the DeviceMesh have {self.ndim} dimensions. Optional kwarg `mesh_dim` needs "
                                   f"to be specified when device_mesh.ndim > 1: {what}(mesh_dim)")
            return 0
        if isinstance(given, str):
            if self.mesh_dim_names is None or given not in self.mesh_dim_names:
                raise KeyError(f"Mesh dimension '{given}' does not exist. Available mesh dimensions are: "
                               f"{self.mesh_dim_names}")
            return self.mesh_dim_names.index(given)
        if not -self.ndim <= given < self.ndim:
            raise IndexError(f"mesh dimension {given} of {self.ndim}")
        return given % self.ndim

    # ---- parts of it -----------------------------------------------------------------------------------------

    def __getitem__(self, names: str | tuple[str, ...]) -> DeviceMesh:
        """The mesh along some of its dimensions that this process belongs to.

        KeyError of a name it has not; RuntimeError without names.
        """
        if self.mesh_dim_names is None:
            raise RuntimeError("Cannot slice a DeviceMesh without mesh_dim_names!")
        wanted = (names,) if isinstance(names, str) else tuple(names)
        if len(wanted) == 1 and wanted[0] in self._flattened:
            return self._flattened[wanted[0]]
        dims = [self._dimension(name, "[]") for name in wanted]
        if len(set(dims)) != len(dims):
            raise KeyError(f"mesh dimensions come twice in {wanted}")
        place = self.get_coordinate()
        if place is None:
            place = [0] * self.ndim
        part = self._array[tuple(slice(None) if d in dims else place[d] for d in range(self.ndim))]
        order = [sorted(dims).index(d) for d in dims]
        made = DeviceMesh(self.device_type, part.transpose(order), mesh_dim_names=wanted, _init_backend=False)
        made._groups, made._parent = [self._groups[d] for d in dims], self._root()
        return made

    def _root(self) -> DeviceMesh:
        return self if self._parent is None else self._parent

    def _flatten(self, mesh_dim_name: str | None = None) -> DeviceMesh:
        """All its ranks along one dimension, as a mesh that the whole mesh knows by that name."""
        root = self._root()
        name = mesh_dim_name or "_".join(self.mesh_dim_names or ())
        if name in root._flattened:
            return root._flattened[name]
        dims = [root._dimension(n, "_flatten") for n in self.mesh_dim_names or ()]
        rest = [d for d in range(root.ndim) if d not in dims]
        rows = root._array.transpose([*rest, *dims]).reshape(-1, self.size())
        mine = _group_of_rows(rows, name)
        row = next((r for r in rows.tolist() if world.get_rank() in r), rows[0].tolist())
        made = DeviceMesh(self.device_type, row, mesh_dim_names=(name,), _init_backend=False)
        made._groups, made._parent = [mine], root
        root._flattened[name] = made
        return made

    @staticmethod
    def from_group(group: ProcessGroup, device_type: str, mesh: Any = None, *,
                   mesh_dim_names: Sequence[str] | None = None) -> DeviceMesh:
        """A mesh of one dimension of a group that there is. NotImplementedError of a list of groups."""
        if isinstance(group, (list, tuple)):
            raise NotImplementedError("DeviceMesh.from_group of several groups is not in Facula")
        made = DeviceMesh(device_type, world.get_process_group_ranks(group) if mesh is None else mesh,
                          mesh_dim_names=mesh_dim_names, _init_backend=False)
        made._groups = [group]
        return made

    # ---- as a context, and as a value ------------------------------------------------------------------------

    def __enter__(self) -> DeviceMesh:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, DeviceMesh) and self.device_type == other.device_type
                                 and self.mesh_dim_names == other.mesh_dim_names
                                 and np.array_equal(self._array, other._array))

    def __hash__(self) -> int:
        return hash((self.device_type, self.mesh_dim_names, self._array.shape, self._array.tobytes()))

    def __repr__(self) -> str:
        if self.mesh_dim_names:
            inside = ", ".join(f"{n}={s}" for n, s in zip(self.mesh_dim_names, self.shape, strict=True))
            return f"DeviceMesh(({inside}), '{self.device_type}', stride={_strides(self.shape)})"
        return f"DeviceMesh({self.shape}, '{self.device_type}', stride={_strides(self.shape)})"


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    found, step = [], 1
    for size in reversed(shape):
        found.append(step)
        step *= size
    return tuple(reversed(found))


def _check_names(names: tuple[str, ...] | None, ndim: int) -> None:
    if names is None:
        return
    if len(set(names)) != len(names):
        raise RuntimeError(f"Each mesh_dim_name must be unique. Found repeated mesh_dim_name in mesh_dim_names {names}")
    if len(names) != ndim:
        raise RuntimeError("mesh_shape and mesh_dim_names should have same length! Found "
                           f"len(mesh_dim_names): {len(names)} and len(mesh_shape):{ndim}.")


def _group_along(array: np.ndarray, dim: int, name: str) -> Any:
    """This process's group of those along a dimension; all of them are made, by everybody."""
    if array.ndim == 1 and array.tolist() == list(range(world.get_world_size())):
        return world.chosen(None)
    return _group_of_rows(np.moveaxis(array, dim, -1).reshape(-1, array.shape[dim]), name)


def _group_of_rows(rows: np.ndarray, name: str) -> Any:
    mine: Any = world.GroupMember.NON_GROUP_MEMBER
    for row in rows.tolist():
        made = groups.new_group(row, sort_ranks=False, group_desc=f"mesh_{name}")
        if world.get_rank() in row:
            mine = made
    return mine


def init_device_mesh(device_type: str, mesh_shape: tuple[int, ...], *, mesh_dim_names: Sequence[str] | None = None,
                     backend_override: Any = None) -> DeviceMesh:
    """The world's first ranks as an array of that shape, row by row. Makes the default group if there is none.

    RuntimeError where names and shape have different lengths, or the world is too small.

    Example:
        >>> import facula.distributed as dist
        >>> dist.init_process_group("fake", rank=0, world_size=4)
        >>> dist.init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
        DeviceMesh((dp=2, tp=2), 'cpu', stride=(2, 1))
        >>> dist.destroy_process_group()
    """
    _check_names(None if mesh_dim_names is None else tuple(mesh_dim_names), len(mesh_shape))
    if not device_type.isalpha():
        raise RuntimeError(f"Device type with index is not supported but got {device_type}. If you maintained a "
                           "`torch.device` object, it's recommended to pass in `device.type`.")
    count = int(np.prod(mesh_shape))
    return DeviceMesh(device_type, np.arange(count).reshape(mesh_shape), mesh_dim_names=mesh_dim_names,
                      backend_override=backend_override)
