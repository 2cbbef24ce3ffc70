"""What the benchmarks offer, by kind and name; imported when first asked for."""

from harness.interfaces.registry import constants

PLUGINS = {
    "tasks": {
        **constants("tasks.recon.task", "imagenet-recon", "imagenet-recon-native"),
        **constants("tasks.recon.task", "coco-recon", "coco-recon-native"),
        **constants("tasks.zeroshot.task", "imagenet-zeroshot"),
        **constants("tasks.gen.task", "imagenet-gen"),
        **constants("tasks.geneval.task", "geneval", "geneval-long"),
        **constants("tasks.dpg.task", "dpg"),
        **constants("tasks.gedit.task", "gedit-en", "gedit-cn", "gedit"),
        **constants("tasks.vqa.task", "seedbench", "pope", "vqav2", "gqa", "scienceqa", "textvqa"),
        **constants("tasks.vqa.task", "chartqa", "ai2d", "realworldqa", "mmmu", "mme"),
    },
    "extractors": {
        "class_ranks": "tasks.zeroshot.scores:ClassRanks",
        "geneval_verdicts": "tasks.geneval.verdicts:GenEvalVerdicts",
        "dpg_answers": "tasks.dpg.answers:DpgAnswers",
        "gedit_judge": "tasks.gedit.judging:EditJudge",
        "answers": "tasks.vqa.metrics:answers",
    },
    "metrics": {
        **constants("tasks.zeroshot.scores", "top1", "top5", "top10"),
        **constants("tasks.zeroshot.scores", "top1_pre", "top5_pre", "top10_pre"),
        **constants("tasks.geneval.scores", "single_object", "two_object", "counting", "colors"),
        **constants("tasks.geneval.scores", "position", "color_attribution"),
        "geneval_overall": "tasks.geneval.scores:OVERALL",
        **constants("tasks.dpg.scores", "global", "entity", "attribute", "relation", "other"),
        "dpg_overall": "tasks.dpg.scores:OVERALL",
        **constants("tasks.gedit.scores", "semantics", "quality"),
        "gedit_overall": "tasks.gedit.scores:OVERALL",
        **constants("tasks.gedit.scores", "semantics_intersection", "quality_intersection"),
        "gedit_overall_intersection": "tasks.gedit.scores:OVERALL_INTERSECTION",
        **constants("tasks.vqa.metrics", "accuracy", "accuracy_all", "accuracy_human"),
        **constants("tasks.vqa.metrics", "accuracy_augmented", "accuracy_random"),
        **constants("tasks.vqa.metrics", "f1", "f1_split_mean", "total"),
        "perception": "tasks.vqa.metrics:PERCEPTION_SCORE",
        "cognition": "tasks.vqa.metrics:COGNITION_SCORE",
    },
    "families": {
        "recon": "tasks.recon.protocol:ReconSettings",
        "recon-native": "tasks.recon.protocol:ReconSettings",
        "c2i": "tasks.gen.protocol:GenSettings",
        "zeroshot": "tasks.zeroshot.protocol:ZeroShotSettings",
        "geneval": "tasks.geneval.settings:GenEvalSettings",
        "dpg": "tasks.dpg.settings:DpgSettings",
        "edit": "tasks.gedit.settings:GEditSettings",
        "vqa": "tasks.vqa.protocol:VqaSettings",
    },
    "protocols": {"tasks": "tasks:PROTOCOLS"},
    "commands": {"sample": "tasks.gen.sample_command:sample"},
}
