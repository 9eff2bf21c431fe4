"""The HEAR leaderboard: submissions and standings."""
