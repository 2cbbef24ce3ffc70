"""What the reports offer, by kind and name; imported when first asked for."""

PLUGINS = {
    "references": {"paper": "reports.paper:reference_rows"},
    "reference_settings": {"paper": "reports.paper:reference_settings"},
    "tables": {"paper": "reports.ablations:TABLES", "published": "reports.published:TABLES"},
    "gates": {"baseline": "reports.gate.suite:GATE"},
    "commands": {
        "compare": "reports.commands.compare:compare",
        "explain": "reports.commands.explain:explain",
        "export": "reports.commands.export:export",
        "gate": "reports.commands.gate:gate",
        "leaderboard": "reports.commands.leaderboard:app",
        "report": "reports.commands.report:app",
        "sweep": "reports.commands.sweep:sweep",
        "view": "reports.commands.view:view",
    },
}
