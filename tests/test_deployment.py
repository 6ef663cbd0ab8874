"""The page "Deployment": its snippets run, its commands and tables hold."""

import re
import shlex
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from detr_lite import load_model
from detr_lite.cli.main import main
from detr_lite.data.coco.categories import original_categories
from detr_lite.inference.model import build_model, shapes_alone
from detr_lite.models import ModelConfig
from detr_lite.training.recipes import Engine
from detr_lite.weights.layouts import convert

PAGE = (Path(__file__).parents[1] / "book" / "deployment.md").read_text("utf8")
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
NAMED = "detr_resnet50_panoptic"
# detr-lite COMMAND ..., in a block or a sentence.
COMMANDS = [
    shlex.split(text)
    for text in re.findall(
        r"detr[-_]lite ((?:train|export|evaluate|download) [^`\n]*)",
        PAGE.replace("\\\n", ""),
    )
]


def test_the_snippets_run(tmp_path, monkeypatch, capsys):
    """And weights come back from the file that is written for others.

    A tiny model stands in for the original's, which has to be fetched.
    """
    monkeypatch.chdir(tmp_path)
    config = ModelConfig(
        num_classes=250, depths=(1, 1, 1, 1), encoder_layers=1,
        decoder_layers=1, feedforward=64, num_queries=5,
    )  # fmt: skip
    model = build_model(config, original_categories(250))
    here = {"scenes": load_model("scenes", "cpu"), NAMED: model}
    monkeypatch.setattr("detr_lite.load_model", lambda name, *_: here[name])
    names: dict = {}
    for snippet in SNIPPETS:
        exec(snippet, names)
    assert capsys.readouterr().out.count(", 0 changed on the way\n") == 3
    (file,) = tmp_path.glob("*.safetensors")
    back = load_model(file, "cpu").state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(back[name], tensor), name


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_commands_have_these_options(words, capsys):
    command, *rest = words
    with pytest.raises(SystemExit):
        main([command, "--help"])
    told = capsys.readouterr().out
    wanted = {word for word in rest if word.startswith("--")}
    assert wanted
    for option in wanted:
        assert re.search(rf"{option}\b", told), option


def test_the_options_are_the_engines():
    (example,) = re.findall(r"`(Engine\(.+?\))`", PAGE)
    assert eval(example, {"Engine": Engine}) != Engine()
    rows = re.findall(r"^\| `--(\S+?)(?: (\S+))?` \|", PAGE, re.MULTILINE)
    assert len(rows) == 4
    for option, value in rows:
        field = option.replace("-", "_")
        default = getattr(Engine(), field)
        engine = Engine(**{field: type(default)(value or True)})
        assert getattr(engine, field) != default


def test_the_layouts_have_these_names():
    rows = re.findall(r"\| `(\w+)` \| .* \| `(detr\..*?)` \|", PAGE)
    assert [layout for layout, _ in rows] == [
        "original",
        "transformers",
        "transformers5",
    ]
    state = load_model("scenes", "cpu").state_dict()
    for layout, name in rows:
        assert name in convert(state, layout)


def multiply_adds() -> dict[str, float]:
    """Return billions of them for each part of DETR with ResNet-50."""
    with shapes_alone():
        model = build_model(
            ModelConfig(num_classes=250), original_categories(250)
        )
    detr, bill = model.detr, {}

    def counted(name, part, *inputs):
        with FlopCounterMode(display=False) as counter:
            result = part(*inputs)
        bill[name] = counter.get_total_flops() / 2e9
        return result

    def empty(*shape):
        return torch.zeros(shape, device="meta")

    body = detr.backbone[0].body
    levels = counted("ResNet-50", body, empty(1, 3, 800, 1066))
    src = detr.input_proj(levels.res5)
    tokens, queries = empty(1, 25 * 34, 256), empty(1, 100, 256)
    encoder, decoder = detr.transformer.encoder, detr.transformer.decoder
    memory = counted("encoder", encoder, tokens, tokens, None)
    counted("decoder", decoder, queries, queries, memory, tokens, None)
    for count in (15, 100):
        maps, index = empty(count, 8, 25, 34), empty(count).long()
        name = f"masks for {count} queries"
        counted(name, model.mask_head, src, maps, index, levels)
    return bill


def test_the_bill_is_what_pytorch_counts():
    (told,) = re.findall(
        r"ResNet-50 takes (\S+) billion multiply-adds, the encoder (\S+), the "
        r"decoder (\S+), and the masks of 15 queries (\S+), .*\n"
        r"Masks for all 100 queries would take (\S+),",
        PAGE,
    )
    bill = multiply_adds()
    assert told == tuple(f"{cost:.1f}" for cost in bill.values())
    share = bill["masks for 15 queries"] / bill["masks for 100 queries"]
    assert share == pytest.approx(1 / 6, abs=0.005)
