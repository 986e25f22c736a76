"""Draw a stored study as a small SVG: every prompt's mean on the search rows, and the best as the search saw it."""

from html import escape

from promptopt.store.store import Store

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 300, 44, 92, 14, 40
STYLE = (
    "text{font:12px sans-serif;fill:#444}.axis{stroke:#bbb}.prompt{fill:#9db8d2}.best{fill:none;stroke:#c0392b;"
    "stroke-width:2}.chance{fill:none;stroke:#555;stroke-dasharray:4 3}.test{stroke:#222;stroke-width:2}"
)


def plot(path, name):
    """Return the strategy of a finished study and its picture."""
    with Store.open(path, create=False, read_only=True) as store:
        row = store.study(name)
        first, best, chances, means = history(store, row)
    spec, summary = row.config["spec"], row.summary
    plan = summary["evaluations"]

    def at(x, y):
        across, down = x / plan * (WIDTH - LEFT - RIGHT), (1 - y) * (HEIGHT - TOP - BOTTOM)
        return f"{LEFT + across:.1f}", f"{TOP + down:.1f}"

    drawn = [f'<desc>{escape(caption(spec, row, summary, chances), quote=False)}</desc>', f"<style>{STYLE}</style>",
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>', *axes(at, plan)]
    for prompt, x in first.items():
        across, down = at(x, means[prompt])
        drawn.append(f'<circle class="prompt" cx="{across}" cy="{down}" r="3"/>')
    lines = {"chance": chances, "best": [(x, means[prompt]) for x, prompt in best]}
    drawn += [f'<path class="{name}" d="{steps([at(*point) for point in line], at(plan, 0)[0])}"/>'
              for name, line in lines.items() if line]
    drawn += tests(at, plan, summary["test"])
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">'
    return spec["strategy"]["name"], "\n".join([head, *drawn, "</svg>\n"])


def history(store, row):
    """Return when each prompt was first scored, when which was the best and how surely, and every mean in the end."""
    first, best, chances, scores, seen = {}, [], [], {}, set()
    for ask in store.journal(row.id):
        if ask.path.startswith("proof/"):
            continue
        for outcome in store.consumed_outcomes(row.id, ask.path, ask.metric_key or "").values():
            seen.add((outcome.prompt_id, outcome.example_id))
            first.setdefault(outcome.prompt_id, len(seen))
            if outcome.score is not None:
                scores.setdefault(outcome.prompt_id, {})[outcome.example_id] = outcome.score
        if ask.kind == "recommend":
            best.append((len(seen), ask.payload["ranking"][0]))
            if ask.payload["p_best"] is not None:
                chances.append((len(seen), ask.payload["p_best"]))
    means = {prompt: sum(found.values()) / len(found) for prompt, found in scores.items()}
    return {p: x for p, x in first.items() if p in means}, [(x, p) for x, p in best if p in means], chances, means


def steps(points, end):
    """Return the path of a line that keeps its height until the next point."""
    return "".join([f"M{points[0][0]},{points[0][1]}", *(f"H{x}V{y}" for x, y in points[1:]), f"H{end}"])


def axes(at, plan):
    for y in (0, 0.25, 0.5, 0.75, 1):
        (left, down), (right, _) = at(0, y), at(plan, y)
        yield f'<path class="axis" d="M{left},{down}H{right}"/><text x="8" y="{float(down) + 4:.1f}">{y:.2f}</text>'
    for x in (0, plan // 2, plan):
        across, down = at(x, 0)
        yield f'<text x="{across}" y="{float(down) + 16:.1f}" text-anchor="middle">{x}</text>'
    across, down = at(plan / 2, 0)
    yield f'<text x="{across}" y="{float(down) + 32:.1f}" text-anchor="middle">search evaluations</text>'


def tests(at, plan, test):
    """Yield what the seed and the chosen prompt scored on the held-out test split, right of the search."""
    for who in ("seed", "chosen"):
        if who in test:
            across, down = at(plan, test[who]["mean"])
            yield f'<path class="test" d="M{across},{down}h12"/>'
            label = f"{who} {test[who]['mean']:.2f}"
            yield f'<text x="{float(across) + 16:.1f}" y="{float(down) + 4:.1f}">{label}</text>'


def caption(spec, row, summary, chances):
    """Say what was run, and where a model was only simulated."""
    model = spec["model"]
    who = {"embedded:": "the embedded model"}.get(model["task"], model["task"])
    helper = ""
    if model["optimizer"] and row.config["identity"]["optimizer model"]:
        simulated = model["optimizer"].startswith("simulated:")
        helper = f"; optimizer model: {'simulated, it edits at random' if simulated else model['optimizer']}"
    judge = "; verdicts by the metric, no people" if spec["judge"]["by"] == ["metric"] else ""
    chance = " Dashed: how likely the search held it to be the best." if chances else ""
    return (
        f"Task {spec['task']['data']} on {who}{helper}{judge}; {summary['evaluations']} evaluations, profile "
        f"{spec['strategy']['profile']}, seed {row.seed}. Points: prompts, by their mean on the search rows they were scored "
        f"on, where they were first scored. Line: the prompt that the search would have returned.{chance} Right: seed and "
        "chosen prompt on the held-out test split."
    )
