"""Several processes that train one network; see ``convert.processes``."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from spikeport.convert.processes import added, count


def of_all(mean: Tensor) -> Tensor:
    """The mean over the images of all processes, from that over the images of each.

    Its gradient is that by the own images; averaged over the processes, as ``wrapped`` does, that
    of a loss which is no mean over the images is right too.
    """
    if count() == 1:
        return mean
    everywhere = added(mean.detach()).to(mean) / count()
    return everywhere + (mean - mean.detach())


def moments(values: Tensor) -> tuple[Tensor, Tensor, int]:
    """Mean and variance of each channel over the values of all processes, and their number.

    The gradients reach the values of all processes; torch's SyncBatchNorm does that on GPUs only.

    Args:
        values: of this process, [B, C, ...].

    Returns:
        Mean, [C], variance (biased), [C], and how many values of a channel they are of.
    """
    rest = [dim for dim in range(values.ndim) if dim != 1]
    own = values.numel() // values.shape[1]
    variance, mean = torch.var_mean(values, rest, correction=0)
    if count() == 1:
        return mean, variance, own
    number = int(added(torch.tensor(own)))
    share, own_mean = own / number, mean
    mean = all_reduce(share * own_mean)
    variance = all_reduce(share * (variance + (own_mean - mean).square()))
    return mean, variance, number


def wrapped(module: nn.Module) -> nn.Module:
    """The module whose backward averages gradients over the processes.

    A parameter may be without a gradient in some steps: corrections of timesteps beyond T.
    """
    if count() == 1:
        return module
    return DistributedDataParallel(module, find_unused_parameters=True)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """The same for gradients that were made by several calls of backward."""
    if count() == 1:
        return
    for parameter in parameters:
        if parameter.requires_grad and parameter.numel():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            distributed.all_reduce(parameter.grad)
            parameter.grad /= count()


def loader(dataset: Dataset[Any], batch_size: int, shuffle: bool) -> DataLoader[Any]:
    """A loader over this process's share; ``finetune`` tells its sampler the epoch.

    Args:
        dataset: all images, the same in every process.
        batch_size: of each process.
        shuffle: another order in every epoch.
    """
    if count() == 1:
        return DataLoader(dataset, batch_size, shuffle)
    sampler: DistributedSampler[Any] = DistributedSampler(dataset, shuffle=shuffle)
    return DataLoader(dataset, batch_size, sampler=sampler)
