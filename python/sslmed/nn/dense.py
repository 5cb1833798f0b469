"""Encoders over dense inputs of any rank: convolutional networks and hierarchical transformers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch

from sslmed._core import C
from sslmed.nn.features import Features
from sslmed.nn.mirror import Mirror

__all__ = ["DenseNet"]


class DenseNet(Mirror):
    """An encoder over signals, pictures or volumes [B, C, spatial…], with timm's parameter names.

    Integers (uint8) are scaled to [0, 1] and standardized by ``pixel_mean`` and ``pixel_std``; other inputs are taken
    as they are.

    Args:
        name: One of :func:`sslmed.nn.list_models` that is not a vision transformer, such as "resnet18".
        rank: Number of spatial axes: 1 (signals), 2 (pictures) or 3 (volumes).
        in_chans: Number C of input channels.
        num_classes: Size of the linear head on pooled features; 0: no head.
        seed: Seed of the initial weights.
        pixel_mean: Mean of each channel of bytes, in parts of 255; None: 0.
        pixel_std: Standard deviation of each channel of bytes, in parts of 255; None: 1.
        **options: Options of the encoder.

            ``resnet10``, ``resnet18``, ``resnet34``, ``resnet50``, ``wide_resnet50_2`` (He et al., arXiv 1512.03385):

            - ``stem``: "imagenet" (7 cells with stride 2, then max-pooling) or "cifar" (3 cells, for small inputs);
            - ``conv1_t_size``, ``conv1_t_stride``: size and stride of the first convolution, one number or one an axis;
            - ``no_max_pool``: no max-pooling after the first convolution;
            - ``shortcut_type``: "B" (a convolution) or "A" (without parameters), where a block changes the size;
            - ``bias_downsample``: give the convolution of a shortcut a bias, as MONAI does by default;
            - ``zero_init_last``: start the last norm of each block at 0 (default), as timm does.

            ``sam_vit_base``, ``sam_vit_large``, ``sam_vit_huge`` (Kirillov et al., arXiv 2304.02643), the image encoder
            of Segment Anything; of volumes each block has a third table of relative positions:

            - ``img_size`` (1024), ``patch_size`` (16): of the position tables, one number or one an axis; inputs of
              other sizes see them resampled;
            - ``window`` (14): cells of a window along each axis; ``global_blocks``: the blocks that attend to the whole
              map;
            - ``dim``, ``depth``, ``heads``, ``mlp_dim``, ``out_chans``: sizes, instead of the name's.

            ``swin_tiny``, ``swin_small``, ``swin_base`` (Liu et al., arXiv 2103.14030); of rank 3, those of SwinUNETR
            (arXiv 2201.01266) with 24, 48 and 96 channels:

            - ``embed_dim``, ``depths``, ``num_heads``, ``mlp_ratio``: sizes, instead of the name's;
            - ``patch_size``, ``window_size``: one number or one an axis;
            - ``style``: "timm" (default of rank 1 and 2: cells are merged before a stage, learned norms after the
              patches and at the end) or "monai" (default of rank 3: cells are merged after each stage, so that the
              pyramid has five maps, which are normalized without weights unless ``normalize`` is False);
            - ``window_mode``: "correct" (default) or "monai": where a map is smaller than the window, MONAI takes the
              first rows of the full window's relative positions, of which most are wrong. Weights that were trained
              with MONAI on such maps need "monai";
            - ``merging``: order of merged neighbors, which weights depend on: "timm", "monai", "mergingv2", or
              "monai_legacy" for weights from before MONAI joined all eight neighbors.

            ``unet``: the contracting half of a U-Net as nnU-Net has it (arXiv 1809.10486), with the parameter names of MONAI's DynUNet;
            :class:`sslmed.nn.Segmenter` adds the other half:

            - ``filters``: channels of each level (32, 64 … up to 320 of volumes, 512 of others);
            - ``kernel_size``, ``strides``: one number, one a level, or one a level and axis (3; 1, then 2);
            - ``norm``: "instance" (default) or "group", with at most ``groups`` (8) groups;
            - ``residual``: shortcuts around each pair of convolutions;
            - ``attention``: gates on the skip connections (arXiv 1804.03999), in the decoder.

            ``convnet``: a few convolutions with stride 2; ``widths``: number of channels of each.

    Raises:
        ValueError: The name or an option is unknown, or a number is out of range.

    Examples:
        >>> import torch
        >>> from sslmed import nn
        >>> net = nn.DenseNet("resnet18", rank=3, in_chans=1)
        >>> net(torch.zeros(2, 1, 32, 32, 32)).shape
        torch.Size([2, 512])
        >>> [tuple(x.shape[1:]) for x in net.features(torch.zeros(2, 1, 32, 32, 32)).pyramid]
        [(64, 16, 16, 16), (64, 8, 8, 8), (128, 4, 4, 4), (256, 2, 2, 2), (512, 1, 1, 1)]
    """

    def __init__(
        self,
        name: str,
        rank: int = 2,
        in_chans: int = 3,
        num_classes: int = 0,
        *,
        seed: int = 0,
        pixel_mean: Sequence[float] | None = None,
        pixel_std: Sequence[float] | None = None,
        **options: Any,
    ) -> None:
        self_config = {
            "name": name,
            "rank": rank,
            "in_chans": in_chans,
            "num_classes": num_classes,
            "seed": seed,
            "pixel_mean": list(pixel_mean or ()),
            "pixel_std": list(pixel_std or ()),
            **options,
        }

        def build() -> C.DenseEncoder:
            return C.create_dense(
                name,
                rank=rank,
                in_chans=in_chans,
                num_classes=num_classes,
                seed=seed,
                pixel_mean=list(pixel_mean or ()),
                pixel_std=list(pixel_std or ()),
                options=dict(options),
            )

        super().__init__(build)
        self.config = self_config
        self.rank, self.in_chans = rank, in_chans

    def layout_facts(self) -> tuple[str, tuple[int, ...]]:
        """As :meth:`Mirror.layout_facts`: the name up to the first digit or underscore."""
        state = self.state_dict()
        family = str(re.split(r"[_\d]", str(self.config["name"]).removeprefix("wide_"))[0])
        if family == "swin":
            window, rank = self.config.get("window_size", 7), state["patch_embed.proj.weight"].dim() - 2
            extents = [window] if isinstance(window, int) else list(window)
            extents = extents * rank if len(extents) == 1 else extents
            return family, tuple(2 * int(extent) - 1 for extent in extents)
        table = state.get("pos_embed")
        return family, () if table is None else tuple(table.shape[1:-1])

    def volume_options(self) -> dict[str, Any]:
        """Options that a network of volumes of the same architecture needs beside those of a 2-D one: Swin's sizes.

        They differ by rank where they are not given. Along the new axis, the last one, patches and windows have the
        smaller of their two sides.

        Examples:
            >>> from sslmed import nn
            >>> flat = nn.DenseNet("swin_tiny", window_size=4, depths=[1, 1, 1, 1])
            >>> deep = nn.DenseNet("swin_tiny", 3, 1, **flat.volume_options())
            >>> table = nn.inflate(flat, deep, axis=2)
            >>> deep.dim == flat.dim
            True
        """
        if self.layout_facts()[0] != "swin":
            return {}
        shapes = {name: tuple(value.shape) for name, value in self.state_dict().items()}
        blocks = [name for name in shapes if name.endswith("relative_position_bias_table")]
        stages = [name.split(".")[1] for name in blocks]
        patch, window = shapes["patch_embed.proj.weight"][2:], [(side + 1) // 2 for side in self.layout_facts()[1]]
        hidden, dim = shapes["layers.0.blocks.0.mlp.fc1.weight"]
        return {
            "style": "timm" if "norm.weight" in shapes else "monai",
            "embed_dim": dim,
            "depths": [stages.count(str(stage)) for stage in range(4)],
            "num_heads": [shapes[blocks[stages.index(str(stage))]][1] for stage in range(4)],
            "mlp_ratio": hidden / dim,
            "patch_size": [*patch, min(patch)],
            "window_size": [*window, min(window)],
        }

    def __repr__(self) -> str:
        return f"<DenseNet {self.config['name']}, rank {self.rank}>"

    @property
    def dim(self) -> int:
        """Width D of the features."""
        return int(self._handle.dim)

    @property
    def widths(self) -> list[int]:
        """Number of channels of each map of the pyramid, from fine to coarse."""
        return list(self._handle.widths)

    @property
    def strides(self) -> list[int]:
        """Number of input cells along an axis to a cell of each map of the pyramid."""
        return list(self._handle.strides)

    def forward(self, dense: torch.Tensor) -> torch.Tensor:
        """[B, C, spatial…] to [B, num_classes]; without a head, to pooled features [B, D].

        Raises:
            ValueError: The number of axes or channels differs, or an axis is too short.
        """
        out: torch.Tensor = self._handle.forward(dense)
        return out

    def forward_features(self, dense: torch.Tensor) -> torch.Tensor:
        """[B, C, spatial…] to the last map [B, D, spatial…].

        Raises:
            ValueError: The number of axes or channels differs, or an axis is too short.
        """
        out: torch.Tensor = self._handle.forward_features(dense)
        return out

    def features(
        self,
        dense: torch.Tensor,
        comm: C.Comm | None = None,
        drop_path: torch.Tensor | None = None,
        visible: torch.Tensor | None = None,
    ) -> Features:
        """Features of dense inputs; ``pyramid`` has the maps from fine to coarse.

        Args:
            dense: [B, C, spatial…].
            comm: Ranks (:func:`sslmed.distributed.ranks`) that batch normalization takes statistics over in training.
            drop_path: [2·depth, B] factors of the residual branches of each sample, of encoders that have blocks.
            visible: [B, cells of the last map…] bool, of convolutional networks: which cells of the last map are seen. The others are
                zero in the input and in every map, and batch normalization does not count them (sparse convolution by
                masking: SparK, arXiv 2301.03580). The extents of every map must be multiples of those of the last.

        Raises:
            ValueError: The number of axes or channels differs, or the encoder cannot leave out cells.
        """
        return Features(*self._handle.forward_dense(dense, comm, drop_path, visible))
