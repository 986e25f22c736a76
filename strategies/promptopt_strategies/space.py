"""Space and Genome: every complete prompt that the component library can build for a task, as points.

A point is a level for each choice and an ordered list of demonstrations. The seed prompts are points, exactly, and
parts that a study may not change have the seeds' levels alone.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import Self

from promptopt.errors import ConfigError
from promptopt.ids import canonical_json
from promptopt.layout import Layout, Turn, chat_layout, completion_layout, has_slots, inline_layout
from promptopt.prompt import Demo, PartValue, Prompt
from promptopt.strategy import Context
from promptopt_strategies.components import Answers, cues, describe_answers, labels, sentences, statements

Level = str | bool | Layout | Mapping[str, str]
Feature = tuple[str, str]

WRITTEN = "written"  # how the names of choices begin that were added while a search ran
SEPARATORS = ("\n\n", "\n", "\n---\n")
DEMO_STEPS = (0, 2, 4, 8)


@dataclass(frozen=True, slots=True)
class Choice:
    """One choice of the space: what it is called, and its levels by name; the seed's stands first."""

    name: str
    names: tuple[str, ...]
    levels: tuple[Level, ...]


@dataclass(frozen=True, slots=True)
class Genome:
    """A point of the space.

    Args:
        levels: The number of the level taken, one a choice.
        demos: The demonstrations shown, in order, by their number on the shelf.
    """

    levels: tuple[int, ...]
    demos: tuple[int, ...] = ()


@dataclass(frozen=True)
class Space:
    """All complete prompts for a task.

    Args:
        fields: The names of the input fields.
        seeds: The seed prompts that are points of it; the others cannot be mixed with the first.
        choices: What there is to choose besides the demonstrations.
        shelf: The seeds' own demonstrations, then those of the pool.
        max_demos: The most demonstrations shown; 0 where they may not change.
        demo_chars: The most characters of all demonstrations together.
    """

    fields: tuple[str, ...]
    seeds: tuple[Prompt, ...]
    choices: tuple[Choice, ...]
    shelf: tuple[Demo, ...]
    max_demos: int = 8
    demo_chars: int = 1600

    @classmethod
    def of(cls, context: Context, max_demos: int = 8, demo_chars: int = 1600) -> Self:
        """Return the space around the seeds of a context.

        Raises:
            ConfigError: The seeds are those of a suite, which share nothing of what there is to choose here.
        """
        if "layout" not in context.seeds[0].parts:
            raise ConfigError(
                "this strategy searches one task's own parts, and the tasks of a suite share the system text alone; "
                "take --strategy sprig-beam or sprig-ga."
            )
        inline = is_inline(context.seeds[0], context.fields)
        seeds = tuple(seed for seed in context.seeds if is_inline(seed, context.fields) == inline)
        answers = describe_answers(context)
        choices = (
            _choice("system", [seed.system for seed in seeds], ()),
            *_sentence_choices(context, seeds, answers, inline),
            *_layout_choices(context, seeds, inline),
            _cue_choice(context, seeds, answers, inline),
        )
        shown = any(_shows_demos(frame) for frame in next(c for c in choices if c.name == "frame").levels)
        free = "demos" in context.editable and shown
        own = [demo for seed in seeds for demo in seed.demos]
        drawn = [Demo.of(example) for example in context.pool] if free else []
        shelf = tuple({canonical_json([demo.inputs, demo.target]): demo for demo in [*own, *drawn]}.values())
        return cls(context.fields, seeds, choices, shelf, max_demos * free, demo_chars)

    @cached_property
    def seed_points(self) -> tuple[Genome, ...]:
        """The points whose prompts are the seeds."""
        return tuple(self._locate(seed) for seed in self.seeds)

    @cached_property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """The shelf by target, where each target stands there twice at least on average; else all as one group."""
        numbers = sorted(range(len(self.shelf)), key=lambda number: self.shelf[number].target)
        by_target = tuple(tuple(group) for _, group in groupby(numbers, key=lambda n: self.shelf[n].target))
        return by_target if 2 * len(by_target) <= len(numbers) else (tuple(range(len(numbers))),)

    @cached_property
    def free_choices(self) -> tuple[int, ...]:
        """The choices that have more than one level, by number."""
        return tuple(number for number, choice in enumerate(self.choices) if len(choice.levels) > 1)

    def fits(self, demos: Sequence[int]) -> bool:
        """Say whether these demonstrations may stand together: not too many, not too long."""
        chars = sum(sum(map(len, self.shelf[d].inputs.values())) + len(self.shelf[d].target) for d in demos)
        return len(demos) <= self.max_demos and chars <= self.demo_chars

    def with_sentences(self, texts: Sequence[str]) -> Self:
        """Return the space with one choice more: to add one of these sentences to the instruction, or none."""
        written = sum(choice.name.startswith(WRITTEN) for choice in self.choices)
        choice = _choice(f"{WRITTEN} {written + 1}", [""], texts)
        return replace(self, choices=(*self.choices, choice))

    def prompt(self, genome: Genome) -> Prompt:
        """Return the complete prompt of a point."""
        level = {c.name: c.levels[number] for c, number in zip(self.choices, genome.levels, strict=True)}
        frame, label, cue = level["frame"], level["label"], str(level["cue"])
        if not isinstance(frame, Layout) or not isinstance(label, Mapping):
            raise TypeError("the levels of 'frame' are layouts and those of 'label' mappings")
        layout = replace(frame, labels=label, separator=str(level["separator"]))
        if level["echo"]:
            layout = replace(layout, demo=_echo(str(level["task"]), cue, self.fields))
        parts: dict[str, PartValue] = {
            "system": str(level["system"]),
            "instruction": self._instruction(level),
            "demos": tuple(self.shelf[number] for number in genome.demos),
            "layout": layout,
            "answer_cue": cue,
        }
        return self.seeds[0].replace(**parts)

    def features(self, genome: Genome) -> tuple[Feature, ...]:
        """Return the choices of a point in words, as an effect model counts them."""
        taken = [(self.choices[c].name, self.choices[c].names[genome.levels[c]]) for c in self.free_choices]
        if self.max_demos:
            taken.append(("demos", _count(len(genome.demos))))
            taken.extend(self.demo_feature(number) for number in sorted(set(genome.demos)))
        return tuple(taken)

    def demo_feature(self, number: int) -> Feature:
        """Return a demonstration of the shelf as an effect model counts it."""
        return "demo", _title(self.shelf[number])

    def _instruction(self, level: Mapping[str, Level]) -> str:
        task = str(level["task"])
        written = [name for name in level if name.startswith(WRITTEN)]
        added = [str(level[name]) for name in ("definition", "options", "form", "care", *written)]
        if has_slots(task, self.fields):  # an inline text keeps its end, where the answer goes
            before = " ".join(filter(None, [str(level["role"]), *added]))
            return f"{before}\n{task}" if before else task
        gap = "\n" if "\n" in task else " "
        return gap.join(filter(None, [str(level["role"]), task, *added]))

    def _locate(self, seed: Prompt) -> Genome:
        wanted: dict[str, Level] = {
            "system": seed.system,
            "task": seed.instruction,
            "frame": _bare(seed.layout),
            "separator": seed.layout.separator,
            "label": dict(seed.layout.labels),
            "cue": seed.answer_cue,
        }
        levels = [c.levels.index(wanted[c.name]) if c.name in wanted else 0 for c in self.choices]
        return Genome(tuple(levels), tuple(self.shelf.index(demo) for demo in seed.demos))


def is_inline(prompt: Prompt, fields: Sequence[str]) -> bool:
    """Say whether a prompt's own text shows where the fields go."""
    fixed = [block for turn in prompt.layout.fixed_turns for block in turn.blocks]
    return any(has_slots(text, fields) for text in (prompt.instruction, prompt.system, *fixed))


def _choice(name: str, own: Sequence[Level], more: Sequence[Level], names: Mapping[str, str] | None = None) -> Choice:
    """Return a choice of the seeds' levels and some more, each value once."""
    levels: dict[str, Level] = {}
    for level in [*own, *more]:
        levels.setdefault(canonical_json(_plain(level)), level)
    titles = [(names or {}).get(key) or _level_name(level) for key, level in levels.items()]
    return Choice(name, tuple(titles), tuple(levels.values()))


def _sentence_choices(context: Context, seeds: Sequence[Prompt], answers: Answers, inline: bool) -> list[Choice]:
    library = sentences(context, "" if inline else seeds[0].instruction, answers)
    free = "instruction" in context.editable
    choices = []
    for name, texts in library.items():
        own = [seed.instruction for seed in seeds] if name == "task" else [""]
        kept = free and not (inline and name == "task")
        choices.append(_choice(name, own, texts if kept else ()))
    return choices


def _layout_choices(context: Context, seeds: Sequence[Prompt], inline: bool) -> list[Choice]:
    free = "layout" in context.editable
    # No other frame has a place for messages of the user's own.
    kept = any(seed.layout.fixed_turns for seed in seeds)
    frames = {} if kept else _inline_frames(context, seeds) if inline else _frames(context, seeds)
    own_labels = [dict(seed.layout.labels) for seed in seeds]
    own_frames = [_bare(seed.layout) for seed in seeds]
    names = {canonical_json(frame.to_json()): name for name, frame in frames.items()}
    return [
        _choice("frame", own_frames, [*frames.values()] if free else [], names),
        _choice("separator", [seed.layout.separator for seed in seeds], SEPARATORS if free else ()),
        _choice("label", own_labels, _label_sets(context, seeds[0]) if free and not inline else ()),
        _choice("echo", [False], [True] if free and has_slots(seeds[0].instruction, context.fields) else []),
    ]


def _frames(context: Context, seeds: Sequence[Prompt]) -> dict[str, Layout]:
    """Return the ways to lay a prompt out, in the modes that the model takes."""
    stop = _stop(context, seeds)
    text = _bare(completion_layout({}, stop=stop))
    one_line = replace(
        text,
        turns=(Turn("text", ("{system}", "{instruction}", "{demos}", "{fields} {answer_cue}")),),
        demo="{fields} {answer_cue} {target}",
    )
    spoken = {
        f"text, {said}": replace(
            text,
            turns=(Turn("text", ("{system}", "{instruction}", "{demos}", said)),),
            demo=f"{said} {{target}}",
        )
        for said in statements(context, seeds[0].instruction)
    }
    frames = {
        "text": text,
        "text, input first": _bare(completion_layout({}, input_first=True, stop=stop)),
        "text, one line": one_line,
        **spoken,
        "chat, demos as turns": _bare(chat_layout({}, demo_turns=True)),
        "chat": _bare(chat_layout({})),
    }
    return {name: frame for name, frame in frames.items() if frame.mode in context.modes}


def _inline_frames(context: Context, seeds: Sequence[Prompt]) -> dict[str, Layout]:
    stop = _stop(context, seeds)
    layouts = {
        "text": inline_layout("completion", {}, stop),
        "chat": inline_layout("chat", {}),
    }
    return {name: _bare(layout) for name, layout in layouts.items() if layout.mode in context.modes}


def _stop(context: Context, seeds: Sequence[Prompt]) -> tuple[str, ...]:
    """Return the strings that end a completion: the seed's, else the shortest break that no target contains."""
    own = [seed.layout.stop for seed in seeds if seed.layout.mode == "completion" and seed.layout.stop]
    targets = [example.target.strip() for example in (*context.pool, *context.search)]
    breaks = [stop for stop in ("\n", "\n\n") if not any(stop in target for target in targets)]
    return own[0] if own else tuple(breaks[:1])


def _label_sets(context: Context, seed: Prompt) -> list[Mapping[str, str]]:
    if len(context.fields) == 1:
        return [{context.fields[0]: name} if name else {} for name in labels(context, seed.instruction)]
    spoken = {field: field.replace("_", " ") for field in context.fields}
    return [{field: name.capitalize() for field, name in spoken.items()}, spoken]


def _cue_choice(context: Context, seeds: Sequence[Prompt], answers: Answers, inline: bool) -> Choice:
    own = [seed.answer_cue for seed in seeds]
    # A text that ends with a colon of its own has its cue inside.
    has_cue = inline and not own[0] and seeds[0].instruction.rstrip().endswith((":", ">"))
    free = "answer_cue" in context.editable and not has_cue
    return _choice("cue", own, cues(context, "" if inline else seeds[0].instruction, answers) if free else ())


def _echo(task: str, cue: str, fields: Sequence[str]) -> str:
    """Return a demonstration's form that repeats the inline text from its first field on."""
    lines = task.rstrip().split("\n")
    first = next(n for n, line in enumerate(lines) if has_slots(line, fields))
    tail = "\n".join(lines[first:])
    if cue:
        return f"{tail}\n{{answer_cue}} {{target}}"
    return f"{tail} {{target}}" if tail.endswith((":", ">")) else f"{tail}\n{{target}}"


def _bare(layout: Layout) -> Layout:
    """Return the layout without what other choices decide."""
    return replace(layout, labels={}, separator=SEPARATORS[0])


def _shows_demos(frame: Level) -> bool:
    if not isinstance(frame, Layout):
        return False
    return any(turn.role == "demos" or "{demos}" in "".join(turn.blocks) for turn in frame.turns)


def _plain(level: Level) -> Hashable | dict[str, object]:
    return level.to_json() if isinstance(level, Layout) else dict(level) if isinstance(level, Mapping) else level


def _level_name(level: Level) -> str:
    if isinstance(level, Layout):
        return "the seed's"
    if isinstance(level, Mapping):
        return ", ".join(level.values()) or "none"
    if isinstance(level, bool):
        return "yes" if level else "no"
    return level.replace("\n", "\\n") if level else "none"


def _count(n: int) -> str:
    """Return the class of a number of demonstrations."""
    upper = next((step for step in DEMO_STEPS if n <= step), n)
    lower = next((step + 1 for step in reversed(DEMO_STEPS) if step < upper), upper)
    return str(upper) if lower >= upper else f"{lower}-{upper}"


def _title(demo: Demo) -> str:
    text = " / ".join(demo.inputs.values())
    return f"{text} > {demo.target}"
