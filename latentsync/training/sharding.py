"""Sharding of the trained network over ranks (FSDP2): parameters, gradients and optimizer states are split."""

import lightning
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.distributed.fsdp import fully_shard
from torch.nn import Module, ModuleList


class ShardedStrategy(ModelParallelStrategy):
    """Lightning's ModelParallelStrategy, sharding over all ranks, however many there are.

    Lightning's own default is one data-parallel group a node and tensor parallelism within it.
    """

    def setup_environment(self) -> None:
        self._data_parallel_size, self._tensor_parallel_size = self.num_nodes * self.num_processes, 1
        super().setup_environment()


def shard_blocks(trainer: lightning.Trainer, network: Module) -> None:
    """Shard `network` over the data-parallel ranks of trainer=fsdp, layer by layer; nothing for other strategies.

    Layers are the members of the innermost lists of modules; each is gathered by itself when its turn comes. Not the
    blocks around them: FSDP2 copies lists among a module's arguments, and the U-Net's blocks take skips off theirs.
    """
    if not isinstance(trainer.strategy, ModelParallelStrategy):
        return
    mesh = trainer.strategy.device_mesh["data_parallel"]
    for layers in [module for module in network.modules() if isinstance(module, ModuleList)]:
        for layer in layers:
            nested = any(isinstance(module, ModuleList) for module in layer.modules())
            if not nested and any(parameter.requires_grad for parameter in layer.parameters()):
                fully_shard(layer, mesh=mesh)
    fully_shard(network, mesh=mesh)
