"""The load generator: schedules, clients, what came back, whether to believe it, and the highest load that is kept."""
