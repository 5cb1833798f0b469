"""The embedded job: synthetic cohorts written as real files, pretraining, transfer and shift. Every output says SYNTHETIC."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from sslmed import shift
from sslmed.demo import eeg, mri, slides
from sslmed.demo.job import STAMP, Job
from sslmed.evaluation import transfer
from sslmed.pretraining import pretrain
from sslmed.reporting.escape import write_csv
from sslmed.reporting.page import write_report

__all__ = ["DEMOS", "STAMP", "Job", "run_demo"]

DEMOS: dict[str, tuple[Callable[[Path, tuple[int, int], int, int], Job], tuple[int, int], int]] = {
    "eeg": (eeg.make, (48, 60), 30),
    "slides": (slides.make, (20, 30), 10),
    "mri": (mri.make, (24, 42), 40),
}
"""By modality: what writes the cohorts, and the default numbers of subjects at the two sites and of epochs."""


def run_demo(
    out: Path,
    *,
    modality: str | None = None,
    seed: int = 0,
    subjects: tuple[int, int] | None = None,
    epochs: int | None = None,
    threads: int = 2,
    progress: bool = True,
) -> Path:
    """Writes both cohorts, pretrains, transfers and reports; returns the path of the page.

    Leaves in ``out``: ``data/``, ``run/``, ``transfer.csv``, ``shift.csv`` and ``report.html``.

    Args:
        out: Folder to make.
        modality: Name of a modality that has a demo; None: the first of :data:`DEMOS`.
        seed: Seed of the cohorts and the run.
        subjects: Number of subjects of the public site and of the clinic.
        epochs: Number of epochs of the pretraining.
        threads: Number of loader threads.
        progress: Show progress.

    Raises:
        ValueError: The modality is unknown.
    """
    modality = modality or next(iter(DEMOS))
    if modality not in DEMOS:
        raise ValueError(f"demo: modality={modality!r}, expected one of {', '.join(DEMOS)}")
    write, default_subjects, default_epochs = DEMOS[modality]
    subjects = subjects or default_subjects

    def say(text: str) -> None:
        if progress:
            from rich.console import Console

            Console().print(text, highlight=False, markup=False, style="bold" if text == STAMP else "")

    say(STAMP)
    say(f"1/4 writing the files of {subjects[0]} + {subjects[1]} subjects")
    job = write(out, subjects, seed, threads)
    say("2/4 pretraining on the public site, without labels")
    run = pretrain(
        job.public,
        encoder="vit_tiny",
        out=out / "run",
        epochs=default_epochs if epochs is None else epochs,
        depth=4,
        seed=seed,
        threads=threads,
        progress=progress,
        resume=(out / "run" / "checkpoints").exists(),
        **job.settings,
    )
    if run.interrupted:
        raise KeyboardInterrupt
    say("3/4 transfer to the clinic: diagnosis, then age as positive control")
    results = {target: transfer(run.encoder, job.clinic, target, pooling=job.pooling, seed=seed, threads=threads) for target in ("diagnosis", "age")}
    say("4/4 shift between the sites")
    shifted = shift.report(job.public, job.clinic, run.encoder, by=job.by, target="age", seed=seed, threads=threads)

    transferred = pd.concat([r.table.assign(target=name, data="SYNTHETIC") for name, r in results.items()], ignore_index=True)
    write_csv(transferred, out / "transfer.csv")
    write_csv(shifted.table.assign(data="SYNTHETIC"), out / "shift.csv")
    sections = [("Pretraining loss (public site)", None, [run.plot().figure])]
    for target, result in results.items():
        metric = "balanced_accuracy" if target == "diagnosis" else "mae"
        sections.append((f"Transfer to the clinic: {target}", result.table, [result.plot(metric=metric).figure]))  # type: ignore[arg-type]
    sections.append(("Shift from the public site to the clinic", shifted.table, [shifted.plot()]))  # type: ignore[arg-type]
    page = out / "report.html"
    write_report(page, f"sslmed demo: {job.public.name} → {job.clinic.name}", sections, notes=[job.note], stamp=STAMP)
    for name, result in results.items():
        say(f"\n{name} (SYNTHETIC)\n{result.table.to_string(index=False, float_format='%.3f')}")
    say(f"\nreport: {page}")
    return page
