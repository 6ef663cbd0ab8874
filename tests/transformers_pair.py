"""Our model and that of `transformers`, of one shape, with the same weights.

Nothing is downloaded: the weights are random, and the loading is strict, so
that every tensor of either model takes part.
"""

import torch
from support import randomized
from transformers import DetrConfig, DetrForSegmentation, ResNetConfig

from detr_lite.backbone import BasicBlock, Bottleneck
from detr_lite.data.categories import Categories, Category
from detr_lite.inference.model import build_model
from detr_lite.mask_head import MaskHead
from detr_lite.models import ModelConfig
from detr_lite.transformer import DecoderLayer, EncoderLayer
from detr_lite.weights.layouts import convert

# Small, but with every kind of layer, and more than one of each.
SMALL = ModelConfig(
    num_classes=5,
    bottleneck=True,
    depths=(1, 2, 1, 1),
    resnet_width=16,
    width=128,
    heads=8,
    encoder_layers=2,
    decoder_layers=3,
    feedforward=64,
    num_queries=7,
    context=128,
)


def our_model(config: ModelConfig):
    """Return our model with random weights, in eval mode."""
    categories = Categories(
        [
            Category(i, f"class {i}", i % 2 == 1, (0, 0, 0))
            for i in range(1, config.num_classes + 1)
        ]
    )
    model = randomized(build_model(config, categories)).eval()
    # Logits near 1, of which 1e-5 is many steps of a float.
    model.detr.class_embed.weight.data /= 4
    # A block adds little to its input, as after training: what adds as much
    # as there is doubles the variance, in a deep ResNet beyond all bounds,
    # and makes all positions of a deep encoder alike.
    for module in model.modules():
        if isinstance(module, BasicBlock):
            module.bn2.weight *= 0.3
        if isinstance(module, Bottleneck):
            module.bn3.weight *= 0.3
        with torch.no_grad():
            if isinstance(module, EncoderLayer):
                module.self_attn.out_proj.weight *= 0.3
                module.linear2.weight *= 0.3
            if isinstance(module, DecoderLayer):
                module.multihead_attn.out_proj.weight *= 3
            if isinstance(module, MaskHead):
                module.lay1.weight[:, config.width :] *= 10
    return model


def their_config(config: ModelConfig, **options) -> DetrConfig:
    """Return the configuration of transformers for a model of ours."""
    expansion = 4 if config.bottleneck else 1
    return DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone_config=ResNetConfig(
            embedding_size=config.resnet_width,
            hidden_sizes=[
                config.resnet_width * 2**i * expansion for i in range(4)
            ],
            depths=[*config.depths],
            layer_type="bottleneck" if config.bottleneck else "basic",
            out_features=["stage1", "stage2", "stage3", "stage4"],
        ),
        num_labels=config.num_classes,
        d_model=config.width,
        encoder_attention_heads=config.heads,
        decoder_attention_heads=config.heads,
        encoder_layers=config.encoder_layers,
        decoder_layers=config.decoder_layers,
        encoder_ffn_dim=config.feedforward,
        decoder_ffn_dim=config.feedforward,
        num_queries=config.num_queries,
        **options,
    )


def their_model(ours, **options) -> DetrForSegmentation:
    """Return transformers' model with our model's weights, in eval mode."""
    with torch.device("meta"):  # no time is lost on weights of its own
        theirs = DetrForSegmentation(their_config(ours.config, **options))
    state = convert(ours.state_dict(), "transformers5", own_resnet=True)
    copies = {name: tensor.clone() for name, tensor in state.items()}
    theirs.load_state_dict(copies, assign=True)
    return theirs.eval()


def padded_batch(*sizes):
    """Return images of several sizes in one tensor, and the padding."""
    height, width = (max(s) for s in zip(*sizes, strict=True))
    images = torch.zeros(len(sizes), 3, height, width)
    padding = torch.ones(len(sizes), height, width, dtype=torch.bool)
    for i, (h, w) in enumerate(sizes):
        images[i, :, :h, :w] = torch.randn(3, h, w)
        padding[i, :h, :w] = False
    return images, padding
