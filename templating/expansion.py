"""The expansion of prompt templates: the same prompt for the same seed, in any process."""

from __future__ import annotations

from random import Random

from dynamicprompts.commands import Command, VariantCommand, WildcardCommand
from dynamicprompts.enums import SamplingMethod
from dynamicprompts.samplers.random import RandomSampler
from dynamicprompts.sampling_context import SamplingContext
from dynamicprompts.sampling_result import SamplingResult
from dynamicprompts.types import ResultGen
from dynamicprompts.utils import choose_without_replacement
from dynamicprompts.wildcards import WildcardManager

from contract.errors import ErrorCode, RequestError
from templating.grammar import parse, restore
from templating.wildcards import Wildcards

MAX_CHOICES = 300


def expand(template: str, seed: int, wildcards: Wildcards) -> str:
    """Make every choice of a template at random.

    Args:
        template: as ``templating.grammar`` says.
        seed: of the random numbers.
        wildcards: what ``__names__`` stand for.

    Raises:
        RequestError: ``invalid_request`` for what is no template; ``out_of_range`` for one that
            is too large or has choices without weight, and for a wildcard that is not there.
    """
    command = parse(template)
    context = SamplingContext(
        default_sampling_method=SamplingMethod.RANDOM,
        # Not asked for anything: the sampler has the wildcards.
        wildcard_manager=WildcardManager(),
        samplers={SamplingMethod.RANDOM: _Sampler(wildcards)},
        rand=Random(seed),  # noqa: S311
    )
    try:
        return restore(next(context.generator_from_command(command)).text)
    except RecursionError:
        raise _too_many() from None
    except ValueError:
        raise RequestError(
            ErrorCode.OUT_OF_RANGE,
            "prompt has a choice whose weights leave nothing to choose: as many must be above 0 as "
            "are taken, and none infinite",
            field="prompt",
        ) from None


class _Sampler(RandomSampler):
    """The library's, which stops after ``MAX_CHOICES``, parses of a wildcard's values only those
    that it has chosen, and refuses a wildcard that is not there.

    Args:
        wildcards: what there is; the library's manager of wildcards is not asked.
    """

    def __init__(self, wildcards: Wildcards) -> None:
        self._wildcards = wildcards
        self._left = MAX_CHOICES

    def generator_from_command(self, command: Command, context: SamplingContext) -> ResultGen:
        if isinstance(command, VariantCommand | WildcardCommand):
            self._spend(1)
        return super().generator_from_command(command, context)

    def _get_wildcard(self, command: WildcardCommand, context: SamplingContext) -> ResultGen:
        yield self._from_wildcard(command, VariantCommand([]), context)

    def _get_variant(self, command: VariantCommand, context: SamplingContext) -> ResultGen:
        match command.values:
            case [WildcardCommand() as only]:
                yield self._from_wildcard(only, command, context)
            case _:
                yield from super()._get_variant(command, context)

    def _from_wildcard(
        self, wildcard: WildcardCommand, among: VariantCommand, context: SamplingContext
    ) -> SamplingResult:
        """As many values of a wildcard as the bounds of ``among`` say."""
        name = wildcard.wildcard
        if isinstance(name, Command):
            name = next(context.generator_from_command(name)).text
        values = self._wildcards.get(restore(name))
        most = min(among.max_bound, len(values))
        count = context.rand.randint(min(among.min_bound, most), most)
        self._spend(count)
        chosen = choose_without_replacement(
            values.string_values,
            weights=[getattr(item, "weight", 1.0) for item in values.items],
            num_choices=count,
            rand=context.rand,
        )
        texts = [next(context.generator_from_command(parse(value))) for value in chosen]
        return SamplingResult.joined(texts, separator=among.separator)

    def _spend(self, choices: int) -> None:
        self._left -= choices
        if self._left < 0:
            raise _too_many()


def _too_many() -> RequestError:
    return RequestError(
        ErrorCode.OUT_OF_RANGE,
        f"prompt takes more than {MAX_CHOICES} choices, those of its wildcards included",
        field="prompt",
    )
