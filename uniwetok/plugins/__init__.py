"""Where `uniwetok` meets the harness: adapters of the models, and the list of what is offered.

The list holds names by kind; what they name is imported when first asked for.
"""

PLUGINS = {
    "models": {
        "uniwetok": "uniwetok.plugins.tokenizer:UniWeTokPlugin",
        "uniwetok-nano": "uniwetok.plugins.tokenizer:NanoPlugin",
        "bitdance-tokenizer": "uniwetok.plugins.relatives:BitDanceTokenizerPlugin",
        "wetok": "uniwetok.plugins.relatives:WeTokPlugin",
        "vqgan": "uniwetok.plugins.vqgan:VQGANPlugin",
        "bitdance-t2i": "uniwetok.plugins.relatives:BitDanceT2IPlugin",
        "bitdance": "uniwetok.plugins.relatives:BitDancePlugin",
        "llamagen": "uniwetok.plugins.rivals:LlamaGenPlugin",
        "rar": "uniwetok.plugins.rivals:RARPlugin",
        "var": "uniwetok.plugins.rivals:VARPlugin",
        "open-magvit2": "uniwetok.plugins.rivals:OpenMAGVIT2Plugin",
        "uniwetok-ar": "uniwetok.plugins.ar:UniWeTokAR",
        "uniwetok-ar-nano": "uniwetok.plugins.ar:UniWeTokARNano",
        "uniwetok-ar-b": "uniwetok.plugins.ar:UniWeTokARB",
        "uniwetok-ar-l": "uniwetok.plugins.ar:UniWeTokARL",
        "uniwetok-ar-h": "uniwetok.plugins.ar:UniWeTokARH",
        "uniwetok-gen": "uniwetok.plugins.mllm:UniWeTokGen",
        "uniwetok-edit": "uniwetok.plugins.mllm:UniWeTokEdit",
        "uniwetok-chat": "uniwetok.plugins.mllm:UniWeTokChat",
    },
    "commands": {
        "train": "uniwetok.commands.train:app",
        "data": "uniwetok.commands.data:app",
        "chat": "uniwetok.commands.chat:chat",
        "generate": "uniwetok.commands.draw:generate",
        "edit": "uniwetok.commands.draw:edit",
    },
    "presets": {
        "uniwetok": "uniwetok.presets:PRESETS",
        "uniwetok-ar": "uniwetok.presets:AR_PRESETS",
        "uniwetok-mllm": "uniwetok.presets:MLLM_PRESETS",
    },
}
