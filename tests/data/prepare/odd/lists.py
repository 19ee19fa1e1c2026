"""Random lists of paths."""

from tests.data.prepare.odd.case import PLAIN, Case, Fact, a_name, content_of, numbers_of, somewhere


def listed(case: Case) -> None:
    """Lists of paths, with or without numbers and --classes."""
    draw = case.draw
    classes = ["wave", "jump", "run"][: draw.choice((2, 3))]
    style = draw.choice(("folder", "folder number", "number", "number", "frames number"))
    flat = "folder" not in style and case.chance(0.6)
    truth: dict[str, str] = {}
    for place in numbers_of(case, 4, 16):
        label = classes[place % len(classes)]
        above = [] if flat else [label if style.startswith("folder") else draw.choice(("x", "y"))]
        above += [] if flat else somewhere(case, draw.choice((0, 0, 1)))
        path = "/".join([*above, a_name(case, PLAIN)])
        if not any(same_text(path, other) for other in truth) and case.add(path, content_of(case)):
            truth[path] = label
    base = draw.choice((0, 1))
    named = style.endswith("number") and case.chance(0.4)
    number = {label: place for place, label in enumerate(classes, base)}
    lines: dict[str, list[str]] = {"train": [], "val": []}
    separator = draw.choice((" ", " ", "\t", ",", ", "))
    split = {path: draw.choice(("train", "train", "val")) for path in truth}
    strip = case.chance(0.3)
    for path, label in truth.items():
        written = path.rpartition(".")[0] if strip else path
        numbers = {"folder": [], "frames number": ["120", str(number[label])]}.get(style, [str(number[label])])
        lines[split[path]].append(separator.join([written, *numbers]))
    wrong = ""
    if case.chance(0.25):
        wrong = draw.choice(("line", "number", "twice", "both", "absent"))
        some = lines["train"] or lines["val"]
        line = draw.choice(some) if some else "x"
        if wrong == "line":
            some.append(line[: draw.randrange(len(line) + 1)])
        elif wrong == "number":
            some.append(line + "1")
        elif wrong == "twice":
            some.append(line)
        elif wrong == "both":
            lines["val" if some is lines["train"] else "train"].append(line)
        elif wrong == "absent":
            name = draw.choice(("absent.mp4", *(path.rpartition("/")[2] for path in truth)))
            some.append(f"absent/{name}" + separator + "1" * ("number" in style))
        case.kind += f" {wrong}"
    ends = draw.choice(("\n", "\r\n"))
    for name, of_split in lines.items():
        content = ends.join(of_split).encode(draw.choice(("utf-8", "utf-8-sig")), errors="surrogateescape")
        case.flags += [f"--{name}", case.write(f"{name}.txt", content)]
    if named:
        classes += ["another"] * case.chance(0.3)
        case.order = list(classes)
        case.flags += ["--classes", case.write("classes.txt", "\n".join(classes).encode())]
    seen = {(path.split("/")[0], label) for path, label in truth.items() if path.isprintable()}
    is_same = not flat and len(seen) == len({folder for folder, _ in seen}) == len({label for _, label in seen})
    by_folder = {Fact(path, path.split("/")[0], (), split[path]) for path in truth}
    by_number = {Fact(path, label if named else str(number[label]), (), split[path]) for path, label in truth.items()}
    case.facts = [by_folder] if style == "folder" else [by_number]
    if style == "folder number" or is_same:
        case.facts = [by_folder, by_number]
    case.kind += f" {style}"
    case.is_sure = not wrong


def same_text(one: str, other: str) -> bool:
    return one.rpartition(".")[0] == other.rpartition(".")[0]
