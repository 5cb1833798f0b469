"""What a modality is: how its files are recognized and read, how its samples are cut, and what its classical features are."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import pandas as pd
import torch

from sslmed import digests
from sslmed._checks import OnError
from sslmed._core import C
from sslmed.bids import Kind, LeftOut

__all__ = ["Array", "Baseline", "Copy", "LabelMaps", "Mask", "Modality", "OnError", "OneRow", "Preprocessing", "Ratio", "Rows", "StreamedLabelMaps"]

Array = np.ndarray[Any, Any]

Mask = Literal["none", "random", "bernoulli", "time", "channel", "space", "multiblock", "multiblock_exact", "block"]
"""Which tokens the loader's threads hide."""

Ratio = float | tuple[float, float]
"""Share of tokens that are hidden, or the lowest and the highest, from which each mask draws its own."""


class Copy(NamedTuple):
    """Two rows of which one is a copy of the other, or of a part of it."""

    a: int
    """Number of the one row."""
    b: int
    """Number of the other row, a < b."""
    similarity: float
    """Correlation of the two where they overlap, from 0 to 1."""


class Rows(Protocol):
    """What a modality sees of a :class:`sslmed.Cohort`: rows that are all of this modality."""

    table: pd.DataFrame
    name: str
    cache: dict[str, Any]
    """Kept for the modality, which may put there what it has read of the files."""

    @property
    def arrays(self) -> Sequence[Any] | None:
        """What the modality's reader keeps in memory of each row, None for a row that is a file; None: all rows are files."""
        ...


@dataclass
class OneRow:
    """A row of a cohort, for what takes cohorts (:class:`Rows`)."""

    table: pd.DataFrame
    name: str
    arrays: Sequence[Any] | None
    cache: dict[str, Any] = field(default_factory=dict)


class Preprocessing(Protocol):
    """What happens to samples before an encoder sees them: a frozen dataclass, saved with the encoder and applied again with it."""

    modality: ClassVar[str]
    augmentation: ClassVar[Any]
    """What pretraining does to samples by default; None: nothing."""

    def recipe(
        self,
        *,
        mask: Mask = "none",
        ratio: Ratio | None = None,
        block: int = 2,
        radius: float = 30.0,
        complementary: bool = False,
        augmentation: Any = None,
        views: Any = None,
    ) -> C.Recipe:
        """How samples are cut into patches, or left dense, and masked. ``views``: several views, as :meth:`contrast` gives them."""
        ...

    def contrast(self, style: Any = "simclr", local: int = 0, local_size: Any = None) -> Any:
        """Views of each sample for methods that compare them, with the modality's own random changes: for ``views`` of :meth:`recipe`.

        Args:
            style: "simclr": two views of the role "global", drawn alike; "byol": two that are changed differently; "dino": the same
                two and ``local`` smaller ones of the role "local".
            local: Number of local views.
            local_size: Their size in the modality's unit; None: DINO's share of the global ones'.
        """
        ...

    def dense(self) -> Any:
        """The same preprocessing with dense views, for networks that take no patches."""
        ...

    def embedding(self) -> dict[str, Any]:
        """What an encoder must know of its tokens: keywords of the C++ vision transformer. An empty ``img_size`` means that inputs are never dense."""
        ...


@dataclass(frozen=True)
class Baseline:
    """How features that need no network are scored beside an encoder."""

    probe: str | None = None
    """Probe that suits them: "linear", "forest"; None: that of the protocol."""
    adapts: bool = True
    """Whether an adaptation of the encoder's features is applied to them too."""
    corrects: bool = True
    """Whether a bias correction of the encoder's predictions is applied to theirs too."""
    acquisition: bool = False
    """Whether they tell how a row was recorded, and next to nothing of the person: what predicts the target as well as they do may be the device."""


class LabelMaps(Protocol):
    """Rows of a cohort as whole arrays with their label maps: what segmentation is evaluated on."""

    def __len__(self) -> int: ...

    def read(self, row: int) -> torch.Tensor:
        """The sample of a row as an encoder of dense inputs takes it, [C, spatial…]."""
        ...

    def inside(self, row: int) -> torch.Tensor | None:
        """Cells of :meth:`read` that hold anatomy, [spatial…] bool; None: all that there are."""
        ...

    def truth(self, row: int) -> torch.Tensor | None:
        """The label map of a row [spatial…] int32, on the grid of :meth:`placed`; -1 where nothing is known; None: the row has none."""
        ...

    def placed(self, row: int, labels: torch.Tensor, outside: int) -> torch.Tensor:
        """Labels [spatial…] on the grid of :meth:`read` brought to the grid of the row's file; ``outside`` where that reaches further."""
        ...

    def spacing(self, row: int) -> tuple[float, ...] | None:
        """Size in mm of a cell of the row's file along each axis; None where it is not known."""
        ...

    def write(self, row: int, labels: torch.Tensor, stem: str) -> str:
        """Writes labels on the grid of :meth:`placed` to a file whose path begins with ``stem``, and gives its path."""
        ...

    def write_scores(self, row: int, scores: torch.Tensor, stem: str) -> str:
        """Writes float32 scores on the grid of :meth:`placed` to a file whose path begins with ``stem``, and gives its path."""
        ...


@runtime_checkable
class StreamedLabelMaps(Protocol):
    """Rows that are too large for :class:`LabelMaps`: predictions and references come band by band."""

    values: list[int]
    """What each class is in the label maps, the background first."""
    names: tuple[str, ...]
    """Names of the classes."""

    def __len__(self) -> int: ...

    def bands(self, row: int, predictor: Any, **how: Any) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Prediction and reference of a row, [rows, W] int32 each, from top to bottom; -1 in the reference where nothing is known.

        ``how``: size, overlap, convention, flips, device, as in :func:`sslmed.inference.tiled`.
        """
        ...

    def predict(self, row: int, predictor: Any, stem: str, form: Any, **how: Any) -> Any:
        """Writes the prediction of a row to files whose paths begin with ``stem``; what it gives has their paths as ``files``."""
        ...


class Modality(ABC):
    """A kind of data: derive, set the attributes, define :meth:`source`, and call :func:`sslmed.modalities.register` with an instance."""

    name: ClassVar[str]
    """Key in the registry, in saved encoders, and in a cohort's column ``modality``."""
    preprocessing: ClassVar[type[Any]]
    """Frozen dataclass that follows :class:`Preprocessing` and has a default for every field."""
    rows: ClassVar[str] = "rows"
    """Plural noun for the rows of a cohort."""
    samples: ClassVar[str] = "samples"
    """Plural noun for what is cut out of a row."""
    poolings: ClassVar[tuple[str, ...]] = ("mean", "cls")
    """How an encoder's tokens become the features of a sample."""
    baselines: ClassVar[Mapping[str, Baseline]] = {}
    """Classical features by name, the plainest first."""
    files: ClassVar[tuple[str, ...]] = ()
    """Endings of file names, in lower case, by which a folder's or a table's files are recognized."""
    bids: ClassVar[tuple[str, ...]] = ()
    """Endings of file names in a BIDS folder, in lower case."""
    bids_folders: ClassVar[tuple[str, ...]] = ()
    """Names of the data type's folders, where only raw files are of it; empty: files anywhere are, as masks in derivatives/."""
    bids_parts: ClassVar[tuple[str, ...]] = ()
    """Endings of files that belong to others."""
    bids_sidecars: ClassVar[tuple[str, ...]] = ()
    """Endings of files that tell of others, such as "_channels.tsv"."""
    other_formats: ClassVar[str] = ""
    """What to do with files of another format."""
    index_options: ClassVar[tuple[str, ...]] = ("threads",)
    """Options of :meth:`index`."""
    prepare_options: ClassVar[tuple[str, ...]] = ("threads",)
    """Options of :meth:`prepare`."""
    likeness: ClassVar[str] = ""
    """Of which kind the fingerprints of rows are: rows of modalities with the same kind are compared with each other. Empty: there are none."""
    has_label_maps: ClassVar[bool] = False
    """Whether rows are whole arrays with label maps, see :meth:`label_maps`."""
    readers: ClassVar[Mapping[str, Callable[..., tuple[pd.DataFrame, list[Any]]]]] = {}
    """Functions that make a table and an array a row of data in memory, by the name of the constructor of :class:`sslmed.Cohort`."""

    def recognizes(self, table: pd.DataFrame) -> bool:
        """Whether a table without a column ``modality`` lists this modality. By default, by the ending of its first path."""
        return str(table["path"].iloc[0]).lower().endswith(self.files) if self.files else False

    def refuse(self, table: pd.DataFrame, name: str) -> None:  # noqa: B027
        """ValueError for rows that are of this modality but cannot be used yet."""

    def in_bids(self) -> Kind:
        """What files are called in a BIDS folder."""
        return Kind(self.bids, self.bids_folders, self.bids_parts, self.other_formats, self.bids_sidecars)

    def gather(self, table: pd.DataFrame, sidecars: Mapping[str, Sequence[str]]) -> pd.DataFrame:
        """The rows of a cohort, from the files of a BIDS folder one a row; by default as they are.

        Args:
            table: One file a row.
            sidecars: Paths of the folder's files that tell of others, by the endings in ``bids_sidecars``.
        """
        return table

    def listed(self, table: pd.DataFrame) -> pd.DataFrame:
        """The rows of a cohort, from the files of any folder one a row, with ``path`` and ``subject``; by default all of them.

        Raises:
            FormatError: The files are known by a table, which is to be opened instead.
        """
        return table

    def opens(self, folder: Path) -> Path | None:
        """The table to open in the place of a folder that :meth:`prepare` wrote; by default None: the folder is not one.

        Raises:
            ReadError: The folder is one, but its table is missing.
        """
        return None

    def default(self, rows: Rows) -> Any:
        """The preprocessing of a cohort for which none is given; by default the defaults of all fields."""
        return self.preprocessing()

    def dense(self, rows: Rows, preprocessing: Any) -> Any:
        """A preprocessing with dense views that suit a cohort, for networks that take no patches; by default its own ``dense()``.

        Raises:
            ValueError: Something of it must be known first, such as a size.
        """
        return preprocessing.dense()

    def without(self, preprocessing: Any) -> dict[str, Any]:
        """For each source that samples can do without, such as a sequence, the preprocessing without it; by default none.

        Transfers score an encoder with each of them: what a source contributes.
        """
        return {}

    def columns(self, table: pd.DataFrame) -> list[str]:
        """Columns of the table that features depend on; by default all of them. Those named ``path_…`` hold further files."""
        return list(table.columns)

    def choices(self, table: pd.DataFrame) -> list[str]:
        """Columns by which the same files give other samples: a run that they changed for goes on with other data. By default all of :meth:`columns`."""
        return [column for column in self.columns(table) if column not in ("path", "subject")]

    @abstractmethod
    def source(
        self,
        rows: Rows,
        preprocessing: Any,
        *,
        extra_channels: Sequence[str] = (),
        stride: float = 0.0,
        random: bool = False,
        targets: Mapping[str, Sequence[float]] | None = None,
    ) -> C.Source:
        """The samples of all rows as a C++ source.

        Args:
            rows: A cohort of this modality.
            preprocessing: Applied to every sample.
            extra_channels: Channel names without a standard position for which the encoder has a learned row.
            stride: Distance between samples in the modality's unit; 0: they adjoin.
            random: Draw places at random, for training.
            targets: Numbers by name, one a row, that samples carry.
        """

    def labeled(self, rows: Rows, preprocessing: Any) -> Any:
        """The preprocessing whose samples carry the label maps of the rows; by default that with ``labels=True``."""
        return replace(preprocessing, labels=True)

    def label_maps(self, rows: Rows, preprocessing: Any) -> LabelMaps | StreamedLabelMaps:
        """The rows with their label maps (column ``path_labels``), for segmentation: as whole arrays, or band by band.

        Raises:
            ValueError: The modality has no label maps.
        """
        raise ValueError(f"{rows.name}: {self.rows} have no label maps; segmentation is for images and volumes")

    def extra_channels(self, rows: Rows) -> list[str]:
        """Channel names for which an encoder needs a learned row, with a warning if there are any; by default none."""
        return []

    def pooling(self, name: str) -> C.Pooling:
        """How tokens become the features of a sample, by one of :attr:`poolings`."""
        return {"mean": C.Pooling.mean, "cls": C.Pooling.cls}[name]()

    def describe(self, source: C.Source) -> dict[str, Any]:
        """What identifies a source's content, for the configuration in a checkpoint."""
        return {self.samples: len(source)}

    def members(self, path: str | os.PathLike[str]) -> Sequence[str | os.PathLike[str]]:
        """Files that are read for a listed one, such as both of a pair; by default that one.

        Raises:
            OSError: The file cannot be read.
        """
        return [path]

    def data_file(self, path: str | os.PathLike[str]) -> str | os.PathLike[str]:
        """The file that holds the signal of a listed file; by default that file. A header that is a file of its own is not its data.

        Raises:
            OSError: The file cannot be read.
        """
        return path

    def body(self, path: str | os.PathLike[str]) -> int:
        """Byte of a file where its signal starts, after a header that may name a person; by default 0: the whole file counts.

        Raises:
            OSError: The file cannot be read.
        """
        return 0

    def content(self, path: str | os.PathLike[str]) -> bytes:
        """Digest of what a :meth:`data_file` holds from :meth:`body` on.

        It is the same for a copy under another name, or with another person's name in its header.

        Large files are known by their size and three pieces (:func:`sslmed.digests.of_file`). Of a recording that is spread over several files, only
        the listed one counts. A modality with headers defines :meth:`body`, not this.

        Raises:
            OSError: The file cannot be read.
        """
        return digests.of_file(self.data_file(path), self.body(path))

    def fingerprint(self, rows: Rows) -> Any:
        """What :meth:`copies` compares of one row; by default a ValueError: there is none.

        Args:
            rows: A cohort with one row.

        Raises:
            FormatError, ReadError: The file cannot be read.
            ValueError: There is too little of it.
        """
        raise ValueError(f"{rows.name}: {self.rows} have no fingerprints")

    def copies(self, fingerprints: Sequence[Any], groups: Array) -> Iterable[Copy]:
        """Pairs of rows of which one is a copy of the other, or of a part of it, by their fingerprints; by default none.

        Args:
            fingerprints: Of modalities with this :attr:`likeness`.
            groups: A number for each of them; those with the same one are not compared.
        """
        return ()

    def index(self, rows: Rows, out: str | os.PathLike[str] | None, **options: Any) -> pd.DataFrame | None:
        """The table with columns that make it open without touching a file, also written to ``out``.

        None where another process has still to do a part. By default a ValueError: there is nothing to index.
        """
        raise ValueError(f"{rows.name}: {self.rows} need no index, the cohort opens as it is")

    def prepare(self, rows: Rows, out: str | os.PathLike[str], **options: Any) -> pd.DataFrame | None:
        """The table of a cohort whose files were prepared once and for all, in the folder ``out``.

        None where another process has still to do a part. By default a ValueError: there is nothing to prepare.
        """
        raise ValueError(f"{rows.name}: {self.rows} need no preparation, they are read as they are")

    def check(self, rows: Sequence[Rows], preprocessing: Any) -> None:  # noqa: B027
        """ValueError for a preprocessing of a new encoder that asks for something that cohorts of this modality do not have."""

    def check_channels(self, rows: Sequence[Rows], channels: Sequence[str], exclude: Sequence[str]) -> None:
        """ValueError for names of channels that no row has; by default of all names: there are no channels."""
        raise ValueError(f"{rows[0].name}: channels={list(channels)}, exclude={list(exclude)}: {self.rows} have no channels")

    def with_chosen_channels(self, table: pd.DataFrame, channels: Sequence[str], exclude: Sequence[str]) -> pd.DataFrame:
        """A cohort's table after ``use_channels`` and ``exclude_channels`` were set in it; by default as it is."""
        return table

    def channel_report(self, rows: Rows) -> pd.DataFrame:
        """What each channel's name is taken for, see :meth:`sslmed.Cohort.channel_report`; by default a ValueError: there are no channels."""
        raise ValueError(f"{rows.name}: channel_report: {self.rows} have no channels")

    def epochs(self, rows: Rows, names: Sequence[str], *, column: str, tmin: float, tmax: float | None) -> tuple[pd.DataFrame, list[LeftOut]]:
        """The table of spans that events name, see :meth:`sslmed.Cohort.epochs`; by default a ValueError: there are no events."""
        raise ValueError(f"{rows.name}: epochs: {self.rows} have no events")

    def summary(self, table: pd.DataFrame) -> str:
        """What an index holds, in a few words after the number of rows and subjects."""
        return ""

    def comparable(self, cohorts: Sequence[Rows]) -> bool:
        """Whether classical features of these cohorts have the same columns."""
        return True

    def features(self, cohorts: Sequence[Rows], names: Collection[str], *, threads: int = 2, on_error: OnError = "raise") -> list[dict[str, Array]]:
        """Classical features of each cohort by name, [rows, …]; NaN for a row of which nothing could be read with ``on_error="skip"``."""
        raise ValueError(f"features: names={list(names)}, expected none: there are no classical features of {self.rows}")
