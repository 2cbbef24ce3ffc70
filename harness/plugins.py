"""What the harness itself offers, by kind and name; imported when first asked for."""

from harness.interfaces.registry import constants

PLUGINS = {
    "commands": {
        "run": "harness.commands.run:run",
        "init": "harness.commands.init:init",
        "merge": "harness.commands.merge:merge",
        "score": "harness.commands.score:score",
        "metrics": "harness.commands.metrics:metrics",
        "list": "harness.commands.list:list_names",
        "show": "harness.commands.show:show",
        "calibrate": "harness.commands.calibrate:calibrate",
        "doctor": "harness.commands.doctor:doctor",
        "assets": "harness.commands.assets:app",
    },
    "models": {
        "webp": "harness.baselines.codecs:WebP",
        "jpeg": "harness.baselines.codecs:Jpeg",
        "avif": "harness.baselines.codecs:Avif",
        "identity": "harness.baselines.lossless:Identity",
        "diffusers-vae": "harness.baselines.diffusers_vae:DiffusersAutoencoder",
        "torchscript": "harness.baselines.torchscript:TorchScriptPair",
        "diffusers-t2i": "harness.baselines.diffusers_pipelines:DiffusersTextToImage",
        "diffusers-edit": "harness.baselines.diffusers_pipelines:DiffusersEditor",
        "openai-chat": "harness.baselines.endpoints:ServedChat",
        "openai-images": "harness.baselines.endpoints:ServedPictures",
        "hf-emu3": "harness.baselines.hf_emu3:TransformersEmu3",
        "hf-janus": "harness.baselines.hf_janus:TransformersJanus",
        "lmms": "harness.baselines.lmms:LmmsModel",
        "hf-vlm": "harness.baselines.hf_vlm:TransformersVLM",
        "diffusers-class": "harness.baselines.diffusers_pipelines:DiffusersClassToImage",
        "images": "harness.baselines.elsewhere:Images",
    },
    "extractors": {
        "pixels": "harness.metrics.extractors:Pixels",
        "lpips_alex": "harness.metrics.extractors:lpips_alex",
        "lpips_vgg": "harness.metrics.extractors:lpips_vgg",
        "ms_ssim": "harness.metrics.pair_extractors:MultiScaleSsim",
        "dists": "harness.metrics.pair_extractors:DistsDistance",
        "dinov2": "harness.metrics.dinov2:Dinov2Features",
        "clip_336": "harness.metrics.clip:ClipFeatures",
        "inception": "harness.metrics.extractors:Inception",
        "inception_spatial": "harness.metrics.extractors:inception_spatial",
        "inception_logits": "harness.metrics.extractors:inception_logits",
    },
    "metrics": {
        **constants("harness.metrics.scores", "bpp", "psnr", "ssim", "lpips_alex", "lpips_vgg"),
        **constants("harness.metrics.scores", "ms_ssim", "dists"),
        **constants("harness.metrics.scores", "usage_pooled", "usage_group", "usage_joint"),
        **constants("harness.metrics.scores", "perplexity_pooled", "perplexity_group"),
        **constants(
            "harness.metrics.feature_scores", "fid", "rfid", "gfid", "sfid", "kid", "kid_few"
        ),
        "is": "harness.metrics.feature_scores:INCEPTION_SCORE",
        **constants("harness.metrics.feature_scores", "precision", "recall"),
        **constants("harness.metrics.feature_scores", "density", "coverage"),
        **constants("harness.metrics.feature_scores", "fid_inf", "fd_dinov2", "fd_dinov2_inf"),
        **constants("harness.metrics.feature_scores", "kd_dinov2", "cmmd"),
    },
    "families": {"sets": "harness.metrics.settings:FilesSettings"},
    "judges": {"openai": "harness.judges.openai_judge:OpenAIJudge"},
}
