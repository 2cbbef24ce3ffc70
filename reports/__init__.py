"""What is made of result records: paper tables, comparisons, gates, leaderboards."""
