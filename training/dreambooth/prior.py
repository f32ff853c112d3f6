"""Pictures by the base itself, so that training on the subject does not make it forget the rest:
the prior preservation of DreamBooth (Ruiz et al. 2022, section 3.2)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

from accelerate import PartialState
from PIL import Image
from tqdm import tqdm

from contract.errors import RequestError
from templating.expansion import expand
from templating.wildcards import Wildcards
from training.dreambooth.errors import TrainingError
from training.dreambooth.options import Options

# A picture of each prompt, from its seed.
Generate: TypeAlias = Callable[[Sequence[str], Sequence[int]], Iterable[Image.Image]]


def class_prompts(options: Options) -> list[str]:
    """A prompt for each class picture, as the template allows: picture ``i`` by ``seed + i``.

    Raises:
        TrainingError: it is no template.
    """
    seeds = range(options.seed, options.seed + options.class_images)
    try:
        return [expand(options.class_prompt, seed, Wildcards({})) for seed in seeds]
    except RequestError as error:
        raise TrainingError(f"--class-prompt '{options.class_prompt}': {error}.") from error


def class_pictures(
    generate: Generate, options: Options, folder: Path, *, shared: bool = True
) -> list[tuple[Image.Image, str]]:
    """The picture of each class prompt, and the prompt: out of the folder, or else generated and
    put there.

    The processes of a run share the work; those of one machine alone, if ``shared`` is false.
    """
    folder.mkdir(parents=True, exist_ok=True)
    prompts = class_prompts(options)
    files = [folder / f"{number:05}.png" for number in range(len(prompts))]
    state = PartialState()
    first, count = state.process_index, state.num_processes
    if not shared:
        # As torchrun, accelerate's launcher and Ray Train say it.
        first, count = state.local_process_index, int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    own = range(first, len(prompts), count)
    missing = [number for number in own if not files[number].exists()]
    if missing:
        pictures = generate(
            [prompts[number] for number in missing], [options.seed + number for number in missing]
        )
        bar = tqdm(
            zip(missing, pictures, strict=True),
            desc="class pictures",
            total=len(missing),
            disable=not state.is_main_process,
        )
        for number, picture in bar:
            partial = files[number].with_suffix(".partial")
            picture.save(partial, format="PNG")
            partial.replace(files[number])
    state.wait_for_everyone()
    return [(_read(file), prompt) for file, prompt in zip(files, prompts, strict=True)]


def _read(file: Path) -> Image.Image:
    with Image.open(file) as image:
        return image.convert("RGB")
